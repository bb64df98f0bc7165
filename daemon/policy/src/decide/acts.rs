//! Named commands that follow a commit or an undo of files: the calls of its argument `then`, and what permits them. An
//! approval of the commit covers them, so the commit's own rule names them. A denial of one of them holds, but
//! not of those that the daemon itself has follow an undo of a commit that is not confirmed.

use std::sync::Arc;

use remit_common::call_text::{self, NameAndArgs};
use remit_common::refusal::Code;

use crate::decide::changes::CallPaths;
use crate::decide::denial::{Denial, denied};
use crate::decide::{Basis, CallerIds, Grant, Terms, Verdict};
use crate::model::command::{Command, CommitUse, ParamKind, Part, Stdin, THEN, THEN_WORD, Word};
use crate::model::diagnostic::quoted;
use crate::model::policy::{Named, Policy};
use crate::model::rule::{GrantRule, RuleId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub command: Arc<Command>,
    pub args: Vec<(String, String)>,
}

/// What asks for the approval of a commit or an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalOrigin {
    /// A rule, which also names what may follow in this approval.
    Rule,
    /// The floor alone, or rules that do not name what follows. Its approvers are not those that a rule names for that.
    Other,
}

const WITHOUT: &str = "ask for the commit without it, and for this command by itself";

fn denial(object: &str, what: String, next: &str) -> Denial {
    Denial {
        object: Some(object.to_owned()),
        ..denied(what, next)
    }
}

/// Reads `service.reload unit=nginx.service`.
pub(super) fn parse(text: &str) -> Result<NameAndArgs, Denial> {
    const NEXT: &str =
        "write the name, then NAME=VALUE for each argument, as 'service.reload unit=nginx.service'";
    call_text::split(text).map_err(|why| {
        let what = format!("{} is no call of a command: {why}", quoted(text));
        Denial {
            code: Code::InvalidArgs,
            ..denial(THEN, what, NEXT)
        }
    })
}

pub(super) fn text(name: &str, args: &[(String, String)]) -> String {
    let args = args.iter().map(|(name, value)| format!(" {name}={value}"));
    std::iter::once(name.to_owned()).chain(args).collect()
}

impl Terms {
    /// Takes from the rules that allow an undo, or whose conditions count for a commit, what is for these alone.
    /// Of an undo, the rule that has its paths also names all that follows it.
    pub(super) fn set_commit(&mut self, allowing: &[&GrantRule], counting: &[&GrantRule]) {
        match self.command().and_then(|command| command.commit_use()) {
            Some(CommitUse::Undo) => {
                let names = self.acts.iter().map(|act| &act.command.name);
                let has_acts =
                    |rule: &&&GrantRule| names.clone().all(|name| rule.acts.contains(name));
                let rules = allowing.iter().filter(has_acts);
                self.undo_paths = rules.map(|rule| rule.paths.clone()).collect();
            }
            Some(CommitUse::Commit) => {
                self.confirm_s = counting.iter().filter_map(|rule| rule.confirm_s).min();
            }
            Some(CommitUse::Recover) | None => {}
        }
    }

    /// Returns the seconds within which a commit is to be confirmed, if a rule says so.
    pub fn confirm_s(&self) -> Option<u32> {
        self.confirm_s
    }
}

impl Act {
    /// Returns the call as a value of `then`.
    #[must_use]
    pub fn text(&self) -> String {
        text(&self.command.name, &self.args)
    }

    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::of(Named::Command(&self.command), &self.command.profile)
    }
}

impl Terms {
    #[must_use]
    pub fn acts(&self) -> &[Act] {
        &self.acts
    }
}

impl Command {
    /// Returns true if it commits or undoes, and its last words are the commands that follow.
    #[must_use]
    pub fn takes_acts(&self) -> bool {
        let name = |at: &usize| self.params.get(*at).map(|param| param.name.as_str());
        let is_then = |part: &Part| match part {
            Part::Group(words) => match words.as_slice() {
                [Word::Literal(word), Word::Value(at)] => {
                    word == THEN_WORD && name(at) == Some(THEN)
                }
                _ => false,
            },
            Part::Word(_) => false,
        };
        self.is_commit() && self.argv.last().is_some_and(is_then)
    }

