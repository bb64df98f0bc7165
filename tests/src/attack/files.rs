//! Attacks on files, directories, FIFOs and shared directories of the host.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::READ_ONLY;
use super::raw::{path, sys, zeroed};
use super::{Attack, Expect, Refused, Tried, argument, attack};

const PERMISSION_DENIED: Expect = Expect::Errno(libc::EACCES);

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("write", "read_only_mounts", READ_ONLY, "write into a file of its own", write),
    attack("append", "read_only_mounts", READ_ONLY, "append to a file of its own", append),
    attack("truncate", "read_only_mounts", READ_ONLY, "truncate a file of its own", truncate),
    attack("create", "read_only_mounts", READ_ONLY, "create a file in a directory of its own", create),
    attack("unlink", "read_only_mounts", READ_ONLY, "remove a file of its own", unlink),
    attack("rename", "read_only_mounts", READ_ONLY, "rename a file of its own", rename),
    attack("chmod", "read_only_mounts", READ_ONLY, "change the mode of a file of its own", chmod),
    attack("utimes", "read_only_mounts", READ_ONLY, "change the times of a file of its own", utimes),
    attack("chown", "read_only_mounts", READ_ONLY, "give a file of its own to its own group", chown),
    attack("setxattr", "read_only_mounts", READ_ONLY, "set an attribute of a file of its own", setxattr),
    attack("chattr", "read_only_mounts", READ_ONLY, "set a flag of a file of its own", chattr),
    attack("link", "read_only_mounts", READ_ONLY, "give a file of its own a second name", link),
    attack("symlink", "read_only_mounts", READ_ONLY, "make a symbolic link", symlink),
    attack("mkdir", "read_only_mounts", READ_ONLY, "make a directory in one of its own", mkdir),
    attack("rmdir", "read_only_mounts", READ_ONLY, "remove a directory of its own", rmdir),
    attack("mkdir-sticky", "read_only_mounts", READ_ONLY, "make a directory in a world-writable one", mkdir),
    attack("atime", "read_only_mounts", Expect::NoEffect, "leave a trace by reading a file", atime),
    attack("fifo", "landlock", PERMISSION_DENIED, "write into a world-writable FIFO that somebody reads", fifo).without_landlock(Expect::Done),
    attack("host-shm", "private_tmp", Expect::NoEffect, "write a file into the host's /dev/shm", create),
    attack("host-tmp", "private_tmp", Expect::NoEffect, "write a file into the host's /tmp", create),
    attack("host-var-tmp", "private_tmp", Expect::NoEffect, "write a file into the host's /var/tmp", create),
    attack("fd-reopen", "read_only_mounts", READ_ONLY, "reopen a read-only descriptor for writing", fd_reopen),
    attack("exe-chmod", "read_only_mounts", READ_ONLY, "change its own program through /proc/self/exe", exe_chmod),
    attack("inherited-fd", "descriptors", Expect::Errno(libc::EBADF), "use a descriptor it inherited", inherited),
    attack("setuid-program", "nosuid", Expect::Errno(libc::EPERM), "gain root by a setuid program", setuid_program),
    attack("shadow", "identity", PERMISSION_DENIED, "read /etc/shadow", read).root(),
    attack("foreign-file", "identity", PERMISSION_DENIED, "read another user's file of mode 0600", read).root(),
    attack("daemon-audit", "identity", PERMISSION_DENIED, "read the daemon's audit log", read).root(),
    attack("daemon-environ", "identity", PERMISSION_DENIED, "read the daemon's environment", read).root(),
    attack("sysctl", "identity", PERMISSION_DENIED, "write a file below /proc/sys", write).root(),
    attack("fiemap", "seccomp_refused", NOT_SUPPORTED, "have a file written out by the question where it lies", fiemap),
    attack("es-cache", "seccomp_refused", NOT_SUPPORTED, "the same by the question what of that is cached", es_cache).absent(&[libc::ENOTTY]),
];

fn write(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new()
        .write(true)
        .open(argument(arguments, 0))?;
    file.write_all(b"attacked\n")?;
    Ok("written".into())
}

fn append(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new()
        .append(true)
        .open(argument(arguments, 0))?;
    file.write_all(b"attacked\n")?;
    Ok("appended".into())
}

fn truncate(arguments: &[String]) -> Tried {
    sys!(libc::SYS_truncate, path(argument(arguments, 0)).as_ptr(), 0)?;
    Ok("truncated".into())
}

fn create(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(argument(arguments, 0))?;
    file.write_all(b"attacked\n")?;
    Ok("created".into())
}

fn unlink(arguments: &[String]) -> Tried {
    fs::remove_file(argument(arguments, 0))?;
    Ok("removed".into())
}

fn rename(arguments: &[String]) -> Tried {
    fs::rename(argument(arguments, 0), argument(arguments, 1))?;
    Ok("renamed".into())
}

fn chmod(arguments: &[String]) -> Tried {
    let name = path(argument(arguments, 0));
    sys!(libc::SYS_fchmodat, libc::AT_FDCWD, name.as_ptr(), 0o666)?;
    Ok("mode changed".into())
}

fn utimes(arguments: &[String]) -> Tried {
    let times = [libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    }; 2];
    let name = path(argument(arguments, 0));
    sys!(
        libc::SYS_utimensat,
        libc::AT_FDCWD,
        name.as_ptr(),
        times.as_ptr(),
        0
    )?;
    Ok("times changed".into())
}

fn chown(arguments: &[String]) -> Tried {
    let name = path(argument(arguments, 0));
    let gid = sys!(libc::SYS_getgid)?;
    sys!(
        libc::SYS_fchownat,
        libc::AT_FDCWD,
        name.as_ptr(),
        -1,
        gid,
        0
    )?;
    Ok("owner changed".into())
}

