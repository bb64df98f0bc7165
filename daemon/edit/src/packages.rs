//! Debian packages of a plan in words. dpkg keeps a list of files of each package; that a plan makes, changes or removes such a
//! list is what is known, whatever else the plan does. Versions are those of the new status, if its bytes are known. A requester
//! can write both: what dpkg would not take for a name or a version is no word of remit's.

use std::collections::BTreeMap;
use std::fmt;

use remit_plan::dpkg::{INFO, word};
use remit_plan::{Change, View};

const STATUS: &[u8] = b"/var/lib/dpkg/status";
/// Bytes of all packages of one kind.
const WORDS: usize = 512;
const BY: &str = "by dpkg's lists it";

/// What becomes of packages, each as `NAME VERSION`, sorted; first how many have a name that is not shown. It is shown as one
/// line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    pub installed: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PackageChange {
    Installed,
    Changed,
    Removed,
}

impl PackageChange {
    const fn of(change: &Change) -> Self {
        match change {
            Change::Create { .. } => Self::Installed,
            Change::Remove { .. } => Self::Removed,
            Change::Replace { .. } | Change::ReplaceKind { .. } | Change::SetMetadata { .. } => {
                Self::Changed
            }
        }
    }
}

/// Returns `None` for a plan without packages.
pub fn packages<'a>(views: impl Iterator<Item = View<'a>>) -> Option<Packages> {
    let (mut lists, mut others) = (BTreeMap::new(), BTreeMap::new());
    let mut status = None;
    for view in views {
        let path = view.entry.path.as_bytes();
        if path == STATUS {
            status = view.new;
        }
        let file = path.strip_prefix(INFO);
        let file = file.and_then(|rest| rest.strip_prefix(b"/"));
        let Some(file) = file.filter(|file| !file.contains(&b'/')) else {
            continue;
        };
        let kind = PackageChange::of(&view.entry.change);
        match (file.strip_suffix(b".list"), file.strip_suffix(b".md5sums")) {
            (Some(name), _) => match word(name) {
                Some(name) => _ = lists.insert(name, kind),
                None => *others.entry(kind).or_insert(0) += 1,
            },
            // Another version can have the same files.
            (_, Some(name)) => {
                if let Some(name) = word(name) {
                    lists.entry(name).or_insert(PackageChange::Changed);
                }
            }
            _ => {}
        }
    }
    if lists.is_empty() && others.is_empty() {
        return None;
    }
    let versions = versions(status.unwrap_or_default());
    let mut packages = Packages::default();
    for (name, kind) in lists {
        let version = versions
            .get(name)
            .filter(|_| kind != PackageChange::Removed);
        packages.of(kind).push(match version {
            Some(version) => format!("{name} {version}"),
            None => name.to_owned(),
        });
    }
    for kind in [
        PackageChange::Installed,
        PackageChange::Changed,
        PackageChange::Removed,
    ] {
        packages.of(kind).sort_unstable();
        if let Some(count) = others.get(&kind) {
            // First, as what comes later can be counted only.
            let others = format!("{count} with other names");
            packages.of(kind).insert(0, others);
        }
    }
    Some(packages)
}

/// Returns the version of each package by the names that its list can have: with its architecture, or without.
fn versions(status: &[u8]) -> BTreeMap<String, &str> {
    let mut versions = BTreeMap::new();
    let [mut name, mut architecture, mut version]: [Option<&str>; 3] = [None; 3];
    for line in status.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        let value = |field: &[u8]| word(line.strip_prefix(field)?.trim_ascii());
        if line.is_empty() {
            if let (Some(name), Some(version)) = (name.take(), version.take()) {
                let architecture = architecture.unwrap_or_default();
                versions.insert(format!("{name}:{architecture}"), version);
                versions.entry(name.to_owned()).or_insert(version);
            }
            architecture = None;
        }
        name = value(b"Package:").or(name);
        architecture = value(b"Architecture:").or(architecture);
        version = value(b"Version:").or(version);
    }
    versions
}

impl Packages {
    fn of(&mut self, kind: PackageChange) -> &mut Vec<String> {
        match kind {
            PackageChange::Installed => &mut self.installed,
            PackageChange::Changed => &mut self.changed,
            PackageChange::Removed => &mut self.removed,
        }
    }

    fn kinds(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let kinds = [
            ("installs", &self.installed),
            ("changes", &self.changed),
            ("removes", &self.removed),
        ];
        let all = kinds.into_iter().map(|(verb, all)| (verb, all.as_slice()));
        all.filter(|(_, all)| !all.is_empty())
    }

