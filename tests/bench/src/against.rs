//! Compares this set of programs with another one, for example the last release: a daemon of each set, asked through its
//! own `mcp-shim` in turns. Only MCP is the same for both, so the messages between their processes may differ.

use std::path::Path;

use serde::Serialize;

use crate::growth::jobs;
use crate::handovers;
use crate::lanes::{Lane, open, ping, shim_command};
use crate::section::{Section, mib, ms};
use crate::series::{CALLS_PER_USER, Series, Shuffle, Summary};
use crate::stage::{CLIENTS, Setting, Stage};
use crate::usage::{Daemon, Spent};
use crate::{Args, Failure, mcp};

/// Calls of one turn. The first is not timed: it meets what the other daemon still does after its last call.
const TURN: usize = 5;
/// Samples that the interval of a ratio is made from.
const SAMPLES: usize = 2000;
/// Percent of the samples that are below the interval, and above it.
const OUTSIDE: f64 = 2.5;
const STRICT: &str = r#"{"name":"run","arguments":{"argv":["/bin/true"],"profile":"strict"}}"#;

#[derive(Debug, Serialize)]
pub struct Against {
    pub other: String,
    pub calls: Vec<Compared>,
    pub turns: usize,
    pub memory: [Daemon; 2],
    /// Microseconds of processor time for each call of `read`: this set, the other one.
    pub cpu: [Parts; 2],
    /// Of each call of `read`: this set, the other one.
    pub handovers: [f64; 2],
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Parts {
    pub warden: f64,
    pub broker: f64,
    pub helpers: f64,
    pub job: f64,
}

#[derive(Debug, Serialize)]
pub struct Compared {
    pub title: &'static str,
    pub this: Summary,
    pub other: Summary,
    pub p10: Ratio,
    pub p50: Ratio,
}

/// This set over the other one, with the bounds of 95 % of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

type Open = fn(&mut Stage) -> Result<Box<dyn Lane>, Failure>;

const WAYS: [(&str, Open); 3] = [
    ("'read' through mcp-shim", |stage| {
        open(shim_command(stage), mcp::RUN.to_owned(), Box::new(mcp::ran))
    }),
    ("'strict' through mcp-shim", |stage| {
        open(shim_command(stage), STRICT.to_owned(), Box::new(mcp::ran))
    }),
    ("no job: 'ping' of mcp-shim", |stage| {
        ping(shim_command(stage))
    }),
];

impl Against {
    pub fn take(args: &Args, other: &Path) -> Result<Self, Failure> {
        let setting = |name, number, programs: Option<&Path>| Setting {
            name,
            toml: jobs(number),
            policy: format!(
                "[[grant]]\nname = \"strict\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"run\"]\nrun_profile = \"strict\"\n"
            ),
            programs: programs.map(Path::to_owned),
            ..Setting::default()
        };
        let mut stages = [
            Stage::with(args, &setting("this", 6, None))?,
            Stage::with(args, &setting("other", 7, Some(other)))?,
        ];
        let memory = [stages[0].memory()?, stages[1].memory()?];
        let mut shuffle = Shuffle::default();
        let turns = args.rounds.div_ceil(TURN - 1);
        let mut calls = Vec::new();
        let mut cpu = [Parts::default(); 2];
        for (at, (title, open)) in WAYS.into_iter().enumerate() {
            let before = spent(&stages)?;
            let pairs = turns_of(&mut stages, open, turns, &mut shuffle)?;
            if at == 0 {
                let after = spent(&stages)?;
                let calls = turns * TURN;
                let ((this, other), (this_before, other_before)) = (after, before);
                cpu = [
                    Parts::new(this.since(this_before), calls),
                    Parts::new(other.since(other_before), calls),
                ];
            }
            calls.push(compared(title, &pairs, &mut shuffle));
        }
        let handovers = handovers_of(&mut stages)?;
        Ok(Self {
            other: other.display().to_string(),
            calls,
            turns,
            memory,
            cpu,
            handovers,
        })
    }

