//! Words of an argv as files: the program with its interpreters, and arguments that may name files. Each regular file
//! is bound by its content. If that fails, text of the definition is refused; for text of the requester, the approver
//! gets a sentence about it and about every other meaning of a name.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::stat::{SFlag, major, minor};
use remit_approval::{FileBinding, Loose, Unbound, name_of_argument};
use remit_common::shebang::{FIRST_BYTES, interpreter};

use super::FileFound;
use super::file::{LARGEST_ARGUMENT, LARGEST_PROGRAM, Look, ResolvedFile, look, shown};
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

pub fn of_program(name: &CStr, path: &[CString]) -> Result<Vec<FileFound>, String> {
    let (program, first) = one("program", &find(name, path)?)?;
    let mut files = vec![program];
    let Some(line) = interpreter(&first)? else {
        return Ok(files);
    };
    let unnamed = |_| "its first line has a NUL byte";
    let path_of_it = CString::new(line.path).map_err(unnamed)?;
    let (found, first_of_it) = one("interpreter", &present(&path_of_it)?)?;
    if interpreter(&first_of_it)?.is_some() {
        let text = shown(&path_of_it);
        return Err(format!(
            "'{}' cannot be approved: its interpreter '{text}' is itself a script",
            shown(name)
        ));
    }
    files.push(found);
    if let Some(name) = line.by_env {
        let name = CString::new(name).map_err(unnamed)?;
        files.push(one("interpreter", &find(&name, path)?)?.0);
    }
    Ok(files)
}

fn one(what: &str, resolved: &ResolvedFile) -> Result<(FileFound, Vec<u8>), String> {
    let mut first = Vec::new();
    let found = resolved.measure(
        what,
        FileBinding::Checked,
        LARGEST_PROGRAM,
        Some(&mut first),
    )?;
    first.truncate(FIRST_BYTES);
    Ok((found, first))
}

/// Searches like execvp(3).
fn find(name: &CStr, path: &[CString]) -> Result<ResolvedFile, String> {
    let bytes = name.to_bytes();
    if bytes.first() == Some(&b'/') {
        return present(name);
    }
    if bytes.is_empty() || bytes.contains(&b'/') {
        return Err(format!(
            "'{}' cannot be approved: the program needs an absolute path, or a name found in the PATH \
             of jobs",
            shown(name)
        ));
    }
    for dir in path {
        let whole = [dir.to_bytes(), b"/", bytes].concat();
        let Ok(whole) = CString::new(whole) else {
            continue;
        };
        match look(&whole)? {
            Look::At(resolved) if resolved.is_file() && resolved.is_executable() => {
                return Ok(resolved);
            }
            Look::At(_) | Look::Nothing => {}
            Look::ProcessSpecific => return Err(process_specific(&whole)),
        }
    }
    Err(format!(
        "there is no program '{}' in the PATH of jobs",
        shown(name)
    ))
}

fn present(path: &CStr) -> Result<ResolvedFile, String> {
    let text = shown(path);
    match look(path)? {
        Look::ProcessSpecific => Err(process_specific(path)),
        Look::Nothing => Err(format!("'{text}' does not exist")),
        Look::At(resolved) if !resolved.is_file() => Err(format!("'{text}' is not a regular file")),
        Look::At(resolved) if !resolved.is_executable() => {
            Err(format!("'{text}' is not an executable file"))
        }
        Look::At(resolved) => Ok(resolved),
    }
}

fn process_specific(path: &CStr) -> String {
    format!(
        "'{}' cannot be approved: it is a different file for each process",
        shown(path)
    )
}
