//! Completes command lines for shells. A shell's script calls `remit` with its words; verbs and options come from the
//! definition, names and ids from the daemon. Completion never asks, waits long or reports an error.

mod values;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::{Bash, Fish, Shells, Zsh};
use values::Values;

use crate::args::{Cli, CompletionsArgs};
use crate::error::{Exit, Failure};

const VAR: &str = "REMIT_COMPLETE";
const SHELLS: Shells<'_> = Shells(&[&Bash, &Zsh, &Fish]);

/// Returns true if a shell's script asked for completions, as `remit -- remit WORD...`; then they are printed. The
/// variable alone is not enough: `remit lock` with it in the environment would do nothing and report success.
pub fn complete(args: &[OsString]) -> bool {
    let is_of_script = args.get(1).is_some_and(|word| word == "--");
    if !is_of_script || std::env::var_os(VAR).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    let completion = CompleteEnv::with_factory(command).var(VAR).shells(SHELLS);
    let here = std::env::current_dir().ok();
    // An error would be printed in the middle of a line that somebody types.
    completion
        .bin(NAME)
        .completer(NAME)
        .try_complete(args.iter().cloned(), here.as_deref())
        .unwrap_or(true)
}

const NAME: &str = "remit";

fn script(shell: &str, to: &mut dyn Write) -> io::Result<()> {
    let shell = SHELLS.completer(shell).ok_or(io::ErrorKind::InvalidInput)?;
    shell.write_registration(VAR, NAME, NAME, NAME, to)
}

const LIVE: [(&str, &str, Values); 15] = [
    ("run", "name", Values::Reads),
    ("run", "argv", Values::ArgumentsOrPrograms),
    ("change", "name", Values::Changes),
    ("change", "plan", Values::Jobs),
    ("change", "words", Values::ChangesOrArguments),
    ("access", "name", Values::Commands),
    ("access", "argv", Values::ArgumentsOrPrograms),
    ("try", "argv", Values::ArgumentsOrPrograms),
    ("job", "id", Values::Jobs),
    ("stop", "id", Values::LiveJobs),
    ("show", "id", Values::Requests),
    ("approve", "id", Values::Requests),
    ("deny", "id", Values::Requests),
    ("grant", "what", Values::Changes),
    ("revoke", "id", Values::Grants),
];

fn command() -> Command {
    let command = LIVE
        .iter()
        .fold(Cli::command(), |command, (verb, id, values)| {
            command.mut_subcommand(*verb, |verb| with(verb, id, *values))
        });
    command.mut_subcommand("audit", |audit| {
        audit.mut_subcommand("show", |show| with(show, "story", Values::Jobs))
    })
}

/// `mut_arg` would make the argument the last one.
fn with(verb: Command, id: &str, values: Values) -> Command {
    verb.mut_args(|arg| match arg.get_id() == id {
        true => arg.add(ArgValueCompleter::new(values)),
        false => arg,
    })
}

pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    script(&args.shell, &mut text)?;
    io::stdout().lock().write_all(&text)?;
    Ok(Exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_arguments_exist() {
        let command = command();
        command.clone().debug_assert();
        for (verb, id, _) in LIVE {
            let verb = command.find_subcommand(verb).unwrap();
            assert!(verb.get_arguments().any(|arg| arg.get_id() == id), "{id}");
        }
    }

    #[test]
    fn each_shell_has_a_script() {
        for shell in ["bash", "zsh", "fish"] {
            let mut script = Vec::new();
            super::script(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains(VAR) && script.contains("remit"), "{script}");
        }
        assert!(script("csh", &mut Vec::new()).is_err());
    }
}
