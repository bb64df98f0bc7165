//! Invalid policies: none comes into force, each is reported with file, line and column, and the old policy stays.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use remit_common::caps;
use remit_tests::caller::{named, stdout};
use remit_tests::daemon::{Daemon, user_a};

use super::scene::{FILE, GRANTS, asked, prints, reload, ungranted_user, with};

const COMMAND: &str = "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\"]\n\
                       effect = \"read\"\nprofile = \"read\"\n";

/// Text, line of the error, and a word of the message. `@` is replaced by a valid command.
const BROKEN: &[(&str, u32, &str)] = &[
    ("[[grant]\nto = []\n", 1, ""),
    ("to = [\n", 1, ""),
    ("[[grant]]\nto = [\"#1\"]\n", 1, "allow"),
    ("[[grant]]\nto = \"#1\"\nallow = [\"run\"]\n", 2, "to"),
    (
        "[[grant]]\nto = [\"#1\"]\nallow = [\"run\"]\nsandox = 1\n",
        4,
        "sandox",
    ),
    (
        "[[grant]]\nto = [\"#4294967295\"]\nallow = [\"run\"]\n",
        2,
        "4294967295",
    ),
    ("[[grant]]\nto = [\"#-1\"]\nallow = [\"run\"]\n", 2, "-1"),
    (
        "[[grant]]\nto = [\"#1\"]\nallow = [\"run\"]\nrun_profile = \"none\"\n",
        4,
        "none",
    ),
    (
        "[[grant]]\nto = [\"#1\"]\nallow = [\"run\"]\nrun_profile = \"host\"\n",
        4,
        "host",
    ),
    (
        "[[grant]]\nto = [\"#1\"]\nallow = [\"run\"]\nenv = [\"LD_PRELOAD\"]\n",
        4,
        "LD_PRELOAD",
    ),
    (
        "[[grant]]\nto = [\"#1\"]\nallow = [\"run\"]\napproval = \"later\"\n",
        4,
        "approval",
    ),
    (
        "[[deny]]\nto = [\"no-such-user-here\"]\ndeny = [\"run\"]\n",
        2,
        "no-such-user-here",
    ),
    (
        "[[deny]]\nto = [\"#1\"]\ndeny = [\"no.such\"]\n",
        3,
        "no.such",
    ),
    ("[[command]]\nname = \"a.b\"\n", 1, "argv"),
    (
        "@[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\"]\neffect = \"read\"\nprofile = \"read\"\n",
        8,
        "a.b",
    ),
    (
        "[[command]]\nname = \"run\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\"]\neffect = \"read\"\nprofile = \"read\"\n",
        2,
        "run",
    ),
    (
        "[[command]]\nname = \"logs\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\"]\neffect = \"read\"\nprofile = \"read\"\n",
        2,
        "logs",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"true\"]\neffect = \"read\"\nprofile = \"read\"\n",
        4,
        "absolute path",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = []\neffect = \"read\"\nprofile = \"read\"\n",
        4,
        "",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/echo\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\n",
        4,
        "x",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/sh\", \"-c\", \"echo {x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"string\" }\n",
        4,
        "",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/sh\", \"-c\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"string\" }\n",
        4,
        "sh",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/env\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"string\" }\n",
        4,
        "env",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/echo\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"string\", pattern = \"(\" }\n",
        7,
        "",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/echo\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"text\" }\n",
        7,
        "text",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/echo\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"int\", min = 5, max = 1 }\n",
        7,
        "",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/echo\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"int\" }\naccepts = [{ x = \"one\" }]\n",
        8,
        "one",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/echo\", \"{x}\"]\neffect = \"read\"\nprofile = \"read\"\nargs.x = { type = \"int\" }\nrejects = [{ x = \"1\" }]\n",
        8,
        "1",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\"]\neffect = \"write\"\nprofile = \"read\"\n",
        5,
        "write",
    ),
    (
        "[[command]]\nname = \"a.b\"\nsummary = \"s\"\nargv = [\"/usr/bin/true\"]\neffect = \"read\"\nprofile = \"host\"\nstdin = \"caller\"\n",
        7,
        "reads nothing that a caller writes",
    ),
    (
        "[profile.x]\nbase = \"strict\"\nwrite = [\"/etc\"]\n",
        3,
        "/etc",
    ),
    (
        "[profile.x]\nbase = \"strict\"\nwrite = [\"/var/lib/../lib/x\"]\n",
        3,
        "",
    ),
    (
        "[profile.x]\nbase = \"strict\"\ncapabilities = [\"CAP_SYS_ADMIN\"]\n",
        3,
        "CAP_SYS_ADMIN",
    ),
    (
        "[profile.x]\nbase = \"strict\"\nwrite = [\"/srv/x\"]\nexec = [\"/srv/x/bin\"]\n",
        0,
        "/srv/x",
    ),
    ("[profile.x]\nbase = \"read\"\nuser = \"root\"\n", 3, "user"),
    (
        "[profile.x]\nbase = \"host\"\nwrite = [\"/srv/x\"]\n",
        3,
        "write",
    ),
    (
        "[profile.x]\nbase = \"strict\"\nnetwork = [\"10.0.0.1\"]\n",
        3,
        "10.0.0.1",
    ),
    ("[profile.read]\nbase = \"strict\"\n", 1, "read"),
    ("[profile.x]\nbase = \"lax\"\n", 2, "lax"),
    (
        "[profile.x]\nbase = \"strict\"\nlimits = { memory = \"lots\" }\n",
        3,
        "lots",
    ),
    (
        "[[test]]\nwho = \"#5\"\nwhat = \"run\"\nverdict = \"allow\"\n",
        0,
        "uid 5",
    ),
    (
        "[[test]]\nwho = \"#5\"\nwhat = \"run\"\nverdict = \"perhaps\"\n",
        4,
        "perhaps",
    ),
    (
        "@[[grant]]\nname = \"x\"\nto = []\nallow = []\n[[grant]]\nname = \"x\"\nto = []\nallow = []\n",
        0,
        "x",
    ),
];

