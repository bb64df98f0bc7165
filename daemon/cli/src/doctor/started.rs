//! What is started as an agent's account without a login: by cron, at and systemd.
//!
//! Looked at are the spool directories of cron(8) and at(1), crontab(5) files of the system, unit files of the system with
//! `User=`, and lingering managers (loginctl(1)). Timers of a program's own and units that a generator makes are not.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::agents::Account;
use super::check::{Check, or_ok};
use super::place::word;

/// Whose files here, by owner or name, have programs started: cron(8), at(1), and the user's own
/// service manager (loginctl(1), enable-linger).
const SPOOLS: [&str; 5] = [
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
    "/var/spool/cron/atjobs",
    "/var/spool/at",
    "/var/lib/systemd/linger",
];
/// Crontabs whose lines name a user, and directories of such.
const CRONTABS: [&str; 2] = ["/etc/crontab", "/etc/cron.d"];
/// Where systemd looks for units of the system (systemd.unit(5)).
const UNITS: [&str; 8] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The most bytes of a file that is read.
const FILE: u64 = 1 << 20;

/// What is started as `account` without a login. Needs root.
pub fn checks(account: &Account) -> Vec<Check> {
    let mut found = spooled(account);
    found.extend(by_crontabs(account, &CRONTABS.map(Path::new)));
    found.extend(by_units(account, &UNITS.map(Path::new)));
    or_ok(
        found,
        &name(account),
        "nothing by crontabs, at jobs, units with User=, a manager that lingers",
    )
}

fn name(account: &Account) -> String {
    format!("{}: started", account.name)
}

fn spooled(account: &Account) -> Vec<Check> {
    let is_its = |entry: &DirEntry| {
        let is_own = |meta: Metadata| meta.is_file() && meta.uid() == account.uid;
        entry.file_name() == *account.name || entry.metadata().is_ok_and(is_own)
    };
    let dirs = SPOOLS.iter().filter_map(|dir| fs::read_dir(dir).ok());
    let files = dirs.flatten().filter_map(Result::ok).filter(is_its);
    let found = files.map(|file| {
        let path = file.path();
        let (shown, user) = (path.display(), &account.name);
        Check::warning(
            name(account),
            format!("'{shown}' has programs started as '{user}', without remit"),
            format!("look at it, and: rm {}", word(&path)),
        )
    });
    found.collect()
}

/// Lines of crontab(5) in the form of the system: five times or an `@word`, a user, a command.
fn by_crontabs(account: &Account, places: &[&Path]) -> Vec<Check> {
    let mut found = Vec::new();
    for file in places.iter().flat_map(|place| files(place)) {
        let Some(text) = text(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let before = match words.clone().next() {
                None => continue,
                // A comment, or a variable.
                Some(first) if first.starts_with('#') || first.contains('=') => continue,
                Some(first) if first.starts_with('@') => 1,
                Some(_) => 5,
            };
            // FreeBSD's cron has user:group/class, others the name.
            let user = words.nth(before).and_then(|user| user.split(':').next());
            if user == Some(account.name.as_str()) {
                found.push(starts(account, &file, number));
            }
        }
    }
    found
}

/// Unit files and their drop-ins with `User=` of this account.
fn by_units(account: &Account, places: &[&Path]) -> Vec<Check> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let dirs = places.iter().flat_map(|place| {
        let inner = entries(place)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "d") && path.is_dir());
        inner.chain([place.to_path_buf()]).collect::<Vec<_>>()
    });
    for file in dirs.collect::<Vec<_>>().iter().flat_map(|dir| files(dir)) {
        // Links are other names of a unit, and /lib may be /usr/lib.
        let Ok(real) = file.canonicalize() else {
            continue;
        };
        if !seen.insert(real) {
            continue;
        }
        let Some(text) = text(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let Some((key, user)) = line.split_once('=') else {
                continue;
            };
            let user = user.trim();
            let is_its = user == account.name || user.parse() == Ok(account.uid);
            if key.trim() == "User" && is_its {
                found.push(starts(account, &file, number));
            }
        }
    }
    found
}

fn starts(account: &Account, file: &Path, number: usize) -> Check {
    let user = &account.name;
    Check::warning(
        name(account),
        format!(
            "'{}':{} has a program started as '{user}', without remit",
            file.display(),
            number + 1
        ),
        "look at it: what it starts is not recorded, and may obey what the agent writes",
    )
}

/// The file itself, or the plain files in a directory.
fn files(place: &Path) -> Vec<PathBuf> {
    let mut files = match place.is_dir() {
        true => entries(place),
        false => vec![place.to_owned()],
    };
    files.retain(|file| file.is_file());
    files
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

fn text(file: &Path) -> Option<String> {
    let small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE);
    let bytes = small.then(|| fs::read(file).ok()).flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::agents::tests::agent;
    use super::super::check::whys;
    use super::*;

    #[test]
    fn c14_lines_and_units_of_the_account_are_named() {
        let dir = std::env::temp_dir().join(format!("remit-started-{}", std::process::id()));
        let units = dir.join("units");
        fs::create_dir_all(units.join("a.service.d")).unwrap();
        fs::create_dir_all(dir.join("cron.d")).unwrap();
        let cron = "# m h * * * agent x\nPATH=/bin agent x y z agent\n17 * * * * root agent\n\
                    5 4 * * * agent /bin/x\n@reboot agent x\n";
        fs::write(dir.join("cron.d/one"), cron).unwrap();
        fs::write(units.join("a.service"), "[Service]\nUser=bob\n").unwrap();
        fs::write(
            units.join("a.service.d/user.conf"),
            "[Service]\n User = agent \n",
        )
        .unwrap();
        fs::write(units.join("b.service"), "[Service]\nUser=1001\n").unwrap();
        std::os::unix::fs::symlink("b.service", units.join("c.service")).unwrap();
        let account = agent(&[]);
        let crontabs = [dir.join("cron.d")];
        let crontabs = crontabs.each_ref().map(PathBuf::as_path);
        let found = [
            whys(&by_crontabs(&account, &crontabs)),
            whys(&by_units(&account, &[&units])),
        ]
        .concat();
        fs::remove_dir_all(&dir).unwrap();
        let ends = ["one':4", "one':5", "user.conf':2", "b.service':2"];
        assert_eq!(found.len(), ends.len(), "{found:?}");
        for (found, end) in found.iter().zip(ends) {
            assert!(
                found.contains(&format!("{end} has a program started")),
                "{found}"
            );
        }
    }
}
