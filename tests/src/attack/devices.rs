//! Attacks by device files and terminals.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

use super::raw::{path, sys};
use super::{Attack, Expect, Refused, Tried, argument, attack, passed_the_check};

const NO_DEVICES: Expect = Expect::Errno(libc::EACCES);
const REFUSED: Expect = Expect::Errno(libc::EPERM);

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
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
