//! What decides about access to one file: owner, mode, access list. Pure.

use crate::path::FilePath;

/// One entry of the file system, as lstat(2) and its access list (acl(5)) describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub uid: u32,
    pub gid: u32,
    /// Permission, sticky and set-id bits.
    pub mode: u32,
    /// Of named users and groups, and of the owning group; the mask is applied.
    pub acl: Vec<Acl>,
    /// Capabilities that a program gives to its process: bits as in capabilities(7).
    pub capabilities: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// The text of the link.
    Link(Vec<u8>),
    Socket,
    Other,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The links that are followed, each by its real path.
    pub links: Vec<FilePath>,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The real path.
    There(FilePath),
    /// The real path of the first part that is missing. Its directory exists.
    Missing(FilePath),
    /// It could not be looked at, or has too many links.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acl {
    pub of: Holder,
    pub bits: u32,
}

/// Whose rights an entry gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    Anyone,
    User(u32),
    Group(u32),
}

pub const WRITE: u32 = 2;
pub const SEARCH: u32 = 1;
const STICKY: u32 = 0o1000;

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    pub fn is_sticky(&self) -> bool {
        self.mode & STICKY != 0
    }

    pub fn is_executable(&self) -> bool {
        self.kind == Kind::File && self.mode & 0o111 != 0
    }

    /// Returns its access list once the file has another mode and group: a change of mode sets the mask.
    pub fn acl_as(&self, mode: u32, gid: u32) -> Vec<Acl> {
        let (old, mask) = (self.mode >> 3 & 7, mode >> 3 & 7);
        let entries = self.acl.iter().map(|entry| Acl {
            of: match entry.of {
                Holder::Group(group) if group == self.gid => Holder::Group(gid),
                of => of,
            },
            // What the old mask hid is not known: it may be there.
            bits: (entry.bits | !old) & mask,
        });
        entries.collect()
    }

    /// Returns who has all of these bits. The owner has every bit, because an owner can change the mode.
    pub fn holders(&self, bits: u32) -> Vec<Holder> {
        let has = |found: u32| found & bits == bits;
        let mut holders = vec![Holder::User(self.uid)];
        if self.acl.is_empty() {
            if has(self.mode >> 3) {
                holders.push(Holder::Group(self.gid));
            }
        } else {
            let listed = self.acl.iter().filter(|entry| has(entry.bits));
            holders.extend(listed.map(|entry| entry.of));
        }
        if has(self.mode) {
            holders.push(Holder::Anyone);
        }
        holders
    }
}

/// Reads `system.posix_acl_access` as the kernel writes it: a version, then tag, bits and id of each entry. `None` if
/// it is malformed.
pub fn parse_acl(bytes: &[u8], gid: u32) -> Option<Vec<Acl>> {
    const VERSION: [u8; 4] = [2, 0, 0, 0];
    let (mut found, mut mask) = (Vec::new(), 7);
    let entries = bytes.strip_prefix(&VERSION)?.chunks(8);
    for entry in entries {
        let [tag, tag_high, bits, bits_high, id @ ..] = <[u8; 8]>::try_from(entry).ok()?;
        let bits = u32::from(u16::from_le_bytes([bits, bits_high]));
        let id = u32::from_le_bytes(id);
        let of = match u16::from_le_bytes([tag, tag_high]) {
            2 => Holder::User(id),
            4 => Holder::Group(gid),
            8 => Holder::Group(id),
            16 => {
                mask = bits;
                continue;
            }
            1 | 32 => continue,
            _ => return None,
        };
        found.push(Acl { of, bits });
    }
    for entry in &mut found {
        entry.bits &= mask;
    }
    Some(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(mode: u32, acl: Vec<Acl>) -> Entry {
        Entry {
            kind: Kind::File,
            uid: 10,
            gid: 20,
            mode,
            acl,
            capabilities: 0,
        }
    }

    #[test]
    fn holders_are_those_of_mode_and_list() {
        let user = Holder::User(10);
        assert_eq!(entry(0o444, vec![]).holders(WRITE), [user]);
        let group = Holder::Group(20);
        assert_eq!(entry(0o464, vec![]).holders(WRITE), [user, group]);
        assert_eq!(entry(0o446, vec![]).holders(WRITE), [user, Holder::Anyone]);
        // With a list the group's bits of the mode are the mask.
        let list = parse_acl(
            &[
                2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 30, 0, 0, 0, 4, 0, 4, 0,
                255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255,
                255,
            ],
            20,
        );
        let found = entry(0o664, list.unwrap()).holders(WRITE);
        assert_eq!(found, [user, Holder::User(30)]);
    }

    #[test]
    fn mask_takes_bits_away() {
        let list = [
            2, 0, 0, 0, 8, 0, 7, 0, 40, 0, 0, 0, 16, 0, 4, 0, 255, 255, 255, 255,
        ];
        let found = entry(0o640, parse_acl(&list, 20).unwrap()).holders(WRITE);
        assert_eq!(found, [Holder::User(10)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list_or_none(bytes: Vec<u8>) {
            let _ = parse_acl(&bytes, 0);
        }
    }
}
