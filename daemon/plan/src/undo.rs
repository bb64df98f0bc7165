//! What an undo puts back, as lines for an approver.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use remit_common::escape;

use crate::accounts::{EXTRAUSERS, account_id, account_lines, is_of_accounts};
use crate::capabilities::FileCapabilities;
use crate::plan::{Base, Change, Entry, Kind, Metadata, New, Plan, Stat};
use crate::{PlanPath, View, hex, risk_sentences, risks, sha256, staying};

/// Bytes of all lines, for a message of 64 KiB.
const TEXT: usize = 60 << 10;
const TARGET: usize = 200;
/// Begins a line about a risk. A line about a path begins with a quote.
pub const UNDO_RISK: &str = "RISK: ";
/// Of a new directory. What is in it may change until the undo runs.
const GOES: &str = "is removed unless something else is in it then";
const STAYS: &str = "stays, as something else is in it; it is removed if that is gone then";
/// Of a new directory, in an undo with contents.
const WHOLE: &str =
    "is removed, with all that is in it if others have made or changed something in it then";
/// Others may have changed it since: only what was looked at is "now".
const LEFT: &str = "the commit left";
/// Which directories need it is known when it runs: then all their files are compared.
const CONTENTS: &str = "new directories of the commit go with all that others have made or changed in them by then; that is kept beside \
                        the journal until root moves it, and programs that use it fail";
const OTHERS: &str = "what others have made in it goes, too";
/// Bytes of the paths that stay, in a record.
const RECORDED: usize = 2 << 10;
/// Of a directory that stays.
const ORPHAN: &str = ", and no account has its owner or group any more: the next account with that number has what is in it";
const LINES_UNREAD: &str = "its bytes were not read: whom it gives what is not known";

/// Of an entry: of the link that is there now, and of the one that an undo puts back.
type LinkTargets = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A directory that the commit made, as it is now: a service manager gives it to the user of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundDirectory {
    /// Names in it that the commit did not make, or that are another file by now.
    pub others: usize,
    pub meta: Metadata,
}

/// What an undo finds on the machine, by the position of an entry. No content is believed without a hash.
pub trait BeforeUndo {
    /// Reads the target of a link: of the old one or of the one that is there now.
    fn link_target(&self, at: usize, is_old: bool) -> Option<Vec<u8>>;
    /// Looks at a directory. `None` if it is not the one that the commit made.
    fn directory(&self, at: usize) -> Option<FoundDirectory>;
    /// Reads a file of accounts: as it is, and as the undo makes it again.
    fn accounts(&self, at: usize) -> Option<[Vec<u8>; 2]>;
    /// Returns true if new directories go with what others have made or changed in them: see `daemon/commit/src/whole.rs`.
    fn with_contents(&self) -> bool {
        false
    }
}

/// What an approver reads of an undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoPage {
    /// Its risks, the directories that stay, then each other path: a page shows the first lines alone.
    pub lines: Vec<String>,
    /// The paths that stay, for a record: in quotes, `; ` between them, or how many are left.
    pub stays: Option<String>,
}

impl Plan {
    /// Returns the risks of an undo: those of what it puts back, of what it removes, and of the owners and modes that
    /// come again. Of files it reads those of accounts alone: as they are, and as they will be.
    fn undo_risks(
        &self,
        links: &[LinkTargets],
        accounts: impl Fn(usize) -> Option<[Vec<u8>; 2]>,
    ) -> Vec<String> {
        let reversed: Vec<Entry> = self.entries().iter().map(Entry::reversed).collect();
        let has_lines = |entry: &Entry| {
            let is_set = matches!(entry.change, Change::SetMetadata { .. });
            !is_set && is_of_accounts(entry.path.as_bytes())
        };
        let all = reversed.iter().enumerate();
        let tables = all.map(|(at, entry)| has_lines(entry).then(|| accounts(at)).flatten());
        let tables: Vec<Option<[Vec<u8>; 2]>> = tables.collect();
        let known = || reversed.iter().zip(&tables);
        let views = known().zip(links).map(|((entry, table), (_, again))| View {
            entry,
            old: table.as_ref().map(|[now, _]| now.as_slice()),
            new: match table {
                Some([_, again]) => Some(again),
                None => again.as_deref(),
            },
        });
        let unread = known().filter(|(entry, table)| table.is_none() && has_lines(entry));
        let unread = unread.map(|(entry, _)| format!("{}: {LINES_UNREAD}", entry.path));
        let all = risk_sentences(views).into_iter().chain(unread);
        all.map(|risk| format!("{UNDO_RISK}{risk}")).collect()
    }

