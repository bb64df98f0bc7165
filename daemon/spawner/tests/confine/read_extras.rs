//! What a profile may add to `read`: capabilities, writable paths, devices. The network is in `network.rs`.

use super::common::*;
use remit_confine::*;
use std::{
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::PathBuf,
};

const DAC_READ_SEARCH: u64 = 1 << 2;

fn listed(path: String) -> ListedPath {
    ListedPath {
        path: PathBuf::from(path),
        optional: false,
    }
}

fn with(profile: ReadProfile, script: &str) -> Ran {
    with_uid(profile, uid(), script)
}

fn with_uid(profile: ReadProfile, uid: u32, script: &str) -> Ran {
    let sandbox = compile_read(&profile, &probe().unwrap()).unwrap();
    let fixture = fixture();
    let with = With {
        uid: Some(uid),
        ..With::default()
    };
    let ran = run_in(&sandbox, &fixture, &["sh", "-c", script], &with);
    end(fixture);
    ran
}

#[test]
fn a_capability_to_read_reads_and_no_more() {
    let dir = HostDir::new();
    let secret = dir.file("secret", 0o600, "secret\n");
    let script = format!(
        "cat {secret}; grep Cap /proc/self/status; (echo x > {secret}) 2>&1; (echo x > {}/new) 2>&1",
        dir.0.display()
    );
    let plain = with(profile(), &script);
    assert!(
        !plain.out.contains("secret\n") && plain.err.contains("denied"),
        "{plain:?}"
    );
    let privileged = ReadProfile {
        capabilities: DAC_READ_SEARCH,
        ..profile()
    };
    let ran = with(privileged, &script);
    assert!(ran.out.starts_with("secret\n"), "{ran:?}");
    // In all five sets, so that it survives each execve(2), and nothing else.
    let sets: Vec<&str> = ran
        .out
        .lines()
        .filter_map(|l| l.strip_prefix("Cap"))
        .collect();
    assert_eq!(sets.len(), 5);
    for set in sets {
        assert!(set.ends_with(":\t0000000000000004"), "{set}");
    }
    assert_eq!(
        ran.out.matches("ead-only file system").count(),
        2,
        "{ran:?}"
    );
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret\n");
    assert!(!dir.0.join("new").exists());
}

#[test]
fn only_listed_paths_are_writable() {
    let dir = HostDir::new();
    let uid = uid();
    for name in ["open", "open/deep", "beside"] {
        std::fs::create_dir(dir.0.join(name)).unwrap();
        chown(dir.0.join(name), Some(uid), Some(uid)).unwrap();
    }
    let file = dir.file("file", 0o644, "before\n");
    chown(&file, Some(uid), Some(uid)).unwrap();
    let profile = ReadProfile {
        write: vec![listed(dir.path("open")), listed(file.clone())],
        ..profile()
    };
    let at = dir.0.display();
    let script = format!(
        "cd {at}; echo made > open/deep/new && mv open/deep/new open/moved && echo after > file && echo wrote
         (echo x > beside/new) 2>&1; (echo x > new) 2>&1; (echo x > /var/new) 2>&1
         cp /bin/true open/program; open/program; echo $?
         rm file 2>&1; mknod open/node p && echo fifo"
    );
    let ran = with_uid(profile, uid, &script);
    assert!(ran.out.starts_with("wrote\n"), "{ran:?}");
    assert_eq!(
        ran.out.matches("ead-only file system").count(),
        4,
        "{ran:?}"
    );
    assert!(ran.out.contains("\n126\n"), "it executed: {ran:?}");
    assert!(ran.out.ends_with("fifo\n"), "{ran:?}");
    assert_eq!(
        std::fs::read_to_string(dir.0.join("open/moved")).unwrap(),
        "made\n"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "after\n");
    assert!(!dir.0.join("beside/new").exists() && !dir.0.join("new").exists());
}

#[test]
fn writable_path_keeps_its_permissions() {
    let dir = HostDir::new();
    std::fs::create_dir(dir.0.join("open")).unwrap();
    let profile = ReadProfile {
        write: vec![listed(dir.path("open"))],
        ..profile()
    };
    let ran = with(profile, &format!("echo x > {}/open/new", dir.0.display()));
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
}

#[test]
fn mount_beneath_writable_path_stays_read_only() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let dir = HostDir::new();
    std::fs::create_dir_all(dir.0.join("open/other")).unwrap();
    let other = dir.0.join("open/other");
    mount(
        Some("none"),
        &other,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=777"),
    )
    .unwrap();
    std::fs::write(other.join("there"), "there\n").unwrap();
    std::fs::set_permissions(dir.0.join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let profile = ReadProfile {
        write: vec![listed(dir.path("open"))],
        ..profile()
    };
    let at = other.display();
    let script =
        format!("cat {at}/there; (echo x > {at}/new) 2>&1; echo x > {at}/../new && echo wrote");
    let ran = with(profile, &script);
    umount2(&other, MntFlags::MNT_DETACH).unwrap();
    assert!(
        ran.out.starts_with("there\n") && ran.out.ends_with("wrote\n"),
        "{ran:?}"
    );
    assert!(ran.out.contains("ead-only file system"), "{ran:?}");
}

