//! A hash proves the exact request if it is too long for a record or was escaped.

use std::fs;
use std::process::Command;

use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, user_a};

fn sha256(daemon: &Daemon, bytes: &[u8]) -> String {
    let file = daemon.path().join("hashed");
    fs::write(&file, bytes).expect("the directory is writable");
    let output = Command::new("sha256sum").arg(&file).output();
    let output = output.expect("coreutils are there");
    String::from_utf8_lossy(&output.stdout[..64]).into_owned()
}

#[test]
fn long_arguments_are_truncated_and_hashed_in_record() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "x".repeat(100 << 10);
    let rows: [&[&str]; 4] = [
        &["true", &long, &long, &long],
        &["true", "a\nb"],
        &["true", "a\\nb"],
        &["true", "plain words"],
    ];
    for words in rows {
        let _ = caller.run(argv(words)).expect("it is granted");
    }
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 64 << 10, "{longest} bytes");
    let intents = daemon.records("intent");
    for (intent, words) in intents.iter().zip(rows) {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| format!("{word}\0").into_bytes())
            .collect();
        let is_exact = words
            .iter()
            .all(|word| word.len() < 100 && !word.contains('\n'));
        if is_exact {
            assert!(intent["REMIT_ARGV_SHA256"].is_null(), "{intent}");
            continue;
        }
        assert_eq!(intent["REMIT_ARGV_BYTES"], bytes.len().to_string().as_str());
        assert_eq!(
            intent["REMIT_ARGV_SHA256"],
            sha256(&daemon, &bytes).as_str()
        );
    }
    // A newline and its escaped form look the same, but their hashes differ.
    assert_eq!(intents[1]["REMIT_ARGV"], intents[2]["REMIT_ARGV"]);
    assert!(intents[1]["REMIT_ARGV_SHA256"].is_string());
    daemon.stop();
}
