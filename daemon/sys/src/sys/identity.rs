//! Reads and sets the identity and the rights of a process: ids, capabilities, keyring, `no_new_privs`, filter.

use super::{check, owned};
use std::{io, os::fd::OwnedFd};

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// Securebits on and locked, keep-caps off and locked: no change of uid and no execve(2) gives capabilities again.
const SECUREBITS: i32 = 0b1110_1111;

/// Locks the securebits. Needs `CAP_SETPCAP`, unless they are locked already: then it changes nothing.
pub fn lock_securebits() -> io::Result<()> {
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_GET_SECUREBITS) } == SECUREBITS {
        return Ok(());
    }
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS) }.into())?;
    Ok(())
}

/// Keeps capabilities over the change of uid: how tests switch off `Layer::Capabilities`.
pub fn keep_capabilities() -> io::Result<()> {
    // SAFETY: integers only: SECBIT_NO_SETUID_FIXUP.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 4) }.into())?;
    Ok(())
}

pub fn securebits_locked() -> bool {
    // SAFETY: integers only.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    bits != -1 && bits & SECUREBITS == SECUREBITS
}

pub fn drop_bounding() -> io::Result<()> {
    drop_bounding_but(0)
}

/// Drops all but `kept` from the bounding set (`CAP_SETPCAP`). Reads first: each drop replaces the credentials.
pub fn drop_bounding_but(kept: u64) -> io::Result<()> {
    for cap in (0..64).filter(|cap| kept & (1 << cap) == 0) {
        match in_bounding(cap) {
            Ok(false) => {}
            Ok(true) => {
                // SAFETY: integers only.
                check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap) }.into())?;
            }
            // The number is past the last capability of this kernel.
            Err(e) if cap > 0 && e.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn in_bounding(cap: u64) -> io::Result<bool> {
    // SAFETY: integers only.
    Ok(check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap) }.into())? == 1)
}

pub fn clear_capabilities() -> io::Result<()> {
    // SAFETY: integers only.
    let cleared = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    check(cleared.into())?;
    write_capabilities(&[CapData::default(); 2])
}

/// Sets user, groups and exactly `kept` in all five sets, so that it survives execve(2) for any uid. Locks the
/// securebits. Needs `CAP_SETPCAP` and a bounding set of at most `kept`.
pub fn become_user_with(uid: u32, gid: u32, groups: &[u32], kept: u64) -> io::Result<()> {
    // Ambient capabilities can still be raised; the lock on that follows below.
    let open = SECUREBITS & 0b0011_1111;
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, open) }.into())?;
    become_user(uid, gid, groups)?;
    let setpcap = 1 << 8;
    set_capabilities(kept | setpcap, kept)?;
    let (zero, raise) = (0, libc::PR_CAP_AMBIENT_RAISE);
    for cap in (0..64).filter(|cap| kept & (1 << cap) != 0) {
        // SAFETY: integers only.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, cap, zero, zero) }.into())?;
    }
    lock_securebits()?;
    set_capabilities(kept, kept)
}

fn set_capabilities(permitted: u64, inheritable: u64) -> io::Result<()> {
    let half = |shift: u32| CapData {
        effective: (permitted >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    write_capabilities(&[half(0), half(32)])
}

/// Gives up all capabilities outside `kept`, in all sets, also for later programs of root. Needs `CAP_SETPCAP`.
pub fn keep_only_capabilities(kept: u64) -> io::Result<()> {
    drop_bounding_but(kept)?;
    set_capabilities(permitted()? & kept, 0)
}

/// Takes `CAP_SYS_ADMIN`, if this process may.
pub fn raise_sys_admin() -> io::Result<()> {
    const SYS_ADMIN: u64 = 1 << 21;
    set_capabilities(permitted()? | SYS_ADMIN, 0)
}

fn permitted() -> io::Result<u64> {
    let [low, high] = capabilities()?;
    Ok(u64::from(high.permitted) << 32 | u64::from(low.permitted))
}

/// Returns true if neither this process nor a program that it executes has another capability.
pub fn has_at_most(kept: u64) -> io::Result<bool> {
    let is_other = |cap: &u64| kept & (1 << cap) == 0;
    let mut others = (0..64).filter(is_other);
    let bounded = !others.any(|cap| in_bounding(cap).unwrap_or(false));
    Ok(bounded && permitted()? & !kept == 0)
}

pub fn has_exactly(kept: u64) -> io::Result<bool> {
    let both = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    let [low, high] = capabilities()?;
    let three = [
        both(low.effective, high.effective),
        both(low.permitted, high.permitted),
        both(low.inheritable, high.inheritable),
    ];
    let (zero, ask) = (0, libc::PR_CAP_AMBIENT_IS_SET);
    let bounds = (0..64).all(|cap: u64| {
        let bounding = in_bounding(cap).unwrap_or(false);
        // SAFETY: integers only; past the last capability it returns -1.
        let ambient = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, ask, cap, zero, zero) } == 1;
        let wanted = kept & (1 << cap) != 0;
        bounding == wanted && ambient == wanted
    });
    Ok(bounds && three == [kept; 3])
}

