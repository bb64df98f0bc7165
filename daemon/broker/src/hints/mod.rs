//! Explains why a failed job was refused something, what permits it, and an alternative. Sources in the order of trust:
//! the warden's end record, the kernel audit, guesses from standard error (alone with status 0), program and profile.
//! Pure, on bounded bytes, linear: no answer reveals more about a path than its text and the profile do.

mod answer;
mod commands;
mod may_use;
mod merge;
pub(crate) mod notes;
mod shell_words;
pub(crate) mod stderr_patterns;
#[cfg(test)]
mod tests;

use remit_common::PRIVATE;
use remit_common::denial::{Denial, Layer, ProfileVisibility};
use remit_common::job_limit::JobLimit;
use remit_programs::{Alternative, Found, Topic};
use remit_wire::outcome::{Captured, Ending, State};

use crate::hints::stderr_patterns::{Kind, Said};
use answer::{Answer, View};
use merge::Merged;

pub use answer::{changes, granted, instead, protection, refused_anyway};
pub use commands::{Command, Commands};
pub use may_use::{MayUse, wanted, wants_change, works_in_copy};
pub use shell_words::{ShellWords, call_of_typed_name};

/// Lines of standard error that are parsed, for the head and for the tail.
const LINES: usize = 400;

/// Refusals of a job with status 0, as of a pipe: what it printed is there, but for that.
const OF_SUCCESS: usize = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub layer: Layer,
    pub operation: String,
    pub object: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub ending: &'a Ending,
    pub visibility: Option<&'a ProfileVisibility>,
    pub seen: &'a [Seen],
    pub commands: &'a Commands,
    pub may_use: &'a MayUse,
    /// Refusals in standard error, as [`said`] finds them.
    pub said: &'a [Said],
    /// The program wrote nothing on standard error.
    pub is_silent: bool,
}

/// Permissions of profile read, which no policy changes. For jobs whose end an earlier broker got.
pub fn visibility_of_read() -> ProfileVisibility {
    ProfileVisibility {
        profile: "read".into(),
        base: "read".into(),
        read: Vec::new(),
        write: Vec::new(),
        private: PRIVATE.map(str::to_owned).into(),
        sockets: Vec::new(),
        network: vec!["none".into()],
    }
}

/// Returns at most [`remit_common::caps::DENIALS`] refusals, without duplicates. Of several objects with one answer the
/// first is named, and the others are counted.
pub fn denials(evidence: &Evidence<'_>) -> Vec<Denial> {
    let ending = evidence.ending;
    if ending.has_succeeded() {
        return of_success(evidence);
    }
    let mut all = Merged::default();
    for known in &ending.denials {
        all.add_known(known.clone());
    }
    // A limit, a stop or an unknown end is not a failure by a refusal.
    let failed = matches!(ending.state, State::Exited | State::Signalled);
    let Some(view) = view(evidence).filter(|_| failed) else {
        return all.into_denials();
    };
    let mut guesses = guesses(evidence, &view);
    // A shell connects to a name cache at each start: any other refused call of a socket explains more.
    let mut seen: Vec<&Seen> = evidence.seen.iter().collect();
    seen.sort_by_key(|seen| seen.operation == "connect");
    for seen in seen {
        if let Some(fact) = fact(seen, &mut guesses, evidence.commands, &view) {
            all.add(fact, true);
        }
    }
    for (guess, of_file) in guesses {
        all.add(guess, of_file);
    }
    all.into_denials()
}

fn view<'a>(evidence: &Evidence<'a>) -> Option<View<'a>> {
    View::new(evidence.visibility?, evidence.may_use)
}

fn of_success(evidence: &Evidence<'_>) -> Vec<Denial> {
    let Some(view) = view(evidence) else {
        return Vec::new();
    };
    let said = evidence.said.iter();
    let guesses = said.filter_map(|said| of_said(said, evidence.commands, &view));
    guesses.map(|(guess, _)| guess).take(OF_SUCCESS).collect()
}

/// Returns true if standard error names a file that is missing in a directory of the job's own.
pub fn misses_private(evidence: &Evidence<'_>) -> bool {
    view(evidence).is_some_and(|view| {
        let path = |said: &Said| {
            said.object
                .as_deref()
                .is_some_and(|path| view.is_private(path))
        };
        let mut missing = evidence
            .said
            .iter()
            .filter(|said| said.kind == Kind::NoFile);
        missing.any(path)
    })
}

