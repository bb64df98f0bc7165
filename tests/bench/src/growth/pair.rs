//! Calls two daemons in turns: a small one, and one that is large in a single dimension.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use remit_common::caps;
use remit_wire::client::Client;
use remit_wire::outcome::State;
use remit_wire::{Reply, Request};
use serde::Serialize;

use crate::series::{CALLS_PER_USER, Series, Summary};
use crate::stage::{CLIENTS, Setting, Stage};
use crate::usage::Spent;
use crate::{Args, Failure};

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Microseconds from request to answer.
    #[serde(flatten)]
    pub time: Summary,
    /// Processor time of the warden per call, in microseconds.
    pub warden: f64,
    pub broker: f64,
    /// PID 1 of the jobs' namespace, and the worker.
    pub helpers: f64,
    /// The job and its sandbox set-up.
    pub job: f64,
}

pub const PARTS: [&str; 4] = ["warden", "broker", "helpers", "job"];

impl Cost {
    pub fn cpu(&self) -> f64 {
        self.parts().iter().sum()
    }

    pub fn parts(&self) -> [f64; 4] {
        [self.warden, self.broker, self.helpers, self.job]
    }
}

pub struct Side<'a> {
    stage: &'a mut Stage,
    request: Request,
    series: Series,
    spent: Spent,
    calls: u32,
}

impl<'a> Side<'a> {
    pub fn new(stage: &'a mut Stage, request: Request) -> Self {
        Self {
            stage,
            request,
            series: Series::default(),
            spent: Spent::default(),
            calls: 0,
        }
    }

    /// Opens a connection as a new user, because the request rate of one user is limited.
    fn open(&mut self) -> Result<Open, Failure> {
        let mut client = self.stage.client()?;
        ran(&client.call(self.request.clone(), drop)?)?;
        Ok(Open {
            client,
            before: self.stage.members()?.cpu()?,
        })
    }

    fn go(&mut self, open: &mut Open) -> Result<(), Failure> {
        let request = self.request.clone();
        let start = Instant::now();
        let reply = open.client.call(request, drop)?;
        self.series.push(start.elapsed());
        self.calls += 1;
        ran(&reply)
    }

    fn close(&mut self, open: &Open) -> Result<(), Failure> {
        let more = self.stage.members()?.cpu()?.since(open.before);
        self.spent.warden += more.warden;
        self.spent.broker += more.broker;
        self.spent.helpers += more.helpers;
        self.spent.jobs += more.jobs;
        Ok(())
    }

    fn cost(&self) -> Cost {
        let each = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / f64::from(self.calls);
        Cost {
            time: self.series.summary(),
            warden: each(self.spent.warden),
            broker: each(self.spent.broker),
            helpers: each(self.spent.helpers),
            job: each(self.spent.jobs),
        }
    }
}

struct Open {
    client: Client,
    before: Spent,
}

/// Calls each side `rounds` times in turns, so other load of the machine affects both alike.
pub fn compare(
    mut small: Side<'_>,
    mut large: Side<'_>,
    rounds: usize,
) -> Result<[Cost; 2], Failure> {
    let mut left = rounds;
    while left > 0 {
        let block = left.min(CALLS_PER_USER);
        let (mut one, mut other) = (small.open()?, large.open()?);
        for round in 0..block {
            // Alternates which side is first.
            if round % 2 == 0 {
                small.go(&mut one)?;
                large.go(&mut other)?;
            } else {
                large.go(&mut other)?;
                small.go(&mut one)?;
            }
        }
        small.close(&one)?;
        large.close(&other)?;
        left -= block;
    }
    Ok([small.cost(), large.cost()])
}

