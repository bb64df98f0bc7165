//! Asks `remit-prove` which ways to root, or to another account, a change opens. It reads what strangers wrote, in a process
//! and a sandbox of its own. Only children of the loop ask: it may take seconds.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use remit_common::prove::{Compared, KnownAccount, Opened, PROGRAM, PermittedGrant, Question};
use remit_common::text;
use remit_policy::Policy;
use remit_policy::exchange::{receive, send};
use remit_settings::Accounts;

use super::helper::Helper;
use crate::startup::error::chain;

/// Its start, and what it does besides looking and proving.
const BESIDE: Duration = Duration::from_secs(2);
/// For an answer that is there when it is asked for late.
const READING: Duration = Duration::from_millis(300);
/// Paths that are shown, steps of each, and bytes of a line.
pub const PATHS: usize = 20;
const STEPS: usize = 40;
const LINE: usize = 600;

/// The program, which has no question yet. A process that has looked up names may have threads, and forks no more.
#[derive(Debug)]
pub struct Prover {
    process: Result<Helper, String>,
    since: Instant,
    patience: Duration,
}

/// The machine as it is, and what accounts may do on it.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The directory that is its `/`.
    pub machine: &'a Path,
    pub accounts: &'a Accounts,
    /// Of a policy load: the new one.
    pub policy: &'a Policy,
    /// Temporary grants.
    pub in_force: &'a [PermittedGrant],
    /// Each change needs a person: `approval` of `[floor]` in `remit.toml`.
    pub asks_for_changes: bool,
}

/// The answer to a question that is asked, and may not be there yet. Dropping it ends the program.
#[derive(Debug)]
pub struct ProverAnswer {
    process: Helper,
    since: Instant,
    patience: Duration,
}

impl Prover {
    /// `patience`: for its whole answer, from the question on.
    pub fn start(patience: Duration) -> Self {
        let patience = patience.saturating_add(BESIDE);
        let process = Helper::start_as_root(PROGRAM, patience)
            .map_err(|error| format!("'{PROGRAM}' was not started: {}", chain(&error)));
        Self {
            process,
            since: Instant::now(),
            patience,
        }
    }

    /// Returns when the program has read the question. `known`: accounts that the tables of the machine may lack. Fails with a
    /// sentence.
    pub fn ask(
        self,
        situation: Situation<'_>,
        known: Vec<KnownAccount>,
        compared: Compared,
    ) -> Result<ProverAnswer, String> {
        let Situation {
            machine,
            accounts,
            policy,
            in_force,
            asks_for_changes,
        } = situation;
        let question = Question {
            release: remit_common::RELEASE.to_owned(),
            root: machine.as_os_str().as_encoded_bytes().to_vec().into(),
            policy: policy.encode().into(),
            compared: Some(compared),
            subject: None,
            accounts: known,
            in_force: in_force.to_vec(),
            asks_for_changes,
            socket_group: accounts.socket_group.to_string(),
            admin_group: accounts.admin_group.to_string(),
        };
        let mut process = self.process?;
        process.extend(self.since.elapsed());
        let mut asked = ProverAnswer {
            process,
            since: Instant::now(),
            patience: self.patience,
        };
        match send(&mut asked.process.to, &question) {
            Ok(()) => Ok(asked),
            Err(error) => Err(asked.fault(&error)),
        }
    }
}

impl ProverAnswer {
    /// Blocks until the answer is there, or the time is over. An answer that came meanwhile is read in any case.
    pub fn take(mut self) -> Result<Opened, String> {
        let late = self.since.elapsed().saturating_add(READING);
        self.process.extend(late.saturating_sub(self.patience));
        let answer: io::Result<Result<Opened, String>> = receive(&mut self.process.from);
        let answer = answer.map_err(|error| self.fault(&error))?;
        let opened = answer.map_err(|why| format!("'{PROGRAM}' refused: {}", line(&why)))?;
        Ok(bounded(opened))
    }

    fn fault(&self, error: &io::Error) -> String {
        format!("'{PROGRAM}' {}", self.process.fault(error, self.patience))
    }
}

/// The program read what strangers wrote: its texts are escaped and cut once more. No path is left out.
fn bounded(mut opened: Opened) -> Opened {
    for path in &mut opened.paths {
        path.steps.truncate(STEPS);
        path.closed_by.truncate(STEPS);
        let lists = path.steps.iter_mut().chain(&mut path.closed_by);
        lists
            .chain([&mut path.agent, &mut path.goal])
            .for_each(|text| *text = line(text));
    }
    opened.limits.truncate(PATHS);
    let limits = opened.limits.iter_mut().chain(&mut opened.incomplete);
    limits.for_each(|text| *text = line(text));
    opened
}

fn line(text: &str) -> String {
    text::line(text.as_bytes(), LINE)
}

#[cfg(test)]
mod tests {
    use remit_common::prove::OpenedPath;

    use super::*;

    #[test]
    fn texts_of_the_program_are_escaped_and_bounded() {
        let path = OpenedPath {
            agent: "bot\u{1b}[31m".to_owned(),
            goal: "root".to_owned(),
            steps: vec!["x".repeat(10_000); 100],
            closed_by: vec!["mend\nit".to_owned()],
        };
        let opened = Opened {
            paths: vec![path; 30],
            unknown: 1,
            incomplete: Some("a\nb".to_owned()),
            limits: Vec::new(),
        };
        let opened = bounded(opened);
        assert_eq!(opened.paths.len(), 30);
        let path = &opened.paths[0];
        assert_eq!(path.steps.len(), STEPS);
        let shown = path.steps.iter().chain(&path.closed_by);
        let texts = shown.chain([&path.agent]).chain(&opened.incomplete);
        for text in texts {
            assert!(
                text.len() < 700 && !text.contains(char::is_control),
                "{text}"
            );
        }
    }
}
