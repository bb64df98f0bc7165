//! Paths that leave the directory or block are not opened, even if the job's user could read them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::stat::Mode;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

use super::scene::{FILE, GRANTS, exit, reload, with};

const SECRET: &str = "what nobody may see";

/// Commands that print a file in `PLACE/tree`, which only root can change, or in `PLACE/foreign_dir`, which user A can
/// change. They run as root and the secret is readable, so only the way of opening protects it.
fn policy(files_dir: &Path) -> String {
    let files_dir = files_dir.display();
    let command = |name: &str, under: &str, how: &str| {
        format!(
            "[[command]]\nname = \"{name}\"\nsummary = \"prints a file\"\nargv = [\"/usr/bin/cat\", \"--\", \"{{file}}\"]\n\
             effect = \"read\"\nprofile = \"eyes\"\n\
             args.file = {{ type = \"path\", under = \"{files_dir}/{under}\", {how} }}\n"
        )
    };
    format!(
        "[profile.eyes]\nbase = \"strict\"\nuser = \"root\"\n\
         read = [\"{files_dir}/tree\", \"{files_dir}/tree_evil\", \"{files_dir}/theirs\", \"{files_dir}/secrets\"]\n\
         limits = {{ runtime = \"5s\" }}\n\n{}{}{}{}{}{GRANTS}",
        command("tree.print", "tree", "pass = \"path\""),
        command("tree.open", "tree", "pass = \"descriptor\""),
        command(
            "tree.directory",
            "tree",
            "is = \"directory\", pass = \"path\""
        )
        .replace("/usr/bin/cat", "/usr/bin/ls"),
        command("theirs.print", "theirs", "pass = \"path\""),
        command("theirs.open", "theirs", "pass = \"descriptor\""),
    )
}

struct Scene {
    daemon: Daemon,
    caller: Caller,
    files_dir: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let daemon = with("");
        let files_dir = daemon.path().join("files");
        for name in ["tree/deep", "tree_evil", "theirs", "secrets"] {
            fs::create_dir_all(files_dir.join(name)).expect("the directory is writable");
        }
        for dir in ["", "tree", "tree/deep", "tree_evil", "theirs"] {
            fs::set_permissions(files_dir.join(dir), fs::Permissions::from_mode(0o755))
                .expect("it is ours");
        }
        fs::set_permissions(files_dir.join("secrets"), fs::Permissions::from_mode(0o700))
            .expect("it is ours");
        for name in ["tree/file", "tree/deep/file", "theirs/file"] {
            fs::write(files_dir.join(name), "plain\n").expect("it is ours");
        }
        for name in ["secrets/file", "tree_evil/file"] {
            fs::write(files_dir.join(name), SECRET).expect("it is ours");
        }
        chown(files_dir.join("theirs"), Some(64_001), Some(64_001)).expect("the tests run as root");
        daemon.set_file(FILE, &policy(&files_dir));
        let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why:?}"));
        let caller = Caller::new(&daemon, &user_a());
        Self {
            daemon,
            caller,
            files_dir,
        }
    }

    fn path(&self, name: &str) -> String {
        self.files_dir.join(name).display().to_string()
    }

    fn print(&mut self, command: &str, file: &str) -> Result<JobReport, Refusal> {
        let run: Run = named(command, &[("file", file)]);
        self.caller.run_patiently(&run)
    }

    fn shows_nothing(&mut self, command: &str, file: &str) {
        match self.print(command, file) {
            Err(refusal) => {
                assert!(!format!("{refusal:?}").contains(SECRET), "{refusal:?}");
            }
            Ok(report) => {
                assert_eq!(
                    report.state,
                    State::NotStarted,
                    "{command} {file}: {report:?}"
                );
                assert!(!format!("{report:?}").contains(SECRET), "{report:?}");
            }
        }
    }

    fn shows(&mut self, command: &str, file: &str) {
        let report = self
            .print(command, file)
            .unwrap_or_else(|why| panic!("{command} {file}: {why:?}"));
        assert_eq!(
            (exit(&report), stdout(&report).as_str()),
            (Some(0), "plain\n"),
            "{file}: {report:?}"
        );
    }
}

