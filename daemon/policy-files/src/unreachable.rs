//! Finds unusable grants and approvals that nobody can give: sockets belong to groups, and nobody approves their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use remit_common::text::first_of;
use remit_policy::model::rule::Principal;
use remit_policy::{Asking, CallerIds, Diagnostic, Machine, Policy, Severity};

use crate::approver_keys::ApproverKeys;
use crate::names::Names;
use crate::trust::Owners;

/// Maximum number of members that a warning names per group.
const NAMED: usize = 5;
/// Maximum number of users and groups that are checked. A load must end soon, however many the files name.
const MAX_CHECKED: usize = 512;
const MAX_WARNINGS: usize = 50;
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
            first_of(&outside, NAMED)
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

/// Returns a warning for each denied group without a known member: a denial holds by uid for members alone. Accounts of a
/// directory service whose first group it is are listed nowhere. Returns nothing if `names` describe another machine, or if
/// this one has no such service.
pub fn memberless_denials(policy: &Policy, names: &Names, has_directory: bool) -> Vec<Diagnostic> {
    if names.are_of_other_host() || !has_directory {
        return Vec::new();
    }
    let mut reported = BTreeSet::new();
    let rules = policy.denies.iter();
    let groups = rules.flat_map(|rule| {
        rule.to
            .ids
            .iter()
            .map(move |(principal, word)| (rule, principal, word))
    });
    let found = groups.filter_map(|(rule, principal, word)| {
        let Principal::Group(gid) = principal else {
            return None;
        };
        let is_first = names.members(*gid).is_empty() && reported.insert(*gid);
        is_first.then(|| {
            warning(format!(
                "no member of group '{word}' is known, so {} denies only processes that have the group, and a process can leave it; \
                 if accounts of a directory service have it as their first group, deny these users by name",
                rule.id
            ))
        })
    });
    found.take(MAX_WARNINGS).collect()
}

fn warning(why: String) -> Diagnostic {
    Diagnostic::whole(Severity::Warning, "policy", why)
}

fn granting(policy: &Policy, uid: u32, gids: &[u32]) -> Option<String> {
    let access = policy.access(CallerIds { uid, gids });
    access.grants.into_iter().next().map(|grant| grant.rule)
}

fn group(gid: u32) -> Option<Group> {
    Group::from_gid(Gid::from_raw(gid)).ok()?
}

fn members(group: &Group) -> BTreeSet<String> {
    let listed = group.mem.iter().cloned();
    // A read error lists nobody: the result is only for warnings.
    let first = by_first_group(group.gid.as_raw()).unwrap_or_default();
    listed.chain(first.into_keys()).collect()
}

pub(crate) fn by_first_group(gid: u32) -> io::Result<BTreeMap<String, u32>> {
    let users = local_users()?.into_iter();
    let own = users.filter(|user| user.gid == Some(gid));
    Ok(own.map(|user| (user.name, user.uid)).collect())
}

/// A line of /etc/passwd.
pub(crate) struct LocalUser {
    pub(crate) name: String,
    pub(crate) uid: u32,
    gid: Option<u32>,
}

pub(crate) fn local_users() -> io::Result<Vec<LocalUser>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open("/etc/passwd")?;
    file.take(PASSWD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PASSWD {
        return Err(io::Error::other(format!("it has over {PASSWD} bytes")));
    }
    let text = String::from_utf8_lossy(&bytes);
    let user = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        Some(LocalUser {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok(),
        })
    };
    Ok(text.lines().filter_map(user).collect())
}