fn good() -> String {
    prints("site.look", "\"old\"", "") + "\n" + GRANTS
}

fn serves_as_before(daemon: &Daemon, digest: &str, what: &str) {
    let report = asked(daemon, &user_a(), named("site.look", &[]));
    let report = report.unwrap_or_else(|why| panic!("{what}: {why}"));
    assert_eq!(stdout(&report), "[old]", "{what}");
    assert_eq!(daemon.status().policy, digest, "{what}");
    let refused = asked(daemon, &ungranted_user(), named("site.look", &[]));
    assert!(refused.is_err(), "{what}: it was not granted");
}

fn is_refused(daemon: &Daemon, what: &str) -> String {
    let refusal = match reload(daemon) {
        Err(refusal) => refusal,
        Ok(reloaded) => panic!("{what} went live: {reloaded:?}"),
    };
    let why = daemon
        .status()
        .policy_error
        .unwrap_or_else(|| panic!("{what}: the status says nothing"));
    assert!(
        refusal.message.contains("old policy stays"),
        "{what}: {refusal:?}"
    );
    assert!(
        daemon
            .stderr()
            .contains(why.lines().next().unwrap_or_default()),
        "{what}: the log says nothing: {why}"
    );
    let record = daemon.records("policy").pop().unwrap_or_default();
    assert_eq!(record["REMIT_VERDICT"], "refused", "{what}: {record}");
    refusal.message
}

