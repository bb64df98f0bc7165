//! How a step is taken back, and which trust and which capabilities a file may get by it. Pure.

use remit_plan::{
    Change, Direction, FileCapabilities, Kind, Metadata, Movement, New, OldCapabilities, Stat,
};

const UNSAID: &str = "it has file capabilities, and the plan does not say which: plan again with plan.make or in a copy of the \
                      machine, where they can be read, or remove them with setcap -r";
const UNNAMED: &str = "it has file capabilities (security.capability) that no plan can name: remove them with setcap -r";
const SET_SINCE: &str =
    "it has file capabilities, which it had not at the commit: remove them with setcap -r";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversal {
    Nothing,
    Enter,
    Exchange,
    Leave,
    SetMetadata(Metadata),
    /// Somebody else has changed the path, so it stays as it is.
    Left(&'static str),
}

/// Returns true if a file that gets this instead of `from` is trusted more: it gets a set-id bit or a group for it,
/// or somebody but root who could write to it cannot any more. The mask of an ACL is the group's part of the mode.
pub const fn raises(meta: Metadata, from: Metadata) -> bool {
    let gains_set_id = meta.mode & !from.mode & 0o6000 != 0;
    let is_set_group = meta.gid != from.gid && meta.mode & 0o2000 != 0;
    let loses_owner = meta.uid != from.uid && from.uid != 0;
    let group = if meta.gid == from.gid { meta.mode } else { 0 };
    let loses_group = from.mode & !group & 0o020 != 0;
    let loses_others = from.mode & !meta.mode & 0o002 != 0;
    gains_set_id || is_set_group || loses_owner || loses_group || loses_others
}

/// Returns why the file at the path, whose attribute has this value, is not what the direction expects. A plan that names
/// capabilities keeps the owner, and others are refused here: the kernel removes them with it. Capabilities that
/// nobody read are in no risk that an approver was shown. A removed file keeps them for its undo.
pub fn capability_conflict(
    change: &Change,
    direction: Direction,
    value: Option<&[u8]>,
) -> Option<&'static str> {
    let base = change.base().filter(|base| base.stat.kind == Kind::File);
    let old = base.map(|base| base.capabilities).unwrap_or_default();
    let expected = match (direction, change.makes()) {
        (Direction::Undo, Some(New::File(content))) => OldCapabilities::Read(content.capabilities),
        (Direction::Undo, Some(_)) => OldCapabilities::Unread,
        (Direction::Commit, _) | (Direction::Undo, None) => old,
    };
    let is_unknown = expected == OldCapabilities::Unread && base.is_some();
    match (change, value) {
        _ if !expected.fits(value) => Some("its capabilities have changed"),
        (
            Change::Replace { .. } | Change::ReplaceKind { .. } | Change::SetMetadata { .. },
            Some(value),
        ) if is_unknown => {
            let is_possible = FileCapabilities::decode(value).is_some();
            Some(match direction {
                Direction::Undo => SET_SINCE,
                Direction::Commit if is_possible => UNSAID,
                Direction::Commit => UNNAMED,
            })
        }
        _ => None,
    }
}

/// Returns how to take the step back: `now` is at the path, and the inode `slotted` in the slot.
pub fn reversal(
    change: &Change,
    direction: Direction,
    inode: u64,
    now: Option<&Stat>,
    slotted: Option<u64>,
) -> Reversal {
    let entering = change.entering(direction, inode);
    let is_entered = now.is_some_and(|now| now.ino == entering);
    let replaced = Reversal::Left("somebody has replaced it");
    match (change.movement(direction), slotted) {
        (Movement::Enter, Some(_)) => Reversal::Nothing,
        (Movement::Enter, None) if now.is_none() => Reversal::Nothing,
        (Movement::Enter, None) if is_entered => Reversal::Leave,
        (Movement::Enter, None) => replaced,
        (Movement::Exchange, None) => Reversal::Nothing,
        (Movement::Exchange, Some(slotted)) if slotted == entering => Reversal::Nothing,
        (Movement::Exchange, Some(_)) if is_entered => Reversal::Exchange,
        // The new file is gone, and the old one is in the slot.
        (Movement::Exchange, Some(_)) if now.is_none() => Reversal::Enter,
        (Movement::Exchange, Some(_)) => replaced,
        (Movement::Leave, None) => Reversal::Nothing,
        (Movement::Leave, Some(_)) if now.is_none() => Reversal::Enter,
        (Movement::Leave, Some(_)) => Reversal::Left("somebody has made it again"),
        (Movement::SetMetadata { from, to }, _) => {
            let base = change.base().map(|base| base.stat.ino);
            match now.filter(|now| Some(now.ino) == base).map(|now| now.meta) {
                Some(meta) if meta == from => Reversal::Nothing,
                Some(meta) if meta.is_between(from, to) => Reversal::SetMetadata(from),
                _ => Reversal::Left("somebody has changed it"),
            }
        }
    }
}

