//! The minimal MCP server that runs programs: no sandbox, no policy, no record. Threads take turns: the one that has
//! read a line runs and answers it while the next one reads. A single call thus needs no hand-over, and many calls run
//! at once. The extra cost of a call through `mcp-shim` is the cost of remit.

use std::io::{self, BufRead, BufReader, Stdin, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Calls at once: remit's limit of jobs per user.
const THREADS: usize = 16;

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
    let input = Mutex::new(BufReader::new(io::stdin()));
    let served = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| serve(&input)))
            .collect();
        let mut ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|ended| {
            ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remit-bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(input: &Mutex<BufReader<Stdin>>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        let read = match input.lock() {
            Ok(mut input) => input.read_line(&mut line)?,
            Err(_) => return Err(io::Error::other("another thread panicked")),
        };
        if read == 0 {
            return Ok(());
        }
        take(&line)?;
    }
}

fn take(line: &str) -> io::Result<()> {
    let request: Request = serde_json::from_str(line)?;
    let Some(id) = request.id else {
        return Ok(());
    };
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
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()
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
