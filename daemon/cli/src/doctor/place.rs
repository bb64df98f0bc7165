//! A name in the file system: what it is, whose, and who may write it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use remit_common::{caps, text};

/// What a name stands for. Links are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its owner.
    pub owner: Named,
    /// Its group.
    pub group: Named,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
}

/// A file's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Socket,
    Link,
    /// A device or a FIFO.
    Other,
}

/// An id and its name; the number again where it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub id: u32,
    pub name: String,
}

impl Place {
    /// Looks at a path; `None` where nothing is.
    ///
    /// # Errors
    /// As lstat(2), but for a name that is missing.
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
                () if kind.is_file() => Kind::File,
                () if kind.is_dir() => Kind::Directory,
                () if kind.is_socket() => Kind::Socket,
                () if kind.is_symlink() => Kind::Link,
                () => Kind::Other,
            },
            owner: Named::user(meta.uid()),
            group: Named::group(meta.gid()),
            mode: meta.mode() & 0o7777,
        }))
    }

    /// Looks at a path and every directory above it, from the root on; as far as there is something.
    /// Where a link is among them, the way to what it leads to follows; what is masked by a link to
    /// `/dev/null` is as good as missing.
    ///
    /// # Errors
    /// As [`Place::look`].
    pub fn way(path: &Path) -> io::Result<Vec<Self>> {
        let mut places = Self::steps(path)?;
        if places.iter().any(|place| place.kind == Kind::Link)
            && let Ok(end) = path.canonicalize()
            && end != Path::new("/dev/null")
        {
            places.extend(Self::steps(&end)?);
        }
        Ok(places)
    }

    fn steps(path: &Path) -> io::Result<Vec<Self>> {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        let mut places = Vec::new();
        for path in way {
            match Self::look(path)? {
                Some(place) => places.push(place),
                None => break,
            }
        }
        Ok(places)
    }

    /// Why others than root can change it, and the command that ends that.
    pub fn fault(&self) -> Option<(String, String)> {
        self.fault_besides(0)
    }

    /// As [`Place::fault`], for something that user `uid` may own as well.
    pub fn fault_besides(&self, uid: u32) -> Option<(String, String)> {
        let path = self.path.display();
        let shell = word(&self.path);
        let takes_writers = match self.mode & 0o1000 {
            0 => format!("chmod go-w {shell}"),
            // Such as /tmp, which has to be so.
            _ => format!("move what is in {shell} elsewhere"),
        };
        let (is, fix) = if self.owner.id != 0 && self.owner.id != uid {
            let owner = &self.owner.name;
            (
                format!("belongs to user '{owner}'"),
                format!("chown root: {shell}"),
            )
        } else if self.kind == Kind::Link {
            // The bits of a link mean nothing (symlink(7)).
            return None;
        } else if self.mode & 0o002 != 0 {
            ("is writable by everyone".to_owned(), takes_writers)
        } else if self.mode & 0o020 != 0 {
            // Group root too: where there is an access control list, this bit is its mask (acl(5)).
            let group = &self.group.name;
            (format!("is writable by group '{group}'"), takes_writers)
        } else {
            return None;
        };
        Some((format!("'{path}' {is}"), fix))
    }
}

/// A path as a word of a command.
pub fn word(path: &Path) -> String {
    text::command_line(&[path.as_os_str().as_bytes()], caps::PATH)
}

impl Named {
    /// A user by number.
    pub fn user(id: u32) -> Self {
        let user = User::from_uid(Uid::from_raw(id)).ok().flatten();
        let name = user.map_or_else(|| id.to_string(), |user| user.name);
        Self { id, name }
    }

    /// A group by number.
    pub fn group(id: u32) -> Self {
        let group = Group::from_gid(Gid::from_raw(id)).ok().flatten();
        let name = group.map_or_else(|| id.to_string(), |group| group.name);
        Self { id, name }
    }

    /// For tests.
    #[cfg(test)]
    pub fn fake(id: u32, name: &str) -> Self {
        let name = name.to_owned();
        Self { id, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn place(kind: Kind, uid: u32, gid: u32, mode: u32) -> Place {
        Place {
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
            (Kind::File, 0, 0, 0o644, None),
            (Kind::File, 0, 7, 0o644, None),
            (
                Kind::File,
                0,
                0,
                0o664,
                Some("'/x' is writable by group 'us'"),
            ),
            (Kind::Link, 0, 7, 0o777, None),
            (
                Kind::File,
                0,
                7,
                0o664,
                Some("'/x' is writable by group 'us'"),
            ),
            (
                Kind::Directory,
                0,
                0,
                0o1777,
                Some("'/x' is writable by everyone"),
            ),
            (Kind::File, 7, 0, 0o644, Some("'/x' belongs to user 'them'")),
            (Kind::Link, 7, 0, 0o777, Some("'/x' belongs to user 'them'")),
        ];
        for (kind, uid, gid, mode, expect) in cases {
            let fault = place(kind, uid, gid, mode).fault();
            assert_eq!(fault.map(|(why, _)| why).as_deref(), expect, "{mode:o}");
        }
        assert_eq!(place(Kind::File, 7, 0, 0o644).fault_besides(7), None);
    }

    #[test]
    fn the_way_begins_at_the_root_and_ends_where_nothing_is() {
        let way = Place::way(Path::new("/etc/passwd/none")).unwrap();
        let paths: Vec<&Path> = way.iter().map(|place| place.path.as_path()).collect();
        assert_eq!(
            paths,
            [Path::new("/"), Path::new("/etc"), Path::new("/etc/passwd")]
        );
        assert_eq!(way[2].kind, Kind::File);
        assert_eq!(way[2].owner, Named::fake(0, "root"));
    }

    #[test]
    fn the_way_goes_on_where_a_link_leads() {
        let dir = std::env::temp_dir().join(format!("remit-way-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("real/below")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        let way = Place::way(&dir.join("link/below")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let has = |name: &str| way.iter().any(|place| place.path.ends_with(name));
        assert!(has("link") && has("real") && has("real/below"), "{way:?}");
        // Nobody is told to take rights from a directory that all need.
        let (_, fix) = place(Kind::Directory, 0, 0, 0o1777).fault().unwrap();
        assert!(!fix.contains("chmod"), "{fix}");
    }
}
