//! Reads metadata of paths, finds who may write them, and reads small files whole, safely where others can write.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Group, Uid, User};
use remit_common::{caps, text};

/// The state of a path. Links are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    pub path: PathBuf,
    pub kind: FileKind,
    pub owner: Named,
    pub group: Named,
    pub mode: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Socket,
    Link,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub id: u32,
    pub name: String,
}

impl FileFacts {
    pub fn look(path: &Path) -> io::Result<Option<Self>> {
        let meta = match path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                    _ => Err(error),
                };
            }
        };
        let kind = meta.file_type();
        Ok(Some(Self {
            path: path.to_owned(),
            kind: match () {
                () if kind.is_file() => FileKind::File,
                () if kind.is_dir() => FileKind::Directory,
                () if kind.is_socket() => FileKind::Socket,
                () if kind.is_symlink() => FileKind::Link,
                () => FileKind::Other,
            },
            owner: Named::user(meta.uid()),
            group: Named::group(meta.gid()),
            mode: meta.mode() & 0o7777,
        }))
    }

    /// Reads the metadata of a path and every directory above it, starting at the root, as far as they exist. If a
    /// link is among them, the way to its target follows. A link to `/dev/null` (a masked unit) counts as missing.
    pub fn along_path(path: &Path) -> io::Result<Vec<Self>> {
        let mut found = Self::steps(path)?;
        if found.iter().any(|facts| facts.kind == FileKind::Link)
            && let Ok(end) = path.canonicalize()
            && end != Path::new("/dev/null")
        {
            found.extend(Self::steps(&end)?);
        }
        Ok(found)
    }

    fn steps(path: &Path) -> io::Result<Vec<Self>> {
        let mut along_path: Vec<&Path> = path.ancestors().collect();
        along_path.reverse();
        let mut found = Vec::new();
        for path in along_path {
            match Self::look(path)? {
                Some(facts) => found.push(facts),
                None => break,
            }
        }
        Ok(found)
    }

    /// Returns why users other than root can change the path, and a command that fixes it.
    pub fn fault(&self) -> Option<(String, String)> {
        self.fault_besides(0)
    }

    /// As [`FileFacts::fault`], but user `uid` may own the path as well.
    pub fn fault_besides(&self, uid: u32) -> Option<(String, String)> {
        let path = self.path.display();
        let shell = word(&self.path);
        let takes_writers = match self.mode & 0o1000 {
            0 => format!("chmod go-w {shell}"),
            // A sticky directory such as /tmp must stay writable.
            _ => format!("use a directory that is not below {shell}"),
        };
        let (is, fix) = if self.owner.id != 0 && self.owner.id != uid {
            let owner = &self.owner.name;
            (
                format!("belongs to user '{owner}'"),
                format!("chown root: {shell}"),
            )
        } else if self.kind == FileKind::Link {
            return None; // The mode bits of a link have no meaning (symlink(7)).
        } else if self.mode & 0o002 != 0 {
            ("is writable by everyone".to_owned(), takes_writers)
        } else if self.mode & 0o020 != 0 {
            // Group root is no exception: with an access control list this bit is its mask (acl(5)).
            let group = &self.group.name;
            (format!("is writable by group '{group}'"), takes_writers)
        } else {
            return None;
        };
        Some((format!("'{path}' {is}"), fix))
    }
}

pub fn word(path: &Path) -> String {
    text::command_line(&[path.as_os_str().as_bytes()], caps::PATH)
}

impl Named {
    pub fn user(id: u32) -> Self {
        let user = User::from_uid(Uid::from_raw(id)).ok().flatten();
        let name = user.map_or_else(|| id.to_string(), |user| user.name);
        Self { id, name }
    }

    pub fn group(id: u32) -> Self {
        let group = Group::from_gid(Gid::from_raw(id)).ok().flatten();
        let name = group.map_or_else(|| id.to_string(), |group| group.name);
        Self { id, name }
    }

    #[cfg(test)]
    pub fn fake(id: u32, name: &str) -> Self {
        let name = name.to_owned();
        Self { id, name }
    }
}

const MOST_BYTES: u64 = 1 << 20;

