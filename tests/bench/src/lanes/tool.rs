//! Ways that start at an MCP server.

use std::process::Command;

use super::Lane;
use crate::Failure;
use crate::mcp::{self, Session};
use crate::stage::Stage;

pub fn shim(stage: &mut Stage) -> Result<Session, Failure> {
    let command = shim_command(stage);
    Ok(Session::open(command)?.0)
}

pub fn shim_command(stage: &mut Stage) -> Command {
    let mut command = stage.program("mcp-shim");
    command.arg("--socket").arg(stage.runtime().socket());
    command
}

type Check = Box<dyn Fn(&str) -> Result<(), Failure>>;

pub fn open_run(command: Command) -> Result<Box<dyn Lane>, Failure> {
    open(command, mcp::RUN.to_owned(), Box::new(mcp::ran))
}

pub fn open(command: Command, params: String, check: Check) -> Result<Box<dyn Lane>, Failure> {
    Ok(Box::new(ToolCall {
        session: Session::open(command)?.0,
        params,
        check,
        line: String::new(),
    }))
}

pub fn ping(command: Command) -> Result<Box<dyn Lane>, Failure> {
    Ok(Box::new(Ping(Session::open(command)?.0, String::new())))
}

struct ToolCall {
    session: Session,
    params: String,
    check: Check,
    line: String,
}

impl Lane for ToolCall {
    fn go(&mut self) -> Result<(), Failure> {
        self.session.ask_tool(&self.params)?;
        self.session.receive(&mut self.line)
    }

    fn check(&mut self) -> Result<(), Failure> {
        (self.check)(&self.line)
    }
}

struct Ping(Session, String);

impl Lane for Ping {
    fn go(&mut self) -> Result<(), Failure> {
        self.0.ask_ping()?;
        self.0.receive(&mut self.1)
    }
}
