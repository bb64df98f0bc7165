//! Files of the base set of `strict` sandboxes that can be links: one into `/usr` stays a link, others that only the
//! administrator makes are followed when the profile is compiled. `remit policy check` passes over them.

pub const PROGRAMS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

pub const FILES: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/alternatives",
];

/// Only on the host's network. The second is often a link to a file that a service keeps up to date.
pub const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