/// Fails unless a job has ended with 0.
fn ran(reply: &Reply) -> Result<(), Failure> {
    match reply {
        Reply::Job { report, .. }
            if report.state == State::Exited
                && report.ending.as_ref().and_then(|it| it.exit) == Some(0) =>
        {
            Ok(())
        }
        other => Err(format!("'true' did not run: {other:?}").into()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rules: usize,
    pub commands: usize,
    pub paths: usize,
    pub mounts: usize,
}

pub const SMALL: Size = Size {
    rules: 10,
    commands: 5,
    paths: 4,
    mounts: 0,
};
/// A policy of as many rules and commands as one may have. One of the rules is in a drop-in of every daemon.
pub const LARGEST: Size = Size {
    rules: caps::POLICY_RULES,
    commands: caps::POLICY_COMMANDS,
    ..SMALL
};
/// The maximum that a policy may list.
pub const PATHS: usize = caps::PROFILE_PATHS;
/// The first job uid. Each daemon has its own range, because none may take another's job for its own.
const UIDS: u32 = 1_879_048_192;
const UIDS_EACH: u32 = 65_536;
pub const LISTED: &str = "bench.listed";
pub const PLAIN: &str = "bench.plain";

impl Size {
    /// Builds the setting of a daemon. `number` is unique per daemon of a run and at least 1.
    pub fn setting(self, args: &Args, name: &'static str, number: u32) -> Result<Setting, Failure> {
        let shown = args.stage.join(format!("{name}.shown"));
        for at in 0..self.paths {
            fs::create_dir_all(shown.join(at.to_string()))?;
        }
        Ok(Setting {
            name,
            toml: jobs(number),
            policy: self.policy(&shown)?,
            mounts: self.mounts,
            ..Setting::default()
        })
    }

    /// Writes the rules. One more grant, for `run`, is in a drop-in of every daemon.
    fn policy(self, shown: &Path) -> Result<String, Failure> {
        let mut text = String::new();
        let paths: Vec<_> = (0..self.paths)
            .map(|at| shown.join(at.to_string()))
            .collect();
        writeln!(
            text,
            "[profile.listed]\nbase = \"strict\"\nread = {paths:?}"
        )?;
        for at in 0..self.commands {
            // The measured command is neither the first nor the last.
            let (name, profile) = match at {
                1 => (LISTED.to_owned(), "listed"),
                2 => (PLAIN.to_owned(), "read"),
                _ => {
                    let (family, member) = family(at);
                    (format!("svc{family}.do{member}"), "strict")
                }
            };
            writeln!(
                text,
                "[[command]]\nname = \"{name}\"\nsummary = \"number {at}\"\nargv = [\"/usr/bin/true\"]\neffect = \"read\"\nprofile = \"{profile}\""
            )?;
        }
        let denials = self.rules / 5;
        for at in 0..denials {
            let (family, member) = family(3 + at % (self.commands - 3));
            writeln!(
                text,
                "[[deny]]\nto = [\"%#{CLIENTS}\"]\ndeny = [\"svc{family}.do{member}\"]"
            )?;
        }
        // The grant of `run` already exists, and the last grant is the one that decides here.
        for at in 2..self.rules - denials {
            let (family, _) = family(at % self.commands);
            writeln!(
                text,
                "[[grant]]\nto = [\"%#{CLIENTS}\"]\nallow = [\"svc{family}.*\"]"
            )?;
        }
        writeln!(
            text,
            "[[grant]]\nto = [\"%#{CLIENTS}\"]\nallow = [\"{PLAIN}\", \"{LISTED}\"]"
        )?;
        Ok(text)
    }
}

/// Groups commands in families of ten, which a pattern can match.
fn family(command: usize) -> (usize, usize) {
    (command / 10, command % 10)
}

pub fn jobs(number: u32) -> String {
    format!(
        "[jobs]\nuid_first = {}\nuid_count = {UIDS_EACH}\nmax = 1024\nmax_per_user = 1024\n",
        UIDS + UIDS_EACH * number
    )
}

#[cfg(test)]
mod tests {
    use remit_policy::{Ask, CallerIds, MachineTable, Source, Verdict};
    use remit_policy_compile::load;
    use remit_wire::Effect;

    use super::*;

    #[test]
    fn generated_policy_has_requested_size_and_allows_command() {
        let large = Size {
            paths: PATHS,
            ..LARGEST
        };
        for size in [SMALL, large] {
            let text = size
                .policy(Path::new("/var/lib/bench"))
                .expect("a string takes it");
            let source = Source {
                name: "bench.toml".into(),
                text: text.into_bytes(),
            };
            let (policy, _) = load(&[source], &MachineTable::default()).expect("it loads");
            assert_eq!(policy.rules() + 1, size.rules);
            assert_eq!(policy.commands().count(), size.commands);
            for name in [LISTED, PLAIN] {
                let ask = Ask::Command {
                    name,
                    effect: Effect::Read,
                    args: &[],
                };
                let caller = CallerIds {
                    uid: 400_000,
                    gids: &[CLIENTS],
                };
                let verdict = policy.decide(caller, &ask);
                assert!(matches!(verdict, Verdict::Allow(_)), "{name}: {verdict:?}");
            }
        }
    }
}
