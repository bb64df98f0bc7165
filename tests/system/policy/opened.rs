//! A reload refuses a policy by which an agent would become root, as `remit-prove` finds it in the files of the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};

use super::scene::{FILE, reload};

/// Lets user A write a table of cron, as root.
pub const OPENS: &str = r##"
[[command]]
name = "site.schedule"
summary = "Write the site's table of cron"
argv = ["/usr/bin/tee", "/etc/cron.d/site"]
effect = "change"
stdin = "caller"
profile = "cron"

[profile.cron]
base = "strict"
user = "root"
write = ["/etc/cron.d"]
leads_to_root = true

[[grant]]
name = "schedule"
to = ["#64001"]
allow = ["site.schedule"]
"##;

/// The same, where each write of the table asks an approver.
pub fn asking() -> String {
    let asks = "allow = [\"site.schedule\"]\napproval = { by = [\"#64005\"] }";
    OPENS.replace("allow = [\"site.schedule\"]", asks)
}

/// Its test grants nothing.
const BEFORE: &str =
    "[[grant]]\nname = \"look\"\nto = [\"#64001\", \"#64002\"]\nallow = [\"run\"]\n";

const ACCEPTS: &str =
    "[[accept]]\nagent = \"bot\"\nreaches = \"root\"\nreason = \"it keeps the site's table\"\n";

fn whole(parts: &[&str]) -> String {
    parts.concat()
}

/// A daemon whose machine has cron, and user A as `bot`.
fn daemon(options: Options) -> Daemon {
    let daemon = Daemon::start(Options {
        policy: BEFORE.to_owned(),
        ..options
    });
    lay_machine(&daemon);
    daemon
}