    fn link_targets(&self, read: &impl Fn(usize, bool) -> Option<Vec<u8>>) -> Vec<LinkTargets> {
        let all = self.entries().iter().enumerate();
        all.map(|(at, Entry { change, .. })| {
            let known = |is_old, sha: Option<[u8; 32]>| {
                let target = read(at, is_old)?;
                (Some(sha256(&target)) == sha).then_some(target)
            };
            let now = match change.makes() {
                Some(New::Link(target)) => known(false, Some(target.sha256)),
                _ => None,
            };
            let again = change.base().filter(|base| base.stat.kind == Kind::Symlink);
            (now, again.and_then(|base| known(true, base.sha256)))
        })
        .collect()
    }

    /// Returns the risks of directories that stay or may stay: an id that no account has is that of the next new one.
    fn staying_risks(
        &self,
        staying: &BTreeSet<usize>,
        found: &BTreeMap<usize, FoundDirectory>,
        before: &impl BeforeUndo,
    ) -> Vec<String> {
        let entries = || self.entries().iter().enumerate();
        let lost = |name: &[u8]| {
            let tables = |dir: &[u8]| {
                let path = [dir, b"/", name].concat();
                let (at, _) = entries().find(|(_, entry)| entry.path.as_bytes() == path)?;
                before.accounts(at)
            };
            let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
            for [now, again] in [&b"/etc"[..], EXTRAUSERS].into_iter().filter_map(tables) {
                old.extend(ids(&now));
                new.extend(ids(&again));
            }
            &old - &new
        };
        let (uids, gids) = (lost(b"passwd"), lost(b"group"));
        let is_orphan = |at: usize, entry: &Entry| {
            let meta = found.get(&at).map(|found| found.meta);
            let meta = meta.or_else(|| entry.change.meta());
            meta.is_some_and(|meta| uids.contains(&meta.uid) || gids.contains(&meta.gid))
        };
        let orphans = entries().filter(|(at, entry)| is_new(entry) && is_orphan(*at, entry));
        let (stay, may_stay): (Vec<_>, Vec<_>) = orphans.partition(|(at, _)| staying.contains(at));
        let sentence = |(orphans, stays): (Vec<(usize, &Entry)>, &str)| {
            let paths: Vec<&PlanPath> = orphans.iter().map(|(_, entry)| &entry.path).collect();
            let names = (!paths.is_empty()).then(|| risks::names(&paths))?;
            Some(format!("{UNDO_RISK}{names}: {stays}{ORPHAN}"))
        };
        let all = [
            (stay, "it stays"),
            (may_stay, "it stays if something is in it then"),
        ];
        all.into_iter().filter_map(sentence).collect()
    }

    /// Returns the risks of an undo with contents. `full`: directories in which others have made something.
    fn whole_risks(&self, full: &BTreeSet<usize>) -> Vec<String> {
        let general = self
            .entries()
            .iter()
            .any(is_new)
            .then(|| CONTENTS.to_owned());
        let paths = full.iter().filter_map(|at| self.entries().get(*at));
        let paths: Vec<&PlanPath> = paths.map(|entry| &entry.path).collect();
        let own = (!paths.is_empty()).then(|| format!("{}: {OTHERS}", risks::names(&paths)));
        let all = general.into_iter().chain(own);
        all.map(|risk| format!("{UNDO_RISK}{risk}")).collect()
    }

