//! The daemon's own files, as far as they lie in fixed places.

use std::path::Path;

/// The programs of the package, and what starts them: whoever writes one of these is root, or rules
/// what root does.
const FIXED: [&str; 12] = [
    "/usr/libexec/remit",
    "/usr/bin/remit",
    "/usr/bin/mcp-shim",
    "/usr/lib/systemd/system/remitd.service",
    "/usr/lib/systemd/system/remitd.socket",
    "/usr/lib/systemd/system/remitd-admin.socket",
    "/usr/lib/sysusers.d/remit.conf",
    "/usr/lib/tmpfiles.d/remit.conf",
    // Where an administrator's units and drop-ins for ours lie, or may come to lie.
    "/etc/systemd/system/remitd.service.d",
    "/run/systemd/system/remitd.service.d",
    "/etc/sysusers.d/remit.conf",
    "/etc/tmpfiles.d/remit.conf",
];

/// The daemon's files and directories, absolute: `dirs` are those of its configuration, of the vendor's
/// files, of its state and of its sockets. No profile may write them, nor what holds them.
pub fn own_files(dirs: &[&Path]) -> Vec<String> {
    let mut all: Vec<String> = FIXED.map(str::to_owned).into();
    // A path that is not UTF-8 cannot stand in a policy, and none above it is lost: they are beside it.
    all.extend(dirs.iter().map(|dir| dir.to_string_lossy().into_owned()));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_given_stand_beside_the_fixed_places() {
        let all = own_files(&[Path::new("/etc/remit"), Path::new("/usr/libexec/remit")]);
        assert_eq!(all.len(), FIXED.len() + 1);
        assert!(all.is_sorted());
        assert!(all.iter().all(|path| path.starts_with('/')));
    }
}
