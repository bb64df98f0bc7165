//! Changes that cannot be planned.

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::unistd::Uid;
use remit_extract::{NodeKind, PlanRefusal, RefusalReason};
use remit_plan::{Change, PathError};

use crate::scene::{
    Scene, append, at, chmod, ctime_ns, entries, host, put, run, seen, set_attribute,
};

const FILE_TO_DIRECTORY: RefusalReason = RefusalReason::OtherKind {
    old: NodeKind::File,
    new: NodeKind::Directory,
};
/// cap_net_raw, effective, of the root 1000 of another namespace: `struct vfs_ns_cap_data` in capabilities(7).
const OF_ANOTHER_ROOT: [u8; 24] = [
    1, 0, 0, 3, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0,
];

fn attribute(name: &str) -> RefusalReason {
    RefusalReason::Attribute(name.as_bytes().to_vec())
}

/// An ACL with uid 1000 in it: `struct posix_acl_xattr_entry`.
fn access_list() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, mode, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 1000),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 4, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(mode.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn file_replaced_by_directory_is_refused() {
    let scene = Scene::new();
    fs::remove_file(seen("etc/hosts")).unwrap();
    put(&seen("etc/hosts/x"), b"", 0o644, 0);
    let extraction = scene.is_refused(&[("/etc/hosts", FILE_TO_DIRECTORY)]);
    assert_eq!(
        extraction.refusals[0].to_string(),
        "cannot plan a change of '/etc/hosts': a file would become a directory; plan the removal first, and the new one \
         after that change"
    );
}

#[test]
fn directory_replaced_by_another_kind_is_refused() {
    let scene = Scene::new();
    for path in ["etc/dir", "etc/empty", "root"] {
        fs::remove_dir_all(seen(path)).unwrap();
    }
    put(&seen("etc/dir"), b"", 0o644, 0);
    symlink("/tmp", seen("etc/empty")).unwrap();
    run("mkfifo", &["/mnt/merged/root"]);
    let other = |new| RefusalReason::OtherKind {
        old: NodeKind::Directory,
        new,
    };
    scene.is_refused(&[
        ("/etc/dir", other(NodeKind::File)),
        ("/etc/empty", other(NodeKind::Link)),
        ("/root", other(NodeKind::Fifo)),
    ]);
}

#[test]
fn hard_link_of_base_is_refused() {
    let link = |lower: &Path| {
        for (name, other) in [("a", "a2"), ("b", "b2"), ("c", "c2"), ("d", "d2")] {
            put(&lower.join(name), b"x", 0o644, 0);
            fs::hard_link(lower.join(name), lower.join(other)).unwrap();
        }
    };
    let scene = Scene::with("", link);
    append(&seen("a"), b"x");
    fs::remove_file(seen("b")).unwrap();
    chmod(&seen("c"), 0o600);
    run("touch", &["/mnt/merged/d"]);
    // What was removed is found before the names of the upper directory.
    let extraction = scene.is_refused(&[
        ("/b", RefusalReason::HardLinks(2)),
        ("/a", RefusalReason::HardLinks(2)),
        ("/c", RefusalReason::HardLinks(2)),
    ]);
    assert_eq!(extraction.equal, 1);
}

/// remit-commit would refuse it after its approval.
#[test]
fn another_owner_of_what_has_an_access_list_is_refused() {
    let scene = Scene::with("", |lower| {
        put(&lower.join("a"), b"x", 0o644, 0);
        fs::create_dir(lower.join("d")).unwrap();
        set_attribute(&lower.join("a"), "system.posix_acl_access", &access_list());
        set_attribute(&lower.join("d"), "system.posix_acl_default", &access_list());
    });
    for name in ["a", "d"] {
        chown(seen(name), Some(1000), None).unwrap();
    }
    let why = RefusalReason::OldAttributes(remit_plan::LISTED.to_owned());
    scene.is_refused(&[("/a", why.clone()), ("/d", why)]);
}

/// remit-commit would refuse it after its approval.
#[test]
fn new_bytes_of_what_has_an_attribute_that_is_not_kept_are_refused() {
    let scene = Scene::with("", |lower| {
        put(&lower.join("a"), b"x", 0o644, 0);
        set_attribute(&lower.join("a"), "security.x", b"y");
    });
    append(&seen("a"), b"x");
    let why = "it has the attribute 'security.x', which cannot be kept: remove it with setfattr -x, then plan again";
    scene.is_refused(&[("/a", RefusalReason::OldAttributes(why.to_owned()))]);
}

#[test]
fn special_file_of_the_host_cannot_change() {
    let scene = Scene::with("", |lower| {
        for name in ["a", "b", "c"] {
            run("mkfifo", &[lower.join(name).to_str().unwrap()]);
        }
    });
    fs::remove_file(seen("a")).unwrap();
    chmod(&seen("b"), 0o600);
    run("touch", &["/mnt/merged/c"]);
    let reason = RefusalReason::Special(NodeKind::Fifo);
    let extraction = scene.is_refused(&[("/a", reason.clone()), ("/b", reason)]);
    assert_eq!(extraction.equal, 1);
}

#[test]
fn attributes_of_new_paths_are_refused() {
    let scene = Scene::new();
    for name in ["a", "b", "c"] {
        put(&seen("etc").join(name), b"x", 0o644, 0);
    }
    fs::create_dir(seen("etc/d")).unwrap();
    set_attribute(&seen("etc/a"), "user.x", b"y");
    set_attribute(&seen("etc/b"), "security.capability", &OF_ANOTHER_ROOT);
    set_attribute(&seen("etc/c"), "system.posix_acl_access", &access_list());
    set_attribute(&seen("etc/d"), "system.posix_acl_default", &access_list());
    let extraction = scene.is_refused(&[
        ("/etc/a", attribute("user.x")),
        ("/etc/b", attribute("security.capability")),
        ("/etc/c", attribute("system.posix_acl_access")),
        ("/etc/d", attribute("system.posix_acl_default")),
    ]);
    let text = extraction.refusals[0].to_string();
    assert!(
        text.contains("'/etc/a'") && text.contains("'user.x'"),
        "{text}"
    );
}

#[test]
fn attributes_that_differ_from_the_base_are_refused() {
    let scene = Scene::with("", |lower| {
        for name in ["a", "b", "c", "d"] {
            put(&lower.join(name), b"x", 0o644, 0);
            set_attribute(&lower.join(name), "user.x", b"old");
        }
    });
    set_attribute(&seen("a"), "user.x", b"new");
    fs::remove_file(seen("b")).unwrap();
    put(&seen("b"), b"other", 0o644, 0);
    // They stay in these two, as a commit keeps them.
    append(&seen("c"), b"x");
    chmod(&seen("d"), 0o600);
    set_attribute(&seen("etc/dir"), "user.x", b"new");
    let extraction = scene.is_refused(&[
        ("/a", attribute("user.x")),
        ("/b", attribute("user.x")),
        ("/etc/dir", attribute("user.x")),
    ]);
    assert_eq!(entries(&extraction), ["~/c", "m/d"]);
}

#[test]
fn many_attributes_are_refused() {
    let scene = Scene::new();
    put(&seen("etc/new"), b"x", 0o644, 0);
    for number in 0..=remit_extract::ATTRIBUTES {
        set_attribute(&seen("etc/new"), &format!("user.{number}"), b"");
    }
    scene.is_refused(&[("/etc/new", RefusalReason::ManyAttributes)]);
}

#[test]
fn hidden_paths_cannot_change() {
    let mut scene = Scene::new();
    scene.hidden = [
        b"/etc/dir/a".to_vec(),
        b"/etc/secret".to_vec(),
        b"/root".to_vec(),
    ]
    .into();
    append(&seen("etc/dir/a"), b"x");
    chmod(&seen("etc/secret"), 0o644);
    put(&seen("root/new"), b"", 0o644, 0);
    scene.is_refused(&[
        ("/etc/dir/a", RefusalReason::HiddenChanged),
        ("/etc/secret", RefusalReason::HiddenChanged),
        ("/root", RefusalReason::HiddenChanged),
    ]);
}

#[test]
fn hidden_file_removed_has_a_base_without_hash() {
    let mut scene = Scene::new();
    scene.hidden = [b"/etc/dir/sub".to_vec(), b"/etc/secret".to_vec()].into();
    fs::remove_file(seen("etc/secret")).unwrap();
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    let plan = extraction.plan().unwrap();
    let [entry] = plan.entries() else {
        panic!("{plan:?}");
    };
    assert!(matches!(entry.change, Change::Remove { base } if base.is_unread()));
    fs::remove_dir_all(seen("etc/dir")).unwrap();
    scene.is_refused(&[("/etc/dir/sub", RefusalReason::HiddenChanged)]);
}

#[test]
fn hidden_file_moved_is_refused() {
    // The mask hides the file by an empty one of mode 0 whose owner has no number in the plan.
    let mut scene = Scene::with("/mnt/mask:", |_| {
        for name in ["etc/secret", "etc/dir/a"] {
            put(&at("mask").join(name), b"", 0, 65534);
        }
    });
    scene.hidden = [b"/etc/dir/a".to_vec(), b"/etc/secret".to_vec()].into();
    assert_eq!(scene.extract(), remit_extract::Extraction::default());
    fs::rename(seen("etc/secret"), seen("etc/new")).unwrap();
    fs::rename(seen("etc/dir/a"), seen("var/log/new")).unwrap();
    let extraction = scene.is_refused(&[
        ("/etc/new", RefusalReason::HiddenMoved),
        ("/var/log/new", RefusalReason::HiddenMoved),
    ]);
    assert_eq!(entries(&extraction), ["-/etc/dir/a", "-/etc/secret"]);
}

#[test]
fn owner_without_number_is_refused() {
    let scene = Scene::with("", |lower| put(&lower.join("nobody"), b"", 0o644, 65534));
    append(&seen("nobody"), b"x");
    put(&seen("etc/new"), b"", 0o644, 65534);
    chown(seen("etc/hosts"), None, Some(65534)).unwrap();
    chown(seen("etc/dir"), Some(65534), None).unwrap();
    let extraction = scene.is_refused(&[
        ("/etc/dir", RefusalReason::UnknownOwner),
        ("/etc/hosts", RefusalReason::UnknownOwner),
        ("/etc/new", RefusalReason::UnknownOwner),
    ]);
    assert_eq!(entries(&extraction), ["~/nobody"]);
}

#[test]
fn base_changed_during_the_plan_is_refused() {
    let mut scene = Scene::new();
    append(&seen("etc/hosts"), b"plan");
    chmod(&seen("etc/dir"), 0o700);
    fs::remove_dir(seen("etc/empty")).unwrap();
    fs::remove_file(seen("etc/link")).unwrap();
    run("touch", &["/mnt/merged/etc/secret"]);
    scene.started_ns = ctime_ns(&host("root/key")) - 1;
    let changed = RefusalReason::ChangedOnHost;
    scene.is_refused(&[
        ("/etc/empty", changed.clone()),
        ("/etc/link", changed.clone()),
        ("/etc/dir", changed.clone()),
        ("/etc/hosts", changed),
    ]);
}

#[test]
fn host_change_after_copy_up_is_refused() {
    let mut scene = Scene::new();
    // The overlay copies both, and changes none.
    run("touch", &["/mnt/merged/etc/hosts", "/mnt/merged/etc/dir"]);
    assert!(scene.extract().refusals.is_empty());
    append(&host("etc/hosts"), b"host");
    chmod(&host("etc/dir"), 0o700);
    scene.started_ns = ctime_ns(&host("etc/hosts"));
    scene.is_refused(&[
        ("/etc/dir", RefusalReason::ChangedOnHost),
        ("/etc/hosts", RefusalReason::ChangedOnHost),
    ]);
}

#[test]
fn directory_exchanged_by_the_host_is_refused() {
    let mut scene = Scene::with("", |lower| {
        put(&lower.join("etc/next/a"), b"next", 0o644, 0)
    });
    append(&seen("etc/dir/a"), b"x");
    fs::rename(host("etc/dir"), host("etc/last")).unwrap();
    fs::rename(host("etc/next"), host("etc/dir")).unwrap();
    scene.started_ns = ctime_ns(&host("etc/dir"));
    scene.is_refused(&[("/etc/dir", RefusalReason::ChangedOnHost)]);
}

#[test]
fn names_of_remit_are_refused() {
    let scene = Scene::new();
    put(&seen("etc/.remit-1/0"), b"", 0o644, 0);
    let reason = RefusalReason::Path(PathError::Reserved);
    scene.is_refused(&[("/etc/.remit-1", reason)]);
}

#[test]
fn mount_points_cannot_change() {
    let mut scene = Scene::new();
    chmod(&seen("srv/data"), 0o700);
    chmod(&at("merged"), 0o700);
    fs::create_dir(at("data-lower")).unwrap();
    scene.nest("/srv/data", "data-");
    chmod(&seen("srv/data"), 0o711);
    // The root of each overlay, and the directory beneath the inner one.
    scene.is_refused(&[
        ("/", RefusalReason::MountPoint),
        ("/srv/data", RefusalReason::MountPoint),
    ]);
    chmod(&at("merged"), 0o755);
    scene.is_refused(&[
        ("/srv/data", RefusalReason::MountPoint),
        ("/srv/data", RefusalReason::MountPoint),
    ]);
}

#[test]
fn attribute_of_a_root_is_refused() {
    let scene = Scene::new();
    set_attribute(&at("merged"), "user.x", b"y");
    scene.is_refused(&[("/", attribute("user.x"))]);
}

#[test]
fn mount_point_removed_is_refused() {
    let mut scene = Scene::new();
    scene.mounts.insert(b"/srv/data".to_vec());
    fs::remove_dir_all(seen("srv")).unwrap();
    scene.is_refused(&[("/srv/data", RefusalReason::MountPoint)]);
}

#[test]
fn mount_that_was_not_named_is_not_entered() {
    let scene = Scene::new();
    put(&seen("etc/dir/new"), b"", 0o644, 0);
    let none = None::<&str>;
    mount(
        Some("none"),
        &seen("etc/dir"),
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    scene.is_refused(&[("/etc/dir", RefusalReason::MountPoint)]);
}

#[test]
fn overlay_at_an_impossible_path_is_refused() {
    let scene = Scene::new();
    let mut machine = scene.machine();
    machine.overlays[0].at = b"/a/../b".to_vec();
    let extraction = remit_extract::extract(&machine);
    let reasons: Vec<_> = extraction.refusals.iter().map(|one| &one.reason).collect();
    assert_eq!(reasons, [&RefusalReason::Path(PathError::Part)]);
}

#[test]
fn host_path_of_another_kind_by_now_is_refused() {
    let scene = Scene::new();
    append(&seen("etc/hosts"), b"x");
    fs::remove_file(host("etc/hosts")).unwrap();
    fs::create_dir(host("etc/hosts")).unwrap();
    let reason = RefusalReason::OtherKind {
        old: NodeKind::Directory,
        new: NodeKind::File,
    };
    scene.is_refused(&[("/etc/hosts", reason)]);
}

#[test]
fn large_and_sparse_files_are_refused_before_they_are_read() {
    let scene = Scene::new();
    let size = i64::MAX.unsigned_abs();
    File::create(seen("etc/huge"))
        .unwrap()
        .set_len(size)
        .unwrap();
    let file = File::options().write(true).open(seen("etc/hosts")).unwrap();
    file.set_len(remit_extract::FILE_BYTES + 1).unwrap();
    scene.is_refused(&[
        (
            "/etc/hosts",
            RefusalReason::LargeFile(remit_extract::FILE_BYTES + 1),
        ),
        ("/etc/huge", RefusalReason::LargeFile(size)),
    ]);
}

#[test]
fn paths_without_a_right_to_read_are_refused() {
    let scene = Scene::new();
    append(&seen("etc/secret"), b"x");
    put(&seen("etc/new"), b"", 0o600, 0);
    fs::create_dir(seen("etc/private")).unwrap();
    chmod(&seen("etc/private"), 0o700);
    fs::remove_file(seen("etc/dir/a")).unwrap();
    chmod(&host("root"), 0o700);
    fs::remove_dir_all(seen("root")).unwrap();
    let machine = scene.machine();
    // Of this thread alone. It takes the right to read all files.
    nix::unistd::setfsuid(Uid::from_raw(1000));
    let extraction = remit_extract::extract(&machine);
    nix::unistd::setfsuid(Uid::from_raw(0));
    let denied = RefusalReason::Unreadable(Errno::EACCES);
    let found: Vec<_> = extraction.refusals.iter().collect();
    let expect = ["/root", "/etc/new", "/etc/private", "/etc/secret"];
    let expect = expect.map(|path| PlanRefusal {
        path: path.as_bytes().to_vec(),
        reason: denied.clone(),
    });
    assert_eq!(found, expect.iter().collect::<Vec<_>>());
    let [entry] = extraction.entries() else {
        panic!("{:?}", extraction.entries());
    };
    assert!(matches!(entry.change, Change::Remove { base } if base.is_unread()));
}
