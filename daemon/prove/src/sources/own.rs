//! Files that decide who is root whatever executes: the table of remit-plan, which also says what a change of a file means, and remit
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use remit_plan::Risk;

use super::polkit;
use crate::facts::{Source, When};
use crate::look::Look;
use crate::machine::Machine;
use crate::machine::entry::{Entry, Holder, Kind, WRITE};
use crate::path::FilePath;
use crate::rule::RuleId;

/// Who can write one of these decides what remit permits.
pub const REMIT: [&str; 6] = [
    "/etc/remit",
    "/etc/remit/remit.toml",
    "/etc/remit/policy.d",
    "/usr/lib/remit/policy.d",
    "/usr/libexec/remit",
    "/var/lib/remit",
];

/// Beneath a path of the table, as the rules of polkit are: what is read there decides what root runs, a new file too.
const OF_GRUB: [&str; 2] = ["/boot/grub", "/boot/grub/grub.cfg"];

/// Levels of directories beneath a path of the table that are looked through, and all entries in them.
const DEPTH: usize = 2;
const ENTRIES: usize = 5000;

/// Mechanisms that no source reads.
const UNREAD: [&str; 13] = [
    "/etc/doas.conf",
    "/etc/supervisor",
    "/etc/supervisord.conf",
    "/etc/monit",
    "/etc/inetd.conf",
    "/etc/xinetd.d",
    "/etc/incron.d",
    "/var/spool/incron",
    "/etc/init",
    "/etc/runit",
    "/etc/polkit-1/localauthority",
    "/var/spool/cron/atjobs",
    "/var/spool/at",
];

pub fn look(look: &mut Look<'_>) {
    for path in UNREAD.map(FilePath::fixed) {
        let entry = look.machine.entry(&path).map(|(_, entry)| entry);
        let is_empty = |entry: &Entry| entry.is_directory() && !has_files(look.machine, &path);
        if entry.is_some_and(|entry| !is_empty(&entry)) {
            let why = "this program is not known: commands that it runs are not followed";
            look.machine.unknown(&path, why);
        }
    }
    for path in REMIT.map(FilePath::fixed) {
        if look.exists(&path) {
            let source = Source::whole(&path);
            look.obeys(0, path, RuleId::RemitFile, &When::ByItself, &source);
        }
    }
    let mut kinds: BTreeMap<FilePath, bool> = BTreeMap::new();
    for (path, risk) in remit_plan::deciding_paths() {
        if decides_root(risk) || names_programs(risk) {
            let decides = kinds.entry(FilePath::fixed(&path)).or_default();
            *decides |= decides_root(risk);
        }
    }
    let beneath = OF_GRUB.into_iter().chain(polkit::DIRECTORIES);
    kinds.extend(beneath.map(|path| (FilePath::fixed(path), true)));
    // What other sources have read, they have judged.
    let obeyed = look.facts.obeys.iter().map(|one| one.file.clone());
    let mut unread = UnreadTables {
        obeyed: obeyed.collect(),
        left: ENTRIES,
    };
    for (path, decides) in &kinds {
        unread.list(look, path, *decides, 0);
    }
    for (path, _) in kinds.iter().filter(|(_, decides)| **decides) {
        if look.machine.entry(path).is_some() || path.name() == b"ld.so.preload" {
            let source = Source::whole(path);
            // sudo refuses a file or directory that is not root's, or that others can write.
            let obeys = match path.parts().any(|part| part.starts_with(b"sudoers")) {
                true => Look::obeys_roots,
                false => Look::obeys,
            };
            let rule = RuleId::SystemTable;
            obeys(look, 0, path.clone(), rule, &When::ByItself, &source);
        }
    }
}

/// Returns true if whoever can write such a file becomes root, or decides which accounts do.
const fn decides_root(risk: &Risk) -> bool {
    matches!(
        risk,
        Risk::Sudo
            | Risk::Preload
            | Risk::Pam
            | Risk::Sshd
            | Risk::Passwords
            | Risk::Accounts
            | Risk::LoaderSettings
            | Risk::Boot
    )
}

