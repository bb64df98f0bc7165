//! Lists the daemon's own files at fixed paths.

use std::path::Path;

/// Programs of the package, and files that create its accounts and directories. A user who can write one of these is
/// root, or controls what root does.
const FIXED: [&str; 7] = [
    "/usr/libexec/remit",
    "/usr/bin/remit",
    "/usr/bin/mcp-shim",
    "/usr/lib/sysusers.d/remit.conf",
    "/usr/lib/tmpfiles.d/remit.conf",
    "/etc/sysusers.d/remit.conf",
    "/etc/tmpfiles.d/remit.conf",
];
/// Each unit can be replaced and extended in several directories (systemd.unit(5)).
const UNITS: [&str; 3] = ["remitd.service", "remitd.socket", "remitd-admin.socket"];
const UNIT_DIRS: [&str; 7] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// Returns the daemon's files and directories, absolute. `dirs` are its directories of configuration, vendor files,
/// state and sockets. No profile may write them or a directory above them.
pub fn own_files(dirs: &[&Path]) -> Vec<String> {
    let units = UNIT_DIRS.iter().flat_map(|dir| {
        let units = UNITS.iter();
        units.flat_map(move |unit| [format!("{dir}/{unit}"), format!("{dir}/{unit}.d")])
    });
    // A path that is not UTF-8 cannot be in a policy. The parts above it that can be there have the same text.
    let dir_paths = dirs.iter().map(|dir| dir.to_string_lossy().into_owned());
    let mut all: Vec<String> = FIXED.map(str::to_owned).into();
    all.extend(units.chain(dir_paths));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn lies_in(all: &[String], path: &str) -> bool {
        all.iter().any(|own| Path::new(path).starts_with(own))
    }

    #[test]
    fn passed_directories_are_added_to_fixed_paths() {
        let all = own_files(&[Path::new("/etc/remit"), Path::new("/usr/libexec/remit")]);
        assert!(all.is_sorted());
        assert!(all.iter().all(|path| path.starts_with('/')));
        for path in [
            "/etc/remit/policy.d/10.toml",
            "/etc/systemd/system/remitd.service",
            "/etc/systemd/system/remitd.socket.d/x.conf",
        ] {
            assert!(lies_in(&all, path), "{path}");
        }
        assert!(!lies_in(&all, "/etc/remit2") && !lies_in(&all, "/usr/bin/ls"));
    }

    /// Every packaged file is covered, except documents, catalogs, presets, completions and configurable paths.
    #[test]
    fn what_the_packages_hold_is_the_daemons_own() {
        const OTHERS: [&str; 5] = [
            "/usr/share/",
            "/usr/lib/systemd/catalog/",
            "/usr/lib/systemd/system-preset/",
            "/etc/remit/",
            "/usr/lib/remit/",
        ];
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cli/Cargo.toml");
        let text = std::fs::read_to_string(manifest).unwrap();
        let all = own_files(&[]);
        let mut seen = 0;
        for asset in text.split("dest = \"").skip(1) {
            let path = asset.split('"').next().unwrap();
            if !OTHERS.iter().any(|dir| path.starts_with(dir)) {
                assert!(lies_in(&all, path), "{path}");
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
    }
}
