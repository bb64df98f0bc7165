//! Runs jobs at full rate for as long as is wanted, and samples what must not grow with their number: memory,
//! descriptors, kept output, files of state. The audit log grows with each call: that is measured, too.

mod picture;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::mcp::{self, Session};
use crate::section::{Section, mib};
use crate::series::CALLS_PER_USER;
use crate::stage::{Setting, Stage};
use crate::usage::Members;
use crate::{Args, Failure, lanes};

const IN_FLIGHT: usize = 8;
/// Every so many jobs, one with output.
const WITH_OUTPUT: usize = 16;
/// 8,893 bytes.
const OUTPUT: &str = r#"{"name":"run","arguments":{"argv":["/usr/bin/seq","2000"]}}"#;
/// Samples of a run; the table shows a tenth of them.
const SAMPLES: u32 = 200;
const ROWS: usize = 10;

#[derive(Debug, Serialize)]
pub struct Soak {
    pub seconds: f64,
    pub calls: u64,
    /// Users who made them, each with an mcp-shim of its own.
    pub users: u64,
    pub samples: Vec<Sample>,
}

/// Bytes of memory are RSS.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    pub seconds: f64,
    pub calls: u64,
    pub warden: u64,
    pub broker: u64,
    /// Watchdog, spawner and worker.
    pub helpers: u64,
    pub descriptors: u64,
    /// Bytes of files.
    pub audit: u64,
    pub spool: u64,
    pub state: u64,
}

pub fn take(args: &Args) -> Result<Soak, Failure> {
    let setting = Setting {
        name: "soak",
        ..Setting::default()
    };
    let mut stage = Stage::with(args, &setting)?;
    let whole = Duration::from_secs(args.seconds);
    let start = Instant::now();
    let mut soak = Soak {
        seconds: 0.0,
        calls: 0,
        users: 0,
        samples: Vec::new(),
    };
    let mut due = Duration::ZERO;
    // Between two users nothing is in flight, so that a sample has no job in it.
    while start.elapsed() < whole {
        if start.elapsed() >= due {
            soak.samples.push(Sample::of(&stage, start, soak.calls)?);
            due = start.elapsed() + whole / SAMPLES;
        }
        soak.calls += by_one_user(&mut stage)?;
        soak.users += 1;
    }
    soak.samples.push(Sample::of(&stage, start, soak.calls)?);
    soak.seconds = start.elapsed().as_secs_f64();
    if let Some(path) = &args.picture {
        let cannot = |error| format!("cannot write '{}': {error}", path.display());
        fs::write(path, picture::svg(&soak)).map_err(cannot)?;
    }
    Ok(soak)
}

/// Makes as many calls as one user may at once, [`IN_FLIGHT`] at any time. Fails if one did not run.
fn by_one_user(stage: &mut Stage) -> Result<u64, Failure> {
    let mut session: Session = lanes::shim(stage)?;
    let (mut asked, mut answered, mut line) = (0, 0, String::new());
    while answered < CALLS_PER_USER {
        while asked < CALLS_PER_USER && asked - answered < IN_FLIGHT {
            let with_output = asked % WITH_OUTPUT == 0;
            session.ask_tool(if with_output { OUTPUT } else { mcp::RUN })?;
            asked += 1;
        }
        session.receive(&mut line)?;
        mcp::ran(&line)?;
        answered += 1;
    }
    Ok(CALLS_PER_USER as u64)
}

impl Sample {
    fn of(stage: &Stage, start: Instant, calls: u64) -> Result<Self, Failure> {
        let members = stage.members()?;
        let memory = members.memory()?;
        let state = stage.dir().join("state");
        let (audit, spool) = (size(&state.join("audit.jsonl")), size(&state.join("spool")));
        Ok(Self {
            seconds: start.elapsed().as_secs_f64(),
            calls,
            warden: memory.warden.rss,
            broker: memory.broker.rss,
            helpers: memory.watchdog.and(memory.spawner).and(memory.zygote).rss,
            descriptors: descriptors(members),
            audit,
            spool,
            state: size(&state).saturating_sub(audit + spool),
        })
    }
}

fn descriptors(members: Members) -> u64 {
    let helpers = [members.watchdog, members.spawner, members.zygote];
    let all = [members.warden, members.broker].into_iter();
    let all = all.chain(helpers.into_iter().flatten());
    let of = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |dir| dir.count() as u64);
    all.map(of).sum()
}

/// Bytes of a file, or of all files beneath a directory. What is gone meanwhile counts as zero.
fn size(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

pub fn section(soak: &Soak) -> Section {
    let title = format!(
        "soak: {} calls in {:.0} s, {IN_FLIGHT} in flight",
        soak.calls, soak.seconds
    );
    let columns = [
        "after calls",
        "warden MiB",
        "broker MiB",
        "helpers MiB",
        "descriptors",
        "spool MiB",
        "state MiB",
        "audit log MiB",
    ];
    let mut section = Section::new(title, &columns);
    let step = soak.samples.len().div_ceil(ROWS).max(1);
    let last = soak.samples.len().saturating_sub(1);
    let shown = soak.samples.iter().enumerate();
    for (_, sample) in shown.filter(|(at, _)| at % step == 0 || *at == last) {
        section.row(
            sample.calls.to_string(),
            [
                mib(sample.warden),
                mib(sample.broker),
                mib(sample.helpers),
                sample.descriptors.to_string(),
                mib(sample.spool),
                mib(sample.state),
                mib(sample.audit),
            ],
        );
    }
    let each = match soak.samples.last() {
        Some(last) if soak.calls > 0 => last.audit as f64 / soak.calls as f64,
        _ => f64::NAN,
    };
    section.note(format!(
        "{:.0} calls/s by {} users, each with an mcp-shim of its own; one of {WITH_OUTPUT} jobs writes 8,893 bytes, the others are /bin/true. \
         The audit log has {each:.0} bytes for each call.",
        soak.calls as f64 / soak.seconds,
        soak.users
    ));
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_first_and_the_last_sample() {
        let sample = |calls: u64| Sample {
            calls,
            audit: calls * 2000,
            ..Sample::default()
        };
        let soak = Soak {
            seconds: 10.0,
            calls: 95,
            users: 1,
            samples: (0..96).map(sample).collect(),
        };
        let text = section(&soak).text();
        assert!(
            text.contains("\n  0  ") && text.contains("\n  95  "),
            "{text}"
        );
        assert!(text.contains("has 2000 bytes for each call"), "{text}");
        assert!(text.lines().count() <= ROWS + 5, "{text}");
    }

    #[test]
    fn sizes_of_directories_are_those_of_their_files() {
        let dir = std::env::temp_dir().join(format!("remit-bench-size-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/x"), [0; 7]).unwrap();
        fs::write(dir.join("a/b/y"), [0; 5]).unwrap();
        assert_eq!((size(&dir), size(&dir.join("gone"))), (12, 0));
        fs::remove_dir_all(dir).unwrap();
    }
}
