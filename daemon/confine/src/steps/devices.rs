//! Devices that every job gets.

/// Path, major and minor number: Documentation/admin-guide/devices.txt of Linux.
pub(crate) const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

pub(crate) const MAX_DEVICES: usize = DEVICES.len();
