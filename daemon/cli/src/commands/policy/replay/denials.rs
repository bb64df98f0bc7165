//! Requests that were refused or approved again and again, in families: the same but for one word. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use remit_common::refusal::Code;
use remit_common::signed::Signed;
use remit_wire::Effect;

use super::judge::{CannotTell, NewVerdict};
use super::past::{PastRequest, PastVerdict, PastWhat, RecordedValue};

const INVALID: &str = Code::InvalidArgs.as_str();
/// Fewer requests make no candidate.
pub const LEAST: u64 = 3;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FamilyKind {
    /// Argument lists of one program and length.
    Program {
        program: String,
        words: usize,
        effect: EffectWord,
        profile: String,
        cwd: String,
        /// Who could approve it, if it was approved.
        by: Option<String>,
        signed: Option<Signed>,
    },
    /// Calls of a command with these arguments.
    Named {
        name: String,
        effect: EffectWord,
        args: Vec<String>,
    },
}

/// `Effect` has no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EffectWord {
    Read,
    Change,
}

impl EffectWord {
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Change)
    }
}

impl From<Effect> for EffectWord {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Read,
            Effect::Change => Self::Change,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    pub user: String,
    pub uid: u32,
}

/// Requests that one candidate covers, and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    pub kind: FamilyKind,
    /// What was seen: argument lists, or values of the arguments. They differ at one position at most.
    pub words: Vec<Vec<String>>,
    pub askers: BTreeSet<Asker>,
    pub tally: Tally,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    pub last_ms: Option<u64>,
    pub last_seq: Option<u64>,
    pub example: String,
    /// Codes of refusals, or `approved`.
    pub ends: BTreeSet<String>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        if other.last_seq >= self.last_seq {
            self.last_ms = other.last_ms;
            self.last_seq = other.last_seq;
            self.example.clone_from(&other.example);
        }
        self.ends.extend(other.ends.iter().cloned());
    }
}

/// Why requests make no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoCandidate {
    Script,
    Input,
    Variables,
    Inexact,
    Try,
    Builtin,
    Arguments,
    AskedByRule,
    AllowedNow,
    Untold(CannotTell),
}

impl fmt::Display for NoCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Script => "a script is no list of words: install it, and make a [[command]] of it",
            Self::Input => "it had standard input, of which the record has only a hash",
            Self::Variables => "it set variables: a command has its own, in 'env'",
            Self::Inexact => "the record does not have it as it was: hidden, escaped or truncated",
            Self::Try => "remit try is for root alone",
            Self::Builtin => "a built-in command is granted by its name, or with 'run'",
            Self::Arguments => "the command's definition refuses it, which no grant changes",
            Self::AskedByRule => {
                "a rule asks for an approval of it, and another rule takes none away: change that rule, or use remit grant"
            }
            Self::AllowedNow => "this policy does not refuse it",
            Self::Untold(why) => return why.fmt(f),
        })
    }
}

#[derive(Debug, Default)]
pub struct RepeatedDenials {
    /// Asked for, and not approved yet.
    waiting: BTreeMap<String, PastRequest>,
    seen: BTreeMap<(FamilyKind, Asker), BTreeMap<Vec<String>, Tally>>,
    pub left_out: BTreeMap<NoCandidate, (u64, String)>,
}

impl RepeatedDenials {
    /// Takes a request that was refused at once. One that waits for a person counts once it is approved.
    pub fn add(
        &mut self,
        request: PastRequest,
        now: impl FnOnce(&PastRequest) -> Result<NewVerdict, CannotTell>,
    ) {
        match (&request.past, &request.job) {
            (PastVerdict::Refused(_), _) => {
                let now = now(&request);
                self.keep(&request, now);
            }
            (PastVerdict::Asked, Some(job)) => drop(self.waiting.insert(job.clone(), request)),
            (PastVerdict::Asked | PastVerdict::Allowed, _) => {}
        }
    }

    pub fn approved(
        &mut self,
        job: &str,
        now: impl FnOnce(&PastRequest) -> Result<NewVerdict, CannotTell>,
    ) {
        if let Some(request) = self.waiting.remove(job) {
            let now = now(&request);
            self.keep(&request, now);
        }
    }

    /// Forgets a request, of which a long log has many.
    pub fn lapsed(&mut self, job: &str) {
        self.waiting.remove(job);
    }

    fn keep(&mut self, request: &PastRequest, now: Result<NewVerdict, CannotTell>) {
        match member(request, now) {
            Ok((key, words)) => {
                let end = match &request.past {
                    PastVerdict::Refused(code) => code.clone(),
                    PastVerdict::Asked | PastVerdict::Allowed => "approved".to_owned(),
                };
                let tally = Tally {
                    count: 1,
                    last_ms: request.at_ms,
                    last_seq: request.seq,
                    example: request.shown.clone(),
                    ends: BTreeSet::from([end]),
                };
                let words = self.seen.entry(key).or_default().entry(words);
                words.or_default().add(&tally);
            }
            Err(why) => {
                let (count, example) = self.left_out.entry(why).or_default();
                *count += 1;
                example.clone_from(&request.shown);
            }
        }
    }

