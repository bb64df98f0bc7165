//! Command line and help texts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use remit_common::names::JobId;
use remit_words::reason::reason;

use crate::approvals::request::{Digest, Target};
use crate::commands::clients::ClientVerb;
use crate::files;

const EXIT: &str = "\
Exit status:
  0 when standard input closes; with run: each host ran it with status 0;
    with logs: each host has a journal; with approve: each host ended with
    status 0 or waits for further people; with client-check: nothing breaks;
    else: each host did it
  1 a host did not, or did not answer; nothing was approved; something breaks
  64 wrong usage, 70 internal error, 71 no thread or runtime,
  74 output failed, 78 fleet.toml is missing or wrong,
  130 SIGINT ended run or logs";

/// One MCP server for many hosts that run remit, over your own ssh
///
/// Without a command it is an MCP server on standard input and output: an MCP client starts it on your computer. It
/// reads ~/.config/remit/fleet.toml, and starts 'ssh HOST mcp-shim' for each host when it is asked.
#[derive(Debug, Parser)]
#[command(name = "remit-fleet", version, after_help = EXIT)]
pub struct Cli {
    /// Read this file instead of ~/.config/remit/fleet.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the hosts
    Hosts(HostsArgs),
    /// Run a program in the read-only sandbox of each host
    Run(RunArgs),
    /// Show the journals of the hosts as one, in the order of the times of their lines
    Logs(LogsArgs),
    /// Fetch a file of each host
    Get(GetArgs),
    /// Send files to each host, for plans
    Put(PutArgs),
    /// List what waits for an approval, each set once
    Pending(PendingArgs),
    /// Show a set or a request, ask, and approve it on each host
    Approve(ApproveArgs),
    /// Deny a set or a request on each host
    Deny(DenyArgs),
    /// Ask one host to undo a commit
    Undo(UndoArgs),
    /// Run nothing more, on any host
    Lock(LockArgs),
    /// Accept requests again
    Unlock(UnlockArgs),
    #[command(flatten)]
    Clients(ClientVerb),
}

#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Only these: 'web* tag:prod !web3'
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Beginning of a set's id, or HOST:ID
    #[arg(value_name = "SET|HOST:ID")]
    pub target: Target,
    /// Only on these: 'web* tag:prod !web3'
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Do not ask: the digest of the whole list was shown before
    #[arg(long, value_name = "HEX", value_parser = Digest::typed)]
    pub digest: Option<Digest>,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    /// Beginning of a set's id, or HOST:ID
    #[arg(value_name = "SET|HOST:ID")]
    pub target: Target,
    /// Only on these: 'web* tag:prod !web3'
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// The reason, for the requester
    #[arg(short, long, value_name = "WHY", allow_hyphen_values = true, value_parser = reason)]
    pub message: String,
}

#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The host. Required if there is more than one
    #[arg(long, value_name = "HOST")]
    pub on: Option<String>,
    /// The reason, for whoever approves it and for the record
    #[arg(short, long, value_name = "WHY", allow_hyphen_values = true, value_parser = reason)]
    pub message: String,
    /// Also take away what others have made in new directories of the commit
    #[arg(long)]
    pub with_contents: bool,
    /// Afterwards run this command, as 'service.reload unit=nginx.service'; up to 4 times
    #[arg(long, value_name = "CALL")]
    pub then: Vec<String>,
    /// The id that the commit gave: 32 digits
    #[arg(value_name = "ID", value_parser = commit)]
    pub id: String,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Only these: 'web* tag:prod !web3'
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// The reason, which refused users see
    #[arg(short, long, value_name = "WHY", allow_hyphen_values = true, value_parser = reason)]
    pub message: String,
    /// End all running jobs too
    #[arg(long)]
    pub kill: bool,
}

#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Only these: 'web* tag:prod !web3'
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
}