    /// Returns why it cannot follow a commit: an approver of the commit could not see all that it does.
    pub fn cannot_follow(&self) -> Option<&'static str> {
        let is_unseen = |kind: &ParamKind| match kind {
            ParamKind::Path { .. } | ParamKind::Secret { .. } => true,
            ParamKind::Text { .. }
            | ParamKind::Int { .. }
            | ParamKind::Enum(_)
            | ParamKind::Flag(_)
            | ParamKind::Unit { .. }
            | ParamKind::User
            | ParamKind::Package => false,
        };
        if self.is_commit() {
            return Some("it commits or undoes changes of files itself");
        }
        if self.stdin != Stdin::None {
            return Some("it takes standard input");
        }
        let mut kinds = self.params.iter().map(|param| &param.kind);
        kinds
            .any(is_unseen)
            .then_some("it takes a file or a secret, which an approver of the commit would not see")
    }
}

impl Policy {
    /// Returns the commands that follow this call of a commit. `allowing`: the rules that allow the call. One of them has
    /// to name all of them. Without an approval of the commit, each of them may need none either.
    pub(super) fn acts(
        &self,
        caller: CallerIds<'_>,
        commit: Named<'_>,
        args: &[(String, String)],
        allowing: &[&GrantRule],
        asker: Option<ApprovalOrigin>,
    ) -> Result<Vec<Act>, Denial> {
        let Named::Command(command) = commit else {
            return Ok(Vec::new());
        };
        let texts = args
            .iter()
            .filter(|(name, _)| command.takes_acts() && name == THEN);
        let calls: Vec<NameAndArgs> = texts
            .map(|(_, text)| parse(text))
            .collect::<Result<_, _>>()?;
        let unnamed = |rule: &GrantRule| {
            let mut names = calls.iter().map(|(name, _)| name);
            names.find(|name| !rule.acts.contains(*name)).cloned()
        };
        let mut missing = allowing.iter().map(|rule| (rule, unnamed(rule)));
        if let Some((rule, Some(name))) = missing.clone().next()
            && missing.all(|(_, missing)| missing.is_some())
        {
            // The same for a name that no command has: callers could try out which there are.
            return Err(not_named(&command.name, &name, rule));
        }
        // The approvers of one more path are not those of what another rule lets follow.
        let asks = |rule: &&GrantRule| rule.approval.is_some() && unnamed(rule).is_none();
        let asker = asker.map(|asker| match allowing.iter().any(asks) {
            true => asker,
            false => ApprovalOrigin::Other,
        });
        let follow =
            |(name, args): NameAndArgs| self.follow(caller, &command.name, name, args, asker);
        calls.into_iter().map(follow).collect()
    }

    /// Judges one command that follows, if the commit's rule names it.
    fn follow(
        &self,
        caller: CallerIds<'_>,
        commit: &str,
        name: String,
        args: Vec<(String, String)>,
        asker: Option<ApprovalOrigin>,
    ) -> Result<Act, Denial> {
        let refuse = |why: &str| cannot_follow(commit, &name, why);
        let command = self
            .command(&name)
            .ok_or_else(|| no_command(commit, &name))?;
        if let Some(why) = command.cannot_follow() {
            return Err(refuse(why));
        }
        self.not_denied(caller, &name, Some(Named::Command(command).with(&args)))?;
        if asker != Some(ApprovalOrigin::Rule) {
            let of_commit = match asker {
                Some(_) => "no rule that names it asks for an approval of the commit",
                None => "the commit needs no approval",
            };
            let unknown = CallPaths::default();
            let alone = self.call(caller, &name, command.effect, &args, (&unknown, None));
            let why = match alone {
                Ok(Verdict::Allow(_)) => None,
                Ok(Verdict::Ask(pending)) => Some(format!("by itself it {}", pending.approval())),
                Ok(Verdict::Deny(denial)) | Err(denial) => match asker {
                    None => Some(format!("by itself it is refused: {}", denial.what)),
                    // More values than a rule covers take its approval not away.
                    Some(_) => self.asks_about(caller, command, &args),
                },
            };
            if let Some(why) = why {
                return Err(refuse(&format!("{of_commit}, and {why}")));
            }
        }
        let command = Arc::clone(command);
        Ok(Act { command, args })
    }

