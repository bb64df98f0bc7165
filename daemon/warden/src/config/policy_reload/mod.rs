//! Loads `remit.toml` and the policy. A child reads the files and looks up the names. Processes without rights parse the
//! texts. The warden decodes the answer. The loop never waits for a disk or a directory service. What a reload finds in
//! `remit.toml` applies from the next start, but a value that would prevent that start must be reported now.

mod brought;
mod compiler;
mod in_force;
mod opened;
mod refused;
mod shadow_load;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use remit_common::prove::PermittedGrant;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_plan::Protected;
use remit_policy::Policy;
use remit_policy_files::LastKnown;
use remit_sys::{Answer, in_child};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::shadow::{self, Shadow};
use crate::identity::accounts::{People, Question};
use crate::identity::peer::Subject;
use crate::job::floor::Floor;
use crate::startup::arguments::Args;
use crate::startup::error::{Fatal, chain};
use brought::Brought;
pub use brought::names_file::save_names;
pub use in_force::{Decided, Policies};
pub use refused::{LoadError, PolicyErrors, findings, in_short, short};

#[derive(Debug)]
pub struct Live {
    pub policy: Policy,
    /// SHA-256 of all inputs, in hexadecimal.
    pub digest: String,
    pub files: Vec<String>,
    pub warnings: Vec<String>,
    /// Accounts at the time of the load: of users who are connected, have something waiting, or gave or got a grant.
    pub people: People,
    /// Uids that the policy names by account names, with all of these names.
    pub named: BTreeMap<u32, BTreeSet<String>>,
    /// Current or last known meaning of the policy's names.
    pub last_known: LastKnown,
    pub changes: Changes,
    /// By the settings of the running daemon.
    pub floor: Floor,
    /// What no plan may change, at the time of the load.
    pub protected: Rc<Protected>,
    pub shadow: Option<Shadow>,
    /// `prove` of `remit.toml`, at the time of the load.
    pub is_proved: bool,
}

/// What is in force while a policy is loaded.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInForce<'a> {
    pub live: &'a Live,
    pub config: &'a Config,
    /// Temporary grants.
    pub in_force: &'a [PermittedGrant],
}

#[derive(Debug)]
pub struct Loaded {
    pub live: Live,
    pub settings: Config,
}

#[derive(Debug)]
pub struct Loading {
    answer: Answer,
    /// Another load was requested meanwhile.
    pub again: bool,
    /// The administrator of that request. `None`: a signal, or a user's connection.
    pub asked_again: Option<Subject>,
    pub asked: Option<Subject>,
    /// A user's connection started this load. The new policy must not allow more than the old one.
    pub is_unasked: bool,
    /// Changes by an earlier load that were not yet reported to those who wait.
    pub before: Changes,
}

/// Timeout for reading the policy, looking up its names and comparing it. Longer than host names alone may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same at a start: longer than the compiler alone may take then.
const START: Duration = Duration::from_secs(80);
/// Maximum number of bytes that the child sends: the longest message of the compiler.
const MODEL: usize = 64 << 20;
/// Bytes of private memory of the child. It holds the longest message, 64 MiB, about six times, and two policies.
const MEMORY: u64 = 1 << 30;

impl Live {
    /// Checks that a user is the account of this uid in the policy. A reused uid gets no rights of the old account.
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
    /// Forks the child. It reads the files, looks up `people`, and compares with what is in force now. Without that it does
    /// not look up the accounts of `remit.toml`: the start-up does that.
    pub fn start(
        args: &Args,
        running: Option<PolicyInForce<'_>>,
        people: &Question,
        asked: Option<&Subject>,
    ) -> Result<Self, Fatal> {
        let answer = in_child(|| {
            let brought = limit_memory().and_then(|()| Brought::of(args, running, people));
            postcard::to_extend(&brought, Vec::new()).unwrap_or_default()
        });
        match answer {
            Ok(answer) => Ok(Self {
                answer: answer.up_to(MODEL + shadow_load::MODEL),
                again: false,
                asked_again: None,
                asked: asked.cloned(),
                is_unasked: false,
                before: Changes::default(),
            }),
            Err(error) => Err(Fatal::System(chain(&error))),
        }
    }

    /// Readable when [`Loading::read`] can continue.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.fd()
    }

    /// Returns the policy once the child has sent everything. `None`: read again when readable.
    pub fn read(&mut self) -> Option<Result<Loaded, LoadError>> {
        match self.answer.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(
                postcard::from_bytes::<Result<Brought, LoadError>>(&bytes)
                    .map_err(|_| {
                        LoadError::Unavailable("the child that reads the policy died".into())
                    })
                    .and_then(|brought| Ok(make(brought?)?)),
            ),
            Err(error) => Some(Err(chain(&error).into())),
        }
    }
}

/// A compiler that lies sends a model that takes a hundred times its bytes. This child must hold it first.
fn limit_memory() -> Result<(), LoadError> {
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY)
        .map_err(|errno| format!("cannot limit the memory of the load: {errno}").into())
}

/// Loads both and waits, for start-up and `--check`. Uses a child too, because looking up names creates threads.
pub fn load_now(args: &Args) -> Result<Loaded, Fatal> {
    let mut loading = Loading::start(args, None, &Question::default(), None)?;
    let end = Instant::now() + START;
    loop {
        if let Some(read) = loading.read() {
            return read.map_err(|error| error.at_start(args.check));
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(loading.fd(), PollFlags::POLLIN)];
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if let Ok(0) = poll(&mut fds, left) {
            // Not an error of the policy: the next try may get an answer.
            return Err(Fatal::Unavailable(late_after(START)));
        }
    }
}

