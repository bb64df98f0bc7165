//! What is written, and what is left behind.

use remit_tests::control::Outcome;
use remit_tests::daemon::Options;

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
        // What programs read otherwise they still read.
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

#[test]
fn s07_no_rename_leaves_a_device_node_behind() {
    let mut arena = Arena::new(Options::default());
    let from = arena.given("from");
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
