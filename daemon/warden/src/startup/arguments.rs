//! Parses the command line.

use std::path::PathBuf;

use remit_common::names::Runtime;

use crate::startup::error::Fatal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    pub config: PathBuf,
    pub vendor: PathBuf,
    pub runtime: PathBuf,
    pub state: PathBuf,
    /// Where ways to root are looked for.
    pub machine: PathBuf,
    pub check: bool,
}

const HELP: &str = "\
Usage: remitd [OPTIONS]

The root daemon of remit. It stays in the foreground; a service manager starts it.

Options:
  --config DIR   configuration: remit.toml, policy.d (default /etc/remit)
  --vendor DIR   the package's policy.d (default /usr/lib/remit)
  --runtime DIR  sockets (default /run/remit)
  --state DIR    ledger, lock, output of jobs, audit file (default /var/lib/remit)
  --machine DIR  the files in which ways to root are looked for (default /)
  --check        load configuration and policy, report, and exit
  -h, --help     print this
  -V, --version  print the release

Exit status: 0 stopped in order, 64 bad command line, 69 the kernel or another
daemon is in the way, or an account is not known yet, 71 a system call failed,
78 bad configuration or policy.
";

/// `--help` and `--version` print and end the process.
pub fn parse() -> Result<Args, Fatal> {
    from(lexopt::Parser::from_env())
}

fn from(mut parser: lexopt::Parser) -> Result<Args, Fatal> {
    use lexopt::Arg::{Long, Short, Value};
    let mut args = Args {
        config: "/etc/remit".into(),
        vendor: "/usr/lib/remit".into(),
        runtime: Runtime::DEFAULT.into(),
        state: "/var/lib/remit".into(),
        machine: "/".into(),
        check: false,
    };
    let usage = |error: lexopt::Error| Fatal::Usage(error.to_string());
    while let Some(arg) = parser.next().map_err(usage)? {
        match arg {
            Long("config") => args.config = dir(&mut parser)?,
            Long("vendor") => args.vendor = dir(&mut parser)?,
            Long("runtime") => args.runtime = dir(&mut parser)?,
            Long("state") => args.state = dir(&mut parser)?,
            Long("machine") => args.machine = dir(&mut parser)?,
            Long("check") => args.check = true,
            Long("help") | Short('h') => print_and_end(HELP),
            Long("version") | Short('V') => {
                print_and_end(&format!("remitd {}\n", remit_common::RELEASE));
            }
            Long(_) | Short(_) | Value(_) => return Err(usage(arg.unexpected())),
        }
    }
    Ok(args)
}

fn dir(parser: &mut lexopt::Parser) -> Result<PathBuf, Fatal> {
    let value = parser
        .value()
        .map_err(|error| Fatal::Usage(error.to_string()))?;
    let dir = PathBuf::from(value);
    if dir.is_absolute() {
        return Ok(dir);
    }
    Err(Fatal::Usage(format!(
        "'{}' is not an absolute path",
        dir.display()
    )))
}

fn print_and_end(text: &str) -> ! {
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        Ok(()) => std::process::exit(0),
        // A reader that has gone has read what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("remitd: cannot write to standard output: {error}");
            std::process::exit(71)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Args, String> {
        from(lexopt::Parser::from_args(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn directories_are_absolute_and_options_known() {
        assert_eq!(parsed(&[]).unwrap().state, PathBuf::from("/var/lib/remit"));
        assert_eq!(
            parsed(&["--state", "/s", "--check"]).unwrap().state,
            PathBuf::from("/s")
        );
        for bad in [
            &["--state"][..],
            &["--state", "s"],
            &["--nope"],
            &["x"],
            &["--check=1"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
