//! Measures how fast a large output is taken in, and its cost. A call is answered when every byte of its job is in the
//! spool. In turns with it runs the least that any program must do to have the same bytes in a file there.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice as splice_once};
use remit_wire::Reply;
use remit_wire::client::Client;
use remit_wire::outcome::State;
use serde::Serialize;

use crate::section::{Section, mib, ms, ratio};
use crate::series::{Series, Summary};
use crate::stage::{Setting, Stage};
use crate::usage::{Daemon, forget_peak, peak};
use crate::{Args, Failure, growth, lanes};

/// Bytes, and repetitions of each way.
const SIZES: &[(u64, usize)] = &[(10_000_000, 12), (1_000_000_000, 3)];
/// Pause before each way: a job that runs alone is served faster than one among others.
const QUIET: Duration = Duration::from_millis(150);
/// The daemon's quota: the largest output of a job, and one that is about to be removed.
const KEPT: u64 = 2 << 30;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Outputs(Vec<Volume>);

#[derive(Clone, Debug, Serialize)]
pub struct Volume {
    pub bytes: u64,
    /// The last way is the baseline of the others.
    pub ways: Vec<Taken>,
    /// Processor time of the warden divided by the duration of the jobs.
    pub warden_share: f64,
    pub broker_share: f64,
    pub before: Daemon,
    /// Peak of resident memory in bytes.
    pub warden_peak: u64,
    pub broker_peak: u64,
    pub after: Daemon,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Taken {
    pub key: &'static str,
    pub title: &'static str,
    /// Microseconds.
    #[serde(flatten)]
    pub time: Summary,
    /// Of the median.
    pub bytes_per_second: f64,
    /// Median time of pipe and splice with the same writer, divided by this median: 1 is equally fast.
    pub of_splice: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// head(1), which chooses its block size.
    Head,
    /// dd(1), in blocks of 64 KiB.
    Blocks,
}

impl Writer {
    pub fn argv(self, bytes: u64) -> Vec<String> {
        let argv: &[&str] = match self {
            Self::Head => &["/usr/bin/head", "-c", "N", "/dev/zero"],
            Self::Blocks => &[
                "/bin/dd",
                "if=/dev/zero",
                "bs=64K",
                "iflag=count_bytes",
                "count=N",
                "status=none",
            ],
        };
        let count = bytes.to_string();
        argv.iter().map(|arg| arg.replace('N', &count)).collect()
    }
}

struct Way {
    key: &'static str,
    title: &'static str,
    writer: Writer,
    by: By,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Job,
    Splice,
    File,
}

const fn way(key: &'static str, title: &'static str, writer: Writer, by: By) -> Way {
    Way {
        key,
        title,
        writer,
        by,
    }
}

const WAYS: &[Way] = &[
    way("job_head", "a job: head -c", Writer::Head, By::Job),
    way(
        "job_blocks",
        "a job: 64 KiB blocks",
        Writer::Blocks,
        By::Job,
    ),
    way(
        "splice_head",
        "pipe + splice, no remit: head -c",
        Writer::Head,
        By::Splice,
    ),
    way(
        "splice_blocks",
        "pipe + splice, no remit: 64 KiB blocks",
        Writer::Blocks,
        By::Splice,
    ),
    way(
        "file_blocks",
        "dd into a file: 64 KiB blocks",
        Writer::Blocks,
        By::File,
    ),
];

impl Outputs {
    pub fn take(args: &Args) -> Result<Self, Failure> {
        let output = format!("[output]\nper_job = {KEPT}\nper_user = {KEPT}\ntotal = {KEPT}\n");
        let mut stage = Stage::with(
            args,
            &Setting {
                name: "output",
                toml: growth::jobs(6) + &output,
                ..Setting::default()
            },
        )?;
        let volume = |(bytes, rounds): &(u64, usize)| volume(&mut stage, *bytes, *rounds);
        Ok(Self(SIZES.iter().map(volume).collect::<Result<_, _>>()?))
    }

