//! Sentences about what will run, for the approver, most serious first. A request without them may still be harmful.

mod argument;
mod character;
mod program;

use std::path::Path;

use remit_approval::{ActContext, ApprovalRequest, arguments_sentence};
use remit_common::engines;
use remit_common::escape::words;
use remit_policy::{Base, Eyes, Listed, Profile, User};

use crate::describe::{capability, reaches, some, unconfined, user_name};
use crate::hex;
use crate::shown::hash_of_all;
use crate::verified::Verified;
use crate::view::ARGUMENTS_CUT;

const SENTENCE: usize = 500;
const ALL: usize = 6 << 10;
/// Sockets of services that do anything for a client that is root, and of one that does so for every user, as engines do.
const ROOTS_MASTERS: [&str; 2] = ["/run/dbus/system_bus_socket", "/run/systemd/private"];
const LIBVIRT: &str = "/run/libvirt/libvirt-sock";
const REMIT: &[u8] = b"remitd";
/// More arguments than fit on a screen, each on its line, so that one among them is easily missed.
const MANY: usize = 32;

/// `shown`: number of argv elements that are shown.
pub fn risks(verified: &Verified, shown: usize) -> Vec<String> {
    let Verified {
        request, context, ..
    } = verified;
    let profile = &context.profile;
    let argv: Vec<&[u8]> = request.argv.iter().map(|arg| arg.as_bytes()).collect();
    let mut all = Vec::new();
    // What root can do without a sandbox, or on the bus, is not a risk of each request if only remit's own program
    // can use it: its definition says so. A one-off change has none.
    let is_own = context.is_own_program && request.command.is_some();
    if !is_own {
        all.extend(no_sandbox(profile));
    }
    all.extend(program::acts(&argv));
    let script = verified.script.iter().map(Vec::as_slice);
    let executed = argv.iter().copied().chain(script);
    let (named, jobs) = (names_remit(profile, executed), &context.host_jobs);
    let cut_jobs = cuts(jobs, named.is_some(), &argv);
    all.extend(named.into_iter().chain(cut_jobs));
    all.extend(context.acts.iter().flat_map(|act| of_act(act, jobs)));
    all.extend(verified.context.required.iter().cloned());
    all.extend(hidden(&argv, shown));
    // Their arguments are the policy's, and the page shows what they change.
    let has_plan = verified.plan().is_some() || verified.withheld_plan().is_some();
    let is_file_change = is_own && (has_plan || verified.is_undo());
    if !is_file_change {
        all.extend(remit_approval::sentences(&context.loose));
    }
    let reason = request.reason.as_deref().unwrap_or_default();
    all.extend(character::reason_notes(reason));
    all.extend(program::executes(verified, &argv));
    all.extend(sandbox(profile, is_own));
    all.extend(runtime(verified));
    let plain = match is_file_change {
        true => Vec::new(),
        false => plain(request, &argv),
    };
    all.extend(argument::notes(&plain));
    all.extend(character::notes(&plain));
    all.extend(character::right_to_left_parts(verified));
    all.extend(unseen(request));
    all.extend(login(verified));
    cut(all)
}

/// Returns a sentence for each check of the plan that did not end well.
pub fn failed_checks(verified: &Verified) -> Vec<String> {
    let checks = verified.context.checks.iter();
    let failed = checks.filter(|check| !check.is_well);
    cut(failed
        .map(|check| format!("check of exactly these files: {}", check.text))
        .collect())
}

fn no_sandbox(profile: &Profile) -> Option<String> {
    (profile.base == Base::Host)
        .then(|| format!("no sandbox: it runs as {}", unconfined(&profile.user)))
}

