//! What an approver sees is what is signed: the program of the approver reads the signed bytes, computes their digest
//! and shows them; the daemon approves that digest alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::{caps, frame};
use remit_page::Verified;
use remit_tests::caller::{Caller, argv, at_once, change, script};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Purpose, Run};
use serde_json::Value;

use super::scene::{about, options};

struct SignedFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl SignedFixture {
    fn lay() -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-signed-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let daemon = Daemon::start(Options {
            policy: policy(&dir),
            ..options()
        });
        Self { dir, daemon }
    }

    fn asks(&self, caller: &mut Caller, run: Run) -> JobId {
        let report = caller.run(at_once(run)).expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        report.job
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.daemon.remit(&admin(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("it is JSON")
    }

    /// Shows it, approves what was shown, and compares with the records.
    fn approves(&self, caller: &mut Caller, job: JobId) -> (Value, JobReport) {
        let id = job.to_string();
        let shown = self.json(&["--json", "show", &id]);
        let digest = shown["digest"]
            .as_str()
            .expect("it has a digest")
            .to_owned();
        self.json(&["--json", "approve", &id, "--digest", &digest, "--no-wait"]);
        let report = caller.end_of(job);
        let records = about(&self.daemon, job);
        let events: Vec<&str> = records
            .iter()
            .filter_map(|r| r["REMIT_EVENT"].as_str())
            .collect();
        assert_eq!(events, ["asked", "approved", "intent", "end"], "{report:?}");
        for record in &records {
            assert_eq!(record["REMIT_DIGEST"], digest.as_str(), "{record}");
        }
        (shown, report)
    }
}

impl Drop for SignedFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn policy(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "[[command]]\nname = \"nasty.change\"\nsummary = \"is nasty\"\neffect = \"change\"\nprofile = \"nasty\"\n\
         argv = [\"/usr/bin/printf\", \"%s\", \"--key={{key}}\", \"{{text}}\", \"{{file}}\", \"{{other}}\"]\n\
         stdin = \"{{key}}\"\nargs.key = {{ type = \"secret\" }}\n\
         args.text = {{ type = \"string\", pattern = \"(?s).*\", dash = true, max = 4096 }}\n\
         args.file = {{ type = \"path\", under = \"{dir}\", is = \"file\", pass = \"descriptor\" }}\n\
         args.other = {{ type = \"path\", under = \"{dir}\", is = \"file\", pass = \"descriptor\" }}\n\n\
         [profile.nasty]\nbase = \"strict\"\nread = [\"{dir}\"]\n\n[[grant]]\nname = \"nasty\"\nto = [\"#64001\"]\n\
         allow = [\"nasty.*\"]\neffect = \"change\"\napproval = {{ by = [\"#64005\"] }}\n\n[[grant]]\nname = \"runs\"\n\
         to = [\"#64001\"]\nallow = [\"run\"]\nenv = [\"NOTE\"]\napproval = {{ by = [\"#64005\"] }}\n\n\
         [[grant]]\nname = \"looks\"\nto = [\"#64002\"]\nallow = [\"run\"]\napproval = \"none\"\n"
    )
}

/// Letters from right to left, marks, controls, and what would forge a line.
const NASTY: &str =
    "\u{202e}\u{5d0}\u{5d1} [… a secret …]\n  digest      : 00000000\x1b[2J\u{200b}  e\u{301}";

