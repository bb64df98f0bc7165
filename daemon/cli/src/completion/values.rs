//! Values that the daemon knows. It is asked as by any other verb, so it decides what the caller may see.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::names::Runtime;
use remit_common::{RELEASE, builtin, text};
use remit_wire::client::{self, Client};
use remit_wire::outcome::State;
use remit_wire::{Access, AccessReport, Effect, Reply, Request};

use crate::commands::grant;
use crate::render::units;

/// A shell waits no longer for the daemon.
const PATIENCE: Duration = Duration::from_millis(800);
/// Of the list of jobs, the newest.
const JOBS: usize = 50;
const HELP_BYTES: usize = 60;

#[derive(Clone, Copy, Debug)]
pub enum Values {
    Commands,
    Reads,
    Changes,
    ChangesOrArguments,
    /// `KEY=` of a named command; without one, programs and files.
    ArgumentsOrPrograms,
    Jobs,
    LiveJobs,
    Requests,
    Grants,
}

type Candidate = (String, String);

impl ValueCompleter for Values {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(begin) = current.to_str() else {
            return Vec::new();
        };
        let typed = Typed::of_process();
        let named = typed.named().map(str::to_owned);
        let found = match (self, named) {
            (Self::ArgumentsOrPrograms, None) => return programs(&typed, current),
            (Self::ArgumentsOrPrograms | Self::ChangesOrArguments, Some(name)) => {
                arguments(typed.runtime(), name)
            }
            (values, _) => values.of_daemon(typed.runtime()),
        };
        let found = found.unwrap_or_default();
        let fitting = found
            .into_iter()
            .filter(|(value, _)| value.starts_with(begin));
        let candidates = fitting.filter(|(value, _)| is_plain(value)).enumerate();
        candidates
            .map(|(order, (value, help))| {
                let help = text::line(help.as_bytes(), HELP_BYTES);
                CompletionCandidate::new(value)
                    .help((!help.is_empty()).then(|| help.into()))
                    .display_order(Some(order))
            })
            .collect()
    }
}

impl Values {
    fn of_daemon(self, runtime: Runtime) -> Option<Vec<Candidate>> {
        match self {
            Self::Commands => commands(runtime, None),
            Self::Reads => commands(runtime, Some(Effect::Read)),
            Self::Changes | Self::ChangesOrArguments => commands(runtime, Some(Effect::Change)),
            Self::Jobs => jobs(runtime, |_| true),
            Self::LiveJobs => jobs(runtime, |state| {
                state == State::Running || state.is_waiting()
            }),
            Self::Requests => requests(runtime),
            Self::Grants => grants(runtime),
            Self::ArgumentsOrPrograms => None,
        }
    }
}

/// A shell would have to quote anything else.
fn is_plain(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-=/+:@,".contains(c);
    !value.is_empty() && value.chars().all(is_plain)
}

/// Returns what `ask` returns, if that is soon. The thread ends with the process.
fn soon<T: Send + 'static>(ask: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    let (tell, answer) = mpsc::channel();
    thread::spawn(move || tell.send(ask()));
    answer.recv_timeout(PATIENCE).ok().flatten()
}

fn asked(runtime: &Runtime, request: Request) -> Option<Reply> {
    let mut client = Client::connect(&runtime.socket(), &format!("remit {RELEASE}")).ok()?;
    client.call(request, |_| ()).ok()
}

fn access(runtime: Runtime, name: Option<String>) -> Option<AccessReport> {
    let access = Access {
        argv: None,
        profile: None,
        name,
        // It finds words, and not all of them: a beginning of a name is searched for here.
        query: None,
    };
    soon(move || match asked(&runtime, Request::Access(access))? {
        Reply::Access(report) => Some(report),
        _ => None,
    })
}

fn commands(runtime: Runtime, effect: Option<Effect>) -> Option<Vec<Candidate>> {
    let Some(report) = access(runtime, None) else {
        let own = builtin::COMMANDS.iter();
        let own = own.filter(|_| effect != Some(Effect::Change));
        return Some(
            own.map(|one| (one.name.to_owned(), String::new()))
                .collect(),
        );
    };
    let commands = report.commands.into_iter();
    let commands = commands.filter(|one| effect.is_none_or(|effect| one.effect == effect));
    let named = commands.map(|one| (one.name().to_owned(), one.summary));
    Some(named.collect())
}

fn arguments(runtime: Runtime, name: String) -> Option<Vec<Candidate>> {
    let report = access(runtime, Some(name))?;
    let command = report.commands.first()?;
    let keys = command.usage.split(' ').skip(1).filter_map(|word| {
        let (key, _) = word.trim_start_matches('[').split_once('=')?;
        let described = command.args.iter().find_map(|line| {
            let (name, what) = line.split_once(": ")?;
            (name == key).then(|| what.to_owned())
        });
        Some((format!("{key}="), described.unwrap_or_default()))
    });
    Some(keys.collect())
}

fn administration(runtime: Runtime, request: AdminRequest) -> Option<AdminReply> {
    soon(move || client::admin(&runtime.admin_socket(), request).ok())
}

