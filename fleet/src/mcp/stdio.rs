//! stdin and stdout of the client. Each has a thread, because reading a terminal or a file may block.

use std::io;
use std::thread;

use remit_mcp::lines::Line;
use remit_mcp::output::{LINES_IN, Output, read, write};
use tokio::sync::{mpsc, oneshot};

/// Bytes of one line, as for mcp-shim.
pub const LONGEST_LINE: usize = 4 << 20;

/// Starts reading stdin. The channel ends with the input.
pub fn input() -> io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_IN);
    let read = move || read(io::stdin().lock(), LONGEST_LINE, &lines);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)?;
    Ok(receiver)
}

/// Starts writing stdout. The second value resolves if a write fails.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (output, tasks) = Output::new();
    let (broken, why) = oneshot::channel();
    let write = move || {
        if let Err(error) = write(io::stdout().lock(), tasks) {
            // After the end of the session nobody receives it.
            let _ = broken.send(error);
        }
    };
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(write)?;
    Ok((output, why))
}
