//! Explains refusals to the agent and to the administrator.

use remit_common::refusal::{Code, Refusal};
use remit_common::text::first_of;
use remit_common::wire::Effect;
use remit_plan::PlanPath;

use crate::call::variables::never_permitted;
use crate::decide::lists;
use crate::model::command::ParamKind;
use crate::model::diagnostic::quoted;
use crate::model::policy::{CHANGE, Named, Policy, RUN};
use crate::model::profile::Inspect;
use crate::model::rule::{DenyRule, GrantRule, RuleId};

/// The profile that shows a program a copy of the machine, as it comes with remit.
const COPIES: &str = "plan";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub code: Code,
    pub object: Option<String>,
    /// The rule that refused or came closest. `None` if no rule applies to the caller.
    pub rule: Option<RuleId>,
    pub what: String,
    /// The administrator's way to allow it.
    pub lift: Option<String>,
    pub next: String,
}

impl Denial {
    pub fn is_as_unknown(&self) -> bool {
        self.code == Code::NotFound
    }

    /// Names the caller in `lift` as an administrator would. `user`: of this uid; a name that not every policy file can have
    /// leaves the number.
    #[must_use]
    pub fn for_user(mut self, uid: u32, user: &str) -> Self {
        if ParamKind::User.refuses(user).is_none() {
            let lift = self.lift.take();
            self.lift = lift.map(|lift| lift.replace(&quoted_id(uid), &format!("\"{user}\"")));
        }
        self
    }

    /// Makes a refusal that names no rule a denial.
    pub(super) fn without_rule(refusal: Refusal) -> Self {
        Self {
            code: refusal.code,
            object: refusal.object,
            rule: None,
            what: refusal.message,
            lift: refusal.lift,
            next: refusal.next.unwrap_or_default(),
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self {
            code: denial.code,
            message: denial.what,
            object: denial.object,
            by: denial.rule.map(|rule| rule.to_string()),
            lift: denial.lift,
            next: Some(denial.next),
        }
    }
}

/// A denial that names neither an object nor a rule, and that no administrator lifts.
pub(crate) fn denied(what: String, next: impl Into<String>) -> Denial {
    Denial {
        code: Code::DeniedRule,
        object: None,
        rule: None,
        what,
        lift: None,
        next: next.into(),
    }
}

pub(crate) fn of_id(uid: u32, why: &str) -> Denial {
    denied(
        format!("uid {uid} can be granted nothing: {why}"),
        "connect as a user of this machine",
    )
}

pub(crate) fn by(uid: u32, rule: &DenyRule, name: &str) -> Denial {
    Denial {
        object: Some(name.to_owned()),
        rule: Some(rule.id.clone()),
        lift: Some(format!(
            "change the [[deny]] at {}:{}",
            rule.id.file, rule.id.line
        )),
        ..denied(
            format!("'{name}' is denied by rule {}", rule.id),
            match uid {
                0 => "nothing of this kind is allowed, to root either, while that rule is there",
                _ => "nothing of this kind will be allowed; ask an administrator",
            },
        )
    }
}

/// The same text whether the command does not exist or this caller may not use it.
pub(crate) fn no_command(name: &str) -> Denial {
    Denial::without_rule(Refusal::no_such_command(name))
}

/// For a path that no plan may have, in the words with which the plan itself is refused.
pub(crate) fn no_plan(path: &PlanPath, why: &str) -> Denial {
    Denial {
        object: Some(path.to_string()),
        ..denied(
            format!("no plan can change '{path}': {why}"),
            "leave it out of the plan; root can change it without remit",
        )
    }
}

pub(crate) fn other_tool(named: &Named<'_>) -> Denial {
    let name = named.name();
    let (what, next) = match named.effect() {
        Effect::Change => (
            "changes the host, and this asks for one that does not",
            format!("call change with the name '{name}', its args and a reason"),
        ),
        Effect::Read => (
            "does not change the host, and this asks for one that does",
            format!("call run with the name '{name}' and its args"),
        ),
    };
    Denial {
        code: Code::InvalidArgs,
        object: Some(name.to_owned()),
        rule: None,
        what: format!("the command '{name}' {what}"),
        lift: None,
        next,
    }
}

/// The same text for any request, as [`no_grant`].
pub(crate) fn no_one_off(uid: u32) -> Denial {
    Denial {
        lift: Some(
            "copy /usr/share/doc/remit/examples/one-off.toml to /etc/remit/policy.d, with your users and approvers; \
             then remit policy reload"
                .into(),
        ),
        ..denied(format!("no rule grants uid {uid} a one-off '{CHANGE}' of any program or script"), match uid {
            0 => "root can run it without remit",
            _ => "call a named command that changes the host, if access lists one that fits; otherwise tell the \
                  person you work for what has to be run",
        })
    }
}

pub(crate) fn not_root(uid: u32) -> Denial {
    denied(
        format!("only root may try a profile without a grant, and this is uid {uid}"),
        "use run, which policy may grant; access shows what is granted",
    )
}

pub(crate) fn unknown_profile(policy: &Policy, profile: &str) -> Denial {
    const MOST: usize = 8;
    let known = policy.profiles().map(|known| &known.name);
    denied(
        format!(
            "there is no profile {} (there is: {})",
            quoted(profile),
            first_of(known, MOST)
        ),
        "leave the profile out, or name one that there is",
    )
}

pub(crate) fn nothing_to_try(profile: &str) -> Denial {
    denied(
        format!(
            "the profile {} is no sandbox, so there is nothing to try",
            quoted(profile)
        ),
        "root can run the same without remit",
    )
}

pub(crate) fn only_extracts(profile: &str) -> Denial {
    denied(
        format!(
            "no program runs in the profile {} but that of a command: it reads what a job changed in its copy of the machine",
            quoted(profile)
        ),
        "run plan.extract with the id of the job",
    )
}

pub(crate) fn only_inspects(profile: &str, inspect: Inspect) -> Denial {
    denied(
        format!(
            "no one-off change runs in the profile {}: {}",
            quoted(profile),
            inspect.only_for()
        ),
        "call the named command that looks there, or leave the profile out",
    )
}

pub(crate) fn never_set(name: &[u8]) -> Denial {
    denied(
        format!("no job can have the variable {} set", quoted(name)),
        "leave it out, or set it inside a script",
    )
}

/// The same text for any request: it reveals nothing of the policy to an untrusted caller.
pub(crate) fn no_grant(uid: u32) -> Denial {
    Denial {
        lift: Some(match uid {
            0 => grant_of(uid, "read"),
            _ => format!(
                "{}; or add the user to a group that has a grant",
                grant_of(uid, "read")
            ),
        }),
        ..denied(
            format!("no rule grants '{RUN}' to uid {uid} or its groups"),
            match uid {
                // Root has nobody to ask, and can try a sandbox without any rule.
                0 => {
                    "root can run any command in this sandbox without a grant: remit try -- COMMAND"
                }
                _ => "call access to see what is granted; ask an administrator for a grant",
            },
        )
    }
}

/// The same text whether there is such a profile or not.
pub(crate) fn no_profile(uid: u32, profile: &str) -> Denial {
    let (lift, next) = match profile {
        // 'remit plan' and the tool plan ask for it: the caller has no profile to leave out.
        COPIES => (
            Some(
                "copy /usr/share/doc/remit/examples/copies.toml to /etc/remit/policy.d, with your users and directories; \
                 then remit policy check and remit policy reload"
                    .to_owned(),
            ),
            "plan with edits of files needs no copy of the machine; call access to see what is granted",
        ),
        _ => (
            (profile != "host").then(|| {
                let rule = grant_of(uid, "PROFILE");
                format!("{rule}; PROFILE is one of this policy")
            }),
            "call access to see the profiles granted, or leave the profile out",
        ),
    };
    Denial {
        lift,
        ..denied(
            format!(
                "no rule grants uid {uid} '{RUN}' in a profile {}{}",
                quoted(profile),
                match ["host", "read", "strict", COPIES].contains(&profile) {
                    true => "",
                    false => ", if there is one of this name",
                }
            ),
            next,
        )
    }
}

fn quoted_id(uid: u32) -> String {
    format!("\"#{uid}\"")
}

fn grant_of(uid: u32, profile: &str) -> String {
    let to = quoted_id(uid);
    format!(
        "a new file in policy.d: grant = [{{ to = [{to}], allow = [\"run\"], run_profile = \"{profile}\" }}]; \
         then remit policy check and remit policy reload"
    )
}

pub(crate) fn no_variable(closest: &GrantRule, env_names: &[&[u8]]) -> Denial {
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
        lift,
        ..denied(
            what,
            "leave these variables out, or set them inside a script",
        )
    }
}

