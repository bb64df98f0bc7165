//! Answers what a caller may do, and if a request would be allowed.

use std::collections::BTreeSet;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{
    Access, AccessReport, Asked, CommandView, Effect, GrantView, ProfileView,
};
use remit_link::{Answer, Startable};
use remit_policy::{Ask, Base, Basis, Eyes, Named, Pending, Profile, RUN, Terms, Usable, Verdict};

use crate::identity::peer::Subject;
use crate::job::context::RequestCx;
use crate::job::pipeline::may_start;

pub fn access(cx: &RequestCx<'_>, session: u64, access: &Access) -> Result<Answer, Refusal> {
    let subject = cx.sessions.subject(session)?;
    check(access)?;
    let policy = &cx.policies.live.policy;
    let caller_ids = cx.policies.caller_ids(subject)?;
    let own = policy.access(caller_ids);
    let granted = grant_views(cx, subject, &own.commands);
    let mut asked = None;
    if let Some(argv) = &access.argv {
        remit_policy::check_argv(argv)?;
        let ask = Ask::Run {
            profile: access.profile.as_deref(),
            argv0: argv.first().map_or(&[][..], |argv0| argv0.as_slice()),
            env_names: &[],
        };
        let verdict = policy.decide(caller_ids, &ask);
        asked = Some(answer_about(cx, subject, (RUN, Effect::Read), verdict));
    }
    let (commands, more_commands) = match &access.name {
        Some(name) => {
            let (view, answer) = explained(cx, subject, name, &own.commands)?;
            asked = Some(answer);
            (vec![view], 0)
        }
        None => bounded(all_listed(cx, subject, &own.commands).into_iter(), |view| {
            let approval = view.approval.as_ref().map_or(0, String::len);
            view.usage.len() + view.summary.len() + approval
        }),
    };
    let (grants, more_grants) = bounded([own.grants, granted].concat().into_iter(), |view| {
        let words = view.allow.iter().chain(&view.env).chain(&view.approval);
        view.rule.len() + view.profile.len() + words.map(String::len).sum::<usize>()
    });
    let report = AccessReport {
        user: subject.user().to_owned(),
        uid: subject.uid(),
        grants,
        more_grants,
        asked,
        profiles: own.profiles.into_iter().map(|p| profile_view(p)).collect(),
        commands,
        more_commands,
    };
    Ok(Answer::Access(Box::new(report), startable(cx, subject)))
}

fn startable(cx: &RequestCx<'_>, subject: &Subject) -> Startable {
    let starts = |base, effect| {
        let is_open = cx
            .life
            .check_open()
            .and_then(|()| may_start(&cx.job, subject, effect));
        let usable = is_open.and_then(|()| cx.job.sandbox.manager.check_usable(base));
        // A base that is not tested yet can hold.
        usable.map_or_else(|refusal| refusal.code == Code::Busy, |()| true)
    };
    Startable {
        change: starts(Base::Host, Effect::Change),
        copy: starts(Base::Plan, Effect::Read),
    }
}

/// Returns the first items that have [`caps::ACCESS_BYTES`] together, and the number of the others.
fn bounded<T>(
    items: impl ExactSizeIterator<Item = T>,
    bytes: impl Fn(&T) -> usize,
) -> (Vec<T>, u32) {
    let all = items.len();
    let mut left = caps::ACCESS_BYTES;
    let fits = |item: &T| {
        left = left.saturating_sub(bytes(item));
        left > 0
    };
    let first: Vec<T> = items.take_while(fits).collect();
    let more = all.saturating_sub(first.len());
    (first, u32::try_from(more).unwrap_or(u32::MAX))
}

