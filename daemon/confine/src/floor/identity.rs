//! Who a process is and what it may become.

use super::check;
use std::io;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, of which version 3 has two.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// Every securebit on and locked, but keep-caps, which is off and locked: no uid, set or
/// executed, ever brings capabilities again. capabilities(7).
const SECUREBITS: i32 = 0b1110_1111;

/// Locks the securebits. Needs `CAP_SETPCAP`, unless they are so already: then it changes nothing.
pub(crate) fn lock_securebits() -> io::Result<()> {
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_GET_SECUREBITS) } == SECUREBITS {
        return Ok(());
    }
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS) }.into())?;
    Ok(())
}

/// Capabilities survive the change of uid (a wall that tests switch off).
pub(crate) fn keep_capabilities() -> io::Result<()> {
    // SAFETY: integers only: SECBIT_NO_SETUID_FIXUP.
    check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 4) }.into())?;
    Ok(())
}

/// The securebits, and whether they are as `lock_securebits` leaves them.
pub(crate) fn securebits_locked() -> bool {
    // SAFETY: integers only.
    let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    bits != -1 && bits & SECUREBITS == SECUREBITS
}

/// Empties the bounding set. Needs `CAP_SETPCAP`, unless it is empty: then it only looks.
pub(crate) fn drop_bounding() -> io::Result<()> {
    drop_bounding_but(0)
}

/// Leaves nothing in the bounding set but `kept`. Needs `CAP_SETPCAP` where there is more.
///
/// Looks first: each drop makes the kernel copy and replace this process's credentials.
pub(crate) fn drop_bounding_but(kept: u64) -> io::Result<()> {
    for cap in (0..64).filter(|cap| kept & (1 << cap) == 0) {
        match in_bounding(cap) {
            Ok(false) => {}
            Ok(true) => {
                // SAFETY: integers only.
                check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap) }.into())?;
            }
            // Past the last capability of this kernel.
            Err(e) if cap > 0 && e.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether the bounding set has capability `cap`. EINVAL for what this kernel does not have.
fn in_bounding(cap: u64) -> io::Result<bool> {
    // SAFETY: integers only.
    Ok(check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap) }.into())? == 1)
}

/// Clears the ambient, effective, permitted and inheritable sets.
pub(crate) fn clear_capabilities() -> io::Result<()> {
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
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let none = [CapData::default(); 2];
    // SAFETY: the structures of capset(2), valid for the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })?;
    Ok(())
}

/// User, groups and exactly `kept` in all five sets, so that it survives execve(2) for any uid;
/// securebits locked. Needs a bounding set of no more than `kept`, and `CAP_SETPCAP`.
pub(crate) fn become_user_with(uid: u32, gid: u32, groups: &[u32], kept: u64) -> io::Result<()> {
    // For now without the lock on raising ambient ones.
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

/// Permitted and effective, and inheritable. capset(2).
fn set_capabilities(permitted: u64, inheritable: u64) -> io::Result<()> {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (permitted >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: the structures of capset(2), valid for the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// Whether all five sets are exactly `kept`.
pub(crate) fn has_exactly(kept: u64) -> io::Result<bool> {
    let both = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    let [low, high] = capabilities()?;
    let three = [
        both(low.effective, high.effective),
        both(low.permitted, high.permitted),
        both(low.inheritable, high.inheritable),
    ];
    let (zero, ask) = (0, libc::PR_CAP_AMBIENT_IS_SET);
    let bounds = (0..64).all(|cap: u64| {
        // Past the last capability there is none.
        let bounding = in_bounding(cap).unwrap_or(false);
        // SAFETY: integers only; past the last capability it answers -1.
        let ambient = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, ask, cap, zero, zero) } == 1;
        let wanted = kept & (1 << cap) != 0;
        bounding == wanted && ambient == wanted
    });
    Ok(bounds && three == [kept; 3])
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

/// Whether the effective, permitted and inheritable sets are empty.
pub(crate) fn has_no_capability() -> io::Result<bool> {
    Ok(capabilities()? == [CapData::default(); 2])
}

/// Whether capability `number` is effective.
pub(crate) fn has_capability(number: u32) -> io::Result<bool> {
    let [low, high] = capabilities()?;
    let word = if number < 32 { low } else { high };
    Ok(word.effective & (1 << (number % 32)) != 0)
}

/// Groups, gid and uid, in this order, each in all its forms.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: a valid array of gid_t of the given length.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Whether real, effective and saved ids are exactly these. getresuid(2).
pub(crate) fn is_user(uid: u32, gid: u32) -> bool {
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

/// Supplementary groups into `buf`; how many.
pub(crate) fn groups(buf: &mut [u32]) -> io::Result<usize> {
    let len = i32::try_from(buf.len()).unwrap_or(i32::MAX);
    // SAFETY: a valid array of that length.
    let n = unsafe { libc::getgroups(len, buf.as_mut_ptr()) };
    Ok(check(n.into())? as usize)
}

/// SIGKILL for this process when the thread that forked it ends. Any later change of identity
/// undoes it. prctl(2).
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }.into())?;
    Ok(())
}

/// No execve(2) gives more rights from here on.
pub(crate) fn no_new_privs() -> io::Result<()> {
    // SAFETY: integers only; the unused ones must be zero.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    Ok(())
}

/// Whether `no_new_privs` holds.
pub(crate) fn has_no_new_privs() -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// No core, no ptrace and no `/proc/PID` secrets of this process for others of its uid.
/// prctl(2).
pub fn set_dumpable(yes: bool) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, i32::from(yes), 0, 0, 0) }.into())?;
    Ok(())
}

/// A new, anonymous session keyring. keyctl(2).
pub(crate) fn new_session_keyring() -> io::Result<()> {
    let (join, anonymous) = (1, std::ptr::null::<libc::c_char>());
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with no name.
    check(unsafe { libc::syscall(libc::SYS_keyctl, join, anonymous) })?;
    Ok(())
}

/// The serial of the session keyring, never made by asking.
pub(crate) fn session_keyring() -> io::Result<i64> {
    let (get_id, session, create) = (0, -3, 0);
    // SAFETY: KEYCTL_GET_KEYRING_ID, integers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, get_id, session, create) })
}

/// The filter, for this process and all it will be. seccomp(2).
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    install_filter_with(program, 0)
}

/// `SECCOMP_FILTER_FLAG_LOG`: what the filter refuses is told to the kernel's audit.
pub(crate) const FILTER_LOG: libc::c_ulong = 1 << 1;

/// The same with flags of seccomp(2).
pub(crate) fn install_filter_with(
    program: &[libc::sock_filter],
    flags: libc::c_ulong,
) -> io::Result<()> {
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
    })?;
    Ok(())
}
