//! Measures starts of daemons and servers, first calls, and memory of the daemon's processes: idle, after many jobs, with
//! many alive.

use std::time::Instant;

use serde::Serialize;

use crate::mcp::{self, Session};
use crate::section::{Section, mib, ms};
use crate::series::{Series, Summary};
use crate::stage::{Setting, Stage};
use crate::usage::{Daemon, Memory};
use crate::{Args, Failure, growth, lanes, load};

const JOBS: usize = 5000;
const IN_FLIGHT: usize = 8;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Footprint {
    pub looks: Vec<Look>,
    /// Growth of warden and broker from the second to the third measurement: 0.02 is two percent.
    pub growth: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Look {
    pub when: String,
    pub ended: usize,
    pub alive: usize,
    pub daemon: Daemon,
    /// At first a shim that has run nothing, later the last shim after its share of the jobs.
    pub shim: Memory,
}

impl Footprint {
    pub fn take(args: &Args) -> Result<Self, Failure> {
        let setting = Setting {
            name: "memory",
            toml: growth::jobs(7),
            ..Setting::default()
        };
        let mut stage = Stage::with(args, &setting)?;
        let shim = load::idle_shim(&mut stage)?;
        let mut looks = vec![Look {
            when: "idle".into(),
            ended: 0,
            alive: 0,
            daemon: stage.memory()?,
            shim,
        }];
        let (mut ended, mut shim) = (0, shim);
        for _ in 0..2 {
            let load = load::through_shim(&mut stage, IN_FLIGHT, JOBS)?;
            ended += load.calls;
            shim = load.shim;
            looks.push(Look {
                when: format!("after {ended} jobs"),
                ended,
                alive: 0,
                daemon: stage.memory()?,
                shim,
            });
        }
        growth::sleepers(&mut stage, growth::ALIVE)?;
        looks.push(Look {
            when: format!("and {} jobs alive", growth::ALIVE),
            ended,
            alive: growth::ALIVE,
            daemon: stage.memory()?,
            shim,
        });
        Ok(Self {
            growth: grown(&looks),
            looks,
        })
    }

    pub fn sections(&self) -> Vec<Section> {
        let names = [
            "warden", "broker", "both", "watchdog", "spawner", "zygote", "mcp-shim",
        ];
        let columns: Vec<&str> = std::iter::once("RSS (PSS), MiB").chain(names).collect();
        let mut section = Section::new("memory", &columns);
        for look in &self.looks {
            let Daemon {
                warden,
                broker,
                watchdog,
                spawner,
                zygote,
            } = look.daemon;
            let both = look.daemon.warden_and_broker();
            let cells = [warden, broker, both, watchdog, spawner, zygote, look.shim].map(cell);
            section.row(look.when.as_str(), cells);
        }
        section.note(format!(
            "From the second look to the third, warden and broker have grown by {:.1} %.",
            self.growth * 100.0
        ));
        section.note(format!("Jobs through mcp-shim, {IN_FLIGHT} in flight, a new user and shim every few hundred; they sleep as those of 20 users."));
        vec![section]
    }
}

fn grown(looks: &[Look]) -> f64 {
    let rss = |at: usize| {
        looks
            .get(at)
            .map(|look| look.daemon.warden_and_broker().rss as f64)
    };
    match (rss(1), rss(2)) {
        (Some(before), Some(after)) if before > 0.0 => after / before - 1.0,
        _ => f64::NAN,
    }
}

fn cell(memory: Memory) -> String {
    if memory == Memory::default() {
        return "-".into();
    }
    format!("{} ({})", mib(memory.rss), mib(memory.pss))
}

const SHIMS: usize = 100;
const DAEMONS: usize = 8;

/// Times in microseconds.
#[derive(Debug, Serialize)]
pub struct Starts {
    /// From the start of `mcp-shim` to its answer to `initialize`.
    pub initialize: Summary,
    pub floor_initialize: Summary,
    /// From the start of the daemon to READY=1, after the self-test of its sandboxes.
    pub ready: Summary,
    pub first_call: Summary,
    pub second_call: Summary,
}

pub fn take(args: &Args, stage: &mut Stage) -> Result<Starts, Failure> {
    let [mut shim, mut baseline] = [Series::default(), Series::default()];
    for _ in 0..SHIMS {
        shim.push(Session::open(lanes::shim_command(stage))?.1);
        baseline.push(Session::open(stage.program("remit-bench-floor"))?.1);
    }
    let mut ready = Series::default();
    let mut calls = [Series::default(), Series::default()];
    for _ in 0..DAEMONS {
        let start = Instant::now();
        let mut fresh = Stage::with(
            args,
            &Setting {
                name: "fresh",
                ..Setting::default()
            },
        )?;
        ready.push(start.elapsed());
        let mut session = lanes::shim(&mut fresh)?;
        let mut line = String::new();
        for series in &mut calls {
            let start = Instant::now();
            session.ask_run()?;
            session.receive(&mut line)?;
            series.push(start.elapsed());
            mcp::ran(&line)?;
        }
    }
    let [first, second] = calls.map(|series| series.summary());
    Ok(Starts {
        initialize: shim.summary(),
        floor_initialize: baseline.summary(),
        ready: ready.summary(),
        first_call: first,
        second_call: second,
    })
}

impl Starts {
    pub fn section(&self) -> Section {
        let columns = ["what comes first", "p50 ms", "p95 ms", "times"];
        let mut section = Section::new("Starts", &columns);
        for (name, time) in [
            ("mcp-shim, start to answered initialize", self.initialize),
            (
                "MCP server that only spawns, the same",
                self.floor_initialize,
            ),
            (
                "daemon, start to READY=1 (its files written, its sandbox tested)",
                self.ready,
            ),
            ("first call after that, through mcp-shim", self.first_call),
            ("second call", self.second_call),
        ] {
            let count = time.count.to_string();
            section.row(name, [ms(time.p50), ms(time.p95), count]);
        }
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_both_between_the_loads() {
        let look = |rss| Look {
            when: String::new(),
            ended: 0,
            alive: 0,
            daemon: Daemon {
                warden: Memory { rss, pss: 0 },
                broker: Memory { rss, pss: 0 },
                ..Daemon::default()
            },
            shim: Memory::default(),
        };
        let all = [look(50), look(100), look(102), look(900)];
        assert!((grown(&all) - 0.02).abs() < 1e-9);
        assert!(grown(&all[..2]).is_nan());
    }
}
