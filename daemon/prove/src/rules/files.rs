//! What decides about a path: its mode and list, the directories above it, the links on its way.

use std::collections::BTreeSet;

use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::Facts;
use crate::grants::JOB;
use crate::machine::entry::{End, Entry, Holder, Kind, SEARCH, WRITE};
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    let mut real = BTreeSet::new();
    for (path, way) in &facts.ways {
        let change = Atom::Change(path.clone());
        for link in &way.links {
            let replace = Atom::Replace(link.clone());
            let detail = format!("the way to {path} is the link {link}");
            clauses.add(Clause::new(change.clone(), [replace], RuleId::Link).detail(detail));
            real.insert(link.clone());
        }
        match &way.end {
            End::There(end) => {
                let write = Atom::Write(end.clone());
                clauses.add(Clause::hidden(change, [write]));
                real.insert(end.clone());
            }
            End::Missing(missing) => {
                let Some(parent) = missing.parent() else {
                    continue;
                };
                if facts.files.get(&parent).is_some_and(Entry::is_directory) {
                    let write = Atom::Write(parent.clone());
                    let detail = format!("{missing} is missing in {parent}");
                    clauses.add(Clause::new(change, [write], RuleId::Create).detail(detail));
                    real.insert(parent);
                }
            }
            End::Unknown => {}
        }
    }
    let mut left: Vec<FilePath> = real.iter().cloned().collect();
    while let Some(path) = left.pop() {
        entry(facts, &path, clauses);
        if let Some(parent) = path.parent().filter(|parent| real.insert(parent.clone())) {
            left.push(parent);
        }
    }
}

fn entry(facts: &Facts, path: &FilePath, clauses: &mut Clauses) {
    let Some(entry) = facts.files.get(path) else {
        return;
    };
    let parent = path.parent();
    let enter = parent.clone().map(Atom::Enter);
    let write = Atom::Write(path.clone());
    let bits = match entry.is_directory() {
        true => WRITE | SEARCH,
        false => WRITE,
    };
    if !matches!(entry.kind, Kind::Link(_)) {
        for holder in entry.holders(bits) {
            let body = enter.iter().cloned().chain([atom(holder)]);
            let detail = format!("{path} is {}", describe(facts, entry));
            let clause = Clause::new(write.clone(), body, RuleId::FileMode).detail(detail);
            clauses.add(clause.fix(close(facts, path, entry, holder)));
        }
    }
    if entry.is_directory() {
        for holder in entry.holders(SEARCH) {
            let body = enter.iter().cloned().chain([atom(holder)]);
            clauses.add(Clause::hidden(Atom::Enter(path.clone()), body));
        }
    }
    let Some((parent, above)) =
        parent.and_then(|path| Some((path.clone(), facts.files.get(&path)?)))
    else {
        return;
    };
    let replace = Atom::Replace(path.clone());
    let in_parent = [Atom::Write(parent.clone())];
    if above.is_sticky() {
        for (uid, of, fix) in [
            (above.uid, &parent, "chown root"),
            (entry.uid, path, chown(entry)),
        ] {
            let body = in_parent.iter().cloned().chain([Atom::Account(uid)]);
            let detail = format!(
                "{path} is in {parent}, and the owner of {of} is {}",
                user(facts, uid)
            );
            let clause = Clause::new(replace.clone(), body, RuleId::Directory).detail(detail);
            clauses.add(clause.fix(format!("{fix} {of}")));
        }
    } else {
        let detail = format!("{path} is in {parent}");
        clauses.add(Clause::new(replace.clone(), in_parent, RuleId::Directory).detail(detail));
    }
    clauses.add(Clause::hidden(write, [replace]));
}

/// The atom of changing, as root, what is found by a path.
pub fn as_root(facts: &Facts, path: &FilePath) -> Atom {
    let end = match facts.ways.get(path).map(|way| &way.end) {
        Some(End::There(end)) => Some(end.clone()),
        Some(End::Missing(missing)) => missing.parent(),
        Some(End::Unknown) | None => None,
    };
    Atom::AsRoot(end.unwrap_or_else(|| path.clone()))
}

pub(super) fn atom(holder: Holder) -> Atom {
    match holder {
        Holder::Anyone => Atom::Anyone,
        Holder::User(uid) => Atom::Account(uid),
        Holder::Group(gid) => Atom::Member(gid),
    }
}

/// `root:staff 0775`, as ls(1) and chmod(1) name it; a `+` for a list.
pub fn describe(facts: &Facts, entry: &Entry) -> String {
    let list = if entry.acl.is_empty() { "" } else { "+" };
    let (user, group) = (user(facts, entry.uid), group(facts, entry.gid));
    format!("{user}:{group} {:04o}{list}", entry.mode)
}

/// Of a link the owner of the link itself.
fn chown(entry: &Entry) -> &'static str {
    match entry.kind {
        Kind::Link(_) => "chown -h root",
        _ => "chown root",
    }
}

fn close(facts: &Facts, path: &FilePath, entry: &Entry, holder: Holder) -> String {
    match holder {
        Holder::Anyone => format!("chmod o-w {path}"),
        Holder::User(uid) if uid == entry.uid => format!("chown root {path}"),
        Holder::User(uid) => format!("setfacl -x u:{} {path}", user(facts, uid)),
        Holder::Group(gid) if gid == entry.gid => format!("chmod g-w {path}"),
        Holder::Group(gid) => format!("setfacl -x g:{} {path}", group(facts, gid)),
    }
}

pub fn user(facts: &Facts, uid: u32) -> String {
    if uid == JOB {
        return "a job".to_owned();
    }
    facts
        .accounts
        .name_of(uid)
        .map_or_else(|| format!("#{uid}"), ToOwned::to_owned)
}

pub fn group(facts: &Facts, gid: u32) -> String {
    facts
        .accounts
        .group_name_of(gid)
        .map_or_else(|| format!("#{gid}"), ToOwned::to_owned)
}
