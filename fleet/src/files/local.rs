//! A file of this computer that comes into being whole or not at all.
//!
//! **Invariant:** bytes go to a hidden file beside the target, which gets the final name at the end. A file that is there
//! is replaced only if the user says so, and only a regular one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::directory::{Directory, Found, Made};
use super::targets::LocalFile;
use crate::request_id;

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// With the way out.
    Stays(&'static str),
    Replaced,
}

/// A file under a temporary name. Dropping it removes it, and the directory that was made for it.
#[derive(Debug)]
pub struct Part {
    // Dropped in this order: the directory is empty when it goes.
    temporary: Temporary,
    to: OsString,
    existing: Existing,
    made: Made,
}

#[derive(Debug)]
struct Temporary {
    dir: Directory,
    name: OsString,
    file: File,
}

impl Part {
    /// A file where the user's words say.
    pub fn new(target: &LocalFile, existing: Existing) -> Result<Self, String> {
        let parent = |path: &Path| Directory::open(path.parent().unwrap_or(Path::new("")));
        let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
        let (made, dir) = match &target.dir {
            Some(dir) => Made::child(parent(dir)?, &name(dir))?,
            None => (Made::none(), parent(&target.file)?),
        };
        Self::within((made, dir), name(&target.file), existing)
    }

    pub fn within(
        (made, dir): (Made, Directory),
        to: OsString,
        existing: Existing,
    ) -> Result<Self, String> {
        let shown = dir.path_of(&to);
        let shown = shown.display();
        match (dir.find(&to)?, existing) {
            (Found::Nothing, _) | (Found::File, Existing::Replaced) => {}
            (Found::File, Existing::Stays(way_out)) => {
                return Err(format!("'{shown}' is there; {way_out}"));
            }
            (Found::Directory, _) => return Err(format!("'{shown}' is a directory")),
            (Found::Other, _) => {
                return Err(format!("'{shown}' is no regular file and is not replaced"));
            }
        }
        let opened = request_id::fresh().and_then(|id| {
            let name = OsString::from(format!(".remit-{id}.part"));
            Ok((dir.create(&name)?, name))
        });
        let (file, name) = opened.map_err(|error| format!("cannot write '{shown}': {error}"))?;
        Ok(Self {
            temporary: Temporary { dir, name, file },
            to,
            existing,
            made,
        })
    }

    /// Gives the file its name, and returns that.
    pub fn keep(mut self) -> Result<PathBuf, String> {
        let Temporary { dir, name, file } = &self.temporary;
        let path = dir.path_of(&self.to);
        // After a crash of the computer there is no shorter file under the name.
        let renamed = file.sync_all().and_then(|()| match self.existing {
            Existing::Replaced => dir.rename(name, &self.to),
            Existing::Stays(_) => dir.rename_new(name, &self.to),
        });
        match renamed {
            Ok(()) => {
                self.made.keep();
                Ok(path)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(format!(
                "'{}' came into being meanwhile; it stays",
                path.display()
            )),
            Err(error) => Err(format!("cannot write '{}': {error}", path.display())),
        }
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It has another name by then, or goes.
        self.dir.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use remit_tests::test_dir::TestDir;

    use super::*;

    fn part(file: PathBuf, dir: Option<PathBuf>, may_replace: bool) -> Result<Part, String> {
        let existing = match may_replace {
            true => Existing::Replaced,
            false => Existing::Stays("--force replaces it"),
        };
        Part::new(&LocalFile { file, dir }, existing)
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
            ("nothing/a", "cannot use"),
            ("file/a", "cannot use"),
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