/// Describes a command and if it would be allowed. Refuses a name that the caller may not use.
fn explained(
    cx: &RequestCx<'_>,
    subject: &Subject,
    name: &str,
    own: &[Usable<'_>],
) -> Result<(CommandView, Asked), Refusal> {
    let policy = &cx.policies.live.policy;
    let usable = own.iter().find(|usable| usable.named.name() == name);
    let effect = usable.map_or(Effect::Read, |usable| usable.named.effect());
    let args = &[];
    let verdict = policy.decide(subject.caller_ids(), &Ask::Command { name, effect, args });
    // If only some arguments are granted, this is the verdict for a call with those.
    let verdict = usable.map_or(verdict, Usable::verdict);
    match (usable, verdict) {
        (Some(usable), verdict) => {
            let args = match usable.named {
                Named::Command(command) => command.describe(),
                Named::Builtin(command) => {
                    let args = command.args.iter();
                    args.map(|arg| format!("{}: {}", arg.name, arg.what))
                        .collect()
                }
            };
            let view = CommandView {
                args,
                summary: scoped(summary(usable), usable.scope()),
                ..listed(cx, subject, usable)
            };
            let asked = answer_about(cx, subject, (name, view.effect), verdict);
            Ok((view, asked))
        }
        (None, Verdict::Deny(denial)) => Err(denial.into()),
        (None, Verdict::Allow(_) | Verdict::Ask(_)) => Err(Refusal::no_such_command(name)),
    }
}

/// Includes the current state of the gate and of the sandbox.
fn answer_about(
    cx: &RequestCx<'_>,
    subject: &Subject,
    (name, effect): (&str, Effect),
    verdict: Verdict,
) -> Asked {
    let would_run = |profile: &Profile| would_run(cx, subject, profile, effect);
    let allowed = |terms: &Terms, basis: &Basis, why: String| match would_run(terms.profile()) {
        Ok(()) => Asked {
            allowed: true,
            rule: Some(basis.to_string()),
            why,
            lift: None,
            approval: None,
        },
        Err(refusal) => refused(refusal),
    };
    let floor = &cx.policies.live.floor;
    match floor.over(verdict, effect) {
        Verdict::Allow(grant) => allowed(grant.terms(), grant.basis(), why(grant.profile())),
        Verdict::Ask(pending) => match cx.approvals.grants.pre_approved(subject, &pending, name) {
            Some((lifted, left)) if floor.takes_grants(effect) => {
                let why = why(lifted.terms().profile());
                let why = format!("{why}; by a grant for a time: {left}");
                allowed(lifted.terms(), &lifted.basis(), why)
            }
            Some(_) | None => match would_run(pending.profile()) {
                Ok(()) => asked(pending),
                Err(refusal) => refused(refusal),
            },
        },
        Verdict::Deny(denial) => refused(denial.for_user(subject.uid(), subject.user()).into()),
    }
}

fn would_run(
    cx: &RequestCx<'_>,
    subject: &Subject,
    profile: &Profile,
    effect: Effect,
) -> Result<(), Refusal> {
    cx.life.check_open()?;
    may_start(&cx.job, subject, effect)?;
    cx.policies.sandboxes.get(profile)?;
    cx.job.sandbox.manager.check_usable(profile.base)
}

/// Returns temporary grants of this caller that can start something.
fn grant_views(cx: &RequestCx<'_>, subject: &Subject, own: &[Usable<'_>]) -> Vec<GrantView> {
    let policy = &cx.policies.live.policy;
    let mut asked = Vec::new();
    let floor = &cx.policies.live.floor;
    let takes = |usable: &&Usable<'_>| floor.takes_grants(usable.named.effect());
    for usable in own.iter().filter(takes) {
        if let Verdict::Ask(pending) = usable.verdict() {
            asked.push((usable.named.name(), pending));
        }
    }
    let run = Ask::Run {
        profile: None,
        argv0: &[],
        env_names: &[],
    };
    if let Verdict::Ask(pending) = policy.decide(subject.caller_ids(), &run) {
        asked.push((RUN, pending));
    }
    let views = cx.approvals.grants.of(subject).filter_map(|granted| {
        let covered = asked
            .iter()
            .filter(|(name, pending)| granted.lifts(pending, name));
        let profiles: BTreeSet<&str> = covered
            .map(|(_, pending)| pending.profile().name.as_str())
            .collect();
        (!profiles.is_empty()).then(|| GrantView {
            rule: format!("grant {}", granted.number),
            allow: vec![granted.what()],
            profile: profiles.into_iter().collect::<Vec<_>>().join(", "),
            env: Vec::new(),
            approval: None,
            left: Some(granted.left()),
        })
    });
    views.collect()
}

fn refused(refusal: Refusal) -> Asked {
    Asked {
        allowed: false,
        rule: refusal.by,
        why: refusal.message,
        lift: refusal.lift,
        approval: None,
    }
}

/// Describes what happens if a request is made that needs an approval.
fn asked(pending: Pending) -> Asked {
    let approval = Some(pending.approval().to_string());
    let Refusal {
        message,
        by,
        lift,
        next,
        ..
    } = pending.into();
    let next = next.map(|next| format!("; {next}")).unwrap_or_default();
    Asked {
        allowed: false,
        rule: by,
        why: format!("{message}{next}"),
        lift,
        approval,
    }
}

