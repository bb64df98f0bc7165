//! The least an MCP server can do that runs programs: no sandbox, no policy, no record, one call at a time.
//!
//! Whatever a call through `mcp-shim` costs more than one through this is the price of remit.

use std::io::{self, BufRead, Write};
use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    argv: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    jsonrpc: &'static str,
    id: Value,
    result: Value,
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remit-bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut line = String::new();
    while stdin.read_line(&mut line)? > 0 {
        let request: Request = serde_json::from_str(&line)?;
        if let Some(id) = request.id {
            let result = match request.method.as_str() {
                "initialize" => json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "remit-bench-floor", "version": "1"},
                }),
                "tools/call" => run(&request.params.arguments.argv)?,
                _ => json!({}),
            };
            let answer = Answer {
                jsonrpc: "2.0",
                id,
                result,
            };
            let mut bytes = serde_json::to_vec(&answer)?;
            bytes.push(b'\n');
            stdout.write_all(&bytes)?;
            stdout.flush()?;
        }
        line.clear();
    }
    Ok(())
}

fn run(argv: &[String]) -> io::Result<Value> {
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(json!({
        "content": [{"type": "text", "text": stdout}],
        "structuredContent": {"exit": output.status.code(), "stdout": stdout, "stderr": stderr},
        "isError": !output.status.success(),
    }))
}
