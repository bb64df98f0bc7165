//! Which contents of a plan are in its bundle, and which are a pack.

use remit_plan::{BUNDLE_BYTES, Entry, Kind, New, PackageNames, Plan, SHOWN_OLD_BYTES};

/// Bytes of the name of a pack in a plan, at most.
const PACK_NAME: u64 = 64;
/// Bytes of a bundle up to which files that nobody has to read are in it, and what they have at least. The daemon holds bundles
/// in memory.
const READABLE: u64 = 1 << 20;
const LEAST: u64 = 256 << 10;
const TOO_LONG: &str = "what an approver has to read of the changed files is more than a plan can have (3 MiB with the list of all \
                        paths); change less at once";

/// Returns the entries with those packed that are not in a bundle, or `None` if all are. In it are those that an approver
/// has to read; then, as far as they fit, what says which files belong to packages, programs that change, and the shortest. Fails
/// if more has to be in it than can be.
pub fn fitted(plan: &Plan) -> Result<Option<Vec<Entry>>, &'static str> {
    let size = |entry: &Entry| entry.change.bundled().map_or(0, |content| content.size);
    let encoded = plan.encode().len() as u64 + PACK_NAME;
    let most = BUNDLE_BYTES as u64;
    let whole = encoded + plan.bundled_bytes();
    if whole <= READABLE {
        return Ok(None);
    }
    let mut entries = plan.entries().to_vec();
    let packages = PackageNames::new(plan.entries().iter().map(|entry| &entry.path));
    // Old bytes of what is packed are not there either.
    let old = plan.shown_old();
    let read_old = entries
        .iter()
        .zip(&old)
        .filter(|(entry, _)| is_shown(entry, &packages));
    let read_old: u64 = read_old.filter_map(|(_, old)| Some((*old)?.0)).sum();
    let read: u64 = entries
        .iter()
        .filter(|entry| is_shown(entry, &packages))
        .map(size)
        .sum();
    let fixed = encoded + read_old.saturating_add(SHOWN_OLD_BYTES) + read;
    if fixed > most {
        return Err(TOO_LONG);
    }
    let mut free = READABLE.saturating_sub(fixed).max(LEAST).min(most - fixed);
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|at| {
        let entry = plan.entries().get(*at);
        entry.map(|entry| (order_of(entry), size(entry), *at))
    });
    for at in order {
        let Some(entry) = entries
            .get_mut(at)
            .filter(|entry| !is_shown(entry, &packages))
        else {
            continue;
        };
        match free.checked_sub(size(entry)) {
            Some(left) => free = left,
            None => entry.change.pack(),
        }
    }
    Ok(Some(entries))
}

/// Returns true if an approver has to read it.
fn is_shown(entry: &Entry, packages: &PackageNames<'_>) -> bool {
    let size = entry.change.content().map_or(0, |content| content.size);
    let is_file = matches!(entry.change.makes(), Some(New::File(_)));
    !is_file || packages.is_read(&entry.path, size)
}

