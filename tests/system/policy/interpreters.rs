//! Interpreters of scripts: checked when the policy is loaded, and again when the script runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use remit_tests::caller::{Caller, cause, named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_wire::outcome::State;

use super::scene::{FILE, GRANTS, reload, with};

struct InterpreterFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl InterpreterFixture {
    fn lay() -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-interpreters-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::copy("/usr/bin/dash", dir.join("sh"))
            .or_else(|_| fs::copy("/bin/sh", dir.join("sh")))
            .expect("there is a shell");
        let fixture = Self {
            dir,
            daemon: with(""),
        };
        fixture.script(&format!(
            "#!{}\necho interpreted\n",
            fixture.dir.join("sh").display()
        ));
        fixture
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

impl Drop for InterpreterFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn c18_script_with_unsafe_interpreter_is_refused() {
    let fixture = InterpreterFixture::lay();
    fixture.owner(&fixture.dir.join("sh"), 64_001);
    let why = fixture.load().expect_err("its interpreter is user A's");
    assert!(why.contains("its interpreter"), "{why}");
    assert!(why.contains("owned by uid 64001"), "{why}");
    fixture.owner(&fixture.dir.join("sh"), 0);
    fixture.load().expect("it is root's");
}

#[test]
fn c18_interpreter_with_new_owner_runs_nothing() {
    let fixture = InterpreterFixture::lay();
    fixture.load().expect("it is root's");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let run = || named("site.script", &[]);
    let report = caller.run(run()).expect("it is granted");
    assert_eq!(stdout(&report), "interpreted\n", "{report:?}");
    fixture.owner(&fixture.dir.join("sh"), 64_001);
    let report = caller.run(run()).expect("it is granted");
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, ""),
        "{report:?}"
    );
    assert!(cause(&report).contains("its interpreter"), "{report:?}");
    // Through env(1): a name and options are accepted, a variable assignment is not.
    fixture.owner(&fixture.dir.join("sh"), 0);
    for (text, state) in [
        ("#!/usr/bin/env sh\necho interpreted\n", State::Exited),
        ("#!/usr/bin/env -S sh -e\necho interpreted\n", State::Exited),
        (
            "#!/usr/bin/env A=b sh\necho interpreted\n",
            State::NotStarted,
        ),
    ] {
        fixture.script(text);
        let report = caller.run(run()).expect("it is granted");
        assert_eq!(report.state, state, "{text}: {report:?}");
    }
}

/// env(1) finds an interpreter on the job's PATH. There is only one PATH, and load and approval check it.
#[test]
fn a03_no_profile_or_command_sets_own_path() {
    let fixture = InterpreterFixture::lay();
    let dir = fixture.dir.display();
    let policy = |of_profile: &str, of_command: &str| {
        format!(
            "[profile.tools]\nbase = \"strict\"\nuser = \"root\"\nexec = [\"{dir}\"]\n{of_profile}\n\
             [[command]]\nname = \"site.script\"\nsummary = \"is a script\"\nargv = [\"{dir}/script\"]\n\
             effect = \"read\"\nprofile = \"tools\"\n{of_command}\n{GRANTS}"
        )
    };
    let load = |policy: String| {
        fixture.daemon.set_file(FILE, &policy);
        reload(&fixture.daemon).map_err(|refusal| refusal.message)
    };
    let env = format!("env = {{ PATH = \"{dir}/own.d:/usr/bin\" }}");
    for policy in [policy(&env, ""), policy("", &env)] {
        let why = load(policy).expect_err("it has a path of its own");
        assert!(why.contains("'PATH' is the same for every job"), "{why}");
    }
    let env = "env = { PATHS = \"/srv\" }";
    load(policy(env, env)).expect("any other variable may be set");
}
