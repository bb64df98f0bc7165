//! Standard input and output of the client: lines in, lines out in order.

use std::future;
use std::io::{self, ErrorKind, Read, Write};
use std::thread;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::lines::{Line, Lines, MAX_LINE};

pub const LINES_IN: usize = 1;
/// Bytes that are read at once.
pub const BUFFER: usize = 32 << 10;
const LINES_OUT: usize = 8;

/// What the writer of the output does next.
#[derive(Debug)]
pub enum Task {
    Write(Vec<u8>),
    Tell(oneshot::Sender<()>),
}

/// Lines to the client, in order.
#[derive(Clone, Debug)]
pub struct Output(mpsc::Sender<Task>);

pub struct OutputPermit<'a>(mpsc::Permit<'a, Task>);

/// stdout is broken.
#[derive(Debug)]
pub struct Gone;

impl Output {
    /// Also returns what its writer has to do.
    pub fn new() -> (Self, mpsc::Receiver<Task>) {
        let (sender, tasks) = mpsc::channel(LINES_OUT);
        (Self(sender), tasks)
    }

    /// Waits for space: a client that reads slowly is answered slowly. Dropping the future loses nothing.
    pub async fn permit(&self) -> Result<OutputPermit<'_>, Gone> {
        self.0.reserve().await.map(OutputPermit).map_err(|_| Gone)
    }

    /// Returns when all lines are written.
    pub async fn flush(&self) -> Result<(), Gone> {
        let (done, written) = oneshot::channel();
        self.0.send(Task::Tell(done)).await.map_err(|_| Gone)?;
        written.await.map_err(|_| Gone)
    }
}

impl From<Gone> for io::Error {
    fn from(_: Gone) -> Self {
        ErrorKind::BrokenPipe.into()
    }
}

impl OutputPermit<'_> {
    /// `line` ends in a newline.
    pub fn put(self, line: Vec<u8>) {
        self.0.send(Task::Write(line));
    }
}

/// Starts a thread that reads an input which may block. The channel ends with the input or at a read error.
///
/// # Errors
/// No thread can be started.
pub fn reader(input: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_IN);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read(input, &lines))?;
    Ok(receiver)
}

/// Starts a thread that writes to an output which may block. The second value resolves if a write fails.
///
/// # Errors
/// No thread can be started.
pub fn writer(
    output: impl Write + Send + 'static,
) -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (lines, tasks) = Output::new();
    let (broken, why) = oneshot::channel();
    // After the end of the session nobody receives the error.
    let run = move || drop(write(output, tasks).map_err(|error| broken.send(error)));
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(run)?;
    Ok((lines, why))
}

/// Sends lines until the input ends or nobody receives them.
fn read(mut input: impl Read, lines: &mpsc::Sender<Line>) {
    let (mut partial, mut buffer) = (Lines::new(MAX_LINE), vec![0; BUFFER]);
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut bytes = buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            let (line, taken) = partial.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if line.is_some_and(|line| lines.blocking_send(line).is_err()) {
                return;
            }
        }
    }
    if let Some(line) = partial.last() {
        let _ = lines.blocking_send(line);
    }
}

fn write(mut output: impl Write, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.blocking_recv() {
        match task {
            Task::Write(line) => {
                output.write_all(&line)?;
                output.flush()?;
            }
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// Returns the line of a message for [`OutputPermit::put`].
pub fn to_line(message: &impl Serialize) -> Vec<u8> {
    // Plain data always serializes.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Returns when the output is broken: with a sentence, or nothing if its reader is gone.
pub async fn broken(why: oneshot::Receiver<io::Error>) -> Option<String> {
    match why.await {
        Ok(error) if error.kind() == ErrorKind::BrokenPipe => None,
        Ok(error) => Some(format!("cannot write to stdout: {error}")),
        Err(_) => future::pending().await,
    }
}
