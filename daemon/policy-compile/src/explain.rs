//! Explains a verdict to administrators: every rule, and why it counts or not. [`Policy::decide`] tells a caller less.

use remit_common::refusal::Code;
use remit_common::wire::Effect;

use remit_policy::decide::changes::CallPaths;
use remit_policy::decide::{Ask, Called, CallerIds, Verdict, lists};
use remit_policy::model::glob::Glob;
use remit_policy::model::policy::{CHANGE, Policy, RUN};
use remit_policy::model::rule::{DenyRule, GrantRule, Nature, RuleId};
use remit_policy::model::scope::Scope;
use remit_policy::quoted;
use remit_policy::{Approval, Count};

use crate::load::limits::print_seconds;

#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    pub why: String,
    /// Every denial, then every grant, the strictest first, and why it counts or not. The deciding one begins `decides`.
    pub considered: Vec<(RuleId, String)>,
}

struct Question<'a> {
    caller: CallerIds<'a>,
    name: &'a str,
    nature: Nature<'a>,
    run: Option<(&'a str, &'a [&'a [u8]])>,
    call: Option<Called<'a>>,
    changes: CallPaths<'a>,
}

/// Judges one request as [`Policy::decide`] does, and explains every rule. Takes time in proportion to all rules.
pub fn explain(policy: &Policy, caller: CallerIds<'_>, ask: &Ask<'_>) -> Explanation {
    explain_under(policy, caller, ask, None)
}

/// As [`explain`], with the approval of a floor.
pub fn explain_under(
    policy: &Policy,
    caller: CallerIds<'_>,
    ask: &Ask<'_>,
    floor: Option<&Approval>,
) -> Explanation {
    let verdict = policy.decide_under(caller, ask, floor);
    let question = match *ask {
        Ask::Run {
            profile,
            argv0: _,
            env_names,
        } => Some(Question {
            caller,
            name: RUN,
            nature: Nature::Looks,
            run: Some((profile.unwrap_or(&policy.read.name), env_names)),
            call: None,
            changes: CallPaths::default(),
        }),
        Ask::Command { name, args, .. }
        | Ask::Commit { name, args, .. }
        | Ask::Paths { name, args, .. } => Some(Question {
            caller,
            name,
            nature: policy.nature_of(name),
            run: None,
            call: policy.named(name).map(|named| named.with(args)),
            changes: CallPaths::new(ask),
        }),
        Ask::Change { .. } => Some(Question {
            caller,
            name: CHANGE,
            nature: Nature::OneOff,
            run: None,
            call: None,
            changes: CallPaths::default(),
        }),
        Ask::Try { .. } => None,
    };
    let mut considered = Vec::new();
    if let Some(question) = &question {
        let denies = policy.denies.iter();
        considered.extend(denies.map(|rule| (rule.id.clone(), question.denial(rule, &verdict))));
        let grants = policy.grants.iter();
        considered.extend(grants.map(|rule| (rule.id.clone(), question.grant(rule, &verdict))));
    }
    let mut why = why(policy, &verdict, question.as_ref(), ask);
    if let Some(seconds) = confirm_s(&verdict) {
        let within = print_seconds(seconds);
        why += &format!("; it has to be confirmed within {within}, otherwise it is undone");
    }
    if let Some((rule, path)) = policy.unasked_path(caller, ask) {
        why += &format!(
            "; it depends on the paths of the plan: for one of '{path}' alone rule {rule} asks for no approval"
        );
    }
    Explanation {
        why,
        verdict,
        considered,
    }
}

/// Returns the seconds within which a commit is to be confirmed.
fn confirm_s(verdict: &Verdict) -> Option<u32> {
    match verdict {
        Verdict::Allow(grant) => grant.terms().confirm_s(),
        Verdict::Ask(pending) => pending.terms().confirm_s(),
        Verdict::Deny(_) => None,
    }
}

fn why(
    policy: &Policy,
    verdict: &Verdict,
    question: Option<&Question<'_>>,
    ask: &Ask<'_>,
) -> String {
    let other_effect = match *ask {
        Ask::Command { name, effect, .. } => policy
            .named(name)
            .map(|named| named.effect())
            .filter(|own| *own != effect),
        Ask::Run { .. }
        | Ask::Commit { .. }
        | Ask::Paths { .. }
        | Ask::Change { .. }
        | Ask::Try { .. } => None,
    };
    match verdict {
        Verdict::Allow(grant) => format!(
            "allowed in profile {} by {}",
            grant.profile().name,
            grant.basis()
        ),
        Verdict::Ask(pending) => format!(
            "allowed in profile {} by {}; {} {}; {} of them, never who asks, types: remit approve ID{}",
            pending.profile().name,
            pending.rule(),
            match pending.is_by_floor() {
                true => "by floor.approval of remit.toml it",
                false => "it",
            },
            pending.approval(),
            match pending.approval().count() {
                Count::One => "one",
                Count::Two => "each of two",
                Count::Three => "each of three",
            },
            pending.approval().signed().map_or("", |_| " --signed"),
        ),
        Verdict::Deny(denial) => match question {
            Some(question) if question.run.is_none() && denial.is_as_unknown() => {
                let name = quoted(question.name);
                match policy.named(question.name) {
                    None => format!("there is no command {name}"),
                    Some(_) => format!(
                        "no rule grants {name} to this caller: it is refused as an unknown \
                             command"
                    ),
                }
            }
            Some(question) if denial.code == Code::InvalidArgs => {
                let instead = match other_effect {
                    Some(Effect::Change) => format!("ask for 'change {}' instead", question.name),
                    Some(Effect::Read) => format!("ask for 'run {}' instead", question.name),
                    None => denial.next.clone(),
                };
                format!("{}; {instead}", denial.what)
            }
            _ => denial.what.clone(),
        },
    }
}

impl Question<'_> {
    fn denial(&self, rule: &DenyRule, verdict: &Verdict) -> String {
        let name = quoted(self.name);
        if !rule.to.include(self.caller) {
            return "is not about this caller".into();
        }
        if !rule.denies(self.name) {
            return format!("does not deny {name}");
        }
        if !self.suits(&rule.scope) {
            return format!(
                "does not deny {name}, which has no such arguments: {}",
                rule.scope
            );
        }
        if !rule.touches(self.call) {
            return format!("denies {name} only with {}", rule.scope);
        }
        match verdict {
            Verdict::Deny(denial) if denial.rule.as_ref() == Some(&rule.id) => {
                format!("decides: denies {name}")
            }
            Verdict::Deny(denial) if denial.rule.is_none() => {
                format!("denies {name}, which this caller may not use anyway")
            }
            Verdict::Allow(_) | Verdict::Ask(_) | Verdict::Deny(_) => format!("denies {name} too"),
        }
    }

    fn grant(&self, rule: &GrantRule, verdict: &Verdict) -> String {
        let name = quoted(self.name);
        if !rule.to.include(self.caller) {
            return "is not about this caller".into();
        }
        if !rule.allows(self.name, self.nature) {
            let by_pattern = |glob: &&Glob| glob.matches(self.name);
            return match rule.allow.iter().find(by_pattern) {
                Some(glob) if matches!(self.nature, Nature::LooksBeyond { .. }) => format!(
                    "does not allow {name}, whose profile gives more than 'read': its pattern '{glob}' is not for \
                     commands of another file that do, without effect = \"change\"; write the name whole"
                ),
                Some(glob) if self.nature == Nature::LooksUnconfined => format!(
                    "does not allow {name}, which runs without a sandbox: its pattern '{glob}' is not for such \
                     commands, without effect = \"change\"; write the name whole"
                ),
                Some(glob) if self.nature == Nature::Inspects => format!(
                    "does not allow {name}, which sees what only root sees: its pattern '{glob}' is not for such \
                     commands; write the name whole"
                ),
                Some(glob) if self.nature == Nature::Changes => format!(
                    "does not allow {name}, which changes the host: its pattern '{glob}' is for commands \
                     that look, without effect = \"change\""
                ),
                Some(glob) if self.nature == Nature::OneOff => format!(
                    "does not allow {name}: its pattern '{glob}' is never for one-off changes; write the name whole"
                ),
                Some(glob) if self.nature == Nature::Commits => format!(
                    "does not allow {name}: its pattern '{glob}' is never for commits of files; write the name whole"
                ),
                _ => format!("does not allow {name}"),
            };
        }
        if !self.suits(&rule.scope) {
            return format!(
                "does not allow {name}, which has no such arguments: {}",
                rule.scope
            );
        }
        if !rule.covers(self.call) {
            let about = format!("the call is also about {}", rule.scope);
            let added = self.added(rule, verdict, &about);
            return added.unwrap_or_else(|| format!("allows {name} only with {}", rule.scope));
        }
        if let Some((profile, _)) = self
            .run
            .filter(|(profile, _)| rule.profile.name != *profile)
        {
            return format!(
                "allows {name} in profile {}, not in {}",
                rule.profile.name,
                quoted(profile)
            );
        }
        if !self.changes.are_within(rule) {
            let paths = rule.coverage(self.nature).without_acts();
            let about = format!("some of the paths are among its own ({paths})");
            let added = self.added(rule, verdict, &about);
            return added.unwrap_or_else(|| format!("allows {name} only with {paths}"));
        }
        let missing = self.missing(rule);
        let lacks = match missing.as_str() {
            "" => String::new(),
            missing => format!(", but does not list {missing}"),
        };
        let relation = match verdict {
            Verdict::Allow(grant) => self.relation(rule, grant.basis().rule(), false, &lacks),
            Verdict::Ask(pending) => {
                match self.relation(rule, Some(pending.rule()), true, &lacks) {
                    decides if !lacks.is_empty() && *pending.rule() == rule.id => {
                        format!("{decides}; its approval holds whichever rule lists them")
                    }
                    other => other,
                }
            }
            Verdict::Deny(denial) => match &denial.rule {
                Some(id) if *id == rule.id => format!("comes closest: allows {name}{lacks}"),
                Some(_) if lacks.is_empty() => format!("allows {name}, but a denial wins"),
                _ => format!("allows {name}{lacks}"),
            },
        };
        match self.confirm(rule, verdict) {
            Some(confirm) => format!("{relation}; {confirm}"),
            None => relation,
        }
    }

    fn suits(&self, scope: &Scope) -> bool {
        scope.is_any() || self.call.is_none_or(|(named, _)| scope.suits(named))
    }

    /// Returns true if its conditions are needed, whichever rule allows the call.
    fn counts(&self, rule: &GrantRule) -> bool {
        rule.counts_for(self.call) && self.changes.touch(rule)
    }

    fn confirm(&self, rule: &GrantRule, verdict: &Verdict) -> Option<String> {
        let least = confirm_s(verdict).filter(|_| self.counts(rule))?;
        let seconds = rule.confirm_s?;
        let how = match seconds > least {
            true => "is longer",
            false => "holds",
        };
        Some(format!("its 'confirm' ({}) {how}", print_seconds(seconds)))
    }

    /// Returns what a rule that does not allow this call adds to it, if it counts, after what it is about.
    fn added(&self, rule: &GrantRule, verdict: &Verdict, about: &str) -> Option<String> {
        let pending = match verdict {
            Verdict::Ask(pending) if self.counts(rule) => Some(pending),
            Verdict::Allow(_) | Verdict::Ask(_) | Verdict::Deny(_) => None,
        };
        let approval = pending.and(rule.approval.as_ref());
        let approval = approval.map(|approval| format!("it {approval}"));
        let all = [approval, self.confirm(rule, verdict)];
        let all: Vec<String> = all.into_iter().flatten().collect();
        let decides = match pending.is_some_and(|pending| *pending.rule() == rule.id) {
            true => "decides: ",
            false => "",
        };
        (!all.is_empty()).then(|| format!("{decides}{about}; {}", all.join("; ")))
    }

    /// Relates an allowing rule to the one that decided. `asks` is true if an approval is needed.
    fn relation(
        &self,
        rule: &GrantRule,
        decided: Option<&RuleId>,
        asks: bool,
        lacks: &str,
    ) -> String {
        let name = quoted(self.name);
        let Some(decided) = decided else {
            return format!("allows {name}{lacks}");
        };
        let approval = match &rule.approval {
            Some(approval) => format!("; it {approval}"),
            None => String::new(),
        };
        if *decided == rule.id {
            format!("decides: allows {name}{approval}{lacks}")
        } else if asks && rule.approval.is_some() {
            format!("allows {name}{approval}, which holds too{lacks}")
        } else if lacks.is_empty() {
            format!("allows {name}{approval}; but rule {decided} is stricter or comes before it")
        } else {
            format!("allows {name}{lacks}")
        }
    }

    fn missing(&self, rule: &GrantRule) -> String {
        const MOST: usize = 8;
        let (_, names) = self.run.unwrap_or_default();
        let missing = names.iter().filter(|name| !lists(rule, name));
        missing
            .take(MOST)
            .map(quoted)
            .collect::<Vec<_>>()
            .join(", ")
    }
}
