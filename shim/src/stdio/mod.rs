//! stdin and stdout of the client. Pipes and sockets, as from ssh, are served by the main thread ([`end`]).
//!
//! Files and terminals each get their own blocking thread.

mod end;
mod lines;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use tokio::sync::{mpsc, oneshot};

pub use self::end::watched;
use self::end::{Reader, StdioEnd, StdioKind, Writer};
pub use self::lines::Line;
use self::lines::Lines;

const LINES_IN: usize = 1;
const LINES_OUT: usize = 8;
const BUFFER: usize = 32 << 10;

#[derive(Debug)]
enum Task {
    Write(Vec<u8>),
    Tell(oneshot::Sender<()>),
}

/// Queue of output lines, written in order.
#[derive(Clone, Debug)]
pub struct Output(mpsc::Sender<Task>);

/// Free space for one line, which can be filled without waiting.
pub struct OutputPermit<'a>(mpsc::Permit<'a, Task>);

/// stdout is broken.
#[derive(Debug)]
pub struct Gone;

impl Output {
    /// Waits for free space. Dropping the future loses nothing.
    pub async fn permit(&self) -> Result<OutputPermit<'_>, Gone> {
        self.0.reserve().await.map(OutputPermit).map_err(|_| Gone)
    }

    pub async fn flush(&self) -> Result<(), Gone> {
        let (done, written) = oneshot::channel();
        self.0.send(Task::Tell(done)).await.map_err(|_| Gone)?;
        written.await.map_err(|_| Gone)
    }
}

impl OutputPermit<'_> {
    /// `line` must end in a newline.
    pub fn put(self, line: Vec<u8>) {
        self.0.send(Task::Write(line));
    }
}

/// Starts reading stdin. The channel ends with the input or at a read error.
pub fn input() -> io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_IN);
    let end = StdioEnd::from_fd(io::stdin().as_fd())?;
    match end.kind() {
        StdioKind::Pipe | StdioKind::Socket => {
            let reader = Reader::new(end)?;
            tokio::spawn(async move { read(&reader, &lines).await });
        }
        StdioKind::Blocking => {
            thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || read_waiting(end.into_file(), &lines))?;
        }
    }
    Ok(receiver)
}

/// Starts writing stdout. The second value resolves if a write fails.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (sender, tasks) = mpsc::channel(LINES_OUT);
    let (broken, why) = oneshot::channel();
    // After the end of the session nobody receives the error.
    let tell = move |written: io::Result<()>| drop(written.map_err(|error| broken.send(error)));
    let end = StdioEnd::from_fd(io::stdout().as_fd())?;
    match end.kind() {
        StdioKind::Pipe | StdioKind::Socket => {
            let writer = Writer::new(end);
            tokio::spawn(async move { tell(write(&writer, tasks).await) });
        }
        StdioKind::Blocking => {
            thread::Builder::new()
                .name("stdout".to_owned())
                .spawn(move || tell(write_waiting(end.into_file(), tasks)))?;
        }
    }
    Ok((Output(sender), why))
}

/// Sends the lines of `reader` until its end, or until nobody receives them.
async fn read(reader: &Reader, lines: &mpsc::Sender<Line>) {
    let (mut partial, mut buffer) = (Lines::default(), vec![0; BUFFER]);
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

fn read_waiting(mut input: impl Read, lines: &mpsc::Sender<Line>) {
    let (mut partial, mut buffer) = (Lines::default(), vec![0; BUFFER]);
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

async fn write(writer: &Writer, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.recv().await {
        match task {
            Task::Write(line) => writer.write(&line).await?,
            // After the deadline of the flush nobody waits.
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}

fn write_waiting(mut output: impl Write, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.blocking_recv() {
        match task {
            Task::Write(line) => output.write_all(&line)?,
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
