//! What comes of a request: the verdict of the rules, then what the command makes of its arguments.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use remit_common::builtin::Builtin;
use remit_common::text;
use remit_policy::{Call, Command, Explanation, Given, Invocation, Pass, PathIs, Profile, Verdict};

use crate::table;

/// Bytes of an argv that are shown.
const SHOWN: usize = 4096;

/// What the daemon would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Allow,
    Ask,
    Deny,
}

/// What would become of a request.
pub struct Outcome<'a> {
    pub verdict: Answer,
    /// In a sentence.
    pub why: String,
    /// The rule that decided, or came closest.
    pub rule: Option<String>,
    /// Who must approve it, in words.
    pub approval: Option<String>,
    /// What would be executed, where that is known.
    pub argv: Option<Vec<String>>,
    /// About elements of it that are made only then.
    pub notes: Vec<String>,
    /// The sandbox.
    pub profile: Option<&'a Profile>,
    /// What would lift a refusal.
    pub lift: Option<String>,
}

impl Answer {
    /// As verdict tables of policy files name it.
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

/// The policy's command that the rules grant, if it is one.
pub fn granted(explanation: &Explanation) -> Option<&Command> {
    match &explanation.verdict {
        Verdict::Allow(grant) => grant.command(),
        Verdict::Ask(pending) => pending.command(),
        Verdict::Deny(_) => None,
    }
    .map(AsRef::as_ref)
}

impl<'a> Outcome<'a> {
    /// Of any program or script, or of this one.
    pub fn of_program(explanation: &'a Explanation, argv: &[OsString]) -> Self {
        let mut outcome = Self::of(explanation);
        if outcome.verdict != Answer::Deny && !argv.is_empty() {
            let words = argv.iter().map(|word| text::line(word.as_bytes(), SHOWN));
            outcome.argv = Some(words.collect());
            let bare = argv
                .first()
                .is_some_and(|program| !program.as_bytes().contains(&b'/'));
            if bare {
                let note = "the program is looked for on the daemon's own path, in the sandbox";
                outcome.notes.push(note.to_owned());
            }
        }
        outcome
    }

    /// Of a named command: the rules first, so that a stranger learns nothing of its arguments.
    pub fn of_command(explanation: &'a Explanation, call: &Call) -> Self {
        let mut outcome = Self::of(explanation);
        match granted(explanation) {
            _ if outcome.verdict == Answer::Deny => {}
            Some(command) => outcome.bound(command, call),
            None => outcome.built_in(call),
        }
        outcome
    }

    fn of(explanation: &'a Explanation) -> Self {
        let (verdict, profile) = match &explanation.verdict {
            Verdict::Allow(grant) => (Answer::Allow, Some(grant.profile())),
            Verdict::Ask(pending) => (Answer::Ask, Some(pending.profile())),
            Verdict::Deny(_) => (Answer::Deny, None),
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

    /// What the command makes of the arguments, or that it refuses them.
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

    /// A command of remit's own is run by a program of remit's own, whose words are the daemon's affair.
    fn built_in(&mut self, call: &Call) {
        let name = call.name.as_deref().unwrap_or_default();
        match Builtin::parse(name, &call.args) {
            Ok(builtin) => {
                let program = "/usr/libexec/remit/remit-look".to_owned();
                let words = builtin.words().into_iter();
                self.argv = Some(std::iter::once(program).chain(words).collect());
            }
            Err(refusal) => self.refused(refusal.message),
        }
    }

    fn refused(&mut self, why: String) {
        self.verdict = Answer::Deny;
        self.profile = None;
        self.why = format!("the rules allow it, but its arguments are refused: {why}");
    }

    /// For people.
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
            lines += &format!("  {:<12} {}\n", "executes", text::command_line(argv, SHOWN));
        }
        for note in &self.notes {
            lines += &table::fact("", note);
        }
        lines
    }
}

/// An element of argv as far as it is known before the job.
fn element(given: &Given) -> String {
    let shown = |bytes: &[u8]| text::line(bytes, SHOWN);
    match given {
        Given::Text(bytes) => shown(bytes),
        Given::Path {
            before,
            under,
            beneath,
            pass: Pass::Path,
            ..
        } => shown(before) + &path(under, beneath),
        Given::Path { before, .. } | Given::Secret { before, .. } => {
            shown(before) + "/proc/self/fd/N"
        }
    }
}

/// What is done in the sandbox before an element is there.
fn note(given: &Given) -> Option<String> {
    match given {
        Given::Text(_) => None,
        Given::Path {
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
                Pass::Path => "",
                Pass::Descriptor => ", and passed on as what was opened",
            };
            Some(format!(
                "'{}' must be {what}, reached from '{under}' without a symbolic link{passed}",
                path(under, beneath)
            ))
        }
        Given::Secret { .. } => {
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