/// Returns the refusals in standard error, in the order of its lines. At most [`LINES`] of its head and of its tail are parsed.
pub fn said(stderr: &Captured) -> Vec<Said> {
    lines(stderr).filter_map(stderr_patterns::line).collect()
}

fn guesses(evidence: &Evidence<'_>, view: &View<'_>) -> Vec<(Denial, bool)> {
    let (commands, said) = (evidence.commands, evidence.said);
    if !said.is_empty() {
        let guesses = said.iter().filter_map(|said| of_said(said, commands, view));
        return guesses.collect();
    }
    // Standard error names no refusal: the program is blamed only if it was silent or cannot work at all.
    let sole = commands.sole().filter(|_| !view.is_copy());
    let answer = sole.and_then(|command| {
        let found = found(command).filter(|found| {
            let unheard = accepts(found.topic, Kind::Silent) && evidence.is_silent;
            unheard || is_hopeless(found.topic)
        })?;
        answer::of(&found, command, view)
    });
    let guess = answer.map(|answer| (answer.denial(None, true), false));
    guess.into_iter().collect()
}

/// Returns a refusal of the kernel audit if it explains the failure; it replaces the guess that it confirms. A refused
/// system call counts only if the output points to it.
fn fact(
    seen: &Seen,
    guesses: &mut Vec<(Denial, bool)>,
    commands: &Commands,
    view: &View<'_>,
) -> Option<Denial> {
    let is_socket = is_socket(&seen.operation);
    let confirms = |guess: &Denial| match (is_socket, &seen.object) {
        (true, _) => guess.layer == Layer::Network,
        (false, Some(object)) => guess.object.as_ref() == Some(object),
        (false, None) => {
            seen.layer == Layer::Seccomp && matches!(guess.layer, Layer::Seccomp | Layer::Identity)
        }
    };
    if let Some(at) = guesses.iter().position(|(guess, _)| confirms(guess)) {
        let (guess, _) = guesses.remove(at);
        return Some(Denial {
            layer: seen.layer,
            operation: seen.operation.clone(),
            guess: false,
            ..guess
        });
    }
    (seen.layer != Layer::Seccomp && !is_socket).then(|| of_kernel(seen, commands, view))
}

pub fn explained_commands<'a>(evidence: &Evidence<'a>, denials: &[Denial]) -> Vec<&'a Command> {
    let Some(view) = view(evidence) else {
        return Vec::new();
    };
    let is_explained = |command: &&Command| {
        let found = found(command);
        let own = found
            .as_ref()
            .and_then(|found| answer::of(found, command, &view));
        let of_bus = found.map(|found| answer::bus_call(Some(found), &view));
        let is_shown = |answer: Answer| denials.iter().any(|denial| answer.is(denial));
        own.into_iter().chain(of_bus).any(is_shown)
    };
    evidence.commands.iter().filter(is_explained).collect()
}

fn lines(stderr: &Captured) -> impl Iterator<Item = &[u8]> {
    let split = |byte: &u8| *byte == b'\n' || *byte == b'\r';
    let head = stderr.head.split(split).take(LINES);
    let tail = stderr.tail.rsplit(split).take(LINES);
    head.chain(tail)
}

fn command_of<'a>(said: &Said, commands: &'a Commands) -> Option<&'a Command> {
    let by = said.by.as_deref().unwrap_or_default();
    let named = commands.iter().find(|command| command.name == by);
    named.or_else(|| commands.sole()).or_else(|| {
        let mut fitting = commands.iter().filter(|command| {
            let is_own = said.kind != Kind::Denied && said.kind != Kind::ReadOnly;
            is_own && found(command).is_some_and(|found| accepts(found.topic, said.kind))
        });
        fitting.next()
    })
}