    /// Returns that a rule asks for an approval of a call, if one counts for it, whether or not it allows the call.
    fn asks_about(
        &self,
        caller: CallerIds<'_>,
        command: &Arc<Command>,
        args: &[(String, String)],
    ) -> Option<String> {
        let call = Some(Named::Command(command).with(args));
        let mut rules = self.rules_about(caller, &command.name).into_iter();
        let asking = rules.find(|rule| rule.approval.is_some() && rule.counts_for(call));
        asking.map(|rule| format!("rule {} asks for an approval of it", rule.id))
    }

    /// Returns the commands that follow the undo of a commit that nobody confirmed: those that followed the commit.
    pub fn following(&self, texts: &[String]) -> Result<Vec<Act>, String> {
        let act = |text: &String| {
            let (name, args) = parse(text).map_err(|denial| denial.what)?;
            let command = self.command(&name);
            let command =
                command.ok_or_else(|| format!("there is no command {}", quoted(&name)))?;
            match command.cannot_follow() {
                Some(why) => Err(format!("{} cannot follow: {why}", quoted(&name))),
                None => Ok(Act {
                    command: Arc::clone(command),
                    args,
                }),
            }
        };
        texts.iter().map(act).collect()
    }

    /// Returns the right to run a command that follows a commit, which has ended well and had its right by `basis`.
    /// Asks the policy in force again: a rule for this caller still names it, and nothing denies it.
    pub fn act(
        &self,
        caller: CallerIds<'_>,
        commit: &str,
        act: &Act,
        basis: &Basis,
    ) -> Result<Grant, Denial> {
        let name = &act.command.name;
        // Whoever approved the commit approved its undo with the same commands.
        if *basis == Basis::Unconfirmed {
            return Ok(Grant {
                terms: act.terms(),
                basis: Basis::Unconfirmed,
            });
        }
        let rules = self.rules_about(caller, commit);
        let asker = match basis {
            // It was judged with the approval, which ends with the policy.
            Basis::Approved { .. } => Some(ApprovalOrigin::Rule),
            Basis::Rule(_) => None,
            // No commit has its right by these.
            Basis::TryByRoot
            | Basis::Notification
            | Basis::Recovery
            | Basis::Unconfirmed
            | Basis::TemporaryGrant { .. } => return Err(withdrawn(commit, name, None)),
        };
        if !rules.iter().any(|rule| rule.acts.contains(name)) {
            return Err(withdrawn(commit, name, basis.rule()));
        }
        let following = self.follow(caller, commit, name.clone(), act.args.clone(), asker)?;
        if following.command.definition != act.command.definition {
            return Err(withdrawn(commit, name, basis.rule()));
        }
        Ok(Grant {
            terms: following.terms(),
            basis: basis.clone(),
        })
    }
}

fn cannot_follow(commit: &str, name: &str, why: &str) -> Denial {
    let what = format!("{} cannot follow '{commit}': {why}", quoted(name));
    denial(name, what, WITHOUT)
}

fn no_command(commit: &str, name: &str) -> Denial {
    Denial {
        next: "write the name of a command, as 'service.reload unit=nginx.service'".to_owned(),
        ..cannot_follow(commit, name, "there is no such command")
    }
}

fn not_named(commit: &str, name: &str, rule: &GrantRule) -> Denial {
    let id = &rule.id;
    let named = match rule.acts.is_empty() {
        true => "it names none".to_owned(),
        false => format!(
            "it names {}",
            rule.acts.iter().cloned().collect::<Vec<_>>().join(", ")
        ),
    };
    let what = format!(
        "{} cannot follow '{commit}': the rule does not name it in 'acts'; {named}",
        quoted(name)
    );
    Denial {
        rule: Some(id.clone()),
        lift: Some(format!(
            "acts = [\"{}\"] in the [[grant]] at {}:{}",
            remit_common::text::line(name.as_bytes(), 64),
            id.file,
            id.line
        )),
        ..denial(name, what, WITHOUT)
    }
}

fn withdrawn(commit: &str, name: &str, rule: Option<&RuleId>) -> Denial {
    let what = format!("the policy has changed, and '{name}' cannot follow '{commit}' any more");
    Denial {
        rule: rule.cloned(),
        ..denial(name, what, "ask for this command by itself")
    }
}
