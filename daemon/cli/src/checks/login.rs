//! Checks that the key of an account logs in: that neither the account nor, with PAM, its password ends (shadow(5)), and that sshd's lists of users and groups and its methods let it in.

use std::iter;
use std::rc::Rc;

use remit_common::calendar;
use remit_openssh::matches;

use super::agents::Password;
use super::report::Check;
use crate::openssh::effective::{Answers, Effective};
use crate::openssh::pattern::Connection;
use crate::render::units;

/// Days after which chage(1) shows an age as 'never'. Debian's default is 99999.
const NEVER: i64 = 10_000;
const DAY: i64 = 86_400;

/// Days of shadow(5). `None`: the field is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aging {
    changed: Option<i64>,
    most: Option<i64>,
    end: Option<i64>,
}

impl Aging {
    pub fn parse(shadow: &str, user: &str) -> Self {
        let mut lines = shadow.lines();
        let line = lines.find(|line| line.split(':').next() == Some(user));
        let field = |index| {
            let number = line?.split(':').nth(index)?.parse().ok()?;
            (number >= 0).then_some(number)
        };
        Self {
            changed: field(2),
            most: field(4),
            end: field(7),
        }
    }
}

/// Warns of an account that is locked, and of an end of it or of its password.
pub fn ends(user: &str, aging: &Aging, password: &Password, sshd: &Answers) -> Vec<Check> {
    let now = i64::try_from(calendar::now_ms()).unwrap_or(i64::MAX);
    let today = now / 1000 / DAY;
    let usual = sshd.ask(user, &Connection::default()).ok();
    let of_password = password_fault((user, password), aging, usual.as_deref(), today);
    let account = account_end(user, aging, today);
    account.into_iter().chain(of_password).collect()
}

fn password_fault(
    (user, password): (&str, &Password),
    aging: &Aging,
    sshd: Option<&Effective>,
    today: i64,
) -> Option<Check> {
    if sshd.is_none_or(is_password_checked) {
        // A password that is not set cannot be changed in time.
        let is_unset = matches!(password, Password::Locked | Password::None);
        return password_end(user, aging, is_unset, today);
    }
    (*password == Password::Locked).then(|| {
        let why =
            format!("the account '{user}' is locked, and UsePAM is not 'yes': sshd lets no key in");
        warning(user, why, format!("usermod -p '*' {user}"))
    })
}

/// For a key only PAM looks at the password. sshd itself looks at the end of the account.
fn is_password_checked(sshd: &Effective) -> bool {
    sshd.is_yes("usepam")
}

fn account_end(user: &str, aging: &Aging, today: i64) -> Option<Check> {
    let end = aging.end?;
    let why = match end <= today {
        true => format!(
            "the account '{user}' ended on {}: no key logs in",
            date(end)
        ),
        false => format!(
            "the account '{user}' ends on {}: then no key logs in",
            date(end)
        ),
    };
    Some(warning(user, why, format!("chage -E -1 {user}")))
}

fn password_end(user: &str, aging: &Aging, is_unset: bool, today: i64) -> Option<Check> {
    let age = aging.most.filter(|most| *most < NEVER);
    match (aging.changed, age) {
        (Some(0), _) => Some(warning(
            user,
            format!("sshd asks '{user}' for a new password before it starts the command of a key"),
            format!("chage -d \"$(date +%F)\" -M -1 -I -1 {user}"),
        )),
        (Some(changed), Some(most)) => {
            let last = changed.saturating_add(most);
            let is_over = last < today;
            if !is_over && !is_unset {
                return None;
            }
            let when = if is_over { "expired" } else { "expires" };
            let why = format!(
                "the password of '{user}' {when} after {}: then sshd asks for a new one before it starts the command of a key",
                date(last)
            );
            Some(warning(user, why, format!("chage -M -1 -I -1 {user}")))
        }
        (Some(_) | None, None) | (None, Some(_)) => None,
    }
}

fn warning(user: &str, why: String, fix: String) -> Check {
    Check::warning(format!("{user}: account"), why, fix)
}

fn date(day: i64) -> String {
    let seconds = u64::try_from(day.saturating_mul(DAY)).unwrap_or(0);
    let time = units::time(seconds);
    time.split(' ').next().unwrap_or_default().to_owned()
}

/// Warns of settings by which sshd refuses the keys of a member of these groups over each known kind of connection. Another
/// check reports settings that are not known.
pub fn refusals(user: &str, groups: &[&str], sshd: &Answers) -> Vec<Check> {
    if !sshd.unread().is_empty() {
        return Vec::new();
    }
    let ways = sshd.ways(user).into_iter().map(|way| way.connection);
    let settings = iter::once(Some(Connection::default())).chain(ways);
    refusals_by_all(
        user,
        groups,
        settings.map(|connection| sshd.ask(user, &connection?).ok()),
    )
}

