//! Bytes of the audit log.

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, user_a};

const MIB: u64 = 1 << 20;

/// One user may write a limited number of bytes an hour. Beyond it the user's requests are refused instead of
/// running unrecorded.
#[test]
fn s09_one_user_does_not_fill_audit_log() {
    let mut daemon = Daemon::start(Options::default());
    let path = daemon.path().join("config/remit.toml");
    let text = std::fs::read_to_string(path).expect("the daemon has read it");
    daemon.set_file(
        "config/remit.toml",
        &text.replace("sink = \"file\"", "sink = \"file\"\nper_user = 1048576"),
    );
    daemon.restart_cleanly();
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "x".repeat(20_000);
    let mut ran: usize = 0;
    let refusal = loop {
        match caller.run(argv(&["true", &long])) {
            Ok(_) => ran += 1,
            Err(refusal) => break refusal,
        }
        assert!(ran < 1000, "nobody stops it");
    };
    assert_eq!(refusal.code, Code::RateLimited, "{refusal:?}");
    assert!(refusal.message.contains("1048576"), "{refusal:?}");
    assert!(ran > 20, "{ran}");
    assert_eq!(daemon.records("intent").len(), ran, "what ran is recorded");
    assert_eq!(daemon.records("end").len(), ran, "to its end");
    for _ in 0..100 {
        let again = caller.run(argv(&["true", &long])).expect_err("for an hour");
        assert_eq!(again.code, Code::RateLimited);
    }
    let file_info = std::fs::metadata(daemon.path().join("state/audit.jsonl"));
    let bytes = file_info.expect("it is there").len();
    assert!(bytes < 2 * MIB, "{bytes}");
    daemon.is_well();
    daemon.stop();
}
