//! Finds programs that cron, at or systemd start as an agent's account without a login: spools of cron(8) and at(1),
//! crontab(5) files, units with `User=`, lingering managers (loginctl(1)). Timers inside programs are not checked.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use remit_common::cron;
use remit_common::service::UNIT_DIRECTORIES;

use super::agents::AccountFacts;
use super::report::{Check, or_ok};
use crate::checks::file_facts::word;

/// Files that start programs as their owner or the user of their name, as those of cron(8): of at(1), and loginctl(1)
/// enable-linger.
const SPOOLS: [&str; 3] = [
    "/var/spool/cron/atjobs",
    "/var/spool/at",
    "/var/lib/systemd/linger",
];
const CRONTABS: [&str; 2] = ["/etc/crontab", "/etc/cron.d"];
const FILE_BYTES: u64 = 1 << 20;

pub fn checks(account: &AccountFacts) -> Vec<Check> {
    let mut found = spooled(account);
    found.extend(by_crontabs(account, &CRONTABS.map(Path::new)));
    found.extend(by_units(account, &UNIT_DIRECTORIES.map(Path::new)));
    or_ok(
        found,
        &name(account),
        "no crontab, at job, unit with User= or lingering service manager",
    )
}

fn name(account: &AccountFacts) -> String {
    format!("{}: started", account.name)
}

fn spooled(account: &AccountFacts) -> Vec<Check> {
    let is_its = |entry: &DirEntry| {
        let is_own = |meta: Metadata| meta.is_file() && meta.uid() == account.uid;
        entry.file_name() == *account.name || entry.metadata().is_ok_and(is_own)
    };
    let dirs = cron::SPOOLS.iter().chain(&SPOOLS);
    let dirs = dirs.filter_map(|dir| fs::read_dir(dir).ok());
    let files = dirs.flatten().filter_map(Result::ok).filter(is_its);
    let found = files.map(|file| {
        let path = file.path();
        let (shown, user) = (path.display(), &account.name);
        Check::warning(
            name(account),
            format!("'{shown}' has programs started as '{user}', without remit"),
            format!("check what it starts; to end that: rm {}", word(&path)),
        )
    });
    found.collect()
}

/// Parses system crontab(5) lines: five time fields or an `@word`, a user, a command.
fn by_crontabs(account: &AccountFacts, paths: &[&Path]) -> Vec<Check> {
    let mut found = Vec::new();
    for file in paths.iter().flat_map(|path| files(path)) {
        let Some(text) = text(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let before = match words.clone().next() {
                None => continue,
                Some(first) if first.starts_with('#') || first.contains('=') => continue,
                Some(first) if first.starts_with('@') => 1,
                Some(_) => 5,
            };
            // FreeBSD's cron has user:group/class.
            let user = words.nth(before).and_then(|user| user.split(':').next());
            if user == Some(account.name.as_str()) {
                found.push(starts(account, &file, number));
            }
        }
    }
    found
}

fn by_units(account: &AccountFacts, paths: &[&Path]) -> Vec<Check> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let dirs = paths.iter().flat_map(|path| {
        let inner = entries(path)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "d") && path.is_dir());
        inner.chain([path.to_path_buf()]).collect::<Vec<_>>()
    });
    for file in dirs.collect::<Vec<_>>().iter().flat_map(|dir| files(dir)) {
        // Links are aliases of a unit, and /lib may be /usr/lib.
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

fn starts(account: &AccountFacts, file: &Path, number: usize) -> Check {
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

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = match path.is_dir() {
        true => entries(path),
        false => vec![path.to_owned()],
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
    let small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_BYTES);
    let bytes = small.then(|| fs::read(file).ok()).flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::agents::tests::agent;
    use super::*;
    use crate::checks::report::whys;

    #[test]
    fn c14_crontab_lines_and_units_are_named() {
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
