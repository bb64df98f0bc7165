//! stdin and stdout of the client. Pipes and sockets, as from ssh, are served by the main thread ([`end`]). Files and
//! terminals each get their own blocking thread. Input is split into lines.

mod end;

use std::io;
use std::os::fd::AsFd;
use std::thread;

use end::{Reader, StdioEnd, StdioKind, Writer};
use remit_mcp::lines::{Line, Lines};
use remit_mcp::output::{self, BUFFER, LINES_IN, Output, Task};
use tokio::sync::{mpsc, oneshot};

use crate::jsonrpc::MAX_LINE;

pub use end::Socket;

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
                .spawn(move || output::read(end.into_file(), MAX_LINE, &lines))?;
        }
    }
    Ok(receiver)
}

/// Starts writing stdout. The second value resolves if a write fails.
pub fn output() -> io::Result<(Output, oneshot::Receiver<io::Error>)> {
    let (output, tasks) = Output::new();
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
                .spawn(move || tell(output::write(end.into_file(), tasks)))?;
        }
    }
    Ok((output, why))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let (mut lines, mut partial) = (Vec::new(), Lines::new(MAX_LINE));
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
        let got = lines(&input, 8192);
        assert!(matches!(&got[..], [Line::TooLong(_), after] if *after == whole("after")));
        input.truncate(MAX_LINE + 1);
        assert!(matches!(lines(&input, 8192)[..], [Line::TooLong(_)]));
    }
}
