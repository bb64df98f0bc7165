//! Who is granted something and cannot connect: the socket is a group's.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::{Gid, Group, User};
use remit_policy::{Diagnostic, Machine, MachineTable, Policy, Severity, Who};
use remit_policy_files::{Names, Owners, read_file};
use serde::Deserialize;

/// Members that are named of one group.
const NAMED: usize = 5;
/// The uid of a member of a group who is nobody in particular: the greatest that there is.
const ANYONE: u32 = 0x7fff_ffff;

/// Of `remit.toml` (remit.toml(5)), what counts here. The rest is `remitd --check`'s to judge.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    accounts: Accounts,
}

#[derive(Deserialize)]
#[serde(default)]
struct Accounts {
    socket_group: Account,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            socket_group: Account::Name("remit".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Account {
    Id(u32),
    Name(String),
}

/// A warning for each user, and for each group with members, to whom something is granted and who is
/// not in the group that may connect.
pub fn warnings(policy: &Policy, names: &Names, config: &Path) -> Vec<Diagnostic> {
    let file = config.join("remit.toml");
    let shown = file.to_string_lossy();
    let warning = |why: String| Diagnostic::whole(Severity::Warning, &shown, why);
    let group = match socket_group(&file) {
        Ok(Some(group)) => group,
        Ok(None) => return Vec::new(),
        Err(why) => return vec![warning(format!("who may connect cannot be told: {why}"))],
    };
    let may_connect = members(&group);
    let table = names.table();
    let users = outsiders_by_name(policy, &table, names, &group).map(|(user, rule)| {
        warning(format!(
            "user '{user}' cannot use what is granted by {rule}: not in group '{0}', which may connect; \
             gpasswd -a {user} {0}",
            group.name
        ))
    });
    let groups = table.groups.iter().filter_map(|(name, gid)| {
        let rule = granted(policy, ANYONE, &[*gid])?;
        let group_of_rule = Group::from_gid(Gid::from_raw(*gid)).ok()??;
        let outside: Vec<String> = members(&group_of_rule)
            .difference(&may_connect)
            .filter(|user| *user != "root")
            .cloned()
            .collect();
        let first = outside.iter().take(NAMED).cloned().collect::<Vec<_>>();
        let more = outside.len().saturating_sub(NAMED);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!outside.is_empty()).then(|| {
            warning(format!(
                "members of group '{name}' cannot use what is granted by {rule}: not in group '{}', \
                 which may connect: {}{more}",
                group.name,
                first.join(", ")
            ))
        })
    });
    users.chain(groups).collect()
}

/// Users that the policy names, is good to, and that cannot connect; with the rule.
fn outsiders_by_name<'a>(
    policy: &'a Policy,
    table: &'a MachineTable,
    names: &'a Names,
    group: &'a Group,
) -> impl Iterator<Item = (&'a str, String)> {
    let users = table.users.iter().filter(|(_, ids)| ids.uid != 0);
    users.filter_map(|(user, ids)| {
        let gids = names.groups_of(user);
        // What a group of theirs has is told of the group.
        let rule = granted(policy, ids.uid, &[])?;
        (!gids.contains(&group.gid.as_raw())).then_some((user.as_str(), rule))
    })
}

/// The first rule that grants something to this caller.
fn granted(policy: &Policy, uid: u32, gids: &[u32]) -> Option<String> {
    let access = policy.access(Who { uid, gids });
    access.grants.into_iter().next().map(|grant| grant.rule)
}

/// The group that may connect; none where this machine does not have it, as one that remit is not
/// installed on.
fn socket_group(file: &Path) -> Result<Option<Group>, String> {
    let text = read_file(
        &std::path::absolute(file).unwrap_or_default(),
        Owners::Anybody,
    )?;
    let text = String::from_utf8(text.unwrap_or_default()).map_err(|error| error.to_string())?;
    let settings: Settings =
        toml::from_str(&text).map_err(|error| error.message().replace('\n', ", "))?;
    let found = match settings.accounts.socket_group {
        Account::Id(gid) => Group::from_gid(Gid::from_raw(gid)),
        Account::Name(name) => Group::from_name(&name),
    };
    found.map_err(|errno| errno.desc().to_owned())
}

/// Names of a group's members: those it lists, and those whose first group it is, as far as the user
/// database of this machine can be listed.
fn members(group: &Group) -> BTreeSet<String> {
    let listed = group.mem.iter().cloned();
    listed.chain(by_first_group(group.gid)).collect()
}

fn by_first_group(gid: Gid) -> Vec<String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |line: &str| {
        let name = line.split(':').next()?;
        let user = User::from_name(name).ok()??;
        (user.gid == gid).then_some(user.name)
    };
    let number = gid.to_string();
    let of_group = |line: &&str| line.split(':').nth(3) == Some(number.as_str());
    text.lines().filter(of_group).filter_map(entry).collect()
}
