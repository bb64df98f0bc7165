//! Measures one call after another, all ways in turns.

use serde::Serialize;

use crate::decide::{self, Cost};
use crate::handovers::{self, Handovers};
use crate::lanes::{self, Ways};
use crate::section::{Section, ms, ratio};
use crate::series::{self, Part, Summary, Times, split};
use crate::stage::Stage;
use crate::{Args, Failure};

#[derive(Debug, Serialize)]
pub struct Calls {
    pub ways: Vec<Call>,
    pub missing: Vec<String>,
    pub split: Vec<Part>,
    pub handovers: Vec<Handovers>,
    pub records: Vec<Cost>,
}

#[derive(Debug, Serialize)]
pub struct Call {
    pub key: String,
    pub title: String,
    pub peer: bool,
    /// Microseconds.
    #[serde(flatten)]
    pub time: Summary,
    /// Its median relative to a bare fork and exec.
    pub over_fork: f64,
    /// Its median relative to the MCP server that only spawns.
    pub over_mcp: f64,
}

pub fn take(args: &Args, stage: &mut Stage, ways: &Ways) -> Result<Calls, Failure> {
    let series = series::take(stage, &ways.all, args.rounds)?;
    let summaries: Vec<Summary> = series.iter().map(|series| series.summary()).collect();
    let of = |key, rank: fn(&Summary) -> f64| {
        let mut all = ways.all.iter().zip(&summaries);
        let found = all.find(|(way, _)| way.key == key);
        found.map_or(f64::NAN, |(_, time)| rank(time))
    };
    let p50 = |key| of(key, |time| time.p50);
    let records = args.records.as_deref().map(decide::read).transpose()?;
    let records = records.unwrap_or_default();
    let calls = ways.all.iter().zip(&summaries).map(|(way, time)| Call {
        key: way.key.clone(),
        title: way.title.clone(),
        peer: way.peer,
        time: *time,
        over_fork: time.p50 / p50(lanes::FORK),
        over_mcp: time.p50 / p50(lanes::MCP),
    });
    let times = |rank| Times {
        fork: of(lanes::FORK, rank),
        read: of(lanes::READ, rank),
        record: decide::of_a_look(&records, &args.sink, &args.sync),
        warden: of(lanes::ALONE, rank),
        hop: of(lanes::HOP, rank),
        daemon: of(lanes::DAEMON, rank),
        shim: of(lanes::SHIM, rank),
    };
    Ok(Calls {
        ways: calls.collect(),
        missing: ways.missing.clone(),
        split: split(&times(|time| time.p50), &times(|time| time.p10)),
        handovers: handovers::take(stage, ways)?,
        records,
    })
}

impl Calls {
    pub fn sections(&self) -> Vec<Section> {
        let handovers = handovers::section(&self.handovers);
        let mut sections = vec![self.compared(), self.parts(), handovers];
        if !self.records.is_empty() {
            sections.push(decide::record_section(&self.records));
        }
        sections
    }

    fn compared(&self) -> Section {
        let columns = [
            "/bin/true by",
            "p10 ms",
            "p50 ms",
            "p95 ms",
            "× fork",
            "× MCP",
        ];
        let mut section = Section::new("One call after another", &columns);
        for call in &self.ways {
            section.row(
                &call.title,
                [
                    ms(call.time.p10),
                    ms(call.time.p50),
                    ms(call.time.p95),
                    ratio(call.over_fork),
                    ratio(call.over_mcp),
                ],
            );
        }
        if let Some([over, _]) = self.over(lanes::SSH_SHIM, lanes::SHIM) {
            let baseline = self.over(lanes::SSH_BASELINE, lanes::MCP);
            let baseline = baseline.map_or(f64::NAN, |[p50, _]| p50);
            section.note(format!(
                "Through ssh, mcp-shim takes {over:.2} × what it takes without, the MCP server that only spawns {baseline:.2} ×."
            ));
        }
        section.note(
            "× are of medians. fork, posix_spawn and the sandboxes alone run from one small process of one thread, \
             until its pidfd is readable; their clock, and the one of 'the warden alone', is in the same process, all others at the client.",
        );
        for missing in &self.missing {
            section.note(format!("Not measured: {missing}."));
        }
        section
    }

    fn parts(&self) -> Section {
        let columns = ["part", "p50 ms", "%", "p10 ms", "which is"];
        let mut section = Section::new("What a call through mcp-shim is made of", &columns);
        let sum = |rank: fn(&Part) -> f64| self.split.iter().map(rank).sum::<f64>();
        let (p50, p10) = (sum(|part| part.p50), sum(|part| part.p10));
        for part in &self.split {
            let percent = format!("{:.0}", part.p50 / p50 * 100.0);
            let made_of = part.made_of.to_owned();
            section.row(part.name, [ms(part.p50), percent, ms(part.p10), made_of]);
        }
        let all = "its time above".to_owned();
        section.row("mcp-shim", [ms(p50), "100".to_owned(), ms(p10), all]);
        section.note(
            "Differences of times of the same rank in this run, so together they are the whole. What overlaps (the broker \
             reads pipes while the job ends, the warden works beside its child) counts where it is waited for. \
             A record's cost is its median in both columns.",
        );
        section
    }

    /// Returns the ratio of two ways, of their medians and of their p10.
    pub fn over(&self, key: &str, baseline: &str) -> Option<[f64; 2]> {
        let time = |key: &str| {
            let found = self.ways.iter().find(|call| call.key == key);
            found.map(|call| call.time)
        };
        let (one, other) = (time(key)?, time(baseline)?);
        Some([one.p50 / other.p50, one.p10 / other.p10])
    }

    pub fn peers(&self) -> impl Iterator<Item = &str> {
        self.ways
            .iter()
            .filter(|call| call.peer)
            .map(|call| call.key.as_str())
    }
}