fn check(access: &Access) -> Result<(), Refusal> {
    let Access {
        argv,
        profile: _,
        name,
        query: _,
    } = access;
    let refuse = |code, text: String, object: &str| Err(Refusal::new(code, text).object(object));
    if argv.is_some() && name.is_some() {
        let text = "'argv' and 'name' exclude each other";
        return refuse(Code::InvalidArgs, text.into(), "name");
    }
    let length = name.as_ref().map_or(0, String::len);
    if length > caps::NAME {
        let text = format!("name has {length} bytes, the most is {}", caps::NAME);
        return refuse(Code::TooLarge, text, "name");
    }
    Ok(())
}

fn summary<'a>(usable: &Usable<'a>) -> &'a str {
    match usable.named {
        Named::Builtin(command) => command.summary,
        Named::Command(command) => &command.summary,
    }
}

fn listed(cx: &RequestCx<'_>, subject: &Subject, usable: &Usable<'_>) -> CommandView {
    let effect = usable.named.effect();
    let paused = cx.job.reports.breakers.check(subject.uid(), effect);
    let paused = paused.err().map(|refusal| refusal.message);
    let by_rule = || usable.approval.as_ref().map(ToString::to_string);
    CommandView {
        usage: match usable.named {
            Named::Builtin(command) => command.usage(),
            Named::Command(command) => command.usage(),
        },
        summary: summary(usable).to_owned(),
        args: Vec::new(),
        effect,
        profile: usable.profile.name.clone(),
        approval: paused
            .or_else(by_rule)
            .or_else(|| cx.policies.live.floor.asks(effect)),
    }
}

/// Returns the commands in their order. Rules about one command that ask for the same approval are one entry.
fn all_listed(cx: &RequestCx<'_>, subject: &Subject, own: &[Usable<'_>]) -> Vec<CommandView> {
    let mut all: Vec<(CommandView, Vec<Option<String>>)> = Vec::new();
    for usable in own {
        let view = listed(cx, subject, usable);
        match all.last_mut().filter(|(last, _)| *last == view) {
            Some((_, scopes)) => scopes.push(usable.scope()),
            None => all.push((view, vec![usable.scope()])),
        }
    }
    let views = all.into_iter().map(|(view, scopes)| CommandView {
        summary: scoped(&view.summary, together(&scopes)),
        ..view
    });
    views.collect()
}

/// Joins the scopes of several rules, of which each covers other calls. One that another begins with says nothing new.
fn together(scopes: &[Option<String>]) -> Option<String> {
    if let [one] = scopes {
        return one.clone();
    }
    let texts = scopes.iter().map(|scope| scope.as_deref());
    let texts: BTreeSet<&str> = texts.map(|text| text.unwrap_or("all calls")).collect();
    let is_new = |text: &&&str| {
        let mut others = texts.iter().filter(|other| other != text);
        !others.any(|other| {
            other
                .strip_prefix(**text)
                .is_some_and(|rest| rest.starts_with("; then: "))
        })
    };
    let new: Vec<&str> = texts.iter().filter(is_new).copied().collect();
    Some(new.join("; or "))
}

fn scoped(summary: &str, scope: Option<String>) -> String {
    match scope {
        None => summary.to_owned(),
        Some(scope) => format!("{summary} ({scope})"),
    }
}

fn why(profile: &Profile) -> String {
    let name = &profile.name;
    let what = match profile.base {
        Base::Plan => "it changes a copy of the machine, and nothing of the machine itself",
        _ if profile.changes_nothing() => "the kernel prevents all changes",
        Base::Read | Base::Strict | Base::Extract => "it can change only what its profile lists",
        Base::Host => "no sandbox confines it",
    };
    let mut sees = profile.inspect.map_or(String::new(), |inspect| {
        format!("; it sees {}", inspect.meaning())
    });
    if profile.eyes == Eyes::Root {
        sees += "; it reads every file of the machine as root does";
    }
    format!("it runs in profile {name}, without approval; {what}{sees}")
}

fn profile_view(profile: &Profile) -> ProfileView {
    ProfileView {
        name: profile.name.clone(),
        summary: profile.summary.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_several_rules_are_said_once() {
        let (www, acts) = (
            "only with paths: /srv",
            "only with paths: /srv; then: service.reload",
        );
        for (scopes, expect) in [
            (&[None][..], None),
            (&[Some(www)], Some(www)),
            (&[Some(acts), Some(www)], Some(acts)),
            (&[Some(www), Some(www)], Some(www)),
            (
                &[Some(www), None],
                Some("all calls; or only with paths: /srv"),
            ),
            (
                &[Some(www), Some("only with paths: /srv2")],
                Some("only with paths: /srv; or only with paths: /srv2"),
            ),
        ] {
            let owned: Vec<Option<String>> = scopes
                .iter()
                .map(|scope| scope.map(str::to_owned))
                .collect();
            assert_eq!(together(&owned).as_deref(), expect, "{scopes:?}");
        }
    }
}
