//! Loading the policy: a child reads the files and looks the names up, the
//! warden makes the policy from what it brings. The loop never waits for a
//! disk or a directory service.
//!
//! A reload reads `remit.toml`, too: its values count from the next start on, and one that would
//! keep the daemon from starting is to be known before that.

mod brought;
mod changes;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::refusal::{Code, Refusal};
use remit_confine::{Answer, in_child};
use remit_policy::{Diagnostic, Policy, Severity, Source};
use sha2::{Digest, Sha256};

use crate::args::Args;
use crate::audit::chain::hex;
use crate::config::{self, Config};
use crate::error::{Fatal, chain};
use crate::peer::Subject;
use crate::people::{People, Question};
use brought::Brought;
pub use changes::Changes;

/// A policy in force.
#[derive(Debug)]
pub struct Live {
    /// Its rules.
    pub policy: Policy,
    /// SHA-256 of everything it was made from, in hexadecimal.
    pub digest: String,
    /// The files it was made from.
    pub files: Vec<String>,
    /// What its author should look at.
    pub warnings: Vec<String>,
    /// The accounts of those who are connected, have something that waits, or gave or got a grant, as they
    /// were at the load.
    pub people: People,
    /// The uids that it names by their accounts' names, with each name of theirs.
    pub named: BTreeMap<u32, BTreeSet<String>>,
    /// Users whom it denies something, and who are gone.
    pub gone: BTreeSet<String>,
    /// What it means other than the one before.
    pub changes: Changes,
}

/// What a reload found.
#[derive(Debug)]
pub struct Loaded {
    /// The new policy.
    pub live: Live,
    /// `remit.toml` as it is now.
    pub settings: Config,
}

/// A load under way.
#[derive(Debug)]
pub struct Loading {
    answer: Answer,
    config: PathBuf,
    /// It was asked for again meanwhile.
    pub again: bool,
    /// Who asked for it; nobody when it was a signal.
    pub asked: Option<Subject>,
    /// What a load has changed of which nobody who waits was told.
    pub before: Changes,
}

/// Why a policy was not loaded: every finding, a line or more each.
pub type Refused = String;

/// For the policy to be read, names in it to be looked up, and what changed to be found. More than host
/// names alone may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Each finding by its sentence, without the lines that show the place in the file.
pub fn findings(why: &str) -> Vec<&str> {
    why.lines().filter(|line| !line.starts_with(' ')).collect()
}

/// Of a policy's digest, what stands in a sentence.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The first error and how many more there are; where there is none, the same of warnings.
pub fn in_short(why: &str) -> String {
    let (warnings, errors): (Vec<_>, Vec<_>) = findings(why)
        .into_iter()
        .partition(|line| line.contains(": warning: "));
    let told = if errors.is_empty() { warnings } else { errors };
    let first = told.first().copied().unwrap_or_default();
    match told.len() {
        0 | 1 => first.to_owned(),
        many => format!("{first} (and {} more)", many - 1),
    }
}

impl Live {
    /// Whether a user is the one whom it names, where it names this uid by a name: another account has
    /// none of the rights of one whose number it got.
    ///
    /// # Errors
    /// It knows the uid by other names.
    pub fn knows(&self, uid: u32, user: &str) -> Result<(), Refusal> {
        let Some(names) = self.named.get(&uid).filter(|names| !names.contains(user)) else {
            return Ok(());
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = format!(
            "uid {uid} was '{}' when the policy was loaded, and is '{user}' now",
            names.join("', '")
        );
        Err(Refusal::new(Code::DeniedRule, text)
            .lift("remit policy reload")
            .next("connect again in a moment: the policy is loaded again"))
    }
}

impl Loading {
    /// Forks the child, which also looks up people, and compares with the
    /// policy in force and its settings, which it has as of now. Without them, `remit.toml` is not
    /// judged either: who starts does that.
    ///
    /// # Errors
    /// It cannot be forked.
    pub fn start(
        args: &Args,
        live: Option<(&Live, &Config)>,
        people: &Question,
        asked: Option<&Subject>,
    ) -> Result<Self, Fatal> {
        let answer = in_child(|| {
            let brought = Brought::of(args, live, people);
            postcard::to_extend(&brought, Vec::new()).unwrap_or_default()
        });
        match answer {
            Ok(answer) => Ok(Self {
                answer,
                config: args.config.clone(),
                again: false,
                asked: asked.cloned(),
                before: Changes::default(),
            }),
            Err(error) => Err(Fatal::System(chain(&error))),
        }
    }