fn is_never_permitted(name: &[u8]) -> bool {
    std::str::from_utf8(name).map_or(true, |name| never_permitted(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_caller_is_one_that_a_policy_file_can_have() {
        for (user, to) in [
            ("alice", "alice"),
            ("#64001", "#64001"),
            ("%ops", "#64001"),
            ("a\"], allow = [\"*", "#64001"),
            ("corp\\\\alice", "#64001"),
            ("", "#64001"),
        ] {
            let lift = no_grant(64001).for_user(64001, user).lift.unwrap();
            let rule = format!("to = [\"{to}\"], allow = [\"run\"], run_profile = \"read\"");
            assert!(lift.contains(&rule), "{user}: {lift}");
        }
        assert_eq!(of_id(7, "x").for_user(7, "alice").lift, None);
    }

    #[test]
    fn way_out_of_an_ungranted_profile_fits_what_was_asked() {
        for (profile, lift, next) in [
            ("plan", Some("examples/copies.toml"), "plan with edits"),
            ("tight", Some("PROFILE is one"), "leave the profile out"),
            ("host", None, "leave the profile out"),
        ] {
            let denial = no_profile(7, profile);
            assert_eq!(denial.lift.is_some(), lift.is_some(), "{profile}");
            let text = denial.lift.unwrap_or_default();
            assert!(text.contains(lift.unwrap_or_default()), "{text}");
            assert!(denial.next.contains(next), "{}", denial.next);
            let is_open = denial.what.ends_with(", if there is one of this name");
            assert_eq!(is_open, profile == "tight", "{}", denial.what);
        }
    }
}
