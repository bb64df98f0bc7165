//! Measures the cost of runs through remit and without it: one table, one run, no thresholds. The ways ([`lanes`])
//! take turns, so other load of the machine affects all alike. Only ratios within one run are meaningful. The measured
//! programs are in the same directory, and the daemons are separate ([`stage`]).

mod against;
mod calls;
mod changes;
mod conditions {
    //! The conditions of a run: everything except remit that the numbers depend on.

    use std::fs;

    use remit_wire::outcome::Enforced;
    use serde::Serialize;

    use crate::section::Section;
    use crate::{Args, Failure};

    #[derive(Debug, Serialize)]
    pub struct Conditions {
        pub release: &'static str,
        pub build: &'static str,
        pub kernel: String,
        pub processor: String,
        pub cpus: usize,
        /// Lines of mountinfo. Each job's mount namespace copies them.
        pub mounts: usize,
        /// Mount events of the host's root propagate to other namespaces.
        pub mounts_shared: bool,
        pub rounds: usize,
        pub sink: String,
        pub sync: String,
        pub enforced: Enforced,
    }

    impl Conditions {
        pub fn read(args: &Args, enforced: Enforced) -> Result<Self, Failure> {
            let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let processor = cpuinfo
                .lines()
                .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
                .map_or("unknown processor", |(_, name)| name.trim());
            Ok(Self {
                release: remit_common::RELEASE,
                build: if cfg!(debug_assertions) {
                    "unoptimised"
                } else {
                    "optimised"
                },
                kernel: kernel.trim().to_owned(),
                processor: processor.to_owned(),
                cpus: std::thread::available_parallelism()?.get(),
                mounts: mounts.lines().count(),
                mounts_shared: is_shared(&mounts),
                rounds: args.rounds,
                sink: args.sink.clone(),
                sync: args.sync.clone(),
                enforced,
            })
        }
    }

    impl Conditions {
        pub fn section(&self) -> Section {
            let shared = if self.mounts_shared {
                "shared"
            } else {
                "not shared"
            };
            let title = format!(
                "remit {}, {}; Linux {}, {} × {}",
                self.release, self.build, self.kernel, self.cpus, self.processor
            );
            let mut section = Section::new(title, &[]);
            section.note(format!(
                "{} rounds, ways in turns; audit.sink {}, audit.sync {}; {} mounts, {shared}: all of it runs in a mount \
                 namespace of its own, made so as systemd makes the host's.",
                self.rounds, self.sink, self.sync, self.mounts
            ));
            section.note(format!(
                "Layers: {}; landlock {}; {}.",
                self.enforced.layers.join(" "),
                self.enforced.landlock,
                self.enforced.limits.join(", ")
            ));
            section
        }
    }

