//! Written files, files left behind, and bytes of the audit log.

use std::time::Instant;

use remit_common::refusal::Code;
use remit_tests::attack;
use remit_tests::caller::{Caller, argv};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Daemon, Options, user_a};

use super::arena::Arena;

#[test]
fn s01_no_read_has_a_file_written_out() {
    let mut arena = Arena::new(Options::default());
    let file = "/usr/lib/os-release";
    for profile in ["read", "walled", "root"] {
        for (id, errno) in [
            ("direct-read", libc::EINVAL),
            ("direct-later", libc::EINVAL),
            ("direct-openat2", libc::ENOSYS),
            ("fiemap", libc::EOPNOTSUPP),
        ] {
            arena.is_refused(&[profile], &[id, file], errno);
        }
        for id in ["may-openat2", "may-read-file"] {
            let seen = arena.tries(profile, &[id, file]);
            assert!(
                matches!(seen, Outcome::Done(_)),
                "{id} in {profile}: {seen:?}"
            );
        }
    }
    arena.daemon.stop();
}

/// `FS_IOC_GETFLAGS`, `_GETVERSION` and its older number, `_FSGETXATTR`, `_FSSETXATTR` without effect,
/// `_GETFSLABEL`, `_GET_ENCRYPTION_POLICY_EX`, `_MEASURE_VERITY`, `_GETFSMAP`, XFS_IOC_DIOINFO, `_FSGEOMETRY`,
/// FICLONE, FIDEDUPERANGE, BTRFS_IOC_FS_INFO, `_GET_SUBVOL_INFO`, `_TREE_SEARCH`.
const QUESTIONS: [&str; 16] = [
    "80086601", "80087601", "80086603", "801c581f", "401c5820", "81009431", "c0096616", "c0046686",
    "c0c0583b", "800c581e", "8100587e", "40049409", "c0189436", "8400941f", "81f8943c", "d0009411",
];

/// `EXT4_IOC_GET_ES_CACHE`, `FS_IOC_FIEMAP`, NILFS_IOCTL_SYNC, EXT4_IOC_ALLOC_DA_BLKS, F2FS_IOC_WRITE_CHECKPOINT,
/// and unassigned numbers.
const OTHERS: [&str; 8] = [
    "c020662a", "c020660b", "80086e8a", "660c", "f507", "80086666", "c0185899", "94ff",
];

/// Permitted file system requests are a list of those known to write nothing out.
#[test]
fn k04_only_harmless_file_system_requests_are_permitted() {
    let mut arena = Arena::new(Options::default());
    let file = "/usr/lib/os-release";
    for profile in ["read", "walled", "root"] {
        arena.is_refused(&[profile], &["es-cache", file], libc::EOPNOTSUPP);
        for number in OTHERS {
            arena.is_refused(&[profile], &["request", number, file], libc::EOPNOTSUPP);
        }
    }
    // Listed requests answer as without a sandbox, except that a read-only mount refuses a change first.
    for number in QUESTIONS {
        let without = attack::files::request(&[number.to_owned(), file.to_owned()]);
        let within = arena.tries("root", &["request", number, file]);
        let alike = match (&without, &within) {
            (_, Outcome::Refused(libc::EROFS)) => number == "401c5820",
            (_, Outcome::Refused(libc::EPERM)) => number == "d0009411",
            (Ok(_), Outcome::Done(_)) => true,
            (Err(refused), Outcome::Refused(errno)) => refused.0 == *errno,
            _ => false,
        };
        assert!(alike, "{number}: {within:?}, but without {without:?}");
    }
    arena.daemon.stop();
}

#[test]
fn s07_no_rename_leaves_a_device_node_behind() {
    let mut arena = Arena::new(Options::default());
    let from = arena.granted_path("from");
    std::fs::write(&from, "content").expect("the directory is ours");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&from, open).expect("the file is ours");
    let seen = arena.changes("writes.whiteout");
    assert!(matches!(seen, Outcome::Refused(libc::EINVAL)), "{seen:?}");
    let kind = std::fs::symlink_metadata(&from)
        .expect("it is there")
        .file_type();
    assert!(kind.is_file(), "{kind:?}");
    arena.daemon.stop();
}

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
    // The budget of an hour comes back evenly, which a slow machine sees.
    let begin = Instant::now();
    let mut later = 0;
    for _ in 0..100 {
        match caller.run(argv(&["true", &long])) {
            Ok(_) => later += 1,
            Err(again) => assert_eq!(again.code, Code::RateLimited),
        }
    }
    let refilled = begin.elapsed().as_secs() * MIB / 3600;
    assert!(later <= refilled / 20_000 + 1, "{later}");
    let file_info = std::fs::metadata(daemon.path().join("state/audit.jsonl"));
    let bytes = file_info.expect("it is there").len();
    assert!(bytes < 2 * MIB, "{bytes}");
    daemon.is_well();
    daemon.stop();
}
