//! Finds approvals that no user can give. The approval socket belongs to a group, and nobody approves their own
//! request.

use std::collections::{BTreeMap, BTreeSet};

use nix::unistd::{Group, Uid, User};
use remit_policy::{Asking, Diagnostic, Machine, Policy};

use crate::names::Names;
use crate::unreachable_grantees::{MAX_CHECKED, MAX_WARNINGS, group, join_first, members, warning};

/// Returns a warning for each rule whose approval nobody can give, and for each approver outside the group of
/// administrators. `names` must be those the policy was loaded with. Returns nothing if the group does not exist or
/// `names` describe another machine. It may wait for a directory service.
pub fn approvers(policy: &Policy, names: &Names, admin_gid: u32) -> Vec<Diagnostic> {
    let admins = group(admin_gid).filter(|_| !names.are_of_other_host());
    let Some(admins) = admins else {
        return Vec::new();
    };
    let inside = members(&admins);
    let mut found = Vec::new();
    let mut reported = BTreeSet::new();
    let mut by_rule = BTreeMap::new();
    for asking in policy.asking().take(MAX_CHECKED) {
        let mut able = BTreeSet::new();
        for word in asking.approval.by() {
            let named = Named::of(&word, names, &admins, &inside);
            able.extend(named.able);
            if let Some(why) = named.outside.filter(|_| reported.insert(word.clone())) {
                found.push(format!(
                    "{why}, which approves; required by {}",
                    asking.rule
                ));
            }
        }
        found.extend(no_approver(&asking, &able));
        by_rule.insert(asking.rule, able);
    }
    let able = |asking: &Asking<'_>| by_rule.get(asking.rule).filter(|able| !able.is_empty());
    for [one, other] in policy.asking_together(MAX_CHECKED) {
        let (Some(first), Some(second)) = (able(&one), able(&other)) else {
            continue;
        };
        if first.is_disjoint(second) {
            found.push(format!(
                "nobody can approve what {} and {} ask of both {} and {}: an approver must be named by \
                 each of them, and nobody is; requests that both cover will expire",
                one.rule,
                other.rule,
                one.approval.by().join(", "),
                other.approval.by().join(", ")
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
    fn of(word: &str, names: &Names, admins: &Group, inside: &BTreeSet<String>) -> Self {
        match word.strip_prefix('%') {
            Some(name) => Self::group(name, names, admins, inside),
            None => Self::user(word, names, admins, inside),
        }
    }

    fn user(word: &str, names: &Names, admins: &Group, inside: &BTreeSet<String>) -> Self {
        let uid = match word.strip_prefix('#') {
            Some(digits) => digits.parse().ok(),
            None => names.user(word).map(|ids| ids.uid),
        };
        let Some(uid) = uid else {
            // Already reported by the load.
            return Self::default();
        };
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let is_admin = |user: &User| user.gid == admins.gid || inside.contains(&user.name);
        if uid == 0 || user.as_ref().is_some_and(is_admin) {
            return Self {
                able: [uid].into(),
                outside: None,
            };
        }
        let advice = match &user {
            Some(user) => format!("; gpasswd -a {} {}", user.name, admins.name),
            None => String::new(),
        };
        Self {
            able: BTreeSet::new(),
            outside: Some(format!(
                "user '{word}' cannot approve anything{advice}: not in group '{}'",
                admins.name
            )),
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
                    join_first(&outside),
                    admins.name
                )
            }),
        }
    }
}

fn no_approver(asking: &Asking<'_>, able: &BTreeSet<u32>) -> Option<String> {
    let rule = asking.rule;
    let by = asking.approval.by().join(", ");
    let mut grantees = asking.uids();
    // A group may get another member, or have members that are not known here.
    let only = grantees.next().filter(|_| grantees.next().is_none());
    let only = only.filter(|_| asking.gids().next().is_none());
    match (able.len(), only) {
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

    fn reported(to: &str, by: &str, admins: &str) -> Vec<String> {
        let text = format!(
            "[[grant]]\nname = \"look\"\nto = [{to}]\nallow = [\"run\"]\napproval = {{ by = [{by}] }}\n"
        );
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let names = Names::default();
        let (policy, _) = remit_policy_compile::load(&[source], &names).unwrap();
        let gid = Group::from_name(admins).unwrap().unwrap().gid.as_raw();
        let found = approvers(&policy, &names, gid);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn users_unable_to_approve_are_reported() {
        let no_approver = "policy: warning: nobody can approve what look (a.toml:1) asks of";
        let not = "not in group 'bin', which approves; required by look (a.toml:1)";
        let none = Vec::<String>::new();
        assert_eq!(reported("\"daemon\"", "\"bin\"", "bin"), none);
        assert_eq!(reported("\"daemon\"", "\"%bin\"", "bin"), none);
        assert_eq!(reported("\"daemon\"", "\"root\"", "bin"), none);
        assert_eq!(reported("\"daemon\"", "\"%root\", \"#0\"", "bin"), none);
        assert_eq!(
            reported("\"bin\"", "\"daemon\"", "bin"),
            [
                format!(
                    "policy: warning: user 'daemon' cannot approve anything; gpasswd -a daemon bin: {not}"
                ),
                format!("{no_approver} daemon: each request will expire"),
            ]
        );
        assert_eq!(
            reported("\"bin\"", "\"%daemon\", \"root\"", "bin"),
            [format!(
                "policy: warning: members of group 'daemon' cannot approve anything (daemon): {not}"
            )]
        );
        assert_eq!(
            reported("\"bin\"", "\"#64999\"", "bin"),
            [
                format!("policy: warning: user '#64999' cannot approve anything: {not}"),
                format!("{no_approver} #64999: each request will expire"),
            ]
        );
    }

    #[test]
    fn c04_rules_without_common_approver_are_reported() {
        let two = |first: &str, second: &str| {
            let rule = |by: &str| {
                format!(
                    "[[grant]]\nto = [\"daemon\"]\nallow = [\"run\"]\napproval = {{ by = [{by}] }}\n"
                )
            };
            let source = Source {
                name: "a.toml".into(),
                text: (rule(first) + &rule(second)).into(),
            };
            let names = Names::default();
            let (policy, _) = remit_policy_compile::load(&[source], &names).unwrap();
            let gid = Group::from_name("bin").unwrap().unwrap().gid.as_raw();
            let found = approvers(&policy, &names, gid);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            two("\"bin\"", "\"root\""),
            [
                "policy: warning: nobody can approve what a.toml:1 and a.toml:5 ask of both bin and root: an \
              approver must be named by each of them, and nobody is; requests that both cover will expire"
            ]
        );
        assert_eq!(two("\"bin\", \"root\"", "\"root\""), Vec::<String>::new());
    }

    #[test]
    fn requester_as_only_approver_is_reported() {
        let own = "policy: warning: nobody can approve what look (a.toml:1) asks of %bin: only the \
                   requester could, and nobody can approve their own request";
        assert_eq!(reported("\"bin\"", "\"%bin\"", "bin"), [own]);
        assert_eq!(
            reported("\"bin\", \"daemon\"", "\"%bin\"", "bin"),
            Vec::<String>::new()
        );
        assert_eq!(
            reported("\"bin\"", "\"%bin\", \"root\"", "bin"),
            Vec::<String>::new()
        );
    }
}
