//! What keeps a commit from changing what is at a path, as statx(2) and listxattr(2) show it. The planner says it first, as far
//! as it sees it; the commit decides. Pure.

use crate::plan::{Change, Kind, Metadata};
use crate::step::Direction;

/// `STATX_ATTR_IMMUTABLE`, `STATX_ATTR_APPEND` and `STATX_ATTR_MOUNT_ROOT` of linux/stat.h.
const FIXED: u64 = 0x10 | 0x20;
pub const MOUNT_POINT: u64 = 0x2000;
pub const FIXED_DIRECTORY: &str = "its directory is immutable or append-only; see chattr(1)";

/// `MSDOS_SUPER_MAGIC` and `EXFAT_SUPER_MAGIC` of linux/magic.h.
const FAT: [i64; 2] = [0x4d44, 0x2011_bab0];
pub const RENUMBERED: &str = "its file system gives files other inode numbers once it is mounted again (FAT, exFAT, or an overlay of several \
                              file systems without 'xino=on'), so an undo would not know them; root can change it without remit";

/// Bytes of the largest file that is compared by hash.
const COMPARED_BYTES: u64 = 1 << 30;

const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
const DEFAULT_LIST: &[u8] = b"system.posix_acl_default";
/// The journal has no list, so an undo could not give back one that was removed.
pub const LISTED: &str = "it has an access list, which would stay with another owner: remove it with setfacl -b, then plan or undo again";
/// The group's part of the mode is the mask of the list: acl(5).
const WIDENED: &str = "it has an access list, whose accounts could get the rights that its group gets: use setfacl(1), or remove the list \
                       with setfacl -b, then plan again";

/// Attributes that a new file takes over from the one that it replaces.
const TAKEN: [&[u8]; 5] = [
    b"user.",
    // Properties: whether and how the file is compressed.
    b"btrfs.",
    ACCESS_LIST,
    b"security.selinux",
    b"security.SMACK64",
];
/// What is bound to the old bytes, so that the kernel drops it at a write, or to the old inode, and the names that XFS has for
/// access lists.
const DROPPED: [&[u8]; 5] = [
    b"security.capability",
    b"security.ima",
    b"security.evm",
    b"trusted.overlay.",
    b"trusted.SGI_ACL_",
];

/// Returns why no plan changes a path. `attributes`: `stx_attributes` of statx(2).
#[must_use]
pub fn obstacle(kind: Kind, links: u64, attributes: u64) -> Option<String> {
    match () {
        () if attributes & MOUNT_POINT != 0 => Some("a file system is mounted on it".to_owned()),
        () if is_fixed(attributes) => {
            Some("it is immutable or append-only; see chattr(1)".to_owned())
        }
        () if links > 1 && kind == Kind::File => Some(format!(
            "it has {links} names (hard links), and the others would stay as they are"
        )),
        () => None,
    }
}

/// Returns true for the type of a file system, as statfs(2) says it, that is FAT or exFAT.
pub fn is_fat(kind: impl TryInto<i64>) -> bool {
    kind.try_into().is_ok_and(|kind| FAT.contains(&kind))
}

/// Returns true if it is immutable or append-only.
#[must_use]
pub const fn is_fixed(attributes: u64) -> bool {
    attributes & FIXED != 0
}

/// Returns why a file of this size cannot be compared.
#[must_use]
pub fn too_long(size: u64) -> Option<String> {
    (size > COMPARED_BYTES).then(|| {
        format!("it has {size} bytes; a plan changes files of at most {COMPARED_BYTES} bytes")
    })
}

