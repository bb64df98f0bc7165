//! Asks which ways to root, or to another account, an approval opens: of a change of files, of a call, or of calls in
//! advance. A child asks before it measures, and takes the answer afterwards. An answer that is missing refuses no request:
//! the approver reads why it is missing.

mod files;
mod grant;

use remit_common::escape::words;
use remit_common::prove::{Compared, KnownAccount, Opened, OpenedPath, PermittedWhat};
use serde::{Deserialize, Serialize};

use crate::service::prover::{Prover, ProverAnswer, Situation};
pub use files::ChangeOfFiles;
pub use grant::{GrantAnswer, GrantQuestion};

/// Time for looking at the machine and for proofs.
const LOOK_MS: u64 = 6_000;
/// Bytes of all that is shown.
const SHOWN: usize = 32 << 10;
/// Bytes in a record.
const IN_SHORT: usize = 2 << 10;
/// Steps of a path that is too long.
const FIRST: usize = 8;

/// Which ways a change opens, as an approver is shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opens {
    pub paths: Vec<OpenedPath>,
    /// Why it may open others, in sentences.
    pub unknown: Vec<String>,
}

/// What a person is asked to permit, and what the question about it needs besides.
#[derive(Debug)]
pub struct OpensWanted<'a> {
    pub situation: Situation<'a>,
    pub files: Option<ChangeOfFiles<'a>>,
    pub calls: Vec<PermittedWhat>,
    /// Who asks: the tables of the machine may lack the account.
    pub requester: KnownAccount,
}

/// A question, or why there is none.
#[derive(Debug)]
pub struct OpensAsked(Result<ProverAnswer, String>);

impl Opens {
    /// Bytes that it keeps in memory.
    pub fn held(&self) -> usize {
        let unknown: usize = self.unknown.iter().map(|why| held(why)).sum();
        self.paths.iter().map(path_held).sum::<usize>() + unknown
    }

    fn of(answer: Result<Opened, String>) -> Self {
        match answer {
            Ok(opened) => Self {
                paths: opened.paths,
                unknown: opened.incomplete.into_iter().chain(opened.limits).collect(),
            }
            .bounded(),
            Err(why) => Self {
                paths: Vec::new(),
                unknown: vec![why],
            },
        }
    }

    /// Leaves out what is too much to keep and to read. Who reaches what counts more than each step.
    fn bounded(mut self) -> Self {
        let mut left = SHOWN;
        let mut more = 0_usize;
        self.paths.retain_mut(|path| {
            if path_held(path) > left.min(SHOWN / 2) {
                path.steps.truncate(FIRST);
                path.closed_by.truncate(FIRST);
            }
            let rest = left.checked_sub(path_held(path));
            left = rest.unwrap_or(left);
            more = more.saturating_add(usize::from(rest.is_none()));
            rest.is_some()
        });
        if more > 0 {
            self.unknown
                .insert(0, format!("{more} more paths are not shown"));
        }
        self
    }

    /// Names who reaches what, in one line.
    pub fn in_short(&self) -> Option<String> {
        let paths = self.paths.iter();
        in_short(paths.map(|path| format!("{} reaches {}", path.agent, path.goal)))
    }

    pub fn why_unknown(&self) -> Option<String> {
        in_short(self.unknown.iter().cloned())
    }
}

fn in_short(all: impl Iterator<Item = String>) -> Option<String> {
    let joined = all.collect::<Vec<_>>().join("; ");
    (!joined.is_empty()).then(|| words(&joined, IN_SHORT))
}

fn held(text: &str) -> usize {
    size_of::<String>().saturating_add(text.len())
}

fn path_held(path: &OpenedPath) -> usize {
    let lists = path.steps.iter().chain(&path.closed_by);
    let texts = lists.chain([&path.agent, &path.goal]);
    texts.map(|text| held(text)).sum()
}

impl OpensWanted<'_> {
    /// Starts the program, and returns when it has read the question.
    pub fn ask(&self) -> OpensAsked {
        let files = self
            .files
            .map(|files| files.described(self.situation.machine));
        OpensAsked(files.transpose().and_then(|changes| {
            let compared = Compared {
                before: None,
                changes: changes.unwrap_or_default(),
                permitted: self.calls.clone(),
                milliseconds: LOOK_MS,
            };
            let accounts = vec![self.requester.clone()];
            Prover::start(compared.patience()).ask(self.situation, accounts, compared)
        }))
    }
}

impl OpensAsked {
    /// Blocks until the answer is there, or the time is over.
    pub fn answer(self) -> Opens {
        Opens::of(self.0.and_then(ProverAnswer::take))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_says_what_is_left_out() {
        let path = |length: usize| OpenedPath {
            agent: "bot".to_owned(),
            goal: "root".to_owned(),
            steps: vec!["x".repeat(length); 40],
            closed_by: Vec::new(),
        };
        let opens = |paths: Vec<OpenedPath>| {
            let unknown = Vec::new();
            Opens { paths, unknown }.bounded()
        };
        assert_eq!(opens(vec![path(10); 3]).paths, vec![path(10); 3]);
        let long = opens(vec![path(600); 20]);
        assert!(long.held() < SHOWN + 100, "{}", long.held());
        let (kept, left_out) = (long.paths.len(), 20 - long.paths.len());
        assert!(kept > 1, "{kept}");
        assert_eq!(
            long.unknown,
            [format!("{left_out} more paths are not shown")]
        );
        let short = opens(vec![path(10); 3]).in_short().unwrap();
        assert_eq!(
            short,
            "bot reaches root; bot reaches root; bot reaches root"
        );
        assert!(opens(vec![path(1); 20]).in_short().unwrap().len() <= IN_SHORT);
        assert_eq!(Opens::default().in_short(), None);
    }
}
