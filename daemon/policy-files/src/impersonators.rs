//! Users of profiles who may approve: a job that is one of them could approve, from outside of its sandbox, what it
//! asks for.
//!
//! A job of a user's has that user's service manager, crontab and at queue within reach, where its sandbox leaves the
//! way to them open; and what these start is in no job's cgroup. So nobody who may approve is a job's user. Root is left
//! out: a job of root's outside of a sandbox can do anything by itself, and what a sandbox leaves to root is judged by
//! what its profile lists.

use nix::unistd::{Gid, Uid, User, getgrouplist};
use remit_policy::{Diagnostic, Machine, Policy, Severity, Source, User as Jobs};

use crate::names::Names;

/// An error for each profile whose user may approve something: is in the group of administrators, or stands in a `by`.
/// `sources` are the files, for its place. None of names that are elsewhere. It may wait for a directory service.
pub fn impersonators(
    policy: &Policy,
    sources: &[Source],
    names: &Names,
    admin_gid: Option<u32>,
) -> Vec<Diagnostic> {
    if names.are_elsewhere() {
        return Vec::new();
    }
    let found = policy.profiles().filter_map(|profile| {
        let Jobs::Fixed { name, uid, .. } = &profile.user else {
            return None;
        };
        let how = approves(policy, names, *uid, admin_gid).filter(|_| *uid != 0)?;
        let of = &profile.name;
        let message = format!(
            "no job of profile '{of}' can be '{name}': {name} {how}, so a job could approve what it asks for. \
             Give the profile a user of its own: user = \"NAME\""
        );
        let place = place(sources, of).unwrap_or_else(|| "policy".to_owned());
        Some(Diagnostic::whole(Severity::Error, &place, message))
    });
    found.collect()
}

/// How a user may approve something, in words.
fn approves(policy: &Policy, names: &Names, uid: u32, admin_gid: Option<u32>) -> Option<String> {
    let groups = groups_of(uid);
    if admin_gid.is_some_and(|gid| groups.contains(&gid)) {
        return Some(
            "is in the group of administrators (accounts.admin_group in remit.toml)".into(),
        );
    }
    policy.asking().find_map(|asking| {
        let by = asking.approval.by();
        let named = by.iter().find(|word| match word.strip_prefix('%') {
            Some(group) => {
                number(group, |name| names.group(name)).is_some_and(|gid| groups.contains(&gid))
            }
            None => number(word, |name| names.user(name).map(|ids| ids.uid)) == Some(uid),
        })?;
        Some(format!("can approve what {} asks of {named}", asking.rule))
    })
}

/// What a name stands for, or the number that it is.
fn number(word: &str, named: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    match word.strip_prefix('#') {
        Some(digits) => digits.parse().ok(),
        None => named(word),
    }
}

/// The groups that a login would give this user; none for one without an account.
fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
        return Vec::new();
    };
    let name = std::ffi::CString::new(user.name).unwrap_or_default();
    let all = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    all.into_iter().map(Gid::as_raw).collect()
}

/// `FILE:LINE` where a profile is defined.
fn place(sources: &[Source], profile: &str) -> Option<String> {
    let headers = ["", "\"", "'"].map(|quote| format!("[profile.{quote}{profile}{quote}]"));
    sources.iter().find_map(|source| {
        let text = String::from_utf8_lossy(&source.text);
        let is_header = |line: &str| headers.iter().any(|header| line.trim().starts_with(header));
        let line = text.lines().position(is_header)?;
        Some(format!("{}:{}", source.name, line + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a profile of this user, where these approve and the group of this gid administers.
    fn told(user: &str, by: &str, admin_gid: Option<u32>) -> Vec<String> {
        let text = format!(
            "[[grant]]\nname = \"look\"\nto = [\"games\"]\nallow = [\"run\"]\napproval = {{ by = [{by}] }}\n\n\
             [profile.x]\nbase = \"strict\"\nuser = \"{user}\"\n"
        );
        let sources = [Source {
            name: "a.toml".into(),
            text: text.into(),
        }];
        let names = Names::default();
        let (policy, _) = remit_policy::load(&sources, &names).unwrap();
        let found = impersonators(&policy, &sources, &names, admin_gid);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn w04_a_profiles_user_is_nobody_who_may_approve() {
        let gid = |name: &str| {
            nix::unistd::Group::from_name(name)
                .unwrap()
                .unwrap()
                .gid
                .as_raw()
        };
        let bin = Some(gid("bin"));
        for (user, by, admin) in [
            ("daemon", "\"root\"", bin),
            ("daemon", "\"bin\", \"%bin\"", bin),
            ("daemon", "\"bin\"", None),
            ("#64999", "\"root\"", bin),
            ("root", "\"root\"", Some(0)),
        ] {
            assert_eq!(told(user, by, admin), Vec::<String>::new(), "{user} {by}");
        }
        for (user, by, admin, how) in [
            (
                "bin",
                "\"root\"",
                bin,
                "bin is in the group of administrators",
            ),
            (
                "daemon",
                "\"daemon\"",
                bin,
                "daemon can approve what look (a.toml:1) asks of daemon",
            ),
            ("daemon", "\"root\", \"%daemon\"", None, "asks of %daemon"),
            (
                "#64999",
                "\"#64999\"",
                bin,
                "#64999 can approve what look (a.toml:1)",
            ),
        ] {
            let found = told(user, by, admin);
            assert_eq!(found.len(), 1, "{user} {by}: {found:?}");
            assert!(
                found[0].starts_with("a.toml:7: error: no job of profile 'x' can be "),
                "{found:?}"
            );
            assert!(found[0].contains(how), "{found:?}");
            assert!(found[0].contains("user = \"NAME\""), "{found:?}");
        }
    }
}
