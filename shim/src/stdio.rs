//! The two ends of the pipe to the client: lines in, lines out, and its end.
//!
//! stdin and stdout may be pipes, sockets, files or terminals, and the file
//! description may be shared with others. So they are read and written blocking,
//! each by a thread of its own, and never made non-blocking.

use std::io::{self, BufRead, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::sync::{mpsc, oneshot};

use crate::line::MAX_LINE;

/// Lines read ahead.
const LINES_IN: usize = 1;
/// Lines that wait to be written.
const LINES_OUT: usize = 8;

/// One line of input, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The whole line.
    Whole(Vec<u8>),
    /// It was longer than [`MAX_LINE`] and is gone.
    TooLong,
}

/// What the writing thread does next.
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
/// When there is no thread to be had.
pub fn input() -> io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(LINES_IN);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read(io::stdin().lock(), |line| lines.blocking_send(line).is_ok()))?;
    Ok(receiver)
}

/// Starts writing stdout. The second value comes when a write failed.
///
/// # Errors
/// When there is no thread to be had.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (sender, tasks) = mpsc::channel(LINES_OUT);
    let (broken, why) = oneshot::channel();
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || {
            if let Err(error) = write(io::stdout().lock(), tasks) {
                // Nobody listens when the session is over anyway.
                let _ = broken.send(error);
            }
        })?;
    Ok((Output(sender), why))
}

/// Splits `input` into lines until its end, or until `give` wants no more.
fn read(mut input: impl BufRead, mut give: impl FnMut(Line) -> bool) {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => &[],
        };
        let (part, ended) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(place) => (bytes.get(..place).unwrap_or_default(), true),
            None => (bytes, bytes.is_empty()),
        };
        let last = bytes.is_empty();
        if line.len() + part.len() > MAX_LINE {
            too_long = true;
            line = Vec::new();
        }
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(ended && !last);
        input.consume(used);
        if !ended {
            continue;
        }
        let whole = std::mem::take(&mut line);
        let given = match std::mem::take(&mut too_long) {
            true => give(Line::TooLong),
            // A line without a newline counts; no line at all does not.
            false => (last && whole.is_empty()) || give(Line::Whole(whole)),
        };
        if last || !given {
            return;
        }
    }
}

fn write(mut output: impl Write, mut tasks: mpsc::Receiver<Task>) -> io::Result<()> {
    while let Some(task) = tasks.blocking_recv() {
        match task {
            Task::Write(line) => {
                output.write_all(&line)?;
                output.flush()?;
            }
            // Nobody waits any more when the deadline of the flush is over.
            Task::Tell(done) => drop(done.send(())),
        }
    }
    Ok(())
}

/// Returns when the reader of stdout is gone, even while nothing is written.
///
/// Files have no reader, so for them this never returns (epoll_ctl(2): EPERM).
pub async fn reader_gone() {
    let (interest, closed) = (Interest::WRITABLE | Interest::ERROR, Ready::is_write_closed);
    watch(io::stdout().as_fd(), interest, closed).await;
}

/// Returns when the writer of stdin is gone, even while lines of it wait to be read.
pub async fn writer_gone() {
    watch(
        io::stdin().as_fd(),
        Interest::READABLE,
        Ready::is_read_closed,
    )
    .await;
}

async fn watch(end: BorrowedFd<'_>, interest: Interest, closed: fn(Ready) -> bool) {
    if hang_up(end, interest, closed).await.is_err() {
        std::future::pending().await
    }
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function; what that asks for, an OwnedFd gives"
)]
async fn hang_up(
    end: BorrowedFd<'_>,
    interest: Interest,
    closed: fn(Ready) -> bool,
) -> io::Result<()> {
    let end = AsyncFd::with_interest(end.try_clone_to_owned()?, interest)?;
    loop {
        // The readiness is edge-triggered: this wakes up only when it changes.
        let mut guard = end.ready(interest).await?;
        if closed(guard.ready()) || guard.ready().is_error() {
            return Ok(());
        }
        guard.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        read(
            BufReader::with_capacity(buffer, Cursor::new(input)),
            |line| {
                lines.push(line);
                true
            },
        );
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
    fn a_line_is_cut_off_at_its_limit_and_the_next_one_is_read() {
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
