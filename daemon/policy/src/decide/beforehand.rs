//! What somebody can approve beforehand, asked when they give a grant for a time.
//!
//! It tells of a grant that nothing could ever be started by. It permits nothing: each request is
//! decided when it comes, and [`Pending::may_approve`](crate::Pending::may_approve) holds for the giver then.

use std::collections::BTreeSet;

use remit_common::builtin;
use remit_common::wire::Effect;

use crate::decide::Who;
use crate::model::glob::Glob;
use crate::model::names::{Named, RUN};
use crate::model::policy::Policy;
use crate::model::profile::Base;
use crate::model::rule::{GrantRule, Principal};

/// Whose requests are approved beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Those of the user of this uid.
    User(u32),
    /// Those of whoever has this gid.
    Group(u32),
}

/// An approval beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Beforehand<'a> {
    /// Who gives it.
    pub by: Who<'a>,
    /// To whom.
    pub to: Recipient,
    /// Of which commands.
    pub what: &'a Glob,
    /// With which arguments.
    pub args: &'a [(String, String)],
}

/// Why nothing would ever be started by an approval beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotGivable {
    /// No command has such a name.
    NoCommand,
    /// None of them takes this argument together with the others.
    NoArgument(String),
    /// They run without a sandbox: each run is approved by itself.
    Unconfined,
    /// No rule asks for an approval of them, of whom it is for.
    Unasked,
    /// Rules ask for the approval of others.
    NotApprover(Vec<String>),
}

impl Policy {
    /// Whether a request may come that this would approve. Of users it is not known which groups they will
    /// have: a rule about any group may be about them, and any rule about somebody of a group.
    ///
    /// # Errors
    /// Why none can.
    pub fn may_give(&self, given: &Beforehand<'_>) -> Result<(), NotGivable> {
        let named = || {
            let all = self.all_named().filter(|n| given.what.matches(n.name()));
            all.map(Some).chain(given.what.matches(RUN).then_some(None))
        };
        if named().next().is_none() {
            return Err(NotGivable::NoCommand);
        }
        let takes_all =
            |named: &Option<Named<'_>>| given.args.iter().all(|(arg, _)| takes(*named, arg));
        if !named().any(|named| takes_all(&named)) {
            let nobodys = |arg: &&(String, String)| !named().any(|named| takes(named, &arg.0));
            let arg = given.args.iter().find(nobodys).or(given.args.first());
            let arg = arg.map_or_else(String::new, |(arg, _)| arg.clone());
            return Err(NotGivable::NoArgument(arg));
        }
        let confined: Vec<(&str, Effect)> = named()
            .filter(takes_all)
            .filter(|named| named.is_none_or(|named| self.profile_of(named).base != Base::Host))
            .map(|named| named.map_or((RUN, Effect::Read), |named| (named.name(), named.effect())))
            .collect();
        if confined.is_empty() {
            return Err(NotGivable::Unconfined);
        }
        let mut others: Vec<String> = Vec::new();
        let mut is_asked = false;
        for (name, effect) in confined {
            let grants = self.grants.iter();
            let about =
                grants.filter(|rule| may_be_about(rule, given.to) && rule.allows(name, effect));
            let asking = about.filter_map(|rule| Some((rule, rule.approval.as_ref()?)));
            let (mut one, mut all) = (false, true);
            for (rule, approval) in asking {
                let is_met = approval.is_met_by(given.by);
                one |= is_met;
                // What is asked of each such request, the giver must meet.
                all &= is_met || !is_about_all(rule, given.to);
                is_asked = true;
                if !is_met {
                    others.extend(approval.by());
                }
            }
            if one && all {
                return Ok(());
            }
        }
        let mut told = BTreeSet::new();
        others.retain(|word| told.insert(word.clone()));
        Err(match is_asked {
            true => NotGivable::NotApprover(others),
            false => NotGivable::Unasked,
        })
    }
}

/// Whether a command has this argument; `None` is `run`, which has none.
fn takes(named: Option<Named<'_>>, arg: &str) -> bool {
    match named {
        None => false,
        Some(Named::Builtin(builtin::Command { args, .. })) => {
            args.iter().any(|own| own.name == arg)
        }
        Some(Named::Command(command)) => command.params.iter().any(|own| own.name == arg),
    }
}