fn order_of(entry: &Entry) -> u8 {
    let is_list = entry.path.is_in(b"/var/lib/dpkg/info") && entry.path.name().ends_with(b".list");
    let old = entry.change.base().map(|base| base.stat);
    match old {
        _ if is_list => 0,
        Some(old) if old.kind == Kind::File && old.meta.mode & 0o111 != 0 => 1,
        _ => 2,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use remit_plan::{Base, Change, Content, Metadata, PlanPath, Source, Stat};

    use super::*;

    const META: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    fn content(size: u64) -> Content {
        Content {
            size,
            sha256: [size as u8; 32],
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        }
    }

    fn new(path: String, size: u64) -> Entry {
        let new = New::File(content(size));
        let path = PlanPath::new(path).unwrap();
        let change = Change::Create { new, meta: META };
        Entry { path, change }
    }

    fn base(size: u64) -> Base {
        let stat = Stat {
            kind: Kind::File,
            dev: 1,
            ino: 2,
            ctime_ns: 3,
            size,
            meta: META,
        };
        Base::new(stat, Some([1; 32]))
    }

    fn bytes(entries: Vec<Entry>) -> (u64, usize) {
        let packed = entries
            .iter()
            .filter(|entry| entry.change.uploaded().is_some());
        let count = packed.count();
        let pack = entries.iter().filter_map(|entry| entry.change.uploaded());
        let size = pack.map(|content| content.size).sum();
        let pack = (count > 0).then_some(remit_plan::Upload {
            sha256: [0; 32],
            size,
        });
        let plan = Plan::packed(entries, pack).unwrap();
        (plan.encode().len() as u64 + plan.bundled_bytes(), count)
    }

    /// As many entries as a plan can have, with long paths, and bytes of each size.
    #[test]
    fn bundle_is_bounded_whatever_is_in_the_plan() {
        let path = |at: u64| format!("/usr/share/doc/a-package-of-some-length/{at:05}");
        let small = |count: u64, size: u64| (0..count).map(move |at| new(path(at), size)).collect();
        let removed = |count: u64, size: u64| {
            let path = |at| PlanPath::new(path(at)).unwrap();
            let change = Change::Remove { base: base(size) };
            (0..count)
                .map(|at| Entry {
                    path: path(at),
                    change,
                })
                .collect()
        };
        let large: Vec<Entry> = [small(100, 700), small_at("/usr/lib/x/", 4, 255 << 20)].concat();
        let cases: [(Vec<Entry>, usize); 6] = [
            (small(100, 1000), 0),
            (small(6000, 300), 6000),
            (small(20_000, 2000), 20_000),
            (removed(6000, 9000), 0),
            (large, 4),
            (
                [small(5000, 100), small_at("/etc/x/", 100, 2000)].concat(),
                2400,
            ),
        ];
        for (at, (entries, packed)) in cases.into_iter().enumerate() {
            let plan = Plan::new(entries.clone()).unwrap();
            let (size, count) = bytes(fitted(&plan).unwrap().unwrap_or(entries));
            assert!(size <= BUNDLE_BYTES as u64, "{at}: {size}");
            assert!(count <= packed && count >= packed * 8 / 10, "{at}: {count}");
        }
    }

    fn small_at(dir: &str, count: u64, size: u64) -> Vec<Entry> {
        (0..count)
            .map(|at| new(format!("{dir}{at:03}"), size))
            .collect()
    }

    #[test]
    fn what_must_be_read_is_in_the_bundle_or_there_is_no_plan() {
        let units = small_at("/etc/systemd/system/", 2, 1 << 20);
        let plan = Plan::new(units).unwrap();
        let entries = fitted(&plan).unwrap().unwrap();
        assert_eq!(bytes(entries).1, 0);
        let units = small_at("/etc/systemd/system/", 3, 1 << 20);
        let plan = Plan::new(units).unwrap();
        assert_eq!(fitted(&plan), Err(TOO_LONG));
    }

    /// What is unlike the rest of a long plan is not out of sight.
    #[test]
    fn lists_scripts_of_others_and_changed_programs_are_in_the_bundle_first() {
        const INFO: &str = "/var/lib/dpkg/info";
        let mut entries = small_at("/usr/share/doc/", 6000, 300);
        let base = base(9000);
        let stat = Stat {
            meta: Metadata {
                mode: 0o755,
                ..META
            },
            ..base.stat
        };
        entries.extend([
            new(format!("{INFO}/tool.list"), 90_000),
            new(format!("{INFO}/tool.postinst"), 90_000),
            new(format!("{INFO}/bash.postinst"), 9000),
            new("/etc/unheard-of.conf".to_owned(), 9000),
            Entry {
                path: PlanPath::new("/usr/local/sbin/backup").unwrap(),
                change: Change::Replace {
                    base: Base { stat, ..base },
                    content: content(9000),
                    meta: META,
                },
            },
        ]);
        let plan = Plan::new(entries).unwrap();
        let entries = fitted(&plan).unwrap().unwrap();
        let others = entries
            .iter()
            .filter(|entry| !entry.path.is_in(b"/usr/share/doc"));
        let packed = others.filter(|entry| entry.change.uploaded().is_some());
        let packed: Vec<String> = packed.map(|entry| entry.path.to_string()).collect();
        assert_eq!(packed, [format!("{INFO}/tool.postinst")]);
    }
}
