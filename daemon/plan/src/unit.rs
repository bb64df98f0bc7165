//! The paths of a plan for the program that describes a command which follows it.

use remit_common::changed::{Becomes, ChangedPath};

use crate::bundle::Bundle;
use crate::deciding::makes_units;
use crate::plan::{Change, Entry, New, Plan};

/// Bytes of a file that may be a unit's.
const UNIT: usize = 1 << 20;

impl Bundle {
    #[must_use]
    pub fn changed_paths(&self) -> Vec<ChangedPath> {
        let all = self.views();
        all.map(|view| changed(view.entry, view.new)).collect()
    }
}

impl Plan {
    /// Returns what an undo changes. The bytes that it puts back are not known.
    #[must_use]
    pub fn changed_by_undo(&self) -> Vec<ChangedPath> {
        let all = self.entries().iter().map(Entry::reversed);
        all.map(|entry| changed(&entry, None)).collect()
    }
}

fn changed(entry: &Entry, new: Option<&[u8]>) -> ChangedPath {
    let is_of_unit = |new: &&[u8]| entry.path.is_of_units() && new.len() <= UNIT;
    let becomes = match (entry.change.makes(), &entry.change) {
        (Some(New::File(_)), _) => Becomes::File(new.filter(is_of_unit).map(<[u8]>::to_vec)),
        (Some(New::Link(_)), _) => Becomes::Link(new.map(<[u8]>::to_vec)),
        (Some(New::Directory), _) => Becomes::Directory,
        (None, Change::Remove { .. }) => Becomes::Gone,
        (None, _) => Becomes::Same,
    };
    ChangedPath {
        path: entry.path.as_bytes().to_vec(),
        becomes,
        is_for_generators: makes_units(&entry.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Base, Content, Kind, Metadata, Source, Stat};
    use crate::{PlanPath, sha256};

    #[test]
    fn paths_of_a_plan_are_separate_from_those_of_its_undo() {
        let content = |bytes: &[u8]| Content {
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let of = |mode| Metadata {
            mode,
            uid: 0,
            gid: 0,
        };
        let base = |kind| {
            let stat = Stat {
                kind,
                dev: 1,
                ino: 1,
                ctime_ns: 1,
                size: 1,
                meta: of(0o600),
            };
            Base::new(stat, None)
        };
        let entry = |path: &str, change| Entry {
            path: PlanPath::new(path).unwrap(),
            change,
        };
        let create = |new, mode| Change::Create {
            new,
            meta: of(mode),
        };
        let file = |bytes| create(New::File(content(bytes)), 0o644);
        let plan = Plan::new(vec![
            entry("/etc/systemd/system/a.service", file(b"unit")),
            entry(
                "/etc/systemd/system/b.service",
                create(New::Link(content(b"a")), 0o777),
            ),
            entry("/etc/systemd/system/c.d", create(New::Directory, 0o755)),
            entry(
                "/etc/systemd/system/d.service",
                Change::Remove {
                    base: base(Kind::File),
                },
            ),
            entry(
                "/etc/systemd/system/e.service",
                Change::SetMetadata {
                    base: base(Kind::File),
                    meta: of(0o644),
                },
            ),
            entry("/srv/a.service", file(b"text")),
        ])
        .unwrap();
        let bundle = Bundle::new(&plan, b"unitatext", b"").unwrap();
        let becomes = |all: Vec<ChangedPath>| -> Vec<Becomes> {
            all.into_iter().map(|one| one.becomes).collect()
        };
        assert_eq!(
            becomes(bundle.changed_paths()),
            [
                Becomes::File(Some(b"unit".to_vec())),
                Becomes::Link(Some(b"a".to_vec())),
                Becomes::Directory,
                Becomes::Gone,
                Becomes::Same,
                Becomes::File(None),
            ]
        );
        assert_eq!(
            becomes(plan.changed_by_undo()),
            [
                Becomes::Gone,
                Becomes::Gone,
                Becomes::Gone,
                Becomes::File(None),
                Becomes::Same,
                Becomes::Gone,
            ]
        );
    }

    #[test]
    fn inputs_of_generators_are_marked() {
        for (path, expect) in [
            ("/etc/fstab", true),
            ("/etc/veritytab", true),
            ("/etc/init.d/a", true),
            ("/etc/rc3.d/S01a", true),
            ("/etc/rc.local", true),
            ("/etc/netplan/a.yaml", true),
            ("/etc/fstab.d", false),
            ("/etc/hosts", false),
            ("/srv/etc/fstab", false),
        ] {
            let path = PlanPath::new(path).unwrap();
            assert_eq!(makes_units(&path), expect, "{path}");
        }
    }
}