fn cat(path: &str) -> String {
    let output = Command::new("timeout")
        .args(["1", "cat", "--", path])
        .output()
        .expect("cat starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const BOTH: [&str; 2] = ["tree.print", "tree.open"];

#[test]
fn a_path_is_plain_text_beneath_its_directory() {
    let mut scene = Scene::new();
    let tree = scene.path("tree");
    for command in BOTH {
        scene.shows(command, &format!("{tree}/file"));
        scene.shows(command, &format!("{tree}/deep/file"));
        for wrong in [
            format!("{tree}_evil/file"),
            format!("{tree}/../secrets/file"),
            format!("{tree}/deep/../../secrets/file"),
            format!("{tree}/./file"),
            format!("{tree}//file"),
            format!("/{tree}/file"),
            format!("{tree}/file/.."),
            format!("{tree}/file/"),
            format!("{tree}/"),
            format!("{tree}/fi\u{0}le"),
            format!("{tree}/fi\nle"),
            format!("{tree}\n/file"),
            "file".to_owned(),
            "./file".to_owned(),
            String::new(),
            "-".to_owned(),
            "--help".to_owned(),
            "/etc/shadow".to_owned(),
            "/proc/self/root/etc/shadow".to_owned(),
            "/proc/self/fd/3".to_owned(),
            "/dev/fd/3".to_owned(),
            "/dev/stdin".to_owned(),
        ] {
            let refused = scene.print(command, &wrong);
            let refusal = refused.expect_err(&wrong);
            assert_eq!(
                (refusal.code, refusal.object.as_deref()),
                (Code::InvalidArgs, Some("file")),
                "{wrong}: {refusal:?}"
            );
        }
        for missing in [tree.clone(), format!("{tree}/none"), format!("{tree}/deep")] {
            scene.shows_nothing(command, &missing);
        }
    }
    let listed = scene
        .print("tree.directory", &format!("{tree}/deep"))
        .expect("it is one");
    assert_eq!(stdout(&listed), "file\n");
    scene.shows_nothing("tree.directory", &format!("{tree}/file"));
    scene.daemon.is_well();
    scene.daemon.stop();
}

#[test]
fn link_anywhere_in_path_is_not_followed() {
    let mut scene = Scene::new();
    let secrets = scene.path("secrets");
    let file = scene.path("secrets/file");
    for dir in ["tree", "theirs"] {
        symlink(&file, scene.files_dir.join(dir).join("link")).expect("it is ours");
        symlink(
            "../secrets/file",
            scene.files_dir.join(dir).join("relative"),
        )
        .expect("it is ours");
        symlink(&secrets, scene.files_dir.join(dir).join("way")).expect("it is ours");
        symlink("file", scene.files_dir.join(dir).join("inside")).expect("it is ours");
        symlink("/proc/self/root", scene.files_dir.join(dir).join("root")).expect("it is ours");
        for name in ["link", "relative", "way/file", "inside", "root/etc/passwd"] {
            let path = scene.path(&format!("{dir}/{name}"));
            assert!(
                !cat(&path).is_empty(),
                "{path}: without remit it is followed"
            );
            for how in ["print", "open"] {
                scene.shows_nothing(&format!("{dir}.{how}"), &path);
            }
        }
    }
    scene.shows("tree.print", &scene.path("tree/file"));
    scene.daemon.is_well();
    scene.daemon.stop();
}

#[test]
fn special_file_is_not_opened_and_never_blocks() {
    let mut scene = Scene::new();
    let tree = scene.files_dir.join("tree");
    nix::unistd::mkfifo(&tree.join("fifo"), Mode::from_bits_truncate(0o666)).expect("it is ours");
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("it is ours");
    let made = Command::new("mknod")
        .arg(tree.join("zero"))
        .args(["c", "1", "5"])
        .status();
    assert!(made.is_ok_and(|made| made.success()));
    let start = std::time::Instant::now();
    for name in ["fifo", "socket", "zero"] {
        for command in BOTH {
            scene.shows_nothing(command, &tree.join(name).display().to_string());
        }
    }
    // Without remit, cat(1) blocks on a FIFO until there is a writer.
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    scene.daemon.is_well();
    scene.daemon.stop();
}

#[test]
fn changeable_path_needs_descriptor_instead_of_text() {
    let mut scene = Scene::new();
    let file = scene.path("theirs/file");
    scene.shows_nothing("theirs.print", &file);
    scene.shows("theirs.open", &file);
    // Root owns the directory again, but everybody may write to it.
    let foreign_dir = scene.files_dir.join("theirs");
    chown(&foreign_dir, Some(0), Some(0)).expect("the tests run as root");
    scene.shows("theirs.print", &file);
    fs::set_permissions(&foreign_dir, fs::Permissions::from_mode(0o777)).expect("it is ours");
    scene.shows_nothing("theirs.print", &file);
    scene.shows("theirs.open", &file);
    scene.daemon.stop();
}

/// The directory's owner swaps a name between a file and a link to the secret, as fast as possible.
#[test]
fn swapping_file_for_link_gains_nothing() {
    const SWAPS: u32 = 100_000;
    let mut scene = Scene::new();
    let foreign_dir = scene.files_dir.join("theirs");
    let secret = scene.path("secrets/file");
    for (name, link) in [("plain", false), ("link", true)] {
        let path = foreign_dir.join(name);
        if link {
            symlink(&secret, &path).expect("it is ours");
        } else {
            fs::write(&path, "plain\n").expect("it is ours");
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicU32::new(0));
    let racer = std::thread::spawn({
        let (stop, swaps, dir) = (Arc::clone(&stop), Arc::clone(&swaps), foreign_dir.clone());
        move || {
            let (file, one, other) = (dir.join("file"), dir.join("plain"), dir.join("link"));
            while !stop.load(Ordering::Relaxed) {
                for from in [&one, &other] {
                    let next = dir.join("next");
                    let linked = nix::unistd::linkat(
                        nix::fcntl::AT_FDCWD,
                        from,
                        nix::fcntl::AT_FDCWD,
                        &next,
                        nix::fcntl::AtFlags::empty(),
                    );
                    linked.expect("the directory is ours");
                    fs::rename(&next, &file).expect("the directory is ours");
                    swaps.fetch_add(1, Ordering::Relaxed);
                    // If both names are the same file, rename(2) does nothing.
                    let _ = fs::remove_file(&next);
                }
            }
        }
    });
    let path = foreign_dir.join("file").display().to_string();
    let (mut plain, mut nothing, mut leaked) = (0, 0, 0);
    while swaps.load(Ordering::Relaxed) < SWAPS || plain + nothing < 50 {
        leaked += u32::from(cat(&path) == SECRET);
        match scene.print("theirs.open", &path) {
            Ok(report) if report.state == State::Exited => {
                assert_eq!(stdout(&report), "plain\n", "{report:?}");
                plain += 1;
            }
            Ok(report) => {
                assert_eq!(report.state, State::NotStarted, "{report:?}");
                nothing += 1;
            }
            Err(refusal) => {
                assert_ne!(refusal.code, Code::InvalidArgs, "{refusal:?}");
                nothing += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    racer.join().expect("it does not panic");
    assert!(leaked > 0, "without remit the secret is printed");
    eprintln!("{plain} plain, {nothing} nothing; {leaked} leaked without remit");
    scene.daemon.is_well();
    scene.daemon.stop();
}

/// A hard link is the file itself. For a job that is not root, its owner and mode protect it.
#[test]
fn hard_link_shows_what_job_uid_may_read() {
    let mut scene = Scene::new();
    let tree = scene.files_dir.join("tree");
    fs::hard_link(scene.files_dir.join("secrets/file"), tree.join("hard")).expect("it is ours");
    fs::set_permissions(tree.join("hard"), fs::Permissions::from_mode(0o600)).expect("it is ours");
    let path = tree.join("hard").display().to_string();
    assert_eq!(cat(&path), SECRET, "without remit, root reads it");
    let own = policy(&scene.files_dir).replace("user = \"root\"\n", "");
    scene.daemon.set_file(
        FILE,
        &own.replace(&format!(", \"{}/secrets\"", scene.files_dir.display()), ""),
    );
    let _ = reload(&scene.daemon).unwrap_or_else(|why| panic!("{why:?}"));
    for command in BOTH {
        let shown = scene.print(command, &path);
        assert!(!format!("{shown:?}").contains(SECRET), "{shown:?}");
        scene.shows(command, &scene.path("tree/file"));
    }
    scene.daemon.stop();
}

/// A repository whose settings start programs. Without remit the attacker's program runs as the reader. In the
/// sandbox it runs as an unprivileged uid and leaves nothing.
#[test]
fn hostile_tool_settings_do_no_harm() {
    let daemon = with("");
    let files_dir = daemon.path().join("files");
    let script = r#"
mkdir -p "$1/repo" "$1/out" "$1/tools"
chmod 777 "$1/out"
printf '#!/bin/sh\necho ran >>%s/out/executed\n' "$1" >"$1/tools/canary"
chmod 755 "$1/tools/canary"
cd "$1/repo"
git init --quiet
echo a >file
git add file
git config core.fsmonitor "$1/tools/canary"
git config core.pager "$1/tools/canary"
git config diff.external "$1/tools/canary"
git config alias.status '!'"$1/tools/canary"
"#;
    let made = Command::new("bash")
        .args(["-euc", script, "bash"])
        .arg(&files_dir)
        .output()
        .expect("bash starts");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let executed = files_dir.join("out/executed");
    let alone = Command::new("git")
        .arg("-C")
        .arg(files_dir.join("repo"))
        .args(["-c", "safe.directory=*", "status"])
        .output();
    assert!(alone.is_ok_and(|git| git.status.success()));
    assert!(executed.exists(), "without remit the canary runs");
    fs::remove_file(&executed).expect("it is ours");

    let text = format!(
        "[[command]]\nname = \"git.status\"\nsummary = \"what changed\"\n\
         argv = [\"/usr/bin/git\", \"-C\", \"{files_dir}/repo\", \"status\"]\neffect = \"read\"\nprofile = \"look\"\n\
         [profile.look]\nbase = \"strict\"\nread = [\"{files_dir}\"]\n{GRANTS}",
        files_dir = files_dir.display()
    );
    daemon.set_file(FILE, &text);
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why:?}"));
    let report = Caller::new(&daemon, &user_a())
        .run(named("git.status", &[]))
        .expect("it is granted");
    assert_eq!(exit(&report), Some(0), "{report:?}");
    assert!(!executed.exists(), "it wrote beyond its sandbox");
    daemon.is_well();
    daemon.stop();
}
