//! Nothing runs while the audit log cannot be written. Afterwards jobs run again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};

#[test]
fn unwritable_audit_log_refuses_every_run() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let file = daemon.path().join("state/audit.jsonl");
    let moved = daemon.path().join("moved.jsonl");
    let proof = daemon.path().join("ran");
    fs::create_dir(&proof).expect("the directory is writable");
    fs::set_permissions(&proof, fs::Permissions::from_mode(0o777)).expect("it is ours");
    // The path is taken by a directory, a link, or a pipe without a reader.
    let pipe = |path: &std::path::Path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)
            .expect("the directory is writable");
    };
    let in_the_way: [(&str, &dyn Fn()); 3] = [
        ("a directory", &|| {
            fs::create_dir(&file).expect("the directory is writable")
        }),
        ("a link", &|| {
            std::os::unix::fs::symlink("/dev/null", &file).expect("the directory is writable");
        }),
        ("a pipe", &|| pipe(&file)),
    ];
    for (what, make) in in_the_way {
        let intents = daemon.records("intent").len();
        fs::rename(&file, &moved).expect("it is there");
        make();
        let refusal = caller.run(argv(&["true"])).expect_err(what);
        assert_eq!(refusal.code, Code::NotStarted, "{what}: {refusal}");
        assert!(
            refusal
                .message
                .contains("not started, because it cannot be recorded"),
            "{what}: {refusal}"
        );
        if fs::remove_file(&file).is_err() {
            fs::remove_dir(&file).expect("it is empty");
        }
        fs::rename(&moved, &file).expect("it is there");
        let report = caller.run(argv(&["echo", "again"])).expect(what);
        assert_eq!(stdout(&report), "again\n");
        assert_eq!(daemon.records("intent").len(), intents + 1, "{what}");
        daemon.is_well();
    }
    daemon.stop();
}
