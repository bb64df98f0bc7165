use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::fake::{Directory, Said, remit};

/// A policy whose names resolve alike on any machine, with a command of each kind.
const POLICY: &str = r##"
[[command]]
name = "disk.usage"
summary = "How large a directory of logs is"
argv = ["/usr/bin/du", "-s", ["--threshold={least}"], "--", "{where}"]
effect = "read"
profile = "logs"
args.where = { type = "path", under = "/var/log", default = "/var/log", is = "directory" }
args.least = { type = "int", min = 1, max = 100, optional = true }
accepts = [{ where = "/var/log/apt" }, { least = 5 }]
rejects = [{ where = "/etc" }]

[[command]]
name = "clock.set"
summary = "Write down a time"
argv = ["/usr/bin/touch", "--date={date}", "/srv/stamp"]
effect = "change"
profile = "stamp"
env = { LC_ALL = "C" }
limits = { runtime = "5s" }
args.date = { type = "string", pattern = "[0-9]{4}-[0-9]{2}" }

[profile.logs]
base = "strict"
read = ["/var/log"]
limits = { runtime = "30s", memory = "64M" }

[profile.stamp]
summary = "may write a stamp"
base = "strict"
user = "daemon"
groups = ["#64010"]
write = ["/srv/stamp"]
network = ["127.0.0.1:8080"]

[[grant]]
name = "look"
to = ["#64001", "%#64002"]
allow = ["run", "disk.*"]

[[grant]]
name = "stamp"
to = ["#64001"]
allow = ["clock.set"]
approval = { by = ["%#64003"], expires = "10min" }

[[deny]]
name = "not-them"
to = ["%#64004"]
deny = ["disk.usage"]

[[test]]
who = "#64001"
what = "run disk.usage"
verdict = "allow"
"##;

struct Configuration(Directory);

impl Configuration {
    fn new(policy: &str) -> Self {
        let made = Self(Directory::new());
        fs::create_dir(made.dir().join("policy.d")).unwrap();
        made.write("20.toml", policy);
        made
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir().join("policy.d").join(name), text).unwrap();
    }

    fn said(&self, args: &[&str]) -> Said {
        let dir = self.dir().to_str().unwrap();
        let files = ["--config", dir, "--vendor", "/nonexistent", "--any-owner"];
        self.bare(&[&["policy"], args.get(..1).unwrap(), &files, &args[1..]].concat())
    }

    fn bare(&self, args: &[&str]) -> Said {
        let mut command = remit(Path::new("/nonexistent"), args);
        let mut said = Said::from(command.output().unwrap());
        let dir = self.dir().to_str().unwrap();
        let cut = |text: &str| text.replace(dir, "~");
        said.stdout = cut(&String::from_utf8(said.stdout).unwrap()).into_bytes();
        said.stderr = cut(&said.stderr);
        said
    }
}

/// The digest depends on the path of the files.
fn without_digest(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    let lines = lines.filter(|line| !line.starts_with("policy "));
    lines.collect()
}

fn without_warnings() -> Configuration {
    let plain = POLICY
        .replace("groups = [\"#64010\"]\n", "")
        .replace("[\"/srv/stamp", "[\"-/srv/stamp")
        .replace("%#64004", "%bin");
    Configuration::new(&plain)
}

