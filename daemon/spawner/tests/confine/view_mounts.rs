//! Mounts of the machine in a view: what lies beneath them, attributes of their roots, and points that are not shown.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use nix::mount::MsFlags;

use super::common::end;
use super::view::{Jobs, Mounted, Tree, changes, settle, sh};
use super::view_emptied::list_of;
use remit_confine::sys;

/// Mounts a file system in memory.
fn tmpfs(tree: &Tree, name: &str, mounted: &mut Mounted) {
    let at = tree.0.join(name);
    mounted.mount("tmpfs", at.clone(), Some("tmpfs"), MsFlags::empty());
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
}

/// As after a move of `/srv` to a disk of its own, with the old tree beneath.
#[test]
fn what_lies_beneath_a_mount_hides_nothing_of_the_mount() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tree.dir("mnt", 0o755);
    tree.dir("mnt/sub", 0o755);
    tree.file("mnt/sub/secret", 0o600, 0, "SECRET\n");
    tree.file("mnt/sub/open", 0o644, 0, "SECRET\n");
    tree.file("mnt/pub", 0o600, 0, "SECRET\n");
    tree.dir("mnt/cfg", 0o700);
    tree.dir("closed", 0o700);
    tmpfs(&tree, "mnt", &mut mounted);
    tmpfs(&tree, "closed", &mut mounted);
    tree.file("mnt/pub", 0o644, 0, "public\n");
    tree.file("mnt/key", 0o600, 0, "SECRET\n");
    tree.dir("mnt/cfg", 0o755);
    tree.file("mnt/cfg/a", 0o644, 0, "a\n");
    tree.file("closed/b", 0o644, 0, "b\n");
    settle();
    let at = tree.at();
    let ran = sh(&format!(
        "cd {at} && ls -A mnt && stat -c '%a %u' mnt/pub mnt/cfg && cat mnt/pub mnt/cfg/a closed/b; \
         cat mnt/key mnt/sub/secret mnt/sub/open"
    ));
    let expect = "cfg\nkey\npub\n644 0\n755 0\npublic\na\nb\n";
    assert_eq!(ran.out, expect, "{ran:?}");
    assert_eq!(
        changes(&format!(
            "cd {at}/mnt && echo one >pub && echo two >cfg/a && mkdir -m 755 sub"
        )),
        format!(
            "{at}/mnt/cfg/a 2 -> 4 0:0 644\n{at}/mnt/pub 7 -> 4 0:0 644\nnew directory {at}/mnt/sub 0:0 755\nscratch 0\n"
        )
    );
}

/// The kernel makes no clone of such a mount, but of its copy in a tree that is private.
#[test]
fn unbindable_mount_is_shown() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tmpfs(&tree, "data", &mut mounted);
    tree.file("data/a", 0o644, 0, "a\n");
    let (none, data) = (None::<&str>, tree.0.join("data"));
    nix::mount::mount(none, &data, none, MsFlags::MS_UNBINDABLE, none).unwrap();
    settle();
    let ran = sh(&format!("cat {}/data/a", tree.at()));
    assert_eq!((ran.out.as_str(), ran.code()), ("a\n", Some(0)), "{ran:?}");
}

/// Samba sets one, and setfacl(1).
#[test]
fn attributes_of_the_root_of_a_mount_refuse_no_other_change() {
    const DEFAULT: &str = "system.posix_acl_default";
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tree.file("file", 0o644, 0, "old\n");
    for name in ["data", "listed", "foreign"] {
        tmpfs(&tree, name, &mut mounted);
    }
    tree.dir("data/sub", 0o755);
    tree.file("data/sub/key", 0o600, 0, "SECRET\n");
    let root = |name: &str| File::open(tree.0.join(name)).unwrap();
    let (list, data) = (list_of(33, 0, 5), root("data"));
    sys::set_xattr(&data, c"system.posix_acl_default", &list).unwrap();
    // Before Linux 6.6 a file system in memory has none.
    let has_user = sys::set_xattr(&data, c"user.DOSATTRIB", b"0x10").is_ok();
    let user = if has_user { ", 'user.DOSATTRIB'" } else { "" };
    sys::set_xattr(root("listed"), c"system.posix_acl_access", &list).unwrap();
    // Of a group that the view does not know: it is not copied, and neither are the bits of the group.
    let list = list_of(100_000, 0, 5);
    sys::set_xattr(root("foreign"), c"system.posix_acl_access", &list).unwrap();
    settle();
    let at = tree.at();
    let python = |code: &str| format!("/usr/bin/python3 -c 'import os; {code}'");
    let jobs = Jobs::new();
    let ran = jobs.sh(&format!(
        "cd {at} && stat -c '%a %u' data listed foreign && {} && cat data/sub/key",
        python(
            "print(sorted(os.listxattr(\"data\"))); print(os.listxattr(\"data/sub\")); print(os.listxattr(\"listed\"))"
        )
    ));
    let expect =
        format!("755 0\n755 0\n705 0\n['{DEFAULT}'{user}]\n[]\n['system.posix_acl_access']\n");
    assert_eq!(ran.out, expect, "{ran:?}");
    let change = |script: &str| jobs.changes(&format!("cd {at} && echo newer >file && {script}"));
    let file = format!("{at}/file 4 -> 6 0:0 644\n");
    assert_eq!(change("true"), format!("{file}scratch 0\n"));
    let cases = [
        (
            python("os.removexattr(\"data\", \"user.DOSATTRIB\")"),
            "its extended attribute 'user.DOSATTRIB' would be lost: the plan format has no attributes yet",
        ),
        (
            python(&format!("os.removexattr(\"data\", \"{DEFAULT}\")")),
            "its extended attribute 'system.posix_acl_default' would be lost: the plan format has no attributes yet",
        ),
        (
            "chmod 711 data".to_owned(),
            "a file system is mounted on it",
        ),
    ];
    let cases = cases
        .iter()
        .filter(|(script, _)| has_user || !script.contains("user."));
    for (script, refusal) in cases {
        let refused = format!("{file}cannot plan a change of '{at}/data': {refusal}\nscratch 0\n");
        assert_eq!(change(script), refused, "{script}");
    }
    end(jobs.fixture);
}

/// A mount of a file, and one of a file system that is not shown.
#[test]
fn mount_point_that_is_not_shown_is_not_changed() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    let over = tree.file("over", 0o644, 0, "over\n");
    let under = tree.file("under", 0o644, 0, "under\n");
    mounted.mount_on(&over, under.into(), None, MsFlags::MS_BIND);
    let other = tree.0.join("other");
    mounted.mount("ramfs", other, Some("ramfs"), MsFlags::empty());
    settle();
    let at = tree.at();
    let why = "a file system is mounted on it";
    let jobs = Jobs::new();
    for (script, path) in [
        ("rm under", "under"),
        ("mv under over", "under"),
        ("echo new >under", "under"),
        ("chmod 600 under", "under"),
        ("cp -p under x && rm under && mv x under", "under"),
        ("rmdir other", "other"),
        ("rmdir other && mkdir other", "other"),
    ] {
        let found = jobs.changes(&format!("cd {at} && cat under && {script}"));
        let refusals: Vec<&str> = found
            .lines()
            .filter(|line| line.starts_with("cannot"))
            .collect();
        let expect = format!("cannot plan a change of '{at}/{path}': {why}");
        assert_eq!(refusals, [expect], "{script}: {found}");
    }
    end(jobs.fixture);
}
