//! Attacks by mounts, roots and namespaces, and by device files and terminals.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

use super::REFUSED;
use super::raw::{self, path, sys};
use super::{Attack, Expect, Refused, Tried, argument, attack, passed_the_check};

#[rustfmt::skip] // a table, one row a line
pub const NAMESPACES: &[Attack] = &[
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
    passed_the_check(result, &[libc::EINVAL, libc::EBUSY])
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
    passed_the_check(result, &[libc::ESTALE])
}

const NO_DEVICES: Expect = Expect::Errno(libc::EACCES);

#[rustfmt::skip] // a table, one row a line
pub const DEVICES: &[Attack] = &[
    attack("disk", "nodev", NO_DEVICES, "open a disk", open_read).root().optional(),
    attack("device-node", "nodev", NO_DEVICES, "open a world-writable device node", open_read),
    attack("fuse", "nodev", NO_DEVICES, "open /dev/fuse", open_both).root().optional(),
    attack("ptmx", "nodev", NO_DEVICES, "take one of the host's pseudoterminals", open_both),
    attack("tty-write", "nodev", NO_DEVICES, "write to a terminal that accepts messages", tty_write),
    attack("mknod", "landlock", NO_DEVICES, "make a device node in the private /tmp", mknod).root().without_landlock(REFUSED),
    attack("tiocsti", "seccomp_refused", REFUSED, "type into a terminal (TIOCSTI)", tiocsti),
    attack("tiocsti-high", "seccomp_refused", REFUSED, "the same with high bits set in the request number", tiocsti_high),
    attack("tioclinux", "seccomp_refused", REFUSED, "paste into a console (TIOCLINUX)", tioclinux),
];

fn open_read(arguments: &[String]) -> Tried {
    File::open(argument(arguments, 0))?;
    Ok("opened".into())
}

fn open_both(arguments: &[String]) -> Tried {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(argument(arguments, 0))?;
    Ok("opened".into())
}

fn tty_write(arguments: &[String]) -> Tried {
    let mut tty = OpenOptions::new()
        .write(true)
        .open(argument(arguments, 0))?;
    tty.write_all(b"attacked")?;
    Ok("written".into())
}

fn mknod(arguments: &[String]) -> Tried {
    let name = path(argument(arguments, 0));
    let device = libc::makedev(1, 3);
    sys!(
        libc::SYS_mknodat,
        libc::AT_FDCWD,
        name.as_ptr(),
        libc::S_IFCHR | 0o666,
        device
    )?;
    Ok("made".into())
}

/// Returns a terminal to attack: a new controlling terminal if possible, otherwise standard input.
fn terminal() -> Result<i32, Refused> {
    let Ok(master) = OpenOptions::new().read(true).write(true).open("/dev/ptmx") else {
        return Ok(0);
    };
    // Stays open until the process ends, because closing the master hangs up the terminal.
    let master = std::mem::ManuallyDrop::new(master);
    let unlocked = 0_i32;
    sys!(
        libc::SYS_ioctl,
        master.as_raw_fd(),
        libc::TIOCSPTLCK,
        &raw const unlocked
    )?;
    let _ = sys!(libc::SYS_setsid);
    let slave = sys!(
        libc::SYS_ioctl,
        master.as_raw_fd(),
        libc::TIOCGPTPEER,
        libc::O_RDWR
    )?;
    let _ = sys!(libc::SYS_ioctl, slave, libc::TIOCSCTTY, 0);
    i32::try_from(slave).map_err(|_| Refused(libc::EBADF))
}

/// EIO: the sysctl dev.tty.legacy_tiocsti is off. The kernel checks it last.
const LEGACY_OFF: &[i32] = &[libc::EIO];

fn tiocsti(_: &[String]) -> Tried {
    let key = b'x';
    passed_the_check(
        sys!(libc::SYS_ioctl, terminal()?, libc::TIOCSTI, &raw const key),
        LEGACY_OFF,
    )
}

/// The kernel only looks at the low 32 bits of the request.
fn tiocsti_high(_: &[String]) -> Tried {
    let key = b'x';
    let request = libc::TIOCSTI | (1 << 32);
    passed_the_check(
        sys!(libc::SYS_ioctl, terminal()?, request, &raw const key),
        LEGACY_OFF,
    )
}

/// ENOTTY: a pseudoterminal is not a console, which only the driver knows.
fn tioclinux(_: &[String]) -> Tried {
    let paste = 3_u8;
    passed_the_check(
        sys!(
            libc::SYS_ioctl,
            terminal()?,
            libc::TIOCLINUX,
            &raw const paste
        ),
        &[libc::ENOTTY],
    )
}