#[test]
fn check_counts_rules_and_tells_skipped_checks() {
    let missing = Configuration::new(POLICY).said(&["check"]);
    let warned = "policy: warning: '/srv/stamp', which profile 'stamp' lists, does not exist";
    assert!(
        missing.text().contains(warned) && missing.status == Some(0),
        "{missing:?}"
    );
    let policy = without_warnings();
    let said = policy.said(&["check"]);
    let json = policy.said(&["check", "--json"]).json();
    let digest = json["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64, "{json}");
    let expect = format!(
        "\
the policy loads: 3 rules and 2 commands in 1 file
policy {digest}
file ownership and permissions were not checked
"
    );
    assert_eq!((said.status, said.text()), (Some(0), &*expect), "{said:?}");
    assert_eq!(json["loads"], true);
    assert_eq!((&json["rules"], &json["commands"]), (&3.into(), &2.into()));
    assert_eq!(json["files"], serde_json::json!(["~/policy.d/20.toml"]));
    assert_eq!(json["owners"], false);
}

#[test]
fn check_names_each_line_of_approvers_that_is_no_key() {
    const GOOD: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICO1nvuBYP16wRDExFPKSwSTmomzJJmbULoAnVF9yLLV";
    let policy = without_warnings();
    let checked = |approvers: &str| {
        fs::write(policy.dir().join("approvers"), approvers).unwrap();
        policy.said(&["check"])
    };
    let loads = "the policy loads: 3 rules and 2 commands in 1 file";
    let good = checked(&format!("# people\nann {GOOD} ann@home\n"));
    assert_eq!(good.status, Some(0), "{good:?}");
    assert!(good.text().starts_with(loads), "{good:?}");
    for (line, why) in [
        ("ann ssh-ed25519 AAAA", "line 2: it has no valid public key"),
        (
            "ann ssh-ed25519 no-base64!",
            "line 2: it has no valid public key",
        ),
        (
            "ann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx",
            "line 2: it has no valid public key",
        ),
        (
            "ann sk-ssh-ed25519@openssh.com AAAAC3NzaC1lZDI1NTE5AAAAICO1nvuBYP16wRDExFPKSwSTmomzJJmbULoAnVF9yLLV",
            "line 2: it has no valid public key",
        ),
        (
            "ann ssh-rsa AAAAB3",
            "keys of the kind 'ssh-rsa' are not accepted",
        ),
        ("* ssh-ed25519 AAAA", "'*' is not the name of an account"),
    ] {
        let said = checked(&format!("ann {GOOD}\n{line}\n"));
        let text = said.text();
        assert_eq!(said.status, Some(1), "{said:?}");
        assert!(
            text.starts_with("~/approvers: error: line 2: ") && text.contains(why),
            "{line}: {text}"
        );
        assert!(text.contains(loads), "{text}");
        assert!(
            text.contains(
                "\nno signature of an approver is accepted: 1 error in the file of their keys\n"
            ),
            "{text}"
        );
    }
    let twice = checked("ann ssh-ed25519 AAAA\nbob ssh-ed25519 AAAB\n");
    assert_eq!(
        twice.text().matches("approvers: error: line ").count(),
        2,
        "{twice:?}"
    );
    let json = policy.said(&["check", "--json"]).json();
    assert_eq!((&json["loads"], &json["errors"]), (&true.into(), &2.into()));
}

#[test]
fn check_finds_the_keys_of_a_relative_directory() {
    let policy = Configuration::new("");
    let (above, name) = (policy.dir().parent().unwrap(), policy.dir().file_name());
    let name = name.unwrap().to_str().unwrap();
    // A shadow policy has the keys of the directory above it.
    let shadow = format!("{name}/shadow");
    fs::create_dir_all(above.join(&shadow).join("policy.d")).unwrap();
    for (other, config) in [
        ("--any-owner", name),
        ("--elsewhere", name),
        ("--any-owner", &shadow),
    ] {
        let checked = || {
            let args = ["policy", "check", other, "--vendor", "/nonexistent"];
            let mut command = remit(Path::new("/nonexistent"), &args);
            command.args(["--config", config]).current_dir(above);
            Said::from(command.output().unwrap())
        };
        fs::write(policy.dir().join("approvers"), "# nobody yet\n").unwrap();
        let good = checked();
        assert_eq!(good.status, Some(0), "{other}: {good:?}");
        assert!(good.text().contains("the policy loads: "), "{good:?}");
        fs::write(policy.dir().join("approvers"), "ann ssh-rsa AAAA\n").unwrap();
        let bad = checked();
        assert_eq!(bad.status, Some(1), "{other}: {bad:?}");
        assert!(
            bad.text().contains("/approvers: error: line 1: "),
            "{bad:?}"
        );
    }
}

/// The mistakes are those of a test of the loader, where each diagnostic is compared word for word.
#[test]
fn check_ends_each_mistake_with_what_to_write() {
    // With --elsewhere these are accounts that exist.
    const NAMES: [&str; 3] = [
        "group-with-at-sign",
        "uid-without-hash",
        "word-for-everybody",
    ];
    let cases = include_str!("../../../policy-compile/tests/broken_everyday.txt").split("\n=== ");
    let mut count = 0;
    for case in cases.skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        if NAMES.contains(&name) {
            continue;
        }
        count += 1;
        let (text, _) = rest.split_once("\n---").unwrap();
        let policy = Configuration::new(text);
        let said = policy.said(&["check", "--elsewhere"]);
        let text = said.text();
        let findings: Vec<&str> = text
            .lines()
            .take_while(|line| !line.starts_with("the policy does not load"))
            .collect();
        let last = findings.last().map_or("", |line| line.trim_start());
        assert!(last.starts_with("= "), "{name}: {said:?}");
        assert_eq!(said.status, Some(1), "{name}: {said:?}");
    }
    assert!(count >= 38, "{count}");
}

#[test]
fn check_shows_location_of_every_finding() {
    let policy = Configuration::new("[[grant]]\nto = [\"no-such-user\"]\nallow = [\"run\"]\n");
    policy.write(
        "30.toml",
        "[[deny]]\nto = [\"no-such-user\"]\ndeny = [\"run\"]\nfor = 1\n",
    );
    policy.write("40.toml", "[[grant]\n");
    policy.write("50.conf", "");
    let said = policy.said(&["check"]);
    let text = said.text();
    for line in [
        "~/policy.d/20.toml:2:7: warning: there is no user 'no-such-user'",
        "  2 | to = [\"no-such-user\"]",
        "    |       ^^^^^^^^^^^^^^",
        "~/policy.d/30.toml:2:7: error: there is no user 'no-such-user'",
        "~/policy.d/30.toml:4:1: error: unknown key 'for' in [[deny]]",
        "~/policy.d/40.toml:1:9: error: ",
        "~/policy.d/50.conf: warning: it is not read",
        "the policy does not load: 3 errors, 2 warnings",
    ] {
        assert!(
            text.lines().any(|one| one.starts_with(line)),
            "{line}: {text}"
        );
    }
    assert_eq!(said.status, Some(1), "{said:?}");
    let json = policy.said(&["check", "--json"]).json();
    assert_eq!(
        (&json["loads"], &json["errors"]),
        (&false.into(), &3.into())
    );
    let first = &json["findings"][1];
    assert_eq!(
        (&first["severity"], &first["line"]),
        (&"warning".into(), &2.into()),
        "{json}"
    );
}

