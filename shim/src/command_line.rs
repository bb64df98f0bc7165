//! Command line and exit statuses.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use remit_common::names::Runtime;
use remit_common::text;
use remit_wire::Upload;
use remit_words::path_word::path_of;

const SHOWN: usize = 200;

pub const HELP: &str = "\
Usage: mcp-shim [--socket PATH] [--check | --print-tools | --put ID | --get PATH]

An MCP server on stdin and stdout that hands tool calls to remitd. An MCP client
starts it, usually over ssh: ssh -T HOST mcp-shim

      --socket PATH  The daemon's socket [default: /run/remit/remit.sock]
      --check        Connect to the daemon, say how it went, and exit
      --print-tools  Print the answer to tools/list and exit
      --put ID       Send standard input to the daemon as the upload ID;
                     'remit put' starts it
      --get PATH     Print a file; 'remit get' starts it. In PATH, bytes other
                     than letters, digits and /._+@,:=- are written %XX
  -h, --help         Print this help
  -V, --version      Print the version

Exit status: 0 when stdin or stdout closes; 64 wrong usage; 69 remit was
upgraded, and this program is the old one; 70 internal error; 71 no thread or
runtime; 74 stdout cannot be written. With --check, --put and --get: 69 the
daemon does not answer; 77 you may not connect, or the daemon refuses you; 1 the
file is not sent, or not printed.
";

/// Exit statuses of sysexits(3head), as [`HELP`] describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 64,
    Unavailable = 69,
    Internal = 70,
    System = 71,
    Output = 74,
    NotAllowed = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Mode {
    Serve,
    Check,
    PrintTools,
    Put(Upload),
    /// The path of a file.
    Get(Vec<u8>),
    Help,
    Version,
}

#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub socket: PathBuf,
    pub mode: Mode,
}

/// Only the shim with at most one option is accepted. The text is split at its spaces, because no shell reads it.
pub fn asked_by_ssh(command: &OsStr) -> Result<Vec<OsString>, String> {
    let asked = command.to_string_lossy();
    let (program, option) = asked.split_once(' ').unwrap_or((&asked, ""));
    let words: Vec<OsString> = option.split(' ').map(OsString::from).collect();
    match (program.rsplit('/').next(), option, option.split_once(' ')) {
        (Some("mcp-shim"), "", _) => Ok(Vec::new()),
        (Some("mcp-shim"), "--check" | "--print-tools" | "--version", _) => Ok(words),
        (Some("mcp-shim"), _, Some(("--put" | "--get", _))) if words.len() == 2 => Ok(words),
        _ => Err(format!(
            "this key starts mcp-shim and nothing else; not run: '{}'",
            text::line(command.as_bytes(), SHOWN)
        )),
    }
}

/// Returns true if an ssh client asked for this program, with whatever words.
pub fn is_for_shim(command: &OsStr) -> bool {
    let asked = command.to_string_lossy();
    let program = asked.split(' ').next().unwrap_or_default();
    program.rsplit('/').next() == Some("mcp-shim")
}

impl CommandLine {
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut socket = Runtime::new(Runtime::DEFAULT).socket();
        let mut mode = Mode::Serve;
        while let Some(arg) = args.next() {
            let wanted = match arg.as_bytes() {
                b"--socket" => {
                    let path = args.next().ok_or("option '--socket' needs a path")?;
                    socket = PathBuf::from(path);
                    continue;
                }
                [
                    b'-',
                    b'-',
                    b's',
                    b'o',
                    b'c',
                    b'k',
                    b'e',
                    b't',
                    b'=',
                    path @ ..,
                ] => {
                    socket = PathBuf::from(OsString::from_vec(path.to_vec()));
                    continue;
                }
                b"--check" => Mode::Check,
                b"--print-tools" => Mode::PrintTools,
                b"--put" => Mode::Put(value(args.next(), "--put", |text| text.parse().ok())?),
                b"--get" => Mode::Get(value(args.next(), "--get", path_of)?),
                b"-h" | b"--help" => Mode::Help,
                b"-V" | b"--version" => Mode::Version,
                _ => return Err(format!("unknown argument '{}'", arg.display())),
            };
            match (&mode, &wanted) {
                (Mode::Help, _) => {}
                (Mode::Serve, _) | (_, Mode::Help | Mode::Version) => mode = wanted,
                (old, new) if old == new => {}
                _ => {
                    let why = "'--check', '--print-tools', '--put' and '--get' exclude each other";
                    return Err(why.to_owned());
                }
            }
        }
        if socket.as_os_str().is_empty() {
            return Err("option '--socket' needs a path".to_owned());
        }
        Ok(Self { socket, mode })
    }
}

fn value<T>(
    word: Option<OsString>,
    option: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("option '{option}' needs a value"))?;
    let value = word.to_str().and_then(read);
    value.ok_or_else(|| format!("'{}' is no value of '{option}'", word.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(String, Mode), String> {
        CommandLine::parse(line.split_whitespace().map(OsString::from))
            .map(|line| (line.socket.display().to_string(), line.mode))
    }

    #[test]
    fn what_the_help_says_is_read() {
        let default = || "/run/remit/remit.sock".to_owned();
        assert_eq!(parse(""), Ok((default(), Mode::Serve)));
        assert_eq!(parse("--socket /s"), Ok(("/s".to_owned(), Mode::Serve)));
        assert_eq!(
            parse("--check --socket=/s"),
            Ok(("/s".to_owned(), Mode::Check))
        );
        assert_eq!(parse("--print-tools"), Ok((default(), Mode::PrintTools)));
        assert_eq!(parse("--check --help"), Ok((default(), Mode::Help)));
        assert_eq!(parse("-V"), Ok((default(), Mode::Version)));
        assert!(HELP.contains(&default()));
    }

    #[test]
    fn ssh_command_is_the_shim_or_refused() {
        for (command, words) in [
            ("mcp-shim", &[][..]),
            ("/usr/bin/mcp-shim", &[]),
            ("mcp-shim --check", &["--check"]),
            ("/usr/bin/mcp-shim --print-tools", &["--print-tools"]),
            ("mcp-shim --put ab-1", &["--put", "ab-1"]),
            ("mcp-shim --get /a%20b;x", &["--get", "/a%20b;x"]),
        ] {
            let words = words.iter().map(OsString::from).collect();
            assert_eq!(asked_by_ssh(command.as_ref()), Ok(words), "{command}");
        }
        for command in [
            "id",
            "",
            "sh -c mcp-shim",
            "mcp-shim  --check",
            "mcp-shim --check; id",
            "mcp-shim\n--check",
            "mcp-shim --socket /tmp/other",
            "mcp-shim --put",
            "mcp-shim --put a --socket /tmp/other",
            "mcp-shim --get  /a",
            "/usr/lib/openssh/sftp-server",
        ] {
            let refused = asked_by_ssh(command.as_ref()).unwrap_err();
            assert!(refused.contains("not run"), "{command}");
            assert!(!refused.contains('\n'), "{command}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "--socket",
            "--socket=",
            "x",
            "--sockets",
            "-x",
            "--check --print-tools",
            "--put",
            "--put ab-1",
            "--get /a;b",
            "--check --get /a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