fn jobs(runtime: Runtime, is_wanted: impl Fn(State) -> bool) -> Option<Vec<Candidate>> {
    let limit = u32::try_from(JOBS).ok()?;
    let all = administration(runtime.clone(), AdminRequest::Jobs { limit });
    let jobs: Vec<(State, Candidate)> = match all {
        Some(AdminReply::Jobs { jobs, .. }) => jobs
            .into_iter()
            .map(|job| {
                let what = format!("{}: {}", job.user, job.command);
                (job.state, (job.job.to_string(), what))
            })
            .collect(),
        _ => match soon(move || asked(&runtime, Request::Jobs { limit }))? {
            Reply::Jobs(jobs) => jobs
                .into_iter()
                .map(|job| (job.state, (job.job_id.to_string(), job.command)))
                .collect(),
            _ => return None,
        },
    };
    let wanted = jobs.into_iter().filter(|(state, _)| is_wanted(*state));
    Some(wanted.map(|(_, found)| found).collect())
}

fn requests(runtime: Runtime) -> Option<Vec<Candidate>> {
    match administration(runtime, AdminRequest::Pending { seen: None })? {
        AdminReply::Pending { requests, .. } => Some(
            requests
                .into_iter()
                .map(|one| {
                    (
                        units::name(one.job),
                        format!("{}: {}", one.user, one.command),
                    )
                })
                .collect(),
        ),
        _ => None,
    }
}

fn grants(runtime: Runtime) -> Option<Vec<Candidate>> {
    match administration(runtime, AdminRequest::Grants)? {
        AdminReply::Grants(all) => Some(
            all.into_iter()
                .map(|one| {
                    let what = format!("{}: {}", grant::to(&one.new.to), grant::what(&one));
                    (one.grant.to_string(), what)
                })
                .collect(),
        ),
        _ => None,
    }
}

fn programs(typed: &Typed, current: &OsStr) -> Vec<CompletionCandidate> {
    let begin = current.to_string_lossy();
    if begin.contains('/') || !typed.is_program_next() {
        return PathCompleter::any().complete(current);
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&dirs).filter_map(|dir| dir.read_dir().ok());
    let names = entries.flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let fits = name.starts_with(&*begin) && is_plain(&name);
        let mode = fits.then(|| entry.path().metadata().ok())??.permissions();
        (mode.mode() & 0o111 != 0).then_some(name)
    });
    let names: BTreeSet<String> = names.collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

const WITH_VALUE: [&str; 12] = [
    "--runtime",
    "--name",
    "--reason",
    "-m",
    "--secret",
    "--timeout",
    "--request-id",
    "--env",
    "--cwd",
    "--profile",
    "--script",
    "--interpreter",
];

#[derive(Debug)]
pub struct Typed(Vec<String>);

impl Typed {
    /// Reads this process's arguments, as shells' scripts pass them: `remit -- remit WORD...`.
    pub fn of_process() -> Self {
        // Only zsh and bash say which word is completed; for fish it is the last.
        let index = std::env::var("_CLAP_COMPLETE_INDEX").ok();
        let index = index.and_then(|index| index.parse().ok());
        Self::of(std::env::args_os(), index)
    }

    fn of(args: impl Iterator<Item = OsString>, index: Option<usize>) -> Self {
        let words = args.skip_while(|word| word != "--").skip(1);
        let mut words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let index = index.unwrap_or(words.len().saturating_sub(1));
        words.truncate(index);
        Self(words)
    }

    pub fn runtime(&self) -> Runtime {
        let dir = self.value("--runtime");
        Runtime::new(dir.map_or_else(|| PathBuf::from(Runtime::DEFAULT), PathBuf::from))
    }

    pub fn named(&self) -> Option<&str> {
        if let Some(name) = self.value("--name") {
            return Some(name);
        }
        let mut words = self.plain();
        words.find(|word| *word == "change")?;
        words.next()
    }

    pub fn is_program_next(&self) -> bool {
        self.plain().count() == 2
    }

    fn plain(&self) -> impl Iterator<Item = &str> {
        let before = std::iter::once("").chain(self.0.iter().map(String::as_str));
        let words = self.0.iter().map(String::as_str).zip(before);
        words
            .filter(|(word, before)| !word.starts_with('-') && !WITH_VALUE.contains(before))
            .map(|(word, _)| word)
    }

    fn value(&self, option: &str) -> Option<&str> {
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            if word == option {
                return words.next().map(String::as_str);
            }
            let value = word.strip_prefix(option);
            if let Some(value) = value.and_then(|value| value.strip_prefix('=')) {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Typed {
        let words = format!("/usr/bin/remit -- {line}");
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        Typed::of(words.into_iter(), None)
    }

    #[test]
    fn command_and_directory_are_found() {
        for (line, named) in [
            ("remit change ser", None),
            ("remit change service.restart un", Some("service.restart")),
            (
                "remit change -m change service.restart un",
                Some("service.restart"),
            ),
            (
                "remit --runtime /r change --reason why web.x ",
                Some("web.x"),
            ),
            ("remit run --name logs ", Some("logs")),
            ("remit run --name=logs ", Some("logs")),
            ("remit run d", None),
            ("remit run --name", None),
            ("remit", None),
        ] {
            assert_eq!(typed(line).named(), named, "{line}");
        }
        assert_eq!(
            typed("remit --runtime /r ").runtime().dir().to_str(),
            Some("/r")
        );
        assert_eq!(
            typed("remit --runtime=/r ").runtime().dir().to_str(),
            Some("/r")
        );
        assert!(typed("remit run ").is_program_next());
        assert!(typed("remit run --timeout 3 d").is_program_next());
        assert!(!typed("remit run df ").is_program_next());
    }

    #[test]
    fn words_after_the_cursor_do_not_count() {
        let words = ["remit", "--", "remit", "change", "x", "y"].map(OsString::from);
        let typed = Typed::of(words.into_iter(), Some(2));
        assert_eq!(typed.0, ["remit", "change"]);
    }
}
