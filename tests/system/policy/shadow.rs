//! The shadow policy: its verdicts are recorded where they differ, and change nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use remit_common::refusal::Code;
use remit_tests::caller::{argv, at_once, change, named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_tests::process::Identity;
use remit_wire::Run;
use serde_json::Value;

use super::scene::{FILE, asked, prints, reload, with};

const SHADOW: &str = "config/shadow/policy.d/10-test.toml";
const SECRET: &str = "hunter2hunter2";

/// Commands of both policies. `words`: values of the argument of `site.word`. `key`: the command that takes a key.
fn commands(words: &str, key: &str) -> String {
    let args = format!(
        "args.word = {{ type = \"enum\", values = [{words}] }}\naccepts = [{{ word = \"a\" }}]\n\
         rejects = [{{ word = \"c\" }}]\n"
    );
    [
        prints("site.look", "\"x\"", ""),
        prints("site.other", "\"x\"", ""),
        prints("site.word", "\"{word}\"", &args),
        "[[command]]\nname = \"site.act\"\nsummary = \"acts\"\nargv = [\"/usr/bin/true\"]\neffect = \"change\"\n\
         profile = \"strict\"\n"
            .to_owned(),
        key.to_owned(),
    ]
    .concat()
}

fn grants(rules: &[(&str, &str)]) -> String {
    let rule = |(allow, more): &(&str, &str)| {
        format!("[[grant]]\nto = [\"#64001\"]\nallow = [{allow}]\n{more}\n")
    };
    rules.iter().map(rule).collect()
}

fn live() -> String {
    let key = "[[command]]\nname = \"site.key\"\nsummary = \"takes a key\"\nargv = [\"/usr/bin/cat\"]\n\
               stdin = \"{key}\"\neffect = \"read\"\nprofile = \"read\"\n\
               args.key = { type = \"secret\", max = 64 }\n";
    commands("\"a\", \"b\"", key)
        + &grants(&[
            ("\"run\", \"site.look\", \"site.word\", \"site.key\"", ""),
            (
                "\"site.act\"",
                "effect = \"change\"\napproval = { by = [\"#64002\"] }",
            ),
        ])
}

fn set_shadow(daemon: &Daemon, text: &str) {
    let path = daemon.path().join(SHADOW);
    for dir in path
        .ancestors()
        .skip(1)
        .take(2)
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        fs::create_dir_all(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    daemon.set_file(SHADOW, text);
}

/// Asks, and returns the first record about it.
fn record_of(daemon: &Daemon, run: Run) -> Value {
    let before = daemon.audit().len();
    let _ = asked(daemon, &user_a(), at_once(run));
    let about = ["intent", "refusal", "asked"];
    let is_about = |record: &Value| about.iter().any(|event| record["REMIT_EVENT"] == *event);
    let records = daemon.audit().into_iter().skip(before);
    let mut records = records.filter(is_about);
    records.next().expect("each request has a record")
}

fn shadow_of(record: &Value) -> String {
    let field = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    format!("{} {}", field("REMIT_SHADOW"), field("REMIT_SHADOW_CAUSE"))
}

#[test]
fn other_verdicts_of_the_shadow_policy_are_recorded_and_change_nothing() {
    let daemon = with("");
    daemon.set_file(FILE, &live());
    // Of a secret, the shadow policy makes a word.
    let key = "args.key = { type = \"enum\", values = [\"none\"] }\naccepts = [{ key = \"none\" }]\n\
               rejects = [{ key = \"some\" }]\n";
    let shadow = commands("\"a\"", &prints("site.key", "\"{key}\"", key))
        + &grants(&[
            ("\"site.other\", \"site.word\", \"site.key\"", ""),
            ("\"run\"", "approval = { by = [\"#64002\"] }"),
            (
                "\"site.act\"",
                "effect = \"change\"\napproval = { by = [\"#64003\", \"#64002\"], count = 2 }",
            ),
        ]);
    set_shadow(&daemon, &shadow);
    let loaded = reload(&daemon).expect("both are right");
    assert_eq!(loaded.warnings, [""; 0]);
    let digest = daemon.status().policy;
    let cases = [
        // What is asked, the verdict that counts, the one of the shadow policy and its reason.
        (
            named("site.look", &[]),
            "allow",
            "deny there is no command 'site.look'",
        ),
        (named("site.other", &[]), "not_found", "allow no approval"),
        (
            argv(&["/bin/echo", "x"]),
            "allow",
            "ask an approval: needs approval by #64002",
        ),
        (named("site.word", &[("word", "a")]), "allow", "- -"),
        (
            named("site.word", &[("word", "b")]),
            "allow",
            "deny the command takes other arguments",
        ),
        // Both refuse.
        (named("site.word", &[("word", "c")]), "invalid_args", "- -"),
        (named("no.such", &[]), "not_found", "- -"),
        (
            change("site.act", &[]),
            "needs_approval",
            "ask another approval: needs approval by 2 different people",
        ),
        (
            named("site.key", &[("key", SECRET)]),
            "allow",
            "deny the command takes other arguments",
        ),
    ];
    for (run, verdict, expect) in &cases {
        let record = record_of(&daemon, run.clone());
        assert_eq!(record["REMIT_VERDICT"], *verdict, "{record}");
        let shadow = shadow_of(&record);
        assert!(shadow.starts_with(expect), "{shadow}\n{record}");
        let has_policy = record["REMIT_SHADOW_POLICY"]
            .as_str()
            .is_some_and(|other| other != digest);
        assert_eq!(has_policy, *expect != "- -", "{record}");
        assert_eq!(record["REMIT_POLICY"], digest.as_str());
    }
    let whole = serde_json::to_string(&daemon.audit()).unwrap();
    assert!(!whole.contains(SECRET), "a secret is in a record");
    let line = daemon.status().shadow.expect("it is in use");
    assert!(
        line.ends_with("other verdicts on 6 of 9 requests since it was loaded"),
        "{line}"
    );
    // The record of the load says that it is compared.
    let loads = daemon.records("policy");
    let last = loads.last().expect("the load is recorded");
    assert!(last["REMIT_SHADOW_POLICY"].is_string(), "{last}");
    let root = Identity::new(0, &[0]);
    let shown = daemon.remit(&root, &["status"]);
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("other verdicts on 6 of 9"),
        "{shown:?}"
    );
    daemon.stop();
}

#[test]
fn a_shadow_policy_that_does_not_load_is_reported_and_the_policy_loads() {
    let daemon = with("");
    daemon.set_file(FILE, &live());
    let look = || asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
    let warns = |why: &str| {
        let loaded = reload(&daemon).expect("the policy is right");
        let text = loaded.warnings.join("\n");
        let begin = "shadow policy: warning: it is not in use: ";
        assert!(text.contains(begin) && text.contains(why), "{why}: {text}");
        assert_eq!(daemon.status().shadow, None);
        assert_eq!(stdout(&look()), "[x]");
        let records = daemon.records("intent");
        assert!(
            records
                .iter()
                .all(|record| record["REMIT_SHADOW"].is_null())
        );
    };
    set_shadow(&daemon, "[[grant]]\nallow = [\"df *\"]\n");
    warns("10-test.toml:1:1: error");
    set_shadow(&daemon, &live());
    let path = daemon.path().join(SHADOW);
    chown(&path, Some(64_001), None).unwrap();
    warns("10-test.toml");
    chown(&path, Some(0), None).unwrap();
    fs::remove_file(&path).unwrap();
    let dir = path.parent().unwrap();
    fs::remove_dir(dir).unwrap();
    warns("there is no directory");
    // Questions about users that a directory service does not answer are errors here, too.
    let many: String = (0..20_000)
        .map(|at| format!("[[grant]]\nto = [\"#{at}\"]\nallow = [\"no.such.{at}\"]\n"))
        .collect();
    set_shadow(&daemon, &many);
    warns("error");
    fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    assert_eq!(reload(&daemon).expect("it is right").warnings, [""; 0]);
    assert_eq!(daemon.status().shadow, None);
    let refused = asked(&daemon, &user_a(), named("site.other", &[])).unwrap_err();
    assert_eq!(refused.code, Code::NotFound);
    daemon.stop();
}
