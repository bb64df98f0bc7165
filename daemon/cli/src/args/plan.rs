//! Arguments of `remit plan` and `undo`, and values of options: times, variables, secrets. Each value of an edit begins
//! with its path, so one line can have several edits.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgGroup, Args, Subcommand, ValueHint};
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::span;
use remit_wire::edits::CallText;
use remit_words::reason::reason;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    override_usage = "\
remit plan EDIT... [--check CALL]
       remit plan [OPTIONS] -- ARGV...
       remit plan [OPTIONS] --script TEXT | --script-file FILE
       remit plan --job ID
       remit plan show ID [PATH]
       remit plan drop ID"
)]
#[command(group(ArgGroup::new("edits").multiple(true)
    .args(["write", "upload", "replace", "patch", "remove", "mkdir", "link", "mode", "owner", "edits_file"])))]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["write", "upload", "replace", "patch", "remove", "mkdir", "link", "mode", "owner", "edits_file", "script",
           "script_file", "job", "argv"])))]
#[command(group(ArgGroup::new("scripts").args(["script", "script_file"])))]
#[command(group(ArgGroup::new("tried").conflicts_with("edits")
    .args(["script", "script_file", "job", "argv"])))]
pub struct PlanArgs {
    #[command(subcommand)]
    pub verb: Option<PlanVerb>,

    /// Give this file the content of FILE, '-' is standard input; it is created if it does not exist. More than 256 KiB
    /// are sent as an upload, and the approver reads their hash
    #[arg(long, num_args = 2, value_names = ["PATH", "FILE"], value_hint = ValueHint::FilePath)]
    pub write: Vec<PathBuf>,

    /// Give this file the content that 'remit put' sent and named
    #[arg(long, num_args = 2, value_names = ["PATH", "UPLOAD"])]
    pub upload: Vec<OsString>,

    /// Replace the text OLD of this file by NEW; it must be there once, or as often as --count says
    #[arg(long, num_args = 3, value_names = ["PATH", "OLD", "NEW"], allow_hyphen_values = true)]
    pub replace: Vec<OsString>,

    /// How many times each OLD must be there [default: 1]
    #[arg(long, value_name = "N", requires = "replace", conflicts_with = "tried", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,

    /// Apply this unified diff of one file or several, '-' is standard input; its names are whole paths
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub patch: Vec<PathBuf>,

    /// Remove this file, link or empty directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub remove: Vec<PathBuf>,

    /// Create this directory
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub mkdir: Vec<PathBuf>,

    /// Make a symbolic link at PATH that leads to TARGET, or have the one that is there lead to it, as ln -sfn
    #[arg(long, num_args = 2, value_names = ["PATH", "TARGET"], allow_hyphen_values = true)]
    pub link: Vec<OsString>,

    /// Set the mode, in octal, as chmod
    #[arg(long, num_args = 2, value_names = ["PATH", "MODE"])]
    pub mode: Vec<OsString>,

    /// Set the owner, as chown: USER, USER:GROUP or :GROUP, by name or number
    #[arg(long, num_args = 2, value_names = ["PATH", "OWNER"])]
    pub owner: Vec<OsString>,

    /// Read edits from a JSON file, '-' is standard input: a list as the tool plan takes it
    #[arg(long = "edits", id = "edits_file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub edits: Option<PathBuf>,

    /// For files that you may not read: whole new contents only, and only the approver can see the old ones
    #[arg(long, conflicts_with_all = ["replace", "patch", "tried"])]
    pub private: bool,

    /// Then run this check of the planned files, as 'nginx.check'; up to 4 times
    #[arg(long, value_name = "CALL")]
    pub check: Vec<CallText>,

    #[command(flatten)]
    pub copy: CopyArgs,
}

