//! Attacks by kernel interfaces that a diagnostic does not need.

use super::raw::{path, sys, zeroed};
use super::{Attack, Expect, Tried, argument, attack, passed_the_check};
use super::{NOTHING_THERE, REFUSED};

const UNKNOWN: Expect = Expect::Errno(libc::ENOSYS);
const NO_SOCKET: Expect = Expect::Errno(libc::EAFNOSUPPORT);

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("io-uring", "seccomp_refused", REFUSED, "set up io_uring, which makes sockets past a filter", io_uring),
    #[cfg(target_arch = "x86_64")]
    attack("int80", "seccomp_architecture", Expect::Killed(libc::SIGSYS), "make a 32-bit system call", int80),
    #[cfg(target_arch = "aarch64")]
    attack("arm32", "seccomp_architecture", Expect::Killed(libc::SIGSYS), "make a 32-bit system call", arm32).absent(&[libc::ENOEXEC]),
    #[cfg(target_arch = "x86_64")]
    attack("x32", "seccomp_unknown", UNKNOWN, "make an x32 system call", x32).impossible("kernels are built without x32 today, and then answer the same"),
    attack("unknown-call", "seccomp_unknown", UNKNOWN, "make a system call of a newer kernel", unknown_call).impossible("a kernel that does not know it answers the same"),
    attack("bpf", "seccomp_refused", REFUSED, "make a bpf map", bpf).root(),
    attack("flow-label", "seccomp_sockets", NO_SOCKET, "take one of the 4,096 labels of flows that all networks have", flow_label),
    attack("tcp-key", "seccomp_sockets", NO_SOCKET, "give a socket a key, for which the kernel keeps an algorithm and loads its module", tcp_key).absent(&[libc::ENOPROTOOPT]),
    attack("udp-encap", "seccomp_sockets", NO_SOCKET, "have the kernel patch its code on all processors", udp_encap),
    attack("udp-gro", "seccomp_sockets", NO_SOCKET, "likewise by an option of UDP-Lite, which a UDP socket takes", udp_gro).absent(&[libc::ENOPROTOOPT]),
    attack("futex-hash", "seccomp_refused", NOTHING_THERE, "have the kernel allocate a table for its futexes", futex_hash).absent(&[libc::EINVAL]),
    attack("perf", "seccomp_refused", REFUSED, "count its own events", perf),
    attack("userfaultfd", "seccomp_refused", REFUSED, "handle page faults", userfaultfd),
    attack("add-key", "seccomp_refused", REFUSED, "add a key to a keyring", add_key),
    attack("request-key", "seccomp_refused", REFUSED, "ask for a key, which can start a program as root", request_key),
    attack("join-keyring", "seccomp_refused", REFUSED, "make a session keyring", join_keyring),
    attack("kexec", "seccomp_refused", REFUSED, "load another kernel", kexec).root(),
    attack("init-module", "seccomp_refused", REFUSED, "load a kernel module", init_module).root(),
    attack("finit-module", "seccomp_refused", REFUSED, "load a kernel module from a file", finit_module).root(),
    attack("delete-module", "seccomp_refused", REFUSED, "remove a kernel module", delete_module).root(),
    attack("clock-settime", "seccomp_refused", REFUSED, "set the clock", clock_settime).root(),
    attack("settimeofday", "seccomp_refused", REFUSED, "set the clock by the older call", settimeofday).root(),
    attack("adjtimex", "capabilities", REFUSED, "change the clock's speed", adjtimex).root(),
    attack("clock-adjtime", "capabilities", REFUSED, "change the clock's speed by the newer call", clock_adjtime).root(),
    attack("sethostname", "seccomp_refused", REFUSED, "rename the machine", sethostname).root(),
    attack("setdomainname", "seccomp_refused", REFUSED, "rename its domain", setdomainname).root(),
    attack("quotactl", "seccomp_refused", REFUSED, "change quotas", quotactl).root(),
    attack("swapon", "seccomp_refused", REFUSED, "add swap space", swapon).root(),
    attack("swapoff", "seccomp_refused", REFUSED, "remove swap space", swapoff).root(),
    attack("acct", "seccomp_refused", REFUSED, "switch process accounting", acct).root(),
    attack("syslog", "seccomp_refused", REFUSED, "change what the kernel prints", syslog).root(),
    attack("reboot", "seccomp_refused", REFUSED, "reboot", reboot).root(),
    #[cfg(target_arch = "x86_64")]
    attack("iopl", "seccomp_refused", REFUSED, "get at the ports of devices", iopl).root(),
    #[cfg(target_arch = "x86_64")]
    attack("ioperm", "seccomp_refused", REFUSED, "get at one port of a device", ioperm).root(),
    attack("fanotify", "seccomp_refused", REFUSED, "watch what others open", fanotify),
    attack("personality", "seccomp_refused", REFUSED, "make its memory readable as code", personality),
];

