//! Measures how the cost of a call grows with rules and commands, paths of a profile, mounts, and jobs alive. A small
//! and a large daemon run at the same time and are called in turns. The small one never changes.

mod pair;

use remit_wire::outcome::State;
use remit_wire::{Reply, Request, Run, What};
use serde::Serialize;

use crate::growth::pair::{Cost, LARGEST, LISTED, PATHS, PLAIN, SMALL, Side, Size, compare};
use crate::section::{Section, mib, ms, ratio};
use crate::stage::Stage;
use crate::usage::Daemon;
use crate::{Args, Failure, lanes};

pub use pair::jobs;

const ROUNDS: usize = 600;
/// Further mounts of a machine, each with the number of its daemon.
const MOUNTS: [(u32, usize); 2] = [(4, 480), (8, 4980)];
pub const ALIVE: usize = 1000;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Growths(Vec<Growth>);

#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    pub key: &'static str,
    pub title: String,
    pub small: Cost,
    pub large: Cost,
    pub p50_over_small: f64,
    pub p95_over_small: f64,
    pub cpu_over_small: f64,
    pub memory_small: Daemon,
    pub memory_large: Daemon,
}

impl Growths {
    pub fn take(args: &Args) -> Result<Self, Failure> {
        let mut small = Stage::with(args, &SMALL.setting(args, "small", 1)?)?;
        let mut all = Vec::new();
        {
            let mut large = Stage::with(args, &LARGEST.setting(args, "policy", 2)?)?;
            let title = |what| {
                let (rules, commands) = (LARGEST.rules, LARGEST.commands);
                format!("{what}: 10 → {rules} rules, 5 → {commands} commands")
            };
            let mut pair = Pair(&mut small, &mut large);
            all.push(pair.compare("rules", title("run"), run_true())?);
            all.push(pair.compare("rules_command", title("a command"), named(PLAIN))?);
        }
        {
            let paths = Size {
                paths: PATHS,
                ..SMALL
            };
            let mut large = Stage::with(args, &paths.setting(args, "paths", 3)?)?;
            let title = format!("strict: {} → {PATHS} paths in its profile", SMALL.paths);
            all.push(Pair(&mut small, &mut large).compare("paths", title, named(LISTED))?);
        }
        for (number, mounts) in MOUNTS {
            let mounts = Size { mounts, ..SMALL };
            let mut large = Stage::with(args, &mounts.setting(args, "mounts", number)?)?;
            let (few, many) = (small.mounts()?, large.mounts()?);
            let title = |what| format!("{what}: {few} → {many} mounts");
            let mut pair = Pair(&mut small, &mut large);
            all.push(pair.compare("mounts", title("run"), run_true())?);
            all.push(pair.compare("mounts_strict", title("strict"), named(LISTED))?);
        }
        {
            let mut large = Stage::with(args, &SMALL.setting(args, "alive", 5)?)?;
            sleepers(&mut small, 1)?;
            sleepers(&mut large, ALIVE)?;
            let title = format!("run: 1 → {ALIVE} jobs alive");
            all.push(Pair(&mut small, &mut large).compare("alive", title, run_true())?);
        }
        Ok(Self(all))
    }

    pub fn sections(&self) -> Vec<Section> {
        let mut times = Section::new(
            "growth: a small daemon and a large one, asked in turns through their sockets",
            &[
                "what grows",
                "small p50 ms",
                "large p50 ms",
                "× p50",
                "× p95",
                "CPU µs small",
                "large",
                "× CPU",
            ],
        );
        let columns: Vec<&str> = std::iter::once("µs more for each call")
            .chain(pair::PARTS)
            .chain(["large, RSS MiB"])
            .collect();
        let mut parts = Section::new("growth: whose processor time it is", &columns);
        for growth in &self.0 {
            let Growth { small, large, .. } = growth;
            times.row(
                growth.title.as_str(),
                [
                    ms(small.time.p50),
                    ms(large.time.p50),
                    ratio(growth.p50_over_small),
                    ratio(growth.p95_over_small),
                    format!("{:.0}", small.cpu()),
                    format!("{:.0}", large.cpu()),
                    ratio(growth.cpu_over_small),
                ],
            );
            let more = small.parts().into_iter().zip(large.parts());
            let more = more.map(|(small, large)| format!("{:+.0}", large - small));
            let rss = mib(growth.memory_large.warden_and_broker().rss);
            parts.row(growth.title.as_str(), more.chain([rss]));
        }
        times.note("All rules are about the caller's group. CPU: of daemon, sandbox and job, for each call.");
        times.note("remit has no list of what is hidden; what is nearest to it are the paths that a strict profile shows.");
        parts.note("Helpers: watchdog and zygote, which makes mount namespaces in advance. The job's time includes our code before its exec. RSS: warden and broker after these calls.");
        vec![times, parts]
    }
}

struct Pair<'a>(&'a mut Stage, &'a mut Stage);

impl Pair<'_> {
    fn compare(
        &mut self,
        key: &'static str,
        title: String,
        request: Request,
    ) -> Result<Growth, Failure> {
        let sides = [&mut *self.0, &mut *self.1].map(|stage| Side::new(stage, request.clone()));
        let [one, other] = sides;
        let [small, large] = compare(one, other, ROUNDS)?;
        Ok(Growth {
            key,
            title,
            small,
            large,
            p50_over_small: large.time.p50 / small.time.p50,
            p95_over_small: large.time.p95 / small.time.p95,
            cpu_over_small: large.cpu() / small.cpu(),
            memory_small: self.0.memory()?,
            memory_large: self.1.memory()?,
        })
    }
}

fn run_true() -> Request {
    lanes::run(&["/bin/true"])
}

fn named(name: &str) -> Request {
    match run_true() {
        Request::Run(run) => Request::Run(Run {
            what: What::Named {
                name: name.to_owned(),
                args: Vec::new(),
            },
            ..run
        }),
        other => other,
    }
}

const EACH: usize = 50;

/// Starts `count` jobs that sleep until the daemon ends, with as many users as necessary.
pub fn sleepers(stage: &mut Stage, count: usize) -> Result<(), Failure> {
    let mut left = count;
    while left > 0 {
        let mut client = stage.client()?;
        let some = left.min(EACH);
        for _ in 0..some {
            match client.call(sleep(), drop)? {
                Reply::Job { report, .. } if report.state == State::Running => {}
                other => return Err(format!("a job does not sleep: {other:?}").into()),
            }
        }
        left -= some;
    }
    Ok(())
}

fn sleep() -> Request {
    match lanes::run(&["/bin/sleep", "280"]) {
        Request::Run(run) => Request::Run(Run {
            wait_ms: Some(0),
            ..run
        }),
        other => other,
    }
}
