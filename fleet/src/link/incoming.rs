//! Messages of a host, one a line.
//!
//! **Invariant:** what a host sends is bounded: the length of a line, and all that answers nothing.

use remit_mcp::lines::{Line, Lines};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::answer::{self, Message};
use super::reason::Tail;

/// Bytes of one line. An answer of mcp-shim has less than 80,000 before its text is escaped as JSON.
const LONGEST_LINE: usize = 256 << 10;
/// Bytes that answer nothing: a banner, words of a login script, progress of a call of 50 seconds.
const NOISE: usize = 256 << 10;
/// How mcp-shim begins a message.
const START: &[u8] = b"{\"jsonrpc\":";
/// Why there is no message if the output just ended.
pub const ENDED: &str = "its output ended";

/// Reads and bounds them.
pub struct Incoming<R> {
    from: R,
    lines: Lines,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are taken, and that are there.
    taken: usize,
    there: usize,
    /// Bytes since the last answer that somebody waited for.
    noise: usize,
    /// What was no message.
    pub strange: Tail,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            lines: Lines::new(LONGEST_LINE),
            buffer: vec![0; 16 << 10],
            taken: 0,
            there: 0,
            noise: 0,
            strange: Tail::default(),
        }
    }

    /// Notes that somebody waited for the last answer.
    pub fn was_wanted(&mut self) {
        self.noise = 0;
    }

    /// Returns the next message, or why there is none.
    pub async fn next(&mut self) -> Result<Message, String> {
        loop {
            let bytes = self.buffer.get(self.taken..self.there).unwrap_or_default();
            if bytes.is_empty() {
                (self.taken, self.there) = (0, 0);
                match self.from.read(&mut self.buffer).await {
                    Ok(0) => return Err(ENDED.to_owned()),
                    Ok(count) => self.there = count,
                    Err(error) => return Err(format!("cannot read its output: {error}")),
                }
                continue;
            }
            let (line, taken) = self.lines.take(bytes);
            self.taken += taken;
            let too_long = || format!("it sent a line of more than {LONGEST_LINE} bytes");
            match line {
                // The line may have no end, so it is not waited for.
                None if self.lines.is_dropping() => return Err(too_long()),
                None => {}
                Some(Line::TooLong(_)) => return Err(too_long()),
                Some(Line::Whole(line)) => {
                    let message = parse(&line);
                    let is_answer = matches!(message, Message::Answer(..));
                    if message == Message::Strange {
                        self.strange.add(&line);
                        self.strange.add(b"\n");
                    }
                    // An answer that nobody waits for counts, too.
                    self.noise += line.len() + 1;
                    if self.noise > NOISE && !is_answer {
                        return Err(format!(
                            "it prints without end: {NOISE} bytes answer nothing"
                        ));
                    }
                    if self.noise > NOISE + LONGEST_LINE {
                        return Err("it answers what was not asked".to_owned());
                    }
                    return Ok(message);
                }
            }
        }
    }
}

/// Parses a line. A login script may print without a newline before the first message.
fn parse(line: &[u8]) -> Message {
    let is_start = |at: &usize| line.get(*at..).is_some_and(|rest| rest.starts_with(START));
    match answer::parse(line) {
        Message::Strange => match (1..line.len()).find(is_start) {
            Some(at) => answer::parse(line.get(at..).unwrap_or_default()),
            None => Message::Strange,
        },
        message => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(bytes: &[u8]) -> (Vec<Message>, String, String) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut incoming = Incoming::new(bytes);
            let mut found = Vec::new();
            loop {
                match incoming.next().await {
                    Ok(message) => found.push(message),
                    Err(why) => return (found, why, incoming.strange.lines()),
                }
            }
        })
    }

    #[test]
    fn banner_is_passed_over_and_kept() {
        let text = b"Welcome!\n\x1b[1mbold\n{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":7}\n";
        let (found, why, strange) = messages(text);
        assert_eq!(found[2], Message::Answer(0, Ok(json!(7))));
        assert_eq!((found.len(), &*why), (3, ENDED));
        assert_eq!(strange, "Welcome!; \\x1b[1mbold");
    }

    #[test]
    fn banner_without_newline_is_passed_over() {
        let text = b"Welcome, {user}! {\"jsonrpc\":\"2.0\",\"id\":0,\"result\":7}\n";
        assert_eq!(messages(text).0, [Message::Answer(0, Ok(json!(7)))]);
        let cut = b"a {\"jsonrpc\":\"2.0\",\n";
        assert_eq!(messages(cut).0, [Message::Strange]);
    }

    #[test]
    fn endless_output_is_bounded() {
        let lines = "y\n".repeat(NOISE);
        let (found, why, _) = messages(lines.as_bytes());
        assert!(why.starts_with("it prints without end"), "{why}");
        assert!(found.len() <= NOISE / 2 + 1);
        let (found, why, _) = messages(&vec![b'y'; 2 * LONGEST_LINE]);
        assert!(why.starts_with("it sent a line of more than"), "{why}");
        assert!(found.is_empty());
        let answers = "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":7}\n".repeat(NOISE);
        let (_, why, _) = messages(answers.as_bytes());
        assert_eq!(why, "it answers what was not asked");
        let progress =
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n".repeat(NOISE);
        let (_, why, _) = messages(progress.as_bytes());
        assert!(why.starts_with("it prints without end"), "{why}");
    }
}
