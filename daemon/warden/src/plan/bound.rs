//! What a rule makes of a request: exactly what is executed, and in which sandbox.
//!
//! Done once when it is asked for, and again where the policy changed while it waited.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use remit_common::builtin::Builtin;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_confine::Limits;
use remit_policy::{Command, Given, Terms};

use super::asked::Asked;
use super::call::{Call, What};
use super::runtime::Runtime;
use super::slot::{Passed, Slot, SlotWhat, element};
use crate::config::JobLimits;
use crate::look;
use crate::walls::{Compiled, Sandboxes, limits_in};

/// What a request is bound to.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The policy's digest.
    pub digest: &'a str,
    /// Its sandboxes.
    pub sandboxes: &'a Sandboxes,
    /// What `remit.toml` lets a job use.
    pub limits: &'a JobLimits,
}

/// What is executed, to the last byte.
#[derive(Debug)]
pub struct Bound {
    /// The program and its arguments; where an element is more than text, as it is shown.
    pub argv: Rc<[CString]>,
    /// Which elements the policy gives, with nothing of the caller's in them.
    pub literal: Vec<bool>,
    /// The elements that are more than text.
    pub slots: Vec<Slot>,
    /// Standard input, where it is a secret argument.
    pub secret_stdin: Option<Vec<u8>>,
    /// The whole environment.
    pub env: Vec<CString>,
    /// The working directory.
    pub cwd: CString,
    /// What the job may use.
    pub limits: Limits,
    /// When it ends at the latest.
    pub runtime: Runtime,
    /// Its sandbox.
    pub compiled: Rc<Compiled>,
    /// In words.
    pub asked: Rc<Asked>,
    /// Whether it looks or changes the host.
    pub effect: Effect,
    /// The policy's digest.
    pub policy: String,
}

/// The part of it that a command's definition gives, or the caller.
struct Executed {
    argv: Rc<[CString]>,
    literal: Vec<bool>,
    slots: Vec<Slot>,
    secret_stdin: Option<Vec<u8>>,
    cwd: CString,
    /// The command and its arguments as they may be told; none for a program.
    words: Option<Vec<String>>,
}

impl Bound {
    /// Binds a request to what a rule says of it.
    ///
    /// # Errors
    /// Arguments that the command does not take, a variable that the rule does not list, a runtime
    /// over the limit, a profile that this machine cannot have.
    pub fn new(call: &Call, terms: &Terms, setting: &Setting<'_>) -> Result<Self, Refusal> {
        let command = terms.command().map(AsRef::as_ref);
        let executed = match (&call.what, command) {
            (What::Named { args, .. }, Some(command)) => of_policy(command, args, call)?,
            (What::Named { name, args }, None) => of_ours(name, args)?,
            (What::Program(argv), _) => Executed {
                argv: Rc::clone(argv),
                literal: vec![false; argv.len()],
                slots: Vec::new(),
                secret_stdin: None,
                cwd: call.cwd.clone(),
                words: None,
            },
        };
        let profile = terms.profile();
        let changes = [
            profile.limits,
            command.map(|command| command.limits).unwrap_or_default(),
        ];
        let limits = setting.limits.with(&changes);
        let effect = match command {
            Some(command) => command.effect,
            None if profile.changes_nothing() => Effect::Read,
            // Only root comes here, who tries the profile.
            None => Effect::Change,
        };
        Ok(Self {
            env: remit_policy::environment(terms, &call.env)?,
            runtime: Runtime::new(call.runtime_s, setting.limits, profile, command)?,
            limits: limits_in(profile, limits),
            compiled: setting.sandboxes.get(profile)?,
            asked: Rc::new(Asked::bound(
                call,
                executed.words.as_deref(),
                &executed.argv,
                &executed.cwd,
                &profile.name,
                effect,
            )),
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

impl Bound {
    /// What its output must not show.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let argued = self.slots.iter().filter_map(|slot| match &slot.what {
            SlotWhat::Secret(value) => Some(value.as_slice()),
            SlotWhat::Path { .. } => None,
        });
        argued.chain(self.secret_stdin.as_deref())
    }

    /// Puts a sealed copy in the place of the file that an argument passes by a descriptor.
    pub fn hold_copy(&mut self, index: usize, copy: OwnedFd) {
        let slot = self.slots.iter_mut().find(|slot| slot.index == index);
        if let Some(SlotWhat::Path { pass, .. }) = slot.map(|slot| &mut slot.what) {
            *pass = Passed::Copy(copy);
        }
    }

    /// Whether there is such a thing.
    pub fn has_secrets(&self) -> bool {
        self.secrets().next().is_some()
    }
}

/// A command of the policy's, with these arguments.
fn of_policy(
    command: &Command,
    args: &[(String, String)],
    call: &Call,
) -> Result<Executed, Refusal> {
    let invocation = command.bind(args, call.stdin.is_some())?;
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

/// One of our own.
fn of_ours(name: &str, args: &[(String, String)]) -> Result<Executed, Refusal> {
    let builtin = Builtin::parse(name, args)?;
    let argv = look::argv(&builtin)?;
    let (argv, slots) = elements(argv.into_iter().map(Given::Text).collect())?;
    Ok(Executed {
        literal: vec![false; argv.len()],
        argv,
        slots,
        secret_stdin: None,
        cwd: c"/".to_owned(),
        words: Some(builtin.words()),
    })
}

fn elements(argv: Vec<Given>) -> Result<(Rc<[CString]>, Vec<Slot>), Refusal> {
    let elements = argv.into_iter().enumerate();
    let elements: Option<Vec<_>> = elements.map(|(at, given)| element(at, given)).collect();
    let (argv, slots): (Vec<_>, Vec<_>) = elements.ok_or_else(|| nul("args"))?.into_iter().unzip();
    remit_policy::check_argv(&argv.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>())?;
    Ok((argv.into(), slots.into_iter().flatten().collect()))
}

fn nul(name: &str) -> Refusal {
    Refusal::new(Code::InvalidArgs, format!("{name} holds a NUL byte")).object(name)
}
