//! Why a job that failed was refused something, what lifts that, and what to do instead.
//!
//! In the order of trust: what the warden says of its end, what the kernel's audit says, and then a guess: what the
//! job wrote to standard error, which program it was, and what its profile lets it do, by their texts alone. Pure
//! functions on bounded bytes, in linear time; the file system is never asked, so no answer tells more of a path than
//! its text and the profile do. A job that succeeded costs nothing.

mod answer;
mod commands;
mod said;
#[cfg(test)]
mod tests;
mod topic;
mod view;

use remit_common::caps;
use remit_common::denial::{Denial, Layer, Sight};
use remit_common::outcome::{Captured, Ending, State};

use answer::{Answer, Bound};
pub use commands::{Command, Commands};
use said::{Kind, Said};
use topic::Topic;
use view::View;

/// Lines of standard error that are looked at, of its head and of its tail.
const LINES: usize = 400;

/// Objects that are told of one answer.
const OBJECTS: usize = 3;

/// Something that the kernel's audit saw refused to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What said no.
    pub layer: Layer,
    /// What was tried, in a word.
    pub operation: String,
    /// On what, as far as it may be told.
    pub object: Option<String>,
}

/// All that is known of a job that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// How it ended.
    pub ending: &'a Ending,
    /// What its profile lets it do, where that is known.
    pub sight: Option<&'a Sight>,
    /// What the kernel saw.
    pub seen: &'a [Seen],
    /// What it executed.
    pub commands: &'a Commands,
    /// Its standard error, as it is shown.
    pub stderr: &'a Captured,
}

/// What every job in profile read may, which no file of the policy changes: for one whose warden told another broker.
pub fn sight_of_read() -> Sight {
    Sight {
        profile: "read".into(),
        base: "read".into(),
        read: Vec::new(),
        write: Vec::new(),
        private: ["/tmp", "/var/tmp", "/dev/shm"].map(str::to_owned).into(),
        sockets: Vec::new(),
        network: vec!["none".into()],
    }
}

/// What was refused to it, at most [`caps::DENIALS`], each once.
pub fn denials(evidence: &Evidence<'_>) -> Vec<Denial> {
    let ending = evidence.ending;
    if ending.state == State::Exited && ending.exit == Some(0) {
        return Vec::new();
    }
    let mut all = Denials::default();
    all.0
        .extend(ending.denials.iter().take(caps::DENIALS).cloned());
    // What a limit ended, a person stopped or nobody saw the end of did not fail by a refusal.
    let failed = matches!(ending.state, State::Exited | State::Signalled);
    let Some(view) = evidence.sight.and_then(View::of).filter(|_| failed) else {
        return all.0;
    };
    let mut guesses = guesses(evidence, &view);
    for seen in evidence.seen {
        if let Some(fact) = fact(seen, &mut guesses, evidence.commands, &view) {
            all.add(fact, true);
        }
    }
    for (guess, of_file) in guesses {
        all.add(guess, of_file);
    }
    all.0
}

/// What its standard error and its programs lead to, and of which each object counts.
fn guesses(evidence: &Evidence<'_>, view: &View<'_>) -> Vec<(Denial, bool)> {
    let commands = evidence.commands;
    let said: Vec<Said> = lines(evidence.stderr).filter_map(said::line).collect();
    if !said.is_empty() {
        let guesses = said.iter().filter_map(|said| of_said(said, commands, view));
        return guesses.collect();
    }
    // It said nothing of a refusal: then a program that needs what there is not failed for that, if it was silent.
    let answer = commands.sole().and_then(|command| {
        let topic = Topic::of(command).filter(|topic| {
            let unheard = topic.accepts(Kind::Silent) && evidence.stderr.total == 0;
            unheard || topic.is_hopeless()
        })?;
        answer::of(topic, command, view)
    });
    let guess = answer.map(|answer| (answer.denial(None, true), false));
    guess.into_iter().collect()
}

/// What the kernel saw refused, where it was why the job failed: it takes the place of the guess that it confirms.
/// Programs try things that they can do without, such as a socket to a cache of names at each start of a shell; of
/// system calls only those count that the job itself spoke of.
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

