//! A temporary grant that opens a way to root is refused with the steps, until its giver or the policy accepts it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, NewGrant};
use remit_common::refusal::{Code, Refusal};
use remit_tests::daemon::{Daemon, Options, admin};

use super::scene::{give_as, listed, options, revoke, to_a};
use crate::policy::opened::{OPENS, asking, lay_machine};
use crate::policy::scene::{FILE, reload};

const ACCEPTS: &str =
    "[[accept]]\nagent = \"bot\"\nreaches = \"root\"\nreason = \"it keeps the site's table\"\n";

/// It opens nothing.
const HARMLESS: &str = r##"
[[command]]
name = "site.reload"
summary = "Do nothing"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[grant]]
name = "reload"
to = ["#64001"]
allow = ["site.reload"]
approval = { by = ["#64005"] }
"##;

fn daemon() -> Daemon {
    daemon_with(asking())
}

fn daemon_with(policy: String) -> Daemon {
    let daemon = Daemon::start(Options {
        policy,
        ..options()
    });
    lay_machine(&daemon);
    daemon
}

fn insist(daemon: &Daemon, new: NewGrant) -> Result<ActiveGrant, Refusal> {
    let request = AdminRequest::Grant {
        new,
        accepts_paths: true,
    };
    match daemon.administers(&admin(), request)? {
        AdminReply::Granted(granted) => Ok(*granted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn grant_that_opens_a_path_is_refused_until_it_is_accepted() {
    let daemon = daemon();
    let refused = give_as(&daemon, &admin(), to_a("site.schedule")).expect_err("bot becomes root");
    assert_eq!(refused.code, Code::DeniedRule);
    for part in [
        "this grant opens a path: bot reaches root: 1. bot may call site.schedule by this grant of ",
        " 2. root reads or runs /etc/cron.d/site [cron-table]; ",
    ] {
        assert!(refused.message.contains(part), "{refused:?}");
    }
    let next = refused.next.expect("there is a way out");
    assert!(next.contains("--accept-paths"), "{next}");
    assert!(listed(&daemon).is_empty() && daemon.records("given").is_empty());
    let _ = insist(&daemon, to_a("site.schedule")).expect("its giver accepts it");
    let [record] = &daemon.records("given")[..] else {
        panic!("{:?}", daemon.records("given"));
    };
    assert_eq!(record["REMIT_OPENS"], "bot reaches root", "{record}");
    let again = give_as(&daemon, &admin(), to_a("site.schedule"));
    assert!(again.is_err(), "the one that is accepted ends sooner");
    let _ = revoke(&daemon, None).expect("they end");
    daemon.set_file(FILE, &format!("{}{ACCEPTS}", asking()));
    let _ = reload(&daemon).expect("it grants nothing");
    let _ = give_as(&daemon, &admin(), to_a("site.schedule")).expect("the policy accepts it");
    daemon.stop();
}

#[test]
fn grant_opens_nothing_by_commands_that_it_does_not_cover() {
    let of_another = asking().replace("#64005", "#64006");
    let daemon = daemon_with(of_another + HARMLESS);
    let granted = give_as(&daemon, &admin(), to_a("site.*")).expect("it opens nothing");
    assert_eq!(granted.covered, ["site.reload"]);
    let [record] = &daemon.records("given")[..] else {
        panic!("{:?}", daemon.records("given"));
    };
    assert!(record["REMIT_OPENS"].is_null(), "{record}");
    assert!(record["REMIT_OPENS_UNKNOWN"].is_null(), "{record}");
    daemon.stop();
}

/// It ends, and a rule stays: what it permits does not make a rule harmless.
#[test]
fn grant_in_force_hides_no_path_of_a_policy() {
    let daemon = daemon();
    let _ = insist(&daemon, to_a("site.schedule")).expect("its giver accepts it");
    daemon.set_file(FILE, OPENS);
    let refused = reload(&daemon).expect_err("bot becomes root").message;
    assert!(
        refused.contains("opens a path: bot reaches root"),
        "{refused}"
    );
    daemon.stop();
}

#[test]
fn grant_without_an_answer_is_refused() {
    let daemon = daemon();
    let program = daemon.program("remit-prove");
    fs::remove_file(&program).expect("the directory is writable");
    fs::write(&program, "#!/bin/sh\nexit 1\n").expect("the directory is writable");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("the file is ours");
    let refused = give_as(&daemon, &admin(), to_a("site.schedule")).expect_err("nothing is known");
    let expect = "the ways to root that this grant opens are not known: 'remit-prove' ";
    assert!(refused.message.starts_with(expect), "{refused:?}");
    let _ = insist(&daemon, to_a("site.schedule")).expect("its giver accepts that");
    let [record] = &daemon.records("given")[..] else {
        panic!("{:?}", daemon.records("given"));
    };
    let why = record["REMIT_OPENS_UNKNOWN"].as_str().expect("it is said");
    assert!(why.starts_with("'remit-prove' "), "{why}");
    let settings = daemon.path().join("config/remit.toml");
    let text = fs::read_to_string(settings).expect("it is there");
    daemon.set_file("config/remit.toml", &(text + "\n[policy]\nprove = false\n"));
    let _ = reload(&daemon).expect("it is the same policy");
    let _ = give_as(&daemon, &admin(), to_a("site.schedule")).expect("it is not asked");
    daemon.stop();
}
