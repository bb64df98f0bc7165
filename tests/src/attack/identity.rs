//! Attacks on the job's own identity and limits.

use std::fs;

use super::raw::sys;
use super::{Attack, Expect, Refused, Tried, attack};

const REFUSED: Expect = Expect::Errno(libc::EPERM);
const LACKING: &str =
    "it needs CAP_SYS_RESOURCE, which root of a container or a small machine may lack";

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
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
