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
    /// Only what verdicts cost: no daemon, no stage.
    pub decide: bool,
    /// Where the result goes as JSON.
    pub json: Option<PathBuf>,
}

const HELP: &str = "\
Usage: remit-bench --stage DIR [OPTIONS]
       remit-bench --decide

Measures remit with a daemon of its own. Run as root.

Options:
  --stage DIR    an empty directory that only root may write, not below /tmp
  --rounds N     how often each way is taken (default 600)
  --sink SINK    the daemon's audit.sink: file (default) or journald
  --sync SYNC    the daemon's audit.sync: always, changes (default) or never
  --decide       only what verdicts cost among many rules: no daemon, no stage, anybody may
  --json FILE    leave the result there, too
  -h, --help     print this
";

/// Reads the process's arguments. `--help` prints and ends the process.
pub fn parse() -> Result<Args, Failure> {
    use lexopt::Arg::{Long, Short};
    use lexopt::ValueExt;
    let mut parser = lexopt::Parser::from_env();
    let (mut stage, mut decide) = (None, false);
    let (mut rounds, mut sink, mut sync, mut json) = (600, "file".into(), "changes".into(), None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("stage") => stage = Some(PathBuf::from(parser.value()?)),
            Long("rounds") => rounds = parser.value()?.string()?.parse()?,
            Long("sink") => sink = one_of(&["file", "journald"], parser.value()?.string()?)?,
            Long("sync") => {
                sync = one_of(&["always", "changes", "never"], parser.value()?.string()?)?;
            }
            Long("decide") => decide = true,
            Long("json") => json = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => {
                print!("{HELP}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if rounds == 0 {
        return Err("'--rounds' must be 1 or more".into());
    }
    Ok(Args {
        stage: match stage {
            Some(stage) => stage,
            None if decide => PathBuf::new(),
            None => return Err("'--stage' is needed; 'make bench' gives one".into()),
        },
        decide,
        rounds,
        sink,
        sync,
        json,
    })
}

fn one_of(known: &[&str], word: String) -> Result<String, Failure> {
    if known.contains(&word.as_str()) {
        Ok(word)
    } else {
        Err(format!("'{word}' is none of {}", known.join(", ")).into())
    }
}
