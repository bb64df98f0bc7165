//! stdin and stdout of the client. Pipes and sockets, as from ssh, are served by the main thread ([`end`]). Files and
//! terminals each get their own blocking thread. Input is split into lines.

mod end;

use std::io;
use std::os::fd::AsFd;

use end::{Reader, StdioEnd, StdioKind, Writer};
use nix::poll::{PollFd, PollFlags, poll};
use remit_mcp::lines::{Line, Lines, MAX_LINE};
use remit_mcp::output::{self, BUFFER, LINES_IN, Output, Task};
use tokio::sync::{mpsc, oneshot};

pub use end::Socket;

/// Returns true if nothing comes from stdin, not even its end, for this time in milliseconds.
pub fn is_silent(patience: u16) -> bool {
    let stdin = io::stdin();
    let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, patience) == Ok(0)
}

/// Starts reading stdin. The channel ends with the input or at a read error.
pub fn input() -> io::Result<mpsc::Receiver<Line>> {
    let end = StdioEnd::from_fd(io::stdin().as_fd())?;
    match end.kind() {
        StdioKind::Pipe | StdioKind::Socket => {
            let (lines, receiver) = mpsc::channel(LINES_IN);
            let reader = Reader::new(end)?;
            tokio::spawn(async move { read(&reader, &lines).await });
            Ok(receiver)
        }
        StdioKind::Blocking => output::reader(end.into_file()),
    }
}

/// Starts writing stdout. The second value resolves if a write fails.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let end = StdioEnd::from_fd(io::stdout().as_fd())?;
    match end.kind() {
        StdioKind::Pipe | StdioKind::Socket => {
            let (output, tasks) = Output::new();
            let (broken, why) = oneshot::channel();
            let writer = Writer::new(end);
            tokio::spawn(async move {
                if let Err(error) = write(&writer, tasks).await {
                    // After the end of the session nobody receives it.
                    let _ = broken.send(error);
                }
            });
            Ok((output, why))
        }
        StdioKind::Blocking => output::writer(end.into_file()),
    }
}

/// Sends the lines of `reader` until its end, or until nobody receives them.
async fn read(reader: &Reader, lines: &mpsc::Sender<Line>) {
    let (mut partial, mut buffer) = (Lines::new(MAX_LINE), vec![0; BUFFER]);
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let mut bytes = buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            let (line, taken) = partial.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(line) = line
                && lines.send(line).await.is_err()
            {
                return;
            }
        }
    }
    if let Some(line) = partial.last() {
        // After the end of the session nobody receives it.
        let _ = lines.send(line).await;
    }
}

async fn write(writer: &Writer, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.recv().await {
        match task {
            Task::Write(line) => writer.write(&line).await?,
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// Returns when the reader of stdout is gone, even while nothing is written.
pub async fn reader_gone() {
    end::reader_gone(io::stdout().as_fd()).await;
}

/// Returns when the writer of stdin is gone, even while lines are unread.
pub async fn writer_gone() {
    end::writer_gone(io::stdin().as_fd()).await;
}
