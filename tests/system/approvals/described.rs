//! A program describes what its change would do. The approver sees that, and it is part of what is approved.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, at_once, cause, change};
use remit_tests::daemon::{Daemon, user_a};
use remit_tests::process::ends_within;
use remit_wire::outcome::State;

use super::scene::{APPROVERS, POLICY, approve, asks, code, does, events, options};

const EXECUTES: &str = "to start, x.service executes as root: /usr/bin/x /var/lib/of-an-agent\n";

/// A daemon with a fake remit-act, which prints the content of a file.
fn started() -> Daemon {
    let daemon = Daemon::start(options());
    let program = daemon.program("remit-act");
    let lines = daemon.path().join("does");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = describe ] || {{ echo \"ran $*\"; exit; }}\n\
         [ \"$2 $3 $4\" = 'unit start x.service' ] || exit 3\n\
         grep -q refuse {0} && {{ echo 'remit-act: the unit does what nobody may' >&2; exit 2; }}\n\
         cat {0}\n",
        lines.display()
    );
    daemon.set_file("bin/remit-act", &script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    daemon.set_file("does", EXECUTES);
    let policy = format!(
        "{POLICY}\n[[command]]\nname = \"unit.start\"\nsummary = \"starts\"\neffect = \"change\"\nprofile = \"host\"\n\
         argv = [\"{}\", \"unit\", \"start\", \"{{unit}}\"]\nargs.unit = {{ type = \"unit\" }}\n\
         [[grant]]\nname = \"units\"\nto = [\"#64001\"]\nallow = [\"unit.*\"]\neffect = \"change\"\n\
         approval = {{ by = [\"#64005\", \"%#{APPROVERS}\"] }}\n",
        program.display()
    );
    daemon.set_file("config/policy.d/10-test.toml", &policy);
    let reply = does(&daemon, AdminRequest::Reload);
    assert!(matches!(reply, AdminReply::Reloaded(_)), "{reply:?}");
    daemon
}

const UNIT: [(&str, &str); 1] = [("unit", "x.service")];

fn notes(daemon: &Daemon, job: remit_common::names::JobId) -> Vec<String> {
    daemon.shows(job).risks
}

#[test]
fn c03_an_approver_sees_what_a_unit_executes() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, _) = asks(&mut caller, "unit.start", &UNIT);
    let notes = notes(&daemon, job);
    let does = format!("does: {}", EXECUTES.trim_end());
    assert_eq!(notes.last(), Some(&does), "{notes:?}");
    approve(&daemon, job).expect("nothing has changed");
    let report = caller.end_of(job);
    assert_eq!(report.state, State::Exited, "{report:?}");
    daemon.stop();
}

#[test]
fn c03_another_effect_than_was_shown_voids_the_approval() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, _) = asks(&mut caller, "unit.start", &UNIT);
    daemon.set_file("does", "to start, x.service executes as root: /usr/bin/y\n");
    let refusal = approve(&daemon, job).expect_err("it does something else");
    assert_eq!(refusal.code, Code::ApprovalVoid, "{refusal:?}");
    let report = caller.end_of(job);
    assert_eq!(code(&report), "approval_void");
    let why = cause(&report);
    assert!(why.contains("its effect has changed"), "{why}");
    daemon.stop();
}

/// What it does is not known for a moment, and nothing has changed.
#[test]
fn description_that_fails_refuses_this_approval_alone() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, _) = asks(&mut caller, "unit.start", &UNIT);
    daemon.set_file("does", "refuse");
    let refusal = approve(&daemon, job).expect_err("what it does is not known");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    let why = "not approved: cannot show what it would do: ";
    assert!(refusal.message.starts_with(why), "{refusal:?}");
    let next = refusal.next.as_deref().unwrap_or_default();
    assert!(next.contains("approve it again"), "{refusal:?}");
    daemon.set_file("does", EXECUTES);
    approve(&daemon, job).expect("nothing has changed");
    assert_eq!(caller.end_of(job).state, State::Exited);
    assert_eq!(events(&daemon, job), ["asked", "approved", "intent", "end"]);
    daemon.stop();
}

#[test]
fn c03_change_its_program_refuses_is_not_requested() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    for (lines, why) in [
        ("refuse", "the unit does what nobody may"),
        ("half a line", "gave no lines of text"),
        ("", "gave no lines of text"),
    ] {
        daemon.set_file("does", lines);
        let refusal = caller
            .run(at_once(change("unit.start", &UNIT)))
            .expect_err("nobody can be shown what it does");
        assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
        assert!(refusal.message.contains(why), "{refusal:?}");
    }
    daemon.stop();
}

#[test]
fn q07_nothing_that_describes_outlives_the_measuring() {
    let daemon = started();
    // What the daemon starts writes where the daemon may.
    let pids = daemon.path().join("state/pids");
    let script = format!(
        "#!/bin/sh\nsleep 3000 & echo $! $$ >{0}.part; mv {0}.part {0}; wait\n",
        pids.display()
    );
    daemon.set_file("bin/remit-act", &script);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(daemon.program("remit-act"), mode).expect("it is ours");
    let mut caller = Caller::new(&daemon, &user_a());
    let refusal = caller
        .run(at_once(change("unit.start", &UNIT)))
        .expect_err("what it does is not known");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    let why = "remit-act describe unit start x.service' did not end within";
    assert!(refusal.message.contains(why), "{refusal:?}");
    assert!(!refusal.message.contains("a disk"), "{refusal:?}");
    let pids = fs::read_to_string(pids).expect("it ran");
    for pid in pids.split_whitespace() {
        assert!(ends_within(pid.parse().expect("a number"), 60_000), "{pid}");
    }
    daemon.stop();
}
