//! Binds a request to a rule: the exact program, arguments and sandbox. Repeated if policy changes while the request waits.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use remit_common::builtin::Builtin;
use remit_common::inspect::LOOK;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Effect, Purpose};
use remit_plan::Protected;
use remit_policy::{Act, ArgvElement, Base, Command, CommitUse, Terms, quoted};
use remit_sys::Limits;

use super::runtime::Runtime;
use crate::config::MachineLimits;
use crate::job::confirmation::window::ConfirmWindow;
use crate::request::arguments::{ArgumentSlot, Passed, SlotWhat, element};
use crate::request::file_change::{self, Undo};
use crate::request::staged;
use crate::request::summary::RequestSummary;
use crate::request::validated::{Call, What};
use crate::sandbox::{Compiled, Sandboxes, limits_in};

#[derive(Debug)]
pub struct PolicyContext<'a> {
    pub digest: &'a str,
    pub sandboxes: &'a Sandboxes,
    pub limits: &'a MachineLimits,
    pub protected: &'a Rc<Protected>,
}

/// Everything that is executed, to the last byte.
#[derive(Debug)]
pub struct BoundCall {
    /// Program and arguments. An element that is more than text has its displayed form.
    pub argv: Rc<[CString]>,
    /// True for each element that comes only from the policy, without text of the caller.
    pub literal: Vec<bool>,
    pub slots: Vec<ArgumentSlot>,
    /// Standard input, if it is a secret argument.
    pub secret_stdin: Option<Vec<u8>>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub limits: Limits,
    pub runtime: Runtime,
    pub compiled: Rc<Compiled>,
    pub asked: Rc<RequestSummary>,
    pub effect: Effect,
    pub policy: String,
    pub undo: Option<Undo>,
    pub confirm: Option<ConfirmWindow>,
    /// Files of a plan that it sees: what `remit_spawn::Staged` reads.
    pub staged: Option<OwnedFd>,
    /// Its copy of the machine can be extracted after a good end. That of a check is thrown away.
    pub leaves_copy: bool,
    pub acts: Vec<BoundAct>,
    /// Commands that the daemon has follow this undo: they followed its commit, which is not confirmed yet.
    pub after_undo: Vec<String>,
}

/// A command that follows, bound for approvers and to find out that it can run. It is bound again when its turn comes.
#[derive(Debug)]
pub struct BoundAct {
    pub act: Act,
    pub bound: BoundCall,
}

/// The part of [`BoundCall`] that the command's definition or the caller determines.
struct Executed {
    argv: Rc<[CString]>,
    literal: Vec<bool>,
    slots: Vec<ArgumentSlot>,
    secret_stdin: Option<Vec<u8>>,
    cwd: CString,
    /// The command and its arguments without secrets; `None` for a program.
    words: Option<Vec<String>>,
}

impl BoundCall {
    /// Fails for a forbidden argument or variable, a runtime above the limit, or a profile that this machine cannot provide.
    pub fn new(call: &Call, terms: &Terms, setting: &PolicyContext<'_>) -> Result<Self, Refusal> {
        let command = terms.command().map(AsRef::as_ref);
        let executed = match (&call.what, command) {
            (What::Named { args, .. }, Some(command)) => of_policy(command, args, call)?,
            (What::Named { name, args }, None) => of_builtin(name, args)?,
            (What::Program(argv), _) => Executed {
                argv: Rc::clone(argv),
                literal: vec![false; argv.len()],
                slots: Vec::new(),
                secret_stdin: None,
                cwd: call.cwd.clone(),
                words: None,
            },
        };
        file_change::check(call, command, setting.protected)?;
        let staged = staged::of(call, command)?;
        let profile = terms.profile();
        let changes = [
            profile.limits,
            command.map(|command| command.limits).unwrap_or_default(),
        ];
        let limits = setting.limits.with(&changes);
        let effect = match command {
            Some(command) => command.effect,
            None if terms.is_one_off() => Effect::Change,
            None if profile.changes_nothing() => Effect::Read,
            // Only root reaches this, to try the profile.
            None => Effect::Change,
        };
        Ok(Self {
            env: remit_policy::environment(terms, &call.env)?,
            runtime: Runtime::new(call.runtime_s, &setting.limits.job, profile, command)?,
            limits: limits_in(profile, limits),
            compiled: setting.sandboxes.get(profile)?,
            asked: Rc::new(RequestSummary::bound(
                call,
                executed.words.as_deref(),
                &executed.argv,
                &executed.cwd,
                &profile.name,
                effect,
            )),
            // A check of a plan changes nothing.
            confirm: match (command.and_then(Command::commit_use), call.file_change()) {
                (Some(CommitUse::Commit), Some(Ok(bundle))) => {
                    ConfirmWindow::of(terms, bundle.plan())
                }
                _ => None,
            },
            staged,
            leaves_copy: profile.base == Base::Plan && !command.is_some_and(Command::checks_plans),
            undo: Undo::from_argv(&executed.argv, terms, setting.protected),
            acts: terms
                .acts()
                .iter()
                .map(|act| BoundAct::new(act, setting))
                .collect::<Result<_, _>>()?,
            after_undo: Vec::new(),
            argv: executed.argv,
            literal: executed.literal,
            slots: executed.slots,
            secret_stdin: executed.secret_stdin,
            cwd: executed.cwd,
            effect,
            policy: setting.digest.to_owned(),
        })
    }
}

