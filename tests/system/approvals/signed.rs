//! A rule can ask for a signature of each approval: by a key, by a security key that was touched, or that verified its
//! user. Each cell of the table is tried with plain keys of ssh-keygen and with a security key in software.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::{NAMESPACE, SIGNATURE, body};
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv, at_once, cause, change};
use remit_tests::daemon::{
    ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, other_admin, user_a, user_b,
};
use remit_tests::process::Identity;
use remit_tests::security_key::{PlainKey, SecurityKey};
use remit_tests::terminal_screen::TerminalScreen;
use remit_tests::test_dir::{TestDir, built, missing};
use remit_wire::outcome::State;

use super::confirm::{Login, login, now, own_sessions};
use super::plans::{PlanFixture, exit, id_of, plan};
use super::scene::{POLICY, about, asked, code, events, listed, options};

fn policy(more: &str) -> String {
    let by = r##"by = ["#64005", "%#64400", "#64001", "#64008"]"##;
    let others = r##"by = ["#64005", "#64006", "#64001"]"##;
    POLICY.replace(by, &format!("{others}, {more}"))
}

fn accounts() -> Accounts {
    Accounts {
        users: vec![("ann", 64_005), ("bob", 64_006), ("robot", 64_001)],
        groups: vec![
            ("remit", SOCKET_GROUP, vec!["ann", "bob", "robot"]),
            ("remit-admin", ADMIN_GROUP, vec!["ann", "bob"]),
        ],
        directory: Vec::new(),
    }
}

fn started(more: &str, approvers: &str) -> Daemon {
    let daemon = Daemon::start(Options {
        policy: policy(more),
        accounts: Some(accounts()),
        ..options()
    });
    daemon.set_file("config/approvers", approvers);
    daemon
}

fn approve(
    daemon: &Daemon,
    user: &Identity,
    job: JobId,
    signature: Option<String>,
) -> Result<AdminReply, Refusal> {
    let digest = listed(daemon, job).digest;
    let request = AdminRequest::Approve {
        job,
        digest,
        signature,
    };
    daemon.administers(user, request)
}

#[test]
fn touched_key_approves_and_is_in_the_record() {
    let key = SecurityKey::new(1);
    let daemon = started("signed = \"touch\"", &key.line("ann"));
    let (mut caller, job, _) = asked(&daemon);
    let unsigned = approve(&daemon, &admin(), job, None).unwrap_err();
    assert_eq!(unsigned.code, Code::NeedsApproval, "{unsigned:?}");
    let text = daemon.verified(job).statement();
    let untouched = key.sign(NAMESPACE, &text, 0, 7);
    let refused = approve(&daemon, &admin(), job, Some(untouched)).unwrap_err();
    assert!(refused.message.contains("nobody touched"), "{refused:?}");
    assert_eq!(events(&daemon, job), ["asked"]);
    let touched = key.sign(NAMESPACE, &text, 1, 8);
    approve(&daemon, &admin(), job, Some(touched.clone())).unwrap();
    assert_eq!(caller.end_of(job).state, State::Exited);
    assert_eq!(events(&daemon, job), ["asked", "approved", "intent", "end"]);
    let record = &about(&daemon, job)[1];
    assert_eq!(record["REMIT_SIGNATURE"], body(&touched));
    assert_eq!(record["REMIT_SIGNED_FLAGS"], "1");
    assert_eq!(record["REMIT_SIGNED_COUNTER"], "8");
    let message = record["MESSAGE"].as_str().unwrap();
    assert!(message.contains("signed by SHA256:"), "{message}");
    daemon.stop();
}

/// Refused, and it still waits.
fn refused(daemon: &Daemon, user: &Identity, job: JobId, signature: String, why: &str) {
    let refusal = approve(daemon, user, job, Some(signature)).unwrap_err();
    assert!(refusal.message.contains(why), "{why}: {refusal:?}");
    assert_eq!(events(daemon, job), ["asked"], "{why}");
}

#[test]
fn each_rule_takes_what_it_asks_for_and_no_less() {
    let dir = TestDir::new();
    let plain = PlainKey::new(dir.path(), "ed25519", &["-t", "ed25519"]);
    let curve = PlainKey::new(dir.path(), "ecdsa", &["-t", "ecdsa", "-b", "256"]);
    let touched = SecurityKey::new(1);
    let keys = [plain.line("ann"), curve.line("ann"), touched.line("ann")].concat();
    for (rule, at) in [("key", 0), ("touch", 1), ("verify", 2)] {
        let daemon = started(&format!("signed = \"{rule}\""), &keys);
        let mut counter = 0;
        // Of which key, with which flags; whether the rules key, touch and verify take it; why not.
        for (key, is_taken, why) in [
            (None, [true, false, false], "not by a security key"),
            (Some(None), [true, false, false], "not by a security key"),
            (Some(Some(0)), [true, false, false], "nobody touched"),
            (
                Some(Some(1)),
                [true, true, false],
                "did not verify its user",
            ),
            (Some(Some(4)), [true, false, false], "nobody touched"),
            (Some(Some(5)), [true, true, true], ""),
        ] {
            let (mut caller, job, view) = asked(&daemon);
            assert_eq!(view.digest.len(), 64);
            let text = daemon.verified(job).statement();
            counter += 1;
            let signature = match key {
                None => plain.sign(NAMESPACE, &text),
                Some(None) => curve.sign(NAMESPACE, &text),
                Some(Some(flags)) => touched.sign(NAMESPACE, &text, flags, counter),
            };
            match is_taken[at] {
                true => {
                    approve(&daemon, &admin(), job, Some(signature)).unwrap();
                    assert_eq!(caller.end_of(job).state, State::Exited);
                }
                false => {
                    refused(&daemon, &admin(), job, signature.clone(), why);
                    // Nobody else's signature is theirs, whatever its flags.
                    refused(&daemon, &other_admin(), job, signature, "bob has no key in");
                }
            }
        }
        daemon.stop();
    }
}

