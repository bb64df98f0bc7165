//! Turns a [`Pending`] into a [`Grant`], only with the consent of a person whom the rule accepts. A grant for a time
//! works only if a use of it is spent.

use std::sync::Arc;

use crate::decide::{Basis, CallerIds, Grant, Terms};
use crate::model::approval::Approval;
use crate::model::command::{Command, Stdin};
use crate::model::policy::Policy;
use crate::model::profile::{Base, Profile};
use crate::model::rule::RuleId;

/// A request that needs an approval. It is not a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub(super) terms: Terms,
    pub(super) rule: RuleId,
    pub(super) approval: Approval,
}

#[derive(Debug, Clone, Copy)]
pub struct Consent<'a> {
    pub by: CallerIds<'a>,
    pub name: &'a str,
    pub requester: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotApprover {
    /// It is their own request.
    Requester,
    /// A rule that asks does not name them.
    NotNamed,
    /// It runs without a sandbox: each run is approved by itself, never for a time.
    Unconfined,
}

impl Pending {
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Returns the first of the asking rules.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    pub fn profile(&self) -> &Arc<Profile> {
        self.terms.profile()
    }

    pub fn command(&self) -> Option<&Arc<Command>> {
        self.terms.command()
    }

    /// Checks that a person can approve it: each asking rule names them, and they are not the requester.
    pub fn may_approve(&self, consent: &Consent<'_>) -> Result<(), NotApprover> {
        if consent.by.uid == consent.requester {
            return Err(NotApprover::Requester);
        }
        match self.approval.is_met_by(consent.by) {
            true => Ok(()),
            false => Err(NotApprover::NotNamed),
        }
    }

    /// Returns the permission for this one request, approved by a person who [may approve](Self::may_approve) it.
    pub fn approved(self, consent: &Consent<'_>) -> Result<Grant, NotApprover> {
        self.may_approve(consent)?;
        let by = consent.name.to_owned();
        let rule = self.rule;
        Ok(Grant {
            terms: self.terms,
            basis: Basis::Approved { rule, by },
        })
    }

    /// Covers this one request by an approver's grant for a time. It permits nothing until a use of that grant is
    /// spent. Fails as [`Pending::may_approve`], and always for base host.
    pub fn granted(self, consent: &Consent<'_>, grant: u64) -> Result<Lifted, NotApprover> {
        self.may_approve(consent)?;
        if self.profile().base == Base::Host {
            return Err(NotApprover::Unconfined);
        }
        Ok(Lifted {
            terms: self.terms,
            rule: self.rule,
            by: consent.name.to_owned(),
            grant,
        })
    }
}

/// A request that a grant for a time covers. It is not a permission: only one use of that grant makes it a [`Grant`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Lifted {
    terms: Terms,
    rule: RuleId,
    by: String,
    grant: u64,
}

impl Lifted {
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn grant(&self) -> u64 {
        self.grant
    }

    pub fn basis(&self) -> Basis {
        Basis::TemporaryGrant {
            rule: self.rule.clone(),
            by: self.by.clone(),
            grant: self.grant,
        }
    }

    /// Returns the permission for this one request, once `take` has taken a use of the grant with this number. If
    /// `take` fails, there is no permission.
    pub fn spend<E>(self, take: impl FnOnce(u64) -> Result<(), E>) -> Result<Grant, E> {
        take(self.grant)?;
        let basis = self.basis();
        Ok(Grant {
            terms: self.terms,
            basis,
        })
    }
}

impl Policy {
    /// Returns the right to run the command of `approval.notify` in remit.toml, with the request on its standard
    /// input. No rule is asked: only root writes remit.toml. It has a sandbox, because a command of base host reads
    /// no standard input.
    pub fn notification(&self, name: &str) -> Result<Grant, String> {
        let command = self
            .command(name)
            .ok_or_else(|| format!("there is no command '{name}'"))?;
        if command.stdin != Stdin::Caller {
            return Err(format!("command '{name}' does not have stdin = \"caller\""));
        }
        command
            .bind(&[], true)
            .map_err(|refusal| format!("command '{name}' needs arguments: {}", refusal.message))?;
        Ok(Grant {
            terms: Terms {
                profile: Arc::clone(&command.profile),
                env: Vec::new(),
                command: Some(Arc::clone(command)),
            },
            basis: Basis::Notification,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Ask, Verdict};
    use crate::{MachineTable, Source, load};

    fn pending() -> Pending {
        let text = "[[grant]]\nname = 'look'\nto = ['#1000']\nallow = ['run']\n\
                    approval = { by = ['#7', '%#70', '#1000'] }\n";
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        let ask = Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[],
        };
        let (uid, gids) = (1000, &[][..]);
        match policy.decide(CallerIds { uid, gids }, &ask) {
            Verdict::Ask(pending) => pending,
            other @ (Verdict::Allow(_) | Verdict::Deny(_)) => panic!("{other:?}"),
        }
    }

    fn consent(uid: u32, gids: &[u32], requester: u32) -> Consent<'_> {
        Consent {
            by: CallerIds { uid, gids },
            name: "ann",
            requester,
        }
    }

