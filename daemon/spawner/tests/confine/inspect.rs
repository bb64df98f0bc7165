//! Profiles that inspect: what their right shows, and what the sandbox keeps back of it.

use super::common::*;
use remit_confine::*;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

/// A shell whose own words look, list and read, without another program.
const SHELL: &str = "/bin/sh";

fn inspects(inspect: Inspect) -> ReadProfile {
    ReadProfile {
        inspect: Some(inspect),
        ..profile()
    }
}

fn names() -> Inspect {
    Inspect::Names {
        program: fs::canonicalize(SHELL).unwrap(),
    }
}

fn ran(sandbox: &Sandbox, script: &str) -> Ran {
    let fixture = fixture();
    let ran = run_in(sandbox, &fixture, &[SHELL, "-c", script], &With::default());
    end(fixture);
    ran
}

fn compiled(inspect: Inspect) -> Sandbox {
    compile_read(&inspects(inspect), &probe().unwrap()).unwrap()
}

struct Scene {
    dir: HostDir,
    victim: Child,
}

impl Scene {
    fn new() -> Self {
        let dir = HostDir::new();
        let private = dir.0.join("private");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(private.join("key\nname"), "secret\n").unwrap();
        fs::write(private.join("key"), "secret\n").unwrap();
        for name in ["key", "key\nname"] {
            fs::set_permissions(private.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink("/etc/shadow", private.join("link")).unwrap();
        let mut victim = Command::new("/bin/sleep")
            .arg("1000")
            .env("TOKEN", "secret-of-the-environment")
            .stdin(File::open(private.join("key")).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(victim.try_wait().unwrap().is_none());
        Self { dir, victim }
    }

    fn script(&self, text: &str) -> String {
        let private = self.dir.0.join("private");
        let process = format!("/proc/{}", self.victim.id());
        text.replace("@private", private.to_str().unwrap())
            .replace("@process", &process)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

const READ: &str =
    "take() { if read -r word <\"$1\"; then echo \"took $1 $word\"; else echo refused; fi; }\n";

#[test]
fn names_are_seen_and_no_content() {
    let scene = Scene::new();
    let look = scene.script("cd @private && echo * && test -s key && test ! -O key && echo sized");
    let plain = ran(&sandbox(), &look);
    assert!(!plain.out.contains("key"), "{plain:?}");
    let seen = ran(&compiled(names()), &look);
    assert!(
        seen.out.contains("key key\nname link") && seen.out.contains("sized"),
        "{seen:?}"
    );
    for file in [
        "@private/key",
        "@private/link",
        "/etc/shadow",
        "/etc/group",
        "@process/environ",
        "@process/fd/0",
        "@process/root/etc/shadow",
        "/proc/self/status",
    ] {
        let script = scene.script(&format!("{READ}take {file}"));
        let tried = ran(&compiled(names()), &script);
        assert_eq!(tried.out, "refused\n", "{file}: {tried:?}");
        // By the right alone each that is not of another process could be read.
        let right = ReadProfile {
            capabilities: 1 << 2,
            ..profile()
        };
        let right = compile_read(&right, &probe().unwrap()).unwrap();
        let read = ran(&right, &script).out.contains("took");
        assert_eq!(read, !file.starts_with("@process"), "{file}");
    }
}

#[test]
fn inspecting_job_changes_reaches_and_starts_nothing() {
    let scene = Scene::new();
    let open_to_all = scene.dir.0.join("box");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
    let inside = scene.script("@process/root") + open_to_all.to_str().unwrap();
    for inspect in [names(), Inspect::Processes] {
        let sandbox = compiled(inspect.clone());
        // By the root of another process it comes to mounts that are not read-only.
        for attempt in [
            format!("echo x >{inside}/made"),
            format!("echo x >>{inside}/made"),
            format!("echo x >{}/made", open_to_all.display()),
            "echo x >/tmp/made".to_owned(),
            scene.script("echo x >@process/mem"),
            format!("kill -0 {}", scene.victim.id()),
            "(true)".to_owned(),
            "exec /bin/true </dev/null; echo started".to_owned(),
        ] {
            // Which program is executed, Landlock decides.
            if attempt.starts_with("exec") && inspect == Inspect::Processes {
                continue;
            }
            let tried = ran(&sandbox, &format!("{attempt} && echo done"));
            assert!(
                !tried.out.contains("done"),
                "{inspect:?}: {attempt}: {tried:?}"
            );
            assert_ne!(tried.code(), Some(0), "{inspect:?}: {attempt}: {tried:?}");
        }
        assert!(!open_to_all.join("made").exists());
    }
}

#[test]
fn processes_show_their_links() {
    let scene = Scene::new();
    let look = scene.script(
        "cd @process/fd && test -s 0 && echo sized; test @process/exe -ef /bin/sleep && echo sleep",
    );
    let plain = ran(&sandbox(), &look);
    assert_eq!(plain.out, "", "{plain:?}");
    let seen = ran(&compiled(Inspect::Processes), &look);
    assert_eq!(seen.out, "sized\nsleep\n", "{seen:?}");
    // In a Landlock domain the kernel shows no other process, whatever the capability.
    let hidden = ran(&compiled(names()), &look);
    assert_eq!(hidden.out, "", "{hidden:?}");
}

#[test]
fn names_need_landlock() {
    let kernel = Kernel {
        landlock_abi: 0,
        ..probe().unwrap()
    };
    let refused = compile_read(&inspects(names()), &kernel)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("no Landlock"), "{refused}");
    compile_read(&inspects(Inspect::Processes), &kernel).unwrap();
}

#[test]
fn one_file_is_opened_and_the_right_is_gone() {
    let scene = Scene::new();
    let private = scene.dir.path("private");
    let under = std::ffi::CString::new(private.clone()).unwrap();
    let argument = Argument {
        index: 4,
        before: b"",
        what: What::Path {
            under: &under,
            beneath: c"key",
            is: PathIs::File,
            by_descriptor: true,
            copy: None,
        },
    };
    let script = format!(
        "{READ}read -r word <&3; echo \"shown $word\"; take \"$1/key\"; take /etc/shadow; while read -r l; do case $l in CapEff*|CapPrm*|CapAmb*|CapInh*) echo $l;; esac; done </proc/self/status"
    );
    let argv = [SHELL, "-c", script.as_str(), private.as_str(), "file"];
    let arguments = [argument];
    let with = With {
        arguments: &arguments,
        ..With::default()
    };
    let fixture = fixture();
    let shown = run_in(&compiled(Inspect::File), &fixture, &argv, &with);
    end(fixture);
    assert!(
        shown.out.starts_with("shown secret\nrefused\nrefused\n"),
        "{shown:?}"
    );
    assert_eq!(
        shown.out.matches("0000000000000000").count(),
        4,
        "{shown:?}"
    );
}

#[cfg(feature = "mutate")]
#[test]
fn without_its_layer_each_refusal_is_gone() {
    let scene = Scene::new();
    let kernel = probe().unwrap();
    let without =
        |inspect: Inspect, layer| read_without(&inspects(inspect), &kernel, layer).unwrap();
    let script = scene.script(&format!("{READ}take @private/key"));
    let read = ran(&without(names(), Layer::Landlock), &script);
    assert!(read.out.contains("took"), "{read:?}");
    let open_to_all = scene.dir.0.join("box");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
    let inside = scene.script("@process/root") + open_to_all.to_str().unwrap();
    let write = format!("echo x >{inside}/made && echo done");
    let wrote = ran(&without(Inspect::Processes, Layer::SeccompRefused), &write);
    assert!(
        wrote.out.contains("done") && open_to_all.join("made").exists(),
        "{wrote:?}"
    );
}
