//! `mcp-shim`: an MCP server on stdin and stdout in front of remitd.
//!
//! It runs as the caller, holds no privilege and no policy, and translates tool
//! calls into frames on the daemon's socket. Deleting it loses convenience, not
//! safety.
#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod base64;
mod command_line;
mod connection;
mod daemon;
mod direct;
mod fit;
mod in_flight;
mod line;
mod progress;
mod quoted;
mod server;
mod session;
mod socket;
mod stdio;
mod tools;
mod transport;

fn main() -> std::process::ExitCode {
    session::main(
        std::env::args_os().skip(1),
        std::env::var_os("SSH_ORIGINAL_COMMAND"),
        std::env::var_os("SSH_CONNECTION").is_some(),
    )
    .into()
}
