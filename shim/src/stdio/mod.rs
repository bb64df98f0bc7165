//! stdin and stdout of the client. Pipes and sockets, as from ssh, are served by the main thread ([`end`]). Files and
//! terminals each get their own blocking thread. Input is split into lines.

mod end;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use end::{Reader, StdioEnd, StdioKind, Writer};
use tokio::sync::{mpsc, oneshot};

use crate::jsonrpc::MAX_LINE;

pub use end::Socket;

const LINES_IN: usize = 1;
const LINES_OUT: usize = 8;
const BUFFER: usize = 32 << 10;

#[derive(Debug)]
enum Task {
    Write(Vec<u8>),
    Tell(oneshot::Sender<()>),
}

#[derive(Clone, Debug)]
pub struct Output(mpsc::Sender<Task>);

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

#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// The line exceeded [`MAX_LINE`] and was dropped.
    TooLong,
}

#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes bytes up to the first newline, or all. Returns the line, if complete, and the number of bytes taken.
    pub fn take(&mut self, bytes: &[u8]) -> (Option<Line>, usize) {
        let newline = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..newline.unwrap_or(bytes.len()));
        let part = part.unwrap_or_default();
        if self.partial.len() + part.len() > MAX_LINE {
            self.too_long = true;
            self.partial = Vec::new();
        }
        if !self.too_long {
            self.partial.extend_from_slice(part);
        }
        match newline {
            Some(newline_at) => (Some(self.line()), newline_at + 1),
            None => (None, part.len()),
        }
    }

    pub fn last(&mut self) -> Option<Line> {
        (self.too_long || !self.partial.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> Line {
        let whole = std::mem::take(&mut self.partial);
        match std::mem::take(&mut self.too_long) {
            true => Line::TooLong,
            false => Line::Whole(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let (mut lines, mut partial) = (Vec::new(), Lines::default());
        for mut bytes in input.chunks(buffer) {
            while !bytes.is_empty() {
                let (line, taken) = partial.take(bytes);
                lines.extend(line);
                bytes = &bytes[taken..];
            }
        }
        lines.extend(partial.last());
        lines
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_whole_whatever_the_buffer() {
        for buffer in [1, 2, 3, 100] {
            assert_eq!(lines(b"", buffer), []);
            assert_eq!(
                lines(b"ab\n\ncd", buffer),
                [whole("ab"), whole(""), whole("cd")]
            );
            assert_eq!(lines(b"ab\n", buffer), [whole("ab")]);
        }
    }

    #[test]
    fn line_over_limit_is_dropped_and_next_read() {
        let mut input = vec![b'x'; MAX_LINE];
        input.extend_from_slice(b"\nafter");
        let got = lines(&input, 8192);
        assert_eq!(got.len(), 2);
        assert!(matches!(&got[0], Line::Whole(line) if line.len() == MAX_LINE));
        input.insert(0, b'x');
        assert_eq!(lines(&input, 8192), [Line::TooLong, whole("after")]);
        input.truncate(MAX_LINE + 1);
        assert_eq!(lines(&input, 8192), [Line::TooLong]);
    }
}
