//! Attacks on what only `strict` hides or removes: the host's processes and files, and root's permissions by uid; and on the
//! job's own identity and limits.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use super::raw::sys;
use super::{Attack, Expect, Refused, Tried, argument, attack};
use super::{GONE, REFUSED};
use super::{NO_ACCESS, READ_ONLY};

const ANOTHER_INIT: &str =
    "pid 1 is another process outside, of which root of a container may see as little";

/// All attacks, with the result in `strict` under a separate uid.
#[rustfmt::skip] // a table, one row a line
pub const HIDDEN: &[Attack] = &[
    attack("host-process", "pid_namespace", GONE, "see a process of the host", read),
    attack("host-file", "root", GONE, "read a world-readable file that is not listed", read),
    attack("host-file-upwards", "root", GONE, "the same from above its root", read),
    attack("host-scratch", "root", Expect::NoEffect, "write a file into the host's directory beneath a scratch one", create),
    attack("init-root", "proc", GONE, "look into the root of pid 1", list).impossible(ANOTHER_INIT),
    attack("init-environ", "proc", GONE, "read the environment of pid 1", read).impossible(ANOTHER_INIT),
    attack("init-memory", "proc", GONE, "read the memory of pid 1", read_open).impossible(ANOTHER_INIT),
    attack("init-program", "proc", GONE, "open the program of pid 1, which is the daemon's, for writing", write_open).impossible(ANOTHER_INIT),
    attack("namespace-parent", "pid_namespace", REFUSED, "take hold of the pid namespace above its own", namespace_parent).impossible("no namespace shows its parent to those in it"),
    attack("cgroup", "root", GONE, "move processes into a cgroup of the host", write_open).root().optional(),
    attack("sysctl-net", "proc", GONE, "open a network setting of the kernel for writing", write_open).root(),
    attack("sysrq", "proc", GONE, "open the kernel's emergency switch", write_open).root().optional(),
    attack("kernel-log", "root", GONE, "open the kernel's log", write_open).root().optional(),
    attack("oom-score", "proc", READ_ONLY, "change which process memory is taken from", oom_score),
    attack("accounts", "identity", NO_ACCESS, "open the list of accounts for writing", write_open).root(),
    attack("program-file", "identity", NO_ACCESS, "open a file beneath /usr for writing", write_open).root(),
    attack("give-away", "capabilities", REFUSED, "give a file of its own to somebody else", give_away).root(),
    attack("exec-tmp", "noexec", NO_ACCESS, "execute a program that it has written to /tmp", exec_copy),
    attack("map-tmp", "noexec", REFUSED, "map code that it has written to /tmp, as LD_PRELOAD does", map_copy),
    attack("exec-scratch", "noexec", NO_ACCESS, "execute a program that it has written to a scratch directory", exec_copy),
    attack("exec-listed", "noexec", NO_ACCESS, "execute a program in a directory listed for reading", exec),
];

fn read(arguments: &[String]) -> Tried {
    let content = fs::read(argument(arguments, 0))?;
    Ok(format!("read {} bytes", content.len()))
}

fn read_open(arguments: &[String]) -> Tried {
    File::open(argument(arguments, 0))?;
    Ok("opened".into())
}

fn create(arguments: &[String]) -> Tried {
    fs::write(argument(arguments, 0), "attacked\n")?;
    Ok("created".into())
}

fn list(arguments: &[String]) -> Tried {
    let entries = fs::read_dir(argument(arguments, 0))?.count();
    Ok(format!("{entries} entries"))
}

/// Opens without writing, because a write to these files could harm the machine.
fn write_open(arguments: &[String]) -> Tried {
    OpenOptions::new()
        .write(true)
        .open(argument(arguments, 0))?;
    Ok("opened".into())
}

fn namespace_parent(_: &[String]) -> Tried {
    const NS_GET_PARENT: u32 = 0xb702;
    let own = File::open("/proc/self/ns/pid")?;
    sys!(libc::SYS_ioctl, own.as_raw_fd(), NS_GET_PARENT, 0)?;
    Ok("taken".into())
}

/// Writes the present value, which any process may do.
fn oom_score(_: &[String]) -> Tried {
    let now = fs::read_to_string("/proc/self/oom_score_adj")?;
    fs::write("/proc/self/oom_score_adj", now)?;
    Ok("written".into())
}

/// A file that is removed again, because it would persist without a sandbox.
struct Made(String);