/// A program or script that runs on a copy of the machine.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Run this text as a script on a copy of the machine, and plan what it changed there
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub script: Option<OsString>,

    /// The same with the script in this file; '-' is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub script_file: Option<PathBuf>,

    /// Program that runs the script [default: sh]
    #[arg(long, value_name = "PROGRAM", requires = "scripts")]
    pub interpreter: Option<OsString>,

    /// Plan what this job of yours changed in its copy; it ended well in the last 10 minutes
    #[arg(long, value_name = "ID", conflicts_with_all = ["profile", "cwd", "env", "timeout", "interpreter"])]
    pub job: Option<IdPrefix>,

    /// Profile of the program or script: one of base plan [default: plan]
    #[arg(long, value_name = "NAME", requires = "tried")]
    pub profile: Option<String>,

    /// Its working directory [default: /]
    #[arg(long, value_name = "DIR", requires = "tried")]
    pub cwd: Option<PathBuf>,

    /// Set a variable that policy permits; may be given again
    #[arg(long, value_name = "NAME=VALUE", requires = "tried",
          value_parser = OsStringValueParser::new().try_map(variable))]
    pub env: Vec<Variable>,

    /// End it after this time: 90s, 30m, 2h; a number alone is in seconds
    #[arg(long, value_name = "TIME", requires = "tried", value_parser = timeout)]
    pub timeout: Option<u32>,

    /// Program and its arguments: run them on a copy of the machine, and plan what they changed there
    #[arg(last = true, value_name = "ARGV", value_hint = ValueHint::CommandWithArguments)]
    pub argv: Vec<OsString>,
}

impl CopyArgs {
    /// Returns true if anything of it was given that runs or ran.
    pub fn is_asked(&self) -> bool {
        let is_script = self.script.is_some() || self.script_file.is_some();
        is_script || self.job.is_some() || !self.argv.is_empty()
    }
}

#[derive(Debug, Subcommand)]
pub enum PlanVerb {
    /// Show a plan of yours, or one path of it in full
    Show(PlanShowArgs),

    /// Forget the copy of the machine that a job of yours left, which frees its memory
    Drop(PlanDropArgs),
}

#[derive(Debug, Args)]
pub struct PlanShowArgs {
    /// The plan's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// Only this path, with all of its diff
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PlanDropArgs {
    /// The id of the job that ran on the copy, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// Files of up to 256 MiB; 'HOST:' at the end sends them there, through ssh
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// A file of this machine, or 'HOST:PATH', through ssh
    #[arg(value_name = "FROM", value_hint = ValueHint::FilePath)]
    pub from: OsString,

    /// Where to write it, '-' is standard output [default: its name, in this directory]
    #[arg(value_name = "TO", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The id that the commit gave: 32 digits
    #[arg(value_name = "ID", value_parser = commit_id)]
    pub id: String,

    /// Also take away what others, as a service, have made or changed in new directories of the commit; it is kept until root moves it
    #[arg(long)]
    pub with_contents: bool,

    /// Afterwards run this command, as 'service.reload unit=nginx.service', in the same approval; up to 4 times
    #[arg(long, value_name = "CALL")]
    pub then: Vec<String>,

    /// Why, in your words; it is recorded, and whoever approves it reads it
    #[arg(short = 'm', long, value_name = "TEXT", allow_hyphen_values = true, value_parser = reason)]
    pub reason: String,

    /// Start nothing if this id was used before: answer with the job it started
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,

    /// Do not wait: tell the job's id and where it is, and leave it to the daemon
    #[arg(long)]
    pub no_wait: bool,
}

fn commit_id(text: &str) -> Result<String, &'static str> {
    let id = text.parse::<JobId>().map(|id| id.to_string());
    id.map_err(|_| {
        "it does not have 32 hex digits: an undo takes the whole id, as the commit and 'remit confirm' print it"
    })
}

/// One `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

/// An argument whose value does not stand in the list of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub key: String,
    pub file: PathBuf,
}

pub fn timeout(text: &str) -> Result<u32, String> {
    match span::seconds_or_number(text).map_err(|error| error.to_string())? {
        0 => Err("a job runs for 1s at least".to_owned()),
        seconds => Ok(u32::try_from(seconds).unwrap_or(u32::MAX)),
    }
}

pub fn variable(text: OsString) -> Result<Variable, &'static str> {
    let (name, value) = split(text).ok_or("it is not NAME=VALUE")?;
    Ok(Variable { name, value })
}

pub fn secret(text: OsString) -> Result<Secret, &'static str> {
    let (key, file) = split(text).ok_or("it is not KEY=FILE")?;
    let key = String::from_utf8(key).map_err(|_| "the key is not UTF-8")?;
    match file.is_empty() {
        true => Err("it names no file"),
        false => Ok(Secret {
            key,
            file: OsString::from_vec(file).into(),
        }),
    }
}

/// Splits at the first `=`. Returns `None` without `=` or with nothing before it.
fn split(text: OsString) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = text.into_vec();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = bytes.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    (at > 0).then(|| (name.to_vec(), value.to_vec()))
}