    /// Readable when [`Loading::read`] gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.fd()
    }

    /// The policy, once the child has brought everything. `None`: read again when readable.
    pub fn read(&mut self) -> Option<Result<Loaded, Refused>> {
        match self.answer.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(
                postcard::from_bytes::<Result<Brought, Refused>>(&bytes)
                    .map_err(|_| "the child that reads the policy died".to_owned())
                    .and_then(|brought| {
                        let brought = brought?;
                        let settings = config::parse_file(&self.config, &brought.settings)?;
                        let live = make(brought)?;
                        Ok(Loaded { live, settings })
                    }),
            ),
            Err(error) => Some(Err(chain(&error))),
        }
    }
}

/// Loads and waits for it, for the start-up and `--check`: by a child as always, since looking names
/// up makes threads.
///
/// # Errors
/// Every finding.
pub fn load_now(args: &Args) -> Result<Live, Fatal> {
    let mut loading = Loading::start(args, None, &Question::default(), None)?;
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(read) = loading.read() {
            return read.map(|loaded| loaded.live).map_err(Fatal::Config);
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(loading.fd(), PollFlags::POLLIN)];
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if let Ok(0) = poll(&mut fds, left) {
            // Not the policy's fault: the next try may have an answer.
            return Err(Fatal::Unavailable(late()));
        }
    }
}

/// The child has had its time.
pub fn late() -> Refused {
    let seconds = PATIENCE.as_secs();
    format!(
        "the policy was not read, or the names in it not looked up, in {seconds} s: a disk or a \
         directory service does not answer"
    )
}

/// The same files and the same answers make the same policy again. The child has proved what is to be
/// proved of it.
fn make(brought: Brought) -> Result<Live, Refused> {
    let files = brought.sources.iter().map(|(name, _)| name.clone());
    let files = files.collect();
    let sources: Vec<Source> = brought
        .sources
        .into_iter()
        .map(|(name, text)| Source {
            name,
            text: text.into_vec(),
        })
        .collect();
    let policy = remit_policy::load_again(&sources, &brought.machine).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })?;
    let digest = hex(&Sha256::digest(policy.digest_input()));
    let mut warnings = brought.warnings;
    if policy.rules() == 0 && !sources.is_empty() {
        let text = "none of its files has a rule: nobody may do anything";
        warnings.push(Diagnostic::whole(Severity::Warning, "policy", text).to_string());
    }
    Ok(Live {
        policy,
        digest,
        files,
        warnings,
        people: brought.people,
        named: brought.named,
        gone: brought.machine.gone,
        changes: brought.changes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_short_it_is_the_first_error_and_a_count() {
        let check = |why: &str, expect: &str| assert_eq!(in_short(why), expect, "{why}");
        check("", "");
        check(
            "a.toml:1:1: error: m\n  1 | x\n    | ^\n    = h",
            "a.toml:1:1: error: m",
        );
        check(
            "a.toml:1:1: warning: w\n  1 | x\nb.toml: error: m\n  = h",
            "b.toml: error: m",
        );
        check(
            "a: error: m\nb: warning: w\nc: error: n",
            "a: error: m (and 1 more)",
        );
        check("a: warning: v\nb: warning: w", "a: warning: v (and 1 more)");
    }
}
