//! Serves an MCP client on stdin and stdout until either closes or a signal comes. It does not wait for calls in flight, because jobs belong
//! to their hosts.

mod call;
mod files;
mod progress;
mod reply;
mod server;
mod sets;
mod tools;
mod transport;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use remit_mcp::output::{self, broken};
use rmcp::ServiceExt;
use tokio::time::timeout;

use crate::config::ConfigError;
use crate::engine::Engine;
use crate::exit::{Exit, say};
use crate::set::Sets;
use crate::signals::stopped;

use server::Server;
use transport::{Stdio, Table};

/// Time for the last answers after the end of input.
const GRACE: Duration = Duration::from_millis(500);

pub async fn serve(engine: Result<Arc<Engine>, ConfigError>) -> Exit {
    if io::stdin().is_terminal() {
        say(
            "an MCP server speaks here, and a client starts it; for people there are the commands of 'remit-fleet --help'",
        );
    }
    let ends =
        output::reader(io::stdin()).and_then(|lines| Ok((lines, output::writer(io::stdout())?)));
    let (lines, (output, why)) = match ends {
        Ok(ends) => ends,
        Err(error) => {
            say(&format!("cannot start: {error}"));
            return Exit::System;
        }
    };
    let table = Table::default();
    let transport = Stdio::new(lines, output.clone(), table.clone());
    let sets = Sets::default();
    let server = Server::new(engine, sets.clone());
    let protocol = async {
        match server.serve(transport).await {
            Ok(running) => running.waiting().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    };
    let ended = async {
        table.input_ended().await;
        // A set that nobody watches goes no further. What waits is explained by the records of its hosts.
        sets.end();
        let answered = async {
            table.empty().await;
            output.flush().await
        };
        let _ = timeout(GRACE, answered).await;
    };
    tokio::select! {
        biased;
        () = ended => Exit::Ok,
        // Clients end servers so, too. Files that are not whole are removed with their tasks.
        () = stopped() => {
            sets.end();
            Exit::Ok
        }
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
