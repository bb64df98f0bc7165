//! What a temporary grant or the approval of one call opens: the machines of `tests/machines` on which a rule of the policy
//! is a step, with rules that ask a person instead. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::described::Described;
use common::laid::goals;
use common::{Laid, machines};
use remit_common::prove::{
    Compared, Content, FileAfter, FileChange, Opened, PermittedCall, PermittedGrant, PermittedTo,
    PermittedWhat, Question,
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

fn call(command: &str, values: &[(&str, &str)]) -> PermittedWhat {
    PermittedWhat::Call(PermittedCall {
        uid: AGENT,
        command: command.to_owned(),
        args: args(values),
    })
}

fn in_advance(commands: &[&str], values: &[(&str, &str)]) -> PermittedGrant {
    PermittedGrant {
        to: PermittedTo::User(AGENT),
        commands: commands.iter().map(ToString::to_string).collect(),
        args: args(values),
        paths: Vec::new(),
        by: BY.to_owned(),
        ended_by: Some("remit revoke 3".to_owned()),
        left_ms: 60_000,
        is_counted: false,
        survives_reboot: false,
    }
}

fn grant(commands: &[&str], values: &[(&str, &str)]) -> PermittedWhat {
    PermittedWhat::Grant(in_advance(commands, values))
}

fn commits(paths: &[&str]) -> PermittedWhat {
    let paths = paths.iter();
    PermittedWhat::Grant(PermittedGrant {
        paths: paths.map(|path| path.as_bytes().to_vec().into()).collect(),
        ..in_advance(&["plan.commit"], &[])
    })
}

/// A grant of all commands of the policy.
fn of_all(question: &Question) -> PermittedGrant {
    let policy = Policy::decode(&question.policy).unwrap();
    let names: Vec<&str> = policy.commands().map(|one| one.name.as_str()).collect();
    in_advance(&names, &[])
}

fn asked_with(
    laid: &Laid,
    in_force: &[PermittedGrant],
    permitted: &[PermittedWhat],
    changes: &[FileChange],
) -> Opened {
    let question = Question {
        in_force: in_force.to_vec(),
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

fn asked(laid: &Laid, permitted: &[PermittedWhat]) -> Vec<String> {
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
        Some((call, _)) if expect.rule.starts_with("grant-") && call.contains(" may call ") => {
            fact == format!("{call} by {BY}")
        }
        _ => fact == expect.fact,
    }
}

#[test]
fn temporary_grant_opens_the_path_of_a_rule_without_approval() {
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
        let opened = asked_with(
            &laid,
            &[],
            &[PermittedWhat::Grant(of_all(&laid.question()))],
            &[],
        );
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
        let other = PermittedWhat::Grant(PermittedGrant {
            to: PermittedTo::User(4_000),
            ..of_all(&laid.question())
        });
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
        (restart("deploy-site"), &["root"]),
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
    let starts = in_advance(&["service.restart"], &[]);
    let writes = in_advance(&["site.write"], &[]);
    let gives = |in_force: &[&PermittedGrant], new: &[&PermittedGrant]| {
        let owned = |all: &[&PermittedGrant]| all.iter().copied().cloned().collect::<Vec<_>>();
        let new: Vec<_> = owned(new).into_iter().map(PermittedWhat::Grant).collect();
        let opened = asked_with(&laid, &owned(in_force), &new, &[]);
        assert_eq!(opened.incomplete, None);
        opened.paths
    };
    assert!(gives(&[], &[&starts]).is_empty());
    assert!(gives(&[], &[&writes]).is_empty());
    assert_eq!(gives(&[], &[&starts, &writes]).len(), 1);
    assert_eq!(gives(&[&starts], &[&writes]).len(), 1);
    let [path] = &gives(&[&writes], &[&starts])[..] else {
        panic!("neither alone is a way");
    };
    assert!(
        path.closed_by.iter().any(|one| one == "remit revoke 3"),
        "{path:?}"
    );
    // The same again, and for longer than the one that is accepted.
    assert!(gives(&[&starts, &writes], &[]).is_empty());
    let short = PermittedGrant {
        left_ms: 1_000,
        ..writes.clone()
    };
    let few = PermittedGrant {
        is_counted: true,
        left_ms: 90_000,
        ..writes.clone()
    };
    let counted = PermittedGrant {
        is_counted: true,
        ..starts.clone()
    };
    let lasting = PermittedGrant {
        survives_reboot: true,
        left_ms: 1_000,
        ..starts.clone()
    };
    for starts in [&starts, &counted, &lasting] {
        for accepted in [&short, &few, &writes] {
            let opened = gives(&[starts, accepted], &[&writes]);
            assert_eq!(opened.len(), 1, "{starts:?} {accepted:?}");
        }
    }
    let unrelated = in_advance(&["site.write"], &[("other", "x")]);
    assert!(gives(&[&starts, &writes, &short], &[]).is_empty());
    assert_eq!(gives(&[&short, &starts, &few], &[&unrelated]).len(), 1);
}

/// Those that lead to nothing are no trouble.
#[test]
fn many_grants_in_force_are_judged_or_said_to_be_too_many() {
    let laid = Laid::of(&named("grant-starts-a-unit-of-the-agents-group"));
    let new = grant(&["service.restart"], &[]);
    let harmless = vec![in_advance(&["site.look"], &[]); 300];
    assert_eq!(
        asked_with(&laid, &harmless, std::slice::from_ref(&new), &[])
            .paths
            .len(),
        1
    );
    let question = Question {
        in_force: (0..33)
            .map(|at| {
                in_advance(
                    &["service.restart"],
                    &[("unit", &format!("deploy-{at}.service"))],
                )
            })
            .collect(),
        ..laid.question()
    };
    let compared = Compared {
        before: None,
        changes: Vec::new(),
        permitted: vec![new],
        milliseconds: 60_000,
    };
    let mut machine = Machine::open(laid.root(), Bounds::default()).unwrap();
    let refused = opened(&question, &compared, &mut machine).unwrap_err();
    assert!(refused.starts_with("over 32 temporary grants"), "{refused}");
}

/// Every change needs a person: neither a rule nor a grant permits one.
#[test]
fn floor_takes_permissions_away() {
    let (_, described) = machines()
        .into_iter()
        .find(|(name, _)| name == "grant-starts-a-unit-of-the-agents-group")
        .unwrap();
    let laid = Laid::of(&described);
    let restart = call("service.restart", &[("unit", "deploy-site.service")]);
    let opens = |asks_for_changes: bool, permitted: PermittedWhat| {
        let question = Question {
            asks_for_changes,
            ..laid.question()
        };
        let compared = Compared {
            before: None,
            changes: Vec::new(),
            permitted: vec![permitted],
            milliseconds: 60_000,
        };
        let mut machine = Machine::open(laid.root(), Bounds::default()).unwrap();
        let opened = opened(&question, &compared, &mut machine).unwrap();
        opened.paths.len()
    };
    assert_eq!(
        opens(false, restart.clone()),
        0,
        "the rule permits it anyway"
    );
    assert_eq!(opens(true, restart), 1);
    assert_eq!(opens(true, grant(&["service.restart"], &[])), 0);
}

/// Several people, or a signature: no grant starts it.
#[test]
fn grant_that_can_start_nothing_opens_nothing() {
    let described = named("grant-starts-a-unit-of-the-agents-group");
    for more in ["signed = \"key\"", "count = 2"] {
        let asks = "approval = { by = [\"root\"] }";
        let both = format!("approval = {{ by = [\"root\", \"#7\"], {more} }}");
        let laid = Laid::of(&Described {
            policy: described.policy.replace(asks, &both),
            ..described.clone()
        });
        let in_advance = grant(&["service.restart"], &[]);
        assert!(asked(&laid, &[in_advance]).is_empty(), "{more}");
        let once = call("service.restart", &[("unit", "deploy-site.service")]);
        assert_eq!(asked(&laid, &[once]), ["root"], "{more}");
    }
}

/// One permission with two rules: what each allows counts.
#[test]
fn each_rule_of_a_command_counts() {
    let described = named("grant-of-commits-of-a-script");
    let other = "[[grant]]\nname = \"other\"\nto = [\"%remit\"]\nallow = [\"plan.commit\"]\n\
                 paths = [\"/srv/www\"]\napproval = { by = [\"root\"] }\n";
    let at = described.policy.find("[[grant]]").unwrap();
    let both = commits(&["/srv/www", "/srv/app"]);
    for at in [at, described.policy.len()] {
        let mut policy = described.policy.clone();
        policy.insert_str(at, &format!("\n{other}"));
        let laid = Laid::of(&Described {
            policy,
            ..described.clone()
        });
        assert_eq!(asked(&laid, std::slice::from_ref(&both)), ["root"], "{at}");
    }
}

#[test]
fn group_of_which_no_member_is_known_is_not_judged() {
    let laid = Laid::of(&named("grant-starts-a-unit-of-the-agents-group"));
    let to = |gid: u32| {
        let grant = PermittedWhat::Grant(PermittedGrant {
            to: PermittedTo::Group(gid),
            ..in_advance(&["service.restart"], &[])
        });
        asked_with(&laid, &[], &[grant], &[])
    };
    assert_eq!(to(6003).paths.len(), 1);
    let unknown = to(4_000);
    assert_eq!(
        unknown.incomplete.as_deref(),
        Some("no member of group 4000 is known")
    );
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
    let paths = |permitted: &[PermittedWhat], changes: &[FileChange]| {
        asked_with(&laid, &[], permitted, changes).paths.len()
    };
    let (file, act) = ([writable], [restart]);
    assert_eq!(paths(&[], &file), 0);
    assert_eq!(paths(&act, &[]), 0);
    assert_eq!(paths(&act, &file), 1);
}

#[test]
fn grant_with_paths_commits_beneath_them_and_beneath_those_of_its_rule() {
    let laid = Laid::of(&named("grant-of-commits-of-a-script"));
    for (paths, expect) in [
        (&["/srv/app"][..], &["root"][..]),
        (&["/srv"], &["root"]),
        (&["/srv/www"], &[]),
        (&["/srv/www", "/srv/app"], &["root"]),
        // A change of these needs an approval of its own, and the rule is about other paths.
        (&["/etc/systemd/system"], &[]),
    ] {
        assert_eq!(asked(&laid, &[commits(paths)]), expect, "{paths:?}");
    }
}
