//! What programs change of accounts and groups, as their words say.

use super::accounts::is_powerful;
use super::sudo_writes::{Change, Decider, WriteTarget, WritingProgram};
use crate::atom::Atom;
use crate::facts::Facts;
use crate::split_words::SplitWords;

/// Groups whose members become root by sudo(8) or by a table, whatever else is on the machine.
const STRONG: [&str; 5] = ["root", "sudo", "wheel", "admin", "shadow"];

/// Shells that start nothing.
const CLOSED: [&str; 2] = ["nologin", "false"];

/// Changes of passwords and of whole tables: by the caller's input, or without any.
pub(super) fn accounts(facts: &Facts, writer: &WritingProgram<'_>) -> Vec<Change> {
    let looks = match writer.name {
        "passwd" => "-S --status -l --lock -e --expire -u --unlock",
        "visudo" => "-c --check -cf",
        _ => "",
    };
    let mut looks = looks.split_ascii_whitespace();
    let split = SplitWords::from_words(writer.words, &["-n", "-x", "-w", "-i", "-R", "-P"]);
    let first = split.operands.first().copied();
    let removes = split.has(&["-d", "--delete"]);
    match writer.name {
        _ if !removes && looks.any(|look| writer.words.contains(&look)) => Vec::new(),
        "passwd" if writer.has_input || removes => {
            first.map_or_else(|| vec![strong(None)], |user| account(facts, writer, user))
        }
        "newusers" if first.is_some() => {
            vec![strong(first.and_then(|file| writer.source(file)))]
        }
        _ if writer.has_input => vec![strong(None)],
        _ => Vec::new(),
    }
}

/// Changes of members, shells and identities.
pub(super) fn members(facts: &Facts, writer: &WritingProgram<'_>) -> Vec<Change> {
    match writer.name {
        "gpasswd" | "groupmems" => members_of(facts, writer),
        "groupadd" | "groupmod" => made_group(writer),
        _ => identity(facts, writer),
    }
}

/// gpasswd(1) and groupmems(8).
fn members_of(facts: &Facts, writer: &WritingProgram<'_>) -> Vec<Change> {
    const LISTS: [&str; 4] = ["-A", "--administrators", "-M", "--members"];
    const OTHERS: [&str; 6] = ["-a", "--add", "-d", "--delete", "-Q", "--root"];
    let is_of_operand = writer.name == "gpasswd";
    let group_options: &[&str] = match is_of_operand {
        true => &[],
        false => &["-g", "--group", "-R"],
    };
    let values = [&LISTS[..], &OTHERS, group_options].concat();
    let split = SplitWords::from_words(writer.words, &values);
    let group = match is_of_operand {
        true => split.operands.first().copied(),
        false => split.value(group_options),
    };
    let Some(group) = group else {
        return Vec::new();
    };
    let added = split.values(&["-a", "--add"]).chain(split.values(&LISTS));
    let added: Vec<&str> = added.flat_map(|list| list.split(',')).collect();
    let removes = [
        "-d",
        "--delete",
        "-r",
        "--remove-password",
        "-R",
        "--restrict",
    ];
    // Without any of them it asks for a password of the group.
    if is_of_operand && added.is_empty() && !split.has(&removes) && writer.has_input {
        return into(facts, writer, group, None);
    }
    let added = added.into_iter().filter(|user| !user.is_empty());
    added
        .flat_map(|user| joins(facts, writer, user, group))
        .collect()
}

/// A new group has no members, unless it has the number of another one.
fn made_group(writer: &WritingProgram<'_>) -> Vec<Change> {
    let split = SplitWords::from_words(writer.words, &["-g", "--gid", "-K", "-p", "-n"]);
    let users = ["-U", "--users"];
    let is_other = writer.name == "groupmod" || split.has(&OTHER_NUMBERS) || split.has(&users);
    is_other.then(|| strong(None)).into_iter().collect()
}

/// Options by which a number is not a new one, or the tables are others.
const OTHER_NUMBERS: [&str; 6] = ["-o", "--non-unique", "-R", "--root", "-P", "--prefix"];

