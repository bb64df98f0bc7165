//! Files below /etc: mode, owner and size; of a readable file also a hash, of an unreadable one the time of its change.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::lines::{self, SnapshotSection, modified};
use crate::read::{self, Sources, Why};
use crate::{mounts, users};

const MOST: usize = 20_000;
/// Bytes of a file that is hashed, and of all such files.
const HASHED: u64 = 1 << 20;
const HASHED_TOTAL: u64 = 64 << 20;

/// Below /etc, what changes by itself or is reported elsewhere.
const LEFT_OUT: &[&str] = &[
    // Sections of their own.
    "passwd",
    "group",
    "localtime",
    "timezone",
    // Made from others.
    "ld.so.cache",
    "ld.so.cache~",
    "mtab",
    "udev/hwdb.bin",
    // Written while the machine runs or stops.
    ".pwd.lock",
    "adjtime",
    "cups/subscriptions.conf",
    "cups/subscriptions.conf.O",
    "lvm/archive",
    "lvm/backup",
    "lvm/cache",
];
/// Files of the tools of shadow(5). Each has a copy, and a lock for a while.
const SHADOW: &[&str] = &["passwd", "group", "shadow", "gshadow", "subuid", "subgid"];
/// Endings of hidden files that an editor keeps for a while. Other names count: many programs read a directory by the
/// pattern `*`, which matches `site~`, `#site#` and `site.lock`.
const SWAP: &[&[u8]] = &[b".swp", b".swx"];

pub(super) fn etc(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    let mut walk = EtcWalk {
        etc: &at.etc,
        users: users::names(&at.etc),
        groups: users::group_names(&at.etc),
        unasked: unasked(at)?,
        hashed: 0,
        looked_at: 0,
        section,
    };
    let mut left = vec![at.etc.clone()];
    while let Some(dir) = left.pop() {
        let mut below = walk.dir(&dir)?;
        below.reverse();
        left.append(&mut below);
    }
    Ok(())
}

/// Without the table of mounts no directory is entered, because one that never answers would block this thread.
fn unasked(at: &Sources) -> Result<BTreeMap<PathBuf, Why>, Why> {
    let mut unasked = BTreeMap::new();
    for entry in mounts::table(at)? {
        // The last mount of a path covers the others, as that of a device covers its autofs.
        match entry.unasked() {
            Some(why) => unasked.insert(entry.target, why),
            None => unasked.remove(&entry.target),
        };
    }
    Ok(unasked)
}

struct EtcWalk<'a, 'b> {
    etc: &'a Path,
    users: BTreeMap<u64, String>,
    groups: BTreeMap<u64, String>,
    /// Mounts that are not entered, and why.
    unasked: BTreeMap<PathBuf, Why>,
    hashed: u64,
    looked_at: usize,
    section: &'a mut SnapshotSection<'b>,
}

impl EtcWalk<'_, '_> {
    fn dir(&mut self, dir: &Path) -> Result<Vec<PathBuf>, Why> {
        let Ok(listing) = fs::read_dir(dir) else {
            return Ok(Vec::new()); // Its own line has the time of its change.
        };
        let mut paths: Vec<PathBuf> = listing
            .flatten()
            .map(|entry| entry.path())
            .take(MOST.saturating_sub(self.looked_at).saturating_add(1))
            .collect();
        paths.sort_unstable();
        let mut dirs = Vec::new();
        for path in paths {
            self.looked_at += 1;
            if self.looked_at > MOST {
                let etc = self.etc.display();
                return Err(format!(
                    "'{etc}' has more than {MOST} files: the others were not looked at"
                ));
            }
            // Even its metadata may never come.
            if let Some(why) = self.unasked.get(&path) {
                self.section.add(path.as_os_str().as_bytes(), why);
                continue;
            }
            // A file that has just been removed is not there.
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let name = path.strip_prefix(self.etc).unwrap_or(&path);
            if is_left_out(name, meta.is_dir()) || is_enablement(self.etc, &path, &meta) {
                continue;
            }
            let value = self.value(&path, &meta);
            self.section.add(path.as_os_str().as_bytes(), &value);
            if meta.is_dir() {
                dirs.push(path);
            }
        }
        Ok(dirs)
    }