#[test]
fn signature_counts_for_one_request_and_one_person() {
    let (ann, bob, robot, unknown) = (
        SecurityKey::new(1),
        SecurityKey::new(2),
        SecurityKey::new(3),
        SecurityKey::new(4),
    );
    let expired = SecurityKey::new(5);
    let keys = [
        ann.line("ann"),
        bob.line("bob"),
        robot.line("ann,robot"),
        expired.line("ann valid-before=\"20200101Z\""),
        SecurityKey::new(6).line("ann namespaces=\"git\""),
    ]
    .concat();
    let daemon = started("signed = \"touch\"", &keys);
    let (mut caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let (_other, second, _) = asked(&daemon);
    let by = |key: &SecurityKey, text: &str| key.sign(NAMESPACE, text, 1, 9);
    let digest = hex(&listed(&daemon, job).digest);
    let other_host = text.replacen("host ", "host 0", 1);
    let other_digest = text.replace(&digest, &"00".repeat(32));
    assert!(other_digest != text && other_host != text);
    let whole = by(&ann, &text);
    let (begin, rest) = whole.split_at(200);
    for (signature, why) in [
        (ann.sign("git", &text, 1, 9), "another namespace"),
        (ann.sign("", &text, 1, 9), "not a whole signature"),
        (
            by(&ann, &other_host),
            "not a signature of this request's text",
        ),
        (
            by(&ann, &other_digest),
            "not a signature of this request's text",
        ),
        (
            by(&ann, &daemon.verified(second).statement()),
            "not a signature of this",
        ),
        (
            by(&ann, text.trim_end()),
            "not a signature of this request's text",
        ),
        (by(&unknown, &text), "not in the approvers' file"),
        (by(&bob, &text), "not one of ann"),
        (by(&robot, &text), "one of the requester"),
        (by(&expired, &text), "was valid before 2020-01-01"),
        (
            by(&SecurityKey::new(6), &text),
            "not for the namespace approve@remit",
        ),
        (begin.to_owned(), "not a whole signature"),
        (format!("{begin}{}", &rest[4..]), "not a whole signature"),
        (String::new(), "not a whole signature"),
        ("x".repeat(SIGNATURE), "not a whole signature"),
    ] {
        refused(&daemon, &admin(), job, signature, why);
    }
    for oversized in ["x".repeat(SIGNATURE + 1), "\u{1b}[2J".to_owned()] {
        let refusal = approve(&daemon, &admin(), job, Some(oversized)).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
    }
    approve(&daemon, &admin(), job, Some(whole.clone())).unwrap();
    assert_eq!(caller.end_of(job).state, State::Exited);
    // Replayed, for the request that it is of and for another one.
    let digest = daemon.verified(second).digest();
    let replay = AdminRequest::Approve {
        job,
        digest,
        signature: Some(whole.clone()),
    };
    assert_eq!(
        daemon.administers(&admin(), replay).unwrap_err().code,
        Code::NotFound
    );
    refused(
        &daemon,
        &admin(),
        second,
        whole,
        "not a signature of this request's text",
    );
    daemon.stop();
}

#[test]
fn two_approvals_are_by_keys_of_different_people() {
    let (ann, bob, shared) = (
        SecurityKey::new(1),
        SecurityKey::new(2),
        SecurityKey::new(3),
    );
    let keys = [ann.line("ann"), bob.line("bob"), shared.line("ann,bob")].concat();
    let daemon = started("count = 2, signed = \"touch\"", &keys);
    let (mut caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let by = |key: &SecurityKey, counter| Some(key.sign(NAMESPACE, &text, 1, counter));
    let first = approve(&daemon, &admin(), job, by(&ann, 7)).unwrap();
    assert!(
        matches!(first, AdminReply::Counted { missing: 1, .. }),
        "{first:?}"
    );
    let refusal = approve(&daemon, &other_admin(), job, by(&shared, 1)).unwrap_err();
    assert!(
        refusal.message.contains("who has approved it already"),
        "{refusal:?}"
    );
    let refusal = approve(&daemon, &other_admin(), job, by(&ann, 8)).unwrap_err();
    assert!(refusal.message.contains("not one of bob"), "{refusal:?}");
    approve(&daemon, &other_admin(), job, by(&bob, 1)).unwrap();
    assert_eq!(caller.end_of(job).state, State::Exited);
    // Two keys of one third person.
    let keys_of_carl = ann.line("ann,carl") + &bob.line("bob,carl");
    daemon.set_file("config/approvers", &keys_of_carl);
    let (_caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let by = |key: &SecurityKey, counter| Some(key.sign(NAMESPACE, &text, 1, counter));
    approve(&daemon, &admin(), job, by(&ann, 8)).unwrap();
    let refusal = approve(&daemon, &other_admin(), job, by(&bob, 2)).unwrap_err();
    assert!(
        refusal.message.contains("who has approved it already"),
        "{refusal:?}"
    );
    daemon.set_file("config/approvers", &keys);
    // The shared key first: then it is one person, with whatever key the second account signs.
    let (_caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let by = |key: &SecurityKey, counter| Some(key.sign(NAMESPACE, &text, 1, counter));
    approve(&daemon, &admin(), job, by(&shared, 2)).unwrap();
    let refusal = approve(&daemon, &other_admin(), job, by(&bob, 2)).unwrap_err();
    assert!(
        refusal.message.contains("who has approved it already"),
        "{refusal:?}"
    );
    daemon.stop();
}

#[test]
fn counter_that_goes_back_is_recorded_and_not_refused() {
    let key = SecurityKey::new(1);
    let daemon = started("signed = \"touch\"", &key.line("ann"));
    for (counter, risk) in [
        (0, None),
        (0, None),
        (7, None),
        (8, None),
        (5, Some("from 8 to 5")),
    ] {
        let (mut caller, job, _) = asked(&daemon);
        let signature = key.sign(NAMESPACE, &daemon.verified(job).statement(), 1, counter);
        approve(&daemon, &admin(), job, Some(signature)).unwrap();
        assert_eq!(caller.end_of(job).state, State::Exited);
        let recorded = &about(&daemon, job)[1]["REMIT_SIGNED_RISK"];
        let found = recorded
            .as_str()
            .map(|said| risk.is_some_and(|risk| said.contains(risk)));
        assert_eq!(found, risk.map(|_| true), "{counter}: {recorded}");
    }
    daemon.stop();
}

#[test]
fn file_of_keys_is_roots_and_whole_or_none_counts() {
    let dir = TestDir::new();
    let rsa = PlainKey::new(dir.path(), "rsa", &["-t", "rsa", "-b", "1024"]);
    let key = SecurityKey::new(1);
    let good = key.line("ann");
    let daemon = started("signed = \"touch\"", &good);
    let (_caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let signature = || key.sign(NAMESPACE, &text, 1, 1);
    let file = daemon.path().join("config/approvers");
    let mode = |bits| fs::set_permissions(&file, fs::Permissions::from_mode(bits)).unwrap();
    for (bits, why) in [
        (0o666, "writable by everybody"),
        (0o664, "writable by group"),
    ] {
        mode(bits);
        refused(&daemon, &admin(), job, signature(), why);
    }
    mode(0o644);
    std::os::unix::fs::chown(&file, Some(64_005), None).unwrap();
    refused(&daemon, &admin(), job, signature(), "not by root");
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    for (more, why) in [
        (rsa.line("ann"), "'ssh-rsa' are not accepted"),
        (
            good.replace("ann ", "ann cert-authority "),
            "certificates are not accepted",
        ),
        (good.replace("ann ", "* "), "not the name of an account"),
        (
            "ann sk-ssh-ed25519@openssh.com AAAA\n".to_owned(),
            "line 2 of the approvers' file has no valid key",
        ),
    ] {
        daemon.set_file("config/approvers", &(good.clone() + &more));
        refused(&daemon, &admin(), job, signature(), why);
    }
    daemon.set_file("config/approvers", &good);
    refused(
        &daemon,
        &admin(),
        job,
        rsa.sign(NAMESPACE, &text),
        "kind that is not accepted",
    );
    fs::remove_file(&file).unwrap();
    refused(&daemon, &admin(), job, signature(), "there is no");
    daemon.set_file("config/approvers", &good);
    approve(&daemon, &admin(), job, Some(signature())).unwrap();
    daemon.stop();
}

#[test]
fn verifier_that_does_not_answer_approves_nothing() {
    let key = SecurityKey::new(1);
    let daemon = started("signed = \"touch\"", &key.line("ann"));
    let (_caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let signature = || key.sign(NAMESPACE, &text, 1, 1);
    let program = daemon.program("remit-verify");
    for (script, why) in [
        ("kill -9 $$", "ended without an answer"),
        ("exit 0", "ended without an answer"),
        // It stays until the question is written: otherwise its end may come first.
        (
            "echo this is not an answer of the verifier; exec sleep 60",
            "sent nonsense",
        ),
        ("exec sleep 60", "did not answer in 5 s"),
    ] {
        daemon.set_file("bin/remit-verify", &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        refused(&daemon, &admin(), job, signature(), why);
    }
    fs::remove_file(&program).unwrap();
    refused(&daemon, &admin(), job, signature(), "was not started");
    fs::copy(built().join("remit-verify"), &program).unwrap();
    approve(&daemon, &admin(), job, Some(signature())).unwrap();
    daemon.stop();
}

#[test]
fn rule_with_a_signature_gives_no_temporary_grant() {
    let daemon = started("signed = \"key\"", "");
    let output = daemon.remit(&admin(), &["grant", "--for", "1h", "#64001", "site.switch"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        said.contains("requires a signature of each approval"),
        "{said}"
    );
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller.run(at_once(change("site.switch", &[("to", "blue")])));
    assert_eq!(report.unwrap().state, State::AwaitingApproval);
    daemon.stop();
}

#[test]
fn command_line_signs_with_a_key_of_ssh_keygen() {
    let dir = TestDir::new();
    let key = PlainKey::new(dir.path(), "ann", &["-t", "ed25519"]);
    std::os::unix::fs::chown(key.path(), Some(64_005), None).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = started("signed = \"key\"", &key.line("ann"));
    let (mut caller, job, view) = asked(&daemon);
    let id = job.to_string();
    let unsigned = daemon.remit(&admin(), &["approve", &id[..8], "--digest", &view.digest]);
    let said = String::from_utf8_lossy(&unsigned.stderr);
    assert!(
        said.contains("asks for a signature") && said.contains("--signed"),
        "{said}"
    );
    let text = daemon.remit(&admin(), &["show", &id, "--sign-text"]);
    assert_eq!(
        String::from_utf8_lossy(&text.stdout),
        daemon.verified(job).statement()
    );
    // ssh-keygen wants to know its user.
    let (mut signs, _) = accounts().around(dir.path(), Path::new("setpriv"));
    let groups = format!("{SOCKET_GROUP},{ADMIN_GROUP}");
    signs.args(["--reuid", "64005", "--regid", "64005", "--groups", &groups]);
    signs.arg(daemon.program("remit"));
    signs.arg("--runtime").arg(daemon.runtime().dir());
    signs.args([
        "approve",
        &id,
        "--digest",
        &view.digest,
        "--no-wait",
        "--signed",
        "--key",
    ]);
    let done = signs.arg(key.path()).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

/// `remit audit verify --signers` of this log and these keys: whether all is well, and what it says.
fn checked_later(daemon: &Daemon, dir: &TestDir, log: &str, keys: &str) -> (bool, String) {
    fs::write(dir.path().join("log"), log).unwrap();
    fs::write(dir.path().join("keys"), keys).unwrap();
    let output = Command::new(daemon.program("remit"))
        .args(["audit", "verify", "--file", "log", "--signers", "keys"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said)
}

/// A daemon with two changes, each signed by another approver: with their keys, and its records.
fn two_signed() -> (Daemon, [SecurityKey; 2], String) {
    let keys = [SecurityKey::new(1), SecurityKey::new(2)];
    let [ann, bob] = &keys;
    let daemon = started("signed = \"touch\"", &(ann.line("ann") + &bob.line("bob")));
    for (user, key) in [(admin(), ann), (other_admin(), bob)] {
        let (mut caller, job, _) = asked(&daemon);
        let signature = key.sign(NAMESPACE, &daemon.verified(job).statement(), 1, 1);
        approve(&daemon, &user, job, Some(signature)).unwrap();
        assert_eq!(caller.end_of(job).state, State::Exited);
    }
    let log = fs::read_to_string(daemon.path().join("state/audit.jsonl")).unwrap();
    (daemon, keys, log)
}

/// Keys of last year: one is still good, one was valid until after it signed, one is gone, one belongs to another account.
#[test]
fn signatures_are_checked_later_without_the_daemon() {
    let dir = TestDir::new();
    let (daemon, [ann, bob], log) = two_signed();
    let verify = |log: &str, keys: String| checked_later(&daemon, &dir, log, &keys);
    let until = |year: u32| format!("bob valid-before=\"{year}0101Z\"");
    let far = 2199;
    for (keys, is_good, said) in [
        (ann.line("ann") + &bob.line("bob"), true, "2 good, 0 not"),
        (
            ann.line("ann") + &bob.line(&until(far)),
            true,
            "2 good, 0 not",
        ),
        (
            ann.line("ann") + &bob.line(&until(2020)),
            false,
            "was valid before 2020-01-01",
        ),
        (
            ann.line("ann"),
            false,
            "its key is not in the approvers' file",
        ),
        (
            ann.line("ann") + &bob.line("eve"),
            false,
            "its key is not one of this account",
        ),
    ] {
        let (found, page) = verify(&log, keys);
        assert_eq!(
            (found, page.contains(said)),
            (is_good, true),
            "{said}: {page}"
        );
    }
    // A record whose signature is of something else; its hash is wrong, too.
    let other = log.replacen("REMIT_SIGNED_FLAGS\":\"1", "REMIT_SIGNED_FLAGS\":\"5", 1);
    assert_ne!(other, log);
    let (is_good, page) = verify(&other, ann.line("ann") + &bob.line("bob"));
    assert!(
        !is_good && page.contains("another report of the key"),
        "{page}"
    );
    let copied = log.replace(
        "{\"MESSAGE\"",
        r#"{"_MACHINE_ID":"00","_UID":"0","SYSLOG_IDENTIFIER":"remitd","MESSAGE""#,
    );
    assert_ne!(copied, log);
    let (is_good, page) = verify(&copied, ann.line("ann") + &bob.line("bob"));
    assert!(
        !is_good && page.contains("for another machine than the record's"),
        "{page}"
    );
    let other = log.replacen("site.switch: ", "site.change: ", 9);
    let (is_good, page) = verify(&other, ann.line("ann") + &bob.line("bob"));
    assert!(
        !is_good && page.contains("not a signature of this request's text"),
        "{page}"
    );
    daemon.stop();
}

/// The page for auditors has each signed approval with its key, and the result of `remit audit verify --signers` if asked to.
#[test]
fn report_has_the_result_of_each_signature() {
    let dir = TestDir::new();
    let (daemon, [ann, bob], log) = two_signed();
    fs::write(dir.path().join("log"), log).unwrap();
    let reported = |keys: Option<String>| {
        let mut remit = Command::new(daemon.program("remit"));
        remit.args(["audit", "report", "--file", "log", "-o", "page.html"]);
        if let Some(keys) = keys {
            fs::write(dir.path().join("keys"), keys).unwrap();
            remit.args(["--signers", "keys"]);
        }
        let done = remit.current_dir(dir.path()).output().unwrap();
        let page = fs::read_to_string(dir.path().join("page.html")).unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        (done.status.code(), said, page)
    };
    let signed = |page: &str, key: &SecurityKey, result: &str| {
        let by = format!("signed by <bdi>{}</bdi>, {result}", key.fingerprint());
        page.matches(&by).count()
    };
    let (status, said, page) = reported(None);
    assert_eq!(status, Some(0), "{said}");
    let unchecked = [&ann, &bob].map(|key| signed(&page, key, "not checked<"));
    assert_eq!(unchecked, [2, 2], "{page}");
    let (status, said, page) = reported(Some(ann.line("ann") + &bob.line("bob")));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("2 good, 0 not"), "{said}");
    let good = [&ann, &bob].map(|key| signed(&page, key, "checked: good<"));
    assert_eq!(good, [2, 2], "{page}");
    let (status, said, page) = reported(Some(ann.line("ann") + &bob.line("eve")));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("1 good, 1 not"), "{said}");
    let bad = "checked: <span class=\"doubt\"><bdi>the approval by bob is not proven: its key is not one of this account";
    assert_eq!(signed(&page, &bob, bad), 2, "{page}");
    assert_eq!(signed(&page, &ann, "checked: good<"), 2, "{page}");
    daemon.stop();
}

/// What the daemon verifies is what it records: no approval is made whose record proves nothing later.
#[test]
fn signature_with_text_around_it_approves_nothing() {
    let key = SecurityKey::new(1);
    let daemon = started("signed = \"touch\"", &key.line("ann"));
    let (_caller, job, _) = asked(&daemon);
    let whole = key.sign(NAMESPACE, &daemon.verified(job).statement(), 1, 1);
    for around in [format!("a note\n{whole}"), format!("{whole}a note\n")] {
        refused(&daemon, &admin(), job, around, "not a whole signature");
    }
    daemon.stop();
}

/// Whoever can write the log cannot make an approval of it that nobody gave.
#[test]
fn forged_records_of_approvals_are_found_later() {
    let (ann, bob) = (SecurityKey::new(1), SecurityKey::new(2));
    let keys = ann.line("ann") + &bob.line("bob");
    let dir = TestDir::new();
    let daemon = started("count = 2, signed = \"key\"", &keys);
    let (mut caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    for (user, key) in [(admin(), &ann), (other_admin(), &bob)] {
        let signature = key.sign(NAMESPACE, &text, 0, 1);
        approve(&daemon, &user, job, Some(signature)).unwrap();
    }
    assert_eq!(caller.end_of(job).state, State::Exited);
    let log = fs::read_to_string(daemon.path().join("state/audit.jsonl")).unwrap();
    let (is_good, page) = checked_later(&daemon, &dir, &log, &keys);
    assert!(is_good && page.contains("2 good, 0 not"), "{page}");
    let of = |event: &str| format!("\"REMIT_EVENT\":\"{event}\"");
    let without = |event: &str| -> String {
        let lines = log.split_inclusive('\n');
        lines.filter(|line| !line.contains(&of(event))).collect()
    };
    let by_ann = |line: &&str| line.contains(&of("approved")) && line.contains(r#"APPROVER":"ann"#);
    let first = log.split_inclusive('\n').find(by_ann).unwrap();
    for (forged, why) in [
        (without("asked"), "the record of its request is missing"),
        (
            log.clone() + first,
            "has signed an earlier approval of this request",
        ),
        (
            log.replace("\"REMIT_SIGNATURE\"", "\"REMIT_X\""),
            "its rule asks for a signature, and it has none",
        ),
        (
            log.replace("\"REMIT_SIGNED\":\"key\"", "\"REMIT_SIGNED\":\"touch\""),
            "nobody touched the security key",
        ),
    ] {
        let (is_good, page) = checked_later(&daemon, &dir, &forged, &keys);
        assert!(!is_good && page.contains(why), "{why}: {page}");
    }
    daemon.stop();
}

#[test]
fn first_of_two_approvals_ends_with_its_key() {
    let (ann, bob) = (SecurityKey::new(1), SecurityKey::new(2));
    let both = ann.line("ann") + &bob.line("bob");
    let daemon = started("count = 2, signed = \"touch\"", &both);
    let until = ann.line("ann valid-before=\"20200101Z\"");
    for (keys, why) in [
        (bob.line("bob"), "the key is no longer one of ann"),
        (until + &bob.line("bob"), "was valid before 2020-01-01"),
    ] {
        daemon.set_file("config/approvers", &both);
        let (_caller, job, _) = asked(&daemon);
        let text = daemon.verified(job).statement();
        let by = |key: &SecurityKey| Some(key.sign(NAMESPACE, &text, 1, 1));
        approve(&daemon, &admin(), job, by(&ann)).unwrap();
        daemon.set_file("config/approvers", &keys);
        let refusal = approve(&daemon, &other_admin(), job, by(&bob)).unwrap_err();
        assert_eq!(refusal.code, Code::ApprovalVoid, "{refusal:?}");
        assert!(refusal.message.contains(why), "{why}: {refusal:?}");
        assert_eq!(events(&daemon, job), ["asked", "approved", "void"]);
    }
    // A file that cannot be used now, as while root edits it, ends nothing: the second signs again.
    daemon.set_file("config/approvers", &both);
    let (mut caller, job, _) = asked(&daemon);
    let text = daemon.verified(job).statement();
    let by = |key: &SecurityKey| Some(key.sign(NAMESPACE, &text, 1, 1));
    approve(&daemon, &admin(), job, by(&ann)).unwrap();
    daemon.set_file("config/approvers", "half a line");
    let refusal = approve(&daemon, &other_admin(), job, by(&bob)).unwrap_err();
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert_eq!(events(&daemon, job), ["asked", "approved"]);
    daemon.set_file("config/approvers", &both);
    approve(&daemon, &other_admin(), job, by(&bob)).unwrap();
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

/// Hours can pass until a slot is free: the keys are those of then, and with them each signature has to be accepted again.
#[test]
fn approved_job_ends_in_the_queue_with_a_key_of_its_approvers() {
    let (ann, bob) = (SecurityKey::new(1), SecurityKey::new(2));
    let both = ann.line("ann") + &bob.line("bob");
    let daemon = Daemon::start(Options {
        policy: policy("count = 2, signed = \"touch\""),
        accounts: Some(accounts()),
        jobs: 1,
        ..options()
    });
    let mut other = Caller::new(&daemon, &user_b());
    let of_ann = |options: &str| ann.line(&format!("ann {options}")) + &bob.line("bob");
    for (keys, why) in [
        (both.clone(), None),
        (
            format!("# people\n{}{}", bob.line("bob,eve"), ann.line("ann")),
            None,
        ),
        (of_ann("valid-before=\"29990101Z\""), None),
        (
            bob.line("bob"),
            Some("ann has signed it, and the key is no longer one of ann"),
        ),
        (
            of_ann("valid-before=\"20200101Z\""),
            Some("was valid before 2020-01-01"),
        ),
        (
            of_ann("namespaces=\"git\""),
            Some("is not for the namespace"),
        ),
        (
            ann.line("ann,robot") + &bob.line("bob"),
            Some("its key is one of robot, too"),
        ),
        (
            ann.line("ann") + &bob.line("bob,ann"),
            Some("bob has signed it, and its key is one of ann, too"),
        ),
        (both.replace("ann", "*"), Some("patterns are not allowed")),
        (String::new(), Some("the key is no longer one of")),
    ] {
        daemon.set_file("config/approvers", &both);
        let holder = other.run(at_once(argv(&["sleep", "50"]))).unwrap();
        let (mut caller, job, _) = asked(&daemon);
        let text = daemon.verified(job).statement();
        for (user, key) in [(admin(), &ann), (other_admin(), &bob)] {
            let signature = key.sign(NAMESPACE, &text, 1, 1);
            approve(&daemon, &user, job, Some(signature)).unwrap();
        }
        daemon.set_file("config/approvers", &keys);
        other.stop(holder.job).unwrap();
        let report = caller.end_of(job);
        let Some(why) = why else {
            assert_eq!(report.state, State::Exited, "{keys}: {report:?}");
            assert_eq!(
                events(&daemon, job),
                ["asked", "approved", "approved", "intent", "end"]
            );
            continue;
        };
        assert_eq!(
            (report.state, code(&report)),
            (State::Denied, "approval_void"),
            "{keys}: {report:?}"
        );
        assert!(cause(&report).contains(why), "{why}: {report:?}");
        assert_eq!(
            events(&daemon, job),
            ["asked", "approved", "approved", "end"]
        );
    }
    daemon.stop();
}

/// A signature that no rule asked for counts as one: a key that was stolen has perhaps made it.
#[test]
fn signature_that_is_not_asked_for_ends_with_its_key_too() {
    let ann = SecurityKey::new(1);
    let daemon = Daemon::start(Options {
        policy: policy("count = 1"),
        accounts: Some(accounts()),
        jobs: 1,
        ..options()
    });
    let mut other = Caller::new(&daemon, &user_b());
    for (is_signed, state) in [(true, State::Denied), (false, State::Exited)] {
        daemon.set_file("config/approvers", &ann.line("ann"));
        let holder = other.run(at_once(argv(&["sleep", "50"]))).unwrap();
        let (mut caller, job, _) = asked(&daemon);
        let signature = ann.sign(NAMESPACE, &daemon.verified(job).statement(), 1, 1);
        approve(&daemon, &admin(), job, is_signed.then_some(signature)).unwrap();
        daemon.set_file("config/approvers", "");
        other.stop(holder.job).unwrap();
        let report = caller.end_of(job);
        assert_eq!(report.state, state, "{is_signed}: {report:?}");
    }
    daemon.stop();
}

const CONFIRMED: &str = r##"
[[grant]]
name = "signed"
to = ["#64002"]
allow = ["plan.commit"]
paths = ["@DIR@/watched"]
approval = { by = ["#64005"], signed = "touch" }
confirm = "10min"
"##;

/// A login keeps what was approved with a key, and the record says so, also after a restart.
#[test]
fn confirmation_is_by_a_login_and_its_record_says_what_was_asked_for() {
    own_sessions();
    let ann = SecurityKey::new(1);
    let accounts = Some(accounts());
    let mut fixture = PlanFixture::with_rules(
        Options {
            accounts,
            ..options()
        },
        CONFIRMED,
    );
    fixture
        .daemon
        .set_file("config/approvers", &ann.line("ann"));
    let mut caller = Caller::new(&fixture.daemon, &user_b());
    for name in ["watched/a", "watched/b"] {
        fixture.put(name, "old");
        let bundle = plan(&[fixture.write(name, "new")]);
        let job = fixture.asks(&mut caller, &bundle);
        let signature = ann.sign(NAMESPACE, &fixture.daemon.verified(job).statement(), 1, 1);
        approve(&fixture.daemon, &admin(), job, Some(signature)).unwrap();
        assert_eq!(exit(&caller.end_of(job)), Some(0));
        let before = fixture.daemon.records("confirmed").len();
        if name == "watched/b" {
            assert!(fixture.daemon.end_alone());
            fixture.daemon.restart();
        }
        let login = login!(now());
        login
            .confirms(&fixture.daemon, &admin(), &id_of(&bundle))
            .expect("a new login is enough");
        let record = &fixture.daemon.records("confirmed")[before];
        assert_eq!(record["REMIT_SIGNED"], "touch");
        assert!(record.get("REMIT_SIGNATURE").is_none(), "{record}");
        let message = record["MESSAGE"].as_str().unwrap();
        assert!(
            message.ends_with("by a login: only its approval was signed"),
            "{message}"
        );
    }
    fixture.daemon.stop();
}

/// The approver's own computer, and the way to the server by the real ssh and sshd, without a network.
struct Afar {
    dir: TestDir,
    key: PlainKey,
    /// Of the approver.
    _agent: UnixListener,
}

impl Afar {
    fn new() -> Self {
        let dir = TestDir::new();
        let key = PlainKey::new(dir.path(), "ann", &["-t", "ed25519"]);
        // sshd wants it, and a container may not have it.
        let _ = fs::create_dir("/run/sshd");
        let _ = PlainKey::new(dir.path(), "host", &["-t", "ed25519"]);
        let agent = UnixListener::bind(dir.path().join("agent")).unwrap();
        Self {
            dir,
            key,
            _agent: agent,
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `remit approve --on web1 ID` at a terminal; over there, the key starts this program of the server.
    fn approves(&self, daemon: &Daemon, forced: &str, id: &str, more: &[&str]) -> TerminalScreen {
        self.program("login", forced);
        let public = fs::read_to_string(self.path("ann.pub")).unwrap();
        // A host that lies lets itself be given an agent.
        let line = format!("no-pty,command=\"{}\" {public}", self.path("login"));
        fs::write(self.path("authorized_keys"), line).unwrap();
        let sshd = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nLogLevel ERROR\n",
            self.path("host"),
            self.path("authorized_keys")
        );
        fs::write(self.path("sshd_config"), sshd).unwrap();
        let host = fs::read_to_string(self.path("host.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("web1 {host}")).unwrap();
        self.program(
            "proxy",
            &format!("exec /usr/sbin/sshd -i -f {}", self.path("sshd_config")),
        );
        let config = format!(
            "Host web1\n HostKeyAlias web1\n User root\n ProxyCommand {}\n IdentityFile {}\n IdentitiesOnly yes\n IdentityAgent none\n ForwardAgent {}\n UserKnownHostsFile {}\n",
            self.path("proxy"),
            self.path("ann"),
            self.path("agent"),
            self.path("known_hosts")
        );
        fs::write(self.path("config"), config).unwrap();
        fs::create_dir_all(self.path("bin")).unwrap();
        self.program(
            "bin/ssh",
            &format!("exec /usr/bin/ssh -F {} \"$@\"", self.path("config")),
        );
        let mut command = Command::new(daemon.program("remit"));
        command.args(["approve", "--on", "web1", id]).args(more);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin")));
        TerminalScreen::start(&command, &Identity::new(0, &[]), (120, 200))
    }
}

/// What the key starts on a server that does not lie: the shell of approvers, as ann.
fn shell(daemon: &Daemon) -> String {
    format!(
        "exec setpriv --reuid 64005 --regid 64005 --groups {SOCKET_GROUP},{ADMIN_GROUP} {} --runtime {} approver-shell",
        daemon.program("remit").display(),
        daemon.runtime().dir().display()
    )
}

fn digits(daemon: &Daemon, job: JobId) -> String {
    hex(&listed(daemon, job).digest[..4])
}

#[test]
fn approver_afar_signs_what_their_own_computer_shows() {
    let afar = Afar::new();
    let daemon = started("signed = \"key\"", &afar.key.line("ann"));
    let (mut caller, job, _) = asked(&daemon);
    let key = afar.path("ann");
    let more = ["--signed", "--key", &key];
    let mut screen = afar.approves(&daemon, &shell(&daemon), &job.to_string()[..8], &more);
    screen.until("type the first 8 digits");
    assert!(screen.has("site.switch"), "{:#?}", screen.rows());
    screen.types(&format!("{}\n", digits(&daemon, job)));
    let left = screen.end();
    assert!(left.status.success(), "{left:?}");
    assert_eq!(caller.end_of(job).state, State::Exited);
    let record = &about(&daemon, job)[1];
    assert_eq!(record["REMIT_APPROVER"], "ann");
    assert!(
        record["REMIT_SIGNATURE"]
            .as_str()
            .is_some_and(|one| one.len() > 100)
    );
    daemon.stop();
}

/// The server shows another request than the one that was named, or says that its bytes are another one's.
#[test]
fn approver_afar_refuses_a_server_that_lies() {
    let afar = Afar::new();
    let daemon = started("signed = \"key\"", &afar.key.line("ann"));
    let (_first, shown, _) = asked(&daemon);
    let (_second, wanted, _) = asked(&daemon);
    let real = daemon.remit(&admin(), &["show", &shown.to_string(), "--bytes"]);
    assert!(real.status.success());
    let changed = |name: &str, from: &[u8], to: &[u8]| -> PathBuf {
        let mut bytes = real.stdout.clone();
        let at = bytes
            .windows(from.len())
            .rposition(|part| part == from)
            .expect("it is there");
        bytes[at..at + from.len()].copy_from_slice(to);
        let path = afar.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let sent = format!(
        "echo \"$SSH_ORIGINAL_COMMAND\" >>{}; echo \"agent $SSH_AUTH_SOCK\" >>{}; ",
        afar.path("sent"),
        afar.path("agents")
    );
    for (lie, id, why) in [
        (
            changed("same", b"blue", b"blue"),
            wanted,
            "it is about another request",
        ),
        (
            changed("value", b"blue", b"dark"),
            shown,
            "its bytes have the digest",
        ),
        (
            changed("name", b"site.switch", b"site.sxxxch"),
            shown,
            "its bytes have the digest",
        ),
        (
            PathBuf::from("/dev/null"),
            shown,
            "sent no request as this release",
        ),
    ] {
        let screen = afar.approves(
            &daemon,
            &format!("{sent}exec cat {}", lie.display()),
            &id.to_string(),
            &["--signed", "--key", &afar.path("ann")],
        );
        let left = screen.end();
        assert!(!left.status.success(), "{left:?}");
        assert!(left.written.contains(why), "{why}: {left:?}");
    }
    let agents = fs::read_to_string(afar.path("agents")).unwrap();
    assert_eq!(
        agents,
        "agent \n".repeat(4),
        "the host got the approver's agent"
    );
    // It asked for requests, and sent nothing else.
    let sent = fs::read_to_string(afar.path("sent")).unwrap();
    assert_eq!(sent.lines().count(), 4);
    assert!(
        sent.lines().all(|line| line.starts_with("remit show ")),
        "{sent}"
    );
    assert_eq!(
        (events(&daemon, shown).len(), events(&daemon, wanted).len()),
        (1, 1)
    );
    daemon.stop();
}

/// A server writes what it likes to the approver's terminal, says that its bytes ask for something else, and shows the
/// request of another host.
#[test]
fn approver_afar_reads_what_is_signed_and_no_escapes() {
    let afar = Afar::new();
    let daemon = started("signed = \"key\"", &afar.key.line("ann"));
    let (mut caller, job, _) = asked(&daemon);
    let real = daemon.remit(&admin(), &["show", &job.to_string(), "--bytes"]);
    let mut bytes = real.stdout;
    // What the list says of it, which no digest covers.
    let at = bytes.windows(4).position(|part| part == b"blue").unwrap();
    bytes[at..at + 4].copy_from_slice(b"dark");
    fs::write(afar.path("lie"), bytes).unwrap();
    let escape = r"printf '\033]0;owned\007'";
    let forced = format!(
        "{escape} >&2\ncase $SSH_ORIGINAL_COMMAND in 'remit show'*) exec cat {};; esac\n{escape}\n{}",
        afar.path("lie"),
        shell(&daemon)
    );
    let key = afar.path("ann");
    let mut screen = afar.approves(
        &daemon,
        &forced,
        &job.to_string(),
        &["--key", &key, "--signed"],
    );
    screen.until("type the first 8 digits");
    let statement = daemon.verified(job).statement();
    let mut lines = statement.lines().skip(1);
    let (summary, host) = (lines.next().unwrap(), lines.next().unwrap());
    let command = summary.split_once(" asks for ").unwrap().1;
    for part in [command, host.strip_prefix("host ").unwrap()] {
        assert!(screen.has(part), "{part}: {:#?}", screen.rows());
    }
    assert!(!screen.has("dark"), "{:#?}", screen.rows());
    screen.types(&format!("{}\n", digits(&daemon, job)));
    let left = screen.end();
    assert!(left.status.success(), "{left:?}");
    assert!(left.written.contains("owned"), "{left:?}");
    assert!(!left.written.contains("\u{1b}]0;"), "{left:?}");
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

#[test]
fn verifier_ends_for_every_input_that_is_no_question() {
    let huge = u32::MAX.to_le_bytes();
    for input in [
        &b""[..],
        b"\0\0\0\0",
        &huge,
        b"\x05\0\0\0hello",
        &[0xff; 4096],
    ] {
        let mut child = Command::new(built().join("remit-verify"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let _ = std::io::Write::write_all(&mut pipe, input);
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{input:?}: {output:?}"
        );
    }
}