    /// Returns a line for each kind: as many packages as fit into `most` bytes and at least one, each whole; others are counted.
    #[must_use]
    pub fn lines(&self, most: usize) -> Vec<String> {
        let line = |(verb, all)| format!("{BY} {verb} {}", listed(all, most));
        self.kinds().map(line).collect()
    }
}

fn listed(all: &[String], most: usize) -> String {
    let mut text = String::new();
    for (at, package) in all.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        if at > 0 && text.len() + package.len() + 2 > most {
            text.push_str(&format!("{comma}[… {} more …]", all.len() - at));
            break;
        }
        text.push_str(comma);
        text.push_str(package);
    }
    text
}

impl fmt::Display for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BY)?;
        for (at, (verb, all)) in self.kinds().enumerate() {
            let mark = if at == 0 { "" } else { ";" };
            write!(f, "{mark} {verb} {}", listed(all, WORDS))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use remit_plan::dpkg::WORD;
    use remit_plan::{Base, Content, Entry, Kind, Metadata, New, PlanPath, Stat};

    use super::*;

    const META: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    fn base() -> Base {
        let stat = Stat {
            kind: Kind::File,
            dev: 1,
            ino: 1,
            ctime_ns: 1,
            size: 1,
            meta: META,
        };
        Base::new(stat, None)
    }

    #[test]
    fn lists_of_dpkg_say_which_packages_and_its_status_which_versions() {
        let status: &[u8] = b"Package: libx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\n\n\
            Package: libx\nArchitecture: i386\nVersion: 9\nDescription: x\n Version: 7\n\nPackage: tree\nVersion: 2.1\n\n\
            Package: old\nVersion: 1; installs x\n";
        let create = Change::Create {
            new: New::File(Content::bundled(b"x")),
            meta: META,
        };
        let replace = Change::Replace {
            base: base(),
            content: Content::bundled(b"y"),
            meta: META,
        };
        let remove = Change::Remove { base: base() };
        let entries: Vec<Entry> = [
            ("tree.list", create),
            ("libx:amd64.list", replace),
            ("old.list", remove),
            ("tree.md5sums", create),
            ("a'b.list", create),
            ("tree 2.1: /usr/bin/tree.list", create),
            ("sub/tree.list", create),
            ("x;removes.list", create),
            ("a_b.list", create),
            ("other.postinst", create),
        ]
        .into_iter()
        .map(|(name, change)| Entry {
            path: PlanPath::new([INFO, b"/", name.as_bytes()].concat()).unwrap(),
            change,
        })
        .collect();
        let views = |entries: &[Entry], status: Option<&'static [u8]>| {
            let of_status = Entry {
                path: PlanPath::new(STATUS).unwrap(),
                change: replace,
            };
            let mut all = entries.to_vec();
            all.push(of_status);
            let views = all.iter().map(|entry| View {
                entry,
                old: None,
                new: status.filter(|_| entry.path.as_bytes() == STATUS),
            });
            packages(views).map(|packages| packages.to_string())
        };
        let all = views(&entries, Some(status)).unwrap();
        assert_eq!(
            all,
            "by dpkg's lists it installs 3 with other names, tree 2.1; changes libx:amd64 1:2-3; removes old"
        );
        assert_eq!(
            views(&entries[..1], None).unwrap(),
            "by dpkg's lists it installs tree"
        );
        // An upgrade with the same files.
        let same = views(&entries[3..4], Some(status)).unwrap();
        assert_eq!(same, "by dpkg's lists it changes tree 2.1");
        let other = views(&entries[8..9], Some(status)).unwrap();
        assert_eq!(other, "by dpkg's lists it installs 1 with other names");
        assert_eq!(views(&entries[9..], Some(status)), None);
    }

    #[test]
    fn many_packages_are_counted() {
        let packages = Packages {
            installed: (0..200).map(|number| format!("package{number}")).collect(),
            ..Packages::default()
        };
        let shown = packages.to_string();
        assert!(shown.len() < 600 && shown.ends_with(" more …]"), "{shown}");
    }

    #[test]
    fn each_kind_has_a_line_with_whole_packages() {
        let long = |text: &str| format!("{} {}", text.repeat(WORD), "1".repeat(WORD));
        let packages = Packages {
            installed: vec![long("a"), "b 1".to_owned(), "c 2".to_owned()],
            changed: vec!["d 3".to_owned(), "e 4".to_owned(), "f".to_owned()],
            removed: vec!["g".to_owned()],
        };
        assert_eq!(
            packages.lines(9),
            [
                format!("by dpkg's lists it installs {}, [… 2 more …]", long("a")),
                "by dpkg's lists it changes d 3, e 4, [… 1 more …]".to_owned(),
                "by dpkg's lists it removes g".to_owned(),
            ]
        );
    }
}
