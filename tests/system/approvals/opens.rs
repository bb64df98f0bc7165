//! A change that opens a way to root says so on its page, with the steps. The machine is a directory of the test, which the
//! plan names by the same paths.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use remit_common::names::JobId;
use remit_edit::{Action, Edit};
use remit_page::ShownRequest;
use remit_tests::caller::Caller;
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::process::descendants;
use serde_json::Value;

use super::plans::{PlanFixture, edit, exit, found, id_of};
use super::scene::{about, approve, asks, listed, options, until};
use crate::policy::opened;

const DEPLOY: u32 = 6001;
const DOCKER: u32 = 6002;
const BOT: &str = "bot:x:64001:64000::/home/bot:/bin/bash\n";
const GROUPS: &str = "root:x:0:\ndeploy:x:6001:bot\ndocker:x:6002:\n";
const CRON: &str = "7 3 * * * root /srv/site/bin/backup\n";
const RISK: &str = "opens a path: bot reaches root";
const NOT_KNOWN: &str = "it is not known whether it opens a path to root: ";

/// A daemon, and a machine on which the agent `bot` reaches nothing.
struct Machine(PlanFixture);

impl Machine {
    fn lay() -> Self {
        let machine = Self(PlanFixture::of_agents(options()));
        machine.put(
            "/etc/passwd",
            &format!("root:x:0:0::/root:/bin/bash\n{BOT}"),
            0,
            0o644,
        );
        machine.put("/etc/group", GROUPS, 0, 0o644);
        machine.put("/usr/sbin/cron", "\u{7f}ELF", 0, 0o755);
        machine.put("/srv/site/bin/backup", "#!/bin/sh\n", 0, 0o755);
        let script = machine.script("run", 0o755);
        machine.owned("/srv/site/bin", DEPLOY, 0o775);
        let unit = "/etc/systemd/system/site.service";
        let service = format!("[Service]\nExecStart={script}\n");
        machine.put(unit, &service, 0, 0o644);
        let wanted = machine.at("/etc/systemd/system/multi-user.target.wants/site.service");
        symlink(unit, wanted).unwrap();
        drop(UnixListener::bind(machine.at("/run/docker.sock")).unwrap());
        machine.owned("/run/docker.sock", DOCKER, 0o660);
        machine
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        let path = self.0.path("machine").join(path.strip_prefix('/').unwrap());
        let mut missing: Vec<&Path> = path.ancestors().skip(1).collect();
        missing.retain(|above| !above.exists());
        for above in missing.into_iter().rev() {
            fs::create_dir(above).unwrap();
            fs::set_permissions(above, Permissions::from_mode(0o755)).unwrap();
        }
        path
    }

