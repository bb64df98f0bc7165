//! Reads files and lists directories of a machine, as they are or would be.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::read;
use remit_common::prove::Content;

use super::entry::Kind;
use super::{Machine, reason};
use crate::path::FilePath;

impl Machine {
    /// Returns the content of a file, through links. `None` if there is none, or it is unknown.
    pub fn read(&self, path: &FilePath) -> Option<Vec<u8>> {
        self.content(path, self.bounds.file, |_| true)
    }

    /// Returns the content of a file that begins with `#!`, or has no NUL at its begin: a shell reads such a text, too. At most
    /// so many bytes.
    pub fn script(&self, path: &FilePath, most: usize) -> Option<Vec<u8>> {
        self.content(path, most, is_of_script)
    }

    /// Returns true if a file begins with `#!`. No more of it is read.
    pub fn is_script(&self, path: &FilePath) -> bool {
        let Some((end, entry)) = self.entry(path) else {
            return false;
        };
        if entry.kind != Kind::File {
            return false;
        }
        let begin = || -> nix::Result<bool> {
            let fd = self.open_at(&end, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
            let mut begin = [0; 2];
            Ok(read(&fd, &mut begin)? == begin.len() && begin == *b"#!")
        };
        match self.changes.content(&end) {
            None => begin().unwrap_or_else(|errno| {
                self.unknown(&end, reason(errno));
                false
            }),
            Some(Content::File(bytes)) => bytes.starts_with(b"#!"),
            Some(_) => {
                self.unknown(&end, "its new bytes are not known here");
                false
            }
        }
    }

    /// Returns at most so many bytes of a file.
    pub fn text(&self, path: &FilePath, most: usize) -> Option<Vec<u8>> {
        self.content(path, most, |_| true)
    }

    fn content(&self, path: &FilePath, most: usize, is_one: fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let (end, entry) = self.entry(path)?;
        if entry.kind != Kind::File {
            return None;
        }
        let content = match self.changes.content(&end) {
            None => self.read_file(&end, most, is_one),
            Some(Content::File(bytes)) => Ok(self.bounded(&end, bytes, most, is_one)),
            Some(_) => {
                self.unknown(&end, "its new bytes are not known here");
                return None;
            }
        };
        content.unwrap_or_else(|errno| {
            self.unknown(&end, reason(errno));
            None
        })
    }

    fn read_file(
        &self,
        path: &FilePath,
        most: usize,
        is_one: fn(&[u8]) -> bool,
    ) -> nix::Result<Option<Vec<u8>>> {
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        if fstat(&fd)?.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::ESTALE);
        }
        let most = self.left(most);
        let mut content = Vec::new();
        let mut buffer = vec![0; 4096];
        while content.len() <= most {
            let length = read(&fd, &mut buffer)?;
            if length == 0 {
                break;
            }
            content.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if !is_one(&content) {
                return Ok(None);
            }
            buffer.resize(1 << 16, 0);
        }
        Ok(self.bounded(path, &content, most, is_one))
    }

    /// Returns how many of so many bytes may be read.
    fn left(&self, most: usize) -> usize {
        most.min(self.bounds.bytes.saturating_sub(self.bytes.get()))
    }

    /// Returns the first `most` bytes of such a file.
    fn bounded(
        &self,
        path: &FilePath,
        content: &[u8],
        most: usize,
        is_one: fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let most = self.left(most);
        let known = content.get(..most).unwrap_or(content);
        if known.len() < content.len() {
            self.unknown(path, format!("only its first {most} bytes were read"));
            if self.left(self.bounds.file) < self.bounds.file {
                let bytes = self.bounds.bytes;
                self.over(path, &format!("more than {bytes} bytes were read"));
            }
        }
        self.bytes.set(self.bytes.get().saturating_add(known.len()));
        self.pay_bytes(known.len());
        is_one(known).then(|| known.to_vec())
    }

    /// Returns the names in a directory, sorted, through links. Empty if there is none, or it is unknown.
    pub fn list(&self, path: &FilePath) -> Vec<Vec<u8>> {
        let Some((end, _)) = self.entry(path).filter(|(_, entry)| entry.is_directory()) else {
            return Vec::new();
        };
        if self.is_over(&end) {
            return Vec::new();
        }
        let (new, removed) = self.changes.names(&end);
        let list = || -> nix::Result<Vec<Vec<u8>>> {
            let mut names: Vec<Vec<u8>> = new.iter().map(|name| name.to_vec()).collect();
            let fd = match self.open_at(&end, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                Ok(fd) => fd,
                // It is new itself.
                Err(_) if self.changes.content(&end).is_some() => return Ok(names),
                Err(errno) => return Err(errno),
            };
            for found in Dir::from_fd(fd)?.iter() {
                let name = found?.file_name().to_bytes().to_vec();
                let is_in = |sorted: &[&[u8]]| sorted.binary_search(&&name[..]).is_ok();
                let is_changed = is_in(&new) || is_in(&removed);
                if name == b"." || name == b".." || is_changed {
                    continue;
                }
                if names.len() >= self.bounds.entries {
                    self.unknown(&end, format!("only {} of its names were read", names.len()));
                    break;
                }
                names.push(name);
            }
            self.pay(names.len());
            names.sort_unstable();
            Ok(names)
        };
        list().unwrap_or_else(|errno| {
            self.unknown(&end, reason(errno));
            Vec::new()
        })
    }
}

/// Bytes in which execve(2) and shells look for what a file is.
const BEGIN: usize = 80;

fn is_of_script(content: &[u8]) -> bool {
    let begin = content.get(..BEGIN).unwrap_or(content);
    content.starts_with(b"#!") || !begin.contains(&0)
}