fn of_said(said: &Said, commands: &Commands, view: &View<'_>) -> Option<(Denial, bool)> {
    let object = said.object.clone();
    if view.is_copy() {
        let answer = in_copy(said, view)?;
        return Some((answer.denial(object, true), true));
    }
    let command = command_of(said, commands);
    if said.kind == Kind::BusCall {
        let answer = answer::bus_call(command.and_then(found), view);
        return Some((answer.denial(object, true), false));
    }
    let found = command
        .and_then(found)
        .filter(|found| accepts(found.topic, said.kind));
    if let Some((found, command)) = found.zip(command) {
        match answer::of(&found, command, view) {
            Some(answer) => return Some((answer.denial(object, true), false)),
            None if said.kind == Kind::NoNetwork => return None,
            None => {}
        }
    }
    let answer = without_program(said, view)?;
    Some((answer.denial(object, true), true))
}

/// In a copy only what it hides or lacks is refused, and what exceeds a limit.
fn in_copy(said: &Said, view: &View<'_>) -> Option<Answer> {
    match said.kind {
        Kind::Denied => said
            .object
            .as_deref()
            .filter(|object| object.starts_with('/'))
            .map(|_| answer::hidden(view)),
        Kind::NoService => Some(answer::no_service(view)),
        Kind::NoNetwork => answer::network(view, None),
        Kind::NoSpace => {
            let is_private = said
                .object
                .as_deref()
                .is_some_and(|path| view.is_private(path));
            let limit = match is_private {
                true => JobLimit::Tmp,
                false => JobLimit::Space,
            };
            Some(answer::bound(limit, view))
        }
        kind => limit_of(kind).map(|limit| answer::bound(limit, view)),
    }
}

/// Returns the limit of each job that causes it.
fn limit_of(kind: Kind) -> Option<JobLimit> {
    match kind {
        Kind::NoDescriptor => Some(JobLimit::Files),
        Kind::NoMemory => Some(JobLimit::Memory),
        Kind::NoTask => Some(JobLimit::Tasks),
        _ => None,
    }
}

fn without_program(said: &Said, view: &View<'_>) -> Option<Answer> {
    let object = said.object.as_deref();
    let path = object.filter(|object| object.starts_with('/'));
    match said.kind {
        Kind::ReadOnly => Some(answer::write(Layer::Mounts, object, view)),
        Kind::Denied => {
            let path = path?;
            match said.change && !view.writes(path) {
                true => Some(answer::write(denied_by(view), Some(path), view)),
                false => Some(answer::open(path, view)),
            }
        }
        Kind::NotPermitted | Kind::NeedsRoot => Some(answer::privileged(view)),
        Kind::NoNetwork => {
            let host = object.filter(|object| answer::is_word(object));
            answer::network(view, host.map(str::to_owned))
        }
        Kind::NoFile => path
            .filter(|path| view.hides(path))
            .map(|_| answer::unseen(view)),
        Kind::NoSpace => path
            .filter(|path| {
                view.is_private(path) || (view.base() == "read" && view.write().is_empty())
            })
            .map(|_| answer::bound(JobLimit::Tmp, view)),
        Kind::NoDescriptor | Kind::NoMemory | Kind::NoTask => {
            limit_of(said.kind).map(|limit| answer::bound(limit, view))
        }
        Kind::NoService | Kind::BusCall | Kind::NoUser | Kind::NoAccount | Kind::Silent => None,
    }
}

fn denied_by(view: &View<'_>) -> Layer {
    match view.base() {
        // The job's uid owns nothing, and the kernel checks file permissions before Landlock.
        "read" => Layer::Identity,
        _ => Layer::Landlock,
    }
}

fn of_kernel(seen: &Seen, commands: &Commands, view: &View<'_>) -> Denial {
    let is_socket = is_socket(&seen.operation);
    let of_program = commands.sole().and_then(|command| {
        let answer = answer::of(&found(command)?, command, view)?;
        // A network answer does not explain a refused write.
        answer.fits(is_socket).then_some(answer)
    });
    let object = seen.object.as_deref();
    let answer = of_program.or_else(|| match seen.operation.as_str() {
        _ if is_socket => answer::network(view, None),
        "open" | "read" | "execute" => object.map(|object| answer::open(object, view)),
        operation if is_change(operation) => Some(answer::write(seen.layer, object, view)),
        _ => None,
    });
    let denial = answer
        .unwrap_or_else(|| answer::privileged(view))
        .denial(seen.object.clone(), false);
    Denial {
        layer: seen.layer,
        operation: seen.operation.clone(),
        object: object
            .filter(|object| answer::is_word(object))
            .map(str::to_owned)
            .or(denial.object),
        ..denial
    }
}

