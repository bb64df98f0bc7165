//! `mcp-shim`: an MCP server on stdin and stdout in front of remitd.
//! It translates tool calls into frames on the daemon's socket. It runs as the caller, without privilege or policy.
#![forbid(unsafe_code)]

mod access;
mod answer;
mod arguments;
mod brief;
mod clock;
mod command_line;
mod connection;
mod daemon;
mod direct;
mod host;
mod in_flight;
pub(crate) mod jsonrpc;
mod part_notes;
mod plan;
mod plan_calls;
mod rounds;
mod server;
mod session;
mod stdio;
pub(crate) mod text_fence;
mod tools;
mod transport;
pub(crate) mod truncate;

fn main() -> std::process::ExitCode {
    remit_common::panics::end_process();
    session::main(
        std::env::args_os().skip(1),
        std::env::var_os("SSH_ORIGINAL_COMMAND"),
        std::env::var_os("SSH_CONNECTION").is_some(),
        remit_mcp::behalf_of_environment(),
    )
    .into()
}