/// Returns why a path with these attributes cannot keep its access list. `names`: each ends with a NUL. `list`: its access list
/// if that can be read.
#[must_use]
pub fn list_conflict(
    change: &Change,
    direction: Direction,
    (names, list): (&[u8], Option<&[u8]>),
) -> Option<&'static str> {
    let has_access_list = || split(names).any(|name| name == ACCESS_LIST);
    match change {
        Change::SetMetadata { base, meta } if base.stat.meta.uid != meta.uid => {
            has_list(names).then_some(LISTED)
        }
        // An undo gives back what the list allowed.
        Change::SetMetadata { base, meta } | Change::Replace { base, meta, .. } => {
            let (old, is_commit) = (base.stat.meta, direction == Direction::Commit);
            let gained = (meta.mode & !old.mode & 0o070) >> 3;
            let is_widened = gained != 0 && is_list_kept(old, *meta);
            let gives = || list.is_none_or(|list| may_give(list, gained));
            (is_commit && is_widened && has_access_list() && gives()).then_some(WIDENED)
        }
        Change::Create { .. } | Change::ReplaceKind { .. } | Change::Remove { .. } => None,
    }
}

/// Returns true unless no named user or group of the list has one of these rights. `struct posix_acl_xattr_entry` of Linux.
fn may_give(list: &[u8], rights: u32) -> bool {
    /// The owner, the group, the mask and others: the page has their rights as the mode.
    const OF_MODE: [[u8; 2]; 4] = [[0x01, 0], [0x04, 0], [0x10, 0], [0x20, 0]];
    let Some(rows) = list.strip_prefix(&[2, 0, 0, 0]) else {
        return true;
    };
    let (rows, rest) = rows.as_chunks::<8>();
    let mut named = rows
        .iter()
        .filter(|[a, b, ..]| !OF_MODE.contains(&[*a, *b]));
    !rest.is_empty() || named.any(|[_, _, has, ..]| u32::from(*has) & rights != 0)
}

/// Returns true if a file keeps its access list with new bytes. That of another owner than root goes with them.
#[must_use]
pub const fn is_list_kept(old: Metadata, new: Metadata) -> bool {
    old.uid == 0 || old.uid == new.uid
}

#[must_use]
pub fn has_list(names: &[u8]) -> bool {
    split(names).any(|name| [ACCESS_LIST, DEFAULT_LIST].contains(&name))
}

/// Returns why new bytes cannot have an attribute of the old file.
#[must_use]
pub fn unkept(name: &[u8]) -> Option<String> {
    let shown = || String::from_utf8_lossy(name).escape_debug().to_string();
    (!is_taken(name) && !is_dropped(name)).then(|| {
        format!(
            "it has the attribute '{}', which cannot be kept: remove it with setfattr -x, then plan again",
            shown()
        )
    })
}

#[must_use]
pub fn is_taken(name: &[u8]) -> bool {
    TAKEN.iter().any(|start| name.starts_with(start))
}

#[must_use]
pub fn is_dropped(name: &[u8]) -> bool {
    DROPPED.iter().any(|start| name.starts_with(start))
}

/// Returns why a commit cannot make a change of a path with these attributes.
#[must_use]
pub fn attribute_conflict(change: &Change, names: &[u8], list: Option<&[u8]>) -> Option<String> {
    let listed = list_conflict(change, Direction::Commit, (names, list)).map(str::to_owned);
    listed.or_else(|| match change {
        Change::Replace { .. } => split(names).find_map(unkept),
        Change::Create { .. }
        | Change::ReplaceKind { .. }
        | Change::SetMetadata { .. }
        | Change::Remove { .. } => None,
    })
}

