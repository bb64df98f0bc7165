//! What interprets a command's script: looked at when the policy is loaded, and once more when the script runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use remit_common::outcome::State;
use remit_tests::caller::{Caller, cause, named, stdout};
use remit_tests::daemon::{Daemon, user_a};

use super::scene::{FILE, GRANTS, reload, with};

/// A script, its interpreter, and who runs it: root, in a sandbox.
struct Ground {
    dir: PathBuf,
    daemon: Daemon,
}

impl Ground {
    fn lay() -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-interpreters-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::copy("/usr/bin/dash", dir.join("sh"))
            .or_else(|_| fs::copy("/bin/sh", dir.join("sh")))
            .expect("there is a shell");
        let ground = Self {
            dir,
            daemon: with(""),
        };
        ground.script(&format!(
            "#!{}\necho interpreted\n",
            ground.dir.join("sh").display()
        ));
        ground
    }

    fn script(&self, text: &str) {
        let script = self.dir.join("script");
        fs::write(&script, text).expect("it is ours");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn load(&self) -> Result<(), String> {
        let dir = self.dir.display();
        let policy = format!(
            "[profile.tools]\nbase = \"strict\"\nuser = \"root\"\nexec = [\"{dir}\"]\n\n\
             [[command]]\nname = \"site.script\"\nsummary = \"is a script\"\nargv = [\"{dir}/script\"]\n\
             effect = \"read\"\nprofile = \"tools\"\n{GRANTS}"
        );
        self.daemon.set_file(FILE, &policy);
        reload(&self.daemon)
            .map(|_| ())
            .map_err(|refusal| refusal.message)
    }

    fn owner(&self, path: &Path, uid: u32) {
        chown(path, Some(uid), None).expect("the tests run as root");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn c18_a_policy_whose_script_others_can_have_interpreted_is_refused() {
    let ground = Ground::lay();
    ground.owner(&ground.dir.join("sh"), 64_001);
    let why = ground.load().expect_err("its interpreter is user A's");
    assert!(why.contains("what interprets it"), "{why}");
    assert!(why.contains("owned by uid 64001"), "{why}");
    ground.owner(&ground.dir.join("sh"), 0);
    ground.load().expect("it is root's");
}

#[test]
fn c18_an_interpreter_that_changed_hands_after_the_load_interprets_nothing() {
    let ground = Ground::lay();
    ground.load().expect("it is root's");
    let mut caller = Caller::new(&ground.daemon, &user_a());
    let run = || named("site.script", &[]);
    let report = caller.run(run()).expect("it is granted");
    assert_eq!(stdout(&report), "interpreted\n", "{report:?}");
    ground.owner(&ground.dir.join("sh"), 64_001);
    let report = caller.run(run()).expect("it is granted");
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, ""),
        "{report:?}"
    );
    assert!(cause(&report).contains("what interprets it"), "{report:?}");
    // By env, a name that user A can put something under, or a line that says more than a name.
    ground.owner(&ground.dir.join("sh"), 0);
    for (text, state) in [
        ("#!/usr/bin/env sh\necho interpreted\n", State::Exited),
        ("#!/usr/bin/env -S sh -e\necho interpreted\n", State::Exited),
        (
            "#!/usr/bin/env A=b sh\necho interpreted\n",
            State::NotStarted,
        ),
    ] {
        ground.script(text);
        let report = caller.run(run()).expect("it is granted");
        assert_eq!(report.state, state, "{text}: {report:?}");
    }
}
