//! Files that other programs read: written whole or not at all, and over nothing but an earlier file of the same verb.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use remit_common::refusal::{Code, Refusal};

use crate::error::Failure;

/// A file as its verb writes it.
#[derive(Clone, Copy, Debug)]
pub struct OwnFile<'a> {
    pub path: &'a Path,
    /// What each file of this verb begins with.
    pub start: &'static str,
    /// Permissions, whatever the umask is.
    pub mode: u32,
    /// The verb, as it is typed.
    pub writer: &'static str,
    /// How to replace another file.
    pub next: &'static str,
    /// Replaces every regular file.
    pub force: bool,
}

impl OwnFile<'_> {
    /// Checks if the file may be written, before its contents are made.
    pub fn check(&self) -> Result<(), Failure> {
        match self.path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.unwritable(&error)),
            Ok(found) if !found.is_file() => {
                let text = format!(
                    "'{}' is no regular file and is not replaced",
                    self.path.display()
                );
                let refusal = Refusal::new(Code::InvalidArgs, text);
                Err(Failure::Input(
                    refusal.next("name another, or '-' for standard output"),
                ))
            }
            Ok(_) if self.force => Ok(()),
            Ok(_) => match self.is_own() {
                Ok(true) => Ok(()),
                Ok(false) => Err(self.not_replaced()),
                Err(error) => Err(self.unwritable(&error)),
            },
        }
    }

    pub fn write(&self, text: &str) -> Result<(), Failure> {
        let new = self.beside();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        // Whatever is there already belongs to somebody else, and stays.
        let file = options
            .open(&new)
            .map_err(|error| self.unwritable(&error))?;
        let written = self
            .fill(file, text)
            .map_err(|error| self.unwritable(&error))
            .and_then(|()| self.put(&new));
        if written.is_err() {
            // The error that follows says what matters.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn fill(&self, mut file: File, text: &str) -> io::Result<()> {
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.sync_all()
    }

    /// A file that came meanwhile is judged, too: link(2) replaces none.
    fn put(&self, new: &Path) -> Result<(), Failure> {
        match fs::hard_link(new, self.path) {
            Ok(()) => {
                let _ = fs::remove_file(new);
                Ok(())
            }
            Err(_) => {
                self.check()?;
                fs::rename(new, self.path).map_err(|error| self.unwritable(&error))
            }
        }
    }

    /// Neither follows a symbolic link nor waits for a FIFO: the directory may be another user's.
    fn is_own(&self) -> io::Result<bool> {
        let mut start = Vec::new();
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(self.path)?;
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        file.take(self.start.len() as u64).read_to_end(&mut start)?;
        Ok(start == self.start.as_bytes())
    }

    /// Returns a name in the same directory that no other process of this program uses.
    fn beside(&self) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(format!(".{}.new", std::process::id()));
        self.path.with_file_name(name)
    }

    fn not_replaced(&self) -> Failure {
        let text = format!(
            "'{}' was not written by '{}' and is not replaced",
            self.path.display(),
            self.writer
        );
        Failure::Input(Refusal::new(Code::InvalidArgs, text).next(self.next))
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        let text = format!("cannot write '{}': {error}", self.path.display());
        Failure::Input(Refusal::new(Code::InvalidArgs, text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    const START: &str = "# ours\n";

    fn file(path: &Path, force: bool) -> OwnFile<'_> {
        OwnFile {
            path,
            start: START,
            mode: 0o644,
            writer: "remit x",
            next: "name another",
            force,
        }
    }

    #[test]
    fn only_an_own_file_is_replaced() {
        let dir = std::env::temp_dir().join(format!("remit-own-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let page = format!("{START}x");
        let path = dir.join("a.html");
        let read = || fs::read_to_string(&path).unwrap();
        file(&path, false).check().unwrap();
        file(&path, false).write(&page).unwrap();
        assert_eq!(
            (
                read(),
                path.metadata().unwrap().permissions().mode() & 0o777
            ),
            (page.clone(), 0o644)
        );
        let second = format!("{START}y");
        file(&path, false).write(&second).unwrap();
        assert_eq!(read(), second);
        for other in ["", "x", "# our\n", &format!(" {START}")] {
            fs::write(&path, other).unwrap();
            file(&path, false).check().unwrap_err();
            file(&path, false).write(&page).unwrap_err();
            assert_eq!(read(), other);
            file(&path, true).write(&page).unwrap();
            assert_eq!(read(), page);
        }
        let (link, missing, fifo) = (dir.join("link"), dir.join("no/a.html"), dir.join("fifo"));
        symlink(&path, &link).unwrap();
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for (path, force) in [
            (&link, true),
            (&link, false),
            (&dir, true),
            (&fifo, true),
            (&fifo, false),
            (&missing, true),
        ] {
            file(path, force).write(&page).unwrap_err();
        }
        // What comes between the first look and the open.
        assert!(file(&link, false).is_own().is_err());
        assert!(!file(&fifo, false).is_own().unwrap());
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(read(), page);
        // Somebody was there first, and owns it.
        let other = file(&path, true).beside();
        fs::write(&other, "other").unwrap();
        file(&path, true).write(&second).unwrap_err();
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
        fs::remove_file(&other).unwrap();
        let mut left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|one| one.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a.html", "fifo", "link"]);
        fs::remove_dir_all(dir).unwrap();
    }
}
