//! Finds and reads policy files as systemd drop-ins: an administrator's replaces the vendor's, `/dev/null` masks it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use remit_common::caps;
use remit_common::text::line;
use remit_policy::{Diagnostic, Severity, Source};

use crate::trust::{self, Distrusted, Entry, Owners};

#[derive(Debug, Default)]
pub struct PolicyFiles {
    /// In the bytewise order of their names.
    pub sources: Vec<Source>,
    pub warnings: Vec<Diagnostic>,
}

/// Reads all `*.toml` of both directories, which may be missing. No file is a warning. Reports all errors at once.
pub fn read(vendor: &Path, admin: &Path, owners: Owners) -> Result<PolicyFiles, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut open = Vec::new();
    for path in [vendor, admin] {
        match OpenDir::open(path, owners) {
            Ok(Some(dir)) => open.push(dir),
            Ok(None) => {}
            Err(error) => {
                // Both may lie below the one directory that is refused.
                let refusal = refusal(error);
                if !errors.contains(&refusal) {
                    errors.push(refusal);
                }
            }
        }
    }
    // The administrator's directory comes later, so its names replace the vendor's.
    let mut chosen: BTreeMap<OsString, &OpenDir> = BTreeMap::new();
    for dir in &open {
        for name in &dir.names {
            match role(name) {
                Role::Policy => {
                    chosen.insert(name.clone(), dir);
                }
                Role::Leftover => {}
                Role::Other => warnings.push(whole(
                    Severity::Warning,
                    &dir.path.join(name),
                    "it is not read: the name of a policy file ends in '.toml'",
                )),
            }
        }
    }
    if chosen.len() > caps::POLICY_FILES {
        let why = format!(
            "{} policy files are more than {}",
            chosen.len(),
            caps::POLICY_FILES
        );
        return Err(vec![whole(Severity::Error, admin, why)]);
    }

    let mut sources = Vec::new();
    let mut total = 0;
    for (name, dir) in chosen {
        match dir.source(&name, owners) {
            Ok(None) => {}
            Ok(Some(source)) => {
                total += source.text.len();
                sources.push(source);
            }
            Err(error) => errors.push(refusal(error)),
        }
        if total > caps::POLICY {
            let why = format!("all policy files together have over {} bytes", caps::POLICY);
            errors.push(whole(Severity::Error, admin, why));
            break;
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if sources.is_empty() {
        let why = format!(
            "there is no policy file here or in '{}', so nobody has any permission",
            vendor.display()
        );
        warnings.push(whole(Severity::Warning, admin, why));
    }
    Ok(PolicyFiles { sources, warnings })
}

/// Reads one file of the daemon's configuration, as a policy file. `None`: it does not exist. The error has the path.
pub fn read_trusted(path: &Path) -> Result<Option<Vec<u8>>, String> {
    read_file(path, Owners::Root)
}

pub fn read_file(path: &Path, owners: Owners) -> Result<Option<Vec<u8>>, String> {
    file(path, owners).map_err(|error| error.to_string())
}

fn file(path: &Path, owners: Owners) -> Result<Option<Vec<u8>>, Distrusted> {
    let error = |why: &str| Distrusted {
        path: path.to_path_buf(),
        why: why.to_owned(),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(error("it is not the path of a file"));
    };
    let Some(dir) = trust::directory(parent, owners)? else {
        return Ok(None);
    };
    match trust::read(dir, name, path, owners, caps::POLICY_FILE)? {
        Entry::Missing => Ok(None),
        Entry::Link(_) => Err(error("it is a symbolic link; put the file itself there")),
        Entry::Bytes(bytes) => Ok(Some(bytes)),
    }
}

struct OpenDir {
    path: PathBuf,
    dir: Dir,
    names: Vec<OsString>,
}

impl OpenDir {
    /// Maximum number of names in a directory, of any kind. A directory with more is not a policy directory.
    const MOST: usize = 4096;

    fn open(path: &Path, owners: Owners) -> Result<Option<Self>, Distrusted> {
        let error = |why: String| Distrusted {
            path: path.to_path_buf(),
            why,
        };
        let Some(opened) = trust::directory(path, owners)? else {
            return Ok(None);
        };
        let mut dir = Dir::from_fd(opened).map_err(|errno| error(errno.desc().into()))?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| error(errno.desc().into()))?;
            names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
            if names.len() > Self::MOST {
                return Err(error(format!("it has more than {} names", Self::MOST)));
            }
        }
        names.sort();
        Ok(Some(Self {
            path: path.to_path_buf(),
            dir,
            names,
        }))
    }

    fn source(&self, name: &OsStr, owners: Owners) -> Result<Option<Source>, Distrusted> {
        let path = self.path.join(name);
        let error = |why: String| Distrusted {
            path: path.clone(),
            why,
        };
        // The name is shown in diagnostics and in the audit log, on one line.
        let shown = line(path.as_os_str().as_bytes(), caps::PATH);
        if Path::new(&shown) != path {
            return Err(error(
                "its name must be UTF-8 without control characters".into(),
            ));
        }
        match trust::read(&self.dir, name, &path, owners, caps::POLICY_FILE)? {
            // It was listed. A replaced file is never missing, so this one was removed, and perhaps others too.
            Entry::Missing => Err(error("it was removed while it was read; try again".into())),
            Entry::Link(to) if to == "/dev/null" => Ok(None),
            Entry::Link(to) => Err(error(format!(
                "it is a symbolic link to '{}'; only '/dev/null' may be linked to",
                line(to.as_bytes(), caps::PATH)
            ))),
            Entry::Bytes(text) => Ok(Some(Source { name: shown, text })),
        }
    }
}

enum Role {
    Policy,
    /// An editor or a package manager left it there, or it is hidden.
    Leftover,
    /// It may be a policy that somebody believes to be in force.
    Other,
}

fn role(name: &OsStr) -> Role {
    const LEFT: [&[u8]; 6] = [b"~", b".bak", b".rpmnew", b".rpmsave", b".rpmorig", b".swp"];
    let name = name.as_bytes();
    if name.starts_with(b".") || name.starts_with(b"#") {
        Role::Leftover
    } else if name.ends_with(b".toml") {
        Role::Policy
    } else if LEFT.iter().any(|end| name.ends_with(end))
        || name
            .windows(6)
            .any(|part| part == b".dpkg-" || part == b".ucf-d")
    {
        Role::Leftover
    } else {
        Role::Other
    }
}

fn refusal(error: Distrusted) -> Diagnostic {
    whole(Severity::Error, &error.path, error.why)
}

fn whole(severity: Severity, path: &Path, message: impl Into<String>) -> Diagnostic {
    Diagnostic::whole(
        severity,
        &line(path.as_os_str().as_bytes(), caps::PATH),
        message,
    )
}

#[cfg(test)]
mod tests;
