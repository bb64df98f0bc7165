//! Finds users and groups that have a grant but cannot connect, because the socket belongs to a group.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use nix::unistd::{Gid, Group};
use remit_policy::{CallerIds, Diagnostic, Machine, Policy, Severity};

use crate::names::Names;

/// Maximum number of members that a warning names per group.
const NAMED: usize = 5;
/// Maximum number of users and groups that are checked. A load must end soon, however many the files name.
pub(crate) const MAX_CHECKED: usize = 512;
pub(crate) const MAX_WARNINGS: usize = 50;
/// The uid of a member without a name: the greatest that exists.
const ANYONE: u32 = 0x7fff_ffff;
/// Maximum number of bytes read of /etc/passwd.
const PASSWD: u64 = 64 << 20;

/// Returns a warning for each user, and each group with members, that has a grant but is in neither group that may
/// connect: that of the socket or the administrators. `names` must be those the policy was loaded with. Subjects
/// given by number are not checked, nor users by their first group if /etc/passwd does not list them. Returns nothing
/// if the group does not exist or `names` describe another machine. It may wait for a directory service.
pub fn unreachable_grantees(
    policy: &Policy,
    names: &Names,
    socket_gid: u32,
    admin_gid: Option<u32>,
) -> Vec<Diagnostic> {
    let socket = group(socket_gid).filter(|_| !names.are_of_other_host());
    let Some(socket) = socket else {
        return Vec::new();
    };
    let table = names.table();
    let users = table.users.iter().take(MAX_CHECKED);
    let users = users.filter_map(|(user, ids)| {
        // A grant to one of the user's groups is reported with the group.
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
    let groups = table.groups.iter().take(MAX_CHECKED);
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
            join_first(&outside)
        ))
    });
    let mut found: Vec<Diagnostic> = users
        .chain(groups)
        .take(MAX_WARNINGS + 1)
        .map(warning)
        .collect();
    if found.len() > MAX_WARNINGS {
        found.truncate(MAX_WARNINGS);
        let more = "others, not shown, may also be unable to connect";
        found.push(warning(more.to_owned()));
    }
    found
}

pub(crate) fn warning(why: String) -> Diagnostic {
    Diagnostic::whole(Severity::Warning, "policy", why)
}

fn granting(policy: &Policy, uid: u32, gids: &[u32]) -> Option<String> {
    let access = policy.access(CallerIds { uid, gids });
    access.grants.into_iter().next().map(|grant| grant.rule)
}

pub(crate) fn group(gid: u32) -> Option<Group> {
    Group::from_gid(Gid::from_raw(gid)).ok()?
}

pub(crate) fn join_first(all: &[&str]) -> String {
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

pub(crate) fn members(group: &Group) -> BTreeSet<String> {
    let listed = group.mem.iter().cloned();
    // A read error lists nobody: the result is only for warnings.
    let first = by_first_group(group.gid.as_raw()).unwrap_or_default();
    listed.chain(first.into_keys()).collect()
}

pub(crate) fn by_first_group(gid: u32) -> io::Result<BTreeMap<String, u32>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open("/etc/passwd")?;
    file.take(PASSWD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PASSWD {
        return Err(io::Error::other(format!("it has over {PASSWD} bytes")));
    }
    let text = String::from_utf8_lossy(&bytes);
    let user = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, uid, of) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let is_first = of.parse() == Ok(gid);
        Some((name.to_owned(), uid.parse().ok()?)).filter(|_| is_first)
    };
    Ok(text.lines().filter_map(user).collect())
}

#[cfg(test)]
mod tests {
    use remit_policy::Source;

    use super::*;

    fn reported(to: &str, more: &str, gid: u32) -> Vec<String> {
        reported_with_admins(to, more, gid, None)
    }

    fn reported_with_admins(to: &str, more: &str, gid: u32, admins: Option<u32>) -> Vec<String> {
        let text = format!("[[grant]]\nname = \"look\"\nto = [{to}]\nallow = [\"run\"]\n{more}");
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let names = Names::default();
        let (policy, _) = remit_policy_compile::load(&[source], &names).unwrap();
        let found = unreachable_grantees(&policy, &names, gid, admins);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn users_unable_to_connect_are_reported() {
        let [daemon, bin] =
            ["daemon", "bin"].map(|name| Group::from_name(name).unwrap().unwrap().gid.as_raw());
        let by =
            "cannot use what is granted by look (a.toml:1): not in group 'bin', which may connect";
        assert_eq!(
            reported("\"daemon\", \"root\", \"#64001\", \"bin\"", "", bin),
            [format!(
                "policy: warning: user 'daemon' {by}; gpasswd -a daemon bin"
            )]
        );
        assert_eq!(
            reported("\"%daemon\", \"%bin\", \"%root\"", "", bin),
            [format!(
                "policy: warning: members of group 'daemon' {by}: daemon"
            )]
        );
        assert_eq!(
            reported("\"daemon\", \"%daemon\"", "", daemon),
            Vec::<String>::new()
        );
        let denied = "[[deny]]\nto = [\"daemon\"]\ndeny = [\"run\"]\n";
        assert_eq!(reported("\"daemon\"", denied, bin), Vec::<String>::new());
        assert_eq!(
            reported_with_admins("\"daemon\", \"%daemon\"", "", bin, Some(daemon)),
            Vec::<String>::new()
        );
        assert_eq!(reported("\"daemon\"", "", 64_999), Vec::<String>::new());
    }

    #[test]
    fn few_are_named() {
        assert_eq!(join_first(&["a"]), "a");
        assert_eq!(join_first(&["a"; 5]), "a, a, a, a, a");
        assert_eq!(join_first(&["a"; 7]), "a, a, a, a, a and 2 more");
    }
}
