//! Predicts the result of a request: the verdict of the rules, then the command's check of its arguments.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use remit_common::builtin::Builtin;
use remit_common::inspect::LOOK;
use remit_common::text;
use remit_policy::{
    ArgvElement, Base, Call, Command, Invocation, PassAs, PathIs, Profile, Verdict,
};
use remit_policy_compile::Explanation;

use crate::render::table;

const SHOWN_BYTES: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Ask,
    Deny,
}

pub struct ExplainOutcome<'a> {
    pub verdict: Decision,
    pub why: String,
    pub rule: Option<String>,
    pub approval: Option<String>,
    pub argv: Option<Vec<String>>,
    /// Notes about elements that only exist at run time.
    pub notes: Vec<String>,
    pub profile: Option<&'a Profile>,
    pub lift: Option<String>,
}

impl Decision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }

    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}

pub fn granted(explanation: &Explanation) -> Option<&Command> {
    match &explanation.verdict {
        Verdict::Allow(grant) => grant.command(),
        Verdict::Ask(pending) => pending.command(),
        Verdict::Deny(_) => None,
    }
    .map(AsRef::as_ref)
}

impl<'a> ExplainOutcome<'a> {
    pub fn of_program(explanation: &'a Explanation, argv: &[OsString]) -> Self {
        let mut outcome = Self::of(explanation);
        if outcome.verdict != Decision::Deny && !argv.is_empty() {
            let words = argv
                .iter()
                .map(|word| text::line(word.as_bytes(), SHOWN_BYTES));
            outcome.argv = Some(words.collect());
            let bare = argv
                .first()
                .is_some_and(|program| !program.as_bytes().contains(&b'/'));
            if bare {
                let note = "the program is looked for on the daemon's own path, in the sandbox";
                outcome.notes.push(note.to_owned());
            }
            if let Some(profile) = outcome.profile.filter(|one| one.base == Base::Read) {
                let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
                let argv = text::command_line(&argv, SHOWN_BYTES);
                outcome.notes.push(format!(
                    "what it can read is decided by the modes of files; to see it, as root: \
                     remit try --profile {} -- {argv}",
                    profile.name
                ));
            }
        }
        outcome
    }

    /// The rules come first, so an unauthorized caller learns nothing about the arguments.
    pub fn of_command(explanation: &'a Explanation, call: &Call) -> Self {
        let mut outcome = Self::of(explanation);
        match granted(explanation) {
            _ if outcome.verdict == Decision::Deny || call.name.is_none() => {}
            Some(command) => outcome.bound(command, call),
            None => outcome.built_in(call),
        }
        outcome
    }

    fn of(explanation: &'a Explanation) -> Self {
        let (verdict, profile) = match &explanation.verdict {
            Verdict::Allow(grant) => (Decision::Allow, Some(grant.profile())),
            Verdict::Ask(pending) => (Decision::Ask, Some(pending.profile())),
            Verdict::Deny(_) => (Decision::Deny, None),
        };
        let (rule, approval, lift) = match &explanation.verdict {
            Verdict::Allow(grant) => (Some(grant.basis().to_string()), None, None),
            Verdict::Ask(pending) => {
                let approval = pending.approval().to_string();
                (Some(pending.rule().to_string()), Some(approval), None)
            }
            Verdict::Deny(denial) => {
                let rule = denial.rule.as_ref().map(ToString::to_string);
                (rule, None, denial.lift.clone())
            }
        };
        Self {
            verdict,
            why: explanation.why.clone(),
            rule,
            approval,
            argv: None,
            notes: Vec::new(),
            profile: profile.map(AsRef::as_ref),
            lift,
        }
    }

    fn bound(&mut self, command: &'a Command, call: &Call) {
        match command.bind(&call.args, false) {
            Ok(Invocation {
                argv,
                literal: _,
                stdin,
                words: _,
            }) => {
                self.notes.extend(argv.iter().filter_map(note));
                if stdin.is_some() {
                    let note = "a secret is its standard input";
                    self.notes.push(note.to_owned());
                }
                self.argv = Some(argv.iter().map(element).collect());
            }
            Err(refusal) => self.refused(refusal.message),
        }
    }

