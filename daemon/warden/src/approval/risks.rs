//! What an approver should think of: true, short sentences about what will run, most serious first.
//!
//! They are seen in the argv and the profile, and are no judgement: that there is none does not make
//! a request harmless. Pure.

mod argument;
mod character;
mod program;
mod reason;

use std::path::Path;

use remit_policy::{Base, Listed, Profile, User};

use super::escape::words;
use super::measure::FileFound;
use super::shown::hash_of_all;
use super::words::{capability, reaches, some, unconfined, user_name};
use crate::audit::chain::hex;
use crate::plan::{Bound, SlotWhat, Whole};

/// Of one sentence.
const SENTENCE: usize = 500;
/// Of all sentences.
const ALL: usize = 6 << 10;
/// Sockets of services that do anything for whoever may talk to them: for root, and for everybody.
const ROOTS_MASTERS: [&str; 2] = ["/run/dbus/system_bus_socket", "/run/systemd/private"];
const MASTERS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/docker.sock",
    "/run/libvirt/libvirt-sock",
    "/run/lxd/unix.socket",
    "/run/podman/podman.sock",
];
/// Arguments that a sentence names.
const NAMED: usize = 6;

/// The sentences. `loose`: those about what the arguments name and nobody binds. `shown`: so many elements of the argv
/// are shown.
pub fn risks(
    whole: &Whole<'_>,
    files: &[FileFound],
    loose: &[String],
    shown: usize,
) -> Vec<String> {
    let bound = whole.bound;
    let argv: Vec<&[u8]> = bound.argv.iter().map(|arg| arg.as_bytes()).collect();
    let mut all = Vec::new();
    all.extend(no_sandbox(bound));
    all.extend(program::acts(&argv));
    all.extend(hidden(&argv, shown));
    all.extend(loose.iter().cloned());
    all.extend(reason::notes(whole.reason.unwrap_or_default()));
    all.extend(program::executes(whole, &argv, files));
    all.extend(sandbox(bound));
    let plain = plain(bound, &argv);
    all.extend(argument::notes(&plain));
    all.extend(character::notes(&plain));
    all.extend(unseen(bound));
    all.extend(login(whole));
    cut(all)
}

fn no_sandbox(bound: &Bound) -> Option<String> {
    let profile = bound.compiled.profile();
    (profile.base == Base::Host).then(|| {
        format!(
            "no sandbox holds it: it runs as {}",
            unconfined(&profile.user)
        )
    })
}

/// What the argv has that is not shown.
fn hidden(argv: &[&[u8]], shown: usize) -> Option<String> {
    let more = argv.len().checked_sub(shown).filter(|more| *more > 0)?;
    let all = hex(&hash_of_all(argv));
    Some(format!(
        "{more} of {} arguments are not shown; sha256 of all, each with a NUL byte behind it: {all}",
        argv.len()
    ))
}

/// What the sandbox leaves open.
fn sandbox(bound: &Bound) -> Vec<String> {
    let profile = bound.compiled.profile();
    if profile.base == Base::Host {
        return Vec::new();
    }
    let paths = |listed: &[Listed]| {
        let all: Vec<_> = listed.iter().map(|one| one.path.clone()).collect();
        (!all.is_empty()).then(|| some(&all))
    };
    let mut all = Vec::new();
    if let Some(master) = master(profile) {
        all.push(format!(
            "what listens at {master} does anything on this machine for it: nothing but the program \
             limits what it asks for"
        ));
    }
    if let User::Fixed { uid: 0, .. } = profile.user {
        all.push("it runs as root, within its sandbox".into());
    } else if let User::Fixed { .. } = profile.user {
        let user = user_name(&profile.user);
        all.push(format!(
            "it runs as {user}, whose files and processes it can change where its sandbox lets it"
        ));
    }
    let capabilities = profile.capability_names();
    all.extend(
        capabilities
            .iter()
            .filter_map(|name| Some(format!("it {}", capability(name)?))),
    );
    if let Some(paths) = paths(&profile.write) {
        all.push(format!("it can change files of this machine: {paths}"));
    }
    if profile.write_and_exec {
        all.push("it can execute files that it has changed".into());
    }
    if let Some(sockets) = paths(&profile.sockets) {
        all.push(format!(
            "it can ask services outside of its sandbox, which may do more than it can: {sockets}"
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

/// A socket by which it could do all that it wants.
fn master(profile: &Profile) -> Option<&'static str> {
    let is_root = matches!(profile.user, User::Fixed { uid: 0, .. });
    let of_root = ROOTS_MASTERS.iter().filter(|_| is_root);
    let mut known = of_root.chain(&MASTERS).copied();
    known.find(|socket| {
        let leads_there = |listed: &Listed| Path::new(socket).starts_with(&listed.path);
        profile.sockets.iter().any(leads_there)
    })
}

/// The elements that are no secret, each with its number.
fn plain<'a>(bound: &Bound, argv: &[&'a [u8]]) -> Vec<Numbered<'a>> {
    let secret = secrets(bound);
    let all = argv.iter().copied().enumerate();
    all.filter(|(at, _)| !secret.contains(at)).collect()
}

fn secrets(bound: &Bound) -> Vec<usize> {
    let is_secret = |what: &SlotWhat| matches!(what, SlotWhat::Secret(_));
    let slots = bound.slots.iter().filter(|slot| is_secret(&slot.what));
    slots.map(|slot| slot.index).collect()
}

/// What nobody is shown.
fn unseen(bound: &Bound) -> Vec<String> {
    let stdin = bound.secret_stdin.as_ref();
    let stdin = stdin.map(|_| "standard input is a secret of the requester's, which is not shown");
    let arguments = told(
        &secrets(bound),
        "is a secret of the requester's, which is not shown",
        "are secrets of the requester's, which are not shown",
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
            "who asks is uid {}, but the one who logged in is uid {login}",
            subject.uid()
        )),
        Some(_) => None,
        None => Some(
            "nobody logged in to the session that asks: it is a service, a timer or a job".into(),
        ),
    }
}

/// An element of an argv with its number, 0 for the program.
type Numbered<'a> = (usize, &'a [u8]);

/// A sentence about the elements for which `is` holds.
fn about(
    argv: &[Numbered<'_>],
    is: impl Fn(&[u8]) -> bool,
    one: &str,
    many: &str,
) -> Option<String> {
    let found = argv.iter().filter(|(_, arg)| is(arg));
    told(&found.map(|(at, _)| *at).collect::<Vec<_>>(), one, many)
}

/// A sentence about the elements of these numbers: `one` about one of them, `many` about several.
fn told(at: &[usize], one: &str, many: &str) -> Option<String> {
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
    let mut room = ALL;
    let mut kept = Vec::new();
    for sentence in all {
        let sentence = words(&sentence, SENTENCE);
        let Some(left) = room.checked_sub(sentence.len() + 4) else {
            kept.push(format!("{} more notes are not shown", count - kept.len()));
            break;
        };
        room = left;
        kept.push(sentence);
    }
    kept
}

#[cfg(test)]
mod tests;
