//! Starts the process that parses `remit.toml` or compiles a policy, and answers its questions. It runs with a uid that no
//! account has, in a sandbox of its own, with no descriptor but two pipes. The child that reads the files does this: the
//! loop never waits for it, and kills both if they take too long.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_policy::exchange::{FromCompiler, ToCompiler, receive, send};
use remit_policy::{Diagnostic, Machine, MachineTable, Policy, Severity, Source};
use remit_settings::JobsConfig;

use super::refused::LoadError;
use crate::config::Config;
use crate::service::helper::Helper;

const PROGRAM: &str = "remit-compiler";
/// The kernel's own uid and gid for those without an account (user_namespaces(7)).
const OVERFLOW_ID: u32 = 65_534;
/// Time for one answer, without the answers to its questions. A policy at all its limits needs two seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same at a start: at the boot of a busy machine the program is not in memory yet.
const START: Duration = Duration::from_secs(60);
/// Maximum number of findings: a compiler that works reports fewer.
const FINDINGS: usize = 512;
/// Maximum number of bytes of all questions, and of each one beside its text: above what 4 MiB of short names ask.
const ASKED: usize = 64 << 20;
const QUESTION: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Its uid and gid. No other process may have it: it could stop or trace the compiler, and so write the policy.
    id: u32,
    patience: Duration,
}

impl Runs {
    pub fn new(settings: Option<&Config>, is_start: bool) -> Self {
        Self {
            id: id(settings),
            patience: if is_start { START } else { PATIENCE },
        }
    }
}

/// Returns the uid and gid of the compiler: the first of the jobs' range by these settings, which no other process has.
/// Without settings, the first of the built-in range: a container may lack it, and has only its own nobody.
fn id(settings: Option<&Config>) -> u32 {
    if let Some(settings) = settings {
        return settings.jobs.uid_first;
    }
    let first = JobsConfig::default().uid_first;
    let is_mapped = |file| std::fs::read_to_string(file).is_ok_and(|map| maps(&map, first));
    match is_mapped("/proc/self/uid_map") && is_mapped("/proc/self/gid_map") {
        true => first,
        false => OVERFLOW_ID,
    }
}

/// Lines of `map`: first id in here, first id outside, number of ids (user_namespaces(7)).
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&id.into()))
    })
}

/// Parses the text of `remit.toml`. Its bounds are not checked. Fails with sentences.
pub fn settings(file: String, text: String, runs: Runs) -> Result<Config, LoadError> {
    let unusable = |why| {
        LoadError::Unavailable(format!(
            "cannot use '{file}': '{PROGRAM}' {why}; see its lines in the journal, then try again"
        ))
    };
    let request = ToCompiler::Settings {
        release: remit_common::RELEASE.to_owned(),
        file: file.clone(),
        text,
    };
    match run(&request, &MachineTable::default(), runs).map_err(unusable)? {
        FromCompiler::Settings(bytes) => {
            Config::decode(&bytes).map_err(|why| unusable(format!("sent no settings: {why}")))
        }
        FromCompiler::Refused(found) => {
            let found = refusal(found).map_err(unusable)?;
            let found: Vec<_> = found.iter().map(Diagnostic::to_string).collect();
            Err(found.join("\n").into())
        }
        FromCompiler::Asks(_) | FromCompiler::Compiled { .. } => {
            Err(unusable("sent something other than settings".to_owned()))
        }
    }
}

#[derive(Debug)]
pub struct CompiledPolicy {
    pub policy: Policy,
    pub warnings: Vec<Diagnostic>,
    pub changes: Vec<String>,
}

#[derive(Debug)]
pub enum NotCompiled {
    Refused(Vec<Diagnostic>),
    /// No answer, or none that can be used.
    Unavailable(Diagnostic),
}

impl NotCompiled {
    pub fn findings(self) -> Vec<Diagnostic> {
        match self {
            Self::Refused(found) => found,
            Self::Unavailable(finding) => vec![finding],
        }
    }
}

/// Compiles the sources, and compares with `before`. Without an answer, the finding says why.
pub fn compile(
    sources: &[Source],
    machine: &dyn Machine,
    before: Option<&Policy>,
    runs: Runs,
) -> Result<CompiledPolicy, NotCompiled> {
    let request = ToCompiler::Policy {
        release: remit_common::RELEASE.to_owned(),
        sources: sources.to_vec(),
        before: before.map(Policy::encode),
    };
    let answer = run(&request, machine, runs).and_then(|answer| match answer {
        FromCompiler::Compiled {
            model,
            warnings,
            changes,
        } => {
            let policy = Policy::decode(&model).map_err(|why| format!("sent no model: {why}"))?;
            let warnings = are_bounded(warnings)?;
            Ok(Ok(CompiledPolicy {
                policy,
                warnings,
                changes,
            }))
        }
        FromCompiler::Refused(found) => refusal(found).map(NotCompiled::Refused).map(Err),
        FromCompiler::Asks(_) | FromCompiler::Settings(_) => {
            Err("sent something other than a policy".to_owned())
        }
    });
    answer.unwrap_or_else(|why| {
        let text = format!(
            "the policy was not compiled: '{PROGRAM}' {why}; see its lines in the journal, then load \
             the policy again"
        );
        let finding = Diagnostic::whole(Severity::Error, "policy", text);
        Err(NotCompiled::Unavailable(finding))
    })
}

/// A refusal without a reason is none.
fn refusal(found: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, String> {
    match found.is_empty() {
        true => Err("gave no reason".to_owned()),
        false => are_bounded(found),
    }
}

/// Findings are printed on terminals and recorded.
fn are_bounded(found: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, String> {
    match found.len() <= FINDINGS && found.iter().all(Diagnostic::is_bounded) {
        true => Ok(found),
        false => Err("sent findings that cannot be shown".to_owned()),
    }
}

fn run(request: &ToCompiler, machine: &dyn Machine, runs: Runs) -> Result<FromCompiler, String> {
    let mut process = Helper::start(PROGRAM, runs.id, runs.patience)
        .map_err(|error| format!("was not started: {error}"))?;
    let answer = converse(&mut process, request, machine);
    answer.map_err(|error| process.fault(&error, runs.patience))
}

fn converse(
    process: &mut Helper,
    request: &ToCompiler,
    machine: &dyn Machine,
) -> io::Result<FromCompiler> {
    send(&mut process.to, request)?;
    let mut asked = 0;
    loop {
        match receive(&mut process.from)? {
            FromCompiler::Asks(question) => {
                asked += QUESTION + question.length();
                if asked > ASKED || question.length() > caps::PATH {
                    let text = "its questions are too many or too long";
                    return Err(io::Error::new(ErrorKind::InvalidData, text));
                }
                let begin = Instant::now();
                let answer = question.ask(machine);
                // A name server has its own patience.
                process.extend(begin.elapsed());
                send(&mut process.to, &ToCompiler::Answer(answer))?;
            }
            last => return Ok(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_by_a_range_that_has_it() {
        let host = "         0          0 4294967295\n";
        let container = "         0     100000      65536\n     70000     200000          2\n";
        for (map, id, expect) in [
            (host, 1_879_048_192, true),
            (container, 65_535, true),
            (container, 65_536, false),
            (container, 70_001, true),
            (container, 70_002, false),
            ("", 0, false),
            ("0 0", 0, false),
        ] {
            assert_eq!(maps(map, id), expect, "{map} {id}");
        }
    }
}