    fn built_in(&mut self, call: &Call) {
        let name = call.name.as_deref().unwrap_or_default();
        match Builtin::parse(name, &call.args) {
            Ok(builtin) => {
                let program = LOOK.to_owned();
                let words = builtin.words().into_iter();
                self.argv = Some(std::iter::once(program).chain(words).collect());
            }
            Err(refusal) => self.refused(refusal.message),
        }
    }

    fn refused(&mut self, why: String) {
        self.verdict = Decision::Deny;
        self.profile = None;
        self.why = format!("the rules allow it, but its arguments are refused: {why}");
    }

    /// What every change needs, and no rule or setting names a person who could give it.
    #[must_use]
    pub fn without_approver(mut self) -> Self {
        if self.verdict == Decision::Allow {
            self.verdict = Decision::Deny;
            self.profile = None;
            self.argv = None;
            self.why = "the rules allow it, but floor.approval of remit.toml has every change approved, and neither \
                        the rule nor floor.approvers names a person who could"
                .to_owned();
            let lift =
                "write floor.approvers in remit.toml and restart remitd, or 'approval' in the rule";
            self.lift = Some(lift.to_owned());
        }
        self
    }

    pub fn lines(&self) -> String {
        let mut lines = table::fact("verdict", self.verdict.name());
        lines += &table::fact("why", &self.why);
        if let Some(rule) = self.rule.as_ref().filter(|rule| !self.why.contains(*rule)) {
            lines += &table::fact("rule", rule);
        }
        if let Some(approval) = self
            .approval
            .as_ref()
            .filter(|words| !self.why.contains(*words))
        {
            lines += &table::fact("approval", approval);
        }
        if let Some(lift) = &self.lift {
            lines += &table::fact("to lift it", lift);
        }
        if let Some(argv) = &self.argv {
            lines += &format!(
                "  {:<12} {}\n",
                "executes",
                text::command_line(argv, SHOWN_BYTES)
            );
        }
        for note in &self.notes {
            lines += &table::fact("", note);
        }
        lines
    }
}

/// Formats an element of argv as far as it is known before the job.
fn element(argument: &ArgvElement) -> String {
    let shown = |bytes: &[u8]| text::line(bytes, SHOWN_BYTES);
    match argument {
        ArgvElement::Text(bytes) => shown(bytes),
        ArgvElement::Path {
            before,
            under,
            beneath,
            pass: PassAs::Path,
            ..
        } => shown(before) + &path(under, beneath),
        ArgvElement::Path { before, .. } | ArgvElement::Secret { before, .. } => {
            shown(before) + "/proc/self/fd/N"
        }
    }
}

fn note(argument: &ArgvElement) -> Option<String> {
    match argument {
        ArgvElement::Text(_) => None,
        ArgvElement::Path {
            under,
            beneath,
            is,
            pass,
            ..
        } => {
            let what = match is {
                PathIs::File => "a regular file",
                PathIs::Directory => "a directory",
                PathIs::Either => "a regular file or a directory",
            };
            let passed = match pass {
                PassAs::Path => "",
                PassAs::Descriptor => ", and passed on as what was opened",
            };
            Some(format!(
                "'{}' must be {what}, reached from '{under}' without a symbolic link{passed}",
                path(under, beneath)
            ))
        }
        ArgvElement::Secret { .. } => {
            Some("/proc/self/fd/N holds a secret that nobody else can open".into())
        }
    }
}

fn path(under: &str, beneath: &str) -> String {
    match (under, beneath) {
        (under, "") => under.to_owned(),
        ("/", beneath) => format!("/{beneath}"),
        (under, beneath) => format!("{under}/{beneath}"),
    }
}