    pub fn sections(&self) -> Vec<Section> {
        let columns = [
            "/bin/true by",
            "p10 ms",
            "other",
            "× p10 (95 %)",
            "p50 ms",
            "other",
            "× p50 (95 %)",
        ];
        let mut times = Section::new(format!("This set against {}", self.other), &columns);
        for call in &self.calls {
            let cells = [
                ms(call.this.p10),
                ms(call.other.p10),
                call.p10.text(),
                ms(call.this.p50),
                ms(call.other.p50),
                call.p50.text(),
            ];
            times.row(call.title, cells);
        }
        times.note(format!(
            "{} turns of each set in random order, {} timed calls a turn; the intervals are of {SAMPLES} samples of whole pairs of turns.",
            self.turns,
            TURN - 1
        ));
        let columns = [
            "set",
            "warden",
            "broker",
            "helpers",
            "job",
            "handovers",
            "RSS of root, MiB",
        ];
        let mut parts = Section::new("Processor time of a call of 'read', µs", &columns);
        let sets = ["this", "other"].into_iter().zip(self.handovers);
        for ((name, handovers), (cpu, memory)) in sets.zip(self.cpu.iter().zip(&self.memory)) {
            let of = [cpu.warden, cpu.broker, cpu.helpers, cpu.job];
            let cells = of.map(|micros| format!("{micros:.0}"));
            let root = memory.of_root();
            let root = format!("{} (PSS {})", mib(root.rss), mib(root.pss));
            let handovers = format!("{handovers:.1}");
            parts.row(name, cells.into_iter().chain([handovers, root]));
        }
        parts.note("Helpers: watchdog, spawner and worker. Root: those and the warden, before the first call. Handovers: context switches of the whole system.");
        vec![times, parts]
    }
}

impl Parts {
    fn new(spent: Spent, calls: usize) -> Self {
        let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / calls as f64;
        Self {
            warden: each(spent.warden),
            broker: each(spent.broker),
            helpers: each(spent.helpers),
            job: each(spent.jobs),
        }
    }
}

impl Ratio {
    fn text(&self) -> String {
        let Self { ratio, low, high } = self;
        format!("{ratio:.3} ({low:.3} to {high:.3})")
    }
}

fn spent(stages: &[Stage; 2]) -> Result<(Spent, Spent), Failure> {
    let [this, other] = stages;
    Ok((this.members()?.cpu()?, other.members()?.cpu()?))
}

/// Returns what a call of `read` takes in blocks of each set's calls, in turns: the least of each.
fn handovers_of(stages: &mut [Stage; 2]) -> Result<[f64; 2], Failure> {
    let [(_, open), ..] = WAYS;
    let mut least = [f64::INFINITY; 2];
    for _ in 0..handovers::BLOCKS {
        for (stage, least) in stages.iter_mut().zip(&mut least) {
            let mut lane = open(stage)?;
            turn(lane.as_mut())?;
            *least = least.min(handovers::of(lane.as_mut())?);
        }
    }
    Ok(least)
}

/// The calls of one turn of each set, in microseconds.
#[derive(Debug)]
struct Pair {
    this: Vec<f64>,
    other: Vec<f64>,
}

fn turns_of(
    stages: &mut [Stage; 2],
    open: Open,
    turns: usize,
    shuffle: &mut Shuffle,
) -> Result<Vec<Pair>, Failure> {
    let mut pairs = Vec::with_capacity(turns);
    while pairs.len() < turns {
        // No user may make more calls than these at once.
        let block = (turns - pairs.len()).min(CALLS_PER_USER / TURN - 1);
        let [this, other] = &mut *stages;
        let mut lanes = [open(this)?, open(other)?];
        for lane in &mut lanes {
            turn(lane.as_mut())?;
        }
        let [this, other] = &mut lanes;
        for _ in 0..block {
            let this_first = shuffle.next().is_multiple_of(2);
            let first = this_first.then(|| turn(this.as_mut())).transpose()?;
            let other = turn(other.as_mut())?;
            let this = match first {
                Some(first) => first,
                None => turn(this.as_mut())?,
            };
            pairs.push(Pair { this, other });
        }
    }
    Ok(pairs)
}

fn turn(lane: &mut dyn Lane) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::with_capacity(TURN - 1);
    for at in 0..TURN {
        let took = lane.timed()?;
        lane.check()?;
        if at > 0 {
            times.push(took.as_secs_f64() * 1e6);
        }
    }
    Ok(times)
}

fn compared(title: &'static str, pairs: &[Pair], shuffle: &mut Shuffle) -> Compared {
    let all: Vec<&Pair> = pairs.iter().collect();
    let (this, other) = (summary(&all, |it| &it.this), summary(&all, |it| &it.other));
    let mut p10 = Vec::with_capacity(SAMPLES);
    let mut p50 = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let sample: Vec<&Pair> = (0..pairs.len())
            .filter_map(|_| pairs.get(shuffle.next() as usize % pairs.len()))
            .collect();
        let this = summary(&sample, |it| &it.this);
        let other = summary(&sample, |it| &it.other);
        p10.push(this.p10 / other.p10);
        p50.push(this.p50 / other.p50);
    }
    Compared {
        title,
        this,
        other,
        p10: interval(this.p10 / other.p10, p10),
        p50: interval(this.p50 / other.p50, p50),
    }
}

fn summary(pairs: &[&Pair], of: fn(&Pair) -> &Vec<f64>) -> Summary {
    let mut series = Series::default();
    for pair in pairs {
        for micros in of(pair) {
            series.push(std::time::Duration::from_secs_f64(micros / 1e6));
        }
    }
    series.summary()
}

fn interval(ratio: f64, mut samples: Vec<f64>) -> Ratio {
    samples.sort_unstable_by(f64::total_cmp);
    let at = |percent: f64| {
        let rank = (samples.len() as f64 * percent / 100.0) as usize;
        samples.get(rank).copied().unwrap_or(f64::NAN)
    };
    Ratio {
        ratio,
        low: at(OUTSIDE),
        high: at(100.0 - OUTSIDE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(this: impl Fn(usize) -> f64, other: impl Fn(usize) -> f64) -> Vec<Pair> {
        let turn = |of: &dyn Fn(usize) -> f64, at: usize| (0..4).map(|n| of(at * 4 + n)).collect();
        (0..100)
            .map(|at| Pair {
                this: turn(&this, at),
                other: turn(&other, at),
            })
            .collect()
    }

    #[test]
    fn ratio_is_in_its_interval_and_difference_is_found() {
        let noise = |at: usize| 1000.0 + (at * 7919 % 101) as f64;
        let mut shuffle = Shuffle::default();
        let slower = compared("slower", &pairs(|at| noise(at) * 1.2, noise), &mut shuffle);
        for ratio in [slower.p10, slower.p50] {
            assert!(
                ratio.low <= ratio.ratio && ratio.ratio <= ratio.high,
                "{ratio:?}"
            );
            assert!(ratio.low > 1.1 && ratio.high < 1.3, "{ratio:?}");
        }
        let same = compared("same", &pairs(noise, |at| noise(at + 50)), &mut shuffle);
        assert!(same.p50.low <= 1.0 && same.p50.high >= 1.0, "{same:?}");
    }
}