/// Returns a warning for each rule whose approval nobody can give, and for each approver outside the group of
/// administrators. Limits of the answers are those of [`unreachable_grantees`]. It may wait for a directory service.
/// `socket_gid`: the group of agents; a member is never advised to become an administrator. `config`: the directory with
/// the keys of approvers.
pub fn approvers(
    policy: &Policy,
    names: &Names,
    (socket_gid, admin_gid): (Option<u32>, u32),
    (config, owners): (&Path, Owners),
) -> Vec<Diagnostic> {
    let admins = group(admin_gid).filter(|_| !names.are_of_other_host());
    let Some(admins) = admins else {
        return Vec::new();
    };
    let inside = members(&admins);
    let mut found = Vec::new();
    let mut reported = BTreeSet::new();
    let mut by_rule = BTreeMap::new();
    let is_signed = |asking: Asking<'_>| asking.approval.signed().is_some();
    let keys = policy
        .asking()
        .any(is_signed)
        .then(|| ApproverKeys::read(config, owners));
    for asking in policy.asking().take(MAX_CHECKED) {
        let mut able = BTreeSet::new();
        for word in asking.approval.words() {
            let named = match word.strip_prefix('%') {
                Some(name) => Named::group(name, names, &admins, &inside),
                None => Named::user(word, names, (&admins, &inside), (&asking, socket_gid)),
            };
            able.extend(named.able);
            if let Some(why) = named.outside.filter(|_| reported.insert(word.clone())) {
                found.push(format!(
                    "{why}, which approves; required by {}",
                    asking.rule
                ));
            }
        }
        found.extend(no_approver(&asking, &able));
        found.extend(keys.as_ref().and_then(|keys| keys.shortage(&asking, &able)));
        by_rule.insert(asking.rule, able);
    }
    let able = |asking: &Asking<'_>| by_rule.get(asking.rule).filter(|able| !able.is_empty());
    for [one, other] in policy.asking_together(MAX_CHECKED, names) {
        let (Some(first), Some(second)) = (able(&one), able(&other)) else {
            continue;
        };
        if first.is_disjoint(second) {
            found.push(format!(
                "nobody can approve what {} and {} ask of both {} and {}: an approver must be named by \
                 each of them, and nobody is; requests that both cover will expire",
                one.rule,
                other.rule,
                one.approval.asked_of().join(", "),
                other.approval.asked_of().join(", ")
            ));
            continue;
        }
        let count = one.approval.count().max(other.approval.count()).get();
        let both = first.intersection(second).count();
        if both < count {
            found.push(format!(
                "too few people can approve what {} and {} ask of both {} and {}: each approver must be named by each \
                 of them, and {both} of {count} are; requests that both cover will expire",
                one.rule,
                other.rule,
                one.approval.asked_of().join(", "),
                other.approval.asked_of().join(", ")
            ));
        }
    }
    let more = found.len() > MAX_WARNINGS;
    found.truncate(MAX_WARNINGS);
    if more {
        found.push("others, not shown, may also be unable to approve".into());
    }
    found.into_iter().map(warning).collect()
}

#[derive(Default)]
struct Named {
    able: BTreeSet<u32>,
    outside: Option<String>,
}

impl Named {
    fn user(
        word: &str,
        names: &Names,
        (admins, inside): (&Group, &BTreeSet<String>),
        (asking, socket_gid): (&Asking<'_>, Option<u32>),
    ) -> Self {
        let uid = match word.strip_prefix('#') {
            Some(digits) => digits.parse().ok(),
            None => names.user(word).map(|ids| ids.uid),
        };
        let Some(uid) = uid else {
            return Self::default(); // Already reported by the load.
        };
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let is_admin = |user: &User| user.gid == admins.gid || inside.contains(&user.name);
        if uid == 0 || user.as_ref().is_some_and(is_admin) {
            return Self {
                able: [uid].into(),
                outside: None,
            };
        }
        let group = &admins.name;
        let requester = user.as_ref().and_then(|user| {
            let groups = names.groups_of(&user.name);
            requester(asking, socket_gid, uid, &groups)
        });
        let why = match (requester, &user) {
            (Some(what), _) => format!(": it is {what}; name a person in group '{group}'"),
            (None, Some(user)) => {
                format!("; gpasswd -a {} {group}: not in group '{group}'", user.name)
            }
            (None, None) => format!(": not in group '{group}'"),
        };
        Self {
            able: BTreeSet::new(),
            outside: Some(format!("user '{word}' cannot approve anything{why}")),
        }
    }

    fn group(name: &str, names: &Names, admins: &Group, inside: &BTreeSet<String>) -> Self {
        let gid = match name.strip_prefix('#') {
            Some(digits) => digits.parse().ok(),
            None => names.group(name),
        };
        let Some(group) = gid.and_then(group) else {
            return Self::default();
        };
        let all = members(&group);
        let can = |user: &&String| *user == "root" || inside.contains(*user);
        let uids = all.iter().filter(can);
        let uids = uids.filter_map(|user| Some(User::from_name(user).ok()??.uid.as_raw()));
        let outside: Vec<&str> = all
            .iter()
            .filter(|user| !can(user))
            .map(String::as_str)
            .collect();
        Self {
            able: uids.collect(),
            outside: (!outside.is_empty()).then(|| {
                format!(
                    "members of group '{}' cannot approve anything ({}): not in group '{}'",
                    group.name,
                    first_of(&outside, NAMED),
                    admins.name
                )
            }),
        }
    }
}

/// Returns what a user is that must not become an administrator: such a user could approve requests of agents.
fn requester(
    asking: &Asking<'_>,
    socket_gid: Option<u32>,
    uid: u32,
    groups: &[u32],
) -> Option<&'static str> {
    if socket_gid.is_some_and(|gid| groups.contains(&gid)) {
        return Some("an agent");
    }
    let by_group = || asking.gids().any(|gid| groups.contains(&gid));
    let asks = asking.uids().any(|one| one == uid) || by_group();
    asks.then_some("the requester")
}