fn io_uring(_: &[String]) -> Tried {
    let mut parameters = [0_u32; 30];
    sys!(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr())?;
    Ok("made".into())
}

#[cfg(target_arch = "x86_64")]
fn int80(_: &[String]) -> Tried {
    match super::raw::int80_getpid() {
        pid if pid > 0 => Ok(format!("pid {pid}")),
        error => Err(super::Refused(-error)),
    }
}

/// A program for 32-bit ARM that calls getpid(2) and exit(2): 64-bit code cannot make such a call.
#[cfg(target_arch = "aarch64")]
#[rustfmt::skip] // one field a line
const ARM32: [u32; 26] = [
    0x464c_457f, 0x0001_0101, 0, 0, // 32-bit, little-endian
    0x0028_0002, 1, // an executable for ARM
    0x0001_0054, 52, 0, // entry, program headers
    0x0500_0200, 0x0020_0034, 0x0028_0001, 0, // EABI 5
    1, 0, 0x0001_0000, 0x0001_0000, 104, 104, 5, 0x1000, // load all of it, readable and executable
    0xe3a0_7014, 0xef00_0000, // getpid()
    0xe3a0_0000, 0xe3a0_7001, 0xef00_0000, // exit(0)
];

/// Ends by the signal that ends the program. ENOEXEC: the kernel or the processor has no 32-bit mode.
#[cfg(target_arch = "aarch64")]
fn arm32(_: &[String]) -> Tried {
    use std::os::unix::process::ExitStatusExt;
    let file = sys!(libc::SYS_memfd_create, path("arm32").as_ptr(), 0)?;
    let program = ARM32.map(u32::to_le_bytes);
    sys!(libc::SYS_write, file, program.as_ptr(), 104)?;
    let status = std::process::Command::new(format!("/proc/self/fd/{file}")).status()?;
    match status.signal() {
        Some(signal) => {
            sys!(libc::SYS_kill, std::process::id(), signal)?;
            Err(super::Refused(libc::EINTR))
        }
        None => Ok(status.to_string()),
    }
}

#[cfg(target_arch = "x86_64")]
fn x32(_: &[String]) -> Tried {
    sys!(0x4000_0000 + libc::SYS_getpid)?;
    Ok("called".into())
}

fn unknown_call(_: &[String]) -> Tried {
    sys!(1000)?;
    Ok("called".into())
}

fn bpf(_: &[String]) -> Tried {
    // BPF_MAP_CREATE of an array: type, key size, value size, entries.
    let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    sys!(libc::SYS_bpf, 0, map.as_ptr(), 64)?;
    Ok("made".into())
}

