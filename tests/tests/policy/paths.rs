//! Paths: what leads out of the directory, or hangs, is not opened, even where the job's user could read it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::stat::Mode;
use remit_common::outcome::{JobReport, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Run;
use remit_tests::caller::{Caller, named, stdout};
use remit_tests::daemon::{Daemon, user_a};

use super::scene::{FILE, GRANTS, exit, reload, with};

const SECRET: &str = "what nobody may see";

/// Two commands that print a file beneath `PLACE/tree`, which root alone changes, and `PLACE/theirs`, which user A
/// changes. Root runs them, and the secret is there to be seen: only how the path is opened keeps it.
fn policy(place: &Path) -> String {
    let place = place.display();
    let command = |name: &str, under: &str, how: &str| {
        format!(
            "[[command]]\nname = \"{name}\"\nsummary = \"prints a file\"\nargv = [\"/usr/bin/cat\", \"--\", \"{{file}}\"]\n\
             effect = \"read\"\nprofile = \"eyes\"\n\
             args.file = {{ type = \"path\", under = \"{place}/{under}\", {how} }}\n"
        )
    };
    format!(
        "[profile.eyes]\nbase = \"strict\"\nuser = \"root\"\n\
         read = [\"{place}/tree\", \"{place}/tree_evil\", \"{place}/theirs\", \"{place}/secrets\"]\n\
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
    place: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let daemon = with("");
        let place = daemon.path().join("files");
        for name in ["tree/deep", "tree_evil", "theirs", "secrets"] {
            fs::create_dir_all(place.join(name)).expect("the place is ours");
        }
        for dir in ["", "tree", "tree/deep", "tree_evil", "theirs"] {
            fs::set_permissions(place.join(dir), fs::Permissions::from_mode(0o755))
                .expect("it is ours");
        }
        fs::set_permissions(place.join("secrets"), fs::Permissions::from_mode(0o700))
            .expect("it is ours");
        for name in ["tree/file", "tree/deep/file", "theirs/file"] {
            fs::write(place.join(name), "plain\n").expect("it is ours");
        }
        for name in ["secrets/file", "tree_evil/file"] {
            fs::write(place.join(name), SECRET).expect("it is ours");
        }
        chown(place.join("theirs"), Some(64_001), Some(64_001)).expect("the tests run as root");
        daemon.set_file(FILE, &policy(&place));
        let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why:?}"));
        let caller = Caller::new(&daemon, &user_a());
        Self {
            daemon,
            caller,
            place,
        }
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }

    fn print(&mut self, command: &str, file: &str) -> Result<JobReport, Refusal> {
        let run: Run = named(command, &[("file", file)]);
        loop {
            match self.caller.run(run.clone()) {
                Err(refusal) if refusal.code == Code::RateLimited => {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
                other => return other,
            }
        }
    }

    /// It is refused, or never starts; and shows nothing.
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

/// What this machine prints without remit.
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
        // The directory itself, what is not there, and a directory where a file is meant.
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
fn a_link_is_not_followed_wherever_on_the_way_it_is() {
    let mut scene = Scene::new();
    let secrets = scene.path("secrets");
    let file = scene.path("secrets/file");
    for dir in ["tree", "theirs"] {
        symlink(&file, scene.place.join(dir).join("link")).expect("it is ours");
        symlink("../secrets/file", scene.place.join(dir).join("relative")).expect("it is ours");
        symlink(&secrets, scene.place.join(dir).join("way")).expect("it is ours");
        symlink("file", scene.place.join(dir).join("inside")).expect("it is ours");
        symlink("/proc/self/root", scene.place.join(dir).join("root")).expect("it is ours");
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
fn what_is_no_plain_file_is_not_opened_and_nothing_hangs() {
    let mut scene = Scene::new();
    let tree = scene.place.join("tree");
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
    // Without remit, cat(1) reads from a FIFO until somebody writes.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    scene.daemon.is_well();
    scene.daemon.stop();
}

#[test]
fn as_text_a_path_that_others_can_change_is_refused_and_by_descriptor_it_is_opened_once() {
    let mut scene = Scene::new();
    let file = scene.path("theirs/file");
    scene.shows_nothing("theirs.print", &file);
    scene.shows("theirs.open", &file);
    // The directory is root's again, but everybody may write it.
    let theirs = scene.place.join("theirs");
    chown(&theirs, Some(0), Some(0)).expect("the tests run as root");
    scene.shows("theirs.print", &file);
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).expect("it is ours");
    scene.shows_nothing("theirs.print", &file);
    scene.shows("theirs.open", &file);
    scene.daemon.stop();
}

/// Whoever owns the directory has its name be now a file, now a link to the secret, as fast as they can.
#[test]
fn whoever_swaps_a_file_for_a_link_gains_nothing() {
    const SWAPS: u32 = 100_000;
    let mut scene = Scene::new();
    let theirs = scene.place.join("theirs");
    let secret = scene.path("secrets/file");
    for (name, link) in [("plain", false), ("link", true)] {
        let path = theirs.join(name);
        if link {
            symlink(&secret, &path).expect("it is ours");
        } else {
            fs::write(&path, "plain\n").expect("it is ours");
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicU32::new(0));
    let racer = std::thread::spawn({
        let (stop, swaps, dir) = (Arc::clone(&stop), Arc::clone(&swaps), theirs.clone());
        move || {
            let (file, one, other) = (dir.join("file"), dir.join("plain"), dir.join("link"));
            while !stop.load(Ordering::Relaxed) {
                // Hard links of both come to lie over the name, one after the other.
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
                    // Where both are the same file, rename(2) does nothing.
                    let _ = fs::remove_file(&next);
                }
            }
        }
    });
    let path = theirs.join("file").display().to_string();
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

/// A link by inode is that file: what guards it is its own owner and mode, for a job that is not root.
#[test]
fn a_hard_link_shows_what_the_job_s_own_uid_may_read() {
    let mut scene = Scene::new();
    let tree = scene.place.join("tree");
    fs::hard_link(scene.place.join("secrets/file"), tree.join("hard")).expect("it is ours");
    fs::set_permissions(tree.join("hard"), fs::Permissions::from_mode(0o600)).expect("it is ours");
    let path = tree.join("hard").display().to_string();
    assert_eq!(cat(&path), SECRET, "without remit, root reads it");
    let own = policy(&scene.place).replace("user = \"root\"\n", "");
    scene.daemon.set_file(
        FILE,
        &own.replace(&format!(", \"{}/secrets\"", scene.place.display()), ""),
    );
    let _ = reload(&scene.daemon).unwrap_or_else(|why| panic!("{why:?}"));
    for command in BOTH {
        let shown = scene.print(command, &path);
        assert!(!format!("{shown:?}").contains(SECRET), "{shown:?}");
        scene.shows(command, &scene.path("tree/file"));
    }
    scene.daemon.stop();
}

/// A repository whose settings start programs: without remit the attacker's program runs as whoever looks; in the
/// sandbox it runs as nobody, and leaves nothing.
#[test]
fn settings_that_a_tool_reads_by_itself_do_no_harm() {
    let daemon = with("");
    let place = daemon.path().join("files");
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
        .arg(&place)
        .output()
        .expect("bash starts");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let executed = place.join("out/executed");
    let alone = Command::new("git")
        .arg("-C")
        .arg(place.join("repo"))
        .args(["-c", "safe.directory=*", "status"])
        .output();
    assert!(alone.is_ok_and(|git| git.status.success()));
    assert!(executed.exists(), "without remit the canary runs");
    fs::remove_file(&executed).expect("it is ours");

    let text = format!(
        "[[command]]\nname = \"git.status\"\nsummary = \"what changed\"\n\
         argv = [\"/usr/bin/git\", \"-C\", \"{place}/repo\", \"status\"]\neffect = \"read\"\nprofile = \"look\"\n\
         [profile.look]\nbase = \"strict\"\nread = [\"{place}\"]\n{GRANTS}",
        place = place.display()
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