/// Returns the refusals by the first of these settings, if each that is known refuses.
fn refusals_by_all(
    user: &str,
    groups: &[&str],
    all: impl Iterator<Item = Option<Rc<Effective>>>,
) -> Vec<Check> {
    let refusals = |sshd: Rc<Effective>| {
        let found = refusals_by(user, groups, &sshd);
        (!found.is_empty()).then_some(found)
    };
    let each: Option<Vec<Vec<Check>>> = all.flatten().map(refusals).collect();
    each.into_iter().flatten().next().unwrap_or_default()
}

fn refusals_by(user: &str, groups: &[&str], sshd: &Effective) -> Vec<Check> {
    let mut found = Vec::new();
    let mut warn = |why: String, fix: String| {
        let why = format!("sshd does not let a key of '{user}' in: {why}");
        found.push(Check::warning(format!("{user}: sshd"), why, fix));
    };
    let in_match =
        |setting: &str| format!("set '{setting}' in a 'Match User {user}' block of sshd_config");
    if sshd.values("pubkeyauthentication").next() == Some("no") {
        warn(
            "PubkeyAuthentication is 'no'".to_owned(),
            in_match("PubkeyAuthentication yes"),
        );
    }
    let methods = patterns(sshd, "authenticationmethods");
    let is_enough = |method: &&str| matches!(*method, "any" | "publickey");
    if !methods.is_empty() && !methods.iter().any(is_enough) {
        warn(
            format!("AuthenticationMethods '{}' needs more", methods.join(" ")),
            in_match("AuthenticationMethods publickey"),
        );
    }
    let is_user = |pattern: &str, is_denied: bool| match pattern.split_once('@') {
        None => matches(pattern, user),
        // What it allows is allowed from some host, and what it denies is not denied from all.
        Some((name, hosts)) => matches(name, user) && (!is_denied || hosts == "*"),
    };
    let is_group = |pattern: &str, _| groups.iter().any(|group| matches(pattern, group));
    type Fits<'a> = &'a dyn Fn(&str, bool) -> bool;
    let own = format!("'{user}'");
    let of_groups = format!("one of its groups ({})", groups.join(" "));
    let lists: [(&str, &str, Fits<'_>, &str); 2] = [
        ("DenyUsers", "AllowUsers", &is_user, &own),
        ("DenyGroups", "AllowGroups", &is_group, &of_groups),
    ];
    for (deny, allow, fits, missing) in lists {
        for pattern in patterns(sshd, &deny.to_ascii_lowercase()) {
            if fits(pattern, true) {
                warn(
                    format!("{deny} has '{pattern}'"),
                    format!("remove '{pattern}' from {deny} in sshd_config"),
                );
            }
        }
        let keyword = allow.to_ascii_lowercase();
        let allowed = patterns(sshd, &keyword);
        if !allowed.is_empty() && !allowed.iter().any(|pattern| fits(pattern, false)) {
            warn(
                format!("{allow} does not have {missing}"),
                format!("add {missing} to {allow} in sshd_config"),
            );
        }
    }
    found
}

/// sshd writes one pattern on each line, or all on one.
fn patterns<'a>(sshd: &'a Effective, keyword: &'a str) -> Vec<&'a str> {
    sshd.values(keyword)
        .flat_map(str::split_whitespace)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::report::whys;

    #[test]
    fn ends_of_shadow_are_named() {
        // 20000 is 2024-10-04.
        let cases: [(&str, bool, &[&str]); 11] = [
            ("a:*:19990:0:99999:7:::", true, &[]),
            ("a:*:19990::::::", true, &[]),
            ("a:*:19990:0:-1:7:-1:-1:", true, &[]),
            ("b:*:19990:0:90:7:::", true, &[]),
            (
                "a:*:19990:0:90:7:::",
                true,
                &["the password of 'a' expires after 2024-12-23"],
            ),
            ("a:x:19990:0:90:7:::", false, &[]),
            (
                "a:x:19900:0:90:7:::",
                false,
                &["the password of 'a' expired after 2024-09-24"],
            ),
            (
                "a:*:19990:0:99999:7::20000:",
                true,
                &["the account 'a' ended on 2024-10-04"],
            ),
            (
                "a:*:19990:0:99999:7::20001:",
                true,
                &["the account 'a' ends on 2024-10-05"],
            ),
            (
                "a:x:0:0:99999:7:::",
                false,
                &["sshd asks 'a' for a new password"],
            ),
            (
                "a:*:19900:0:90:7:30:20019:",
                true,
                &["the account 'a' ends on", "the password of 'a' expired"],
            ),
        ];
        for (line, is_locked, expect) in cases {
            let aging = Aging::parse(&format!("root:*:0:0:1:7::1:\n{line}\n"), "a");
            let found: Vec<Check> = account_end("a", &aging, 20_000)
                .into_iter()
                .chain(password_end("a", &aging, is_locked, 20_000))
                .collect();
            let found = whys(&found);
            assert_eq!(found.len(), expect.len(), "{line}: {found:?}");
            for (found, expect) in found.iter().zip(expect) {
                assert!(
                    found.starts_with(&format!("warning: {expect}")),
                    "{line}: {found}"
                );
            }
        }
    }

    #[test]
    fn an_end_of_the_password_counts_with_pam_alone() {
        for (text, expect) in [("usepam yes", true), ("usepam no", false), ("", false)] {
            assert_eq!(
                is_password_checked(&Effective::parse(text)),
                expect,
                "{text}"
            );
        }
    }

    #[test]
    fn lock_of_the_account_counts_without_pam_alone() {
        for (password, sshd, expect) in [
            (Password::Locked, Some("usepam no"), true),
            (Password::Locked, Some(""), true),
            (Password::Locked, Some("usepam yes"), false),
            (Password::Locked, None, false),
            (Password::None, Some("usepam no"), false),
            (Password::Set, Some("usepam no"), false),
            (Password::NotLocal, Some("usepam no"), false),
        ] {
            let settings = sshd.map(Effective::parse);
            let account = ("agent", &password);
            let found = password_fault(account, &Aging::default(), settings.as_ref(), 20_000);
            assert_eq!(found.is_some(), expect, "{password:?} {sshd:?}");
        }
    }

    #[test]
    fn a_key_is_kept_out_if_each_known_kind_of_connection_refuses_it() {
        let (no, none, yes) = (Some("allowusers bob"), Some("allowusers none"), Some(""));
        for (all, expect) in [
            (&[no][..], 1),
            (&[no, none], 1),
            (&[yes], 0),
            (&[no, yes], 0),
            (&[yes, no], 0),
            (&[no, None], 1),
            (&[None, no], 1),
            (&[None, yes, no], 0),
            (&[None], 0),
        ] {
            let all = all
                .iter()
                .map(|text| text.map(|text| Rc::new(Effective::parse(text))));
            let found = refusals_by_all("agent", &["agent"], all);
            assert_eq!(found.len(), expect, "{found:?}");
        }
    }

    #[test]
    fn settings_that_keep_a_key_out_are_named() {
        let cases: [(&str, &[&str]); 24] = [
            ("pubkeyauthentication yes\nauthenticationmethods any", &[]),
            ("pubkeyauthentication no", &["PubkeyAuthentication"]),
            (
                "authenticationmethods publickey,password",
                &["AuthenticationMethods"],
            ),
            (
                "authenticationmethods publickey,publickey",
                &["AuthenticationMethods"],
            ),
            ("authenticationmethods publickey,password publickey", &[]),
            (
                "allowusers admin\nallowusers bob",
                &["AllowUsers does not have 'agent'"],
            ),
            ("allowusers admin agent", &[]),
            ("allowusers a?en*", &[]),
            ("allowusers agent@10.0.0.*", &[]),
            ("allowusers bob@10.0.0.*", &["AllowUsers"]),
            // sshd knows no '!' in a pattern of a user.
            ("allowusers !bob", &["AllowUsers"]),
            ("denyusers ag*", &["DenyUsers has 'ag*'"]),
            ("denyusers agent@10.0.0.*", &[]),
            ("denyusers agent@*", &["DenyUsers has 'agent@*'"]),
            ("denyusers agentx\ndenyusers bob", &[]),
            (
                "allowgroups ssh-users",
                &["AllowGroups does not have one of its groups (agent remit)"],
            ),
            ("allowgroups ssh-users\nallowgroups remit", &[]),
            ("allowgroups rem*", &[]),
            ("denygroups remit", &["DenyGroups has 'remit'"]),
            // sshd takes it as a name.
            ("denygroups none\ndenyusers none", &[]),
            ("allowusers none", &["AllowUsers does not have 'agent'"]),
            ("allowgroups none", &["AllowGroups"]),
            // Each is asked for by itself.
            ("allowusers agent\nallowgroups wheel", &["AllowGroups"]),
            (
                "denyusers agent\nallowusers bob",
                &["DenyUsers", "AllowUsers"],
            ),
        ];
        for (text, expect) in cases {
            let sshd = Effective::parse(text);
            let found = whys(&refusals_by("agent", &["agent", "remit"], &sshd));
            assert_eq!(found.len(), expect.len(), "{text}: {found:?}");
            for (found, expect) in found.iter().zip(expect) {
                let expect = format!("warning: sshd does not let a key of 'agent' in: {expect}");
                assert!(found.starts_with(&expect), "{text}: {found}");
            }
        }
    }
}