/// Whether it is about every call of whatever it allows, by whomever a grant to these is to.
fn is_about_all(rule: &GrantRule, to: Recipient) -> bool {
    let principal = match to {
        Recipient::User(uid) => Principal::User(uid),
        Recipient::Group(gid) => Principal::Group(gid),
    };
    rule.scope.is_any() && rule.to.ids.contains_key(&principal)
}

fn may_be_about(rule: &GrantRule, to: Recipient) -> bool {
    match to {
        Recipient::Group(_) => !rule.to.ids.is_empty(),
        Recipient::User(uid) => {
            let mut ids = rule.to.ids.keys();
            ids.any(|one| match one {
                Principal::User(other) => *other == uid,
                Principal::Group(_) => true,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::machine::MachineTable;
    use crate::{Source, load};

    const TEXT: &str = "
[[command]]
name = 'web.reload'
summary = 'x'
effect = 'change'
profile = 'strict'
argv = ['/bin/true', '{unit}', '{how}']
args.unit = { type = 'enum', values = ['a', 'b'], summary = 'x' }
args.how = { type = 'enum', values = ['x'], summary = 'x' }
[[command]]
name = 'web.test'
summary = 'x'
effect = 'change'
profile = 'strict'
argv = ['/bin/true']
[[command]]
name = 'all.install'
summary = 'x'
effect = 'change'
profile = 'host'
argv = ['/bin/true']
[[grant]]
to = ['#1000']
allow = ['*.reload', 'all.*']
effect = 'change'
approval = { by = ['#7', '%#70'] }
[[grant]]
to = ['#1001', '%#50']
allow = ['web.test']
approval = { by = ['#8'] }
[[grant]]
to = ['#1000']
allow = ['run']
approval = 'none'
";

    fn told(
        by: (u32, &[u32]),
        to: Recipient,
        what: &str,
        args: &[(&str, &str)],
    ) -> Result<(), NotGivable> {
        let source = Source {
            name: "a.toml".into(),
            text: TEXT.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        let args: Vec<_> = args
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        policy.may_give(&Beforehand {
            by: Who {
                uid: by.0,
                gids: by.1,
            },
            to,
            what: &Glob::parse(what).unwrap(),
            args: &args,
        })
    }

    #[test]
    fn what_an_approver_can_approve_can_be_given() {
        let user = Recipient::User(1000);
        for (by, to, what, args) in [
            ((7, &[][..]), user, "web.reload", &[][..]),
            ((9, &[70]), user, "web.*", &[("unit", "a")]),
            ((7, &[]), user, "*", &[("unit", "a"), ("how", "x")]),
            ((8, &[]), Recipient::User(1001), "web.test", &[]),
            // A rule about a group may be about them.
            ((8, &[]), Recipient::User(1002), "web.test", &[]),
            ((7, &[]), Recipient::Group(50), "web.reload", &[]),
        ] {
            assert_eq!(told(by, to, what, args), Ok(()), "{by:?} {to:?} {what}");
        }
    }

    #[test]
    fn what_nothing_would_be_started_by_cannot() {
        let user = Recipient::User(1000);
        let others = |words: &[&str]| {
            NotGivable::NotApprover(words.iter().map(|w| (*w).to_owned()).collect())
        };
        for (by, to, what, args, why) in [
            (
                (7, &[][..]),
                user,
                "web.relaod",
                &[][..],
                NotGivable::NoCommand,
            ),
            (
                (7, &[]),
                user,
                "web.*",
                &[("uint", "a")],
                NotGivable::NoArgument("uint".into()),
            ),
            (
                (7, &[]),
                user,
                "run",
                &[("unit", "a")],
                NotGivable::NoArgument("unit".into()),
            ),
            ((7, &[]), user, "all.install", &[], NotGivable::Unconfined),
            ((7, &[]), user, "all.*", &[], NotGivable::Unconfined),
            ((7, &[]), user, "run", &[], NotGivable::Unasked),
            (
                (7, &[]),
                Recipient::User(1002),
                "web.reload",
                &[],
                NotGivable::Unasked,
            ),
            ((8, &[8]), user, "web.reload", &[], others(&["#7", "%#70"])),
            ((0, &[0]), user, "web.reload", &[], others(&["#7", "%#70"])),
        ] {
            assert_eq!(told(by, to, what, args), Err(why), "{by:?} {to:?} {what}");
        }
    }
}