    /// Reads the optional fields of the mount at `/`: proc_pid_mountinfo(5).
    fn is_shared(mounts: &str) -> bool {
        mounts.lines().any(|line| {
            let mut fields = line.split(' ').skip(4);
            fields.next() == Some("/")
                && fields
                    .take_while(|field| *field != "-")
                    .any(|field| field.starts_with("shared:"))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_the_root_mount_counts() {
            for (mounts, shared) in [
                (
                    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
                    true,
                ),
                ("22 1 8:1 / / rw,relatime - ext4 shared:1 rw\n", false),
                ("23 22 0:2 / /proc rw shared:2 - proc proc rw\n", false),
            ] {
                assert_eq!(is_shared(mounts), shared, "{mounts}");
            }
        }
    }
}
mod copies;
mod decide;
mod fleet;
mod flood;
mod footprint;
mod growth;
mod handovers;
mod lanes;
mod load;
mod machine;
mod mcp;
mod output;
mod peers;
mod prove;
mod replay;
mod report;
mod search;
mod section {
    //! A part of the result as a table, for a terminal and as Markdown. Pure.

    use std::fmt::Write as _;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Section {
        title: String,
        columns: Vec<String>,
        rows: Vec<Vec<String>>,
        notes: Vec<String>,
    }

    impl Section {
        pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
            Self {
                title: title.into(),
                columns: columns.iter().map(|name| (*name).to_owned()).collect(),
                ..Self::default()
            }
        }

        pub fn row(&mut self, words: impl Into<String>, cells: impl IntoIterator<Item = String>) {
            let words = std::iter::once(words.into());
            self.rows.push(words.chain(cells).collect());
        }

        pub fn note(&mut self, note: impl Into<String>) {
            self.notes.push(note.into());
        }

        pub fn text(&self) -> String {
            let mut text = format!("{}\n", self.title);
            if !self.rows.is_empty() {
                let lines = std::iter::once(&self.columns).chain(&self.rows);
                let width = |at: usize| {
                    let cells = lines.clone().filter_map(|line| line.get(at));
                    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
                };
                let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
                for line in lines.clone() {
                    text.push(' ');
                    for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                        let _ = match at {
                            0 => write!(text, " {cell:<width$}"),
                            _ => write!(text, "  {cell:>width$}"),
                        };
                    }
                    text.truncate(text.trim_end().len());
                    text.push('\n');
                }
            }
            for note in &self.notes {
                let _ = writeln!(text, "  {note}");
            }
            text
        }

        pub fn markdown(&self) -> String {
            let mut text = format!("### {}\n\n", self.title);
            if !self.rows.is_empty() {
                let mut line = |cells: &[String]| {
                    for cell in cells {
                        let _ = write!(text, "| {} ", cell.replace('|', "\\|"));
                    }
                    text.push_str("|\n");
                };
                line(&self.columns);
                let rule = |at| if at == 0 { "---" } else { "---:" }.to_owned();
                line(&(0..self.columns.len()).map(rule).collect::<Vec<_>>());
                self.rows.iter().for_each(|row| line(row));
                text.push('\n');
            }
            for note in &self.notes {
                let _ = writeln!(text, "{note}\n");
            }
            text
        }
    }

    pub fn ms(micros: f64) -> String {
        format!("{:.3}", micros / 1e3)
    }

    pub fn ratio(ratio: f64) -> String {
        if ratio.is_finite() {
            format!("{ratio:.2}")
        } else {
            "-".into()
        }
    }

