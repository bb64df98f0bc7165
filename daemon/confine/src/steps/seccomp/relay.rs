//! The filter of the relay: TCP connections, and nothing else.

use super::bpf::Program;
use super::rule::{Check, Rule, Want};
use super::rules::exactly;
use crate::Result;

#[rustfmt::skip]
const CALLS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    libc::SYS_ppoll, libc::SYS_accept4, libc::SYS_connect, libc::SYS_recvfrom, libc::SYS_sendto,
    libc::SYS_shutdown, libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_read, libc::SYS_write,
    libc::SYS_close, libc::SYS_nanosleep, libc::SYS_clock_gettime, libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

const SOCKET: &[Check] = &[
    Check {
        arg: 0,
        mask: !0,
        want: Want::OneOf(&[libc::AF_INET as u32, libc::AF_INET6 as u32]),
        errno: libc::EPERM as u16,
    },
    Check {
        arg: 1,
        mask: 0xf,
        want: Want::OneOf(&[libc::SOCK_STREAM as u32]),
        errno: libc::EPERM as u16,
    },
    Check {
        arg: 2,
        mask: !0,
        want: Want::OneOf(&[0]),
        errno: libc::EPERM as u16,
    },
];

pub(crate) fn relay() -> Result<Program> {
    let socket = (libc::SYS_socket, Rule::Checked(SOCKET));
    let allowed = CALLS.iter().map(|number| (*number, Rule::Allow));
    exactly(allowed.chain([socket]))
}