/// IPV6_FLOWLABEL_MGR. The label is free again 6 s after the socket is closed.
fn flow_label(_: &[String]) -> Tried {
    const MANAGER: i32 = 32;
    const EXCLUSIVE: u8 = 1;
    const CREATE: u8 = 1;
    let socket = sys!(libc::SYS_socket, libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    // `struct in6_flowlabel_req`: address, label, action (get), share, flags, times.
    let mut request = [0_u32; 8];
    request[3] = 1_u32.to_be();
    request[5] = u32::from_ne_bytes([0, EXCLUSIVE, CREATE, 0]);
    sys!(
        libc::SYS_setsockopt,
        socket,
        libc::IPPROTO_IPV6,
        MANAGER,
        request.as_ptr(),
        32
    )?;
    Ok("taken".into())
}

/// TCP_MD5SIG for 127.0.0.1. Few kernels have TCP_AO_ADD_KEY, which names its algorithm.
fn tcp_key(_: &[String]) -> Tried {
    const MD5_SIGNATURE: i32 = 14;
    let socket = sys!(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)?;
    // `struct tcp_md5sig`: address, flags, length of the prefix, that of the key, index, key.
    let mut request = [0_u8; 216];
    request[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    request[4..8].copy_from_slice(&[127, 0, 0, 1]);
    request[130] = 3;
    request[136..139].copy_from_slice(b"key");
    sys!(
        libc::SYS_setsockopt,
        socket,
        libc::IPPROTO_TCP,
        MD5_SIGNATURE,
        request.as_ptr(),
        request.len()
    )?;
    Ok("set".into())
}

/// UDP_ENCAP of SOL_UDP: UDP_ENCAP_L2TPINUDP. The code is as before when the socket is closed.
fn udp_encap(_: &[String]) -> Tried {
    set_on_udp(libc::IPPROTO_UDP, 100, 3)
}

/// UDP_GRO of SOL_UDPLITE.
fn udp_gro(_: &[String]) -> Tried {
    set_on_udp(136, 104, 1)
}

fn set_on_udp(level: i32, option: i32, value: i32) -> Tried {
    let socket = sys!(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys!(
        libc::SYS_setsockopt,
        socket,
        level,
        option,
        &raw const value,
        4
    )?;
    Ok("set".into())
}

/// PR_FUTEX_HASH_SET_SLOTS: as few as the kernel takes.
fn futex_hash(_: &[String]) -> Tried {
    const FUTEX_HASH: i32 = 78;
    sys!(libc::SYS_prctl, FUTEX_HASH, 1, 2, 0, 0)?;
    Ok("allocated".into())
}

fn perf(_: &[String]) -> Tried {
    // PERF_TYPE_SOFTWARE, size, PERF_COUNT_SW_TASK_CLOCK; user space only.
    let mut event = [0_u64; 16];
    event[0] = 1 | (128 << 32);
    event[1] = 1;
    event[5] = (1 << 5) | (1 << 6);
    sys!(libc::SYS_perf_event_open, event.as_ptr(), 0, -1, -1, 0)?;
    Ok("made".into())
}

fn userfaultfd(_: &[String]) -> Tried {
    const USER_MODE_ONLY: i32 = 1;
    sys!(libc::SYS_userfaultfd, USER_MODE_ONLY)?;
    Ok("made".into())
}

const PROCESS_KEYRING: i32 = -2;

fn add_key(_: &[String]) -> Tried {
    let (kind, name) = (path("user"), path("remit-attack"));
    sys!(
        libc::SYS_add_key,
        kind.as_ptr(),
        name.as_ptr(),
        b"x".as_ptr(),
        1,
        PROCESS_KEYRING
    )?;
    Ok("added".into())
}

/// Without callout information no program is started, but the key is still searched.
fn request_key(_: &[String]) -> Tried {
    let (kind, name) = (path("user"), path("remit-attack-none"));
    let result = sys!(
        libc::SYS_request_key,
        kind.as_ptr(),
        name.as_ptr(),
        0,
        PROCESS_KEYRING
    );
    passed_the_check(result, &[libc::ENOKEY])
}

fn join_keyring(_: &[String]) -> Tried {
    const JOIN_SESSION_KEYRING: i32 = 1;
    sys!(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0)?;
    Ok("joined".into())
}

/// EINVAL: the flags are wrong. ENOSYS: the kernel was built without kexec.
fn kexec(_: &[String]) -> Tried {
    passed_the_check(
        sys!(libc::SYS_kexec_load, 0, 0, 0, 0xf0),
        &[libc::EINVAL, libc::ENOSYS],
    )
}

fn init_module(_: &[String]) -> Tried {
    let result = sys!(libc::SYS_init_module, 0, 0, path("").as_ptr());
    passed_the_check(result, &[libc::ENOEXEC, libc::ENOSYS])
}

fn finit_module(_: &[String]) -> Tried {
    let result = sys!(libc::SYS_finit_module, -1, path("").as_ptr(), 0);
    passed_the_check(result, &[libc::EBADF, libc::ENOSYS])
}

fn delete_module(_: &[String]) -> Tried {
    let result = sys!(
        libc::SYS_delete_module,
        path("remit-no-such-module").as_ptr(),
        libc::O_NONBLOCK
    );
    passed_the_check(result, &[libc::ENOENT, libc::ENOSYS])
}

/// Sets the clock to its present value.
fn clock_settime(_: &[String]) -> Tried {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    sys!(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut now)?;
    sys!(
        libc::SYS_clock_settime,
        libc::CLOCK_REALTIME,
        &raw const now
    )?;
    Ok("set".into())
}

fn settimeofday(_: &[String]) -> Tried {
    let mut now = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    sys!(libc::SYS_gettimeofday, &raw mut now, 0)?;
    sys!(libc::SYS_settimeofday, &raw const now, 0)?;
    Ok("set".into())
}

/// Returns settings that change nothing.
fn tick() -> libc::timex {
    const ADJ_TICK: u32 = 0x4000;
    let mut settings: libc::timex = zeroed();
    settings.modes = ADJ_TICK;
    settings.tick = 10_000;
    settings
}

fn adjtimex(_: &[String]) -> Tried {
    let mut settings = tick();
    sys!(libc::SYS_adjtimex, &raw mut settings)?;
    Ok("set".into())
}

fn clock_adjtime(_: &[String]) -> Tried {
    let mut settings = tick();
    sys!(
        libc::SYS_clock_adjtime,
        libc::CLOCK_REALTIME,
        &raw mut settings
    )?;
    Ok("set".into())
}

fn sethostname(_: &[String]) -> Tried {
    sys!(libc::SYS_sethostname, b"attacked".as_ptr(), 8)?;
    Ok("renamed".into())
}

fn setdomainname(_: &[String]) -> Tried {
    sys!(libc::SYS_setdomainname, b"attacked".as_ptr(), 8)?;
    Ok("renamed".into())
}

/// Q_QUOTAON on a path that is not a block device. ENOSYS: the kernel was built without quotas.
fn quotactl(arguments: &[String]) -> Tried {
    const QUOTAON: u32 = 0x8000_0200;
    let device = path(argument(arguments, 0));
    let result = sys!(libc::SYS_quotactl, QUOTAON, device.as_ptr(), 0, 0);
    passed_the_check(
        result,
        &[libc::ENOTBLK, libc::ENODEV, libc::ESRCH, libc::ENOSYS],
    )
}

fn swapon(arguments: &[String]) -> Tried {
    let result = sys!(libc::SYS_swapon, path(argument(arguments, 0)).as_ptr(), 0);
    passed_the_check(result, &[libc::EINVAL, libc::ENOSYS])
}

fn swapoff(arguments: &[String]) -> Tried {
    let result = sys!(libc::SYS_swapoff, path(argument(arguments, 0)).as_ptr());
    passed_the_check(result, &[libc::EINVAL, libc::ENOSYS])
}

/// The directory of the file does not exist.
fn acct(arguments: &[String]) -> Tried {
    let target = path(&format!("{}/none/none", argument(arguments, 0)));
    passed_the_check(
        sys!(libc::SYS_acct, target.as_ptr()),
        &[libc::ENOENT, libc::ENOTDIR, libc::ENOSYS],
    )
}

/// SYSLOG_ACTION_CONSOLE_LEVEL with an invalid level.
fn syslog(_: &[String]) -> Tried {
    passed_the_check(sys!(libc::SYS_syslog, 8, 0, 99), &[libc::EINVAL])
}

/// The magic numbers are missing.
fn reboot(_: &[String]) -> Tried {
    passed_the_check(sys!(libc::SYS_reboot, 0, 0, 0, 0), &[libc::EINVAL])
}

#[cfg(target_arch = "x86_64")]
fn iopl(_: &[String]) -> Tried {
    passed_the_check(sys!(libc::SYS_iopl, 3), &[libc::ENOSYS])
}

#[cfg(target_arch = "x86_64")]
fn ioperm(_: &[String]) -> Tried {
    passed_the_check(sys!(libc::SYS_ioperm, 0x80, 1, 1), &[libc::ENOSYS])
}

fn fanotify(_: &[String]) -> Tried {
    const REPORT_FID: i32 = 0x200;
    sys!(libc::SYS_fanotify_init, REPORT_FID, 0)?;
    Ok("made".into())
}

fn personality(_: &[String]) -> Tried {
    const READ_IMPLIES_EXEC: u64 = 0x0040_0000;
    sys!(libc::SYS_personality, READ_IMPLIES_EXEC)?;
    Ok("changed".into())
}