    pub fn mib(bytes: u64) -> String {
        format!("{:.2}", bytes as f64 / f64::from(1 << 20))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn columns_are_aligned_with_notes_below() {
            let mut section = Section::new("calls", &["by", "ms"]);
            section.row("a", ["1.000".to_owned()]);
            section.row("b|c", [ms(12_345.0)]);
            section.note("of one run");
            assert_eq!(
                section.text(),
                "calls\n  by       ms\n  a     1.000\n  b|c  12.345\n  of one run\n"
            );
            assert_eq!(
                section.markdown(),
                "### calls\n\n| by | ms |\n| --- | ---: |\n| a | 1.000 |\n| b\\|c | 12.345 |\n\nof one run\n\n"
            );
        }

        #[test]
        fn what_could_not_be_compared_is_a_dash() {
            assert_eq!(
                (ratio(f64::NAN), ratio(1.234)),
                ("-".into(), "1.23".to_owned())
            );
        }
    }
}
mod series;
mod soak;
mod stage;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match parse().and_then(report::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
pub struct Args {
    /// An empty directory that only root may write. It is empty again afterwards.
    pub stage: PathBuf,
    pub rounds: usize,
    pub sink: String,
    pub sync: String,
    /// A subset of [`PARTS`].
    pub parts: Vec<String>,
    pub peers: Option<PathBuf>,
    /// Output of remitd's own measurement of an audit record.
    pub records: Option<PathBuf>,
    /// A directory with the programs of another release, which calls are compared with.
    pub against: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub markdown: Option<PathBuf>,
    /// Duration of `soak`.
    pub seconds: u64,
    /// Where `soak` leaves its picture, as SVG.
    pub picture: Option<PathBuf>,
}

pub const PARTS: &[&str] = &[
    "calls",
    "starts",
    "load",
    "growth",
    "output",
    "footprint",
    "flood",
    "search",
    "decide",
    "replay",
    "prove",
    "changes",
    "copies",
    "fleet",
];
/// A part that only runs if it is named: it takes an hour.
pub const SOAK: &str = "soak";
const HOUR_S: u64 = 3600;

const HELP: &str = "\
Usage: remit-bench --stage DIR [OPTIONS]

Measures remit with daemons of its own. Run as root.

Options:
  --stage DIR      an empty directory that only root may write, not below /tmp
  --rounds N       how often each way is taken (default 600)
  --sink SINK      the daemon's audit.sink: file (default) or journald
  --sync SYNC      the daemon's audit.sync: always, changes (default) or never
  --only PARTS     only these, with commas: calls, starts, load, growth, output, footprint,
                   flood, search, decide and replay (which need neither stage nor root), prove, changes,
                   copies, fleet; and soak, which is only run if it is named
  --seconds N      how long soak runs jobs (default 3600)
  --picture FILE   leave the curve of soak there, as SVG
  --peers FILE     others to compare with, where they are installed
  --records FILE   what remitd's cost_of_a_record has printed
  --against DIR    in place of 'calls': compare calls with the programs in this directory
  --json FILE      leave the result there, too
  --markdown FILE  put the tables into this document, in place of those it has
  -h, --help       print this
";

/// Parses the arguments. `--help` prints and exits.
pub fn parse() -> Result<Args, Failure> {
    use lexopt::Arg::{Long, Short};
    use lexopt::ValueExt;
    let mut parser = lexopt::Parser::from_env();
    let mut args = Args {
        stage: PathBuf::new(),
        rounds: 600,
        sink: "file".into(),
        sync: "changes".into(),
        parts: PARTS.iter().map(|part| (*part).to_owned()).collect(),
        peers: None,
        records: None,
        against: None,
        json: None,
        markdown: None,
        seconds: HOUR_S,
        picture: None,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("stage") => args.stage = PathBuf::from(parser.value()?),
            Long("rounds") => args.rounds = parser.value()?.string()?.parse()?,
            Long("sink") => args.sink = one_of(&["file", "journald"], &parser.value()?.string()?)?,
            Long("sync") => {
                args.sync = one_of(&["always", "changes", "never"], &parser.value()?.string()?)?;
            }
            Long("only") => {
                let parts = parser.value()?.string()?;
                let known = [PARTS, &[SOAK]].concat();
                let parts = parts.split(',').map(|part| one_of(&known, part));
                args.parts = parts.collect::<Result<_, _>>()?;
            }
            Long("peers") => args.peers = Some(PathBuf::from(parser.value()?)),
            Long("records") => args.records = Some(PathBuf::from(parser.value()?)),
            Long("against") => args.against = Some(PathBuf::from(parser.value()?)),
            Long("json") => args.json = Some(PathBuf::from(parser.value()?)),
            Long("seconds") => args.seconds = parser.value()?.string()?.parse()?,
            Long("picture") => args.picture = Some(PathBuf::from(parser.value()?)),
            Long("markdown") => args.markdown = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => {
                print!("{HELP}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if args.rounds == 0 {
        return Err("'--rounds' must be 1 or more".into());
    }
    if args.stage.as_os_str().is_empty() && args.needs_stage() {
        return Err("'--stage' is needed; 'make bench' gives one".into());
    }
    if let Some(path) = args.markdown.as_deref().filter(|path| !path.is_file()) {
        return Err(format!(
            "'--markdown {}': there is no such document to put tables into",
            path.display()
        )
        .into());
    }
    Ok(args)
}

impl Args {
    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }

    pub fn needs_stage(&self) -> bool {
        self.parts
            .iter()
            .any(|part| !["decide", "replay"].contains(&part.as_str()))
    }
}

fn one_of(known: &[&str], word: &str) -> Result<String, Failure> {
    if known.contains(&word) {
        Ok(word.to_owned())
    } else {
        Err(format!("'{word}' is none of {}", known.join(", ")).into())
    }
}
