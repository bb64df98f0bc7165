//! The verdict on one request.
//!
//! In this order: an id that can never be granted anything; the first matching
//! `[[deny]]`; the first `[[grant]]` that covers the whole request. First means
//! by file name, then by line. One grant decides alone: two that each cover a
//! half do not add up.
//!
//! Root's trial of a profile asks no rule: it gives root nothing that root has not.
#![deny(clippy::wildcard_enum_match_arm)]

use std::fmt;

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::GrantView;

use crate::accounts::refused_id;
use crate::diagnostic::quoted;
use crate::load::Policy;
use crate::rule::{Action, DenyRule, GrantRule, Grantees, Profile, RuleId};
use crate::variables::never_permitted;

/// Who asks: ids that the kernel gave for the peer of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The effective uid at connect (unix(7), SO_PEERCRED).
    pub uid: u32,
    /// All gids at connect, the primary one too (SO_PEERCRED, SO_PEERGROUPS).
    pub gids: &'a [u32],
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Run any program or script.
    Run {
        /// The sandbox asked for; `read` when none is.
        profile: Option<&'a str>,
        /// The program, or the interpreter of a script. `run` covers every
        /// program: its sandbox makes any of them harmless.
        argv0: &'a [u8],
        /// Names of the variables that the caller wants set.
        env_names: &'a [&'a [u8]],
    },
    /// Run any program or script as root's own trial of a profile: no rule is asked.
    Try {
        /// The sandbox to try; `read` when none is named.
        profile: Option<&'a str>,
        /// Names of the variables that the caller wants set.
        env_names: &'a [&'a [u8]],
    },
}

/// The answer to an [`Ask`].
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may run, exactly so.
    Allow(Grant),
    /// It may not.
    Deny(Denial),
}

/// A permission. Only [`Policy::decide`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    profile: Profile,
    basis: Basis,
    env: Vec<String>,
}

/// Why something is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// A rule of the policy grants it.
    Rule(RuleId),
    /// Root tries a profile: root could run the same outside of it.
    TryByRoot,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::TryByRoot => f.write_str("try by root"),
        }
    }
}

impl Grant {
    /// The sandbox to run in.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The rule that decided, or what took its place.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Names of the variables that the caller may set, sorted.
    pub fn env(&self) -> &[String] {
        &self.env
    }

    fn of(rule: &GrantRule) -> Self {
        Self {
            profile: rule.profile,
            basis: Basis::Rule(rule.id.clone()),
            env: rule.env.iter().cloned().collect(),
        }
    }

    /// A grant that no policy gave.
    #[cfg(test)]
    pub(crate) fn fake(env: &[&str]) -> Self {
        Self {
            profile: Profile::Read,
            basis: Basis::TryByRoot,
            env: env.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// A refusal, in words for the agent and for the administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that refused, or that came closest; `None` when no rule speaks
    /// of the caller.
    pub rule: Option<RuleId>,
    /// What was refused and why, one sentence.
    pub what: String,
    /// What an administrator can do to allow it.
    pub lift: Option<String>,
    /// What the agent can do instead.
    pub next: String,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self {
            code: Code::DeniedRule,
            message: denial.what,
            object: None,
            by: denial.rule.map(|rule| rule.to_string()),
            lift: denial.lift,
            next: Some(denial.next),
        }
    }
}

impl Policy {
    /// Judges one request. Total: any input has a verdict.
    pub fn decide(&self, who: Who<'_>, ask: &Ask<'_>) -> Verdict {
        if let Some(why) = refused_id(who.uid) {
            return Verdict::Deny(denial_of_id(who.uid, why));
        }
        match ask {
            Ask::Run {
                profile,
                argv0: _,
                env_names,
            } => {
                if let Some(rule) = self.denying(who, Action::Run) {
                    return Verdict::Deny(denial_by(rule, Action::Run));
                }
                self.run(who, profile.unwrap_or(Profile::Read.name()), env_names)
            }
            Ask::Try { profile, env_names } => {
                attempt(who, profile.unwrap_or(Profile::Read.name()), env_names)
            }
        }
    }

    /// What this caller may do, after denials, as `decide` would answer.
    pub fn access(&self, who: Who<'_>) -> Vec<GrantView> {
        if refused_id(who.uid).is_some() {
            return Vec::new();
        }
        let mut views = Vec::new();
        for rule in self.grants.iter().filter(|rule| rule.to.include(who)) {
            let open = |action: &&Action| self.denying(who, **action).is_none();
            let allow: Vec<String> = rule
                .allow
                .iter()
                .filter(open)
                .map(|action| action.name().to_owned())
                .collect();
            if !allow.is_empty() {
                views.push(GrantView {
                    rule: rule.id.to_string(),
                    allow,
                    profile: rule.profile.name().to_owned(),
                    env: rule.env.iter().cloned().collect(),
                    approval: None,
                });
            }
        }
        views
    }

    fn denying(&self, who: Who<'_>, action: Action) -> Option<&DenyRule> {
        self.denies
            .iter()
            .find(|rule| rule.deny.contains(&action) && rule.to.include(who))
    }