#[derive(Debug, Args)]
pub struct HostsArgs {
    /// Only these: 'web* tag:prod !web3'
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Log in to each, and show its address, release and user, or why it does not answer
    #[arg(long)]
    pub probe: bool,
    /// Print JSON, one host a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where: 'web* tag:prod !web3'. Required if there is more than one host
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Show hosts whose output differs in numbers only as one group
    #[arg(long)]
    pub fold_numbers: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Program and arguments, after '--'
    #[arg(last = true, required = true, value_name = "ARGV")]
    pub argv: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Where: 'web* tag:prod !web3'. Required if there is more than one host
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which lines, as for 'remit run --name logs': unit=nginx since=-1h priority=err grep=text lines=100
    #[arg(value_name = "NAME=VALUE", value_parser = pair)]
    pub query: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Where: 'web* tag:prod !web3'. Required if there is more than one host
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// The most that a host may send
    #[arg(long, value_name = "MIB", default_value_t = files::LARGEST >> 20, value_parser = value_parser!(u64).range(1..=1 << 20))]
    pub max_mib: u64,
    /// Print JSON, one file a line
    #[arg(long)]
    pub json: bool,
    /// The file: an absolute path of the hosts
    #[arg(value_name = "REMOTE")]
    pub remote: OsString,
    /// Where to write it; of many hosts a directory, in which each has its own [default: this directory]
    #[arg(value_name = "LOCAL")]
    pub local: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// Where: 'web* tag:prod !web3'. Required if there is more than one host
    #[arg(long, value_name = "HOSTS")]
    pub on: Option<String>,
    /// Print JSON, one file and host a line
    #[arg(long)]
    pub json: bool,
    /// Files of up to 256 MiB; a plan says where they go
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

fn commit(word: &str) -> Result<String, &'static str> {
    let id = word.parse::<JobId>().map(|id| id.to_string());
    id.map_err(|_| "it does not have 32 hexadecimal digits")
}

fn pair(word: &str) -> Result<(String, String), String> {
    let pair = word.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_has_the_exit_statuses_of_the_page() {
        let page = include_str!("../../packaging/man/remit-fleet.1");
        let (_, section) = page.split_once("\n.SH \"EXIT STATUS\"\n").unwrap();
        let (section, _) = section.split_once("\n.SH ").unwrap();
        let of_page = section.split(".TP\n.B ").skip(1);
        let of_page: Vec<&str> = of_page.filter_map(|entry| entry.lines().next()).collect();
        let is_status = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
        let parts = EXIT.split(['\n', ',']);
        let words = parts.filter_map(|part| part.split_whitespace().next());
        let of_help: Vec<&str> = words.filter(is_status).collect();
        assert_eq!(of_help, of_page);
    }

    #[test]
    fn id_of_a_commit_has_one_form() {
        let id = "0123456789abcdef".repeat(2);
        for (word, is_id) in [
            (id.clone(), true),
            (id.to_uppercase(), true),
            (format!("{id}0"), false),
            (id.replace('f', ""), false),
            (id.replace('f', "g"), false),
        ] {
            assert_eq!(commit(&word).ok(), is_id.then(|| id.clone()), "{word}");
        }
    }

    #[test]
    fn reason_may_begin_with_a_hyphen() {
        let commit = "0123456789abcdef".repeat(2);
        for verb in ["deny 7f3a91c2", "lock", &format!("undo {commit}")] {
            let parse = |why: &str| {
                let words = verb.split(' ').chain(["-m", why]);
                Cli::try_parse_from(["remit-fleet"].into_iter().chain(words))
            };
            for (why, is_taken) in [
                ("-m after six", true),
                ("- not now", true),
                ("no", true),
                ("--on", false),
                (" ", false),
            ] {
                assert_eq!(parse(why).is_ok(), is_taken, "{verb} {why}");
            }
        }
    }

    #[test]
    fn program_comes_after_two_hyphens() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli = parse("remit-fleet run --on web* --config f -- df -h --on x").unwrap();
        let Some(Verb::Run(run)) = cli.verb else {
            panic!("no run");
        };
        assert_eq!(run.argv, ["df", "-h", "--on", "x"]);
        assert_eq!(run.on.as_deref(), Some("web*"));
        assert!(parse("remit-fleet run df").is_err());
        assert!(parse("remit-fleet run --on a --").is_err());
        assert!(parse("remit-fleet").unwrap().verb.is_none());
    }
}