/// Does `work` with only those capabilities that are in `kept`, also those that setfsuid(2) took, then restores the former
/// ones. For a process of one thread. capset(2). On an error `work` was not done, or its result is dropped.
pub fn with_capabilities<T>(kept: u64, work: impl FnOnce() -> T) -> io::Result<T> {
    let before = capabilities()?;
    let [mut low, mut high] = before;
    low.effective = low.permitted & kept as u32;
    high.effective = high.permitted & (kept >> 32) as u32;
    write_capabilities(&[low, high])?;
    let done = work();
    write_capabilities(&before)?;
    Ok(done)
}

fn write_capabilities(data: &[CapData; 2]) -> io::Result<()> {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    // SAFETY: the structures of capset(2), valid for the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

fn capabilities() -> io::Result<[CapData; 2]> {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: the structures of capget(2), valid for the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    Ok(data)
}

pub fn has_no_capability() -> io::Result<bool> {
    Ok(capabilities()? == [CapData::default(); 2])
}

pub fn has_capability(number: u32) -> io::Result<bool> {
    let [low, high] = capabilities()?;
    let word = if number < 32 { low } else { high };
    Ok(word.effective & (1 << (number % 32)) != 0)
}

/// Sets groups, gid and uid, in this order; the ids are real, effective and saved.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: a valid array of gid_t of the given length.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

pub fn is_user(uid: u32, gid: u32) -> bool {
    let (mut r, mut e, mut s) = (0u32, 0u32, 0u32);
    // SAFETY: three valid pointers.
    let uids = unsafe { libc::getresuid(&raw mut r, &raw mut e, &raw mut s) } == 0;
    if !uids || [r, e, s] != [uid; 3] {
        return false;
    }
    // SAFETY: three valid pointers.
    let gids = unsafe { libc::getresgid(&raw mut r, &raw mut e, &raw mut s) } == 0;
    gids && [r, e, s] == [gid; 3]
}

pub fn groups(buf: &mut [u32]) -> io::Result<usize> {
    let len = i32::try_from(buf.len()).unwrap_or(i32::MAX);
    // SAFETY: a valid array of that length.
    let n = unsafe { libc::getgroups(len, buf.as_mut_ptr()) };
    Ok(check(n.into())? as usize)
}

/// Asks for SIGKILL when the thread that forked this process ends. A later change of identity undoes it. prctl(2).
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }.into())?;
    Ok(())
}

pub fn no_new_privs() -> io::Result<()> {
    // SAFETY: integers only; the unused ones must be zero.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    Ok(())
}

pub fn has_no_new_privs() -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// With `false`: no core dump, no ptrace and no `/proc/PID` secrets for other processes of its uid. prctl(2).
pub fn set_dumpable(yes: bool) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, i32::from(yes), 0, 0, 0) }.into())?;
    Ok(())
}

pub fn new_session_keyring() -> io::Result<()> {
    let (join, anonymous) = (1, std::ptr::null::<libc::c_char>());
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with no name.
    check(unsafe { libc::syscall(libc::SYS_keyctl, join, anonymous) })?;
    Ok(())
}

pub fn session_keyring() -> io::Result<i64> {
    let (get_id, session, create) = (0, -3, 0);
    // SAFETY: KEYCTL_GET_KEYRING_ID, integers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, get_id, session, create) })
}

pub fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    install_filter_with(program, 0)
}

/// `SECCOMP_FILTER_FLAG_LOG`: the kernel's audit reports what the filter refuses.
pub const FILTER_LOG: libc::c_ulong = 1 << 1;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: returns a descriptor that gets the calls which the program answers with
/// `SECCOMP_RET_USER_NOTIF`. seccomp_unotify(2).
const NEW_LISTENER: libc::c_ulong = 1 << 3;

/// Installs a filter, and returns its listener, closed on exec. A process and its children can have one such filter.
pub fn install_filter_with_listener(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let listener = install(program, NEW_LISTENER)?;
    Ok(owned(i32::try_from(listener).map_err(io::Error::other)?))
}

pub fn install_filter_with(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<()> {
    install(program, flags).map(drop)
}

fn install(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: a program of `len` instructions that the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
}