fn setxattr(arguments: &[String]) -> Tried {
    let (name, key) = (path(argument(arguments, 0)), path("user.attacked"));
    sys!(
        libc::SYS_setxattr,
        name.as_ptr(),
        key.as_ptr(),
        b"yes".as_ptr(),
        3,
        0
    )?;
    Ok("attribute set".into())
}

fn chattr(arguments: &[String]) -> Tried {
    const FS_IOC_GETFLAGS: u64 = 0x8008_6601;
    const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
    const FS_NODUMP_FL: i64 = 0x40;
    let file = File::open(argument(arguments, 0))?;
    let mut flags = 0_i64;
    sys!(
        libc::SYS_ioctl,
        file.as_raw_fd(),
        FS_IOC_GETFLAGS,
        &raw mut flags
    )?;
    flags |= FS_NODUMP_FL;
    sys!(
        libc::SYS_ioctl,
        file.as_raw_fd(),
        FS_IOC_SETFLAGS,
        &raw const flags
    )?;
    Ok("flag set".into())
}

fn link(arguments: &[String]) -> Tried {
    fs::hard_link(argument(arguments, 0), argument(arguments, 1))?;
    Ok("linked".into())
}

fn symlink(arguments: &[String]) -> Tried {
    std::os::unix::fs::symlink("/", argument(arguments, 0))?;
    Ok("linked".into())
}

fn mkdir(arguments: &[String]) -> Tried {
    fs::create_dir(argument(arguments, 0))?;
    Ok("made".into())
}

fn rmdir(arguments: &[String]) -> Tried {
    fs::remove_dir(argument(arguments, 0))?;
    Ok("removed".into())
}

fn atime(arguments: &[String]) -> Tried {
    let mut content = Vec::new();
    File::open(argument(arguments, 0))?.read_to_end(&mut content)?;
    Ok(format!("read {} bytes", content.len()))
}

fn fifo(arguments: &[String]) -> Tried {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    options
        .open(argument(arguments, 0))?
        .write_all(b"attacked\n")?;
    Ok("written".into())
}

/// The core of CVE-2019-5736 and CVE-2024-21626: a descriptor keeps the mount it was opened on.
fn fd_reopen(arguments: &[String]) -> Tried {
    let file = File::open(argument(arguments, 0))?;
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new()
        .write(true)
        .open(again)?
        .write_all(b"attacked\n")?;
    Ok("written".into())
}

/// The program is a copy owned by the job's uid. A running program can never be opened for writing.
fn exe_chmod(_: &[String]) -> Tried {
    let name = path("/proc/self/exe");
    sys!(libc::SYS_fchmodat, libc::AT_FDCWD, name.as_ptr(), 0o777)?;
    Ok("mode changed".into())
}

fn inherited(_: &[String]) -> Tried {
    for fd in 3..1024 {
        if sys!(libc::SYS_fcntl, fd, libc::F_GETFD).is_ok() {
            let name = fs::read_link(format!("/proc/self/fd/{fd}"))?;
            return Ok(format!("descriptor {fd} is open: '{}'", name.display()));
        }
    }
    Err(Refused(libc::EBADF))
}

fn setuid_program(arguments: &[String]) -> Tried {
    let output = Command::new(argument(arguments, 0))
        .arg("euid")
        .arg0("remit-attack")
        .output()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "0" => Ok("became root".into()),
        _ => Err(Refused(libc::EPERM)),
    }
}

fn read(arguments: &[String]) -> Tried {
    let content = fs::read(argument(arguments, 0))?;
    Ok(format!("read {} bytes", content.len()))
}

/// Reads metadata by statx(2), for the checks of [`super::allowed`].
pub fn statx(name: &str) -> Tried {
    let mut status: libc::statx = zeroed();
    let target = path(name);
    sys!(
        libc::SYS_statx,
        libc::AT_FDCWD,
        target.as_ptr(),
        0,
        libc::STATX_BASIC_STATS,
        &raw mut status
    )?;
    Ok(format!("mode {:o}", status.stx_mode))
}

const NOT_SUPPORTED: Expect = Expect::Errno(libc::EOPNOTSUPP);

/// `FS_IOC_FIEMAP`.
fn fiemap(arguments: &[String]) -> Tried {
    extents(0xc020_660b, arguments)
}

/// `EXT4_IOC_GET_ES_CACHE`.
fn es_cache(arguments: &[String]) -> Tried {
    extents(0xc020_662a, arguments)
}

fn extents(number: u32, arguments: &[String]) -> Tried {
    const SYNC: u64 = 1;
    // `struct fiemap`: start, length, flags and counts. No extents are requested.
    let mut question = [0_u64, u64::MAX, SYNC, 0];
    let file = File::open(argument(arguments, 0))?;
    sys!(
        libc::SYS_ioctl,
        file.as_raw_fd(),
        number,
        question.as_mut_ptr()
    )?;
    Ok("answered".into())
}

/// Sends the request of the first argument, in hexadecimal, to the file of the second, with zeroed memory.
pub fn request(arguments: &[String]) -> Tried {
    let number = u32::from_str_radix(argument(arguments, 0), 16).expect("a hexadecimal number");
    let file = File::open(argument(arguments, 1))?;
    // The maximum size that a request number can encode.
    let mut memory = vec![0_u64; 1 << 11];
    sys!(
        libc::SYS_ioctl,
        file.as_raw_fd(),
        number,
        memory.as_mut_ptr()
    )?;
    Ok("answered".into())
}
