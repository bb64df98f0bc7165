//! Arguments of `remit run` and `remit try`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueHint};

#[derive(Debug, Args)]
#[command(override_usage = "\
remit run [OPTIONS] [--] ARGV...
       remit run [OPTIONS] --script TEXT | --script-file FILE
       remit run [OPTIONS] --name COMMAND [KEY=VALUE...]")]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["script", "script_file", "name", "argv"])))]
pub struct RunArgs {
    /// Run this text as a script
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          conflicts_with_all = ["script_file", "name", "argv"])]
    pub script: Option<OsString>,

    /// Run the script in this file; '-' is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["name", "argv"])]
    pub script_file: Option<PathBuf>,

    /// Program that runs the script [default: sh]
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["name", "argv"])]
    pub interpreter: Option<OsString>,

    /// Run a command of remit's own, such as service.status; 'remit access' lists them
    #[arg(long, value_name = "COMMAND", value_parser = super::command(),
          conflicts_with_all = ["cwd", "env", "stdin"])]
    pub name: Option<String>,

    /// Sandbox profile [default: read]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Working directory [default: /]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// Set a variable that policy permits; may be given again
    #[arg(long, value_name = "NAME=VALUE",
          value_parser = OsStringValueParser::new().try_map(variable))]
    pub env: Vec<Variable>,

    /// Pass standard input on, at most 1 MiB [default: empty]
    #[arg(long)]
    pub stdin: bool,

    /// End the job after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,

    /// Start nothing if this id was used before: answer with the job it started
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,

    /// Program and its arguments, passed on as they are; with --name its KEY=VALUE
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(override_usage = "\
remit try [OPTIONS] [--] ARGV...
       remit try [OPTIONS] --script TEXT")]
#[command(group(ArgGroup::new("tried").required(true).args(["script", "argv"])))]
pub struct TryArgs {
    /// Try this sandbox profile [default: read]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Run this text as a shell script
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub script: Option<OsString>,

    /// Working directory [default: /]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// End the job after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,

    /// Program and its arguments, passed on as they are
    #[arg(trailing_var_arg = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

/// One `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

fn variable(text: OsString) -> Result<Variable, &'static str> {
    let bytes = text.into_vec();
    match bytes.iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err("it is not NAME=VALUE"),
        Some(at) => {
            let (name, value) = bytes.split_at(at);
            Ok(Variable {
                name: name.to_vec(),
                value: value.get(1..).unwrap_or_default().to_vec(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign() {
        let made = variable("A=b=c".into()).unwrap();
        assert_eq!((made.name, made.value), (b"A".to_vec(), b"b=c".to_vec()));
        let empty = variable("A=".into()).unwrap();
        assert_eq!((empty.name, empty.value), (b"A".to_vec(), Vec::new()));
    }
}