    fn owned(&self, path: &str, gid: u32, mode: u32) {
        chown(self.at(path), Some(0), Some(gid)).unwrap();
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    fn put(&self, path: &str, text: &str, gid: u32, mode: u32) {
        fs::write(self.at(path), text).unwrap();
        self.owned(path, gid, mode);
    }

    /// Makes the same script of the machine and of this computer, as a plan changes files of this one. Returns its path.
    fn script(&self, name: &str, mode: u32) -> String {
        let own = self.0.path("files").join(name);
        let name = own.to_str().unwrap().to_owned();
        for path in [own, self.at(&name)] {
            fs::write(&path, "#!/bin/sh\n").unwrap();
            chown(&path, Some(0), Some(DEPLOY)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        name
    }

    /// Replaces the program that is asked.
    fn prover(&self, script: &str, mode: u32) {
        let program = self.0.daemon.program("remit-prove");
        fs::remove_file(&program).unwrap();
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
    }

    /// A plan for paths of the machine. Its bases are the files of this computer: the daemon compares these with it.
    fn plan(&self, edits: &[Edit]) -> Vec<u8> {
        let planned = edits.iter().filter_map(|edit| {
            let path = str::from_utf8(edit.path.as_bytes()).unwrap();
            // The machine has its directory.
            self.at(path);
            edit.apply(found(Path::new(path)).as_ref())
                .expect("it fits")
        });
        let bundle = remit_edit::bundle(planned.collect()).expect("a plan");
        bundle.as_bytes().to_vec()
    }

    fn asks(&self, bundle: &[u8]) -> JobId {
        self.0
            .asks(&mut Caller::new(&self.0.daemon, &user_a()), bundle)
    }

    fn page(&self, bundle: &[u8]) -> (JobId, ShownRequest) {
        let job = self.asks(bundle);
        (job, self.0.daemon.shows(job))
    }

    fn record(&self, job: JobId, event: &str) -> Value {
        let records = about(&self.0.daemon, job);
        let mut records = records.into_iter();
        let found = records.find(|record| record["REMIT_EVENT"] == event);
        found.unwrap_or_else(|| panic!("{event}"))
    }
}

fn write(path: &str, text: &str) -> Edit {
    edit(path, Action::Write(text.as_bytes().to_vec()))
}

fn cron() -> Edit {
    Edit {
        mode: Some(0o644),
        ..write("/etc/cron.d/site", CRON)
    }
}

#[test]
fn plan_that_opens_a_path_says_so_with_its_steps() {
    let machine = Machine::lay();
    let joins = GROUPS.replace("docker:x:6002:", "docker:x:6002:bot");
    let script = machine.0.path("files/run").display().to_string();
    let writable = Edit {
        mode: Some(0o775),
        ..edit(&script, Action::Keep)
    };
    let run = format!("{script} is root:deploy 0775");
    let closes_run = format!("chmod g-w {script}");
    let plans = [
        (
            cron(),
            &[
                "bot is in group deploy",
                "/srv/site/bin is root:deploy 0775",
                "/etc/cron.d/site:1",
            ][..],
            "chmod g-w /srv/site/bin",
        ),
        (
            write("/etc/group", &joins),
            &["bot is in group docker", "/run/docker.sock"],
            "gpasswd -d bot docker",
        ),
        (
            writable,
            &["bot is in group deploy", &run, "site.service"],
            &closes_run,
        ),
    ];
    for (edit, steps, closed_by) in plans {
        let bundle = machine.plan(&[edit]);
        let (job, page) = machine.page(&bundle);
        assert_eq!(page.risks[0], RISK, "{page:?}");
        let [way] = &page.opens[..] else {
            panic!("{page:?}");
        };
        assert_eq!(way.what, "bot reaches root");
        let said = way.steps.join("\n");
        assert!(steps.iter().all(|step| said.contains(step)), "{said}");
        let closes = |change: &String| change == closed_by;
        assert!(way.closed_by.iter().any(closes), "{way:?}");
        assert!(!page.risks.iter().any(|risk| risk.contains("more paths")));
        // What an approver's own program prints.
        let id = job.to_string();
        let shown = machine.0.daemon.remit(&admin(), &["show", &id]);
        let text = String::from_utf8(shown.stdout).unwrap();
        let number = format!("| 1. {}", way.steps[0].split(' ').next().unwrap());
        assert!(text.contains(&format!("RISK        | {RISK}")), "{text}");
        assert!(text.contains(&number), "{text}");
        assert!(text.contains("closed by   | "), "{text}");
        let json = machine.0.daemon.remit(&admin(), &["show", &id, "--json"]);
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(
            json["opens"][0]["steps"].as_array().unwrap().len(),
            way.steps.len()
        );
        let record = machine.record(job, "asked");
        assert_eq!(record["REMIT_OPENS"], "bot reaches root", "{record}");
        assert_eq!(record["REMIT_OPENS_UNKNOWN"], Value::Null, "{record}");
    }
    machine.0.daemon.stop();
}

/// The steps are a part of the bytes that are approved. Both requests have the same plan.
#[test]
fn same_plan_without_the_agent_opens_nothing() {
    let machine = Machine::lay();
    let bundle = machine.plan(&[cron()]);
    let (job, page) = machine.page(&bundle);
    assert_eq!(page.opens.len(), 1, "{page:?}");
    let steps = page.opens[0].steps.clone();
    let is_signed = |job| {
        let verified = machine.0.daemon.verified(job);
        steps
            .iter()
            .all(|step| format!("{verified:?}").contains(step))
    };
    assert!(is_signed(job));
    machine.put("/etc/passwd", "root:x:0:0::/root:/bin/bash\n", 0, 0o644);
    let (job, page) = machine.page(&bundle);
    assert!(page.opens.is_empty() && !is_signed(job), "{page:?}");
    let about = |risk: &String| risk.contains("path to root") || risk.contains("opens a path");
    assert!(!page.risks.iter().any(about), "{:?}", page.risks);
    assert_eq!(machine.record(job, "asked")["REMIT_OPENS"], Value::Null);
    machine.0.daemon.stop();
}

/// Two commands as root: one writes what its caller gives to a table of cron.
#[test]
fn call_that_opens_a_path_says_so() {
    let read = "\n[[command]]\nname = \"site.read\"\nsummary = \"Read the table\"\nargv = [\"/usr/bin/cat\", \
                \"/etc/cron.d/site\"]\neffect = \"change\"\nprofile = \"cron\"\n";
    let both = "\"site.schedule\", \"site.read\"]";
    let policy = opened::asking().replace("\"site.schedule\"]", both);
    let daemon = Daemon::start(Options {
        policy: format!("{policy}{read}"),
        ..options()
    });
    opened::lay_machine(&daemon);
    let mut caller = Caller::new(&daemon, &user_a());
    for (name, expect) in [("site.schedule", true), ("site.read", false)] {
        let (job, _) = asks(&mut caller, name, &[]);
        let page = daemon.shows(job);
        let is_risk = page.risks.first().is_some_and(|risk| risk == RISK);
        assert_eq!(
            (page.opens.len(), is_risk),
            (expect.into(), expect),
            "{page:?}"
        );
        let records = about(&daemon, job);
        let mut records = records.iter();
        let asked = records.find(|record| record["REMIT_EVENT"] == "asked");
        let said = asked.expect("it is recorded")["REMIT_OPENS"].as_str();
        assert_eq!(said, expect.then_some("bot reaches root"));
        if let [way] = &page.opens[..] {
            let begin = "bot may call site.schedule by this request";
            assert!(way.steps[0].starts_with(begin), "{way:?}");
        }
    }
    daemon.stop();
}

/// A way that is there anyway is not opened by a plan.
#[test]
fn way_that_is_there_before_is_not_opened() {
    let machine = Machine::lay();
    machine.put("/etc/cron.d/site", CRON, 0, 0o644);
    let other = format!("{CRON}# and more\n");
    let (_, page) = machine.page(&machine.plan(&[write("/etc/cron.d/site", &other)]));
    assert!(page.opens.is_empty(), "{page:?}");
    machine.0.daemon.stop();
}

/// The plan would take the agent out of the question.
#[test]
fn agent_that_leaves_the_agents_is_judged_as_before() {
    let machine = Machine::lay();
    let bot = BOT.replace("64000", "5001");
    let passwd = format!("root:x:0:0::/root:/bin/bash\n{bot}");
    machine.put("/etc/passwd", &passwd, 0, 0o644);
    let groups = format!("{GROUPS}remit:x:{SOCKET_GROUP}:bot\n");
    machine.put("/etc/group", &groups, 0, 0o644);
    let (_, page) = machine.page(&machine.plan(&[cron(), write("/etc/group", GROUPS)]));
    assert_eq!(page.risks[0], RISK, "{page:?}");
    machine.0.daemon.stop();
}

#[test]
fn undo_that_opens_a_path_says_so() {
    let machine = Machine::lay();
    let name = &machine.script("scheduled", 0o775);
    let closes = Edit {
        mode: Some(0o755),
        ..edit(name, Action::Keep)
    };
    let bundle = super::plans::plan(&[closes]);
    let mut caller = Caller::new(&machine.0.daemon, &user_a());
    let (job, page) = machine.page(&bundle);
    assert!(page.opens.is_empty(), "{page:?}");
    approve(&machine.0.daemon, job).expect("the approver can");
    assert_eq!(exit(&caller.end_of(job)), Some(0));
    machine.owned(name, DEPLOY, 0o755);
    machine.put(
        "/etc/cron.d/site",
        &format!("7 3 * * * root {name}\n"),
        0,
        0o644,
    );
    let (job, _) = asks(&mut caller, "plan.undo", &[("id", &id_of(&bundle))]);
    let page = machine.0.daemon.shows(job);
    assert_eq!(page.risks[0], RISK, "{page:?}");
    assert!(page.opens[0].steps.concat().contains(name), "{page:?}");
    machine.0.daemon.stop();
}

/// Bytes that the program did not get are named.
#[test]
fn new_bytes_that_are_not_at_hand_are_said_to_be_unknown() {
    let machine = Machine::lay();
    let long = format!("{CRON}{}", "#\n".repeat(600 << 10));
    let (_, page) = machine.page(&machine.plan(&[write("/etc/cron.d/site", &long)]));
    assert!(page.opens.is_empty(), "{:?}", page.opens);
    let expect = format!("{NOT_KNOWN}/etc/cron.d/site: its new bytes are not known here");
    assert!(page.risks.contains(&expect), "{:?}", page.risks);
    machine.0.daemon.stop();
}

#[test]
fn request_goes_on_without_an_answer_and_says_why() {
    let machine = Machine::lay();
    for (number, (script, mode, why)) in [
        (
            "#!/bin/sh\nexit 1\n",
            0o755,
            "'remit-prove' ended without an answer",
        ),
        ("#!/bin/sh\nexec cat\n", 0o755, "'remit-prove' "),
        (
            "#!/bin/sh\n",
            0o757,
            "'remit-prove' was not started: cannot use",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        machine.prover(script, mode);
        let name = format!("files/new{number}");
        let bundle = super::plans::plan(&[machine.0.write(&name, "x\n")]);
        let (job, page) = machine.page(&bundle);
        let said: Vec<&String> = page
            .risks
            .iter()
            .filter(|risk| risk.contains("path to root"))
            .collect();
        let [line] = &said[..] else {
            panic!("{script}: {page:?}");
        };
        assert!(line.starts_with(&format!("{NOT_KNOWN}{why}")), "{line}");
        let record = machine.record(job, "asked");
        assert!(
            record["REMIT_OPENS_UNKNOWN"]
                .as_str()
                .unwrap()
                .starts_with(why),
            "{record}"
        );
        approve(&machine.0.daemon, job).expect("the approver can");
        assert_eq!(
            exit(&Caller::new(&machine.0.daemon, &user_a()).end_of(job)),
            Some(0)
        );
        assert_eq!(machine.0.read(&name), "x\n");
    }
    machine.0.daemon.stop();
}

/// The loop serves others meanwhile.
#[test]
fn program_that_hangs_delays_no_other_job() {
    let machine = Machine::lay();
    machine.prover("#!/bin/sh\nexec sleep 600\n", 0o755);
    let bundle = super::plans::plan(&[machine.0.write("files/new", "x\n")]);
    let daemon = &machine.0.daemon;
    let is_running = || {
        descendants(daemon.pid())
            .iter()
            .any(|one| one.name == "sleep")
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| machine.page(&bundle));
        until("it is asked", is_running);
        let report = machine
            .0
            .commits(&super::plans::plan(&[machine.0.write("free/a", "x\n")]));
        assert_eq!(exit(&report), Some(0), "{report:?}");
        assert!(!asking.is_finished(), "it hangs");
        let (job, page) = asking.join().unwrap();
        let line = format!("{NOT_KNOWN}'remit-prove' did not answer in 8 s");
        assert!(page.risks.contains(&line), "{:?}", page.risks);
        assert_eq!(page.pending.digest, listed(daemon, job).digest);
    });
    assert!(!is_running());
    machine.0.daemon.stop();
}

#[test]
fn hostile_names_forge_no_line_of_the_page() {
    let machine = Machine::lay();
    let script = "/srv/\u{1b}2J…9…\u{202e}/run";
    machine.put(script, "#!/bin/sh\n", DEPLOY, 0o775);
    let cron = Edit {
        mode: Some(0o644),
        ..write("/etc/cron.d/site", &format!("7 3 * * * root {script}\n"))
    };
    let (job, page) = machine.page(&machine.plan(&[cron]));
    assert_eq!(page.risks[0], RISK, "{page:?}");
    let steps = page.opens[0].steps.join(" ");
    assert!(
        steps.contains("2J") && !steps.contains(['\u{1b}', '\u{202e}', '…']),
        "{steps}"
    );
    let shown = machine
        .0
        .daemon
        .remit(&admin(), &["show", &job.to_string()]);
    let text = String::from_utf8(shown.stdout).unwrap();
    // A long page begins with its first risk.
    let (_, whole) = text.split_once("  executes ").unwrap();
    let risks = whole
        .lines()
        .filter(|line| line.trim_start().starts_with("RISK"));
    assert_eq!(risks.count(), page.risks.len(), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    machine.0.daemon.stop();
}
