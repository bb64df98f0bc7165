//! Attacks by ioctl(2) requests of file systems. Some write a file out although it was opened read-only.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::raw::sys;
use super::{Attack, Expect, Tried, argument, attack};

const NOT_SUPPORTED: Expect = Expect::Errno(libc::EOPNOTSUPP);

/// Attacks that a scene can prepare.
#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("fiemap", "seccomp_refused", NOT_SUPPORTED, "have a file written out by the question where it lies", fiemap),
    attack("es-cache", "seccomp_refused", NOT_SUPPORTED, "the same by the question what of that is cached", es_cache).absent(&[libc::ENOTTY]),
];

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