/// Returns the bytes of a regular file of at most 1 MiB; `None`: there is none. Follows no link, blocks on no FIFO.
pub fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
    {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(error),
            };
        }
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MOST_BYTES => Ok(Some(bytes)),
        Ok(_) | Err(_) => Err(io::Error::other(format!(
            "it is larger than {MOST_BYTES} bytes"
        ))),
    }
}

/// Reads a file of keys; `None` if it is missing. `unread` takes why it cannot be read, and the way out.
pub fn read_keys(file: &Path, unread: impl FnOnce(String, String)) -> Option<Vec<u8>> {
    read_bytes(file).unwrap_or_else(|error| {
        let why = format!(
            "cannot read '{}', so its keys are unknown: {error}",
            file.display()
        );
        unread(why, format!("ls -l {}", word(file)));
        None
    })
}

pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    Ok(read_bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    pub fn facts(kind: FileKind, uid: u32, gid: u32, mode: u32) -> FileFacts {
        FileFacts {
            path: "/x".into(),
            kind,
            owner: Named::fake(uid, "them"),
            group: Named::fake(gid, "us"),
            mode,
        }
    }

    #[test]
    fn only_root_may_change_it() {
        let cases = [
            (FileKind::File, 0, 0, 0o644, None),
            (FileKind::File, 0, 7, 0o644, None),
            (
                FileKind::File,
                0,
                0,
                0o664,
                Some("'/x' is writable by group 'us'"),
            ),
            (FileKind::Link, 0, 7, 0o777, None),
            (
                FileKind::File,
                0,
                7,
                0o664,
                Some("'/x' is writable by group 'us'"),
            ),
            (
                FileKind::Directory,
                0,
                0,
                0o1777,
                Some("'/x' is writable by everyone"),
            ),
            (
                FileKind::File,
                7,
                0,
                0o644,
                Some("'/x' belongs to user 'them'"),
            ),
            (
                FileKind::Link,
                7,
                0,
                0o777,
                Some("'/x' belongs to user 'them'"),
            ),
        ];
        for (kind, uid, gid, mode, expect) in cases {
            let fault = facts(kind, uid, gid, mode).fault();
            assert_eq!(fault.map(|(why, _)| why).as_deref(), expect, "{mode:o}");
        }
        assert_eq!(facts(FileKind::File, 7, 0, 0o644).fault_besides(7), None);
    }

    #[test]
    fn path_steps_end_at_first_missing_file() {
        let along_path = FileFacts::along_path(Path::new("/etc/passwd/none")).unwrap();
        let paths: Vec<&Path> = along_path
            .iter()
            .map(|facts| facts.path.as_path())
            .collect();
        assert_eq!(
            paths,
            [Path::new("/"), Path::new("/etc"), Path::new("/etc/passwd")]
        );
        assert_eq!(along_path[2].kind, FileKind::File);
        assert_eq!(along_path[2].owner, Named::fake(0, "root"));
    }

    #[test]
    fn the_way_goes_on_where_a_link_leads() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-way-XXXXXX")).unwrap();
        fs::create_dir_all(dir.join("real/below")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        let along_path = FileFacts::along_path(&dir.join("link/below")).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let has = |name: &str| along_path.iter().any(|facts| facts.path.ends_with(name));
        assert!(
            has("link") && has("real") && has("real/below"),
            "{along_path:?}"
        );
        // No fix may remove rights from a directory that all users need.
        let (_, fix) = facts(FileKind::Directory, 0, 0, 0o1777).fault().unwrap();
        assert!(!fix.contains("chmod"), "{fix}");
    }

    #[test]
    fn a_trap_is_not_stepped_into() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-read-XXXXXX")).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("file"), "text").unwrap();
        fs::write(at("large"), vec![b'x'; 1 + MOST_BYTES as usize]).unwrap();
        symlink(at("file"), at("link")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let found = ["file", "missing", "file/x"].map(|name| read_bytes(&at(name)));
        let refused = ["large", "link", "fifo", "."].map(|name| read_bytes(&at(name)).is_err());
        fs::remove_dir_all(&dir).unwrap();
        let [file, missing, below] = found.map(Result::unwrap);
        assert_eq!(file.as_deref(), Some(&b"text"[..]));
        assert_eq!((missing, below), (None, None));
        assert_eq!(refused, [true; 4]);
    }
}