impl Made {
    fn inside(directory: &str) -> Self {
        Self(format!("{directory}/remit-attack-{}", std::process::id()))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn give_away(_: &[String]) -> Tried {
    let made = Made::inside("/tmp");
    fs::write(&made.0, "text")?;
    chown(&made.0, Some(1), None)?;
    Ok("given away".into())
}

fn copy_of_itself(directory: &str) -> Result<Made, Refused> {
    let made = Made::inside(directory);
    fs::copy("/proc/self/exe", &made.0)?;
    fs::set_permissions(&made.0, fs::Permissions::from_mode(0o755))?;
    Ok(made)
}

fn exec_copy(arguments: &[String]) -> Tried {
    let copy = copy_of_itself(argument(arguments, 0))?;
    execute(&copy.0)
}

fn exec(arguments: &[String]) -> Tried {
    execute(argument(arguments, 0))
}

fn execute(program: &str) -> Tried {
    Command::new(program).arg("euid").output()?;
    Ok("executed".into())
}

fn map_copy(arguments: &[String]) -> Tried {
    let copy = copy_of_itself(argument(arguments, 0))?;
    let file = File::open(&copy.0)?;
    let prot = libc::PROT_READ | libc::PROT_EXEC;
    sys!(
        libc::SYS_mmap,
        0,
        4096,
        prot,
        libc::MAP_PRIVATE,
        file.as_raw_fd(),
        0
    )?;
    Ok("mapped".into())
}

const LACKING: &str =
    "it needs CAP_SYS_RESOURCE, which root of a container or a small machine may lack";

#[rustfmt::skip] // a table, one row a line
pub const IDENTITY: &[Attack] = &[
    attack("setuid", "capabilities", REFUSED, "become root", setuid).root(),
    attack("setgid", "capabilities", REFUSED, "take the group of root", setgid).root(),
    attack("setgroups", "capabilities", REFUSED, "take another group", setgroups).root(),
    attack("capset", "capabilities", REFUSED, "take a capability", capset).root(),
    attack("ambient", "capabilities", REFUSED, "raise an ambient capability", ambient).root(),
    attack("securebits", "capabilities", REFUSED, "change its securebits", securebits).root(),
    attack("keepcaps", "capabilities", REFUSED, "keep capabilities over a change of uid", keepcaps),
    attack("bounding", "capabilities", REFUSED, "change its bounding set", bounding).root(),
    attack("set-mm", "capabilities", REFUSED, "lie about its own program and arguments", set_mm).impossible(LACKING),
    attack("rlimit", "rlimits", REFUSED, "raise a limit of its own", rlimit).impossible(LACKING),
    attack("renice", "rlimits", Expect::Errno(libc::EACCES), "make itself more important", renice).root(),
    attack("realtime", "rlimits", REFUSED, "run before everybody else", realtime).root(),
    attack("loginuid", "read_only_mounts", Expect::Errno(libc::EROFS), "say that somebody else logged in", loginuid),
    attack("memory-lock", "rlimits", Expect::Errno(libc::ENOMEM), "lock 64 MiB in memory", memory_lock).root(),
];

fn setuid(_: &[String]) -> Tried {
    sys!(libc::SYS_setuid, 0)?;
    Ok("became root".into())
}

fn setgid(_: &[String]) -> Tried {
    sys!(libc::SYS_setgid, 0)?;
    Ok("changed".into())
}

fn setgroups(_: &[String]) -> Tried {
    let root = 0_u32;
    sys!(libc::SYS_setgroups, 1, &raw const root)?;
    Ok("changed".into())
}

fn capset(_: &[String]) -> Tried {
    const VERSION_3: u32 = 0x2008_0522;
    const SYS_ADMIN: u32 = 1 << 21;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; low words, then high words.
    let sets = [SYS_ADMIN, SYS_ADMIN, 0, 0, 0, 0];
    sys!(libc::SYS_capset, header.as_ptr(), sets.as_ptr())?;
    Ok("taken".into())
}

/// The capability must be made inheritable first, so the control only succeeds if root may do that.
fn ambient(_: &[String]) -> Tried {
    const VERSION_3: u32 = 0x2008_0522;
    const CHOWN: u32 = 1;
    let header = [VERSION_3, 0];
    let sets = [CHOWN, CHOWN, CHOWN, 0, 0, 0];
    sys!(libc::SYS_capset, header.as_ptr(), sets.as_ptr())?;
    sys!(
        libc::SYS_prctl,
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE,
        0,
        0,
        0
    )?;
    Ok("raised".into())
}

fn securebits(_: &[String]) -> Tried {
    sys!(libc::SYS_prctl, libc::PR_SET_SECUREBITS, 0)?;
    Ok("changed".into())
}

fn keepcaps(_: &[String]) -> Tried {
    sys!(libc::SYS_prctl, libc::PR_SET_KEEPCAPS, 1)?;
    Ok("kept".into())
}

fn bounding(_: &[String]) -> Tried {
    sys!(libc::SYS_prctl, libc::PR_CAPBSET_DROP, 0)?;
    Ok("changed".into())
}

/// PR_SET_MM_EXE_FILE needs more. An invalid option also reaches the permission check.
fn set_mm(_: &[String]) -> Tried {
    let result = sys!(libc::SYS_prctl, libc::PR_SET_MM, 99, 0, 0, 0);
    super::passed_the_check(result, &[libc::EINVAL])
}

fn rlimit(_: &[String]) -> Tried {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    sys!(
        libc::SYS_prlimit64,
        0,
        libc::RLIMIT_NOFILE,
        0,
        &raw mut limit
    )?;
    limit.rlim_max += 1;
    sys!(
        libc::SYS_prlimit64,
        0,
        libc::RLIMIT_NOFILE,
        &raw const limit,
        0
    )?;
    Ok("raised".into())
}

fn renice(_: &[String]) -> Tried {
    sys!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, -5)?;
    Ok("raised".into())
}

fn realtime(_: &[String]) -> Tried {
    let priority = 1_i32;
    sys!(
        libc::SYS_sched_setscheduler,
        0,
        libc::SCHED_FIFO,
        &raw const priority
    )?;
    Ok("raised".into())
}

/// Any process may set a loginuid that was never set, once.
fn loginuid(_: &[String]) -> Tried {
    fs::write("/proc/self/loginuid", "0")?;
    Ok("changed".into())
}

fn memory_lock(_: &[String]) -> Tried {
    let memory = vec![1_u8; 64 << 20];
    match sys!(libc::SYS_mlock, memory.as_ptr(), memory.len()) {
        Ok(_) => Ok("locked".into()),
        Err(Refused(errno)) => Err(Refused(errno)),
    }
}
