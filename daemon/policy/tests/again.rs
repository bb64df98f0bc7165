//! `load_again` makes the very same policy as `load`, without the checks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod common;

use common::{COMMANDS, accounts, lines, source};
use remit_policy::{Severity, load, load_again};

const DOUBTFUL: &str = r#"
[[command]]
name = "site.look"
summary = "Look at a file"
argv = ["/usr/bin/absent", "--", "{file}"]
effect = "read"
profile = "strict"
args.file = { type = "path", under = "/srv", default = "/srv/index" }
accepts = [{}, { file = "/srv/a" }]
rejects = [{ file = "/etc/shadow" }]

[[command]]
name = "site.shell"
summary = "Have a shell look"
argv = ["/bin/sh", "/usr/share/look"]
effect = "read"
profile = "reaching"

[profile.reaching]
base = "strict"
user = "deploy"
groups = ["ops"]
network = ["api.example.com:443", "nowhere.example.com:443"]

[[grant]]
to = ["ghost", "%ops", "deploy"]
allow = ["run", "nginx.*", "git.*"]
approval = { by = ["%ghosts", "%ops"], expires = "1min" }

[[grant]]
to = ["mallory"]
allow = ["site.*"]
profile = "strict"

[[deny]]
to = ["mallory"]
deny = ["site.shell"]

[[test]]
who = "mallory"
what = "run site.look"
verdict = "allow"
"#;

#[test]
fn loaded_again_policy_and_digest_are_equal() {
    let sources = [source("0.toml", COMMANDS), source("a.toml", DOUBTFUL)];
    let (policy, warnings) = load(&sources, &accounts()).unwrap();
    assert!(warnings.len() >= 8, "{}", lines(&warnings));
    let again = load_again(&sources, &accounts()).unwrap();
    assert_eq!(policy.digest_input(), again.digest_input());
    assert_eq!(format!("{policy:?}"), format!("{again:?}"));
}

#[test]
fn loaded_again_errors_count_proofs_do_not() {
    for (was, is, proves) in [
        ("verdict = \"allow\"", "verdict = \"deny\"", true),
        ("accepts = [{},", "accepts = [{ x = 1 },", true),
        (
            "rejects = [{ file = \"/etc/shadow\" }",
            "rejects = [{}",
            true,
        ),
        ("base = \"strict\"", "base = \"lax\"", false),
        ("\"{file}\"]", "\"{files}\"]", false),
        ("\"/bin/sh\"", "\"/opt/mine\"", false),
        ("[[deny]]", "[[denies]]", false),
    ] {
        assert!(DOUBTFUL.contains(was), "{was}");
        let sources = [
            source("0.toml", COMMANDS),
            source("a.toml", DOUBTFUL.replacen(was, is, 1)),
        ];
        assert!(load(&sources, &accounts()).is_err(), "{is}");
        let again = load_again(&sources, &accounts());
        assert_eq!(again.is_ok(), proves, "{is}");
        let found = again.err().unwrap_or_default();
        let is_error = |severity| matches!(severity, Severity::Error);
        assert!(found.iter().all(|one| is_error(one.severity())), "{is}");
    }
}
