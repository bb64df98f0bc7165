use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::print::{command_lines, profile_lines};
use remit_policy::model::command::Command;
use remit_policy::model::machine::HostAddress;
use remit_policy::model::policy::Policy;
use remit_policy::model::profile::{Network, Profile, User};

pub(super) fn changes(old: &Policy, new: &Policy) -> impl Iterator<Item = String> {
    let commands = each("command", &old.commands, &new.commands, command);
    let profiles = each("profile", &old.profiles, &new.profiles, profile);
    commands.into_iter().chain(profiles)
}

fn each<T>(
    kind: &str,
    old: &BTreeMap<String, Arc<T>>,
    new: &BTreeMap<String, Arc<T>>,
    differs: impl Fn(&T, &T) -> Vec<String>,
) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let what = match (old.get(name), new.get(name)) {
            (None, _) => "is new".to_owned(),
            (_, None) => "is gone".to_owned(),
            (Some(old), Some(new)) => match differs(old, new) {
                nothing if nothing.is_empty() => return None,
                some => format!("changes: {}", some.join("; ")),
            },
        };
        Some(format!("{kind} {name} {what}"))
    });
    changed.collect()
}

fn command(old: &Command, new: &Command) -> Vec<String> {
    between(&command_lines(old), &command_lines(new), whole)
}

fn profile(old: &Profile, new: &Profile) -> Vec<String> {
    let mut found = between(&profile_lines(old), &profile_lines(new), by_item);
    if let (
        User::Fixed { name, uid, gid },
        User::Fixed {
            name: name_now,
            uid: uid_now,
            gid: gid_now,
        },
    ) = (&old.user, &new.user)
        && name == name_now
        && (uid, gid) != (uid_now, gid_now)
    {
        found.push(format!(
            "user {name} is uid {uid_now}, gid {gid_now}, before {uid}, {gid}"
        ));
    }
    found.extend(moved(old, new));
    found
}

fn address(address: &HostAddress) -> String {
    match address.may_be_own {
        true => format!("{} (may be this machine's)", address.ip),
        false => address.ip.to_string(),
    }
}

fn moved(old: &Profile, new: &Profile) -> Vec<String> {
    let (Network::Connect(old), Network::Connect(new)) = (&old.network, &new.network) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for to in new {
        let before = old
            .iter()
            .find(|one| (&one.host, one.port) == (&to.host, to.port));
        if before.is_some_and(|before| before.addresses != to.addresses) {
            let addresses: Vec<String> = to.addresses.iter().map(address).collect();
            let addresses = match addresses.is_empty() {
                true => "without an address".to_owned(),
                false => addresses.join(", "),
            };
            found.push(format!("{}:{} is now {addresses}", to.host, to.port));
        }
    }
    found
}

/// Compares lines `key = value` by key. `tell` formats two values.
fn between(old: &[String], new: &[String], tell: fn(&str, &str, &str) -> String) -> Vec<String> {
    let [old, new] = [old, new].map(|lines| {
        let pairs = lines
            .iter()
            .map(|line| line.split_once(" = ").unwrap_or((line, "")));
        pairs.collect::<BTreeMap<&str, &str>>()
    });
    let keys: BTreeSet<&&str> = old.keys().chain(new.keys()).collect();
    let changed = keys
        .into_iter()
        .filter_map(|key| match (old.get(*key), new.get(*key)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(tell(key, old, new)),
            (None, Some(new)) => Some(format!("{key} = {new}, before unset")),
            (Some(old), None) => Some(format!("{key} unset, before {old}")),
            (None, None) => None,
        });
    changed.collect()
}

fn whole(key: &str, old: &str, new: &str) -> String {
    format!("{key} = {new}, before {old}")
}

fn by_item(key: &str, old: &str, new: &str) -> String {
    let items = |list: &'_ str| -> Option<BTreeSet<String>> {
        let list = list.strip_prefix('[')?.strip_suffix(']')?;
        Some(list.split(", ").map(str::to_owned).collect())
    };
    let (Some(before), Some(now)) = (items(old), items(new)) else {
        return whole(key, old, new);
    };
    let beyond = |verb: &str, all: &BTreeSet<String>, others: &BTreeSet<String>| {
        let beyond: Vec<&str> = all.difference(others).map(String::as_str).collect();
        (!beyond.is_empty()).then(|| format!("{verb} {}", beyond.join(", ")))
    };
    let parts = [
        beyond("gains", &now, &before),
        beyond("loses", &before, &now),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => whole(key, old, new),
        false => format!("{key} {}", parts.join(" and ")),
    }
}