    fn value(&mut self, path: &Path, meta: &Metadata) -> String {
        let kind = meta.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(path).unwrap_or_default();
            return format!("link to {}", target.display());
        }
        let access = self.access(meta);
        if kind.is_dir() {
            return match fs::read_dir(path) {
                Ok(_) => format!("directory {access}"),
                Err(_) => format!("directory {access} {}", modified(meta)),
            };
        }
        if !kind.is_file() {
            let what = match (kind.is_fifo(), kind.is_socket()) {
                (true, _) => "fifo",
                (_, true) => "socket",
                _ => "device",
            };
            return format!("{what} {access}");
        }
        let content = match self.hash(path, meta) {
            Some(hash) => format!("sha256 {hash}"),
            None => modified(meta),
        };
        format!("file {access} {} bytes {content}", meta.len())
    }

    fn access(&self, meta: &Metadata) -> String {
        let name = |names: &BTreeMap<u64, String>, id: u32| {
            names
                .get(&id.into())
                .cloned()
                .unwrap_or_else(|| id.to_string())
        };
        let (user, group) = (
            name(&self.users, meta.uid()),
            name(&self.groups, meta.gid()),
        );
        format!("{:04o} {user}:{group}", meta.mode() & 0o7777)
    }

    /// Hashes a file that this process may read.
    fn hash(&mut self, path: &Path, meta: &Metadata) -> Option<String> {
        let total = self.hashed.saturating_add(meta.len());
        if meta.len() > HASHED || total > HASHED_TOTAL {
            return None;
        }
        let bytes = read::bytes(path, HASHED).ok()?;
        self.hashed = total;
        Some(lines::hash(&bytes))
    }
}

fn is_left_out(name: &Path, is_directory: bool) -> bool {
    let file = name.file_name().unwrap_or_default().as_bytes();
    let is_beside_accounts = || {
        let accounts = ["-", ".lock"]
            .into_iter()
            .find_map(|end| name.to_str()?.strip_suffix(end));
        accounts.is_some_and(|accounts| SHADOW.contains(&accounts))
    };
    let is_of_editor = || {
        file.starts_with(b".#")
            || file.starts_with(b".") && SWAP.iter().any(|end| file.ends_with(end))
    };
    LEFT_OUT.iter().any(|out| name == Path::new(out))
        || !is_directory && (is_beside_accounts() || is_of_editor())
}

/// Returns true for directories of links by which units are enabled, and for links that mask one: the section of unit files has both, but
/// no drop-in, and not the file that another link of a unit leads to.
fn is_enablement(etc: &Path, path: &Path, meta: &Metadata) -> bool {
    let below = |dir: &str| path.starts_with(etc.join(dir));
    let end = path.extension().unwrap_or_default();
    let is_of_links = ["wants", "requires", "upholds"]
        .iter()
        .any(|one| end == *one);
    let is_drop_in = end == "d" || end == "conf";
    let is_mask = || fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
    (below("systemd/system") || below("systemd/user"))
        && match meta.is_symlink() {
            true => !is_drop_in && (is_of_links || is_mask()),
            false => meta.is_dir() && is_of_links,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_and_hidden_files_of_editors_are_left_out() {
        for (name, is_directory, expect) in [
            ("hosts", false, false),
            ("passwd", false, true),
            ("passwd-", false, true),
            ("passwd-", true, false),
            ("subuid.lock", false, true),
            ("nginx/passwd-", false, false),
            ("nginx/passwd", false, false),
            ("nginx/sites-enabled/site~", false, false),
            ("nginx/sites-enabled/#site", false, false),
            ("nginx/sites-enabled/site.lock", false, false),
            ("nginx/sites-enabled/site.dpkg-new", false, false),
            ("nginx/sites-enabled/site.swp", false, false),
            ("nginx/conf.d~", true, false),
            (".hosts.swp", false, true),
            (".hosts.swp", true, false),
            ("cron.d/.#job", false, true),
            ("cron.d/.#job", true, false),
            ("lvm/archive", true, true),
        ] {
            assert_eq!(is_left_out(Path::new(name), is_directory), expect, "{name}");
        }
    }
}
