//! What the policy lets an account do.

use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::Facts;
use crate::grants::{Grants, ProfileFact, What};
use crate::path::FilePath;
use crate::rule::RuleId;
use crate::rules::files::user;

/// Sockets at which a client that is root gets everything.
const OF_ROOT: [&str; 4] = [
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/docker.sock",
    "/run/podman/podman.sock",
];

pub fn rules(facts: &Facts, grants: &Grants, clauses: &mut Clauses) {
    for one in &grants.granted {
        let account = [Atom::Account(one.uid)];
        let detail = format!(
            "{} may call {} by {}",
            user(facts, one.uid),
            one.command,
            one.rule
        );
        let mut add = |head: Atom, rule: RuleId| {
            let clause = Clause::new(head, account.clone(), rule).detail(detail.clone());
            clauses.add(clause.fix(format!("narrow {}", one.rule)));
        };
        match &one.what {
            What::Call => add(Atom::Call(one.command.clone()), RuleId::GrantCall),
            What::Code { profile } => add(Atom::Inside(profile.clone()), RuleId::GrantArguments),
            What::Start(unit) => {
                for atom in starts(facts, unit, false) {
                    add(atom, RuleId::GrantUnit);
                }
            }
            What::StartTyped(unit) => add(Atom::StartTyped(unit.clone()), RuleId::GrantUnit),
            What::Commit { beneath } => {
                for path in facts.ways.keys() {
                    let is_in = |above: &Vec<u8>| {
                        FilePath::new(above).is_some_and(|above| path.is_beneath(&above))
                    };
                    if beneath.is_empty() || beneath.iter().any(is_in) {
                        add(Atom::Change(path.clone()), RuleId::GrantCommit);
                        add(super::files::as_root(facts, path), RuleId::GrantCommit);
                    }
                }
            }
        }
    }
    for profile in &grants.profiles {
        inside(facts, profile, clauses);
    }
}

/// What code in a sandbox reaches whose account is one of the machine.
fn inside(facts: &Facts, profile: &ProfileFact, clauses: &mut Clauses) {
    let inside = [Atom::Inside(profile.name.clone())];
    let of = user(facts, profile.uid);
    let mut add = |head: Atom, rule: RuleId, detail: String| {
        clauses.add(Clause::new(head, inside.clone(), rule).detail(detail));
    };
    if profile.is_host {
        let detail = format!("profile {} is {of} without a sandbox", profile.name);
        add(Atom::Account(profile.uid), RuleId::GrantHost, detail);
    }
    for path in profile.writes.iter().filter_map(FilePath::new) {
        for known in facts.files.keys().filter(|known| known.is_beneath(&path)) {
            let entry = facts.files.get(known);
            let is_writable =
                profile.uid == 0 || entry.is_some_and(|entry| entry.uid == profile.uid);
            if is_writable {
                let detail = format!("profile {} lets {of} write {path}", profile.name);
                if profile.uid == 0 {
                    let as_root = Atom::AsRoot(known.clone());
                    add(as_root, RuleId::GrantWrite, detail.clone());
                }
                add(Atom::Write(known.clone()), RuleId::GrantWrite, detail);
            }
        }
    }
    for socket in profile.sockets.iter().filter(|_| profile.uid == 0) {
        if OF_ROOT.contains(&socket.as_str()) {
            let detail = format!("profile {} lets root connect to {socket}", profile.name);
            add(Atom::Account(0), RuleId::GrantSocket, detail);
        }
    }
}

/// The atoms of having a unit started. `any`: an instance or a pattern may be meant.
pub fn starts(facts: &Facts, unit: &str, any: bool) -> Vec<Atom> {
    if let Some((prefix, _)) = unit.split_once('*').filter(|_| any) {
        let units = facts.units.iter().filter(|known| known.starts_with(prefix));
        return units
            .map(|unit| match unit.contains("@.") {
                true => Atom::StartTyped(unit.clone()),
                false => Atom::Start(unit.clone()),
            })
            .collect();
    }
    vec![Atom::Start(unit.to_owned())]
}