    #[test]
    fn only_another_named_person_can_approve() {
        let (no, own) = (Err(NotApprover::NotNamed), Err(NotApprover::Requester));
        for (uid, gids, expect) in [
            (7, &[][..], Ok(())),
            (8, &[70], Ok(())),
            (8, &[1, 2, 70], Ok(())),
            // Root is not implied, nor is a gid equal to a named uid, or the reverse.
            (0, &[0], no),
            (8, &[7], no),
            (70, &[], no),
            (8, &[], no),
            // The requester never can, though the rule names them twice.
            (1000, &[], own),
            (1000, &[70], own),
        ] {
            let consent = consent(uid, gids, 1000);
            assert_eq!(pending().may_approve(&consent), expect, "{uid} {gids:?}");
            let approved = pending().approved(&consent).map(|_| ());
            assert_eq!(approved, expect, "{uid} {gids:?}");
            let granted = pending().granted(&consent, 3).map(|_| ());
            assert_eq!(granted, expect, "{uid} {gids:?}");
        }
    }

    #[test]
    fn what_no_sandbox_holds_is_approved_each_time() {
        let mut pending = pending();
        pending.terms = Terms::fake_in(Profile::host(), &[]);
        let consent = consent(7, &[], 1000);
        let granted = pending.clone().granted(&consent, 3);
        assert_eq!(granted, Err(NotApprover::Unconfined));
        assert!(pending.approved(&consent).is_ok());
    }

    #[test]
    fn permission_names_the_approver() {
        let consent = consent(7, &[], 1000);
        let approved = pending().approved(&consent).unwrap();
        let basis = approved.basis().to_string();
        assert_eq!(basis, "look (a.toml:1), approved by ann");
        let lifted = pending().granted(&consent, 3).unwrap();
        assert_eq!((lifted.grant(), lifted.terms()), (3, pending().terms()));
        let granted = lifted.spend(|_| Ok::<_, ()>(())).unwrap();
        let basis = granted.basis().to_string();
        assert_eq!(basis, "look (a.toml:1), grant 3 given by ann");
        assert_eq!(*granted.terms(), *pending().terms());
    }

    #[test]
    fn no_use_no_permission() {
        let lifted = || pending().granted(&consent(7, &[], 1000), 3).unwrap();
        let mut taken = Vec::new();
        let mut take = |number| {
            taken.push(number);
            if taken.len() == 1 {
                Ok(())
            } else {
                Err("none is left")
            }
        };
        assert!(lifted().spend(&mut take).is_ok());
        assert_eq!(lifted().spend(&mut take), Err("none is left"));
        assert_eq!(taken, [3, 3]);
    }

    #[test]
    fn notify_command_reads_stdin_without_arguments() {
        let command = |name: &str, rest: &str, profile: &str| {
            format!(
                "[[command]]\nname = 'a.{name}'\nsummary = 'x'\neffect = 'change'\nprofile = '{profile}'\n{rest}\n"
            )
        };
        let plain = "argv = ['/usr/bin/true']";
        let text = [
            command("ok", &format!("{plain}\nstdin = 'caller'"), "strict"),
            command("deaf", plain, "strict"),
            command(
                "asks",
                "argv = ['/usr/bin/true', '{n}']\nstdin = 'caller'\nargs.n = { type = 'int', min = 0, max = 9 }",
                "strict",
            ),
        ]
        .concat();
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        let outcome = |name: &str| match policy.notification(name) {
            Ok(grant) => format!("{} in {}", grant.basis(), grant.profile().name),
            Err(why) => why,
        };
        for (name, expect) in [
            ("a.ok", "approval.notify of remit.toml in strict"),
            ("a.none", "there is no command 'a.none'"),
            (
                "a.deaf",
                "command 'a.deaf' does not have stdin = \"caller\"",
            ),
        ] {
            assert_eq!(outcome(name), expect);
        }
        assert!(outcome("a.asks").starts_with("command 'a.asks' needs arguments: "));
    }
}
