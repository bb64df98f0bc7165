//! Measures the cost of runs through remit and without it: one table, one run, no thresholds. The ways ([`lanes`])
//! take turns, so other load of the machine affects all alike. Only ratios within one run are meaningful. The measured
//! programs are in the same directory, and the daemons are separate ([`stage`]).

mod calls;
mod conditions;
mod decide;
mod flood;
mod footprint;
mod growth;
mod lanes;
mod load;
mod mcp;
mod output;
mod peers;
mod records;
mod report;
mod search;
mod section;
mod series;
mod small;
mod split;
mod ssh;
mod stage;
mod starts;
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
    pub json: Option<PathBuf>,
    pub markdown: Option<PathBuf>,
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
];

const HELP: &str = "\
Usage: remit-bench --stage DIR [OPTIONS]

Measures remit with daemons of its own. Run as root.

Options:
  --stage DIR      an empty directory that only root may write, not below /tmp
  --rounds N       how often each way is taken (default 600)
  --sink SINK      the daemon's audit.sink: file (default) or journald
  --sync SYNC      the daemon's audit.sync: always, changes (default) or never
  --only PARTS     only these, with commas: calls, starts, load, growth, output, footprint,
                   flood, search, decide (which needs neither stage nor root)
  --peers FILE     others to compare with, where they are installed
  --records FILE   what remitd's cost_of_a_record has printed
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
        json: None,
        markdown: None,
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
                let parts = parts.split(',').map(|part| one_of(PARTS, part));
                args.parts = parts.collect::<Result<_, _>>()?;
            }
            Long("peers") => args.peers = Some(PathBuf::from(parser.value()?)),
            Long("records") => args.records = Some(PathBuf::from(parser.value()?)),
            Long("json") => args.json = Some(PathBuf::from(parser.value()?)),
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
    Ok(args)
}

impl Args {
    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }

    pub fn needs_stage(&self) -> bool {
        self.parts.iter().any(|part| part != "decide")
    }
}

fn one_of(known: &[&str], word: &str) -> Result<String, Failure> {
    if known.contains(&word) {
        Ok(word.to_owned())
    } else {
        Err(format!("'{word}' is none of {}", known.join(", ")).into())
    }
}