    /// Returns its risks, and a line for each path: what the commit left there, and what an undo makes of it. Another link than
    /// planned is not shown.
    #[must_use]
    pub fn undo_page(&self, before: &impl BeforeUndo) -> UndoPage {
        let links = self.link_targets(&|at, is_old| before.link_target(at, is_old));
        let all = self.entries().iter().enumerate();
        let new = all.filter(|(_, entry)| is_new(entry));
        let found = new.filter_map(|(at, _)| Some((at, before.directory(at)?)));
        let found: BTreeMap<usize, FoundDirectory> = found.collect();
        let others = |at| found.get(&at).map(|found: &FoundDirectory| found.others);
        let is_whole = before.with_contents();
        let (full, staying): (BTreeSet<usize>, _) = match is_whole {
            true => {
                let full = found.iter().filter(|(_, found)| found.others > 0);
                (full.map(|(at, _)| *at).collect(), BTreeSet::new())
            }
            false => {
                let staying = staying(self.entries().iter().enumerate(), others);
                (BTreeSet::new(), staying)
            }
        };
        let line = |at: usize, entry: &Entry, (now, again): &LinkTargets| match &entry.change {
            Change::Create { new, meta } => {
                let what = match entry.may_stay() {
                    true if is_whole => WHOLE,
                    true if staying.contains(&at) => STAYS,
                    true => GOES,
                    false => "is removed",
                };
                match found.get(&at) {
                    Some(found) => format!("{what}, now {}", made(*new, now, found.meta)),
                    None => format!("{what}; {LEFT} {}", made(*new, now, *meta)),
                }
            }
            Change::Replace { base, meta, .. } | Change::ReplaceKind { base, meta, .. } => {
                let now = entry
                    .change
                    .makes()
                    .map_or_else(String::new, |new| made(new, now, *meta));
                format!("again {}; {LEFT} {now}", old(base, again))
            }
            Change::SetMetadata { base, meta } => {
                let own = capabilities(base.capabilities.known());
                format!(
                    "again {}; {LEFT} {}{own}",
                    owner(base.stat.meta),
                    owner(*meta)
                )
            }
            Change::Remove { base } => {
                format!("again {}; {LEFT} nothing", old(base, again))
            }
        };
        let all = self.entries().iter().zip(&links).enumerate();
        let all = all.map(|(at, (entry, links))| {
            let line = format!("{} {}", quoted(entry), line(at, entry, links));
            (staying.contains(&at) || full.contains(&at), line)
        });
        let (first, others): (Vec<_>, Vec<_>) = all.partition(|(is_first, _)| *is_first);
        let all: Vec<String> = first
            .into_iter()
            .chain(others)
            .map(|(_, line)| line)
            .collect();
        let mut lines = self.undo_risks(&links, |at| before.accounts(at));
        match is_whole {
            true => lines.extend(self.whole_risks(&full)),
            false => lines.extend(self.staying_risks(&staying, &found, before)),
        }
        if staying.len() > 1 {
            let count = staying.len();
            lines.push(format!(
                "{count} directories stay, as something else is in them"
            ));
        }
        let mut left = lines.iter().fold(TEXT, |left: usize, line| {
            left.saturating_sub(line.len() + 1)
        });
        let fits = |line: &&String| {
            let fits = left.checked_sub(line.len() + 1);
            left = fits.unwrap_or(0);
            fits.is_some()
        };
        let shown = all.iter().take_while(fits).count();
        let (shown, rest) = all.split_at_checked(shown).unwrap_or((&all, &[]));
        lines.extend_from_slice(shown);
        if !rest.is_empty() {
            let sha = hex(&sha256(rest.join("\n").as_bytes()));
            lines.push(format!(
                "and {} more paths; sha256 of their lines {sha}",
                rest.len()
            ));
        }
        let staying = staying.iter().filter_map(|at| self.entries().get(*at));
        UndoPage {
            lines,
            stays: recorded(staying, RECORDED),
        }
    }
}

/// Returns true for a new directory that may stay.
fn is_new(entry: &Entry) -> bool {
    matches!(entry.change, Change::Create { .. }) && entry.may_stay()
}

fn quoted(entry: &Entry) -> String {
    format!("'{}'", escape::in_quotes(entry.path.as_bytes(), usize::MAX))
}

