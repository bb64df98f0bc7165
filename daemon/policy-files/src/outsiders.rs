//! Who is granted something and cannot connect: the socket is a group's.

use std::collections::BTreeSet;

use nix::unistd::{Gid, Group, User};
use remit_policy::{Diagnostic, Machine, Policy, Severity, Who};

use crate::names::Names;

/// Members that are named of one group.
const NAMED: usize = 5;
/// Users and groups that are looked at: a load is to be over soon, whoever stands in the files.
pub(crate) const LOOKED_AT: usize = 512;
/// Warnings, before one that there may be more.
pub(crate) const MOST: usize = 50;
/// The uid of a member of a group who is nobody in particular: the greatest that there is.
const ANYONE: u32 = 0x7fff_ffff;
/// Of the user database, bytes that are looked through for users by their first group.
const PASSWD: u64 = 4 << 20;

/// A warning for each user, and for each group with members, to whom `policy` grants something and who
/// is neither in the group that may connect nor among the administrators, who may, too. `names` are those that the policy was made with; who stands
/// in it by number alone is not looked at, nor are users by their first group where /etc/passwd does
/// not list them. None where there is no such group, nor of names that are elsewhere. It may wait for
/// a directory service.
pub fn outsiders(
    policy: &Policy,
    names: &Names,
    socket_gid: u32,
    admin_gid: Option<u32>,
) -> Vec<Diagnostic> {
    let socket = group(socket_gid).filter(|_| !names.are_elsewhere());
    let Some(socket) = socket else {
        return Vec::new();
    };
    let table = names.table();
    let users = table.users.iter().take(LOOKED_AT);
    let users = users.filter_map(|(user, ids)| {
        // What a group of theirs is granted is told of the group.
        let own = names.groups_of(user);
        let connects = |gid: &u32| *gid == socket_gid || Some(*gid) == admin_gid;
        let is_outside = ids.uid != 0 && !own.iter().any(connects);
        let rule = is_outside.then(|| granting(policy, ids.uid, &[]))??;
        Some(format!(
            "user '{user}' cannot use what is granted by {rule}: not in group '{0}', which may \
             connect; gpasswd -a {user} {0}",
            socket.name
        ))
    });
    let admins = admin_gid.and_then(group);
    let mut inside = members(&socket);
    inside.extend(admins.iter().flat_map(members));
    let groups = table.groups.iter().take(LOOKED_AT);
    let groups = groups.filter_map(|(name, gid)| {
        let all = members(&group(*gid)?);
        let outside: Vec<&str> = all
            .difference(&inside)
            .map(String::as_str)
            .filter(|user| *user != "root")
            .collect();
        let rule = (!outside.is_empty()).then(|| granting(policy, ANYONE, &[*gid]))??;
        Some(format!(
            "members of group '{name}' cannot use what is granted by {rule}: not in group '{}', \
             which may connect: {}",
            socket.name,
            some(&outside)
        ))
    });
    let mut found: Vec<Diagnostic> = users.chain(groups).take(MOST + 1).map(warning).collect();
    if found.len() > MOST {
        found.truncate(MOST);
        let more = "others may not connect either, and are not shown";
        found.push(warning(more.to_owned()));
    }
    found
}

pub(crate) fn warning(why: String) -> Diagnostic {
    Diagnostic::whole(Severity::Warning, "policy", why)
}

/// The first rule that grants something to this caller.
fn granting(policy: &Policy, uid: u32, gids: &[u32]) -> Option<String> {
    let access = policy.access(Who { uid, gids });
    access.grants.into_iter().next().map(|grant| grant.rule)
}

pub(crate) fn group(gid: u32) -> Option<Group> {
    Group::from_gid(Gid::from_raw(gid)).ok()?
}

/// The first of them, and how many more there are.
pub(crate) fn some(all: &[&str]) -> String {
    let first = all
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Names of a group's members: those it lists, and those whose first group it is.
pub(crate) fn members(group: &Group) -> BTreeSet<String> {
    let listed = group.mem.iter().cloned();
    listed.chain(by_first_group(group.gid)).collect()
}

fn by_first_group(gid: Gid) -> Vec<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open("/etc/passwd") {
        // What cannot be read lists nobody.
        let _ = file.take(PASSWD).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let number = gid.to_string();
    let of_group = |line: &&str| line.split(':').nth(3) == Some(number.as_str());
    let user = |line: &str| User::from_name(line.split(':').next()?).ok()?;
    let users = text.lines().filter(of_group).filter_map(user);
    users
        .filter(|user| user.gid == gid)
        .map(|user| user.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use remit_policy::Source;

    use super::*;

    /// What is told of a grant of `run` to these, where the group of this gid may connect.
    fn told(to: &str, more: &str, gid: u32) -> Vec<String> {
        told_beside(to, more, gid, None)
    }

    fn told_beside(to: &str, more: &str, gid: u32, admins: Option<u32>) -> Vec<String> {
        let text = format!("[[grant]]\nname = \"look\"\nto = [{to}]\nallow = [\"run\"]\n{more}");
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let names = Names::default();
        let (policy, _) = remit_policy::load(&[source], &names).unwrap();
        let found = outsiders(&policy, &names, gid, admins);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn users_and_members_that_cannot_connect_are_told() {
        let [daemon, bin] =
            ["daemon", "bin"].map(|name| Group::from_name(name).unwrap().unwrap().gid.as_raw());
        let by =
            "cannot use what is granted by look (a.toml:1): not in group 'bin', which may connect";
        assert_eq!(
            told("\"daemon\", \"root\", \"#64001\", \"bin\"", "", bin),
            [format!(
                "policy: warning: user 'daemon' {by}; gpasswd -a daemon bin"
            )]
        );
        assert_eq!(
            told("\"%daemon\", \"%bin\", \"%root\"", "", bin),
            [format!(
                "policy: warning: members of group 'daemon' {by}: daemon"
            )]
        );
        assert_eq!(
            told("\"daemon\", \"%daemon\"", "", daemon),
            Vec::<String>::new()
        );
        let denied = "[[deny]]\nto = [\"daemon\"]\ndeny = [\"run\"]\n";
        assert_eq!(told("\"daemon\"", denied, bin), Vec::<String>::new());
        // Administrators may connect, too.
        assert_eq!(
            told_beside("\"daemon\", \"%daemon\"", "", bin, Some(daemon)),
            Vec::<String>::new()
        );
        // A group that this machine does not have.
        assert_eq!(told("\"daemon\"", "", 64_999), Vec::<String>::new());
    }

    #[test]
    fn few_are_named() {
        assert_eq!(some(&["a"]), "a");
        assert_eq!(some(&["a"; 5]), "a, a, a, a, a");
        assert_eq!(some(&["a"; 7]), "a, a, a, a, a and 2 more");
    }
}
