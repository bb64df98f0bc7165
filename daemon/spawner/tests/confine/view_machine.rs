//! Machines that cannot show a view: the kernel is asked for what a view needs, and its answer becomes one sentence.

use super::common::*;
use super::view::{Tree, profile};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_confine::*;
use std::path::Path;

/// Returns the refusal on a machine that `prepare` makes of the calling thread alone: the test keeps its own.
fn refusal_after(prepare: impl FnOnce() + Send) -> String {
    let kernel = probe().unwrap();
    assert!(compile_view(&profile(), &kernel).is_ok());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            prepare();
            compile_view(&profile(), &kernel).unwrap_err().to_string()
        });
        other.join().unwrap()
    })
}

/// As in most containers. Before Linux 5.19 each root file system is refused so.
#[test]
fn root_that_cannot_be_mapped_is_refused() {
    let tree = Tree::new();
    tree.dir("empty", 0o755);
    let refused = refusal_after(|| {
        changes_root(&tree, |at| {
            let (empty, flags) = (tree.0.join("empty"), MsFlags::empty());
            mount(Some("tmpfs"), &empty, Some("tmpfs"), flags, None::<&str>).unwrap();
            let options = format!("lowerdir={}/empty:/", tree.at());
            let options = Some(options.as_str());
            mount(Some("overlay"), at, Some("overlay"), flags, options).unwrap();
        });
    });
    assert_eq!(
        refused,
        "cannot make a view of this machine: the kernel cannot map the owners of its root file system: Linux 5.19 can for ext4, \
         XFS, btrfs and F2FS, and no Linux can for an overlay or NFS; boot a newer kernel, or run remit outside of containers"
    );
}

#[test]
fn root_that_is_read_only_is_refused() {
    let tree = Tree::new();
    let refused = refusal_after(|| {
        changes_root(&tree, |at| {
            let none = None::<&str>;
            mount(Some("/"), at, none, MsFlags::MS_BIND, none).unwrap();
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, at, none, flags, none).unwrap();
        });
    });
    assert_eq!(
        refused,
        "cannot make a view of this machine: its root file system is mounted read-only, and copies need one that can be \
         written; remount it, then: remit policy reload"
    );
}

#[test]
fn kernel_without_user_namespaces_is_named() {
    for (errno, why) in [
        (
            libc::EINVAL,
            "the kernel has no user namespaces; boot one with CONFIG_USER_NS",
        ),
        (
            libc::ENOSPC,
            "the kernel makes no user namespace; set user.max_user_namespaces, see sysctl(8)",
        ),
    ] {
        let refused = refusal_after(|| answers_unshare(errno.cast_unsigned()));
        assert_eq!(
            refused,
            format!("cannot make a view of this machine: {why}")
        );
    }
}

/// Changes mounts and root of the calling thread alone.
fn changes_root(tree: &Tree, mount_at: impl FnOnce(&Path)) {
    tree.dir("at", 0o755);
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let at = tree.0.join("at");
    mount_at(&at);
    let proc = at.join("proc");
    mount(Some("/proc"), &proc, none, MsFlags::MS_BIND, none).unwrap();
    std::env::set_current_dir(&at).unwrap();
    sys::pivot_here().unwrap();
}

/// Has the kernel answer unshare(CLONE_NEWUSER) so, for the calling thread and its children.
fn answers_unshare(errno: u32) {
    let row = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (load, equal, answer) = (0x20, 0x15, 0x06);
    let unshare = u32::try_from(libc::SYS_unshare).unwrap();
    sys::install_filter(&[
        row(load, 0, 0, 0),
        row(equal, 0, 3, unshare),
        row(load, 0, 0, 16),
        row(equal, 0, 1, libc::CLONE_NEWUSER.cast_unsigned()),
        row(answer, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        row(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
    .unwrap();
}
