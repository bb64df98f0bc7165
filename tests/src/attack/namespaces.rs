//! Attacks by mounts, roots and namespaces.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::raw::{self, path, sys};
use super::{Attack, Expect, Tried, argument, attack};

const REFUSED: Expect = Expect::Errno(libc::EPERM);

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("mount", "seccomp_refused", REFUSED, "mount a tmpfs", mount).root(),
    attack("remount", "seccomp_refused", REFUSED, "make its root writable again", remount).root(),
    attack("umount", "seccomp_refused", REFUSED, "unmount something", umount).root(),
    attack("fsopen", "seccomp_refused", REFUSED, "prepare a mount by the newer calls", fsopen).root(),
    attack("open-tree", "seccomp_refused", REFUSED, "copy a mount", open_tree).root(),
    attack("mount-setattr", "seccomp_refused", REFUSED, "make a mount writable by the newer call", mount_setattr).root(),
    attack("pivot-root", "seccomp_refused", REFUSED, "change the root of its namespace", pivot_root).root(),
    attack("chroot", "seccomp_refused", REFUSED, "change its root", chroot).root(),
    attack("unshare-user", "seccomp_refused", REFUSED, "become root in a user namespace", unshare_user),
    attack("unshare-mount", "seccomp_refused", REFUSED, "make a mount namespace", unshare_mount).root(),
    attack("userns-mount", "seccomp_refused", REFUSED, "mount a tmpfs in a user namespace", userns_mount),
    attack("clone-user", "seccomp_refused", REFUSED, "start a process in a user namespace", clone_user),
    attack("clone3", "seccomp_unknown", Expect::Errno(libc::ENOSYS), "start a process by clone3", clone3),
    attack("setns", "seccomp_refused", REFUSED, "enter a namespace", setns).root(),
    attack("open-by-handle", "seccomp_refused", REFUSED, "open a file past its directories", open_by_handle).root(),
];

fn mount(arguments: &[String]) -> Tried {
    let (target, kind) = (path(argument(arguments, 0)), path("tmpfs"));
    sys!(
        libc::SYS_mount,
        kind.as_ptr(),
        target.as_ptr(),
        kind.as_ptr(),
        0,
        0
    )?;
    Ok("mounted".into())
}

fn remount(_: &[String]) -> Tried {
    let flags = libc::MS_REMOUNT | libc::MS_BIND;
    sys!(libc::SYS_mount, 0, path("/").as_ptr(), 0, flags, 0)?;
    Ok("remounted".into())
}

fn umount(_: &[String]) -> Tried {
    sys!(libc::SYS_umount2, path("/proc").as_ptr(), libc::MNT_DETACH)?;
    Ok("unmounted".into())
}

fn fsopen(_: &[String]) -> Tried {
    sys!(libc::SYS_fsopen, path("tmpfs").as_ptr(), 0)?;
    Ok("prepared".into())
}

fn open_tree(_: &[String]) -> Tried {
    const CLONE: i32 = 1;
    sys!(
        libc::SYS_open_tree,
        libc::AT_FDCWD,
        path("/").as_ptr(),
        CLONE
    )?;
    Ok("copied".into())
}

fn mount_setattr(_: &[String]) -> Tried {
    // attr_set, attr_clr, propagation, userns_fd: clear read-only.
    let attributes = [0_u64, 1, 0, 0];
    sys!(
        libc::SYS_mount_setattr,
        libc::AT_FDCWD,
        path("/").as_ptr(),
        0,
        attributes.as_ptr(),
        32
    )?;
    Ok("writable".into())
}

/// Moves a new root onto itself, like runc. The new namespace first makes it a mount.
fn pivot_root(arguments: &[String]) -> Tried {
    let target = path(argument(arguments, 0));
    let result = sys!(libc::SYS_pivot_root, target.as_ptr(), target.as_ptr());
    super::passed_the_check(result, &[libc::EINVAL, libc::EBUSY])
}

fn chroot(arguments: &[String]) -> Tried {
    sys!(libc::SYS_chroot, path(argument(arguments, 0)).as_ptr())?;
    Ok("changed".into())
}

fn unshare_user(_: &[String]) -> Tried {
    sys!(libc::SYS_unshare, libc::CLONE_NEWUSER)?;
    Ok("unshared".into())
}

fn unshare_mount(_: &[String]) -> Tried {
    sys!(libc::SYS_unshare, libc::CLONE_NEWNS)?;
    Ok("unshared".into())
}

fn userns_mount(arguments: &[String]) -> Tried {
    sys!(libc::SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    mount(arguments)
}

fn clone_user(_: &[String]) -> Tried {
    match sys!(
        libc::SYS_clone,
        libc::CLONE_NEWUSER | libc::SIGCHLD,
        0,
        0,
        0,
        0
    )? {
        0 => std::process::exit(0),
        child => {
            raw::wait(child as i32)?;
            Ok("started".into())
        }
    }
}

/// A filter cannot inspect clone3's structure, so the whole call must be unavailable.
fn clone3(_: &[String]) -> Tried {
    let mut arguments = [0_u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    match sys!(libc::SYS_clone3, arguments.as_ptr(), 88)? {
        0 => std::process::exit(0),
        child => {
            raw::wait(child as i32)?;
            Ok("started".into())
        }
    }
}

fn setns(_: &[String]) -> Tried {
    let own = File::open("/proc/self/ns/uts")?;
    sys!(libc::SYS_setns, own.as_raw_fd(), 0)?;
    Ok("entered".into())
}

/// The file handle is invalid: the permission check comes before the lookup.
fn open_by_handle(_: &[String]) -> Tried {
    let root = File::open("/")?;
    let handle = [8_u32, 1, 0, 0];
    let result = sys!(
        libc::SYS_open_by_handle_at,
        root.as_raw_fd(),
        handle.as_ptr(),
        libc::O_RDONLY
    );
    super::passed_the_check(result, &[libc::ESTALE])
}