    pub fn sections(&self) -> Vec<Section> {
        self.0.iter().map(Volume::section).collect()
    }
}

impl Volume {
    fn section(&self) -> Section {
        let mut section = Section::new(
            format!(
                "output of {} MB, to its end being answered",
                self.bytes / 1_000_000
            ),
            &["way", "p50 ms", "p95 ms", "MB/s", "× splice"],
        );
        for taken in &self.ways {
            let cells = [
                ms(taken.time.p50),
                ms(taken.time.p95),
                format!("{:.0}", taken.bytes_per_second / 1e6),
                ratio(taken.of_splice),
            ];
            section.row(taken.title, cells);
        }
        section.note(format!(
            "Meanwhile the warden used {:.2} % of a processor, the broker {:.0} %.",
            self.warden_share * 100.0,
            self.broker_share * 100.0
        ));
        section.note(format!(
            "One user, one job at a time, {} ms of nothing before each. Where others have jobs started, a job's output is taken at about 100 MB/s, so that they do not wait for it.",
            QUIET.as_millis()
        ));
        let memory = |name, before, peak, after| {
            let [before, peak, after] = [before, peak, after].map(mib);
            format!("{name} {before} MiB before, {peak} at most, {after} after")
        };
        section.note(format!(
            "RSS: {}; {}.",
            memory(
                "warden",
                self.before.warden.rss,
                self.warden_peak,
                self.after.warden.rss
            ),
            memory(
                "broker",
                self.before.broker.rss,
                self.broker_peak,
                self.after.broker.rss
            )
        ));
        section
    }
}

fn volume(stage: &mut Stage, bytes: u64, rounds: usize) -> Result<Volume, Failure> {
    // The first job of a daemon costs more and is not measured here.
    let mut client = stage.client()?;
    job(&mut client, Writer::Head, 1_000_000)?;
    let members = stage.members()?;
    let before = members.memory()?;
    forget_peak(members.warden)?;
    forget_peak(members.broker)?;
    let (mut warden, mut broker, mut jobs) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut all = vec![Series::default(); WAYS.len()];
    for _ in 0..rounds {
        for (way, series) in WAYS.iter().zip(&mut all) {
            let file = stage.dir().join("floor");
            thread::sleep(QUIET);
            let took = match way.by {
                By::Job => {
                    let before = members.cpu()?;
                    let took = job(&mut client, way.writer, bytes)?;
                    let spent = members.cpu()?.since(before);
                    warden += spent.warden;
                    broker += spent.broker;
                    jobs += took;
                    took
                }
                By::Splice => splice(way.writer, bytes, &file)?,
                By::File => direct(way.writer, bytes, &file)?,
            };
            series.push(took);
        }
    }
    let summaries: Vec<Summary> = all.iter().map(Series::summary).collect();
    Ok(Volume {
        bytes,
        ways: taken(&summaries, bytes),
        warden_share: warden.as_secs_f64() / jobs.as_secs_f64(),
        broker_share: broker.as_secs_f64() / jobs.as_secs_f64(),
        before,
        warden_peak: peak(members.warden)?,
        broker_peak: peak(members.broker)?,
        after: members.memory()?,
    })
}

fn taken(summaries: &[Summary], bytes: u64) -> Vec<Taken> {
    let of_splice = |writer| {
        let mut both = WAYS.iter().zip(summaries);
        let found = both.find(|(way, _)| way.by == By::Splice && way.writer == writer);
        found.map_or(f64::NAN, |(_, time)| time.p50)
    };
    let one = |(way, time): (&Way, &Summary)| Taken {
        key: way.key,
        title: way.title,
        time: *time,
        bytes_per_second: bytes as f64 * 1e6 / time.p50,
        of_splice: of_splice(way.writer) / time.p50,
    };
    WAYS.iter().zip(summaries).map(one).collect()
}

fn job(client: &mut Client, writer: Writer, bytes: u64) -> Result<Duration, Failure> {
    let argv = writer.argv(bytes);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let request = lanes::run(&argv);
    let start = Instant::now();
    let reply = client.call(request, drop)?;
    let took = start.elapsed();
    match reply {
        Reply::Job { report, .. }
            if report.state == State::Exited && report.stdout.total == bytes =>
        {
            Ok(took)
        }
        other => Err(format!("'{}' did not write: {other:?}", argv.join(" ")).into()),
    }
}

/// The default maximum of a pipe: `fs.pipe-max-size`.
const PIPE: i32 = 1 << 20;

/// Moves the bytes from a pipe by splice(2).
pub fn splice(writer: Writer, bytes: u64, path: &Path) -> Result<Duration, Failure> {
    let file = File::create(path)?;
    let start = Instant::now();
    let mut child = begin(writer, bytes, Stdio::piped())?;
    let pipe = child.stdout.take().ok_or("no pipe")?;
    fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE))?;
    let flags = SpliceFFlags::SPLICE_F_MOVE;
    while splice_once(pipe.as_fd(), None, file.as_fd(), None, PIPE as usize, flags)? > 0 {}
    end(child)?;
    let took = start.elapsed();
    gone(path, bytes)?;
    Ok(took)
}

pub fn direct(writer: Writer, bytes: u64, path: &Path) -> Result<Duration, Failure> {
    let file = File::create(path)?;
    let start = Instant::now();
    end(begin(writer, bytes, file.into())?)?;
    let took = start.elapsed();
    gone(path, bytes)?;
    Ok(took)
}

fn begin(writer: Writer, bytes: u64, stdout: Stdio) -> Result<Child, Failure> {
    let argv = writer.argv(bytes);
    let (program, args) = argv.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(stdout);
    Ok(command.spawn()?)
}

fn end(mut child: Child) -> Result<(), Failure> {
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("a writer failed: {status}").into())
    }
}

/// Removes the file. Fails if it does not have the expected size.
fn gone(path: &Path, bytes: u64) -> Result<(), Failure> {
    let found = fs::metadata(path)?.len();
    fs::remove_file(path)?;
    if found == bytes {
        Ok(())
    } else {
        Err(format!(
            "{found} bytes are in '{}' instead of {bytes}",
            path.display()
        )
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_relative_to_splice_of_same_writer() {
        let time = |p50| Summary {
            count: 1,
            p10: p50,
            p50,
            p95: p50,
        };
        let all = [2e6, 4e6, 1e6, 1e6, 1e6].map(time);
        let all = taken(&all, 1_000_000_000);
        let rates: Vec<_> = all
            .iter()
            .map(|way| (way.bytes_per_second / 1e6, way.of_splice))
            .collect();
        let rates: Vec<_> = rates.iter().map(|(rate, of)| (*rate as u32, *of)).collect();
        assert_eq!(
            rates,
            [
                (500, 0.5),
                (250, 0.25),
                (1000, 1.0),
                (1000, 1.0),
                (1000, 1.0)
            ]
        );
    }

    #[test]
    fn writers_write_requested_length() {
        for writer in [Writer::Head, Writer::Blocks] {
            let argv = writer.argv(100_001);
            let (program, args) = argv.split_first().expect("a program");
            let output = Command::new(program).args(args).output();
            let output = output.expect("it is there");
            assert_eq!(output.stdout.len(), 100_001, "{writer:?}");
        }
    }
}
