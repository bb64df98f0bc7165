//! Asks `remit-prove` which ways to root, or to another account, a change opens. It reads what strangers wrote, in a process
//! and a sandbox of its own. Only children of the loop ask: it may take seconds.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use remit_common::prove::{Compared, Opened, OpenedPath, PROGRAM, Question};
use remit_common::text;
use remit_policy::exchange::{receive, send};
use remit_settings::{AccountRef, Accounts};

use super::helper::Helper;
use crate::startup::error::chain;

/// Its start, and what it does besides looking: facts become proofs in about the time that they were read in.
const BESIDE: Duration = Duration::from_secs(2);
/// Paths that are shown, steps of each, and bytes of a line.
pub const PATHS: usize = 20;
const STEPS: usize = 40;
const LINE: usize = 600;

/// The program, which has no question yet. A process that has looked up names may have threads, and forks no more.
#[derive(Debug)]
pub struct Prover {
    process: Result<Helper, String>,
    begin: Instant,
    patience: Duration,
}

impl Prover {
    /// `looking`: the time for its look.
    pub fn start(looking: Duration) -> Self {
        let patience = looking.saturating_mul(2).saturating_add(BESIDE);
        let process = Helper::start_as_root(PROGRAM, patience)
            .map_err(|error| format!("'{PROGRAM}' was not started: {}", chain(&error)));
        Self {
            process,
            begin: Instant::now(),
            patience,
        }
    }

    /// `policy`: `Policy::encode`. Fails with a sentence.
    pub fn opened(
        self,
        machine: &Path,
        accounts: &Accounts,
        policy: Vec<u8>,
        compared: Compared,
    ) -> Result<Opened, String> {
        let question = Question {
            release: remit_common::RELEASE.to_owned(),
            root: machine.as_os_str().as_encoded_bytes().to_vec().into(),
            policy: policy.into(),
            compared: Some(compared),
            subject: None,
            accounts: Vec::new(),
            socket_group: word(&accounts.socket_group),
            admin_group: word(&accounts.admin_group),
        };
        let mut process = self.process?;
        process.extend(self.begin.elapsed());
        let mut converse = || -> io::Result<Result<Opened, String>> {
            send(&mut process.to, &question)?;
            receive(&mut process.from)
        };
        let answer = converse();
        let answer = answer
            .map_err(|error| format!("'{PROGRAM}' {}", process.fault(&error, self.patience)))?;
        let opened = answer.map_err(|why| format!("'{PROGRAM}' refused: {}", line(&why)))?;
        Ok(bounded(opened))
    }
}

fn word(group: &AccountRef) -> String {
    match group {
        AccountRef::Id(gid) => format!("#{gid}"),
        AccountRef::Name(name) => name.clone(),
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

/// The path for a person: what is reached, the steps, and what closes it.
pub fn lines(path: &OpenedPath) -> Vec<String> {
    let mut lines = vec![format!("{} reaches {}:", path.agent, path.goal)];
    let steps = (1_usize..).zip(&path.steps);
    lines.extend(steps.map(|(number, step)| format!("  {number}. {step}")));
    if !path.closed_by.is_empty() {
        lines.push(format!("  closed by: {}", path.closed_by.join("; or ")));
    }
    lines
}

#[cfg(test)]
mod tests {
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
        let shown = lines(&opened.paths[0]);
        assert_eq!(shown.len(), STEPS + 2);
        let texts = shown.iter().chain(&opened.incomplete);
        for text in texts {
            assert!(
                text.len() < 700 && !text.contains(char::is_control),
                "{text}"
            );
        }
    }
}
