//! Finds each host's journal files in the directory of a collector. systemd-journal-remote names them by the sender: its
//! certificate or its address, which the sender cannot choose. What is in a file, it can.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use remit_common::calendar;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;

use crate::error::Failure;

/// Before the sender, in names that systemd-journal-remote gives.
const PREFIX: &[u8] = b"remote-";
const NAME: usize = 100;
const MADE_MS: u64 = 10_000;

#[derive(Debug)]
pub struct HostName {
    /// For people.
    pub name: String,
    /// The part that the names of its files have in common.
    pub stem: OsString,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFile {
    pub path: PathBuf,
    /// Device and inode.
    pub id: (u64, u64),
    pub bytes: u64,
    pub is_regular: bool,
    /// When the collector last wrote to it, in milliseconds since 1970.
    pub changed_ms: u64,
    age: Age,
}

impl JournalFile {
    /// Returns true if the collector may not have completed its header yet.
    pub fn may_be_made_now(&self) -> bool {
        let age_ms = calendar::now_ms().saturating_sub(self.changed_ms);
        self.age == Age::Current && self.is_regular && age_ms < MADE_MS
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Complete: number of its first entry in a sequence of files, both given by the collector.
    Archived {
        sequence: u128,
        first: u64,
    },
    /// Renamed because it was damaged, or not closed.
    Damaged,
    Current,
}

/// Lists all hosts by name. Fails if the directory cannot be read or has no journal file.
pub fn list(dir: &Path) -> Result<Vec<HostName>, Failure> {
    let found = scan(dir, None).map_err(|error| unreadable(dir, &error))?;
    if found.is_empty() {
        let text = format!("there is no journal file in '{}'", dir.display());
        return Err(Failure::Machine(Refusal::new(Code::NotFound, text).lift(
            "give the directory with the files of systemd-journal-remote: --journal /var/log/journal/remote",
        )));
    }
    let hosts = found.keys().map(|stem| HostName {
        name: name(stem, |other| found.contains_key(other)),
        stem: stem.clone(),
    });
    Ok(hosts.collect())
}

/// Lists one host's files in the order in which the collector wrote them.
pub fn of_host(dir: &Path, stem: &OsStr) -> Result<Vec<JournalFile>, Failure> {
    let found = scan(dir, Some(stem)).map_err(|error| unreadable(dir, &error))?;
    Ok(found.into_values().next().unwrap_or_default())
}

/// The host's name without what is the same in all, unless another host has just that name.
pub fn name(stem: &OsStr, is_taken: impl Fn(&OsStr) -> bool) -> String {
    let short = stem.as_bytes().strip_prefix(PREFIX);
    let short = short.filter(|short| !short.is_empty() && !is_taken(OsStr::from_bytes(short)));
    text::line(short.unwrap_or(stem.as_bytes()), NAME)
}

fn scan(dir: &Path, only: Option<&OsStr>) -> io::Result<BTreeMap<OsString, Vec<JournalFile>>> {
    let mut found: BTreeMap<OsString, Vec<JournalFile>> = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some((stem, age)) = parse(entry.file_name().as_bytes()) else {
            continue;
        };
        if only.is_some_and(|only| only != stem) {
            continue;
        }
        let file = match fs::metadata(entry.path()) {
            Ok(file) => file,
            // It was rotated away meanwhile, or the link leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let changed_ms = u64::try_from(file.mtime()).unwrap_or(0) * 1000;
        found.entry(stem).or_default().push(JournalFile {
            path: entry.path(),
            id: (file.dev(), file.ino()),
            bytes: file.len(),
            is_regular: file.is_file(),
            changed_ms,
            age,
        });
    }
    for files in found.values_mut() {
        *files = in_order(std::mem::take(files));
    }
    Ok(found)
}

/// Splits a file's name: `STEM.journal`, `STEM@SEQUENCE-FIRST-TIME.journal`, `STEM@TIME-RANDOM.journal~`.
fn parse(name: &[u8]) -> Option<(OsString, Age)> {
    let stem = |name: &[u8]| (!name.is_empty()).then(|| OsString::from_vec(name.to_vec()));
    if let Some(name) = name.strip_suffix(b".journal~") {
        let length = tail(name, &[16, 16]).map_or(name.len(), |(length, _)| length);
        return Some((stem(name.get(..length)?)?, Age::Damaged));
    }
    let name = name.strip_suffix(b".journal")?;
    let Some((length, numbers)) = tail(name, &[32, 16, 16]) else {
        return Some((stem(name)?, Age::Current));
    };
    let (sequence, first) = (*numbers.first()?, *numbers.get(1)?);
    let first = u64::try_from(first).ok()?;
    Some((
        stem(name.get(..length)?)?,
        Age::Archived { sequence, first },
    ))
}

/// Reads `@HEX-HEX…` of these numbers of digits from the end. Returns the length of what is before it, and the numbers.
fn tail(name: &[u8], digits: &[usize]) -> Option<(usize, Vec<u128>)> {
    let length = digits.iter().sum::<usize>() + digits.len();
    let at = name.len().checked_sub(length)?;
    let rest = std::str::from_utf8(name.get(at..)?.strip_prefix(b"@")?).ok()?;
    let parts: Vec<&str> = rest.split('-').collect();
    let is_hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !parts.iter().all(is_hex)
        || !parts
            .iter()
            .map(|part| part.len())
            .eq(digits.iter().copied())
    {
        return None;
    }
    let numbers = parts.iter().map(|part| u128::from_str_radix(part, 16).ok());
    Some((at, numbers.collect::<Option<_>>()?))
}

/// Orders a host's files as they were written. Times in their names are the sender's, and are not used.
fn in_order(files: Vec<JournalFile>) -> Vec<JournalFile> {
    let mut sequences: BTreeMap<u128, Vec<JournalFile>> = BTreeMap::new();
    let (mut groups, mut current): (Vec<Vec<JournalFile>>, Vec<JournalFile>) = (vec![], vec![]);
    for file in files {
        match file.age {
            Age::Archived { sequence, .. } => sequences.entry(sequence).or_default().push(file),
            Age::Damaged => groups.push(vec![file]),
            Age::Current => current.push(file),
        }
    }
    for mut files in sequences.into_values() {
        files.sort_by_key(|file| match file.age {
            Age::Archived { first, .. } => first,
            Age::Damaged | Age::Current => u64::MAX,
        });
        groups.push(files);
    }
    let last = |files: &Vec<JournalFile>| files.iter().map(|file| file.changed_ms).max();
    groups.sort_by_key(last);
    groups.into_iter().flatten().chain(current).collect()
}

fn unreadable(dir: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot read '{}': {error}", dir.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::NotAllowed(
            Refusal::new(Code::DeniedRule, text)
                .lift("be root, or a member of the group that may read the collector's files"),
        ),
        _ => Failure::Machine(Refusal::new(Code::NotFound, text).lift(
            "give the directory with the files of systemd-journal-remote: --journal /var/log/journal/remote",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "da23ef89b0d84113a280b070f0baee23";

    fn archived(first: u64) -> Age {
        Age::Archived {
            sequence: u128::from_str_radix(ID, 16).unwrap(),
            first,
        }
    }

    #[test]
    fn name_has_sender_and_age() {
        let number = "0000000000000010";
        for (name, expect) in [
            ("remote-web1.journal", Some(("remote-web1", Age::Current))),
            ("web1.journal", Some(("web1", Age::Current))),
            (
                "remote-10.0.0.7.journal",
                Some(("remote-10.0.0.7", Age::Current)),
            ),
            (
                &format!("remote-w@{ID}-{number}-{number}.journal"),
                Some(("remote-w", archived(16))),
            ),
            (
                &format!("remote-w@{number}-{number}.journal~"),
                Some(("remote-w", Age::Damaged)),
            ),
            ("remote-w.journal~", Some(("remote-w", Age::Damaged))),
            // Not of this form: part of a sender's name.
            ("remote-a@b.journal", Some(("remote-a@b", Age::Current))),
            (
                &format!("w@{ID}-{number}.journal"),
                Some((&format!("w@{ID}-{number}"), Age::Current)),
            ),
            (
                &format!("w@{ID}-{number}-00000000000000+1.journal"),
                Some((&format!("w@{ID}-{number}-00000000000000+1"), Age::Current)),
            ),
            (".journal", None),
            (&format!("@{ID}-{number}-{number}.journal"), None),
            ("remote-web1.json", None),
            ("journal", None),
        ] {
            let expect = expect.map(|(stem, age)| (OsString::from(stem), age));
            assert_eq!(parse(name.as_bytes()), expect, "{name}");
        }
    }

    #[test]
    fn files_are_in_the_order_of_the_collector() {
        let file = |name: &str, changed_ms| JournalFile {
            path: name.into(),
            id: (0, 0),
            bytes: 1,
            is_regular: true,
            changed_ms,
            age: parse(name.as_bytes()).unwrap().1,
        };
        let other = "ea23ef89b0d84113a280b070f0baee23";
        let first =
            |id: &str, number: u64| format!("w@{id}-{number:016x}-{:016x}.journal", 99 - number);
        let damaged = format!("w@{:016x}-{:016x}.journal~", 7, 7);
        let files = vec![
            file("w.journal", 1),
            file(&first(other, 5), 50),
            // Copied without its time.
            file(&first(ID, 40), 20),
            file(&first(ID, 1), 30),
            file(&damaged, 40),
        ];
        let names: Vec<String> = in_order(files)
            .iter()
            .map(|file| file.path.display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                first(ID, 1),
                first(ID, 40),
                damaged,
                first(other, 5),
                "w.journal".into()
            ]
        );
    }

    #[test]
    fn short_name_is_unique() {
        let is_taken = |other: &OsStr| other == "web2";
        for (stem, expect) in [
            ("remote-web1", "web1"),
            ("remote-web2", "remote-web2"),
            ("remote-", "remote-"),
            ("remote", "remote"),
            ("a\u{1b}b", "a\\x1bb"),
        ] {
            assert_eq!(name(OsStr::new(stem), is_taken), expect);
        }
    }
}