fn is_socket(operation: &str) -> bool {
    ["socket", "connect", "socketpair", "bind", "listen"].contains(&operation)
}

fn is_change(operation: &str) -> bool {
    [
        "write", "creat", "make", "remove", "truncat", "refer", "rename", "unlink", "chmod",
        "chown",
    ]
    .iter()
    .any(|word| operation.contains(word))
}

/// Returns the topic of a command, and the command of remit that answers it; `None` if it depends only on files.
fn found(command: &Command) -> Option<Found> {
    remit_programs::found(&command.name, &command.args)
}

pub fn alternative(argv: &[&[u8]]) -> Option<Alternative> {
    found_in(argv)?.0.alternative
}

/// Returns what is known of the one program that this argv starts, and its name.
pub fn found_in(argv: &[&[u8]]) -> Option<(Found, String)> {
    let commands = Commands::of_argv(argv);
    let command = commands.sole()?;
    Some((found(command)?, command.name.clone()))
}

/// Returns true if the programs cannot work in any sandbox, whatever they print.
fn is_hopeless(topic: Topic) -> bool {
    matches!(
        topic,
        Topic::Users | Topic::Reboot | Topic::Stop | Topic::Packets
    )
}

fn accepts(topic: Topic, kind: Kind) -> bool {
    use Kind::{
        Denied, NeedsRoot, NoAccount, NoNetwork, NoService, NoUser, NotPermitted, ReadOnly, Silent,
    };
    let kinds: &[Kind] = match topic {
        Topic::Network => &[NoNetwork, NoAccount, NotPermitted, Silent],
        Topic::Resolver => &[NoNetwork, NotPermitted, Silent],
        Topic::Index => &[NoNetwork],
        Topic::Packets => &[NoNetwork, NotPermitted, Denied, NeedsRoot, Silent],
        Topic::Units | Topic::Bus => &[NoService, Denied, NotPermitted, NoNetwork],
        Topic::UnitChange => &[
            NoService,
            Denied,
            NotPermitted,
            NoNetwork,
            NeedsRoot,
            ReadOnly,
        ],
        Topic::Containers | Topic::Services => {
            &[NoService, Denied, NotPermitted, NoNetwork, NeedsRoot]
        }
        Topic::Packages | Topic::PackageLists | Topic::PackageState => {
            &[Denied, NeedsRoot, ReadOnly, NotPermitted, NoNetwork]
        }
        Topic::Users | Topic::Reboot | Topic::Stop => &[
            Denied,
            NeedsRoot,
            ReadOnly,
            NotPermitted,
            NoUser,
            NoAccount,
            NoService,
            NoNetwork,
        ],
        Topic::Accounts | Topic::Crontab | Topic::AtQueue => {
            &[Denied, NeedsRoot, ReadOnly, NotPermitted, NoAccount, NoUser]
        }
        Topic::Account => &[NoAccount],
        Topic::Firewall | Topic::Interfaces | Topic::InterfaceQuery | Topic::IoCounters => {
            &[NoNetwork, NotPermitted, Denied, NeedsRoot]
        }
        Topic::Mounts | Topic::Machine | Topic::Modules | Topic::Namespaces | Topic::Disks => {
            &[NotPermitted, Denied, NeedsRoot, NoAccount, ReadOnly]
        }
        Topic::KernelLog
        | Topic::Trace
        | Topic::Signal
        | Topic::Descriptors
        | Topic::MemoryMaps
        | Topic::CoreFiles => &[NotPermitted, Denied, NeedsRoot],
        Topic::ConfigTest | Topic::RootFiles | Topic::Sysctl => {
            &[Denied, ReadOnly, NotPermitted, NeedsRoot]
        }
        Topic::Follow
        | Topic::HiddenColumns
        | Topic::HostKeys
        | Topic::InitScripts
        | Topic::JournalChange
        | Topic::LockFiles
        | Topic::Locks
        | Topic::MountTable
        | Topic::NamespaceList
        | Topic::OwnLimits
        | Topic::PackageFiles
        | Topic::PrivateTmp
        | Topic::SocketOwners
        | Topic::Wal => &[],
    };
    kinds.contains(&kind)
}
