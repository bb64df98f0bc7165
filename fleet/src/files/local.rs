//! A file of this computer that comes into being whole or not at all.
//!
//! **Invariant:** bytes go to a hidden file beside the target, which gets the final name at the end. A file that is there
//! is replaced only if the user says so, and only a regular one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::place::Target;
use crate::request_id;

/// A file under a temporary name. Dropping it removes it, and the directory that was made for it.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    to: PathBuf,
    made: Option<PathBuf>,
    may_replace: bool,
}

/// Fails if the target cannot be made because of what is there now.
pub fn check(to: &Path, may_replace: bool) -> Result<(), String> {
    let shown = to.display();
    match to.symlink_metadata() {
        Ok(found) if found.is_dir() => Err(format!("'{shown}' is a directory")),
        Ok(found) if !found.is_file() => {
            Err(format!("'{shown}' is no regular file and is not replaced"))
        }
        Ok(_) if !may_replace => Err(format!("'{shown}' is there; --force replaces it")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(to, &error)),
    }
}

impl Part {
    pub fn new(target: Target, may_replace: bool) -> Result<Self, String> {
        let Target { file: to, dir } = target;
        check(&to, may_replace)?;
        let made = match dir {
            Some(dir) => make(&dir)?.then_some(dir),
            None => None,
        };
        let opened = request_id::fresh().and_then(|id| {
            let path = to.with_file_name(format!(".remit-{id}.part"));
            let mut options = OpenOptions::new();
            let file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            Ok((file, path))
        });
        match opened {
            Ok((file, path)) => Ok(Self {
                file,
                path,
                to,
                made,
                may_replace,
            }),
            Err(error) => {
                remove(made.as_deref());
                Err(unwritable(&to, &error))
            }
        }
    }

    /// Gives the file its name, and returns that.
    pub fn keep(mut self) -> Result<PathBuf, String> {
        // After a crash of the computer there is no shorter file under the name.
        let placed = self.file.sync_all().and_then(|()| self.place());
        placed.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                format!(
                    "'{}' came into being meanwhile; it stays",
                    self.to.display()
                )
            }
            _ => unwritable(&self.to, &error),
        })?;
        self.made = None;
        Ok(self.to.clone())
    }

    fn place(&self) -> io::Result<()> {
        if self.may_replace {
            return fs::rename(&self.path, &self.to);
        }
        match fs::hard_link(&self.path, &self.to) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                // A file system without hard links: an empty file keeps the name until the rename.
                File::create_new(&self.to)?;
                fs::rename(&self.path, &self.to).inspect_err(|_| drop(fs::remove_file(&self.to)))
            }
            linked => linked,
        }
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has another name by then, or goes.
        let _ = fs::remove_file(&self.path);
        remove(self.made.as_deref());
    }
}

/// Makes a directory of the user's alone. Returns false if it was there. A link to one is refused.
fn make(dir: &Path) -> Result<bool, String> {
    let shown = dir.display();
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match dir.symlink_metadata() {
            Ok(found) if found.is_dir() => Ok(false),
            Ok(_) => Err(format!("'{shown}' is no directory")),
            Err(error) => Err(unwritable(dir, &error)),
        },
        Err(error) => Err(unwritable(dir, &error)),
    }
}

/// Makes the directory of all hosts, unless it is there.
pub fn make_all(dir: &Path) -> Result<bool, String> {
    match dir.is_dir() {
        true => Ok(false),
        false => make(dir),
    }
}

/// Removes a directory that was made for nothing. One with something in it stays.
pub fn remove(dir: Option<&Path>) {
    if let Some(dir) = dir {
        let _ = fs::remove_dir(dir);
    }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("cannot write '{}': {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use remit_tests::test_dir::TestDir;

    use super::*;

    fn part(file: PathBuf, dir: Option<PathBuf>, may_replace: bool) -> Result<Part, String> {
        Part::new(Target { file, dir }, may_replace)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn file_comes_whole_or_not_at_all() {
        let dir = TestDir::new();
        let (home, host) = (dir.path(), dir.path().join("web1"));
        let to = host.join("a");
        let mut new = part(to.clone(), Some(host.clone()), false).unwrap();
        new.write_all(b"half").unwrap();
        assert!(!to.exists());
        drop(new);
        assert_eq!(names(home), [""; 0], "the directory goes, too");
        let mut new = part(to.clone(), Some(host.clone()), false).unwrap();
        new.write_all(b"all").unwrap();
        assert_eq!(new.keep(), Ok(to.clone()));
        assert_eq!(names(&host), ["a"]);
        assert_eq!(fs::read(&to).unwrap(), b"all");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&to), mode(&host)), (0o600, 0o700));
    }

    #[test]
    fn other_file_stays_unless_the_user_says_so() {
        let dir = TestDir::new();
        let to = dir.path().join("a");
        let early = part(to.clone(), None, false).unwrap();
        fs::write(&to, "mine").unwrap();
        let why = early.keep().unwrap_err();
        assert!(why.contains("came into being meanwhile"), "{why}");
        let why = part(to.clone(), None, false).unwrap_err();
        assert!(why.ends_with("--force replaces it"), "{why}");
        let mut new = part(to.clone(), None, true).unwrap();
        new.write_all(b"new").unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"mine");
        new.keep().unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let dir = TestDir::new();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "mine").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        symlink("dir", at("linked")).unwrap();
        for (name, expect) in [
            ("dir", "is a directory"),
            ("link", "is no regular file and is not replaced"),
            ("dangling", "is no regular file and is not replaced"),
            ("nothing/a", "cannot write"),
            ("file/a", "cannot write"),
        ] {
            let why = part(at(name), None, true).unwrap_err();
            assert!(why.contains(expect), "{name}: {why}");
        }
        // The directory of a host is no link to another one.
        let why = part(at("linked/a"), Some(at("linked")), true).unwrap_err();
        assert!(why.ends_with("linked' is no directory"), "{why}");
        assert_eq!(names(&at("dir")), [""; 0]);
        assert_eq!(fs::read(at("file")).unwrap(), b"mine");
    }
}
