//! Directories of packages, in which a walk through the machine need not look, and their set-id programs.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use remit_core::view::PRIVATE;

use remit_core::mount_table::is_in;

/// Directories of packages with many names, where nobody keeps what is private. All others are looked at.
const PACKAGES: [&[u8]; 7] = [
    b"usr/include",
    b"usr/lib/debug",
    b"usr/lib/firmware",
    b"usr/lib/modules",
    b"usr/share/doc",
    b"usr/share/locale",
    b"usr/share/man",
];
/// Directories in which packages have set-id programs that not everybody may read, and anybody can get: hidden, they could
/// not be upgraded.
const PROGRAMS: [&[u8]; 8] = [
    b"usr/bin",
    b"usr/sbin",
    b"usr/games",
    b"usr/lib",
    b"usr/lib32",
    b"usr/lib64",
    b"usr/libx32",
    b"usr/libexec",
];

pub(super) fn is_set_id_program(
    dir: &OwnedFd,
    name: &CStr,
    is_of_system: bool,
    path: &[u8],
) -> bool {
    let is_of_programs = is_of_system && PROGRAMS.iter().any(|dir| is_in(path, dir));
    let is_set_id = || {
        let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| stat.st_uid == 0 && stat.st_mode & 0o6000 != 0)
    };
    is_of_programs && is_set_id()
}

pub(super) fn is_left_out(is_of_system: bool, path: &[u8]) -> bool {
    let is_private = PRIVATE.iter().any(|own| own.as_bytes() == path);
    let is_of_packages = || PACKAGES.iter().any(|packages| is_in(path, packages));
    is_private || (is_of_system && is_of_packages())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_directories_and_packages_are_left_out() {
        for (path, is_out) in [
            ("etc", false),
            ("proc", true),
            ("var/tmp", true),
            ("srv/tmp", false),
            ("usr", false),
            ("usr/lib", false),
            ("usr/lib/x", false),
            ("usr/lib/modules/6.1", true),
            ("usr/bin", false),
            ("usr/share", false),
            ("usr/share/keys", false),
            ("usr/share/doc", true),
            ("usr/local", false),
            ("usr/sap", false),
            ("usrx", false),
        ] {
            assert_eq!(is_left_out(true, path.as_bytes()), is_out, "{path}");
        }
    }

    #[test]
    fn other_mounts_have_no_packages() {
        assert!(!is_left_out(false, b"usr/lib/modules"));
        assert!(is_left_out(false, b"var/tmp"));
    }
}