/// Returns true if such a file can name programs of root, if the machine has what reads it.
const fn names_programs(risk: &Risk) -> bool {
    matches!(
        risk,
        Risk::Cron
            | Risk::Unit
            | Risk::UnitSource
            | Risk::RunsByItself
            | Risk::Commands
            | Risk::Packages
            | Risk::Login
    )
}

/// Files that decide what root runs, and that no source reads.
struct UnreadTables {
    obeyed: BTreeSet<FilePath>,
    left: usize,
}

impl UnreadTables {
    /// Lists a file that others than root can write, and those beneath a directory. `is_path`: that is a path by itself.
    fn list(&mut self, look: &Look<'_>, path: &FilePath, is_path: bool, depth: usize) {
        let entry = look.machine.entry(path).map(|(_, entry)| entry);
        let Some(entry) = entry.filter(|_| !self.obeyed.contains(path)) else {
            return;
        };
        if is_of_others(&entry) && !is_path {
            let why = "others than root can write it, and what root runs by it is not followed";
            return look.machine.unknown(path, why);
        }
        // Elsewhere packages have their own files.
        if !entry.is_directory() || depth >= DEPTH || !path.is_beneath(&FilePath::fixed("/etc")) {
            return;
        }
        for name in look.machine.list(path) {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                let why = "it has too many files: not all of them were looked at";
                look.machine.unknown(path, why);
                return;
            }
            if let Some(path) = path.join(name) {
                self.list(look, &path, false, depth.saturating_add(1));
            }
        }
    }
}

fn is_of_others(entry: &Entry) -> bool {
    let is_of_root = |holder: &Holder| matches!(holder, Holder::User(0) | Holder::Group(0));
    let has_content = matches!(entry.kind, Kind::File | Kind::Directory);
    has_content && !entry.holders(WRITE).iter().all(is_of_root)
}

/// Returns false if a directory has only counters and empty directories, as packages install them.
fn has_files(machine: &Machine, directory: &FilePath) -> bool {
    let names = machine.list(directory).into_iter();
    let mut inside = names.filter_map(|name| {
        let is_counter = name.starts_with(b".");
        directory.join(name).filter(|_| !is_counter)
    });
    inside.any(|path| {
        let entry = machine.entry(&path).map(|(_, entry)| entry);
        !entry.is_some_and(|entry| entry.is_directory()) || !machine.list(&path).is_empty()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;
    use crate::machine::{Bounds, Machine};

    /// Needs root.
    #[test]
    fn each_table_of_another_account_is_a_path_or_listed() {
        let root =
            nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-prove-own-XXXXXX")).unwrap();
        let rows = remit_plan::deciding_paths();
        let rows = rows.filter(|(_, risk)| decides_root(risk) || names_programs(risk));
        let rows: Vec<String> = rows.map(|(path, _)| path).collect();
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        for path in &rows {
            // A directory is as good as a file, and other rows lie beneath it.
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in &rows {
            chown(at(path), Some(5001), None).unwrap();
        }
        let machine = Machine::open(&root, Bounds::default()).unwrap();
        let mut looking = Look::new(&machine);
        look(&mut looking);
        let obeyed: BTreeSet<FilePath> = looking
            .facts
            .obeys
            .into_iter()
            .map(|one| one.file)
            .collect();
        let (_, unknown, more) = machine.take();
        let missed: Vec<&String> = rows
            .iter()
            .filter(|path| {
                let path = FilePath::fixed(path);
                !obeyed.contains(&path) && unknown.iter().all(|one| one.path != path)
            })
            .collect();
        fs::remove_dir_all(&root).unwrap();
        assert!(missed.is_empty() && more == 0, "{missed:?}, {more}");
        assert!(obeyed.len() > 50 && unknown.len() > 50);
    }
}
