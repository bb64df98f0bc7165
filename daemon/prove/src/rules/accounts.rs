//! Accounts and their groups.

use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::Facts;
use crate::rule::RuleId;

/// Groups whose members do by a daemon or a device what root can, and a file whose presence says that it is there.
const GROUPS: [(&str, &[&str], RuleId); 9] = [
    (
        "docker",
        &["/usr/bin/dockerd", "/usr/sbin/dockerd"],
        RuleId::EngineGroup,
    ),
    (
        "lxd",
        &["/usr/bin/lxd", "/snap/bin/lxd"],
        RuleId::EngineGroup,
    ),
    (
        "incus-admin",
        &["/usr/bin/incusd", "/usr/libexec/incus/incusd"],
        RuleId::EngineGroup,
    ),
    ("microk8s", &["/snap/bin/microk8s"], RuleId::EngineGroup),
    (
        "dockerroot",
        &["/usr/bin/dockerd-current"],
        RuleId::EngineGroup,
    ),
    (
        "libvirt",
        &["/usr/sbin/libvirtd", "/usr/sbin/virtqemud"],
        RuleId::EngineGroup,
    ),
    ("podman", &["/run/podman/podman.sock"], RuleId::EngineGroup),
    ("disk", &[], RuleId::Device),
    ("kmem", &["/dev/mem"], RuleId::Device),
];

/// The files of the table, for the reader.
pub fn engines() -> impl Iterator<Item = &'static str> {
    GROUPS
        .iter()
        .flat_map(|(_, files, _)| files.iter().copied())
}

pub fn is_powerful(group: &str) -> bool {
    GROUPS.iter().any(|(name, _, _)| *name == group)
}

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    for (name, user) in &facts.accounts.users {
        for gid in facts.accounts.gids(name) {
            let group = super::files::group(facts, gid);
            let body = [Atom::Account(user.uid)];
            let clause = Clause::new(Atom::Member(gid), body, RuleId::Member);
            let clause = clause.detail(format!("{name} is in group {group}"));
            clauses.add(clause.fix(match gid == user.gid {
                // A member of one group is asked about, not an account.
                true if name.starts_with('%') => format!("keep group {group} empty"),
                true => format!("usermod -g OTHER {name}"),
                false => format!("gpasswd -d {name} {group}"),
            }));
        }
        clauses.add(Clause::hidden(Atom::Anyone, [Atom::Account(user.uid)]));
    }
    for (uid, source) in &facts.open_accounts {
        let clause = Clause::new(Atom::Account(*uid), [Atom::Anyone], RuleId::PamTrust);
        let name = super::user(facts, *uid);
        let clause = clause.detail(format!("{name} has no password, by {source}"));
        clauses.add(clause.fix(format!("narrow {}:{}", source.file, source.line)));
    }
    for one in &facts.same_keys {
        let head = Atom::Account(one.opens);
        let clause = Clause::new(head, [Atom::Keys(one.of)], RuleId::SameKey);
        let (of, opens) = (super::user(facts, one.of), super::user(facts, one.opens));
        let (listed, also) = (&one.listed, &one.also);
        let clause = clause.detail(format!(
            "{of} and {opens} have the same key: {}:{}, {}:{}",
            listed.file, listed.line, also.file, also.line
        ));
        clauses.add(clause.fix(format!("take back {}:{}", also.file, also.line)));
    }
    for (name, files, rule) in GROUPS {
        let is_there = |path: &&str| facts.present.contains(*path);
        let gid = facts.accounts.gid(name);
        if let Some(gid) = gid.filter(|_| files.is_empty() || files.iter().any(is_there)) {
            let clause = Clause::new(Atom::Account(0), [Atom::Member(gid)], rule);
            clauses.add(clause.detail(format!("members of {name} are as strong as root")));
        }
    }
}