/// usermod(8), useradd(8), adduser(8), addgroup(8) and chsh(1).
fn identity(facts: &Facts, writer: &WritingProgram<'_>) -> Vec<Change> {
    const GROUPS: [&str; 5] = ["-g", "--gid", "-G", "--groups", "--ingroup"];
    const DECIDED: [&str; 4] = ["-s", "--shell", "-d", "--home"];
    const NAMES: [&str; 4] = ["-u", "--uid", "-l", "--login"];
    const PASSWORD: [&str; 2] = ["-p", "--password"];
    const OTHERS: [&str; 16] = [
        "-c",
        "--comment",
        "--gecos",
        "-e",
        "--expiredate",
        "-f",
        "--inactive",
        "-k",
        "--skel",
        "-K",
        "--key",
        "-Z",
        "--selinux-user",
        "-b",
        "--base-dir",
        "--firstuid",
    ];
    let name = writer.name;
    let values = [&GROUPS[..], &DECIDED, &NAMES, &PASSWORD, &OTHERS].concat();
    let split = SplitWords::from_words(writer.words, &values);
    let (user, second) = (split.operands.first(), split.operands.get(1).copied());
    let Some(user) = user.copied() else {
        return Vec::new();
    };
    // A new account is that of somebody else. adduser(8) with two names, and addgroup(8), add a member.
    let second = second.filter(|_| name.starts_with("add"));
    let is_new = second.is_none() && name != "usermod" && name != "chsh";
    if split.has(&OTHER_NUMBERS) || !is_new && split.has(&NAMES) {
        return vec![strong(None)];
    }
    let groups = split.values(&GROUPS).flat_map(|list| list.split(','));
    let groups = groups
        .chain(second)
        .filter(|group| !is_new && !group.is_empty());
    let mut found: Vec<Change> = Vec::new();
    found.extend(groups.flat_map(|group| joins(facts, writer, user, group)));
    if is_new {
        return found;
    }
    let is_closed = |shell: &str| {
        let last = shell.rsplit('/').next();
        last.is_some_and(|last| CLOSED.contains(&last))
    };
    for file in split.values(&DECIDED).filter(|file| !is_closed(file)) {
        let targets = account(facts, writer, user).into_iter();
        found.extend(targets.map(|(target, _)| (target, writer.source(file))));
    }
    let asks = name == "chsh" && !split.has(&DECIDED) && writer.has_input;
    if asks || split.has(&PASSWORD) {
        found.extend(account(facts, writer, user));
    }
    found
}

fn strong(decider: Decider) -> Change {
    (WriteTarget::Account(0), decider)
}

/// An account that the caller chooses may be root.
fn account(facts: &Facts, writer: &WritingProgram<'_>, user: &str) -> Vec<Change> {
    match facts.accounts.uid(user) {
        _ if writer.chooses(user) => vec![strong(None)],
        Some(uid) => vec![(WriteTarget::Account(uid), None)],
        None => Vec::new(),
    }
}

/// This account becomes a member of a group: one that the caller chooses may be the caller's.
fn joins(facts: &Facts, writer: &WritingProgram<'_>, user: &str, group: &str) -> Vec<Change> {
    match facts.accounts.uid(user) {
        _ if writer.chooses(user) => into(facts, writer, group, None),
        Some(uid) => into(facts, writer, group, Some(Atom::Account(uid))),
        // A new account has nothing, and one of a directory service is somebody else.
        None => Vec::new(),
    }
}

fn into(facts: &Facts, writer: &WritingProgram<'_>, group: &str, member: Decider) -> Vec<Change> {
    let gid = facts.accounts.gid(group).or_else(|| group.parse().ok());
    let is_known = STRONG.contains(&group) || is_powerful(group);
    let is_strong = |gid: u32| gid == 0 || is_known || facts.strong_groups.contains(&gid);
    match gid {
        _ if writer.chooses(group) => vec![strong(member)],
        Some(gid) if !is_strong(gid) => vec![(WriteTarget::Members(gid), member)],
        Some(_) => vec![strong(member)],
        None => Vec::new(),
    }
}
