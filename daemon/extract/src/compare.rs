//! Decides what an upper path is, from the two nodes and the region of its path. Pure.

use remit_plan::Metadata;

use crate::node::{Node, NodeKind};
use crate::refusal::{Omission, RefusalReason};
use crate::rules::{Hiding, Region};

/// Number that the kernel shows for an owner without a number in the user namespace (`overflowuid`, user_namespaces(7)).
const OVERFLOW_ID: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathCase {
    NewFile,
    NewDirectory,
    NewLink,
    /// Files at both paths, to be compared.
    File,
    /// Tables of passwords at both paths, to be compared by line.
    Table,
    Directory,
    Link,
    /// A file where the host has a link, or the reverse.
    FileOrLink,
    /// A directory of the host in which only new directories count.
    ScratchDirectory,
    /// Counted, and not looked into.
    Scratch,
    /// A special file as it was.
    Unchanged,
    /// The upper directory of an overlay has the directory on which another one is mounted.
    MountPoint,
    Omitted(Omission),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeDifference {
    None,
    Metadata,
    Content,
}

/// Decides by kinds, owners and region. `new` is no whiteout.
///
/// The answer for a name of an emptied directory depends on nothing but that there is one: an entry that is left out because it
/// is equal, or a kind in a sentence, would answer guesses.
pub fn case(region: Region, old: Option<Node>, new: &Node) -> Result<PathCase, RefusalReason> {
    if region.hiding == Hiding::Unseen && old.is_some() {
        return match region.is_scratch {
            true => Ok(PathCase::Scratch),
            false => Err(RefusalReason::HiddenName),
        };
    }
    let is_hidden = region.hiding == Hiding::Hidden;
    if region.is_mount && !(is_hidden && region.is_scratch) {
        // At a hidden one the job saw a node of the mask, or a copy of the mounted file.
        let is_same = !is_hidden && old.is_some_and(|old| old.is_alike(new));
        return is_same
            .then_some(PathCase::MountPoint)
            .ok_or(RefusalReason::MountPoint);
    }
    if region.is_old_table && new.kind == NodeKind::File {
        return Ok(PathCase::Omitted(Omission::OldTable));
    }
    let is_file = |node: &Node| node.kind == NodeKind::File;
    let is_table = region.is_table && is_file(new) && old.as_ref().is_some_and(is_file);
    let is_directory = |node: &Node| node.kind == NodeKind::Directory;
    let is_open = match region.hiding {
        Hiding::Hidden => is_table,
        Hiding::Emptied => is_directory(new) && old.as_ref().is_some_and(is_directory),
        Hiding::None | Hiding::Unseen => true,
    };
    if !is_open && !region.is_scratch {
        return Err(RefusalReason::HiddenChanged);
    }
    // What is left out has no owner in a plan.
    let is_left_out = region.is_scratch && (old.is_some() || !is_directory(new));
    match check_owner(old, new) {
        Err(RefusalReason::UnknownOwner) if is_left_out => {}
        checked => checked?,
    }
    if is_table {
        return Ok(PathCase::Table);
    }
    match (old, new.kind) {
        (None, NodeKind::Directory) => Ok(PathCase::NewDirectory),
        (Some(old), NodeKind::Directory) if region.is_scratch => {
            Ok(if old.kind == NodeKind::Directory && is_open {
                PathCase::ScratchDirectory
            } else {
                PathCase::Scratch
            })
        }
        _ if region.is_scratch => Ok(PathCase::Scratch),
        (None, NodeKind::File) => Ok(PathCase::NewFile),
        (None, NodeKind::Link) => Ok(PathCase::NewLink),
        (None, NodeKind::Socket) => Ok(PathCase::Omitted(Omission::Socket)),
        (None, NodeKind::Fifo) => Ok(PathCase::Omitted(Omission::Fifo)),
        (None, NodeKind::Device | NodeKind::Whiteout) => Ok(PathCase::Omitted(Omission::Device)),
        (Some(old), kind) if is_turned(old.kind, kind) => Ok(PathCase::FileOrLink),
        (Some(old), kind) if old.kind != kind => Err(RefusalReason::OtherKind {
            old: old.kind,
            new: kind,
        }),
        (Some(_), NodeKind::File) => Ok(PathCase::File),
        (Some(_), NodeKind::Directory) => Ok(PathCase::Directory),
        (Some(_), NodeKind::Link) => Ok(PathCase::Link),
        (Some(old), kind) if old.is_alike(new) && kind != NodeKind::Device => {
            Ok(PathCase::Unchanged)
        }
        (Some(_), kind) => Err(RefusalReason::Special(kind)),
    }
}

const fn is_turned(old: NodeKind, new: NodeKind) -> bool {
    matches!(
        (old, new),
        (NodeKind::File, NodeKind::Link) | (NodeKind::Link, NodeKind::File)
    )
}

/// Nothing separates an owner without a number from the account `nobody`, whose number is the same. So this number is
/// refused unless the base has it, too. The mask of hidden paths has nodes of mode 0 of such an owner: one at another
/// path was moved there, and its bytes are not those of the host.
fn check_owner(old: Option<Node>, new: &Node) -> Result<(), RefusalReason> {
    let meta = new.stat.meta;
    if [meta.uid, meta.gid].contains(&OVERFLOW_ID) && meta.mode == 0 {
        let is_same = old.is_some_and(|old| old.is_alike(new));
        return is_same.then_some(()).ok_or(RefusalReason::HiddenMoved);
    }
    let has = |id: fn(&Metadata) -> u32| old.is_some_and(|old| id(&old.stat.meta) == OVERFLOW_ID);
    let is_known = |id: fn(&Metadata) -> u32| id(&meta) != OVERFLOW_ID || has(id);
    let are_known = is_known(|meta| meta.uid) && is_known(|meta| meta.gid);
    are_known.then_some(()).ok_or(RefusalReason::UnknownOwner)
}

pub fn difference(old: (Metadata, [u8; 32]), new: (Metadata, [u8; 32])) -> NodeDifference {
    match () {
        () if old.1 != new.1 => NodeDifference::Content,
        () if old.0 != new.0 => NodeDifference::Metadata,
        () => NodeDifference::None,
    }
}

#[cfg(test)]
mod tests {
    use remit_plan::{Kind, Stat};

    use super::*;

    const PLAIN: Region = Region {
        is_mount: false,
        hiding: Hiding::None,
        is_scratch: false,
        contains_kept: false,
        is_table: false,
        is_old_table: false,
    };
    const SCRATCH: Region = Region {
        is_scratch: true,
        ..PLAIN
    };

    const fn node(kind: NodeKind, mode: u32, uid: u32) -> Node {
        let stat = Stat {
            kind: Kind::File,
            dev: 1,
            ino: 2,
            ctime_ns: 3,
            size: 4,
            meta: Metadata { mode, uid, gid: 0 },
        };
        Node {
            kind,
            stat,
            links: 1,
            mtime_ns: 3,
        }
    }

    #[test]
    fn cases_follow_from_kinds() {
        use NodeKind::{Device, Directory, Fifo, File, Link, Socket};
        let at = |kind| node(kind, 0o644, 0);
        let other = |old, new| Err(RefusalReason::OtherKind { old, new });
        for (region, old, new, expect) in [
            (PLAIN, None, File, Ok(PathCase::NewFile)),
            (PLAIN, None, Directory, Ok(PathCase::NewDirectory)),
            (PLAIN, None, Link, Ok(PathCase::NewLink)),
            (PLAIN, None, Fifo, Ok(PathCase::Omitted(Omission::Fifo))),
            (PLAIN, None, Socket, Ok(PathCase::Omitted(Omission::Socket))),
            (PLAIN, None, Device, Ok(PathCase::Omitted(Omission::Device))),
            (PLAIN, Some(File), File, Ok(PathCase::File)),
            (PLAIN, Some(Link), Link, Ok(PathCase::Link)),
            (PLAIN, Some(File), Link, Ok(PathCase::FileOrLink)),
            (PLAIN, Some(Link), File, Ok(PathCase::FileOrLink)),
            (PLAIN, Some(File), Directory, other(File, Directory)),
            (PLAIN, Some(Directory), Link, other(Directory, Link)),
            (PLAIN, Some(File), Socket, other(File, Socket)),
            (PLAIN, Some(Fifo), Fifo, Ok(PathCase::Unchanged)),
            (
                PLAIN,
                Some(Device),
                Device,
                Err(RefusalReason::Special(Device)),
            ),
            (SCRATCH, None, Directory, Ok(PathCase::NewDirectory)),
            (SCRATCH, None, File, Ok(PathCase::Scratch)),
            (SCRATCH, None, Socket, Ok(PathCase::Scratch)),
            (SCRATCH, Some(File), File, Ok(PathCase::Scratch)),
            (SCRATCH, Some(File), Directory, Ok(PathCase::Scratch)),
            (SCRATCH, Some(File), Link, Ok(PathCase::Scratch)),
            (SCRATCH, Some(Directory), Link, Ok(PathCase::Scratch)),
            (
                SCRATCH,
                Some(Directory),
                Directory,
                Ok(PathCase::ScratchDirectory),
            ),
        ] {
            let found = case(region, old.map(at), &at(new));
            assert_eq!(found, expect, "{region:?} {old:?} {new:?}");
        }
    }

    #[test]
    fn hidden_paths_and_mount_points_cannot_change() {
        let (file, directory) = (node(NodeKind::File, 0, 5), node(NodeKind::Directory, 0, 5));
        let hidden = |region| Region {
            hiding: Hiding::Hidden,
            ..region
        };
        let mount = Region {
            is_mount: true,
            ..PLAIN
        };
        let log = Region {
            is_mount: true,
            ..SCRATCH
        };
        for (region, old, new, expect) in [
            (
                hidden(PLAIN),
                Some(file),
                file,
                Err(RefusalReason::HiddenChanged),
            ),
            (hidden(PLAIN), None, file, Err(RefusalReason::HiddenChanged)),
            (hidden(SCRATCH), Some(file), file, Ok(PathCase::Scratch)),
            (
                hidden(SCRATCH),
                Some(directory),
                directory,
                Ok(PathCase::Scratch),
            ),
            (mount, Some(directory), directory, Ok(PathCase::MountPoint)),
            (mount, Some(directory), file, Err(RefusalReason::MountPoint)),
            (mount, None, directory, Err(RefusalReason::MountPoint)),
            (
                hidden(mount),
                Some(directory),
                directory,
                Err(RefusalReason::MountPoint),
            ),
            (
                hidden(mount),
                Some(file),
                file,
                Err(RefusalReason::MountPoint),
            ),
            (hidden(log), Some(file), file, Ok(PathCase::Scratch)),
        ] {
            assert_eq!(
                case(region, old, &new),
                expect,
                "{region:?} {old:?} {new:?}"
            );
        }
    }

    #[test]
    fn emptied_directory_answers_for_names_alone() {
        use NodeKind::{Directory, Fifo, File, Link};
        let at = |kind| node(kind, 0o600, 0);
        let covered = |hiding, region| Region { hiding, ..region };
        let emptied = covered(Hiding::Emptied, PLAIN);
        let unseen = covered(Hiding::Unseen, PLAIN);
        let is_mount = Region {
            is_mount: true,
            ..unseen
        };
        let changed = Err(RefusalReason::HiddenChanged);
        let named = Err(RefusalReason::HiddenName);
        for (region, old, new, expect) in [
            (emptied, Some(Directory), Directory, Ok(PathCase::Directory)),
            (emptied, Some(Directory), File, changed.clone()),
            (emptied, Some(Directory), Link, changed.clone()),
            (emptied, Some(File), Directory, changed.clone()),
            (emptied, None, Directory, changed),
            (unseen, None, File, Ok(PathCase::NewFile)),
            (unseen, None, Directory, Ok(PathCase::NewDirectory)),
            (unseen, None, Link, Ok(PathCase::NewLink)),
            (unseen, Some(File), File, named.clone()),
            (unseen, Some(File), Directory, named.clone()),
            (unseen, Some(Directory), Directory, named.clone()),
            (unseen, Some(Link), Link, named.clone()),
            (unseen, Some(Fifo), Fifo, named.clone()),
            (is_mount, Some(Directory), Directory, named),
            (
                covered(Hiding::Emptied, SCRATCH),
                Some(Directory),
                Directory,
                Ok(PathCase::ScratchDirectory),
            ),
            (
                covered(Hiding::Unseen, SCRATCH),
                Some(Directory),
                Directory,
                Ok(PathCase::Scratch),
            ),
            (
                covered(Hiding::Unseen, SCRATCH),
                None,
                Directory,
                Ok(PathCase::NewDirectory),
            ),
        ] {
            let found = case(region, old.map(at), &at(new));
            assert_eq!(found, expect, "{region:?} {old:?} {new:?}");
        }
    }

    #[test]
    fn owner_without_number_is_refused() {
        let masked = node(NodeKind::File, 0, OVERFLOW_ID);
        let owned = node(NodeKind::File, 0o644, OVERFLOW_ID);
        let directory = node(NodeKind::Directory, 0o755, OVERFLOW_ID);
        let plain = node(NodeKind::File, 0o644, 0);
        for (region, old, new, expect) in [
            (PLAIN, None, masked, Err(RefusalReason::HiddenMoved)),
            (SCRATCH, None, masked, Err(RefusalReason::HiddenMoved)),
            (PLAIN, Some(plain), masked, Err(RefusalReason::HiddenMoved)),
            (PLAIN, Some(masked), masked, Ok(PathCase::File)),
            (PLAIN, None, owned, Err(RefusalReason::UnknownOwner)),
            (SCRATCH, None, owned, Ok(PathCase::Scratch)),
            (SCRATCH, Some(plain), owned, Ok(PathCase::Scratch)),
            (SCRATCH, None, directory, Err(RefusalReason::UnknownOwner)),
            (PLAIN, Some(plain), owned, Err(RefusalReason::UnknownOwner)),
            (PLAIN, Some(owned), owned, Ok(PathCase::File)),
            (PLAIN, Some(owned), plain, Ok(PathCase::File)),
        ] {
            assert_eq!(case(region, old, &new), expect, "{old:?} {new:?}");
        }
    }

    #[test]
    fn difference_is_the_larger_one() {
        let meta = |mode| Metadata {
            mode,
            uid: 0,
            gid: 0,
        };
        for (old, new, expect) in [
            ((meta(1), [1; 32]), (meta(1), [1; 32]), NodeDifference::None),
            (
                (meta(1), [1; 32]),
                (meta(2), [1; 32]),
                NodeDifference::Metadata,
            ),
            (
                (meta(1), [1; 32]),
                (meta(2), [2; 32]),
                NodeDifference::Content,
            ),
        ] {
            assert_eq!(difference(old, new), expect);
        }
    }
}