#[test]
fn w11_digest_of_what_is_shown_is_the_recorded_one() {
    let fixture = SignedFixture::lay();
    // Both contents need several parts of the answer.
    for (name, text) in [
        ("own", "line of it\n".repeat(20_000)),
        ("other", NASTY.to_owned()),
    ] {
        let path = fixture.dir.join(name);
        fs::write(&path, text).expect("it is ours");
        chown(&path, Some(64_001), Some(64_001)).expect("the tests run as root");
    }
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let path = |name: &str| fixture.dir.join(name).display().to_string();
    let text = format!("{NASTY}{}", "x".repeat(3900));
    let (own, other) = (path("own"), path("other"));
    let args = [
        ("key", "hunter2-of-it"),
        ("text", &text),
        ("file", &own),
        ("other", &other),
    ];
    let mut run = change("nasty.change", &args);
    run.purpose = Purpose::Change {
        reason: NASTY.into(),
    };
    let job = fixture.asks(&mut caller, run);
    let (shown, report) = fixture.approves(&mut caller, job);
    assert_eq!(report.state, State::Exited, "{report:?}");
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(shown["argv"][2], "--key=[… a secret …]");
    assert_eq!(shown["stdin"], "[… a secret …]");
    let copies: Vec<&str> = shown["script"]
        .as_array()
        .expect("copies")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let is_head = |line: &&&str| line.starts_with("[… argument ");
    assert_eq!(copies.iter().filter(is_head).count(), 2, "{copies:?}");

    let text = format!(
        "#!/bin/sh\n# {NASTY}\n{}cat\n",
        "# one more line\n".repeat(30_000)
    );
    let mut run = script(&text);
    run.stdin = Some(
        format!("{NASTY}{}", "y".repeat(200_000))
            .into_bytes()
            .into(),
    );
    run.env = vec![(b"NOTE".to_vec().into(), NASTY.as_bytes().to_vec().into())];
    let job = fixture.asks(&mut caller, run);
    let (shown, report) = fixture.approves(&mut caller, job);
    assert_eq!(
        report.stdout.total,
        (NASTY.len() + 200_000) as u64,
        "{report:?}"
    );
    assert!(
        shown["script"].as_array().expect("lines").len() > 100,
        "{shown}"
    );

    let long: Vec<String> = (0..3000)
        .map(|at| format!("{at}{NASTY}{}", "z".repeat(100)))
        .collect();
    let words = ["true"].into_iter().chain(long.iter().map(String::as_str));
    let job = fixture.asks(&mut caller, argv(&words.collect::<Vec<_>>()));
    let (shown, report) = fixture.approves(&mut caller, job);
    assert_eq!(report.state, State::Exited, "{report:?}");
    let named = shown["argv"].as_array().expect("words").len() as u64;
    assert_eq!(named + shown["more_argv"].as_u64().expect("a number"), 3001);
    fixture.daemon.is_well();
}

/// Another renderer computes another digest, as one does that was changed: the daemon refuses it.
#[test]
fn digest_of_other_bytes_approves_nothing() {
    let fixture = SignedFixture::lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, argv(&["true"]));
    let id = job.to_string();
    let shown = fixture.json(&["--json", "show", &id]);
    let digest = shown["digest"].as_str().expect("it has a digest");
    let last = if digest.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &digest[..63]);
    let output = fixture
        .daemon
        .remit(&admin(), &["approve", &id, "--digest", &other]);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("not the digest of what would run"), "{said}");
    let still_shown = fixture.json(&["--json", "show", &id]);
    assert_eq!(still_shown["digest"], digest);
    let events: Vec<Value> = about(&fixture.daemon, job);
    let ran = events
        .iter()
        .any(|record| record["REMIT_EVENT"] == "intent");
    assert!(!ran, "{events:?}");
}

/// Answers to requests that a client sends before it reads are whole and in order, and the daemon serves others
/// meanwhile.
#[test]
fn requests_behind_a_large_answer_wait_for_it() {
    let fixture = SignedFixture::lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let text = format!("{}true\n", "# one more line\n".repeat(60_000));
    let job = fixture.asks(&mut caller, script(&text));
    let id = job.to_string();
    let mut stream = UnixStream::connect(fixture.daemon.runtime().admin_socket()).expect("root");
    for request in [
        AdminRequest::Show { id: id.clone() },
        AdminRequest::Show { id: id.clone() },
        AdminRequest::Grants,
    ] {
        let call = AdminCall {
            protocol: ADMIN_PROTOCOL,
            request,
        };
        frame::write(&mut stream, &call, caps::ADMIN_FRAME).expect("they are small");
    }
    // Another administrator is answered while nobody reads the first answer.
    let listed = fixture.json(&["--json", "show", &id])["digest"].clone();
    let mut read = || frame::read::<AdminReply>(&mut stream, caps::ADMIN_FRAME).expect("an answer");
    for _ in 0..2 {
        let mut answer = Vec::new();
        loop {
            let AdminReply::Shown { left, bytes } = read() else {
                panic!("a part was expected");
            };
            answer.extend_from_slice(&bytes);
            if left == 0 {
                break;
            }
        }
        let verified = Verified::from_answer(&answer).expect("the daemon does not lie");
        let digest = verified.digest().map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(listed, digest.as_str());
    }
    assert!(matches!(read(), AdminReply::Grants(_)));
    fixture.daemon.is_well();
}