    fn run(&self, who: Who<'_>, profile: &str, env_names: &[&[u8]]) -> Verdict {
        let granting =
            |rule: &&GrantRule| rule.allow.contains(&Action::Run) && rule.to.include(who);
        let mut granted = self.grants.iter().filter(granting).peekable();
        if granted.peek().is_none() {
            return Verdict::Deny(no_grant(who.uid));
        }
        let mut in_profile = granted
            .filter(|rule| rule.profile.name() == profile)
            .peekable();
        let Some(closest) = in_profile.peek().copied() else {
            return Verdict::Deny(no_profile(who.uid, profile));
        };
        let covers = |rule: &&GrantRule| env_names.iter().all(|name| lists(rule, name));
        match in_profile.find(covers) {
            Some(rule) => Verdict::Allow(Grant::of(rule)),
            None => Verdict::Deny(no_variable(closest, env_names)),
        }
    }
}

/// Root's own trial. Its variables are those that any policy may permit.
fn attempt(who: Who<'_>, profile: &str, env_names: &[&[u8]]) -> Verdict {
    if who.uid != 0 {
        return Verdict::Deny(not_root(who.uid));
    }
    let Some(profile) = Profile::named(profile) else {
        return Verdict::Deny(unknown_profile(profile));
    };
    let permitted = |name: &&[u8]| {
        let name = std::str::from_utf8(name).ok()?;
        never_permitted(name).is_none().then(|| name.to_owned())
    };
    match env_names
        .iter()
        .map(|name| permitted(name).ok_or(name))
        .collect()
    {
        Ok(env) => Verdict::Allow(Grant {
            profile,
            basis: Basis::TryByRoot,
            env,
        }),
        Err(name) => Verdict::Deny(Denial {
            rule: None,
            what: format!("no job can have the variable {} set", quoted(name)),
            lift: None,
            next: "leave it out, or set it inside a script".into(),
        }),
    }
}

impl Grantees {
    /// Whether the caller is one of them, by uid or by one of the gids.
    fn include(&self, who: Who<'_>) -> bool {
        self.uids.contains(&who.uid) || self.gids.iter().any(|gid| who.gids.contains(gid))
    }
}

fn lists(rule: &GrantRule, name: &[u8]) -> bool {
    rule.env.iter().any(|listed| listed.as_bytes() == name)
}

fn is_never_permitted(name: &[u8]) -> bool {
    std::str::from_utf8(name).map_or(true, |name| never_permitted(name).is_some())
}

fn denial_of_id(uid: u32, why: &str) -> Denial {
    Denial {
        rule: None,
        what: format!("uid {uid} can be granted nothing: {why}"),
        lift: None,
        next: "connect as a user of this machine".into(),
    }
}

fn denial_by(rule: &DenyRule, action: Action) -> Denial {
    Denial {
        rule: Some(rule.id.clone()),
        what: format!("'{}' is denied by rule {}", action.name(), rule.id),
        lift: Some(format!(
            "change the [[deny]] at {}:{}",
            rule.id.file, rule.id.line
        )),
        next: "nothing of this kind will be allowed; ask an administrator".into(),
    }
}

fn not_root(uid: u32) -> Denial {
    Denial {
        rule: None,
        what: format!("only root may try a profile without a grant, and this is uid {uid}"),
        lift: None,
        next: "use run, which policy may grant; access shows what is granted".into(),
    }
}

fn unknown_profile(profile: &str) -> Denial {
    let known: Vec<&str> = Profile::ALL.map(Profile::name).into();
    Denial {
        rule: None,
        what: format!(
            "there is no profile {} (there is: {})",
            quoted(profile),
            known.join(", ")
        ),
        lift: None,
        next: "leave the profile out, or name one that there is".into(),
    }
}

/// The same text whatever was asked: it tells a stranger nothing of the policy.
fn no_grant(uid: u32) -> Denial {
    Denial {
        rule: None,
        what: format!("no rule grants anything to uid {uid} or its groups"),
        lift: Some(format!(
            "{}; or add the user to a group that has a grant",
            grant_of(uid, Profile::Read)
        )),
        next: "call access to see what is granted; ask an administrator for a grant".into(),
    }
}

fn no_profile(uid: u32, profile: &str) -> Denial {
    Denial {
        rule: None,
        what: format!(
            "no rule grants uid {uid} 'run' in a profile {}",
            quoted(profile)
        ),
        lift: Profile::named(profile).map(|profile| grant_of(uid, profile)),
        next: "call access to see the profiles granted, or leave the profile out".into(),
    }
}

/// A line that an administrator can put into a file as it stands.
fn grant_of(uid: u32, profile: Profile) -> String {
    let profile = profile.name();
    format!(
        "a new file in policy.d: grant = [{{ to = [\"#{uid}\"], allow = [\"run\"], profile = \"{profile}\" }}]; \
         then remit policy reload"
    )
}

fn no_variable(closest: &GrantRule, env_names: &[&[u8]]) -> Denial {
    const MOST: usize = 8;
    let missing: Vec<&[u8]> = env_names
        .iter()
        .copied()
        .filter(|name| !lists(closest, name))
        .collect();
    let mut shown: Vec<String> = missing.iter().take(MOST).map(quoted).collect();
    if missing.len() > MOST {
        shown.push(format!("{} more", missing.len() - MOST));
    }
    let shown = shown.join(", ");
    let mut what = format!(
        "no single rule lets this caller set all variables asked for; rule {} lacks {shown}",
        closest.id
    );
    let lift = match missing.iter().find(|name| is_never_permitted(name)) {
        Some(never) => {
            what += &format!("; no policy can permit {}", quoted(never));
            None
        }
        None => Some(format!(
            "add {shown} to 'env' of the [[grant]] at {}:{}; a package's file is copied into \
             /etc/remit/policy.d first",
            closest.id.file, closest.id.line
        )),
    };
    Denial {
        rule: Some(closest.id.clone()),
        what,
        lift,
        next: "leave these variables out, or set them inside a script".into(),
    }
}
