//! Sentences about what will run, for the approver, most serious first. A request without them may still be
//! harmful.

mod argument;
mod character;
mod program;
pub mod unbound;

use std::collections::BTreeSet;
use std::path::Path;

use remit_policy::{Base, Listed, Profile, User};

use super::escape::words;
use super::shown::hash_of_all;
use crate::approval::describe::{capability, reaches, some, unconfined, user_name};
use crate::approval::file_hash::{FileFound, Loose, is_own_program};
use crate::audit::chain::hex;
use crate::request::{BoundCall, SlotWhat, Whole};

const SENTENCE: usize = 500;
const ALL: usize = 6 << 10;
/// Sockets of services that do anything for their clients: first for root, then for every user.
const ROOTS_MASTERS: [&str; 2] = ["/run/dbus/system_bus_socket", "/run/systemd/private"];
const MASTERS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/docker.sock",
    "/run/libvirt/libvirt-sock",
    "/run/lxd/unix.socket",
    "/run/podman/podman.sock",
];
const NAMED: usize = 6;
/// More arguments than fit on a screen, each on its line, so that one among them is easily missed.
const MANY: usize = 32;

/// `loose`: names that are not bound. `shown`: number of argv elements that are shown.
pub fn risks(
    whole: &Whole<'_>,
    files: &[FileFound],
    loose: &BTreeSet<Loose>,
    shown: usize,
) -> Vec<String> {
    let bound = whole.bound;
    let argv: Vec<&[u8]> = bound.argv.iter().map(|arg| arg.as_bytes()).collect();
    let mut all = Vec::new();
    // What root can do without a sandbox, or on the bus, is not a risk of each request if only remit's own program
    // can use it: its definition says so.
    let is_own = bound
        .argv
        .first()
        .is_some_and(|program| is_own_program(program));
    if !is_own {
        all.extend(no_sandbox(bound));
    }
    all.extend(program::acts(&argv));
    all.extend(hidden(&argv, shown));
    all.extend(unbound::sentences(loose));
    all.extend(character::reason_notes(whole.reason.unwrap_or_default()));
    all.extend(program::executes(whole, &argv, files));
    all.extend(sandbox(bound, is_own));
    all.extend(runtime(bound));
    let plain = plain(bound, &argv);
    all.extend(argument::notes(&plain));
    all.extend(character::notes(&plain));
    all.extend(unseen(bound));
    all.extend(login(whole));
    cut(all)
}

fn no_sandbox(bound: &BoundCall) -> Option<String> {
    let profile = bound.compiled.profile();
    (profile.base == Base::Host).then(|| {
        format!(
            "there is no sandbox: it runs as {}",
            unconfined(&profile.user)
        )
    })
}

fn hidden(argv: &[&[u8]], shown: usize) -> Option<String> {
    let count = argv.len();
    match count.saturating_sub(shown) {
        0 if count > MANY => Some(format!(
            "there are {count} arguments: read them to the last"
        )),
        0 => None,
        more => {
            let all = hex(&hash_of_all(argv));
            Some(format!(
                "{more} of {count} arguments are not shown; sha256 of all, each with a NUL byte after it: {all}"
            ))
        }
    }
}

fn sandbox(bound: &BoundCall, is_own: bool) -> Vec<String> {
    let profile = bound.compiled.profile();
    if profile.base == Base::Host {
        return Vec::new();
    }
    let paths = |listed: &[Listed]| {
        let all: Vec<_> = listed.iter().map(|one| one.path.clone()).collect();
        (!all.is_empty()).then(|| some(&all))
    };
    let mut all = Vec::new();
    let capabilities = profile.capability_names();
    let master = master(profile);
    let user = user_name(&profile.user);
    match (&profile.user, master) {
        _ if is_own => {}
        (User::Own, None) => {}
        (_, Some(master)) => all.push(format!(
            "as {user} it can make the service at {master} do anything on this machine: only its program limits \
             what it asks for"
        )),
        (User::Fixed { uid: 0, .. }, None) if capabilities.is_empty() => {
            all.push("it runs as root without capabilities, inside its sandbox".into());
        }
        (User::Fixed { uid: 0, .. }, None) => {
            all.push("it runs as root, inside its sandbox".into());
        }
        (User::Fixed { .. }, None) => all.push(format!(
            "it runs as {user} and can change this user's files and processes where its sandbox allows it"
        )),
    }
    all.extend(capabilities.iter().map(|name| match capability(name) {
        Some(does) => format!("it {does}"),
        None => format!("it has {name}, see capabilities(7)"),
    }));
    if let Some(paths) = paths(&profile.write) {
        all.push(format!("it can change files of this machine: {paths}"));
    }
    if profile.write_and_exec {
        all.push("it can execute files that it has changed".into());
    }
    let others = profile
        .sockets
        .iter()
        .filter(|socket| Some(socket.path.as_str()) != master);
    if let Some(sockets) = paths(&others.cloned().collect::<Vec<_>>()) {
        all.push(format!(
            "it can ask services outside its sandbox, which may do more than it can: {sockets}"
        ));
    }
    if let Some(devices) = paths(&profile.devices) {
        all.push(format!("it can use devices: {devices}"));
    }
    if let Some(to) = reaches(&profile.network) {
        all.push(format!(
            "it can send what it sees over the network: to {to}"
        ));
    }
    all
}