#[test]
fn link_or_missing_listed_path_is_refused_or_left_out() {
    let dir = HostDir::new();
    dir.open_directory("real");
    symlink("real", dir.0.join("link")).unwrap();
    let sandbox = |path: String, optional| {
        let write = vec![ListedPath {
            path: path.into(),
            optional,
        }];
        let profile = ReadProfile { write, ..profile() };
        compile_read(&profile, &probe().unwrap()).unwrap()
    };
    let fixture = fixture();
    for (name, optional, runs) in [
        ("real", false, true),
        ("missing", true, true),
        ("missing", false, false),
        // A link is not what was listed, wherever it leads.
        ("link", false, false),
        ("link", true, true),
    ] {
        let sandbox = sandbox(dir.path(name), optional);
        let script = format!("touch {}/new", dir.path(name));
        let ran = run_in(&sandbox, &fixture, &["sh", "-c", &script], &With::default());
        match ran.progress {
            Progress::Executed(_) => {
                assert!(runs, "{name}");
                assert_eq!(dir.0.join("real/new").exists(), name == "real", "{name}");
                let _ = std::fs::remove_file(dir.0.join("real/new"));
            }
            Progress::Failed(StepFailure { step, at, .. }, _) => {
                assert!(!runs, "{name}: {step:?}");
                assert_eq!(step, Step::Mounts);
                let paths = sandbox.description().paths;
                let named = at.map(|at| paths[usize::from(at)].as_path());
                assert_eq!(named, Some(dir.0.join(name).as_path()));
            }
            Progress::More => panic!(),
        }
    }
    end(fixture);
}

#[test]
fn listed_device_works_unlisted_does_not() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let dir = HostDir::new();
    for name in ["listed", "other"] {
        let path = dir.0.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(1, 5)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    let profile = ReadProfile {
        devices: vec![listed(dir.path("listed"))],
        ..profile()
    };
    let at = dir.0.display();
    let script = format!(
        "head -c 3 {at}/listed | wc -c; echo x > {at}/listed && echo wrote; head -c 3 {at}/other"
    );
    let ran = with(profile.clone(), &script);
    assert_eq!(ran.out, "3\nwrote\n", "{ran:?}");
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
    // A file is not a device: with a device's rights it would be more than was listed.
    let profile = ReadProfile {
        devices: vec![listed(dir.file("file", 0o666, ""))],
        ..profile
    };
    assert!(matches!(
        with(profile, "true").progress,
        Progress::Failed(
            StepFailure {
                step: Step::Mounts,
                ..
            },
            _
        )
    ));
}

/// In base `strict`, too, where root may be the one who leaves it.
#[test]
fn no_set_id_file_is_left_behind() {
    if !has("perl", std::path::Path::new("/usr/bin/perl").exists()) {
        return;
    }
    let dir = HostDir::new();
    let at = dir.path("open");
    std::fs::create_dir(&at).unwrap();
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o777)).unwrap();
    let script = format!(
        "cd {at}; umask 0; touch plain && chmod 750 plain && echo plain
         touch a b c d; chmod 4755 a; chmod g+s b; cp /usr/bin/true c && chmod u+s c
         perl -e 'use Fcntl; sysopen(F, \"e\", O_CREAT|O_WRONLY, 06755) and print \"opened\"'
         perl -e 'open(F, \">>\", \"d\"); chmod(02755, *F) and print \"changed\"'
         mkdir -m 4755 f; mkdir g && chmod 2775 g"
    );
    let profile = ReadProfile {
        write: vec![listed(at.clone())],
        ..profile()
    };
    let own = with(profile, &script);
    let left = left_behind(&dir.0);
    assert!(own.out == "plain\n" && left.is_empty(), "{own:?}: {left:?}");
    let root = StrictProfile {
        user: Some((0, 0)),
        // Those that matter for it: chown, dac_override, fowner, fsetid.
        capabilities: 0b1_1011,
        write: vec![listed(at.clone())],
        limits: LIMITS,
        ..StrictProfile::default()
    };
    let clean = format!("cd {at} && rm -rf * && {script}");
    let root = super::strict::run_as(&root, &["sh", "-c", &clean]);
    let left = left_behind(&dir.0);
    assert!(
        root.out == "plain\n" && left.is_empty(),
        "{root:?}: {left:?}"
    );
    let bare = std::process::Command::new("sh")
        .args(["-c", &clean])
        .output()
        .unwrap();
    assert!(
        bare.status.success() && left_behind(&dir.0).len() >= 6,
        "{bare:?}"
    );
}

fn left_behind(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.permissions().mode() & 0o6000 != 0 {
            found.push(path.clone());
        }
        if meta.is_dir() {
            found.extend(left_behind(&path));
        }
    }
    found
}
