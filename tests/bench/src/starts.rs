//! Measures starts of daemons and servers, and first calls.

use std::time::Instant;

use serde::Serialize;

use crate::mcp::{self, Session};
use crate::section::{Section, ms};
use crate::series::{Series, Summary};
use crate::stage::{Setting, Stage};
use crate::{Args, Failure, lanes};

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