#[test]
fn files_refused_by_daemon_are_refused() {
    let policy = Configuration::new(POLICY);
    let dir = policy.dir().to_str().unwrap().to_owned();
    let said = policy.bare(&["policy", "check", "--config", &dir]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let hint = "\nto check files that are not installed yet: --any-owner\n";
    assert!(said.text().ends_with(hint), "{said:?}");
    for verb in ["check", "test"] {
        let said = policy.bare(&["policy", verb, "--config", "/nonexistent"]);
        assert_eq!(said.status, Some(1), "{said:?}");
        assert!(
            said.text().starts_with("/nonexistent: error: No such file"),
            "{said:?}"
        );
    }
}

#[test]
fn user_of_other_machine_is_not_tested_where_groups_decide() {
    let policy = Configuration::new(
        "[[grant]]\nto = [\"%remit\"]\nallow = [\"run\"]\n\n\
         [[test]]\nwho = \"agent1\"\nwhat = \"run\"\nverdict = \"allow\"\n",
    );
    let dir = policy.dir().to_str().unwrap();
    let args = [
        "policy",
        "test",
        "--config",
        dir,
        "--vendor",
        "/nonexistent",
    ];
    let tested = policy.bare(&[&args[..], &["--elsewhere"]].concat());
    assert_eq!(tested.status, Some(0), "{tested:?}");
    let why = "warning: not tested: the verdict depends on the groups of this user\n";
    let text = tested.text();
    assert!(text.contains(why), "{text}");
    assert!(text.ends_with("1 test, 1 not tested\n"), "{text}");
}

#[test]
fn files_of_other_machine_assume_names_exist() {
    let policy = Configuration::new(
        r##"
[[command]]
name = "app.fetch"
summary = "Fetch the application"
argv = ["/opt/no-such-program", "fetch"]
effect = "change"
profile = "app"

[profile.app]
base = "strict"
user = "no-such-user"
network = ["no.such.host.invalid:443"]

[[grant]]
to = ["%no-such-group"]
allow = ["app.*"]
effect = "change"

[[deny]]
to = ["no-such-intern"]
deny = ["*"]

[[test]]
who = "%no-such-group"
what = "change app.fetch"
verdict = "allow"
"##,
    );
    let dir = policy.dir().to_str().unwrap().to_owned();
    let said = |verb: &str, more: &[&str]| {
        let args = ["policy", verb, "--config", &dir, "--vendor", "/nonexistent"];
        policy.bare(&[&args[..], more].concat())
    };
    assert_eq!(said("check", &["--any-owner"]).status, Some(1));
    let checked = said("check", &["--elsewhere"]);
    let expect = "\
the policy loads: 2 rules and 1 command in 1 file
file ownership and permissions were not checked
every user, group, host and program was assumed to exist, each user in no other group
";
    assert_eq!((checked.status, checked.text()), (Some(0), expect));
    let tested = said("test", &["--elsewhere"]);
    assert_eq!(tested.status, Some(0), "{tested:?}");
    let explained = said(
        "explain",
        &["--elsewhere", "%no-such-group", "change app.fetch"],
    );
    assert_eq!(explained.status, Some(0), "{explained:?}");
    assert!(
        explained
            .text()
            .starts_with("%no-such-group (somebody who is in that group and in no other)"),
        "{explained:?}"
    );
    let args = [
        "policy",
        "diff",
        "--vendor",
        "/nonexistent",
        "--elsewhere",
        &dir,
        &dir,
    ];
    let said = policy.bare(&args);
    assert_eq!((said.status, said.text()), (Some(0), ""), "{said:?}");
    // A name must resolve alike on both sides, in any order of lookups.
    let other = Configuration::new(
        "[[grant]]\nto = [\"%a-group\", \"%no-such-group\"]\nallow = [\"run\"]\n",
    );
    let other = other.dir().to_str().unwrap();
    let args = [
        "policy",
        "diff",
        "--vendor",
        "/nonexistent",
        "--elsewhere",
        &dir,
        other,
    ];
    let said = policy.bare(&args);
    assert_eq!(said.status, Some(1), "{said:?}");
    let changes = |subject: &str| {
        said.text()
            .lines()
            .filter(|line| line.starts_with(subject))
            .count()
    };
    assert_eq!(
        (changes("%a-group"), changes("%no-such-group")),
        (1, 2),
        "{said:?}"
    );
}

/// Needs a directory that only root can write.
#[test]
fn grantee_unable_to_connect_is_reported() {
    let name = format!("/run/remit-cli-policy-{}", std::process::id());
    let dir = PathBuf::from(&name);
    fs::create_dir_all(dir.join("policy.d")).unwrap();
    let allow = |text: &str, mode| {
        let file = dir.join("policy.d/20.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    };
    let grant = |to: &str| format!("[[grant]]\nname = \"look\"\nto = [{to}]\nallow = [\"run\"]\n");
    let check = || {
        let args = [
            "policy",
            "check",
            "--vendor",
            "/nonexistent",
            "--config",
            &name,
        ];
        let said = Said::from(remit(Path::new("/nonexistent"), &args).output().unwrap());
        (said.status, without_digest(said.text()).replace(&name, "~"))
    };
    let settings = |text: &str| fs::write(dir.join("remit.toml"), text).unwrap();
    settings("[accounts]\nsocket_group = \"bin\"\n[jobs]\nqueue = 7\n");

    allow(&grant("\"daemon\", \"bin\", \"root\", \"#64001\""), 0o644);
    let reported = "policy: warning: user 'daemon' cannot use what is granted by look \
                (~/policy.d/20.toml:1): not in group 'bin', which may connect; gpasswd -a daemon bin\n";
    let loads = "the policy loads: 1 rule and 0 commands in 1 file, 1 warning\n";
    assert_eq!(check(), (Some(0), format!("{reported}{loads}")));

    // 'daemon' is this user's primary group; group 'bin' has only its own user.
    allow(&grant("\"%daemon\", \"%bin\""), 0o644);
    let reported = "policy: warning: members of group 'daemon' cannot use what is granted by look \
                (~/policy.d/20.toml:1): not in group 'bin', which may connect: daemon\n";
    assert_eq!(check(), (Some(0), format!("{reported}{loads}")));

    let both = grant("\"daemon\"") + "[[deny]]\nto = [\"daemon\"]\ndeny = [\"run\"]\n";
    allow(&both, 0o644);
    let (status, text) = check();
    assert_eq!(
        (status, text.contains("warning")),
        (Some(0), false),
        "{text}"
    );

    allow(&grant("\"daemon\""), 0o644);
    for (text, expect) in [
        ("[accounts]\nsocket_group = \"no-such-group\"\n", None),
        ("[accounts]\nsocket_group = 1\n", None),
        (
            "accounts = 1\n",
            Some("~/remit.toml:1:12: error: invalid type"),
        ),
    ] {
        settings(text);
        let (status, said) = check();
        assert_eq!(said.contains("error: "), expect.is_some(), "{said}");
        assert!(said.contains(expect.unwrap_or_default()), "{said}");
        assert!(!said.contains("warning: "), "{said}");
        assert_eq!(status, Some(i32::from(expect.is_some())));
    }
    settings("");

    allow(&grant("\"daemon\""), 0o666);
    let (status, text) = check();
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("20.toml: error: it is writable by everybody; chmod go-w\n"),
        "{text}"
    );
    allow(&grant("\"daemon\""), 0o644);
    chown(dir.join("policy.d/20.toml"), Some(64003), None).unwrap();
    let (status, text) = check();
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("error: it is owned by uid 64003, not by root; chown it\n"),
        "{text}"
    );
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_the_daemon_refuses_of_the_settings_is_an_error() {
    let policy = Configuration::new(POLICY);
    let dir = policy.dir().to_str().unwrap();
    for (settings, why, is_of_machine) in [
        ("", None, false),
        (
            "nonsense = 1",
            Some("1:1: error: unknown field 'nonsense'"),
            false,
        ),
        (
            "[jobs]\nmax = 0",
            Some("error: jobs.max must be 1 to 1024"),
            false,
        ),
        (
            "[floor]\nrequire = [{ command = \"no.such\", within_s = 60 }]",
            Some("error: cannot use floor.require: there is no command 'no.such'"),
            false,
        ),
        (
            "[approval]\nnotify = \"no.such\"",
            Some("error: cannot use approval.notify: there is no command 'no.such'"),
            false,
        ),
        (
            "[floor]\napprovers = [\"root\", \"#65534\"]",
            Some("error: floor.approvers: '#65534' can approve nothing"),
            false,
        ),
        (
            "[floor]\napprovers = [\"%no-such-group\"]",
            Some("error: floor.approvers: there is no group 'no-such-group'"),
            true,
        ),
        (
            "[accounts]\nbus = \"daemon\"",
            Some("error: no job of profile 'stamp' can be 'daemon'"),
            true,
        ),
    ] {
        fs::write(policy.dir().join("remit.toml"), settings).unwrap();
        let here = policy.said(&["check"]);
        let args = [
            "policy",
            "check",
            "--config",
            dir,
            "--vendor",
            "/nonexistent",
        ];
        let other = policy.bare(&[&args[..], &["--elsewhere"]].concat());
        for (said, why) in [(here, why), (other, why.filter(|_| !is_of_machine))] {
            let text = said.text();
            assert_eq!(
                said.status,
                Some(i32::from(why.is_some())),
                "{settings}: {text}"
            );
            assert!(text.contains(why.unwrap_or_default()), "{settings}: {text}");
        }
    }
}

#[test]
fn approver_unable_to_approve_is_reported() {
    let name = format!("/run/remit-cli-approvers-{}", std::process::id());
    let dir = PathBuf::from(&name);
    fs::create_dir_all(dir.join("policy.d")).unwrap();
    fs::write(
        dir.join("remit.toml"),
        "[accounts]\nsocket_group = \"no-such-group\"\nadmin_group = \"bin\"\n",
    )
    .unwrap();
    let reported = |by: &str| {
        let text = format!(
            "[[grant]]\nname = \"look\"\nto = [\"bin\"]\nallow = [\"run\"]\napproval = {{ by = [{by}] }}\n"
        );
        let file = dir.join("policy.d/20.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let args = [
            "policy",
            "check",
            "--vendor",
            "/nonexistent",
            "--config",
            &name,
        ];
        let said = Said::from(remit(Path::new("/nonexistent"), &args).output().unwrap());
        assert_eq!(said.status, Some(0));
        without_digest(said.text()).replace(&name, "~")
    };
    let loads = "the policy loads: 1 rule and 0 commands in 1 file";
    assert_eq!(reported("\"root\""), format!("{loads}\n"));
    assert_eq!(
        reported("\"daemon\", \"root\""),
        format!(
            "policy: warning: user 'daemon' cannot approve anything; gpasswd -a daemon bin: not in group \
             'bin', which approves; required by look (~/policy.d/20.toml:1)\n{loads}, 1 warning\n"
        )
    );
    assert_eq!(
        reported("\"%bin\""),
        format!(
            "policy: warning: nobody can approve what look (~/policy.d/20.toml:1) asks of %bin: only the \
             requester could, and nobody can approve their own request\n{loads}, 1 warning\n"
        )
    );
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn each_test_has_a_line() {
    let policy = Configuration::new(POLICY);
    let said = policy.said(&["test"]);
    let expect = "\
ok     ~/policy.d/20.toml:10: disk.usage accepts where=/var/log/apt
ok     ~/policy.d/20.toml:10: disk.usage accepts least=5
ok     ~/policy.d/20.toml:11: disk.usage rejects where=/etc
ok     ~/policy.d/20.toml:52: #64001: run disk.usage is allow
4 tests, all passed
";
    assert_eq!((said.status, said.text()), (Some(0), expect), "{said:?}");

    let missing = "[[test]]\nwho = \"no-such-user\"\nwhat = \"run\"\nverdict = \"deny\"\n";
    let policy = Configuration::new(&format!("{POLICY}{missing}"));
    let said = policy.said(&["test"]);
    let (_, end) = said
        .text()
        .split_once(": #64001: run disk.usage is allow\n")
        .unwrap();
    let line = POLICY.matches('\n').count() + 1;
    let expect = format!(
        "-      ~/policy.d/20.toml:{line}: no-such-user: run is deny\n       \
         warning: not tested: there is no user 'no-such-user'\n5 tests, 1 not tested\n"
    );
    assert_eq!((said.status, end), (Some(0), expect.as_str()), "{said:?}");

    let wrong = POLICY.replace("verdict = \"allow\"", "verdict = \"deny\"");
    let right = "[[test]]\nwho = \"#64009\"\nwhat = \"run\"\nverdict = \"deny\"\n";
    let policy = Configuration::new(&(wrong.clone() + right));
    let said = policy.said(&["test"]);
    let text = said.text();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        text.contains("\nFAILED ~/policy.d/20.toml:52: #64001: run disk.usage is deny\n"),
        "{text}"
    );
    assert!(text.contains(": error: expected deny, got allow"), "{text}");
    assert!(
        text.ends_with(
            "ok     ~/policy.d/20.toml:56: #64009: run is deny\n5 tests, 1 failed: the policy does not load\n"
        ),
        "{text}"
    );
    let json = policy.said(&["test", "--json"]).json();
    assert_eq!(
        (&json["failed"], &json["loads"]),
        (&1.into(), &false.into())
    );
    assert_eq!(json["tests"][3]["passed"], false);

    // Each error that a load finds with the verdicts leaves the other verdicts as they are.
    for (table, why) in [
        (
            "what = \"run a.b\"\nverdict = \"deny\"",
            "there is no command",
        ),
        (
            "what = \"run\"\nprofile = \"no-such\"\nverdict = \"deny\"",
            "there is no profile",
        ),
        (
            "what = \"run disk.usage\"\npaths = [\"/srv/a\"]\nverdict = \"deny\"",
            "paths are only for a command",
        ),
        (
            "what = \"run disk.usage no=1\"\nverdict = \"deny\"",
            "this is denied whatever the rules are",
        ),
    ] {
        let policy =
            Configuration::new(&format!("{POLICY}\n[[test]]\nwho = \"#64001\"\n{table}\n"));
        let said = policy.said(&["test"]);
        let text = said.text();
        assert!(text.contains(why), "{text}");
        assert!(
            text.ends_with("1 failed: the policy does not load\n"),
            "{text}"
        );
        assert!(!text.contains("no verdict was asked for"), "{text}");
    }

    let both = wrong.replace("least = 5", "least = 500") + "\n[[test]]\nwho = \"#1\"\n";
    let policy = Configuration::new(&both);
    let said = policy.said(&["test"]);
    let text = said.text();
    assert_eq!(said.status, Some(1), "{said:?}");
    for line in [
        "ok     ~/policy.d/20.toml:10: disk.usage accepts where=/var/log/apt",
        "FAILED ~/policy.d/20.toml:10: disk.usage accepts least=500",
        "-      ~/policy.d/20.toml:52: #64001: run disk.usage is deny",
        "FAILED ~/policy.d/20.toml:57: #1:  is ",
        "no verdict was asked for, because of the other errors",
        "5 tests, 2 failed: the policy does not load",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }

    let policy = Configuration::new(&format!("x = 1\n{POLICY}"));
    let said = policy.said(&["test"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let why = "nothing was tested: the policy does not load for other reasons\n";
    assert!(said.text().ends_with(why), "{said:?}");

    let said = Configuration::new("").said(&["test"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(
        said.text(),
        "there is no [[test]], accepts or rejects in these files\n"
    );
}

#[test]
fn explain_tells_rule_and_executed_program() {
    let policy = Configuration::new(POLICY);
    let said = policy.said(&["explain", "#64001", "run disk.usage least=7"]);
    let expect = "\
#64001 (uid 64001, groups none) asks for: run disk.usage least=7
  verdict      allow
  why          allowed in profile logs by look (~/policy.d/20.toml:36)
  executes     /usr/bin/du -s --threshold=7 -- /var/log
               '/var/log' must be a directory, reached from '/var/log' without a symbolic link
  profile      logs
               PROFILE
  base         strict: sees /usr and what is listed here, in namespaces of its own
  runs as      a uid of its own for each job, without privilege
  reads        /var/log
  network      none
  limits       runtime 30 s, memory 64.0 MiB
rules, in the order in which they decide:
  not-them (~/policy.d/20.toml:47)
      is not about this caller
  stamp (~/policy.d/20.toml:41)
      does not allow 'disk.usage'
  look (~/policy.d/20.toml:36)
      decides: allows 'disk.usage'
";
    let summary = policy
        .said(&["explain", "--json", "#64001", "run", "disk.usage"])
        .json()["profile_words"]["profile"]
        .as_str()
        .unwrap()
        .trim_start_matches("logs\n")
        .to_owned();
    assert_eq!(said.text(), expect.replace("PROFILE", &summary));
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn explain_answers_for_any_subject_and_command() {
    let policy = Configuration::new(POLICY);
    let allowed = "verdict allow";
    let denied = "verdict deny";
    for (args, status, lines) in [
        (
            &["#64001", "run"][..],
            0,
            &[
                allowed,
                "why allowed in profile read by look (~/policy.d/20.toml:36)",
            ][..],
        ),
        (&["%#64002", "run disk.usage"], 0, &[allowed]),
        (
            &["#64001", "--", "df", "-h"],
            0,
            &[
                "#64001 (uid 64001, groups none) asks for: run -- df -h",
                "executes df -h",
                "what it can read is decided by the modes of files; to see it, as root: remit try --profile read -- df -h",
            ],
        ),
        (
            &["#64001", "run", "--", "/bin/df"],
            0,
            &["executes /bin/df"],
        ),
        (
            &["--profile", "strict", "#64001", "run"],
            1,
            &[denied, "allows 'run' in profile read, not in 'strict'"],
        ),
        (
            &["--profile", "strict", "#64001", "change"],
            1,
            &[
                denied,
                "#64001 (uid 64001, groups none) asks for: change (any program or script, once) in profile strict",
            ],
        ),
        (&["#64009", "run"], 1, &[denied]),
        (&["%#64004", "run", "disk.usage"], 1, &[denied]),
        (
            &["#64001", "run service.status unit=ssh.service"],
            0,
            &["executes /usr/libexec/remit/remit-look service.status unit=ssh.service"],
        ),
        (&["#64001", "run service.status"], 1, &[denied]),
        (&["#64001", "run disk.usage where=/etc"], 1, &[denied]),
        (
            &["#64001", "run disk.usage where=/var/log/../../etc"],
            1,
            &[denied],
        ),
        (
            &["#64001", "change", "clock.set", "date=2026-11"],
            1,
            &[
                "verdict ask",
                "why allowed in profile stamp by stamp (~/policy.d/20.toml:41); it needs approval by %#64003, asked for at most 10 min; one of them, never who asks, types: remit approve ID",
                "executes /usr/bin/touch --date=2026-11 /srv/stamp",
                "may write a stamp",
                "runs as daemon (uid 1, gid 1)",
                "groups #64010",
                "writes /srv/stamp",
                "network itself, and by TCP 127.0.0.1 port 8080 (127.0.0.1)",
                "variables LC_ALL",
                "limits runtime 5 s",
            ],
        ),
        (
            &["%#64002", "change clock.set date=2026-11"],
            1,
            &["why no rule grants 'clock.set' to this caller: it is refused as an unknown command"],
        ),
        (
            &["#64001", "run clock.set date=2026-11"],
            1,
            &[
                denied,
                "why the command 'clock.set' changes the host, and this asks for one that does not; ask for 'change clock.set' instead",
            ],
        ),
        (
            &["#64001", "change disk.usage"],
            1,
            &[
                denied,
                "why the command 'disk.usage' does not change the host, and this asks for one that does; ask for 'run disk.usage' instead",
            ],
        ),
        (
            &["#64001", "run no.such"],
            1,
            &["why there is no command 'no.such'"],
        ),
    ] {
        let said = policy.said(&[&["explain"], args].concat());
        assert_eq!(said.status, Some(status), "{args:?} {said:?}");
        let found = crate::fake::squeezed(said.text());
        for line in lines {
            assert!(
                found.iter().any(|one| one == line),
                "{args:?}: '{line}' in {found:#?}"
            );
        }
        let profiled = found.iter().any(|line| line.starts_with("profile "));
        assert_eq!(
            profiled,
            !lines.contains(&denied) && !found.contains(&denied.to_owned()),
            "{found:#?}"
        );
    }
    let json = policy
        .said(&[
            "explain",
            "--json",
            "#64001",
            "change clock.set date=2026-11",
        ])
        .json();
    assert_eq!(json["verdict"], "ask");
    assert_eq!(json["argv"][1], "--date=2026-11");
    assert_eq!(json["considered"].as_array().unwrap().len(), 3);
}

#[test]
fn explain_judges_changes_by_the_floor() {
    let approval = "approval = { by = [\"%#64003\"], expires = \"10min\" }";
    let free = POLICY.replace(approval, "approval = \"none\"");
    let own = "why allowed in profile stamp by stamp (~/policy.d/20.toml:41)";
    let by_floor = format!(
        "{own}; by floor.approval of remit.toml it needs approval by %#64005, asked for at most 10 min; \
         one of them, never who asks, types: remit approve ID"
    );
    let by_rule = format!(
        "{own}; it needs approval by %#64003, asked for at most 10 min; \
         one of them, never who asks, types: remit approve ID"
    );
    let refused = "why the rules allow it, but floor.approval of remit.toml has every change approved, and neither \
                   the rule nor floor.approvers names a person who could";
    let asks = "[floor]\napproval = true\napprovers = [\"%#64005\"]\n";
    let alone = "[floor]\napproval = true\n";
    for (policy, floor, status, verdict, why) in [
        (&free[..], "", 0, "allow", own),
        (&free, "[floor]\napproval = false\n", 0, "allow", own),
        (&free, asks, 1, "ask", &by_floor),
        (&free, alone, 1, "deny", refused),
        (POLICY, asks, 1, "ask", &by_rule),
        (POLICY, alone, 1, "ask", &by_rule),
    ] {
        let policy = Configuration::new(policy);
        fs::write(policy.dir().join("remit.toml"), floor).unwrap();
        let said = policy.said(&["explain", "#64001", "change clock.set date=2026-11"]);
        assert_eq!(said.status, Some(status), "{floor} {said:?}");
        let found = crate::fake::squeezed(said.text());
        for line in [&format!("verdict {verdict}"), why] {
            assert!(
                found.iter().any(|one| one == line),
                "{floor}: '{line}' in {found:#?}"
            );
        }
        let said = policy.said(&["explain", "#64001", "run disk.usage"]);
        assert_eq!(said.status, Some(0), "{floor} {said:?}");
    }
    let policy = Configuration::new(&free);
    fs::write(policy.dir().join("remit.toml"), "[floor]\nx = 1\n").unwrap();
    let said = policy.said(&["explain", "#64001", "run disk.usage"]);
    assert_eq!(said.status, Some(2), "{said:?}");
}

#[test]
fn explain_judges_a_commit_by_its_paths() {
    let policy = Configuration::new(
        r##"
[[command]]
name = "site.commit"
summary = "Commit"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/srv/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[grant]]
to = ["#64001"]
allow = ["site.commit"]
paths = ["/etc/nginx"]
approval = { by = ["#64003"] }

[[grant]]
to = ["#64001"]
allow = ["site.commit"]
paths = ["/srv"]
approval = "none"

[[test]]
who = "#64001"
what = "change site.commit"
paths = ["/srv/a", "/srv/b"]
verdict = "allow"
"##,
    );
    for (paths, verdict) in [
        (&[][..], "ask"),
        (&["--paths", "/etc/nginx/a"], "ask"),
        (&["--paths", "/srv/a", "--paths", "/srv/b"], "allow"),
        (&["--paths", "/srv/a", "--paths", "/etc/nginx/a"], "deny"),
    ] {
        let question = ["explain", "--json", "#64001", "site.commit"];
        let json = policy.said(&[&question[..], paths].concat()).json();
        assert_eq!(json["verdict"], verdict, "{paths:?} {json}");
        let depends = json["why"]
            .as_str()
            .unwrap()
            .contains("depends on the paths");
        assert_eq!(depends, paths.is_empty(), "{json}");
    }
    let tested = policy.said(&["test"]);
    let what = "#64001: change site.commit of /srv/a /srv/b is allow";
    assert!(tested.text().contains(what), "{tested:?}");
}

#[test]
fn n30_command_name_implies_run_or_change() {
    let policy = Configuration::new(POLICY);
    for (bare, whole) in [
        ("clock.set date=2026-11", "change clock.set date=2026-11"),
        ("disk.usage", "run disk.usage"),
        ("service.list", "run service.list"),
    ] {
        let said = |what| policy.said(&["explain", "--json", "#64001", what]).json();
        assert_eq!(said(bare), said(whole), "{bare}");
    }
}

#[test]
fn unanswerable_question_is_no_verdict() {
    let policy = Configuration::new(POLICY);
    for (args, status, why) in [
        (
            &["no-such-user", "run"][..],
            2,
            "remit: there is no user 'no-such-user'\n",
        ),
        (
            &["%no-such-group", "run"],
            2,
            "there is no group 'no-such-group'",
        ),
        (&["#x", "run"], 2, "'x' is no id"),
        (
            &["#64001", "look"],
            64,
            "'look' is neither 'run' nor 'change'",
        ),
        (
            &["#64001", "run disk.usage where"],
            64,
            "'where' is no argument: each is KEY=VALUE",
        ),
        (
            &["#64001", "run disk.usage", "--", "df"],
            64,
            "a named command has its own program",
        ),
        (
            &["#64001", "run disk.usage", "--paths", "/var/log"],
            64,
            "paths are only for a command that commits or undoes",
        ),
        (
            &["#64001", "change", "--paths", "/srv"],
            64,
            "paths are only for a command that commits or undoes",
        ),
        (
            &["#64001", "run disk.usage", "--paths", "srv"],
            64,
            "'srv': the path does not begin with '/'",
        ),
        (&["#64001"], 64, "WHAT"),
    ] {
        let said = policy.said(&[&["explain"], args].concat());
        assert_eq!(
            (said.status, said.text()),
            (Some(status), ""),
            "{args:?} {said:?}"
        );
        assert!(said.stderr.contains(why), "{why}: {said:?}");
    }
    let broken = Configuration::new("[[grant]]\n");
    let said = broken.said(&["explain", "#64001", "run"]);
    assert_eq!((said.status, said.text()), (Some(2), ""), "{said:?}");
    assert!(
        said.stderr
            .ends_with("\nremit: the policy does not load: 2 errors\n"),
        "{said:?}"
    );
    let said = broken.said(&["explain", "--json", "#64001", "run"]);
    assert_eq!(said.json()["findings"][0]["severity"], "error", "{said:?}");
}

#[test]
fn diff_tells_what_is_different_in_meaning() {
    let old = Configuration::new(POLICY);
    let other = POLICY
        .replace(
            "to = [\"#64001\", \"%#64002\"]",
            "to = [\"%#64002\", \"#64005\"]",
        )
        .replace("memory = \"64M\"", "memory = \"1G\"");
    let new = Configuration::new(
        &format!("# another comment\n{other}").replace("#64001\"\nwhat", "#64005\"\nwhat"),
    );
    let diff = |old: &Path, new: &Path| {
        let [old_dir, new_dir] = [old, new].map(|path| path.to_str().unwrap());
        let args = [
            "policy",
            "diff",
            "--vendor",
            "/nonexistent",
            old_dir,
            new_dir,
        ];
        Said::from(remit(Path::new("/nonexistent"), &args).output().unwrap())
    };
    let said = diff(old.dir(), old.dir());
    assert_eq!((said.status, said.text()), (Some(0), ""), "{said:?}");

    let said = diff(old.dir(), new.dir());
    assert_eq!(said.status, Some(1), "{said:?}");
    let expect = DIFF;
    assert_eq!(said.text(), expect);
    let file = new.dir().join("policy.d/20.toml");
    assert_eq!(diff(old.dir(), &file).text(), expect);
    assert_eq!(diff(old.dir(), &new.dir().join("policy.d")).text(), expect);
    let said = diff(&file, &old.dir().join("policy.d"));
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.text().contains("#64005 loses"), "{said:?}");

    let said = diff(old.dir(), Path::new("/nonexistent"));
    assert_eq!((said.status, said.text()), (Some(2), ""), "{said:?}");
    assert!(
        said.stderr.contains("/nonexistent: error: No such file"),
        "{said:?}"
    );
    let warns = Configuration::new("[[grant]]\nto = [\"no-such-user\"]\nallow = []\nx = 1\n");
    let said = diff(old.dir(), warns.dir());
    assert!(!said.stderr.contains("warning"), "{said:?}");
    new.write("30.toml", "x = 1\n");
    let said = diff(old.dir(), new.dir());
    assert_eq!((said.status, said.text()), (Some(2), ""), "{said:?}");
}

const DIFF: &str = "\
#64001 loses disk.usage, logs, service.failed, service.list, service.status, run (profile read)
#64005 gains disk.usage, logs, service.failed, service.list, service.status, run (profile read)
profile logs changes: limits = { runtime = \"30s\", memory = \"1G\" }, before { runtime = \"30s\", memory = \"64M\" }
";

/// Output goes to pipes, files and people, so it must not contain control characters.
#[test]
fn no_output_is_coloured() {
    let policy = Configuration::new("[[grant]]\nto = [\"a\\u001bb\"]\nallow = [\"\u{1b}[31m\"]\n");
    for verb in ["check", "test"] {
        let said = policy.said(&[verb]);
        assert!(!said.text().contains('\u{1b}'), "{said:?}");
    }
}

pub fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        found.insert(key.clone());
        let first = value.as_array().and_then(|list| list.first());
        keys(first.unwrap_or(value), found);
    }
}

#[test]
fn every_json_key_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man/remit.1");
    let page = fs::read_to_string(page).unwrap();
    let (_, json) = page.split_once("\n.SH JSON\n").unwrap();
    let broken = Configuration::new("x = 1\n");
    let policy = Configuration::new(POLICY);
    let [broken_dir, dir] = [&broken, &policy].map(|one| one.dir().to_str().unwrap().to_owned());
    for (verb, said) in [
        ("check", broken.said(&["check", "--json"])),
        ("test", policy.said(&["test", "--json"])),
        ("test", broken.said(&["test", "--json"])),
        (
            "explain",
            policy.said(&["explain", "--json", "#64001", "run"]),
        ),
        (
            "diff",
            policy.bare(&["--json", "policy", "diff", &dir, &dir]),
        ),
        (
            "diff",
            policy.bare(&["--json", "policy", "diff", &dir, &broken_dir]),
        ),
    ] {
        let (mut reported, mut answer) = (BTreeSet::new(), said.json());
        // Keys of a profile are in remit-policy(5), those of an error are the same for all verbs.
        for other in ["profile_words", "error"] {
            answer.get_mut(other).map(serde_json::Value::take);
        }
        keys(&answer, &mut reported);
        assert!(!reported.is_empty(), "{said:?}");
        let (_, part) = json.split_once(&format!("\n.B policy {verb}\n")).unwrap();
        let (_, check) = json.split_once("\n.B policy check\n").unwrap();
        let [part, check] = [part, check].map(|part| part.split("\n.TP\n").next().unwrap());
        for key in reported {
            let is_documented = |part: &str| part.split([' ', '\n', '"']).any(|word| word == key);
            assert!(
                is_documented(part) || said_of_finding(&key) && is_documented(check),
                "{verb}: {key}"
            );
        }
    }
}

fn said_of_finding(key: &str) -> bool {
    ["severity", "file", "line", "column", "message", "shown"].contains(&key)
}

#[test]
fn single_files_are_compared_with_the_vendors() {
    let vendor = Configuration::new(POLICY);
    let dir = Directory::new();
    let grant = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs::write(&file, format!("[[grant]]\nto = [\"#64011\"]\n{text}")).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let under = |path: &str| format!("allow = [\"disk.usage\"]\nargs.where = [\"{path}\"]\n");
    let old = grant("30.toml", &under("/var/log/apt"));
    let new = grant("40.toml", &under("/var/log/nginx"));
    // It has the name of the vendor's file, so the command is in no file.
    let replaces = grant("20.toml", &under("/var/log/apt"));
    let vendor = vendor.dir().to_str().unwrap();
    let diff = |old: &str, new: &str| {
        let args = ["policy", "diff", "--vendor", vendor, old, new];
        Said::from(remit(Path::new("/nonexistent"), &args).output().unwrap())
    };
    let said = diff(&old, &new);
    assert_eq!(said.status, Some(1), "{said:?}");
    let has = |verb: &str, path: &str| {
        let mut lines = said.text().lines();
        lines.any(|line| line.contains(&format!("#64011 {verb}")) && line.contains(path))
    };
    assert!(
        has("loses", "/var/log/apt") && has("gains", "/var/log/nginx"),
        "{said:?}"
    );
    let said = diff(&old, &old);
    assert_eq!((said.status, said.text()), (Some(0), ""), "{said:?}");
    let said = diff(&old, &replaces);
    assert!(said.text().contains("#64001 loses"), "{said:?}");
}
