//! Where files of hosts go: the user's words decide it, a host never.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::host_name::HostName;

#[derive(Debug, PartialEq, Eq)]
pub enum Targets {
    /// The file of the only host.
    One(PathBuf),
    /// The file of this name of each host, in a directory of the host's name below this one.
    Each { dir: PathBuf, name: OsString },
}

/// A file, and the directory that is made for it if it is not there.
#[derive(Debug, PartialEq, Eq)]
pub struct LocalFile {
    pub file: PathBuf,
    pub dir: Option<PathBuf>,
}

impl Targets {
    /// Reads the user's words. Asks the file system, and makes nothing.
    pub fn new(local: Option<&Path>, remote: &[u8], hosts: usize) -> Result<Self, String> {
        let name = name_of(remote)?;
        if local.is_some_and(|local| local.as_os_str() == "-") {
            return Err(
                "files are not printed here; 'ssh HOST mcp-shim --get PATH' prints one".to_owned(),
            );
        }
        if hosts > 1 {
            let dir = local.unwrap_or(Path::new(".")).to_path_buf();
            return match dir.metadata() {
                Ok(found) if !found.is_dir() => Err(format!(
                    "'{}' is no directory, and {hosts} hosts have a directory each in it",
                    dir.display()
                )),
                _ => Ok(Self::Each {
                    dir,
                    name: name.to_owned(),
                }),
            };
        }
        let file = match local {
            None => PathBuf::from(name),
            Some(local) if local.is_dir() => local.join(name),
            Some(local) if local.as_os_str().as_bytes().ends_with(b"/") => {
                return Err(format!("there is no directory '{}'", local.display()));
            }
            Some(local) => local.to_path_buf(),
        };
        match file.file_name() {
            Some(_) => Ok(Self::One(file)),
            None => Err(format!("'{}' names no file", file.display())),
        }
    }

    /// Returns the directory that has one for each host.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::One(_) => None,
            Self::Each { dir, .. } => Some(dir),
        }
    }

    pub fn target(&self, host: &HostName) -> LocalFile {
        match self {
            Self::One(file) => LocalFile {
                file: file.clone(),
                dir: None,
            },
            Self::Each { dir, name } => {
                // The name of a host is one component, and neither '.' nor '..'.
                let dir = dir.join(host.as_str());
                LocalFile {
                    file: dir.join(name),
                    dir: Some(dir),
                }
            }
        }
    }
}

/// Returns the last part of an absolute path of a host.
pub fn name_of(remote: &[u8]) -> Result<&OsStr, String> {
    let path = Path::new(OsStr::from_bytes(remote));
    let name = path.file_name().filter(|_| path.is_absolute());
    if remote.contains(&0) {
        return Err("a path has no NUL".to_owned());
    }
    name.ok_or_else(|| "give an absolute path of a file, as /var/log/syslog".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(local: Option<&str>, remote: &str, hosts: usize) -> Result<String, String> {
        let targets = Targets::new(local.map(Path::new), remote.as_bytes(), hosts)?;
        let target = targets.target(&"web1".parse().unwrap());
        Ok(target.file.display().to_string())
    }

    #[test]
    fn words_of_the_user_decide() {
        for (local, remote, hosts, expect) in [
            (None, "/var/log/syslog", 1, "syslog"),
            (Some("a/b"), "/var/log/syslog", 1, "a/b"),
            (Some("/"), "/var/log/syslog", 1, "/syslog"),
            (None, "/var/log/syslog", 2, "./web1/syslog"),
            (Some("/"), "/var/log/syslog/", 2, "/web1/syslog"),
            (Some("nonexistent"), "/a b", 2, "nonexistent/web1/a b"),
        ] {
            assert_eq!(target(local, remote, hosts).as_deref(), Ok(expect));
        }
        for (local, remote, hosts, expect) in [
            (None, "var/log", 1, "give an absolute path"),
            (None, "", 1, "give an absolute path"),
            (None, "/", 1, "give an absolute path"),
            (None, "/var/..", 1, "give an absolute path"),
            (None, "/a\0", 1, "a path has no NUL"),
            (Some("-"), "/a", 1, "files are not printed here"),
            (Some("nonexistent/"), "/a", 1, "there is no directory"),
            (Some(".."), "/a", 1, ""),
            (
                Some("/proc/version"),
                "/a",
                2,
                "'/proc/version' is no directory",
            ),
        ] {
            match target(local, remote, hosts) {
                Ok(found) => assert_eq!((expect, &*found), ("", "../a")),
                Err(why) => assert!(why.starts_with(expect), "{local:?} {remote}: {why}"),
            }
        }
    }
}
