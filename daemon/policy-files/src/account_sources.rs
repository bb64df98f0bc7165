//! Finds out if all accounts of this machine are in its own files, as nsswitch.conf(5) says.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Directories of records of users and groups that nss-systemd(8) reads.
const RECORDS: [&str; 5] = [
    "etc/userdb",
    "run/userdb",
    "run/host/userdb",
    "usr/local/lib/userdb",
    "usr/lib/userdb",
];
const SERVICES: &str = "run/systemd/userdb";
/// Services of systemd whose accounts are in files, or are made for units and containers while these run. Not here: Home.
const OWN_SERVICES: [&str; 6] = [
    "io.systemd.DropIn",
    "io.systemd.DynamicUser",
    "io.systemd.Machine",
    "io.systemd.Multiplexer",
    "io.systemd.NameServiceSwitch",
    "io.systemd.NamespaceResource",
];

/// Returns true if accounts or groups of the machine beneath `root` come from more than its files and systemd's own users. Also
/// if that is not known.
pub(crate) fn has_directory(root: &Path) -> bool {
    let Ok(text) = fs::read_to_string(root.join("etc/nsswitch.conf")) else {
        return true;
    };
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let lines = lines.filter(|(name, _)| ["passwd", "group", "initgroups"].contains(&name.trim()));
    let mut sources = lines.flat_map(|(_, sources)| {
        let sources = sources.split('#').next().unwrap_or_default();
        sources.split_ascii_whitespace()
    });
    let is_local = |source: &str| source == "files" || source == "systemd" && !has_records(root);
    sources.any(|source| !is_local(source) && !source.starts_with('[') && !source.ends_with(']'))
}

/// Returns true if nss-systemd(8) has records of users or groups, or asks a service that may have some, such as systemd-homed.
fn has_records(root: &Path) -> bool {
    let names = |directory: &str| {
        let entries = fs::read_dir(root.join(directory)).into_iter().flatten();
        entries.flatten().map(|entry| entry.file_name())
    };
    let is_record = |name: OsString| {
        let end = Path::new(&name).extension().and_then(|end| end.to_str());
        end.is_some_and(|end| ["user", "group", "membership"].contains(&end))
    };
    let is_other = |name: OsString| !OWN_SERVICES.iter().any(|own| name == *own);
    RECORDS
        .iter()
        .any(|directory| names(directory).any(is_record))
        || names(SERVICES).any(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_any_source_but_files_of_this_machine() {
        const SYSTEMD: &str =
            "passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\nhosts: files dns\n";
        let own = OWN_SERVICES.map(|name| format!("{SERVICES}/{name}"));
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let rows: [(Option<&str>, &[&str], bool); 15] = [
            (None, &[], true),
            (Some(""), &[], false),
            (Some(SYSTEMD), &[], false),
            (Some("passwd: files # sss\n# group: ldap\n"), &[], false),
            // Entries with a plus lead to another source.
            (Some("passwd: compat\n"), &[], true),
            (Some("passwd: files sss\n"), &[], true),
            (
                Some("group:\tfiles [NOTFOUND=return SUCCESS=continue] ldap\n"),
                &[],
                true,
            ),
            (Some("initgroups: winbind"), &[], true),
            (Some(SYSTEMD), &own, false),
            (Some(SYSTEMD), &["run/systemd/userdb/io.systemd.Home"], true),
            (
                Some(SYSTEMD),
                &["run/systemd/userdb/org.example.Ldap"],
                true,
            ),
            (Some(SYSTEMD), &["etc/userdb/ann.user"], true),
            (Some(SYSTEMD), &["run/host/userdb/ops.group"], true),
            (Some(SYSTEMD), &["usr/lib/userdb/README"], false),
            (
                Some("passwd: files\n"),
                &["etc/userdb/ann.user", "run/systemd/userdb/io.systemd.Home"],
                false,
            ),
        ];
        for (at, (text, files, expect)) in rows.into_iter().enumerate() {
            let name = format!("remit-account-sources-{}-{at}", std::process::id());
            let root = std::env::temp_dir().join(name);
            let nsswitch = text.map(|text| ("etc/nsswitch.conf", text));
            let files = files.iter().map(|file| (*file, ""));
            for (file, text) in nsswitch.into_iter().chain(files) {
                let file = root.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            let found = has_directory(&root);
            let _ = fs::remove_dir_all(&root);
            assert_eq!(found, expect, "row {at}");
        }
    }
}
