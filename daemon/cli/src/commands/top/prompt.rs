//! Questions below the lists and pages: which one is asked, what was typed, and what an answer means.

use remit_common::hex::hex;
use remit_common::names::JobId;

use super::page::Approvable;
use crate::commands::approve::{TRIES, is_beginning};
use crate::render::units;
use crate::render::untrusted_columns;

/// Characters of an answer. A whole digest with a blank between all digits fits.
const TYPED: usize = 256;
/// What is typed or pasted before the question is no answer to it. Keys are ignored until none came for this time.
const QUIET_MS: u64 = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptQuestion {
    /// To approve exactly this.
    Approve {
        what: Approvable,
        tries: usize,
    },
    /// The reason for a denial.
    Deny {
        job: JobId,
    },
    Stop {
        job: JobId,
        what: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub question: PromptQuestion,
    pub typed: String,
    /// When the question, or the last ignored key, came; `None` after the first answer.
    ignored_at: Option<u64>,
}

/// What becomes of a prompt after Enter, or after a key if one key is the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptAnswer {
    Approve(Approvable),
    Deny(JobId, String),
    Stop(JobId),
    /// The question stays, with this said.
    Again(String),
    /// The question ends without an action.
    Ended(String),
}

impl Prompt {
    pub fn approve(what: Approvable, now: u64) -> Self {
        let tries = TRIES;
        Self::new(PromptQuestion::Approve { what, tries }, now)
    }

    pub fn deny(job: JobId, now: u64) -> Self {
        Self::new(PromptQuestion::Deny { job }, now)
    }

    pub fn stop(job: JobId, what: String, now: u64) -> Self {
        Self::new(PromptQuestion::Stop { job, what }, now)
    }

    fn new(question: PromptQuestion, now: u64) -> Self {
        Self {
            question,
            typed: String::new(),
            ignored_at: Some(now),
        }
    }

    /// Returns true if a key that comes now is an answer.
    pub fn is_ready(&mut self, now: u64) -> bool {
        self.ignored_at = self.ignored_at.and_then(|at| {
            let is_quiet = now >= at.saturating_add(QUIET_MS);
            (!is_quiet).then_some(now)
        });
        self.ignored_at.is_none()
    }

    /// Returns the question. Texts of others in it are escaped.
    pub fn text(&self) -> String {
        match &self.question {
            PromptQuestion::Approve { .. } => {
                "To approve exactly this, type the first 8 digits of the digest: ".to_owned()
            }
            PromptQuestion::Deny { job } => {
                let name = units::name(*job);
                format!("Why is {name} denied? The requester reads it: ")
            }
            PromptQuestion::Stop { job, what } => {
                let what = untrusted_columns::cut(what, 60);
                format!("Stop {}, {what}? y or n: ", units::name(*job))
            }
        }
    }

    /// Takes what was typed or pasted. Returns an answer if a single key is one.
    pub fn types(&mut self, text: &str) -> Option<PromptAnswer> {
        if let PromptQuestion::Stop { job, .. } = &self.question {
            return Some(match text {
                "y" | "Y" => PromptAnswer::Stop(*job),
                _ => PromptAnswer::Ended("nothing was stopped".to_owned()),
            });
        }
        let left = TYPED.saturating_sub(self.typed.chars().count());
        let printable = text.chars().filter(|c| !c.is_control());
        self.typed.extend(printable.take(left));
        None
    }

    pub fn erases(&mut self) {
        self.typed.pop();
    }

    pub fn enters(&mut self) -> PromptAnswer {
        let typed = std::mem::take(&mut self.typed);
        match &mut self.question {
            PromptQuestion::Approve { what, tries } => {
                let wanted = hex(&what.digest);
                *tries = tries.saturating_sub(1);
                match (is_beginning(&typed, &wanted), *tries) {
                    (true, _) => PromptAnswer::Approve(*what),
                    (false, 0) => PromptAnswer::Ended(
                        "not approved: what was typed is not the digest".to_owned(),
                    ),
                    (false, _) => {
                        let (digits, _) = wanted.split_at_checked(8).unwrap_or((&wanted, ""));
                        PromptAnswer::Again(format!(
                            "That is not the digest. Type {digits}… to approve, Esc to leave (it stays pending)."
                        ))
                    }
                }
            }
            PromptQuestion::Deny { .. } if typed.trim().is_empty() => {
                PromptAnswer::Ended("not denied: no reason was typed".to_owned())
            }
            PromptQuestion::Deny { job } => PromptAnswer::Deny(*job, typed),
            PromptQuestion::Stop { .. } => PromptAnswer::Ended("nothing was stopped".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: Approvable = Approvable {
        job: JobId([7; 16]),
        digest: [0xab; 32],
        signed: None,
        is_withheld: false,
    };

    fn entered(prompt: &mut Prompt, text: &str) -> PromptAnswer {
        assert_eq!(prompt.types(text), None);
        prompt.enters()
    }

    #[test]
    fn digest_needs_eight_digits_and_three_tries_end_it() {
        for text in ["abababab", "ABAB abab", &"ab".repeat(32)] {
            let mut prompt = Prompt::approve(WHAT, 0);
            assert_eq!(
                entered(&mut prompt, text),
                PromptAnswer::Approve(WHAT),
                "{text}"
            );
        }
        let mut prompt = Prompt::approve(WHAT, 0);
        for text in ["y", "abababa"] {
            let PromptAnswer::Again(said) = entered(&mut prompt, text) else {
                panic!("{text}");
            };
            assert!(said.contains("Type abababab… to approve"), "{said}");
        }
        assert!(matches!(entered(&mut prompt, ""), PromptAnswer::Ended(_)));
    }

    #[test]
    fn denial_needs_a_reason() {
        for text in ["", "  "] {
            let mut prompt = Prompt::deny(WHAT.job, 0);
            assert!(matches!(entered(&mut prompt, text), PromptAnswer::Ended(_)));
        }
        let mut prompt = Prompt::deny(WHAT.job, 0);
        let denied = PromptAnswer::Deny(WHAT.job, "not now".into());
        assert_eq!(entered(&mut prompt, "not\x1b now"), denied);
    }

    #[test]
    fn only_y_stops() {
        for text in ["n", " ", "yes", "\n", "q"] {
            let answer = Prompt::stop(WHAT.job, "x".into(), 0).types(text);
            assert!(matches!(answer, Some(PromptAnswer::Ended(_))), "{text}");
        }
        let answer = Prompt::stop(WHAT.job, "x".into(), 0).types("y");
        assert_eq!(answer, Some(PromptAnswer::Stop(WHAT.job)));
        let answer = Prompt::stop(WHAT.job, "x".into(), 0).enters();
        assert!(matches!(answer, PromptAnswer::Ended(_)));
    }

    #[test]
    fn keys_of_a_paste_are_no_answer() {
        let mut prompt = Prompt::approve(WHAT, 1000);
        for now in [1000, 1150, 1300, 1499] {
            assert!(!prompt.is_ready(now), "{now}");
        }
        for now in [1699, 1700, 1701] {
            assert!(prompt.is_ready(now), "{now}");
        }
    }

    #[test]
    fn an_answer_is_bounded() {
        let mut prompt = Prompt::deny(WHAT.job, 0);
        for _ in 0..3 {
            prompt.types(&"x".repeat(200));
        }
        assert_eq!(prompt.typed.len(), TYPED);
    }
}
