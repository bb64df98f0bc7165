//! The two ends of the pipe to the client: lines in, lines out, and its end.
//!
//! stdin and stdout may be pipes, sockets, files or terminals, and the file
//! description may be shared with others. Pipes and sockets, which is what ssh
//! and clients give, are served by the one thread there is ([`end`]); all else is
//! read and written blocking, each by a thread of its own.

mod end;
mod lines;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use tokio::sync::{mpsc, oneshot};

pub use self::end::watched;
use self::end::{End, Kind, Reader, Writer};
pub use self::lines::Line;
use self::lines::Lines;

/// Lines read ahead.
const LINES_IN: usize = 1;
/// Lines that wait to be written.
const LINES_OUT: usize = 8;
/// Bytes read at once.
const BUFFER: usize = 32 << 10;

/// What the writer does next.
#[derive(Debug)]
enum Task {
    Write(Vec<u8>),
    Tell(oneshot::Sender<()>),
}

/// Where lines go out, in order.
#[derive(Clone, Debug)]
pub struct Output(mpsc::Sender<Task>);

/// Room for one line that can be filled at once.
pub struct Room<'a>(mpsc::Permit<'a, Task>);

/// Nothing can be written any more.
#[derive(Debug)]
pub struct Gone;

impl Output {
    /// Waits for room. Dropping the wait loses nothing.
    ///
    /// # Errors
    /// When stdout is broken.
    pub async fn room(&self) -> Result<Room<'_>, Gone> {
        self.0.reserve().await.map(Room).map_err(|_| Gone)
    }

    /// Waits until every line before this call is written.
    ///
    /// # Errors
    /// When stdout is broken.
    pub async fn flush(&self) -> Result<(), Gone> {
        let (done, written) = oneshot::channel();
        self.0.send(Task::Tell(done)).await.map_err(|_| Gone)?;
        written.await.map_err(|_| Gone)
    }
}

impl Room<'_> {
    /// Fills it with a line, which ends in a newline.
    pub fn put(self, line: Vec<u8>) {
        self.0.send(Task::Write(line));
    }
}

/// Starts reading stdin. The channel ends with the input; a read error counts as its end.
///
/// # Errors
/// When there is no descriptor or thread to be had.
pub fn input() -> io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_IN);
    let end = End::of(io::stdin().as_fd())?;
    match end.kind() {
        Kind::Pipe | Kind::Socket => {
            let reader = Reader::new(end)?;
            tokio::spawn(async move { read(&reader, &lines).await });
        }
        Kind::Waits => {
            thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || read_waiting(end.into_file(), &lines))?;
        }
    }
    Ok(receiver)
}

/// Starts writing stdout. The second value comes when a write failed.
///
/// # Errors
/// When there is no descriptor or thread to be had.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (sender, tasks) = mpsc::channel(LINES_OUT);
    let (broken, why) = oneshot::channel();
    // Nobody listens when the session is over anyway.
    let tell = move |written: io::Result<()>| drop(written.map_err(|error| broken.send(error)));
    let end = End::of(io::stdout().as_fd())?;
    match end.kind() {
        Kind::Pipe | Kind::Socket => {
            let writer = Writer::new(end);
            tokio::spawn(async move { tell(write(&writer, tasks).await) });
        }
        Kind::Waits => {
            thread::Builder::new()
                .name("stdout".to_owned())
                .spawn(move || tell(write_waiting(end.into_file(), tasks)))?;
        }
    }
    Ok((Output(sender), why))
}

/// Gives the lines of `reader` until its end, or until nobody takes them.
async fn read(reader: &Reader, lines: &mpsc::Sender<Line>) {
    let (mut begun, mut buffer) = (Lines::default(), vec![0; BUFFER]);
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let mut bytes = buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            let (line, taken) = begun.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if let Some(line) = line
                && lines.send(line).await.is_err()
            {
                return;
            }
        }
    }
    if let Some(line) = begun.last() {
        // Nobody takes it when the session is over.
        let _ = lines.send(line).await;
    }
}

/// The same, on a thread of its own.
fn read_waiting(mut input: impl Read, lines: &mpsc::Sender<Line>) {
    let (mut begun, mut buffer) = (Lines::default(), vec![0; BUFFER]);
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut bytes = buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            let (line, taken) = begun.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if line.is_some_and(|line| lines.blocking_send(line).is_err()) {
                return;
            }
        }
    }
    if let Some(line) = begun.last() {
        // Nobody takes it when the session is over.
        let _ = lines.blocking_send(line);
    }
}

async fn write(writer: &Writer, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.recv().await {
        match task {
            Task::Write(line) => writer.write(&line).await?,
            // Nobody waits any more when the deadline of the flush is over.
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// The same, on a thread of its own.
fn write_waiting(mut output: impl Write, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.blocking_recv() {
        match task {
            Task::Write(line) => output.write_all(&line)?,
            // Nobody waits any more when the deadline of the flush is over.
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// Returns when the reader of stdout is gone, even while nothing is written.
pub async fn reader_gone() {
    end::reader_gone(io::stdout().as_fd()).await;
}

/// Returns when the writer of stdin is gone, even while lines of it wait to be read.
pub async fn writer_gone() {
    end::writer_gone(io::stdin().as_fd()).await;
}