fn no_approver(asking: &Asking<'_>, able: &BTreeSet<u32>) -> Option<String> {
    let rule = asking.rule;
    let by = asking.approval.asked_of().join(", ");
    let mut grantees = asking.uids();
    // A group may get another member, or have members that are not known here.
    let only = grantees.next().filter(|_| grantees.next().is_none());
    let only = only.filter(|_| asking.gids().next().is_none());
    let count = asking.approval.count().get();
    let others = able.iter().filter(|uid| only != Some(**uid)).count();
    match (able.len(), only) {
        _ if count > 1 && others < count => Some(format!(
            "too few people can approve what {rule} asks of {by}: {others} besides the requester; each request \
             will expire"
        )),
        (0, _) => Some(format!(
            "nobody can approve what {rule} asks of {by}: each request will expire"
        )),
        (1, Some(uid)) if able.contains(&uid) => Some(format!(
            "nobody can approve what {rule} asks of {by}: only the requester could, and nobody can \
             approve their own request"
        )),
        _ => None,
    }
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
    fn denied_groups_without_known_members_are_reported() {
        let reported = |to: &str| {
            let deny = |name: &str| {
                format!("[[deny]]\nname = \"{name}\"\nto = [{to}]\ndeny = [\"run\"]\n")
            };
            let source = Source {
                name: "a.toml".into(),
                text: (deny("one") + &deny("two")).into(),
            };
            let names = Names::default();
            let files = crate::PolicyFiles {
                sources: vec![source],
                warnings: Vec::new(),
            };
            let loaded = crate::Loaded::of(files, &names, &remit_policy_compile::load).unwrap();
            let policy = &loaded.policy;
            assert_eq!(memberless_denials(policy, &names, false), []);
            memberless_denials(policy, &names, true)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        // Known by /etc/passwd, and a user.
        assert_eq!(reported("\"%bin\", \"daemon\""), [""; 0]);
        assert_eq!(
            reported("\"%#64777\", \"%bin\""),
            [
                "policy: warning: no member of group '%#64777' is known, so one (a.toml:1) denies only processes that have the \
              group, and a process can leave it; if accounts of a directory service have it as their first group, deny \
              these users by name"
            ]
        );
    }

    fn approvers_reported(to: &str, by: &str, admins: &str) -> Vec<String> {
        approvers_of(to, &format!("by = [{by}]"), admins)
    }

    fn approvers_of(to: &str, approval: &str, admins: &str) -> Vec<String> {
        approvers_with_socket(to, approval, admins, None)
    }

    fn approvers_with_socket(
        to: &str,
        approval: &str,
        admins: &str,
        socket: Option<&str>,
    ) -> Vec<String> {
        let text = format!(
            "[[grant]]\nname = \"look\"\nto = [{to}]\nallow = [\"run\"]\napproval = {{ {approval} }}\n"
        );
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let names = Names::default();
        let (policy, _) = remit_policy_compile::load(&[source], &names).unwrap();
        let gid = |name: &str| Group::from_name(name).unwrap().unwrap().gid.as_raw();
        let found = approvers(
            &policy,
            &names,
            (socket.map(gid), gid(admins)),
            (Path::new("/nonexistent"), Owners::Root),
        );
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn users_unable_to_approve_are_reported() {
        let no_approver = "policy: warning: nobody can approve what look (a.toml:1) asks of";
        let not = "not in group 'bin', which approves; required by look (a.toml:1)";
        let none = Vec::<String>::new();
        assert_eq!(approvers_reported("\"daemon\"", "\"bin\"", "bin"), none);
        assert_eq!(approvers_reported("\"daemon\"", "\"%bin\"", "bin"), none);
        assert_eq!(approvers_reported("\"daemon\"", "\"root\"", "bin"), none);
        assert_eq!(
            approvers_reported("\"daemon\"", "\"%root\", \"#0\"", "bin"),
            none
        );
        assert_eq!(
            approvers_reported("\"bin\"", "\"daemon\"", "bin"),
            [
                format!(
                    "policy: warning: user 'daemon' cannot approve anything; gpasswd -a daemon bin: {not}"
                ),
                format!("{no_approver} daemon: each request will expire"),
            ]
        );
        assert_eq!(
            approvers_reported("\"bin\"", "\"%daemon\", \"root\"", "bin"),
            [format!(
                "policy: warning: members of group 'daemon' cannot approve anything (daemon): {not}"
            )]
        );
        assert_eq!(
            approvers_reported("\"bin\"", "\"#64999\"", "bin"),
            [
                format!("policy: warning: user '#64999' cannot approve anything: {not}"),
                format!("{no_approver} #64999: each request will expire"),
            ]
        );
    }

    #[test]
    fn no_requester_is_advised_to_become_an_administrator() {
        for (to, socket, what) in [
            ("\"daemon\"", None, "the requester"),
            ("\"%daemon\"", None, "the requester"),
            ("\"root\"", Some("daemon"), "an agent"),
            ("\"daemon\"", Some("daemon"), "an agent"),
        ] {
            let found = approvers_with_socket(to, "by = [\"daemon\", \"bin\"]", "bin", socket);
            assert_eq!(
                found,
                [format!(
                    "policy: warning: user 'daemon' cannot approve anything: it is {what}; name a person in group 'bin', \
                     which approves; required by look (a.toml:1)"
                )]
            );
        }
    }

    #[test]
    fn too_few_approvers_are_reported() {
        let of = |to: &str, by: &str| approvers_of(to, &format!("by = [{by}], count = 2"), "bin");
        let too_few = |by: &str, others: usize| {
            format!(
                "policy: warning: too few people can approve what look (a.toml:1) asks of 2 of {by}: {others} besides the \
                 requester; each request will expire"
            )
        };
        assert_eq!(of("\"daemon\"", "\"bin\", \"root\""), [""; 0]);
        let cases = [
            ("\"daemon\"", "\"bin\"", "bin", 1),
            ("\"bin\"", "\"bin\", \"root\"", "(bin, root)", 1),
        ];
        for (to, by, shown, others) in cases {
            assert_eq!(of(to, by), [too_few(shown, others)]);
        }
    }

    #[test]
    fn c04_rules_without_common_approver_are_reported() {
        let to = |[first, second]: [&str; 2], one: &str, other: &str| {
            let rule = |to: &str, by: &str| {
                format!(
                    "[[grant]]\nto = [\"{to}\"]\nallow = [\"run\"]\napproval = {{ by = [{by} }}\n"
                )
            };
            let source = Source {
                name: "a.toml".into(),
                text: (rule(first, one) + &rule(second, other)).into(),
            };
            let names = Names::default();
            let (policy, _) = remit_policy_compile::load(&[source], &names).unwrap();
            let gid = Group::from_name("bin").unwrap().unwrap().gid.as_raw();
            let found = approvers(
                &policy,
                &names,
                (None, gid),
                (Path::new("/nonexistent"), Owners::Root),
            );
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let two = |one: &str, other: &str| to(["daemon"; 2], one, other);
        let none = "policy: warning: nobody can approve what a.toml:1 and a.toml:5 ask of both bin and root: an \
                    approver must be named by each of them, and nobody is; requests that both cover will expire";
        // A user, and a group that has this user.
        for (people, expect) in [
            (["daemon"; 2], &[none][..]),
            (["daemon", "%daemon"], &[none]),
            (["%daemon", "daemon"], &[none]),
            (["daemon", "%root"], &[]),
            (["%daemon", "%root"], &[]),
        ] {
            let found = to(people, "\"bin\"]", "\"root\"]");
            assert_eq!(found, expect, "{people:?}");
        }
        assert_eq!(two("\"bin\", \"root\"]", "\"root\"]"), Vec::<String>::new());
        let both = "\"bin\", \"root\"], count = 2";
        assert_eq!(two(both, "\"bin\", \"root\"]"), Vec::<String>::new());
        assert_eq!(
            two(both, "\"root\"]"),
            [
                "policy: warning: too few people can approve what a.toml:1 and a.toml:5 ask of both 2 of (bin, root) and \
              root: each approver must be named by each of them, and 1 of 2 are; requests that both cover will expire"
            ]
        );
    }

    #[test]
    fn requester_as_only_approver_is_reported() {
        let own = "policy: warning: nobody can approve what look (a.toml:1) asks of %bin: only the \
                   requester could, and nobody can approve their own request";
        assert_eq!(approvers_reported("\"bin\"", "\"%bin\"", "bin"), [own]);
        assert_eq!(
            approvers_reported("\"bin\", \"daemon\"", "\"%bin\"", "bin"),
            Vec::<String>::new()
        );
        assert_eq!(
            approvers_reported("\"bin\"", "\"%bin\", \"root\"", "bin"),
            Vec::<String>::new()
        );
    }
}