impl BoundAct {
    fn new(act: &Act, setting: &PolicyContext<'_>) -> Result<Self, Refusal> {
        let reason = "after a commit".to_owned();
        let call = Call::following(act, Purpose::Change { reason }, None);
        let bound = call.and_then(|call| BoundCall::new(&call, &act.terms(), setting));
        match bound {
            Ok(bound) => Ok(Self {
                act: act.clone(),
                bound,
            }),
            Err(refusal) => Err(Refusal {
                message: format!("{} cannot follow: {}", quoted(act.text()), refusal.message),
                ..refusal
            }),
        }
    }
}

impl BoundCall {
    /// Returns whether it runs on a copy of the machine.
    pub fn is_on_copy(&self) -> bool {
        self.compiled.base() == Base::Plan
    }

    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let argued = self.slots.iter().filter_map(|slot| match &slot.what {
            SlotWhat::Secret(value) => Some(value.as_slice()),
            SlotWhat::Path { .. } => None,
        });
        argued.chain(self.secret_stdin.as_deref())
    }

    /// Replaces a file that is passed by descriptor with a sealed copy of it.
    pub fn hold_copy(&mut self, index: usize, copy: OwnedFd) {
        let slot = self.slots.iter_mut().find(|slot| slot.index == index);
        if let Some(SlotWhat::Path { pass, .. }) = slot.map(|slot| &mut slot.what) {
            *pass = Passed::Copy(copy);
        }
    }

    pub fn has_secrets(&self) -> bool {
        self.secrets().next().is_some()
    }
}

fn of_policy(
    command: &Command,
    args: &[(String, String)],
    call: &Call,
) -> Result<Executed, Refusal> {
    let mut invocation = command.bind(args, call.stdin.is_some())?;
    if command.is_commit() {
        let words = call.own.words.iter();
        let words = words.map(|word| ArgvElement::Text(word.as_bytes().to_vec()));
        invocation.argv.extend(words);
        let literal = &mut invocation.literal;
        literal.resize(invocation.argv.len(), false);
    }
    let (argv, slots) = elements(invocation.argv)?;
    Ok(Executed {
        argv,
        literal: invocation.literal,
        slots,
        secret_stdin: invocation.stdin,
        cwd: CString::new(command.cwd.as_str()).map_err(|_| nul("cwd"))?,
        words: Some(invocation.words),
    })
}

fn of_builtin(name: &str, args: &[(String, String)]) -> Result<Executed, Refusal> {
    let builtin = Builtin::parse(name, args)?;
    let argv = builtin_argv(&builtin)?;
    let (argv, slots) = elements(argv.into_iter().map(ArgvElement::Text).collect())?;
    Ok(Executed {
        literal: vec![false; argv.len()],
        argv,
        slots,
        secret_stdin: None,
        cwd: c"/".to_owned(),
        words: Some(builtin.words()),
    })
}

fn elements(argv: Vec<ArgvElement>) -> Result<(Rc<[CString]>, Vec<ArgumentSlot>), Refusal> {
    let elements = argv.into_iter().enumerate();
    let elements: Option<Vec<_>> = elements.map(|(at, input)| element(at, input)).collect();
    let (argv, slots): (Vec<_>, Vec<_>) = elements.ok_or_else(|| nul("args"))?.into_iter().unzip();
    remit_policy::check_argv(&argv.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>())?;
    Ok((argv.into(), slots.into_iter().flatten().collect()))
}

fn nul(name: &str) -> Refusal {
    Refusal::new(Code::InvalidArgs, format!("{name} contains a NUL byte")).object(name)
}

const BUILTIN_PROGRAM: &str = "remit-look";

/// Returns the argv of a built-in command. The program runs as a job in the same sandbox and parses these words again. None
/// of it runs in this process. Errors: `not_started`: the program is not installed.
fn builtin_argv(command: &Builtin) -> Result<Vec<Vec<u8>>, Refusal> {
    let program = look_program().ok_or_else(|| {
        let text =
            format!("cannot find '{BUILTIN_PROGRAM}' in the directory of remitd, or '{LOOK}'");
        Refusal::new(Code::NotStarted, text)
            .object(BUILTIN_PROGRAM)
            .lift("install the package again")
            .next("other commands can be run as argv; host shows units too")
    })?;
    let words = command.words().into_iter().map(String::into_bytes);
    Ok(std::iter::once(program.into_os_string().into_vec())
        .chain(words)
        .collect())
}

/// Returns the path of the installed remit-look.
fn look_program() -> Option<PathBuf> {
    find_builtin_program(std::env::current_exe().ok().as_deref())
}

fn find_builtin_program(own: Option<&Path>) -> Option<PathBuf> {
    let beside = own.map(|own| own.with_file_name(BUILTIN_PROGRAM));
    let packaged = PathBuf::from(LOOK);
    beside
        .into_iter()
        .chain([packaged])
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sibling_program_is_preferred() {
        let dir =
            nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-look-find-XXXXXX")).unwrap();
        let own = dir.join("remitd");
        assert_ne!(
            find_builtin_program(Some(&own)),
            Some(dir.join(BUILTIN_PROGRAM))
        );
        std::fs::write(dir.join(BUILTIN_PROGRAM), "").unwrap();
        assert_eq!(
            find_builtin_program(Some(&own)),
            Some(dir.join(BUILTIN_PROGRAM))
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