    /// Returns the families, those with the most requests first. The same requests of several users are one family.
    pub fn families(&self) -> Vec<Family> {
        let mut families: BTreeMap<FamilyKey<'_>, (BTreeSet<Asker>, Tally)> = BTreeMap::new();
        for ((kind, asker), seen) in &self.seen {
            for words in alike(seen) {
                let mut tally = Tally::default();
                words
                    .iter()
                    .filter_map(|words| seen.get(words))
                    .for_each(|one| tally.add(one));
                if tally.count >= LEAST {
                    let (askers, all) = families.entry((kind, words)).or_default();
                    askers.insert(asker.clone());
                    all.add(&tally);
                }
            }
        }
        let families = families.into_iter();
        let mut families: Vec<Family> = families
            .map(|((kind, words), (askers, tally))| Family {
                kind: kind.clone(),
                words,
                askers,
                tally,
            })
            .collect();
        families.sort_by_key(|family| std::cmp::Reverse(family.tally.count));
        families
    }
}

/// What users have to have asked for alike to be in one family.
type FamilyKey<'a> = (&'a FamilyKind, Vec<Vec<String>>);
type Member = ((FamilyKind, Asker), Vec<String>);

fn member(
    request: &PastRequest,
    now: Result<NewVerdict, CannotTell>,
) -> Result<Member, NoCandidate> {
    let is_approved = request.past == PastVerdict::Asked;
    match now {
        Ok(NewVerdict::Deny { .. }) => {}
        Ok(NewVerdict::Ask { .. }) if is_approved => {}
        Ok(NewVerdict::Allow { .. } | NewVerdict::Ask { .. }) => {
            return Err(NoCandidate::AllowedNow);
        }
        Err(why) => return Err(NoCandidate::Untold(why)),
    }
    let uid = request.uid.ok_or(NoCandidate::Untold(CannotTell::NoUid))?;
    let asker = Asker {
        user: request.user.clone(),
        uid,
    };
    let (effect, profile, env) = match &request.what {
        PastWhat::Run(_, _) if is_approved => return Err(NoCandidate::AskedByRule),
        PastWhat::Run(profile, env) => (EffectWord::Read, profile, env),
        PastWhat::OneOff(profile, env) => (EffectWord::Change, profile, env),
        PastWhat::Try(..) => return Err(NoCandidate::Try),
        PastWhat::Following => return Err(NoCandidate::Untold(CannotTell::Following)),
        PastWhat::Named { .. } if is_approved => return Err(NoCandidate::AskedByRule),
        PastWhat::Named { .. } if request.past == PastVerdict::Refused(INVALID.to_owned()) => {
            return Err(NoCandidate::Arguments);
        }
        PastWhat::Named {
            name,
            effect,
            args,
            has_stdin,
            has_env,
        } => {
            let RecordedValue::Known(args) = args else {
                return Err(NoCandidate::Inexact);
            };
            let mut args = args.clone();
            args.sort();
            let kind = FamilyKind::Named {
                name: name.clone(),
                effect: EffectWord::from(*effect),
                args: args.iter().map(|(name, _)| name.clone()).collect(),
            };
            return match (has_stdin, has_env) {
                (true, _) => Err(NoCandidate::Input),
                (_, true) => Err(NoCandidate::Variables),
                _ if remit_common::builtin::find(name).is_ok() => Err(NoCandidate::Builtin),
                _ => Ok((
                    (kind, asker),
                    args.into_iter().map(|(_, value)| value).collect(),
                )),
            };
        }
    };
    let program = &request.program;
    match env {
        _ if program.is_script => return Err(NoCandidate::Script),
        _ if program.has_stdin => return Err(NoCandidate::Input),
        RecordedValue::Known(names) if names.is_empty() => {}
        RecordedValue::Known(_) | RecordedValue::Unknown => return Err(NoCandidate::Variables),
    }
    let argv = program.argv.clone().ok_or(NoCandidate::Inexact)?;
    let kind = FamilyKind::Program {
        program: argv.first().cloned().ok_or(NoCandidate::Inexact)?,
        words: argv.len(),
        effect,
        profile: profile.clone(),
        cwd: program.cwd.clone(),
        by: program.by.clone(),
        signed: program.signed,
    };
    Ok(((kind, asker), argv))
}

/// Splits into lists that differ at one position at most. More than one would allow combinations that nobody asked for.
fn alike(seen: &BTreeMap<Vec<String>, Tally>) -> Vec<Vec<Vec<String>>> {
    let all: Vec<Vec<String>> = seen.keys().cloned().collect();
    match varying(&all).len() {
        0 | 1 => vec![all],
        _ => all.into_iter().map(|words| vec![words]).collect(),
    }
}

/// Returns the positions at which lists of one length differ.
pub fn varying(all: &[Vec<String>]) -> Vec<usize> {
    let Some((first, others)) = all.split_first() else {
        return Vec::new();
    };
    let differs = |at: &usize| others.iter().any(|other| other.get(*at) != first.get(*at));
    (0..first.len()).filter(differs).collect()
}
