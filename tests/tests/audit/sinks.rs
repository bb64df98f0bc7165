//! While the trail takes nothing, nothing runs; once it does, all goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};

/// A file that is not written because its directory is gone, or is taken by something else.
#[test]
fn without_a_place_for_its_record_nothing_runs() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let file = daemon.path().join("state/audit.jsonl");
    let aside = daemon.path().join("aside.jsonl");
    let proof = daemon.path().join("ran");
    fs::create_dir(&proof).expect("the place is ours");
    fs::set_permissions(&proof, fs::Permissions::from_mode(0o777)).expect("it is ours");
    // Something else has its name: a directory, a link, a pipe that nobody reads.
    let pipe = |path: &std::path::Path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("the place is ours");
    };
    let in_the_way: [(&str, &dyn Fn()); 3] = [
        ("a directory", &|| {
            fs::create_dir(&file).expect("the place is ours")
        }),
        ("a link", &|| {
            std::os::unix::fs::symlink("/dev/null", &file).expect("the place is ours");
        }),
        ("a pipe", &|| pipe(&file)),
    ];
    for (what, make) in in_the_way {
        let intents = daemon.records("intent").len();
        fs::rename(&file, &aside).expect("it is there");
        make();
        let refusal = caller.run(argv(&["true"])).expect_err(what);
        assert_eq!(refusal.code, Code::NotStarted, "{what}: {refusal}");
        assert!(
            refusal.message.contains("nothing runs unrecorded"),
            "{what}: {refusal}"
        );
        if fs::remove_file(&file).is_err() {
            fs::remove_dir(&file).expect("it is empty");
        }
        fs::rename(&aside, &file).expect("it is there");
        let report = caller.run(argv(&["echo", "again"])).expect(what);
        assert_eq!(stdout(&report), "again\n");
        assert_eq!(daemon.records("intent").len(), intents + 1, "{what}");
        daemon.is_well();
    }
    daemon.stop();
}
