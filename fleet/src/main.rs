//! `remit-fleet`: one MCP server on the user's computer for many hosts, over the user's own ssh. It holds no policy, no key
//! and no secret: each host decides, records and approves by itself.
#![forbid(unsafe_code)]

mod approvals;
mod args;
mod commands {
    //! What people type.

    pub mod approve;
    pub mod clients;
    pub mod files;
    mod host_status;
    pub mod hosts;
    pub mod lock;
    pub mod logs;
    pub mod pending;
    pub mod render;
    pub mod run;
    pub mod undo;
}
mod columns;
mod config;
mod engine;
mod exit;
mod files;
mod host_name;
mod hosts;
mod link;
mod mcp;
mod releases;
mod remote;
mod request_id;
mod selector;
mod set;
mod signals;
mod ssh;
mod terminal;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::runtime::Builder;

use crate::args::{Cli, Verb};
use crate::config::{ConfigError, UserPaths};
use crate::engine::Engine;
use crate::exit::{Exit, say};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            let exit = match error.use_stderr() {
                true => Exit::Usage,
                false => commands::render::printed(printed),
            };
            return exit.into();
        }
    };
    // One thread: all work is waiting.
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)).into(),
        Err(error) => {
            say(&format!("cannot start: {error}"));
            Exit::System.into()
        }
    }
}

async fn run(cli: Cli) -> Exit {
    let engine = engine(&cli);
    match cli.verb {
        None => mcp::serve(engine).await,
        Some(verb) => match (verb, engine) {
            (Verb::Clients(verb), _) => commands::clients::run(verb, cli.config.as_deref()).await,
            (Verb::Hosts(args), Ok(engine)) => commands::hosts::hosts(&engine, &args).await,
            (Verb::Run(args), Ok(engine)) => commands::run::run(&engine, args).await,
            (Verb::Logs(args), Ok(engine)) => commands::logs::logs(&engine, args).await,
            (Verb::Get(args), Ok(engine)) => commands::files::get(&engine, &args).await,
            (Verb::Put(args), Ok(engine)) => commands::files::put(&engine, &args).await,
            (Verb::Pending(args), Ok(engine)) => commands::pending::pending(&engine, &args).await,
            (Verb::Approve(args), Ok(engine)) => commands::approve::approve(&engine, &args).await,
            (Verb::Deny(args), Ok(engine)) => commands::approve::deny(&engine, &args).await,
            (Verb::Undo(args), Ok(engine)) => commands::undo::undo(&engine, &args).await,
            (Verb::Lock(args), Ok(engine)) => commands::lock::lock(&engine, &args).await,
            (Verb::Unlock(args), Ok(engine)) => commands::lock::unlock(&engine, &args).await,
            (_, Err(error)) => {
                say(&error.0);
                Exit::Config
            }
        },
    }
}

fn engine(cli: &Cli) -> Result<Arc<Engine>, ConfigError> {
    let paths = UserPaths::from_env();
    let paths = paths.ok_or_else(|| ConfigError("HOME is not set".to_owned()))?;
    let file = cli.config.clone().unwrap_or_else(|| paths.file());
    config::load(&paths, &file).map(Engine::new)
}