/// Reports what a command is known to do that follows a commit.
fn of_act(act: &ActContext, jobs: &[String]) -> Vec<String> {
    let argv: Vec<&[u8]> = act.argv.iter().map(|arg| arg.as_slice()).collect();
    let mut all = Vec::new();
    if !act.is_own_program {
        all.extend(no_sandbox(&act.profile));
    }
    all.extend(program::acts(&argv));
    let named = names_remit(&act.profile, argv.iter().copied());
    let cut = cuts(jobs, named.is_some(), &argv);
    all.extend(named.into_iter().chain(cut));
    // The arguments are on a line of their own. With them, a summary of one line would show nothing else.
    let name = act.text.split(' ').next().unwrap_or_default();
    let name = words(name, SENTENCE / 2);
    all.into_iter()
        .map(|sentence| format!("then {name}: {sentence}"))
        .collect()
}

/// Reports a change without a sandbox that may stop remit, which ends the change as well.
fn names_remit<'a>(profile: &Profile, mut texts: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let has = |bytes: &[u8]| bytes.windows(REMIT.len()).any(|part| part == REMIT);
    let is_unconfined = profile.base == Base::Host;
    (is_unconfined && texts.any(has)).then(|| {
        "it names remitd: a stop or restart of remitd ends all jobs and all requests that wait; it waits for changes \
         without a sandbox, such as this one, for jobs.stop_wait_s of remit.toml at most"
            .into()
    })
}

/// Reports jobs that end with remit, if the change may stop or restart it.
fn cuts(jobs: &[String], names_remit: bool, argv: &[&[u8]]) -> Option<String> {
    let is_risk = names_remit || program::changes_packages(argv);
    (is_risk && !jobs.is_empty()).then(|| {
        format!(
            "a restart of remitd by it would cut these jobs without a sandbox, which run now: {}",
            jobs.join(", ")
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
            let all = hex(&hash_of_all(argv.iter().copied()));
            Some(format!("{more} of {count} {ARGUMENTS_CUT}{all}"))
        }
    }
}

fn sandbox(profile: &Profile, is_own: bool) -> Vec<String> {
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
    let inspects = profile
        .inspect
        .map(|inspect| format!("it sees {}", inspect.meaning()));
    all.extend(inspects);
    if profile.eyes == Eyes::Root {
        all.push(
            "it reads every file of this machine as root does, private keys too, and the requester learns what it says"
                .into(),
        );
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
fn runtime(verified: &Verified) -> Option<String> {
    let usual = verified.context.usual_runtime_s?;
    let seconds = verified.request.runtime_s;
    Some(format!(
        "it is ended after {seconds} s, finished or not, as the requester asked; the default is {usual} s"
    ))
}

fn master(profile: &Profile) -> Option<&'static str> {
    let is_root = matches!(profile.user, User::Fixed { uid: 0, .. });
    let of_root = ROOTS_MASTERS.iter().filter(|_| is_root);
    let mut known = of_root.chain(&engines::SOCKETS).chain([&LIBVIRT]).copied();
    known.find(|socket| {
        let leads_there = |listed: &Listed| Path::new(socket).starts_with(&listed.path);
        profile.sockets.iter().any(leads_there)
    })
}

fn plain<'a>(request: &ApprovalRequest, argv: &[&'a [u8]]) -> Vec<Numbered<'a>> {
    let secret = secrets(request);
    // The path of a script is remit's own.
    let is_script = |at: usize| request.script.is_some() && at == 1;
    let all = argv.iter().copied().enumerate();
    all.filter(|(at, _)| !secret.contains(at) && !is_script(*at))
        .collect()
}

fn secrets(request: &ApprovalRequest) -> Vec<usize> {
    request.secrets().map(|(index, _)| index).collect()
}

fn unseen(request: &ApprovalRequest) -> Vec<String> {
    let stdin = request.secret_stdin.as_ref();
    let stdin = stdin.map(|_| "standard input is a secret of the requester and not shown");
    let arguments = arguments_sentence(
        &secrets(request),
        "is a secret of the requester and not shown",
        "are secrets of the requester and not shown",
    );
    stdin
        .map(str::to_owned)
        .into_iter()
        .chain(arguments)
        .collect()
}

fn login(verified: &Verified) -> Option<String> {
    let uid = verified.request.requester_uid;
    match verified.context.loginuid {
        Some(login) if login != uid => Some(format!(
            "the requester is uid {uid}, but logged in as uid {login}"
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
