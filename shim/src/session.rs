//! Runs one mode of the program from its start to its exit status. Serving ends soon after stdin closes, or at once if
//! the reader of stdout is gone. It does not wait for calls in flight, because jobs belong to the daemon.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use remit_common::RELEASE;
use remit_common::behalf::Behalf;
use remit_common::refusal::Refusal;
use remit_mcp::output::broken;
use remit_wire::Upload;
use remit_wire::client::{Client, ClientError};
use remit_wire::transfer::{TransferError, get, put};
use rmcp::ServiceExt;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::command_line::{CommandLine, Exit, HELP, Mode, asked_by_ssh, is_for_shim};
use crate::connection::ConnectError;
use crate::daemon::Daemon;
use crate::server::Server;
use crate::stdio;
use crate::tools;
use crate::transport::{Stdio, Table};

/// Time for the next answer, and for its writing, after the end of input. Clients that end a session send SIGTERM after two
/// seconds.
const GRACE: Duration = Duration::from_millis(1500);

/// Time until the first line, in milliseconds. A client sends it at once, after a login by hand nothing comes.
const SILENCE: u16 = 3000;

/// `original` is `SSH_ORIGINAL_COMMAND`: sshd passes no client arguments to a forced command. What is not for this program
/// counts only without arguments. It is absent also if a client names the program, so that only the time until the first line
/// shows a person. `behalf` is what `REMIT_BEHALF` says, which sshd passes on only with `AcceptEnv`.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    original: Option<OsString>,
    by_ssh: bool,
    behalf: Option<Behalf>,
) -> Exit {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let may_be_login = by_ssh && original.is_none();
    if let Some(command) = original {
        match asked_by_ssh(&command) {
            // Else a file that is sent would be read as calls.
            Ok(words) => args.extend(words),
            Err(_) if !args.is_empty() && !is_for_shim(&command) => {}
            Err(why) => {
                say(&why);
                return Exit::NotAllowed;
            }
        }
    }
    let CommandLine { socket, mode } = match CommandLine::parse(args) {
        Ok(line) => line,
        Err(why) => {
            say(&format!("{why}; try 'mcp-shim --help'"));
            return Exit::Usage;
        }
    };
    if may_be_login && mode == Mode::Serve && stdio::is_silent(SILENCE) {
        say(
            "an MCP server speaks here, and no shell; Ctrl-C leaves. To test the way: ssh USER@HOST mcp-shim --check",
        );
    }
    match mode {
        Mode::Help => print(HELP),
        Mode::Version => print(&format!("mcp-shim {RELEASE}\n")),
        Mode::PrintTools => print(&tools::print()),
        Mode::Put(upload) => transfer(&socket, |client| {
            put(client, upload, &mut io::stdin().lock()).map(|()| upload)
        }),
        Mode::Get(path) => transfer(&socket, |client| {
            get(client, &path, &mut io::stdout().lock(), say)
        }),
        Mode::Check => block_on(|| check(Daemon::new(socket))),
        Mode::Serve => block_on(|| serve(Daemon::new(socket), behalf)),
    }
}

fn block_on<F>(work: impl FnOnce() -> F) -> Exit
where
    F: Future<Output = Exit> + Send + 'static,
{
    match Builder::new_current_thread().enable_all().build() {
        // Runs as a task, because each wake-up of block_on's own future costs a system call.
        Ok(runtime) => match Runtime::block_on(&runtime, async { tokio::spawn(work()).await }) {
            Ok(exit) => exit,
            Err(error) => {
                say(&format!("ended early: {error}"));
                Exit::Internal
            }
        },
        Err(error) => {
            say(&format!("cannot start: {error}"));
            Exit::System
        }
    }
}

fn transfer(
    socket: &Path,
    work: impl FnOnce(&mut Client) -> Result<Upload, TransferError>,
) -> Exit {
    let connected = Client::connect(socket, &format!("mcp-shim {RELEASE}"));
    let done = connected.map_err(TransferError::from);
    let error = match done.and_then(|mut client| work(&mut client)) {
        Ok(upload) => {
            // The receipt: without it the other side keeps nothing.
            let _ = writeln!(io::stderr(), "{upload}");
            return Exit::Ok;
        }
        Err(error) => error,
    };
    match &error {
        TransferError::Client(ClientError::Refused(refusal)) => {
            say(&refusal.clone().with_next().to_string());
        }
        other => say(&other.to_string()),
    }
    match error {
        TransferError::Client(ClientError::NotRunning { .. } | ClientError::Broken(_)) => {
            Exit::Unavailable
        }
        TransferError::Client(ClientError::NotAllowed { .. } | ClientError::Refused(_)) => {
            Exit::NotAllowed
        }
        TransferError::Write(_) => Exit::Output,
        TransferError::Read(_) | TransferError::Failed(_) => Exit::Failed,
    }
}

async fn check(daemon: Daemon) -> Exit {
    let client = format!("mcp-shim {RELEASE} --check");
    let (error, exit) = match daemon.connect(&client).await {
        Ok(_) => return print("remitd answers\n"),
        Err(error @ (ConnectError::Absent(_) | ConnectError::Unavailable(_))) => {
            (error, Exit::Unavailable)
        }
        Err(error @ (ConnectError::NotAllowed(_) | ConnectError::Refused(_))) => {
            (error, Exit::NotAllowed)
        }
    };
    say(&Refusal::from(error).to_string());
    exit
}

async fn serve(daemon: Daemon, behalf: Option<Behalf>) -> Exit {
    let ends = stdio::input().and_then(|lines| Ok((lines, stdio::output()?)));
    let (lines, (output, why)) = match ends {
        Ok(ends) => ends,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return Exit::System;
        }
    };
    let table = Table::new();
    let server = Server::new(daemon, output.clone(), behalf);
    let daemon = Arc::clone(&server.daemon);
    let transport = Stdio::new(lines, output.clone(), table.clone(), server.clone());
    let protocol = async {
        match server.serve(transport).await {
            Ok(running) => running.waiting().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    };
    let input_ended = async {
        // Lines stay unread while the client does not read its answers.
        tokio::select! {
            () = table.input_ended() => {}
            () = stdio::writer_gone() => {}
        }
        let _ = timeout(GRACE, table.input_ended()).await;
        table.answered(GRACE).await;
        let _ = timeout(GRACE, output.flush()).await;
    };
    // The client that starts the program again gets the new one.
    let outdated = async {
        daemon.outdated().await;
        table.answered(GRACE).await;
        let _ = timeout(GRACE, output.flush()).await;
    };
    tokio::select! {
        biased;
        () = input_ended => Exit::Ok,
        () = outdated => {
            say("ended, because remit was upgraded: start the program again");
            Exit::Unavailable
        }
        () = stdio::reader_gone() => Exit::Ok,
        why = broken(why) => why.map_or(Exit::Ok, |why| {
            say(&why);
            Exit::Output
        }),
        end = protocol => {
            say(&format!("the protocol ended early: {end:?}"));
            Exit::Internal
        }
    }
}

fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            say(&format!("cannot write to stdout: {error}"));
            Exit::Output
        }
    }
}

fn say(line: &str) {
    // If stderr is closed, nobody can be notified.
    let _ = writeln!(io::stderr(), "mcp-shim: {line}");
}
