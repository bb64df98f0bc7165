//! The command line.

use std::path::PathBuf;

use crate::Failure;

/// What to measure, and where to leave the result.
#[derive(Debug)]
pub struct Args {
    /// An empty directory that only root may write; left as it is afterwards.
    pub stage: PathBuf,
    /// How often each way is taken.
    pub rounds: usize,
    /// `audit.sink` of the daemon.
    pub sink: String,
    /// `audit.sync` of the daemon.
    pub sync: String,
    /// The parts to measure, of [`PARTS`].
    pub parts: Vec<String>,
    /// What others are compared with, `peers.toml`.
    pub peers: Option<PathBuf>,
    /// What remitd's own measurement of a record has printed.
    pub records: Option<PathBuf>,
    /// Where the result goes as JSON.
    pub json: Option<PathBuf>,
    /// The document whose figures are replaced by the result.
    pub markdown: Option<PathBuf>,
}

/// All that can be measured, in order.
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

/// Reads the process's arguments. `--help` prints and ends the process.
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
    /// Whether a part is wanted.
    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }

    /// Whether any part needs a daemon.
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
