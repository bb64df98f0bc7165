//! MCP clients: the form of their configuration, and how each starts a server. Pure.
#![forbid(unsafe_code)]

mod client;
mod destination;
mod entry;
mod format;

pub use client::{DESKTOP_PATH, McpClient, Os, Passed, StartFacts};
pub use destination::{Destination, ServerName, UserName};
pub use entry::{AGENT, AgentSocket, EntryArgs, ServerEntry};
pub use format::ConfigText;