/// Returns the time for the whole load.
pub const fn patience(is_start: bool) -> Duration {
    if is_start { START } else { PATIENCE }
}

pub fn late() -> PolicyErrors {
    late_after(PATIENCE)
}

fn late_after(patience: Duration) -> PolicyErrors {
    let seconds = patience.as_secs();
    format!(
        "the policy was not read, or the names in it not looked up, in {seconds} s: a disk or a \
         directory service does not respond"
    )
}

fn make(brought: Brought) -> Result<Loaded, PolicyErrors> {
    let policy = Policy::decode(&brought.model)
        .map_err(|why| format!("the child that reads the policy sent none: {why}"))?;
    let mut live = Live {
        digest: policy.digest().to_owned(),
        policy,
        files: brought.files,
        warnings: brought.warnings,
        people: brought.people,
        named: brought.named,
        last_known: brought.last_known,
        changes: brought.changes,
        floor: brought.floor,
        protected: Rc::new(brought.protected),
        shadow: None,
        is_proved: brought.settings.policy.prove,
    };
    match brought.shadow.map(|model| Shadow::decode(&model)) {
        None => {}
        Some(Ok(shadow)) => live.shadow = Some(shadow),
        Some(Err(why)) => live.warnings.push(shadow::unusable(&why)),
    }
    let settings = brought.settings;
    Ok(Loaded { live, settings })
}

const LINE: usize = 400;

/// What each user gains and loses, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// At most [`caps::POLICY_CHANGES`].
    pub lines: Vec<String>,
    pub more: u32,
}

impl Changes {
    pub fn new(all: &[String]) -> Self {
        let lines = all.iter().take(caps::POLICY_CHANGES);
        Self {
            lines: lines
                .map(|line| text::line(line.as_bytes(), LINE))
                .collect(),
            more: count(all.len().saturating_sub(caps::POLICY_CHANGES)),
        }
    }

    /// Returns as many of the changes as fit, on one line, and the number of the others. The first is always there, and is
    /// truncated if it is longer than `most` bytes.
    pub fn in_sentence(&self, most: usize) -> String {
        let Some((first, rest)) = self.lines.split_first() else {
            return self.to_string();
        };
        let mut sentence = text::line(first.as_bytes(), most);
        let mut left = rest.len();
        for line in rest {
            if sentence.len() + line.len() > most {
                break;
            }
            sentence += &format!("; {line}");
            left -= 1;
        }
        match count(left).saturating_add(self.more) {
            0 => sentence,
            1 => format!("{sentence}; and 1 more change"),
            more => format!("{sentence}; and {more} more changes"),
        }
    }

    pub fn and(mut self, later: Self) -> Self {
        self.lines.extend(later.lines);
        let over = self.lines.len().saturating_sub(caps::POLICY_CHANGES);
        self.lines.truncate(caps::POLICY_CHANGES);
        let more = self.more.saturating_add(later.more);
        self.more = more.saturating_add(count(over));
        self
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lines.as_slice(), self.more) {
            ([], 0) => f.write_str("no permission changes"),
            (lines, 0) => f.write_str(&lines.join("\n")),
            (lines, more) => write!(f, "{}\nand {more} more changes", lines.join("\n")),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_two_loads_are_merged_within_bound() {
        let changes = |count: usize, more| Changes {
            lines: vec!["x".to_owned(); count],
            more,
        };
        assert_eq!(changes(2, 0).and(changes(1, 0)), changes(3, 0));
        let most = caps::POLICY_CHANGES;
        assert_eq!(changes(most, 7).and(changes(2, 1)), changes(most, 10));
        assert_eq!(changes(0, 0).to_string(), "no permission changes");
        assert_eq!(changes(1, 2).to_string(), "x\nand 2 more changes");
    }

    #[test]
    fn sentence_counts_the_changes_that_it_leaves_out() {
        let said = |lines: &[&str], more| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            Changes { lines, more }.in_sentence(20)
        };
        for (lines, more, expect) in [
            (&[][..], 0, "no permission changes"),
            (&["ann loses b"], 0, "ann loses b"),
            (&["ann loses b", "x"], 0, "ann loses b; x"),
            (
                &["ann loses b", "bob gains run", "x"],
                0,
                "ann loses b; and 2 more changes",
            ),
            (
                &["ann loses b", "bob gains run"],
                0,
                "ann loses b; and 1 more change",
            ),
            (&["ann loses b"], 7, "ann loses b; and 7 more changes"),
        ] {
            assert_eq!(said(lines, more), expect, "{lines:?}");
        }
        let long = said(&["x".repeat(99).as_str(), "y"], 0);
        assert!(long.ends_with("x…; and 1 more change"), "{long}");
    }

    #[test]
    fn systemd_gives_a_start_more_time_than_its_load_may_take() {
        let unit = include_str!("../../../../../systemd/remitd.service");
        let mut lines = unit.lines();
        let minutes =
            lines.find_map(|line| line.strip_prefix("TimeoutStartSec=")?.strip_suffix("min"));
        let minutes: u64 = minutes.unwrap().parse().unwrap();
        assert!(
            Duration::from_secs(60 * minutes) > START + PATIENCE,
            "{minutes} min"
        );
    }
}