pub fn lay_machine(daemon: &Daemon) {
    let machine = daemon.path().join("machine");
    for directory in ["etc/cron.d", "usr/sbin", "usr/bin", "home/bot"] {
        fs::create_dir_all(machine.join(directory)).expect("the directory is writable");
    }
    let group = format!("root:x:0:\nagents:x:{SOCKET_GROUP}:bot\n");
    for (name, text) in [
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/bash\nbot:x:64001:64001::/home/bot:/bin/bash\n",
        ),
        ("etc/group", group.as_str()),
        ("etc/cron.d/site", "# nothing\n"),
    ] {
        daemon.set_file(&format!("machine/{name}"), text);
    }
    for program in ["usr/sbin/cron", "usr/bin/tee"] {
        let path = machine.join(program);
        fs::write(&path, "\u{7f}ELF").expect("the directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    }
}

#[test]
fn policy_that_opens_a_path_is_refused_with_its_steps_until_it_accepts_it() {
    let daemon = daemon(Options::default());
    let before = daemon.status().policy;
    daemon.set_file(FILE, &whole(&[BEFORE, OPENS]));
    let refused = reload(&daemon).expect_err("bot becomes root").message;
    for part in [
        "this policy opens a path: bot reaches root: 1. bot may call site.schedule by schedule (",
        " 2. root reads or runs /etc/cron.d/site [cron-table]; closed by: narrow schedule (",
        "to accept it, write [[accept]] with agent = \"bot\", reaches = \"root\" and the reason",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(daemon.status().policy, before);
    let other = ACCEPTS.replace("\"root\"", "\"remit\"");
    daemon.set_file(FILE, &whole(&[BEFORE, OPENS, &other]));
    assert!(reload(&daemon).is_err(), "another path is accepted");
    daemon.set_file(FILE, &whole(&[BEFORE, OPENS, ACCEPTS]));
    let loaded = reload(&daemon).expect("it is accepted");
    let changes = loaded.changes.join("\n");
    assert!(
        changes.contains("a path of bot to root is accepted"),
        "{changes}"
    );
    assert_ne!(daemon.status().policy, before);
    // What is in force opens nothing again, also without its [[accept]].
    daemon.set_file(FILE, &whole(&["# a comment\n", BEFORE, OPENS]));
    let changes = reload(&daemon).expect("it is in force").changes.join("\n");
    assert!(changes.contains("is not accepted any more"), "{changes}");
    daemon.stop();
}

#[test]
fn account_that_the_tables_lack_is_judged() {
    let daemon = daemon(Options::default());
    daemon.set_file(FILE, &whole(&[BEFORE, &OPENS.replace("#64001", "#64002")]));
    let refused = reload(&daemon)
        .expect_err("a number is an agent, too")
        .message;
    assert!(
        refused.contains("#64002 reaches root: 1. #64002 may call"),
        "{refused}"
    );
    daemon.stop();
}

#[test]
fn policy_that_makes_an_agent_an_approver_is_refused_all_the_same() {
    let daemon = daemon(Options::default());
    let approver = "[[grant]]\nto = [\"#64002\"]\nallow = [\"site.schedule\"]\neffect = \"change\"\napproval = { by = [\"#64001\"] }\n";
    daemon.set_file(FILE, &whole(&[BEFORE, OPENS, approver]));
    assert!(
        reload(&daemon).is_err(),
        "bot is an agent by the policy in force"
    );
    daemon.stop();
}

/// Whatever an agent does to its own files, an administrator can take permissions away.
#[test]
fn machine_that_cannot_be_looked_at_keeps_only_wider_policies_out() {
    let daemon = daemon(Options::default());
    let stranger = OPENS
        .replace("#64001", "#64003")
        .replace("schedule\"\nto", "strangers\"\nto");
    daemon.set_file(
        "machine/etc/passwd",
        "root:x:0:0::/root:/bin/bash\ncat:x:64003:64003::/:/bin/sh\n",
    );
    daemon.set_file(
        FILE,
        &whole(&[
            BEFORE,
            &stranger,
            "[[grant]]\nname = \"logs\"\nto = [\"#64003\"]\nallow = [\"logs\"]\n",
            &ACCEPTS.replace("bot", "cat"),
        ]),
    );
    let _ = reload(&daemon).expect("it is accepted");
    // An account makes root's reader stop: more names than it reads.
    let home = daemon.path().join("machine/home/bot");
    fs::remove_dir(&home).expect("it is empty");
    std::os::unix::fs::symlink("/home/bot/loop", &home).expect("the directory is writable");
    // A grant above a command is gone, so its line is another one: rules alone do not tell.
    daemon.set_file(
        FILE,
        &whole(&[BEFORE, &stranger, &ACCEPTS.replace("bot", "cat")]),
    );
    let _ = reload(&daemon).expect("it grants less");
    daemon.set_file(FILE, &whole(&["# one line more\n", BEFORE, &stranger]));
    let _ = reload(&daemon).expect("it grants the same");
    daemon.stop();
}

#[test]
fn without_an_answer_only_a_narrower_policy_loads() {
    let daemon = daemon(Options::default());
    let prover = daemon.program("remit-prove");
    let hidden = prover.with_extension("hidden");
    fs::rename(&prover, &hidden).expect("it is there");
    let wider = whole(&[
        BEFORE,
        "[[grant]]\nname = \"more\"\nto = [\"#64003\"]\nallow = [\"run\"]\n",
    ]);
    // Whether it ends before it is asked decides which of two reasons there is.
    let why = "'remit-prove' ";
    for stand_in in [
        "#!/bin/sh\nexit 3\n",
        "#!/bin/sh\nexec head -c 100000 /dev/zero\n",
        "#!/bin/sh\nprintf '\\001\\377\\377\\377\\377'\n",
    ] {
        fs::write(&prover, stand_in).expect("the directory is writable");
        fs::set_permissions(&prover, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        daemon.set_file(FILE, &wider);
        let refused = reload(&daemon).expect_err("nothing is known").message;
        let expect = "the ways to root that this policy opens are not known";
        assert!(
            refused.contains(expect) && refused.contains(why),
            "{refused}"
        );
        assert!(
            refused.contains("write 'prove = false' in the section [policy]"),
            "{refused}"
        );
        daemon.set_file(FILE, &BEFORE.replace(", \"#64002\"", ""));
        let _ = reload(&daemon).expect("it grants less");
        daemon.set_file(FILE, BEFORE);
        assert!(reload(&daemon).is_err(), "it grants more again");
    }
    let settings = daemon.path().join("config/remit.toml");
    let text = fs::read_to_string(settings).expect("it is there");
    daemon.set_file("config/remit.toml", &(text + "\n[policy]\nprove = false\n"));
    let _ = reload(&daemon).expect("it is not asked");
    fs::rename(&hidden, &prover).expect("the directory is writable");
    daemon.stop();
}