/// Returns true if a step that was on disk is made still. Another mode than before and after it, or another file, is a later
/// change of somebody else, and no lost write.
pub fn has_lasted(
    change: &Change,
    direction: Direction,
    inode: u64,
    now: Option<&Stat>,
    slotted: Option<u64>,
) -> bool {
    let Movement::SetMetadata { from, to } = change.movement(direction) else {
        return change.is_made(direction, inode, now, slotted);
    };
    let base = change.base().map(|base| base.stat.ino);
    let own = now.filter(|now| Some(now.ino) == base);
    own.is_none_or(|now| now.meta == to || !now.meta.is_between(from, to))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use remit_plan::{Base, Content, sha256};

    use super::*;

    const RAW: FileCapabilities = FileCapabilities {
        permitted: 1 << 13,
        inheritable: 0,
        is_effective: true,
    };
    const META: Metadata = Metadata {
        mode: 0o640,
        uid: 0,
        gid: 42,
    };
    const ROOT: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    fn base(kind: Kind, bytes: &[u8]) -> Base {
        Base {
            stat: Stat {
                kind,
                dev: 1,
                ino: 7,
                ctime_ns: 99,
                size: bytes.len() as u64,
                meta: META,
            },
            sha256: (kind == Kind::File).then(|| sha256(bytes)),
            capabilities: OldCapabilities::Unread,
        }
    }

    #[test]
    fn capabilities_are_those_of_the_plan_in_both_directions() {
        use Direction::{Commit, Undo};
        let [none, raw] = [None, Some(RAW)].map(OldCapabilities::Read);
        let unread = OldCapabilities::Unread;
        let base = |capabilities| Base {
            capabilities,
            ..base(Kind::File, b"x")
        };
        let set = |old| Change::SetMetadata {
            base: base(old),
            meta: ROOT,
        };
        let replace = |old, content| Change::Replace {
            base: base(old),
            content,
            meta: ROOT,
        };
        let directory = Change::SetMetadata {
            base: self::base(Kind::Directory, b""),
            meta: ROOT,
        };
        let plain = Content::bundled(b"y");
        let capable = Content {
            capabilities: Some(RAW),
            ..plain
        };
        let own = RAW.encode();
        let odd = [&own[..], &[0; 4]].concat();
        let changed = Some("its capabilities have changed");
        for (change, direction, value, expect) in [
            (set(unread), Commit, None, None),
            (set(unread), Commit, Some(&own), Some("plan again with")),
            (set(unread), Commit, Some(&odd), Some("no plan can name")),
            (set(unread), Undo, Some(&own), Some("had not at the commit")),
            (set(none), Commit, Some(&own), changed),
            (set(none), Undo, Some(&own), changed),
            (set(raw), Commit, Some(&own), None),
            (set(raw), Undo, Some(&own), None),
            (set(raw), Commit, None, changed),
            (set(raw), Undo, None, changed),
            (directory, Commit, Some(&own), None),
            (replace(unread, plain), Commit, None, None),
            (
                replace(unread, plain),
                Commit,
                Some(&own),
                Some("does not say which"),
            ),
            (replace(raw, plain), Commit, Some(&own), None),
            (replace(raw, plain), Undo, Some(&own), changed),
            (replace(none, capable), Undo, Some(&own), None),
            (
                Change::Remove { base: base(unread) },
                Commit,
                Some(&own),
                None,
            ),
            (
                Change::Remove { base: base(none) },
                Commit,
                Some(&own),
                changed,
            ),
        ] {
            let value = value.map(Vec::as_slice);
            let found = capability_conflict(&change, direction, value);
            match (found, expect) {
                (Some(found), Some(expect)) => assert!(found.contains(expect), "{found}"),
                _ => assert_eq!(found, expect, "{change:?} {direction:?}"),
            }
        }
    }

    /// A path and a slot hold an inode each, or nothing. Every step is made and taken back in this model.
    #[test]
    fn reversal_of_each_step_leads_back_or_leaves_what_others_made() {
        const NEW: u64 = 50;
        const OTHER: u64 = 60;
        let base = base(Kind::File, b"x");
        let old = base.stat.ino;
        let moded = Metadata {
            mode: 0o600,
            ..META
        };
        let new = New::File(Content::bundled(b"y"));
        let changes = [
            Change::Create { new, meta: META },
            Change::Replace {
                base,
                content: Content::bundled(b"y"),
                meta: META,
            },
            Change::SetMetadata { base, meta: moded },
            Change::Remove { base },
        ];
        // Before and after the commit: inode and metadata at the path, inode in the slot.
        let states = [
            ((None, Some(NEW)), (Some((NEW, META)), None)),
            (
                (Some((old, META)), Some(NEW)),
                (Some((NEW, META)), Some(old)),
            ),
            ((Some((old, META)), None), (Some((old, moded)), None)),
            ((Some((old, META)), None), (None, Some(old))),
        ];
        let stat = |(ino, meta): (u64, Metadata)| Stat {
            ino,
            meta,
            ..base.stat
        };
        for (change, (unmade, made)) in changes.iter().zip(states) {
            for direction in [Direction::Commit, Direction::Undo] {
                let (before, after) = match direction {
                    Direction::Commit => (unmade, made),
                    Direction::Undo => (made, unmade),
                };
                let reversal = |(now, slotted): (Option<(u64, Metadata)>, Option<u64>)| {
                    reversal(change, direction, NEW, now.map(stat).as_ref(), slotted)
                };
                let is_made = |(now, slotted): (Option<(u64, Metadata)>, Option<u64>)| {
                    change.is_made(direction, NEW, now.map(stat).as_ref(), slotted)
                };
                let what = format!("{change:?} {direction:?}");
                assert_eq!(reversal(before), Reversal::Nothing, "{what}");
                assert!(is_made(after) && !is_made(before), "{what}");
                let has_lasted = |(now, slotted): (Option<(u64, Metadata)>, Option<u64>)| {
                    has_lasted(change, direction, NEW, now.map(stat).as_ref(), slotted)
                };
                assert!(has_lasted(after) && !has_lasted(before), "{what}");
                if matches!(change, Change::SetMetadata { .. }) {
                    let later = Metadata {
                        mode: 0o604,
                        ..META
                    };
                    for now in [None, Some((OTHER, META)), Some((old, later))] {
                        assert!(has_lasted((now, None)), "{what} {now:?}");
                    }
                }
                let back = match reversal(after) {
                    Reversal::Enter => (after.1.map(|inode| (inode, META)), None),
                    Reversal::Leave => (None, after.0.map(|(inode, _)| inode)),
                    Reversal::Exchange => (
                        after.1.map(|inode| (inode, META)),
                        after.0.map(|(inode, _)| inode),
                    ),
                    Reversal::SetMetadata(meta) => {
                        (after.0.map(|(inode, _)| (inode, meta)), after.1)
                    }
                    Reversal::Nothing | Reversal::Left(_) => panic!("{what}"),
                };
                assert_eq!(back, before, "{what}");
                // Somebody else has replaced the path after the step.
                let others = (Some((OTHER, META)), after.1);
                assert!(matches!(reversal(others), Reversal::Left(_)), "{what}");
            }
        }
    }

    #[test]
    fn metadata_that_is_half_set_is_taken_back() {
        let mut base = base(Kind::File, b"x");
        base.stat.meta.mode = 0o4750;
        let meta = Metadata {
            mode: 0o644,
            uid: 7,
            gid: 7,
        };
        let change = Change::SetMetadata { base, meta };
        let reversal = |mode: u32, uid: u32, gid: u32| {
            let now = Stat {
                meta: Metadata { mode, uid, gid },
                ..base.stat
            };
            reversal(&change, Direction::Commit, 0, Some(&now), None)
        };
        for (mode, uid, gid) in [(0o4750, 7, 7), (0o750, 7, 7), (0o644, 7, 7)] {
            assert_eq!(
                reversal(mode, uid, gid),
                Reversal::SetMetadata(base.stat.meta),
                "{mode:o} {uid}"
            );
        }
        assert_eq!(reversal(0o4750, 0, 42), Reversal::Nothing);
        for (mode, uid, gid) in [(0o777, 7, 7), (0o644, 8, 7), (0o644, 7, 42)] {
            assert!(
                matches!(reversal(mode, uid, gid), Reversal::Left(_)),
                "{mode:o} {uid}"
            );
        }
    }

    /// The way back from a set-id bit is cut between its calls, or an undo is.
    #[test]
    fn metadata_that_is_half_taken_back_is_known() {
        let base = base(Kind::File, b"x");
        let (old, new) = (0o644, 0o6750);
        let (uid, gid) = (base.stat.meta.uid, base.stat.meta.gid);
        let made = |own: bool| {
            let meta = Metadata {
                mode: new,
                uid: if own { uid } else { 7 },
                gid: if own { gid } else { 7 },
            };
            let mut base = base;
            base.stat.meta.mode = old;
            (Change::SetMetadata { base, meta }, base.stat, meta)
        };
        let (change, before, after) = made(false);
        let half = Metadata {
            mode: 0o750,
            ..before.meta
        };
        let now = Stat {
            meta: half,
            ..before
        };
        let back = reversal(&change, Direction::Commit, 0, Some(&now), None);
        assert_eq!(back, Reversal::SetMetadata(before.meta));
        let meta = |direction, now| {
            let side = change.leaving_now(direction, 0, now);
            side.map(|side| side.meta)
        };
        let other = Metadata { uid: 8, ..half };
        for (direction, now, expected) in [
            (Direction::Undo, half, half),
            (Direction::Undo, after, after),
            (Direction::Undo, other, after),
            (Direction::Commit, half, before.meta),
        ] {
            assert_eq!(
                meta(direction, now),
                Some(expected),
                "{direction:?} {now:?}"
            );
        }
        // The mode alone is set by one call.
        let (change, before, _) = made(true);
        let now = Stat {
            meta: half,
            ..before
        };
        let back = reversal(&change, Direction::Commit, 0, Some(&now), None);
        assert!(matches!(back, Reversal::Left(_)), "{back:?}");
    }
}
