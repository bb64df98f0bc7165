//! `remit prove --compare` with the real `remit-prove` on a made machine. Needs root, and `remit-prove` beside `remit`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::fake::{Said, remit};

const SUDO: &str = "agent ALL = (root) NOPASSWD: ALL\n";

/// A machine, and a directory for what is kept, which only root can write.
struct Scene(PathBuf);

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scene {
    /// `None` if this is not root, or the programs were not built.
    fn new(name: &str) -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_remit")).with_file_name("remit-prove");
        if !nix::unistd::geteuid().is_root() || !program.exists() {
            let must = std::env::var_os("REMIT_TESTS_MUST_RUN").is_some_and(|value| value == "1");
            assert!(!must, "root or '{}' is missing", program.display());
            return None;
        }
        // All users can write `/tmp`.
        let scene = Self(format!("/var/lib/remit-prove-{name}-{}", std::process::id()).into());
        for directory in ["machine/etc", "machine/usr/bin", "kept"] {
            fs::create_dir_all(scene.0.join(directory)).unwrap();
        }
        scene.put("usr/bin/sudo", "");
        let passwd = "root:x:0:0::/root:/bin/sh\nagent:x:5001:5001::/home/agent:/bin/sh\n";
        scene.put("etc/passwd", passwd);
        scene.put(
            "etc/group",
            "root:x:0:\nagent:x:5001:\nremit:x:6001:agent\n",
        );
        Some(scene)
    }

    fn put(&self, path: &str, text: &str) {
        fs::write(self.0.join("machine").join(path), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.0.join("kept/looks.json")
    }

    fn prove(&self, more: &[&str]) -> Said {
        let (root, file) = (self.0.join("machine"), self.file());
        let mut args = vec!["prove", "--root", root.to_str().unwrap()];
        args.extend(["--compare", file.to_str().unwrap()]);
        args.extend(more);
        remit(Path::new("/nonexistent"), &args)
            .output()
            .unwrap()
            .into()
    }

    fn kept(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
}

fn lines(said: &Said) -> Vec<String> {
    let lines = said.text().lines();
    let lines = lines.filter(|line| !line.starts_with("compared with the look of"));
    lines.map(str::to_owned).collect()
}

#[test]
fn new_path_is_shown_once_and_again_when_it_is_gone() {
    let Some(scene) = Scene::new("once") else {
        return;
    };
    let said = scene.prove(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.text().starts_with("the first look that '"), "{said:?}");
    let mode = fs::metadata(scene.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let said = scene.prove(&[]);
    assert_eq!(
        (said.status, lines(&said)),
        (Some(0), vec!["no new path found".to_owned()])
    );

    scene.put("etc/sudoers", SUDO);
    let said = scene.prove(&[]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(lines(&said)[0], "new: agent reaches root:", "{said:?}");
    let said = scene.prove(&[]);
    assert_eq!(
        (said.status, lines(&said)),
        (Some(0), vec!["no new path found".to_owned()])
    );
    // The line of the file moves: it says the same.
    scene.put("etc/sudoers", &format!("# x\n\n{SUDO}"));
    assert_eq!(scene.prove(&[]).status, Some(0));
    // The same goal by other steps.
    scene.put("etc/sudoers", "%remit ALL = (root) NOPASSWD: ALL\n");
    let said = scene.prove(&["--json"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let said = said.json();
    assert_eq!(said["new"][0]["is_known_goal"], true, "{said}");
    assert!(
        said["since_ms"].as_u64() > Some(0) && said["subjects"].is_array(),
        "{said}"
    );

    scene.put("etc/sudoers", "");
    let said = scene.prove(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(lines(&said)[0], "gone: agent reached root:", "{said:?}");
    assert!(
        !fs::read_dir(scene.0.join("kept"))
            .unwrap()
            .any(|one| { one.unwrap().file_name().to_string_lossy().ends_with(".new") })
    );
}

#[test]
fn part_that_is_not_looked_at_any_more_is_said() {
    let Some(scene) = Scene::new("hidden") else {
        return;
    };
    scene.put("etc/sudoers", SUDO);
    assert_eq!(scene.prove(&[]).status, Some(1));
    // A link of links has no end.
    fs::remove_file(scene.0.join("machine/etc/sudoers")).unwrap();
    symlink("sudoers", scene.0.join("machine/etc/sudoers")).unwrap();
    let said = scene.prove(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.text().contains("gone: agent reached root"), "{said:?}");
    assert!(
        said.text().contains("looked at then and not now: 1"),
        "{said:?}"
    );
    assert!(said.text().contains("  /etc/sudoers: "), "{said:?}");
}

#[test]
fn file_that_cannot_be_believed_is_refused_with_the_way_out() {
    let Some(scene) = Scene::new("refused") else {
        return;
    };
    scene.put("etc/sudoers", SUDO);
    assert_eq!(scene.prove(&[]).status, Some(1));
    let (file, good) = (scene.file(), fs::read(scene.file()).unwrap());
    let refused = |why: &str, way: &str| {
        let said = scene.prove(&[]);
        assert_eq!(
            (said.status, said.text()),
            (Some(125), ""),
            "{why}: {said:?}"
        );
        assert!(said.stderr.contains(why), "{why}: {said:?}");
        let way = format!("to go on: {way}");
        assert!(said.stderr.contains(&way), "{way}: {said:?}");
    };
    let edited = |key: &str, value: Value| {
        let mut kept: Value = serde_json::from_slice(&good).unwrap();
        kept[key] = value;
        kept.to_string().into_bytes()
    };
    for (bytes, why) in [
        (Vec::new(), "is damaged"),
        (b"{\"version\": 1".to_vec(), "is damaged"),
        (good[..good.len() / 2].to_vec(), "is damaged"),
        (
            edited("version", json!(2)),
            "has version 2, and this release reads 1",
        ),
        (edited("version", json!("x")), "is damaged"),
        (edited("newest", json!({})), "is damaged"),
        (edited("more", json!(1)), "is damaged"),
    ] {
        fs::write(&file, bytes).unwrap();
        refused(why, "mv ");
    }
    let other = json!({ "root": "/elsewhere", "subject": "bob" });
    fs::write(&file, edited("asked", other)).unwrap();
    let way = "name another file, or: remit prove --root /elsewhere bob --compare";
    refused("keeps looks of 'remit prove --root /elsewhere bob'", way);
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    refused("mode 0644: others could hide a path in it", "mv ");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(5001), None).unwrap();
    refused("belongs to uid 5001", "mv ");
    fs::remove_file(&file).unwrap();
    symlink("elsewhere", &file).unwrap();
    refused("cannot be read", "mv ");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("is no regular file", "name another file");
    fs::remove_file(&file).unwrap();
    let kept = scene.0.join("kept");
    fs::set_permissions(&kept, Permissions::from_mode(0o777)).unwrap();
    refused("is writable by everyone", "chmod go-w");
    fs::set_permissions(&kept, Permissions::from_mode(0o755)).unwrap();
    let locked = fs::File::open(&kept).unwrap();
    let locked = Flock::lock(locked, FlockArg::LockExclusive).unwrap();
    refused("is in use by another", "try again");
    drop(locked);
    // A directory that is missing is made, one above it is not.
    fs::remove_dir(&kept).unwrap();
    assert_eq!(scene.prove(&[]).status, Some(1));
    let mode = fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn unread_look_is_not_kept() {
    let Some(scene) = Scene::new("unread") else {
        return;
    };
    assert_eq!(scene.prove(&[]).status, Some(0));
    scene.put("etc/sudoers", SUDO);
    let before = scene.kept();
    let (root, file) = (scene.0.join("machine"), scene.file());
    let args = [
        "prove".as_ref(),
        "--root".as_ref(),
        root.as_os_str(),
        "--compare".as_ref(),
        file.as_os_str(),
    ];
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = remit(Path::new("/nonexistent"), &args)
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(74));
    assert_eq!(scene.kept(), before);
    for form in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let args = [&args[..], form].concat();
        let mut command = remit(Path::new("/nonexistent"), &args);
        let status = command.stdout(writer).status().unwrap();
        assert_eq!((status.code(), scene.kept()), (Some(1), before.clone()));
    }
    assert_eq!(scene.prove(&[]).status, Some(1));
}