#[test]
fn forty_broken_policies_are_refused_with_location() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let digest = daemon.status().policy;
    let other = daemon.path().join("config/policy.d/50-other.toml");
    let mut wrong = Vec::new();
    for (text, line, word) in BROKEN {
        // Another file is changed, too. It must not come into force either.
        daemon.set_file(FILE, &(prints("site.look", "\"new\"", "") + GRANTS));
        let text = text.replace('@', COMMAND);
        daemon.set_file("config/policy.d/50-other.toml", &text);
        let said = is_refused(&daemon, &text);
        let location = said.split("50-other.toml:").nth(1).unwrap_or_default();
        let mut numbers = location.split(':').map(str::parse::<u32>);
        let (found, column) = (numbers.next(), numbers.next());
        let has_location = matches!((&found, &column), (Some(Ok(_)), Some(Ok(1..))));
        // Line 0: several lines are wrong, and any of them may be reported.
        let right = *line == 0 || found == Some(Ok(*line));
        if !has_location || !right || !said.contains(word) {
            wrong.push(format!("{text}line {line}, '{word}': {said}"));
        }
        serves_as_before(&daemon, &digest, &text);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(BROKEN.len() >= 40);
    fs::remove_file(other).expect("it is ours");
    daemon.set_file(FILE, &good());
    let _ = reload(&daemon).expect("it is right again");
    let now = daemon.status();
    assert_eq!((now.policy_error, now.policy), (None, digest));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn all_errors_are_reported_with_line_and_marker() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    daemon.set_file(
        "config/policy.d/50-other.toml",
        "[[grant]]\nto = [\"#1\"]\nallow = [\"run\"]\nsandox = 1\n\n[profile.x]\nbase = \"lax\"\n",
    );
    daemon.set_file("config/policy.d/60-more.toml", "[[deny]]\nto = [\"#1\"]\n");
    let said = is_refused(&daemon, "three errors");
    assert!(said.contains("2 more"), "{said}");
    let all = daemon.status().policy_error.expect("it is broken");
    for location in ["50-other.toml:4:", "50-other.toml:7:", "60-more.toml:1:"] {
        assert!(all.contains(location), "{location}: {all}");
    }
    assert!(all.contains("sandox = 1") && all.contains("^^^"), "{all}");
    let output = daemon.remit(
        &remit_tests::process::Identity::new(0, &[0]),
        &[
            "policy",
            "check",
            "--config",
            &daemon.path().join("config").display().to_string(),
        ],
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    for location in ["50-other.toml:4:", "50-other.toml:7:", "60-more.toml:1:"] {
        assert!(text.contains(location), "{location}: {text}");
    }
    daemon.stop();
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("it is ours");
}

type Prepare = fn(&Path);

const ODD: &[(&str, Prepare)] = &[
    ("a FIFO", |path| {
        nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)).expect("it is ours")
    }),
    ("a directory", |path| {
        fs::create_dir(path).expect("it is ours")
    }),
    ("a link to a file", |path| {
        fs::write(path.with_extension("txt~"), COMMAND).expect("it is ours");
        symlink(path.with_extension("txt~"), path).expect("it is ours");
    }),
    ("a link to /dev/zero", |path| {
        symlink("/dev/zero", path).expect("it is ours")
    }),
    ("a link to itself", |path| {
        symlink(path, path).expect("it is ours")
    }),
    ("a link to nothing", |path| {
        symlink("/nowhere", path).expect("it is ours")
    }),
    ("a device", |path| {
        let made = Command::new("mknod")
            .arg(path)
            .args(["c", "1", "5"])
            .status();
        assert!(made.is_ok_and(|made| made.success()));
    }),
    ("a socket", |path| {
        let _ = std::os::unix::net::UnixListener::bind(path).expect("it is ours");
    }),
    ("a file with two names", |path| {
        fs::write(path, COMMAND).expect("it is ours");
        fs::hard_link(path, path.with_extension("bak")).expect("it is ours");
    }),
    ("somebody's file", |path| {
        fs::write(path, COMMAND).expect("it is ours");
        chown(path, Some(64_001), None).expect("the tests run as root");
    }),
    ("a file that a group may write", |path| {
        fs::write(path, COMMAND).expect("it is ours");
        mode(path, 0o664);
    }),
    ("a file that all may write", |path| {
        fs::write(path, COMMAND).expect("it is ours");
        mode(path, 0o646);
    }),
    ("a file of 1 GiB", |path| {
        let file = fs::File::create(path).expect("it is ours");
        file.set_len(1 << 30).expect("it is ours");
    }),
    ("a file above the cap", |path| {
        fs::write(path, "#".repeat(caps::POLICY_FILE + 1)).expect("it is ours");
    }),
    ("a file that is not UTF-8", |path| {
        fs::write(path, b"# \xff\n").expect("it is ours")
    }),
    ("a file with a NUL", |path| {
        fs::write(path, b"[[grant]]\nto = [\"\0\"]\n").expect("it is ours")
    }),
    ("deep nesting", |path| {
        fs::write(
            path,
            format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        )
        .expect("it is ours");
    }),
    ("many keys", |path| {
        fs::write(path, "a.".repeat(50_000) + "b = 1").expect("it is ours");
    }),
    ("an include", |path| {
        fs::write(path, "include = [\"/etc/remit/*\"]\n").expect("it is ours")
    }),
];

