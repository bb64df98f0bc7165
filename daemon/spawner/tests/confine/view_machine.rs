//! Machines that cannot show a view: the kernel is asked for what a view needs, and its answer becomes one sentence.

use super::common::*;
use super::view::{Tree, profile};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_confine::*;

/// As in most containers. Before Linux 5.19 each root file system is refused so.
#[test]
fn root_that_cannot_be_mapped_is_refused() {
    let kernel = probe().unwrap();
    assert!(compile_view(&profile(), &kernel).is_ok());
    let tree = Tree::new();
    for name in ["empty", "at"] {
        tree.dir(name, 0o755);
    }
    // A thread's own: the directory is removed by this one, which keeps the machine's root.
    let refused = std::thread::scope(|scope| {
        let over = scope.spawn(|| {
            overlay_becomes_root(&tree);
            compile_view(&profile(), &kernel).unwrap_err().to_string()
        });
        over.join().unwrap()
    });
    assert_eq!(
        refused,
        "cannot make a view of this machine: the kernel cannot map the owners of its root file system: Linux 5.19 can for ext4, \
         XFS, btrfs and F2FS, and no Linux can for an overlay or NFS; boot a newer kernel, or run remit outside of containers"
    );
}

/// Changes mounts and root of the calling thread alone.
fn overlay_becomes_root(tree: &Tree) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let (none, flags) = (None::<&str>, MsFlags::empty());
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let (at, empty) = (tree.0.join("at"), tree.0.join("empty"));
    mount(Some("tmpfs"), &empty, Some("tmpfs"), flags, none).unwrap();
    let options = format!("lowerdir={}/empty:/", tree.at());
    let options = Some(options.as_str());
    mount(Some("overlay"), &at, Some("overlay"), flags, options).unwrap();
    let proc = at.join("proc");
    mount(Some("/proc"), &proc, none, MsFlags::MS_BIND, none).unwrap();
    std::env::set_current_dir(&at).unwrap();
    sys::pivot_here().unwrap();
}
