//! What is tried against approvals from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use remit_tests::caller::{Caller, argv, at_once};
use remit_tests::daemon::{Daemon, Options, user_a};

use super::scene::options;

/// A directory below /run that goes with its value.
struct Dir(PathBuf);

impl Dir {
    fn new(mode: u32) -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-attacks-XXXXXX").expect("/run is root's");
        let dir = Self(dir);
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(mode)).expect("it is ours");
        dir
    }

    fn file(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Programs that need an approval.
const RUNS: &str = r##"
[[grant]]
name = "runs"
to = ["#64001"]
allow = ["run"]
approval = { by = ["#64005"] }
"##;

/// A28: root measures what will run, and its eyes see more than those of who asks.
#[test]
fn whoever_names_a_program_learns_nothing_of_files_they_cannot_see() {
    let daemon = Daemon::start(Options {
        policy: RUNS.to_owned(),
        ..options()
    });
    let (hidden, open) = (Dir::new(0o700), Dir::new(0o755));
    let mut caller = Caller::new(&daemon, &user_a());
    let mut said = |path: &Path| {
        let path = path.to_str().expect("it is text");
        let told = caller.run(at_once(argv(&[path])));
        let refusal = told.expect_err("it cannot be approved");
        let name = path.rsplit('/').next().expect("it has a name");
        refusal.message.replace(name, "NAME")
    };
    let nothing = said(&hidden.0.join("nothing"));
    for (name, mode, text) in [
        ("plain", 0o600, "x"),
        ("loose", 0o777, "#!/bin/sh\n"),
        ("program", 0o755, "\x7fELF"),
        ("script", 0o755, "#!secret\n"),
    ] {
        let path = hidden.file(name, mode, text);
        assert_eq!(said(&path), nothing, "{name}");
    }
    // Of a file that they can see but not read, nothing of its content.
    let other = said(&open.file("program", 0o711, "\x7fELF"));
    assert_eq!(said(&open.file("script", 0o711, "#!secret\n")), other);
    daemon.stop();
}