/// Returns the paths in about `most` bytes; more are counted.
fn recorded<'a>(entries: impl Iterator<Item = &'a Entry>, most: usize) -> Option<String> {
    let (mut parts, mut left, mut more) = (Vec::new(), Some(most), 0_usize);
    for entry in entries {
        let path = quoted(entry);
        left = left.and_then(|left| left.checked_sub(path.len() + 2));
        match left {
            Some(_) => parts.push(path),
            None => more += 1,
        }
    }
    parts.extend((more > 0).then(|| format!("and {more} more")));
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Returns the ids of all accounts or groups of a table.
fn ids(table: &[u8]) -> BTreeSet<u32> {
    let lines = account_lines(table).into_iter().flatten();
    lines.filter_map(|line| account_id(line, 2)).collect()
}

fn made(new: New, target: &Option<Vec<u8>>, meta: Metadata) -> String {
    match new {
        New::Directory => kept(Kind::Directory, 0, None, meta),
        New::File(content) => {
            kept(Kind::File, content.size, Some(content.sha256), meta)
                + &capabilities(content.capabilities)
        }
        New::Link(content) => link(target, Some(content.sha256), meta),
    }
}

fn old(base: &Base, target: &Option<Vec<u8>>) -> String {
    let Stat {
        kind, size, meta, ..
    } = base.stat;
    match kind {
        Kind::Symlink => link(target, base.sha256, meta),
        _ => kept(kind, size, base.sha256, meta) + &capabilities(base.capabilities.known()),
    }
}

fn link(target: &Option<Vec<u8>>, sha: Option<[u8; 32]>, meta: Metadata) -> String {
    let Some(target) = target else {
        return kept(Kind::Symlink, 0, sha, meta);
    };
    let shown = escape::in_quotes(target, TARGET);
    let sha = match shown == escape::in_quotes(target, usize::MAX) {
        true => String::new(),
        false => format!("sha256 {}, ", hex(&sha256(target))),
    };
    format!("a symbolic link to '{shown}', {sha}{}", owner(meta))
}

fn kept(kind: Kind, size: u64, sha: Option<[u8; 32]>, meta: Metadata) -> String {
    let mut text = match kind {
        Kind::File => format!("a file of {size} bytes"),
        Kind::Directory => "a directory".to_owned(),
        Kind::Symlink => "a symbolic link".to_owned(),
        Kind::Special => "a special file".to_owned(),
    };
    if let Some(sha) = sha {
        let _ = write!(text, ", sha256 {}", hex(&sha));
    }
    text + ", " + &owner(meta)
}

fn capabilities(own: Option<FileCapabilities>) -> String {
    own.map_or_else(String::new, |own| format!(", capabilities {own}"))
}

fn owner(meta: Metadata) -> String {
    format!("mode {:04o}, owner {}:{}", meta.mode, meta.uid, meta.gid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::capabilities::OldCapabilities;
    use crate::plan::{Content, Source};

    struct Nothing;

    impl BeforeUndo for Nothing {
        fn link_target(&self, _: usize, _: bool) -> Option<Vec<u8>> {
            None
        }
        fn directory(&self, _: usize) -> Option<FoundDirectory> {
            None
        }
        fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
            None
        }
    }

    /// Where each link leads: the one that is there now, and the old one.
    struct Links<'a>(&'a [u8], &'a [u8]);

    impl BeforeUndo for Links<'_> {
        fn link_target(&self, _: usize, is_old: bool) -> Option<Vec<u8>> {
            Some(if is_old { self.1 } else { self.0 }.to_vec())
        }
        fn directory(&self, _: usize) -> Option<FoundDirectory> {
            None
        }
        fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
            None
        }
    }

    const META: Metadata = Metadata {
        mode: 0o640,
        uid: 0,
        gid: 33,
    };

    fn base(sha256: Option<[u8; 32]>) -> Base {
        Base {
            stat: Stat {
                kind: if sha256.is_some() {
                    Kind::File
                } else {
                    Kind::Directory
                },
                dev: 1,
                ino: 2,
                ctime_ns: 3,
                size: 4,
                meta: META,
            },
            sha256,
            capabilities: OldCapabilities::Unread,
        }
    }

    fn plan(changes: Vec<(String, Change)>) -> Plan {
        let entry = |(path, change)| Entry {
            path: PlanPath::new(path).unwrap(),
            change,
        };
        Plan::new(changes.into_iter().map(entry).collect()).unwrap()
    }

    #[test]
    fn undo_shows_what_is_there_and_what_will_be() {
        let content = Content {
            size: 7,
            sha256: [0xab; 32],
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let meta = Metadata {
            mode: 0o4755,
            ..META
        };
        let lines = plan(vec![
            (
                "/a".into(),
                Change::Create {
                    new: New::Directory,
                    meta,
                },
            ),
            (
                "/b\n".into(),
                Change::Replace {
                    base: base(Some([0xcd; 32])),
                    content,
                    meta,
                },
            ),
            (
                "/c".into(),
                Change::SetMetadata {
                    base: base(None),
                    meta,
                },
            ),
            ("/d".into(), Change::Remove { base: base(None) }),
        ])
        .undo_page(&Nothing)
        .lines;
        let (ab, cd) = ("ab".repeat(32), "cd".repeat(32));
        assert_eq!(
            lines,
            [
                "RISK: /b\\n: it is a program, and its content changes".to_owned(),
                "RISK: /d: it belongs to another user or group than before, or than root"
                    .to_owned(),
                "'/a' is removed unless something else is in it then; the commit left a directory, mode 4755, owner 0:33"
                    .to_owned(),
                format!(
                    "'/b\\n' again a file of 4 bytes, sha256 {cd}, mode 0640, owner 0:33; the commit left a file of 7 bytes, \
                     sha256 {ab}, mode 4755, owner 0:33"
                ),
                "'/c' again mode 0640, owner 0:33; the commit left mode 4755, owner 0:33".to_owned(),
                "'/d' again a directory, mode 0640, owner 0:33; the commit left nothing".to_owned(),
            ]
        );
    }

    #[test]
    fn undo_shows_where_its_links_lead() {
        let meta = Metadata {
            mode: 0o777,
            ..META
        };
        let target = |bytes: &[u8]| Content {
            size: bytes.len() as u64,
            sha256: sha256(bytes),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let old_link = Base {
            stat: Stat {
                kind: Kind::Symlink,
                meta,
                ..base(None).stat
            },
            sha256: Some(sha256(b"it's")),
            capabilities: OldCapabilities::Unread,
        };
        let link = |change| plan(vec![("/a".to_owned(), change)]);
        let read = &Links(b"new", b"it's");
        let risk = |target: &str| {
            format!(
                "RISK: /a: it is a link: whoever can change '{target}' changes what is read or written here"
            )
        };
        let replaced = link(Change::Replace {
            base: old_link,
            content: target(b"new"),
            meta,
        });
        let to = |target: &str| format!("a symbolic link to '{target}', mode 0777, owner 0:33");
        let line = format!("'/a' again {}; {LEFT} {}", to("it\\'s"), to("new"));
        assert_eq!(replaced.undo_page(read).lines, [risk("it\\'s"), line]);
        let turned = link(Change::ReplaceKind {
            base: old_link,
            new: New::File(target(b"new")),
            meta,
        });
        let lines = turned.undo_page(read).lines;
        let again = format!(
            "'/a' again {}; the commit left a file of 3 bytes, sha256 ",
            to("it\\'s")
        );
        assert_eq!(lines[0], risk("it\\'s"));
        assert!(lines[1].starts_with(&again), "{lines:?}");
        let turned = link(Change::ReplaceKind {
            base: base(Some([0xab; 32])),
            new: New::Link(target(b"new")),
            meta,
        });
        let lines = turned.undo_page(read).lines;
        let now = format!("; {LEFT} {}", to("new"));
        let line = lines.last().unwrap();
        assert!(
            line.starts_with("'/a' again a file of ") && line.ends_with(&now),
            "{lines:?}"
        );
        let removed = link(Change::Remove { base: old_link });
        let line = format!("'/a' again {}; {LEFT} nothing", to("it\\'s"));
        let lines = removed.undo_page(read).lines;
        assert_eq!(lines.last(), Some(&line));
        let made = link(Change::Create {
            new: New::Link(target(b"new")),
            meta,
        });
        let line = format!("'/a' is removed; {LEFT} {}", to("new"));
        assert_eq!(made.undo_page(read).lines, [line]);
        let long = link(Change::Create {
            new: New::Link(target(&[b'x'; 999])),
            meta,
        });
        let lines = long.undo_page(&Links(&[b'x'; 999], b"")).lines;
        let sha = format!("x', sha256 {}, mode", hex(&sha256(&[b'x'; 999])));
        assert!(
            lines[0].contains("x…x") && lines[0].contains(&sha),
            "{lines:?}"
        );
        let lines = replaced.undo_page(&Links(b"other", b"other")).lines;
        let unknown = |bytes| format!("a symbolic link, sha256 {}, mode", hex(&sha256(bytes)));
        assert!(
            lines[1].contains(&unknown(b"it's")) && lines[1].contains(&unknown(b"new")),
            "{lines:?}"
        );
        assert!(
            lines[0].ends_with("it is a link: what it leads to counts"),
            "{lines:?}"
        );
    }

    /// Names of others in each directory, its owner, and `/etc/passwd` now and as it is again.
    struct Served {
        others: usize,
        uid: u32,
        passwd: [&'static str; 2],
    }

    impl BeforeUndo for Served {
        fn link_target(&self, _: usize, _: bool) -> Option<Vec<u8>> {
            None
        }
        fn directory(&self, _: usize) -> Option<FoundDirectory> {
            Some(FoundDirectory {
                others: self.others,
                meta: Metadata {
                    mode: 0o750,
                    uid: self.uid,
                    gid: 0,
                },
            })
        }
        fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
            Some(self.passwd.map(|text| text.as_bytes().to_vec()))
        }
    }

    /// Something else is in each directory from this position on.
    struct Full(usize);

    impl BeforeUndo for Full {
        fn link_target(&self, _: usize, _: bool) -> Option<Vec<u8>> {
            None
        }
        fn directory(&self, at: usize) -> Option<FoundDirectory> {
            Some(FoundDirectory {
                others: usize::from(at >= self.0),
                meta: META,
            })
        }
        fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
            None
        }
    }

    fn replaced_passwd() -> (String, Change) {
        let change = Change::Replace {
            base: base(Some([0; 32])),
            content: Content {
                size: 7,
                sha256: [0xab; 32],
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            },
            meta: META,
        };
        ("/etc/passwd".to_owned(), change)
    }

    fn new_directory(path: &str, uid: u32) -> (String, Change) {
        let meta = Metadata {
            mode: 0o755,
            uid,
            gid: 0,
        };
        let new = New::Directory;
        (path.to_owned(), Change::Create { new, meta })
    }

    /// The owner and the mode that count are those of now, whatever the commit made.
    #[test]
    fn directory_of_others_stays_and_its_lost_owner_is_a_risk() {
        let (one, two) = ("root:x:0:0\n", "root:x:0:0\na:x:107:1\n");
        let stays = "stays, as something else is in it; it is removed if that is gone then";
        let goes = "is removed unless something else is in it then";
        for (planned, others, uid, passwd, what, risk) in [
            (0, 1, 107, [two, one], stays, Some("it stays")),
            (107, 1, 107, [two, one], stays, Some("it stays")),
            (107, 1, 0, [two, one], stays, None),
            (0, 1, 107, [two, two], stays, None),
            (0, 1, 107, [one, two], stays, None),
            (
                0,
                0,
                107,
                [two, one],
                goes,
                Some("it stays if something is in it then"),
            ),
            (0, 0, 107, [two, two], goes, None),
        ] {
            let plan = plan(vec![
                replaced_passwd(),
                new_directory("/var/log/a", planned),
                new_directory("/var/log/pam.d", planned),
            ]);
            let UndoPage {
                lines,
                stays: recorded,
            } = plan.undo_page(&Served {
                others,
                uid,
                passwd,
            });
            let line = format!("'/var/log/a' {what}, now a directory, mode 0750, owner {uid}:0");
            assert!(lines.contains(&line), "{lines:?}");
            let all: Vec<&String> = lines
                .iter()
                .filter(|line| line.contains("no account has"))
                .collect();
            let expect = risk.map(|risk| {
                format!(
                    "RISK: /var/log/a, /var/log/pam.d: {risk}, and no account has its owner or group any more: the next account with \
                     that number has what is in it"
                )
            });
            let expect: Vec<&String> = expect.iter().collect();
            assert_eq!(all, expect, "{lines:?}");
            let count = "2 directories stay, as something else is in them".to_owned();
            assert_eq!(lines.contains(&count), what == stays, "{lines:?}");
            let paths = "'/var/log/a'; '/var/log/pam.d'";
            let paths = (what == stays).then_some(paths);
            assert_eq!(recorded.as_deref(), paths);
        }
    }

    #[test]
    fn page_of_an_undo_with_contents_says_what_goes() {
        struct With(usize);
        impl BeforeUndo for With {
            fn link_target(&self, _: usize, _: bool) -> Option<Vec<u8>> {
                None
            }
            fn directory(&self, at: usize) -> Option<FoundDirectory> {
                let others = if at == 1 { self.0 } else { 0 };
                let meta = META;
                Some(FoundDirectory { others, meta })
            }
            fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
                None
            }
            fn with_contents(&self) -> bool {
                true
            }
        }
        let general = format!("RISK: {CONTENTS}");
        let others = format!("RISK: /var/lib/b: {OTHERS}");
        for (count, risks) in [(0, vec![&general]), (1, vec![&general, &others])] {
            let plan = plan(vec![
                new_directory("/var/lib/a", 0),
                new_directory("/var/lib/b", 0),
                new_directory("/var/lib/b/c", 0),
            ]);
            let page = plan.undo_page(&With(count));
            let (found, paths): (Vec<_>, Vec<_>) = page
                .lines
                .iter()
                .partition(|line| line.starts_with(UNDO_RISK));
            assert_eq!(found, risks);
            assert!(paths.iter().all(|line| line.contains(WHOLE)), "{paths:?}");
            let first = if count == 0 {
                "'/var/lib/a'"
            } else {
                "'/var/lib/b'"
            };
            assert!(paths.first().unwrap().starts_with(first), "{paths:?}");
            assert_eq!(page.stays, None);
        }
        let file = plan(vec![replaced_passwd()]).undo_page(&With(0));
        assert!(!file.lines.contains(&general), "{:?}", file.lines);
    }

    /// An account in another file of accounts is one, too.
    #[test]
    fn lost_owner_of_extrausers_is_a_risk() {
        let (_, change) = replaced_passwd();
        for path in ["/etc/passwd", "/var/lib/extrausers/passwd"] {
            let plan = plan(vec![
                (path.to_owned(), change),
                new_directory("/var/log/a", 107),
            ]);
            let (uid, others) = (107, 1);
            let passwd = ["root:x:0:0\na:x:107:1\n", "root:x:0:0\n"];
            let lines = plan
                .undo_page(&Served {
                    others,
                    uid,
                    passwd,
                })
                .lines;
            let is_it = |line: &String| line.contains("/var/log/a: it stays, and no account has");
            assert!(lines.iter().any(is_it), "{path}: {lines:?}");
        }
    }

    /// Beside a risk for each of them no line would be left for paths.
    #[test]
    fn many_directories_without_an_owner_are_one_risk() {
        let directories = (0..2000).map(|at| new_directory(&format!("/var/lib/{at:0100}"), 107));
        let plan = plan([replaced_passwd()].into_iter().chain(directories).collect());
        let passwd = ["root:x:0:0\na:x:107:1\n", "root:x:0:0\n"];
        for (others, risk, line) in [
            (0, ": it stays if something is in it then, and no", GOES),
            (1, ": it stays, and no account has its owner", STAYS),
        ] {
            let (uid, others) = (107, others);
            let lines = plan
                .undo_page(&Served {
                    others,
                    uid,
                    passwd,
                })
                .lines;
            let text: usize = lines.iter().map(|line| line.len() + 1).sum();
            assert!(text <= 64 << 10, "{text}");
            let all = lines.iter().filter(|line| line.contains("no account has"));
            let all: Vec<_> = all.collect();
            let [risk_line] = all[..] else {
                panic!("{all:?}");
            };
            let more = format!(", [… 1999 more …]{risk}");
            assert!(risk_line.contains(&more), "{risk_line}");
            let paths = lines.iter().filter(|one| one.contains(line)).count();
            assert!(paths > 100, "{paths}");
        }
    }

    /// What stays is in /var mostly, and long plans are cut before that.
    #[test]
    fn directory_that_stays_is_not_cut_off() {
        let made = Change::Create {
            new: New::Directory,
            meta: META,
        };
        let paths = (0..2000).map(|at| format!("/usr/lib/{at:0100}"));
        for (extra, stays) in [
            (&["/var/lib/z"][..], "'/var/lib/z'"),
            (&["/var/lib/y", "/var/lib/z"], "'/var/lib/y'; '/var/lib/z'"),
        ] {
            let paths = paths.clone().chain(extra.iter().map(ToString::to_string));
            let page = plan(paths.map(|path| (path, made)).collect()).undo_page(&Full(2000));
            assert_eq!(page.stays.as_deref(), Some(stays));
            let at = extra.len() - 1;
            for (line, path) in page.lines.iter().skip(at).zip(extra) {
                assert!(line.starts_with(&format!("'{path}' {STAYS}, ")), "{line}");
            }
            let text: usize = page.lines.iter().map(|line| line.len() + 1).sum();
            assert!(text <= 64 << 10, "{text}");
        }
    }

    #[test]
    fn paths_that_stay_are_counted_in_a_record() {
        let made = Change::Create {
            new: New::Directory,
            meta: META,
        };
        for (paths, most, expect) in [
            (&[][..], 99, None),
            (&["/a", "/b'c\\"], 99, Some(r"'/a'; '/b\'c\\'")),
            (&["/a", "/b"], 7, Some("'/a'; and 1 more")),
            (&["/a", "/long-name", "/z"], 14, Some("'/a'; and 2 more")),
            (&["/a"], 1, Some("and 1 more")),
        ] {
            let changes = paths.iter().map(|path| ((*path).to_owned(), made));
            let plan = match paths {
                [] => None,
                _ => Some(plan(changes.collect())),
            };
            let entries = plan.iter().flat_map(Plan::entries);
            assert_eq!(recorded(entries, most).as_deref(), expect, "{paths:?}");
        }
    }

    #[test]
    fn undo_has_the_risks_of_what_it_puts_back_and_of_what_it_removes() {
        let file = |meta| Base {
            stat: Stat {
                meta,
                ..base(Some([0; 32])).stat
            },
            sha256: Some([0; 32]),
            capabilities: OldCapabilities::Unread,
        };
        let content = Content {
            size: 7,
            sha256: [0xab; 32],
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let mode = |mode| Metadata {
            mode,
            uid: 0,
            gid: 0,
        };
        let new = |meta| Change::Create {
            new: New::File(content),
            meta,
        };
        let replaced = |base, meta| Change::Replace {
            base,
            content,
            meta,
        };
        let unread = Base {
            sha256: None,
            ..file(mode(0o640))
        };
        let set = |base, meta| Change::SetMetadata { base, meta };
        let sudo = "RISK: /etc/sudoers.d/x: it decides who may become root";
        let set_id = "RISK: /srv/x: it runs with its owner's or group's rights (set-id)";
        for (path, change, expect) in [
            ("/etc/sudoers.d/x", new(mode(0o440)), &[sudo][..]),
            (
                "/etc/sudoers.d/x",
                replaced(file(mode(0o440)), mode(0o440)),
                &[sudo],
            ),
            ("/etc/sudoers.d/x", replaced(unread, mode(0o640)), &[sudo]),
            (
                "/etc/sudoers.d/x",
                Change::Remove {
                    base: file(mode(0o440)),
                },
                &[sudo],
            ),
            (
                "/srv/x",
                replaced(file(mode(0o4755)), mode(0o644)),
                &[
                    set_id,
                    "RISK: /srv/x: it is a program, and its content changes",
                    "RISK: /srv/x: its group or others get rights that they did not have",
                    "RISK: /srv/x: it can be executed, and could not be before",
                ],
            ),
            ("/srv/x", set(file(mode(0o4755)), mode(0o755)), &[set_id]),
            ("/srv/x", set(file(mode(0o644)), mode(0o4755)), &[]),
            (
                "/srv/x",
                set(unread, mode(0o600)),
                &["RISK: /srv/x: its group or others get rights that they did not have"],
            ),
            ("/srv/x", new(mode(0o4755)), &[]),
        ] {
            let lines = plan(vec![(path.to_owned(), change)])
                .undo_page(&Nothing)
                .lines;
            let (risks, paths): (Vec<_>, Vec<_>) =
                lines.iter().partition(|line| line.starts_with(UNDO_RISK));
            assert_eq!(risks, expect, "{change:?}");
            assert_eq!(paths.len(), 1, "{lines:?}");
            assert_eq!(lines.last(), paths.last().copied(), "{lines:?}");
        }
    }

    #[test]
    fn lines_beyond_the_bound_are_counted_and_hashed() {
        let change = Change::Create {
            new: New::Directory,
            meta: META,
        };
        let many = (0..2000).map(|at| (format!("/{at:0100}"), change));
        let lines = plan(many.collect()).undo_page(&Nothing).lines;
        let text: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert!(text <= 64 << 10, "{text}");
        let last = lines.last().unwrap();
        let count = 2000 - (lines.len() - 1);
        assert!(
            last.starts_with(&format!("and {count} more paths; sha256 of")),
            "{last}"
        );
    }
}
