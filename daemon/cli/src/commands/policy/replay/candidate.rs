//! The text of a candidate: tables of a policy file that allow the requests of a family and no others. Words of the log
//! are hostile: they are in quotes, where nothing ends a string early, or in comments of one printable line. Pure.

use std::fmt::Write as _;

use remit_common::text;
use remit_policy::{Policy, Stdin};

use super::denials::{Family, FamilyKind, varying};
use super::past::approvers;
use crate::render::units;

const SUMMARY: usize = 120;
const COMMENT: usize = 300;
/// Who approves a change of which the log does not say it.
const ADMINS: &str = "%remit-admin";
/// The argument of a candidate that varies.
const VALUE: &str = "value";

pub struct CandidateText<'a> {
    pub family: &'a Family,
    /// Of the new command and its rule.
    pub name: &'a str,
    /// The users, as policy files name them.
    pub to: &'a [String],
    /// The same users, with the names that they had then if they have others now.
    pub askers: &'a [String],
    /// The absolute path of the program.
    pub program: Option<&'a str>,
}

/// Why a family has no candidate, as part of a sentence.
type Why = String;

impl CandidateText<'_> {
    pub fn toml(&self, policy: &Policy) -> Result<String, Why> {
        let tally = &self.family.tally;
        let ends: Vec<&str> = tally.ends.iter().map(String::as_str).collect();
        let last = tally.last_ms.map_or_else(String::new, |ms| {
            format!(", the last {}", units::time(ms / 1000))
        });
        let seq = tally
            .last_seq
            .map_or_else(String::new, |seq| format!(" (record {seq})"));
        let mut toml = comment(&format!(
            "{} of {}: {}{last}{seq}",
            units::count(tally.count, "request"),
            self.askers.join(", "),
            ends.join(", "),
        ));
        toml += &comment(&format!("  {}", tally.example));
        toml += &match &self.family.kind {
            FamilyKind::Program { effect, .. } => {
                let command = self.command()?;
                let calls = self.values().into_iter();
                let calls = calls.map(|value| {
                    value
                        .map(|value| (VALUE.to_owned(), value))
                        .into_iter()
                        .collect()
                });
                command + &self.rule(self.name, "", effect.is_change(), calls.collect())?
            }
            FamilyKind::Named { name, effect, args } => {
                let scope = self.scope(policy, name, args)?;
                let calls = self.family.words.iter();
                let calls =
                    calls.map(|values| args.iter().cloned().zip(values.iter().cloned()).collect());
                self.rule(name, &scope, effect.is_change(), calls.collect())?
            }
        };
        Ok(toml)
    }

    /// What varies, or one `None` if nothing does.
    fn values(&self) -> Vec<Option<String>> {
        match varying(&self.family.words).first() {
            None => vec![None],
            Some(at) => self
                .family
                .words
                .iter()
                .map(|words| words.get(*at).cloned())
                .collect(),
        }
    }

    /// A command with the words that were seen.
    fn command(&self) -> Result<String, Why> {
        let FamilyKind::Program {
            program,
            effect,
            profile,
            cwd,
            ..
        } = &self.family.kind
        else {
            return Ok(String::new());
        };
        let path = self.program.ok_or_else(|| {
            format!(
                "'{}' is no program in the PATH of jobs on this machine",
                line(program)
            )
        })?;
        let at = varying(&self.family.words).first().copied();
        let first = self
            .family
            .words
            .first()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let rest = first.iter().enumerate().skip(1).map(|(position, word)| {
            match Some(position) == at {
                true => quoted(&format!("{{{VALUE}}}")),
                // Braces of a word are no argument.
                false => quoted(&word.replace('{', "{{").replace('}', "}}")),
            }
        });
        let argv: Vec<String> = std::iter::once(quoted(path)).chain(rest).collect();
        let (count, effect) = (
            self.family.tally.count,
            match effect.is_change() {
                true => "change",
                false => "read",
            },
        );
        let summary = text::line(self.family.tally.example.as_bytes(), SUMMARY);
        let mut toml = format!(
            "[[command]]\nname = {}\nsummary = {}\nargv = [{}]\neffect = \"{effect}\"\nprofile = {}\n",
            quoted(self.name),
            quoted(&format!(
                "Asked for {}: {summary}",
                units::count(count, "time")
            )),
            argv.join(", "),
            quoted(profile),
        );
        if cwd != "/" {
            let _ = writeln!(toml, "cwd = {}", quoted(cwd));
        }
        let values: Vec<String> = self.values().into_iter().flatten().collect();
        if !values.is_empty() {
            let list: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            let accepts = list.iter().map(|value| format!("{{ {VALUE} = {value} }}"));
            let accepts: Vec<String> = accepts.collect();
            let _ = write!(
                toml,
                "args.{VALUE} = {{ type = \"enum\", values = [{}] }}\naccepts = [{}]\nrejects = [{{ {VALUE} = {} }}]\n",
                list.join(", "),
                accepts.join(", "),
                quoted(&other(&values)),
            );
        }
        Ok(toml + "\n")
    }

    /// The arguments to which a grant of an existing command is limited. Fails if it would cover other calls, too.
    fn scope(&self, policy: &Policy, name: &str, args: &[String]) -> Result<String, Why> {
        let command = policy
            .command(name)
            .ok_or_else(|| format!("there is no command '{}' in this policy", line(name)))?;
        if command.is_commit() || command.stdin != Stdin::None {
            return Err("a grant cannot be limited to its input".to_owned());
        }
        for values in &self.family.words {
            let call: Vec<_> = args.iter().cloned().zip(values.iter().cloned()).collect();
            if let Err(refusal) = command.bind(&call, false) {
                return Err(format!("no grant changes this: {}", refusal.message));
            }
        }
        let mut scope: Vec<(String, Vec<String>)> = Vec::new();
        for param in &command.params {
            if param.most > 1 {
                let why = "several values of it are also any part of these";
                return Err(format!(
                    "its argument '{}' can be repeated: {why}",
                    param.name
                ));
            }
            let at = args.iter().position(|arg| *arg == param.name);
            let mut values: Vec<String> = match (at, &param.default) {
                (Some(at), _) => {
                    let values = self.family.words.iter().filter_map(|words| words.get(at));
                    values.cloned().collect()
                }
                (None, Some(default)) => vec![default.clone()],
                (None, None) => {
                    return Err(format!(
                        "no rule can say that its argument '{}' is absent",
                        param.name
                    ));
                }
            };
            values.sort();
            values.dedup();
            if values.iter().any(|value| value.contains('*')) {
                return Err("a star in a value is a pattern in a rule".to_owned());
            }
            scope.push((param.name.clone(), values));
        }
        if scope.len() < args.len() {
            return Err("it has an argument that the command does not have".to_owned());
        }
        let scope = scope.into_iter().map(|(name, values)| {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            format!("{} = [{}]", quoted(&name), values.join(", "))
        });
        let scope: Vec<String> = scope.collect();
        Ok(match scope.is_empty() {
            true => String::new(),
            false => format!("args = {{ {} }}\n", scope.join(", ")),
        })
    }

    /// A grant of the command, and a test for each call and user.
    fn rule(
        &self,
        command: &str,
        scope: &str,
        is_change: bool,
        calls: Vec<Vec<(String, String)>>,
    ) -> Result<String, Why> {
        let to: Vec<String> = self.to.iter().map(|user| quoted(user)).collect();
        let mut toml = format!(
            "[[grant]]\nname = {}\nto = [{}]\nallow = [{}]\n{scope}",
            quoted(self.name),
            to.join(", "),
            quoted(command),
        );
        if is_change {
            toml += &self.approval()?;
        }
        let (tool, verdict) = match is_change {
            true => ("change", "ask"),
            false => ("run", "allow"),
        };
        for (user, call) in to
            .iter()
            .flat_map(|user| calls.iter().map(move |call| (user, call)))
        {
            let words = call
                .iter()
                .map(|(name, value)| format!(", {}", quoted(&format!("{name}={value}"))));
            let words: String = words.collect();
            let _ = write!(
                toml,
                "\n[[test]]\nwho = {user}\nwhat = [\"{tool}\", {}{words}]\nverdict = \"{verdict}\"\n",
                quoted(command),
            );
        }
        Ok(toml)
    }

    /// Who approves a change: those who could then. Fails if one list cannot say that.
    fn approval(&self) -> Result<String, Why> {
        let (count, by, signed) = match &self.family.kind {
            FamilyKind::Program {
                by: Some(by),
                signed,
                ..
            } => match approvers(by) {
                (count, Some(by)) => (count, by, *signed),
                (_, None) => {
                    return Err(format!(
                        "several rules asked for its approval, of {}: write them by hand",
                        line(by)
                    ));
                }
            },
            FamilyKind::Program { by: None, .. } | FamilyKind::Named { .. } => {
                (1, vec![ADMINS], None)
            }
        };
        let by: Vec<String> = by.into_iter().map(quoted).collect();
        let count = match count {
            1 => String::new(),
            more => format!(", count = {more}"),
        };
        let signed = signed.map_or_else(String::new, |signed| format!(", signed = \"{signed}\""));
        Ok(format!(
            "approval = {{ by = [{}]{count}{signed} }}\n",
            by.join(", ")
        ))
    }
}

/// Returns a value that is none of these.
fn other(values: &[String]) -> String {
    let mut other = "not-seen".to_owned();
    while values.contains(&other) {
        other.push('-');
    }
    other
}

fn line(word: &str) -> String {
    text::line(word.as_bytes(), SUMMARY)
}

pub fn comment(sentence: &str) -> String {
    format!("# {}\n", text::line(sentence.as_bytes(), COMMENT))
}

/// Returns a basic string of TOML with printable characters only.
pub fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' | '\t' => write!(quoted, "\\u{:04x}", u32::from(c)),
            c if text::is_plain(c) => write!(quoted, "{c}"),
            c if u32::from(c) > 0xffff => write!(quoted, "\\U{:08x}", u32::from(c)),
            c => write!(quoted, "\\u{:04x}", u32::from(c)),
        };
    }
    quoted.push('"');
    quoted
}