/// The commands for which a denial speaks already.
pub fn told<'a>(evidence: &Evidence<'a>, denials: &[Denial]) -> Vec<&'a Command> {
    let Some(view) = evidence.sight.and_then(View::of) else {
        return Vec::new();
    };
    let is_told = |command: &&Command| {
        let answer = Topic::of(command).and_then(|topic| answer::of(topic, command, &view));
        answer.is_some_and(|answer| denials.iter().any(|denial| answer.is(denial)))
    };
    evidence.commands.iter().filter(is_told).collect()
}

/// Denials so far: each once, the more trusted first.
#[derive(Default)]
struct Denials(Vec<Denial>);

impl Denials {
    /// Adds one, unless it is told already: of what hangs on the program, once; of files, each.
    fn add(&mut self, denial: Denial, of_file: bool) {
        let told = |known: &Denial| {
            let answer = known.rule == denial.rule && known.next == denial.next;
            let object = known.object == denial.object;
            (answer && (object || !of_file)) || (denial.guess && !known.guess && (object || answer))
        };
        let answer = |known: &&Denial| known.rule == denial.rule && known.next == denial.next;
        let few = self.0.iter().filter(answer).count() < OBJECTS;
        if self.0.len() < caps::DENIALS && few && !self.0.iter().any(told) {
            self.0.push(denial);
        }
    }
}

/// Whole lines of the head, and of the tail.
fn lines(stderr: &Captured) -> impl Iterator<Item = &[u8]> {
    let split = |byte: &u8| *byte == b'\n' || *byte == b'\r';
    let head = stderr.head.split(split).take(LINES);
    let tail = stderr.tail.rsplit(split).take(LINES);
    head.chain(tail)
}

/// The command that a line is of: by the name that it begins with, else the only one there is.
fn command_of<'a>(said: &Said, commands: &'a Commands) -> Option<&'a Command> {
    let by = said.by.as_deref().unwrap_or_default();
    let named = commands.iter().find(|command| command.name == by);
    // The programs that others execute, and libraries, begin their lines otherwise.
    named.or_else(|| commands.sole()).or_else(|| {
        let mut fitting = commands.iter().filter(|command| {
            Topic::of(command).is_some_and(|topic| {
                topic.accepts(said.kind) && said.kind != Kind::Denied && said.kind != Kind::ReadOnly
            })
        });
        fitting.next()
    })
}

fn of_said(said: &Said, commands: &Commands, view: &View<'_>) -> Option<(Denial, bool)> {
    let object = said.object.clone();
    let command = command_of(said, commands);
    let topic = command
        .and_then(Topic::of)
        .filter(|topic| topic.accepts(said.kind));
    if let Some((topic, command)) = topic.zip(command)
        && let Some(answer) = answer::of(topic, command, view)
    {
        return Some((answer.denial(object, true), false));
    }
    let answer = without_program(said, view)?;
    Some((answer.denial(object, true), true))
}

/// By the kind of the refusal and its object alone.
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
        Kind::NoNetwork => answer::network(view, None),
        Kind::NoFile => path
            .filter(|path| view.hides(path))
            .map(|_| answer::unseen(view)),
        Kind::NoSpace => path
            .filter(|path| {
                view.is_private(path) || (view.base() == "read" && view.write().is_empty())
            })
            .map(|_| answer::bound(&Bound::Tmp, view)),
        Kind::NoDescriptor => Some(answer::bound(&Bound::Files, view)),
        Kind::NoMemory => Some(answer::bound(&Bound::Memory, view)),
        Kind::NoTask => Some(answer::bound(&Bound::Tasks, view)),
        Kind::NoService | Kind::NoUser | Kind::NoAccount | Kind::Silent => None,
    }
}

/// What refuses a write with EACCES.
fn denied_by(view: &View<'_>) -> Layer {
    match view.base() {
        // Its own uid owns nothing: the kernel asks for that before it asks anything else.
        "read" => Layer::Identity,
        _ => Layer::Landlock,
    }
}

fn of_kernel(seen: &Seen, commands: &Commands, view: &View<'_>) -> Denial {
    let is_socket = is_socket(&seen.operation);
    let of_program = commands.sole().and_then(|command| {
        let answer = answer::of(Topic::of(command)?, command, view)?;
        // A program that wants a network was not refused that where it wrote a file.
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