fn split(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Base, Content, Source, Stat};

    const LIST: &[u8] = b"user.x\0system.posix_acl_access\0";

    fn changes(old: (u32, u32), new: (u32, u32)) -> [Change; 2] {
        let meta = |(mode, uid)| Metadata { mode, uid, gid: 0 };
        let stat = Stat {
            kind: Kind::File,
            dev: 1,
            ino: 2,
            ctime_ns: 3,
            size: 4,
            meta: meta(old),
        };
        let (base, meta) = (Base::new(stat, None), meta(new));
        let content = Content {
            size: 1,
            sha256: [0; 32],
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let replace = Change::Replace {
            base,
            content,
            meta,
        };
        [Change::SetMetadata { base, meta }, replace]
    }

    #[test]
    fn list_gives_its_accounts_no_right_with_a_mode() {
        for (old, new, set, replaced) in [
            ((0o644, 0), (0o664, 0), Some(WIDENED), Some(WIDENED)),
            ((0o600, 0), (0o640, 0), Some(WIDENED), Some(WIDENED)),
            ((0o644, 7), (0o654, 7), Some(WIDENED), Some(WIDENED)),
            ((0o644, 0), (0o664, 7), Some(LISTED), Some(WIDENED)),
            ((0o644, 7), (0o664, 0), Some(LISTED), None),
            ((0o644, 7), (0o644, 0), Some(LISTED), None),
            ((0o664, 0), (0o644, 0), None, None),
            ((0o644, 0), (0o647, 0), None, None),
        ] {
            for (change, expect) in changes(old, new).iter().zip([set, replaced]) {
                let found = list_conflict(change, Direction::Commit, (LIST, None));
                assert_eq!(found, expect, "{old:?} {new:?} {change:?}");
                assert_eq!(
                    list_conflict(change, Direction::Commit, (b"user.x\0", None)),
                    None
                );
                let undone = list_conflict(change, Direction::Undo, (LIST, None));
                assert_eq!(undone, expect.filter(|why| *why == LISTED));
            }
        }
        let [mode, _] = changes((0o644, 0), (0o664, 0));
        let of_default = list_conflict(
            &mode,
            Direction::Commit,
            (b"system.posix_acl_default\0", None),
        );
        assert_eq!(of_default, None);
    }

    #[test]
    fn list_of_accounts_without_the_right_stays() {
        let row = |tag, rights| [tag, 0, rights, 0, 1, 0, 0, 0];
        let list = |named: [u8; 8]| {
            let of_mode = [row(1, 6), row(4, 7), row(16, 7), row(32, 7)].concat();
            [&[2, 0, 0, 0], of_mode.as_slice(), &named].concat()
        };
        for (list, is_refused) in [
            (list(row(2, 5)), false),
            (list(row(8, 5)), false),
            (list(row(2, 2)), true),
            (list(row(8, 6)), true),
            // What is not known.
            (list(row(3, 2)), true),
            ([list(row(2, 5)), vec![0]].concat(), true),
            ([3, 0, 0, 0].to_vec(), true),
            (Vec::new(), true),
        ] {
            let expect = is_refused.then_some(WIDENED);
            for change in changes((0o644, 0), (0o664, 0)) {
                let found = list_conflict(&change, Direction::Commit, (LIST, Some(&list)));
                assert_eq!(found, expect, "{list:?}");
            }
            let [owner, _] = changes((0o644, 0), (0o644, 7));
            let found = list_conflict(&owner, Direction::Commit, (LIST, Some(&list)));
            assert_eq!(found, Some(LISTED));
        }
    }

    #[test]
    fn attribute_that_new_bytes_cannot_have_is_named() {
        let [mode, bytes] = changes((0o644, 0), (0o600, 0));
        let why = "it has the attribute 'trusted.x', which cannot be kept: remove it with setfattr -x, then plan again";
        for (names, expect) in [
            (&b""[..], None),
            (
                b"user.x\0security.ima\0trusted.overlay.y\0trusted.SGI_ACL_FILE\0",
                None,
            ),
            (b"user.x\0trusted.x\0", Some(why)),
        ] {
            assert_eq!(attribute_conflict(&bytes, names, None).as_deref(), expect);
            assert_eq!(attribute_conflict(&mode, names, None), None);
        }
    }

    #[test]
    fn obstacles_are_of_linux() {
        let file = |links, attributes| obstacle(Kind::File, links, attributes).unwrap_or_default();
        assert_eq!(file(1, 0x1800), "");
        assert!(file(1, 0x10).contains("immutable") && file(1, 0x20).contains("append-only"));
        assert!(file(1, 0x2000).contains("mounted on it"));
        assert!(file(2, 0).contains("2 names (hard links)"));
        assert_eq!(obstacle(Kind::Directory, 2, 0), None);
        assert!(is_fat(0x4d44_i64) && is_fat(0x2011_bab0_i64) && !is_fat(0xef53_i64));
        assert_eq!(too_long(COMPARED_BYTES), None);
        assert!(
            too_long(COMPARED_BYTES + 1)
                .unwrap()
                .contains("at most 1073741824 bytes")
        );
    }
}
