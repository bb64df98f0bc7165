//! What a temporary grant or the approval of one call opens: the machines of `tests/machines` on which a rule of the policy
//! is a step, with rules that ask a person instead. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::described::Described;
use common::laid::goals;
use common::{Laid, machines};
use remit_common::prove::{
    Compared, Content, FileAfter, FileChange, Opened, Permitted, PermittedTo, Question,
};
use remit_policy::Policy;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::opened;
use remit_prove::report::Step;

const AGENT: u32 = 5001;
const BY: &str = "grant 3 of ann";

/// The same machine, with a policy that asks about each call.
fn asking(described: &Described) -> Described {
    let lines = described.policy.lines();
    let lines =
        lines.filter(|line| !line.starts_with("approval = ") && !line.starts_with("unconfined"));
    let lines = lines.map(|line| match line {
        "[[grant]]" => "[[grant]]\napproval = { by = [\"root\"] }",
        line => line,
    });
    Described {
        policy: lines.collect::<Vec<_>>().join("\n"),
        ..described.clone()
    }
}

fn named(name: &str) -> Described {
    let mut machines = machines().into_iter();
    let (_, described) = machines.find(|(known, _)| known == name).unwrap();
    asking(&described)
}

fn args(args: &[(&str, &str)]) -> Vec<(String, String)> {
    let args = args.iter();
    args.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn call(command: &str, values: &[(&str, &str)]) -> Permitted {
    Permitted::Call {
        uid: AGENT,
        command: command.to_owned(),
        args: args(values),
    }
}

fn grant(commands: &[&str], values: &[(&str, &str)]) -> Permitted {
    Permitted::Grant {
        to: PermittedTo::User(AGENT),
        commands: commands.iter().map(ToString::to_string).collect(),
        args: args(values),
        paths: Vec::new(),
        by: BY.to_owned(),
    }
}

/// A grant of all commands of the policy.
fn of_all(question: &Question) -> Permitted {
    let policy = Policy::decode(&question.policy).unwrap();
    let names: Vec<&str> = policy.commands().map(|one| one.name.as_str()).collect();
    grant(&names, &[])
}

fn asked_with(
    laid: &Laid,
    in_force: &[Permitted],
    permitted: &[Permitted],
    changes: &[FileChange],
) -> Opened {
    let question = Question {
        permitted: in_force.to_vec(),
        ..laid.question()
    };
    let compared = Compared {
        before: None,
        changes: changes.to_vec(),
        permitted: permitted.to_vec(),
        milliseconds: 60_000,
    };
    let mut machine = Machine::open(laid.root(), Bounds::default()).unwrap();
    opened(&question, &compared, &mut machine).unwrap()
}

fn asked(laid: &Laid, permitted: &[Permitted]) -> Vec<String> {
    let opened = asked_with(laid, &[], permitted, &[]);
    assert_eq!(opened.incomplete, None);
    opened.paths.into_iter().map(|path| path.goal).collect()
}

/// Each step of a rule is the grant's, and the others are the same.
fn is_step(found: &str, expect: &Step) -> bool {
    let Some(fact) = found.strip_suffix(&format!(" [{}]", expect.rule)) else {
        return false;
    };
    match expect.fact.split_once(" by ") {
        Some((call, _)) if expect.rule.starts_with("grant-") && fact != expect.fact => {
            fact == format!("{call} by {BY}")
        }
        _ => fact == expect.fact,
    }
}

#[test]
fn temporary_grant_opens_the_path_of_the_rule_that_asks_nobody() {
    let (mut wrong, mut judged) = (Vec::new(), 0);
    for (name, described) in machines() {
        let steps = described.reaches.iter().flat_map(|one| &one.steps);
        if !steps.into_iter().any(|step| step.starts_with("grant-")) {
            continue;
        }
        let expect = Laid::of(&described).report();
        let laid = Laid::of(&asking(&described));
        let before = laid.report();
        if !goals(&before.subjects[0]).is_empty() {
            wrong.push(format!("{name}: the rules ask nobody"));
        }
        judged += 1;
        let opened = asked_with(&laid, &[], &[of_all(&laid.question())], &[]);
        let shown: Vec<&str> = opened.paths.iter().map(|path| path.goal.as_str()).collect();
        let steps: Vec<&String> = opened.paths.iter().flat_map(|path| &path.steps).collect();
        let reaches = expect.subjects[0].reaches.iter();
        let expected: Vec<&Step> = reaches.flat_map(|path| &path.steps).collect();
        let mut pairs = steps.iter().zip(&expected);
        let is_same =
            steps.len() == expected.len() && pairs.all(|(found, step)| is_step(found, step));
        if shown != goals(&expect.subjects[0]) || !is_same {
            wrong.push(format!("{name}: {opened:#?}\n{expected:#?}"));
        }
        // To another account it is nothing.
        let mut other = of_all(&laid.question());
        if let Permitted::Grant { to, .. } = &mut other {
            *to = PermittedTo::Group(4_000);
        }
        let opened = asked_with(&laid, &[], &[other], &[]);
        if !opened.paths.is_empty() {
            wrong.push(format!("{name}, another account: {opened:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(judged >= 12, "{judged}");
}

#[test]
fn approved_call_opens_what_this_unit_does() {
    let laid = Laid::of(&named("grant-starts-a-unit-of-the-agents-group"));
    let restart = |unit: &str| call("service.restart", &[("unit", unit)]);
    let advance = |unit: &str| grant(&["service.restart"], &[("unit", unit)]);
    for (permitted, expect) in [
        (restart("deploy-site.service"), &["root"][..]),
        (restart("deploy-other.service"), &[]),
        (advance("deploy-site.service"), &["root"]),
        (advance("deploy-other.service"), &[]),
        // The rule is about units of another name.
        (advance("web.service"), &[]),
        (grant(&["service.restart"], &[]), &["root"]),
        (grant(&["service.stop"], &[]), &[]),
        (grant(&["service.restart"], &[("other", "x")]), &["root"]),
        (call("service.restart", &[]), &[]),
    ] {
        assert_eq!(
            asked(&laid, std::slice::from_ref(&permitted)),
            expect,
            "{permitted:?}"
        );
    }
    let steps = asked_with(&laid, &[], &[restart("deploy-site.service")], &[]);
    let steps = &steps.paths[0];
    let said = "agent may call service.restart by this request [grant-unit]";
    assert!(steps.steps.iter().any(|step| step == said), "{steps:?}");
    let closed_by = ["gpasswd -d agent deploy", "chmod g-w /srv/site/deploy"];
    assert_eq!(steps.closed_by, closed_by);
}

#[test]
fn instance_that_a_person_reads_is_no_text_of_the_caller() {
    let laid = Laid::of(&named("template-that-a-shell-executes"));
    assert_eq!(asked(&laid, &[grant(&["task.start"], &[])]), ["root"]);
    let night = [("unit", "task@night.service")];
    assert!(asked(&laid, &[call("task.start", &night)]).is_empty());
    assert!(asked(&laid, &[grant(&["task.start"], &night)]).is_empty());
    // What each instance runs, this one does.
    let mut own = named("template-that-a-shell-executes");
    own.file[0].text = Some("[Service]\nExecStart=/srv/site/task %i\n".to_owned());
    let script = named("grant-starts-a-unit-of-the-agents-group").file[1].clone();
    own.file.push(common::described::File {
        path: "/srv/site/task".to_owned(),
        group: Some("remit".to_owned()),
        ..script
    });
    let laid = Laid::of(&own);
    assert_eq!(asked(&laid, &[call("task.start", &night)]), ["root"]);
}

/// Neither alone is a way: one writes what the other starts.
#[test]
fn grants_in_force_count_with_the_new_one() {
    let mut described = named("grant-starts-a-unit-of-the-agents-group");
    described.file[1].group = None;
    described.policy.push_str(
        r#"
[[command]]
name = "site.write"
summary = "Write the site's script"
argv = ["/usr/bin/tee", "/srv/site/deploy"]
effect = "change"
stdin = "caller"
profile = "site"

[profile.site]
base = "strict"
user = "root"
write = ["/srv/site"]

[[grant]]
name = "site"
to = ["%remit"]
allow = ["site.write"]
approval = { by = ["root"] }
"#,
    );
    let laid = Laid::of(&described);
    let starts = grant(&["service.restart"], &[]);
    let writes = grant(&["site.write"], &[]);
    assert!(asked(&laid, std::slice::from_ref(&starts)).is_empty());
    assert!(asked(&laid, std::slice::from_ref(&writes)).is_empty());
    assert_eq!(asked(&laid, &[starts.clone(), writes.clone()]), ["root"]);
    for (in_force, new) in [(&starts, &writes), (&writes, &starts)] {
        let both = std::slice::from_ref(in_force);
        let opened = asked_with(&laid, both, std::slice::from_ref(new), &[]);
        assert_eq!(opened.paths.len(), 1, "{opened:?}");
        // The path of those in force ends sooner than this one may.
        let opened = asked_with(&laid, &[starts.clone(), writes.clone()], both, &[]);
        assert!(opened.paths.is_empty(), "{opened:?}");
        let whole = [starts.clone(), writes.clone()];
        let opened = asked_with(&laid, &whole, &whole, &[]);
        assert_eq!(opened.paths.len(), 1, "{opened:?}");
    }
}

/// A commit with a command that follows it: only both are a way.
#[test]
fn changed_file_and_what_follows_count_together() {
    let mut described = named("grant-starts-a-unit-of-the-agents-group");
    described.file[1].group = None;
    let laid = Laid::of(&described);
    let writable = FileChange {
        path: b"/srv/site/deploy".to_vec().into(),
        after: Some(FileAfter {
            uid: 0,
            gid: 6001,
            mode: 0o775,
            capabilities: 0,
            content: Content::Same,
        }),
    };
    let restart = call("service.restart", &[("unit", "deploy-site.service")]);
    let paths = |permitted: &[Permitted], changes: &[FileChange]| {
        asked_with(&laid, &[], permitted, changes).paths.len()
    };
    let (file, act) = ([writable], [restart]);
    assert_eq!(paths(&[], &file), 0);
    assert_eq!(paths(&act, &[]), 0);
    assert_eq!(paths(&act, &file), 1);
}

#[test]
fn grant_with_paths_commits_beneath_them_and_beneath_those_of_its_rule() {
    let laid = Laid::of(&named("grant-of-commits-of-cron"));
    let commits = |paths: &[&str]| Permitted::Grant {
        to: PermittedTo::User(AGENT),
        commands: ["plan.commit".to_owned()].into(),
        args: Vec::new(),
        paths: paths
            .iter()
            .map(|path| path.as_bytes().to_vec().into())
            .collect(),
        by: BY.to_owned(),
    };
    for (paths, expect) in [
        (&["/etc/cron.d"][..], &["root"][..]),
        (&["/etc"], &["root"]),
        (&["/etc/nginx"], &[]),
        (&["/etc/nginx", "/etc/cron.d"], &["root"]),
    ] {
        assert_eq!(asked(&laid, &[commits(paths)]), expect, "{paths:?}");
    }
}
