//! Measures calls of one user while another user's jobs write as fast as they can. Each block of calls runs during one
//! flood or none, all ways in turns. The baseline without remit shows the effect on any process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use remit_wire::Reply;
use remit_wire::client::Client;
use remit_wire::outcome::State;
use serde::Serialize;

use crate::Failure;
use crate::lanes::{self, Way, Ways};
use crate::section::{Section, ms, ratio};
use crate::series::{self, Series, Summary};
use crate::stage::Stage;

const BLOCK: usize = 40;

/// The load of the other user: one job after the other, each until it exceeds the output limit.
struct Flood {
    key: &'static str,
    argv: &'static [&'static str],
}

/// The first entry is no load, the reference for the others.
const FLOODS: &[Flood] = &[
    Flood {
        key: "nothing",
        argv: &[],
    },
    Flood {
        key: "yes",
        argv: &["/usr/bin/yes"],
    },
    Flood {
        key: "cat /dev/zero",
        argv: &["/bin/cat", "/dev/zero"],
    },
];

const WAYS: &[&str] = &[lanes::SPAWN, lanes::DAEMON, lanes::SHIM];

#[derive(Clone, Debug, Serialize)]
pub struct Meanwhile {
    pub flood: &'static str,
    pub bytes_per_second: f64,
    pub calls: Vec<Call>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Call {
    pub key: String,
    pub title: String,
    /// Microseconds.
    #[serde(flatten)]
    pub time: Summary,
    /// Its median relative to the median without load.
    pub p50_over_idle: f64,
    pub p95_over_idle: f64,
}

/// Measures each way at least `rounds` times during each flood.
pub fn take(stage: &mut Stage, all: &Ways, rounds: usize) -> Result<Vec<Meanwhile>, Failure> {
    let ways: Vec<&Way> = all.some(WAYS).collect();
    let mut all = vec![vec![Series::default(); ways.len()]; FLOODS.len()];
    let mut poured = vec![Poured::default(); FLOODS.len()];
    let mut other = stage.client()?;
    for _ in 0..rounds.div_ceil(BLOCK) {
        for (flood, (series, sum)) in FLOODS.iter().zip(all.iter_mut().zip(&mut poured)) {
            let mut lanes = series::open(stage, ways.iter().copied())?;
            sum.add(during(&mut other, flood.argv, || {
                series::take_turns(&mut lanes, series, BLOCK)
            })?);
        }
    }
    Ok(summaries(&ways, &all, &poured))
}

#[derive(Clone, Copy, Default)]
struct Poured {
    bytes: u64,
    time: Duration,
}

impl Poured {
    fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.time += more.time;
    }
}

/// Does `work` while `client` runs `argv` repeatedly. An empty `argv` means no load.
fn during(
    client: &mut Client,
    argv: &[&str],
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<Poured, Failure> {
    if argv.is_empty() {
        work()?;
        return Ok(Poured::default());
    }
    let over = AtomicBool::new(false);
    let (first_done, first) = mpsc::channel();
    thread::scope(|scope| {
        let flood = scope.spawn(|| pour(client, argv, &over, first_done));
        // The flood has started when its first job has ended.
        let done = first.recv().map(|()| work());
        over.store(true, Ordering::Relaxed);
        let poured = flood.join().map_err(|_| "the flood panicked")??;
        done.map_err(|_| "the flood did not begin")??;
        Ok(poured)
    })
}

fn pour(
    client: &mut Client,
    argv: &[&str],
    over: &AtomicBool,
    first_done: Sender<()>,
) -> Result<Poured, String> {
    let mut poured = Poured::default();
    let start = Instant::now();
    while !over.load(Ordering::Relaxed) {
        match client.call(lanes::run(argv), drop) {
            Ok(Reply::Job { report, .. }) if report.state == State::OutputLimit => {
                poured.bytes += report.stdout.total;
            }
            other => return Err(format!("'{}' did not write: {other:?}", argv.join(" "))),
        }
        // Only the first message is read.
        let _ = first_done.send(());
    }
    poured.time = start.elapsed();
    Ok(poured)
}

fn summaries(ways: &[&Way], all: &[Vec<Series>], poured: &[Poured]) -> Vec<Meanwhile> {
    let all: Vec<Vec<Summary>> = all
        .iter()
        .map(|series| series.iter().map(Series::summary).collect())
        .collect();
    let idle = all.first().cloned().unwrap_or_default();
    let meanwhile = |(flood, (series, poured)): (&Flood, (&Vec<Summary>, &Poured))| Meanwhile {
        flood: flood.key,
        bytes_per_second: match poured.time.as_secs_f64() {
            0.0 => 0.0,
            seconds => poured.bytes as f64 / seconds,
        },
        calls: ways
            .iter()
            .zip(series.iter().zip(&idle))
            .map(|(way, (time, idle))| Call {
                key: way.key.clone(),
                title: way.title.clone(),
                time: *time,
                p50_over_idle: time.p50 / idle.p50,
                p95_over_idle: time.p95 / idle.p95,
            })
            .collect(),
    };
    let of_each = all.iter().zip(poured);
    FLOODS.iter().zip(of_each).map(meanwhile).collect()
}

pub fn section(floods: &[Meanwhile]) -> Section {
    let columns = [
        "while another user's job writes",
        "p50 ms",
        "p95 ms",
        "× idle",
        "p95 ×",
    ];
    let mut section = Section::new("Beside a flood of output", &columns);
    for Meanwhile {
        flood,
        bytes_per_second,
        calls,
    } in floods
    {
        for call in calls {
            section.row(
                format!("{flood}: {}", call.title),
                [
                    ms(call.time.p50),
                    ms(call.time.p95),
                    ratio(call.p50_over_idle),
                    ratio(call.p95_over_idle),
                ],
            );
        }
        if *bytes_per_second > 0.0 {
            section.note(format!("{flood}: {:.0} MB/s.", bytes_per_second / 1e6));
        }
    }
    section
}
