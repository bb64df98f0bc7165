//! Arguments that may name files: text of the definition, and text of the requester. Each regular file is bound by
//! its content. If that fails, text of the definition is refused. For text of the requester, the approver gets a
//! sentence about it and about every other meaning of a name.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::stat::{SFlag, major, minor};
use remit_approval::{FileBinding, Loose, Unbound, name_of_argument};

use super::FileFound;
use super::file::{LARGEST_ARGUMENT, Look, ResolvedFile, look};
use super::names::{Name, Names};

/// Memory devices without content: null, zero, full, random, urandom (null(4), random(4)).
const MEMORY: u64 = 1;
const EMPTY: [u64; 5] = [3, 5, 7, 8, 9];

#[derive(Debug, Default)]
pub struct NamedFiles {
    pub files: Vec<FileFound>,
    pub loose: BTreeSet<Loose>,
}

/// Fails if it names a file that cannot be bound.
pub fn of_definition(at: usize, word: &CStr, cwd: &CStr) -> Result<NamedFiles, String> {
    let mut named = NamedFiles::default();
    let what = name_of_argument(at);
    let names = Names::of(word, cwd);
    named.has_more(at, &names);
    for name in &names.all {
        let unbound = match look(&name.path)? {
            Look::At(resolved) if resolved.is_file() => {
                let file = resolved.measure(&what, FileBinding::Checked, LARGEST_ARGUMENT, None)?;
                named.files.push(file);
                None
            }
            Look::At(resolved) => kind_of(&resolved),
            Look::ProcessSpecific => Some(Unbound::ProcessSpecific),
            Look::Nothing => (name.is_path && !root_names(name)).then_some(Unbound::Absent),
        };
        named.add(at, unbound);
    }
    Ok(named)
}

/// Uses the requester's rights. Reports missing files: the job may have other rights, and a file can appear.
pub fn of_requester(at: usize, text: &CStr, cwd: &CStr, held: FileBinding) -> NamedFiles {
    let mut named = NamedFiles::default();
    let what = name_of_argument(at);
    let names = Names::of(text, cwd);
    named.has_more(at, &names);
    for name in &names.all {
        let unbound = match look(&name.path) {
            Ok(Look::At(resolved)) if resolved.is_file() => {
                match resolved.measure(&what, held, LARGEST_ARGUMENT, None) {
                    Ok(file) => {
                        named.files.push(file);
                        None
                    }
                    Err(_) => Some(Unbound::Changeable),
                }
            }
            Ok(Look::At(resolved)) => kind_of(&resolved),
            Ok(Look::ProcessSpecific) => Some(Unbound::ProcessSpecific),
            Ok(Look::Nothing) => name.is_path.then_some(Unbound::Absent),
            Err(_) => Some(Unbound::Unseen),
        };
        named.add(at, unbound);
    }
    named
}

pub fn of_cwd(cwd: &CStr) -> Option<Loose> {
    let path = Path::new(OsStr::from_bytes(cwd.to_bytes()));
    (!remit_policy_files::only_root_names(path)).then_some(Loose::Cwd)
}

impl NamedFiles {
    fn add(&mut self, at: usize, unbound: Option<Unbound>) {
        self.loose
            .extend(unbound.map(|why| Loose::Argument(at, why)));
    }

    fn has_more(&mut self, at: usize, names: &Names) {
        self.add(at, names.has_more.then_some(Unbound::More));
    }
}

fn root_names(name: &Name) -> bool {
    let path = Path::new(OsStr::from_bytes(name.path.to_bytes()));
    remit_policy_files::only_root_names(path)
}

fn kind_of(resolved: &ResolvedFile) -> Option<Unbound> {
    let device = resolved.device();
    match resolved.kind() {
        SFlag::S_IFDIR => Some(Unbound::Directory),
        SFlag::S_IFREG => Some(Unbound::ProcessSpecific),
        SFlag::S_IFCHR if major(device) == MEMORY && EMPTY.contains(&minor(device)) => None,
        _ => Some(Unbound::Special),
    }
}