#[test]
fn unsafe_policy_file_is_refused_without_blocking() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let digest = daemon.status().policy;
    let path = daemon.path().join("config/policy.d/50-odd.toml");
    for (what, prepare) in ODD {
        prepare(&path);
        let said = is_refused(&daemon, what);
        assert!(said.contains("50-odd.toml"), "{what}: {said}");
        assert!(said.len() < 4096, "{what}: {} bytes", said.len());
        serves_as_before(&daemon, &digest, what);
        if path.is_dir() {
            fs::remove_dir(&path).expect("it is ours");
        } else {
            fs::remove_file(&path).expect("it is ours");
        }
        for left in ["bak", "txt~"] {
            let _ = fs::remove_file(path.with_extension(left));
        }
        let _ = reload(&daemon).unwrap_or_else(|why| panic!("without {what}: {why:?}"));
    }
    for dir in ["config/policy.d", "config"] {
        let dir = daemon.path().join(dir);
        mode(&dir, 0o777);
        let said = is_refused(&daemon, "a directory that all may write");
        assert!(
            said.contains("policy.d") || said.contains("config"),
            "{said}"
        );
        serves_as_before(&daemon, &digest, "a directory that all may write");
        mode(&dir, 0o755);
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn leftovers_ignored_masks_hide_vendor_files_are_replaced() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let digest = daemon.status().policy;
    for name in [
        "50-a.toml~",
        ".50-a.toml.swp",
        "50-a.toml.dpkg-new",
        ".50-hidden.toml",
        "#50-a.toml#",
        "50-a.toml.bak",
    ] {
        daemon.set_file(&format!("config/policy.d/{name}"), "nonsense");
    }
    let _ = reload(&daemon).expect("nobody reads them");
    assert_eq!(daemon.status().policy, digest);
    let vendor = "[[grant]]\nname = \"vendor\"\nto = [\"#64002\"]\nallow = [\"site.look\"]\n";
    daemon.set_file("vendor/policy.d/90-vendor.toml", vendor);
    let _ = reload(&daemon).expect("it is right");
    assert!(
        asked(
            &daemon,
            &remit_tests::daemon::user_b(),
            named("site.look", &[])
        )
        .is_ok()
    );
    let mask = daemon.path().join("config/policy.d/90-vendor.toml");
    symlink("/dev/null", &mask).expect("it is ours");
    let _ = reload(&daemon).expect("it is right");
    assert_eq!(daemon.status().policy, digest, "masked");
    fs::remove_file(&mask).expect("it is ours");
    daemon.set_file("config/policy.d/90-vendor.toml", "# nothing\n");
    let _ = reload(&daemon).expect("it is right");
    assert!(
        asked(
            &daemon,
            &remit_tests::daemon::user_b(),
            named("site.look", &[])
        )
        .is_err(),
        "replaced"
    );
    daemon.stop();
}