/// The requester chooses it, and a change that is ended early stays half done.
fn runtime(bound: &BoundCall) -> Option<String> {
    let usual = bound.runtime.other_than()?;
    let seconds = bound.runtime.seconds;
    Some(format!(
        "it is ended after {seconds} s, finished or not, as the requester asked; the default is {usual} s"
    ))
}

fn master(profile: &Profile) -> Option<&'static str> {
    let is_root = matches!(profile.user, User::Fixed { uid: 0, .. });
    let of_root = ROOTS_MASTERS.iter().filter(|_| is_root);
    let mut known = of_root.chain(&MASTERS).copied();
    known.find(|socket| {
        let leads_there = |listed: &Listed| Path::new(socket).starts_with(&listed.path);
        profile.sockets.iter().any(leads_there)
    })
}

fn plain<'a>(bound: &BoundCall, argv: &[&'a [u8]]) -> Vec<Numbered<'a>> {
    let secret = secrets(bound);
    let all = argv.iter().copied().enumerate();
    all.filter(|(at, _)| !secret.contains(at)).collect()
}

fn secrets(bound: &BoundCall) -> Vec<usize> {
    let is_secret = |what: &SlotWhat| matches!(what, SlotWhat::Secret(_));
    let slots = bound.slots.iter().filter(|slot| is_secret(&slot.what));
    slots.map(|slot| slot.index).collect()
}

fn unseen(bound: &BoundCall) -> Vec<String> {
    let stdin = bound.secret_stdin.as_ref();
    let stdin = stdin.map(|_| "standard input is a secret of the requester and not shown");
    let arguments = arguments_sentence(
        &secrets(bound),
        "is a secret of the requester and not shown",
        "are secrets of the requester and not shown",
    );
    stdin
        .map(str::to_owned)
        .into_iter()
        .chain(arguments)
        .collect()
}

fn login(whole: &Whole<'_>) -> Option<String> {
    let subject = whole.subject;
    match subject.loginuid() {
        Some(login) if login != subject.uid() => Some(format!(
            "the requester is uid {}, but logged in as uid {login}",
            subject.uid()
        )),
        Some(_) => None,
        None => Some("the requester did not log in: it is a service, a timer or a job".into()),
    }
}

/// The number is 0 for the program.
type Numbered<'a> = (usize, &'a [u8]);

fn about(
    argv: &[Numbered<'_>],
    is: impl Fn(&[u8]) -> bool,
    one: &str,
    many: &str,
) -> Option<String> {
    let found = argv.iter().filter(|(_, arg)| is(arg));
    arguments_sentence(&found.map(|(at, _)| *at).collect::<Vec<_>>(), one, many)
}

pub fn arguments_sentence(at: &[usize], one: &str, many: &str) -> Option<String> {
    let numbers = at.iter().take(NAMED).map(ToString::to_string);
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    Some(match (at, at.len().saturating_sub(NAMED)) {
        ([], _) => return None,
        ([0], _) => format!("the program's name {one}"),
        ([_], _) => format!("argument {numbers} {one}"),
        (_, 0) => format!("arguments {numbers} {many}"),
        (_, more) => format!("arguments {numbers} and {more} more {many}"),
    })
}

fn cut(all: Vec<String>) -> Vec<String> {
    let count = all.len();
    let mut free_bytes = ALL;
    let mut kept = Vec::new();
    for sentence in all {
        let sentence = words(&sentence, SENTENCE);
        let Some(left) = free_bytes.checked_sub(sentence.len() + 4) else {
            kept.push(format!("{} more notes are not shown", count - kept.len()));
            break;
        };
        free_bytes = left;
        kept.push(sentence);
    }
    kept
}

#[cfg(test)]
mod tests;
