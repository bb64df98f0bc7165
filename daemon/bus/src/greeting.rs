//! Authentication (D-Bus Specification), both sides: the proxy answers jobs and greets the bus. No descriptors, no IO.

use remit_common::hex::hex;

use crate::names;

/// Bytes of a line, and lines, that a job may send. libdbus and sd-bus send four.
const LINE: usize = 1024;
const LINES: u32 = 32;
/// Bytes of the bus's answer.
const ANSWER: usize = 256;

#[derive(Debug, Default)]
pub struct Greeting {
    has_started: bool,
    is_accepted: bool,
    lines: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Answer {
        used: usize,
        text: String,
    },
    /// Messages follow after `used` bytes.
    Messages {
        used: usize,
    },
    End,
}

impl Greeting {
    /// Reads one line. `guid` is the bus's, which the job learns.
    pub fn step(&mut self, bytes: &[u8], guid: &str) -> Step {
        // unix: the first byte carries credentials on some systems, and is zero.
        let start = usize::from(!self.has_started);
        match bytes.first() {
            None => return Step::More,
            Some(0) => {}
            Some(_) if self.has_started => {}
            Some(_) => return Step::End,
        }
        let Some(length) = line(bytes.get(start..).unwrap_or_default()) else {
            return match bytes.len() > LINE {
                true => Step::End,
                false => Step::More,
            };
        };
        let text = bytes.get(start..start + length).unwrap_or_default();
        let used = start + length + 2;
        self.has_started = true;
        self.lines += 1;
        if length > LINE || self.lines > LINES {
            return Step::End;
        }
        let mut words = text.split(|byte| *byte == b' ');
        let answer = match (words.next().unwrap_or_default(), words.next(), words.next()) {
            (b"BEGIN", None, None) if self.is_accepted => return Step::Messages { used },
            (b"BEGIN", ..) => return Step::End,
            // The bus reads who the job is from the kernel, and so does the proxy: a claimed identity changes nothing.
            (b"AUTH", Some(b"EXTERNAL"), Some(_)) | (b"DATA", _, None) => {
                self.is_accepted = true;
                format!("OK {guid}\r\n")
            }
            (b"AUTH", Some(b"EXTERNAL"), None) => "DATA\r\n".to_owned(),
            (b"AUTH" | b"CANCEL" | b"ERROR", ..) => {
                self.is_accepted = false;
                "REJECTED EXTERNAL\r\n".to_owned()
            }
            _ => "ERROR\r\n".to_owned(),
        };
        Step::Answer { used, text: answer }
    }
}

#[must_use]
pub fn hello(uid: u32) -> Vec<u8> {
    let digits = hex(uid.to_string().as_bytes());
    format!("\0AUTH EXTERNAL {digits}\r\n").into_bytes()
}

pub const BEGIN: &[u8] = b"BEGIN\r\n";

/// Returns the bus's guid from its answer, `None` if the line is not complete. Fails if the bus does not agree.
pub fn accepted(bytes: &[u8]) -> Result<Option<String>, ()> {
    let Some(length) = line(bytes) else {
        return match bytes.len() > ANSWER {
            true => Err(()),
            false => Ok(None),
        };
    };
    // Before BEGIN, nothing follows its one answer.
    if length + 2 != bytes.len() {
        return Err(());
    }
    let text = bytes.get(..length).unwrap_or_default();
    let guid = text.strip_prefix(b"OK ").ok_or(())?;
    match guid.len() == 32 && guid.iter().all(u8::is_ascii_hexdigit) {
        true => Ok(std::str::from_utf8(guid).ok().map(str::to_owned)),
        false => Err(()),
    }
}

/// Returns the unique name from the bus's whole reply to Hello; `None` if it is another message.
#[must_use]
pub fn name(reply: &[u8]) -> Option<String> {
    let [b'l', 2, _, _, b0, b1, b2, b3, ..] = *reply else {
        return None;
    };
    let body = usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])).ok()?;
    let body = reply.get(reply.len().checked_sub(body)?..)?;
    let (length, text) = body.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let name = std::str::from_utf8(text.get(..length)?).ok()?;
    (name.starts_with(':') && names::is_bus_name(name)).then(|| name.to_owned())
}

fn line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0123456789abcdef0123456789abcdef";

    /// Returns all answers, `|` for the messages that follow, and `!` for an end.
    fn answers(bytes: &[u8]) -> String {
        let (mut greeting, mut rest, mut all) = (Greeting::default(), bytes, String::new());
        loop {
            match greeting.step(rest, GUID) {
                Step::More => return all,
                Step::End => return all + "!",
                Step::Messages { used } => {
                    return all + "|" + &String::from_utf8_lossy(&rest[used..]);
                }
                Step::Answer { used, text } => {
                    rest = &rest[used..];
                    all += &text.replace(GUID, "G").replace("\r\n", ",");
                }
            }
        }
    }

    #[test]
    fn clients_are_answered() {
        for (said, expect) in [
            // sd-bus sends all at once, GDBus and libdbus a line at a time.
            (
                "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl\x01",
                "DATA,OK G,ERROR,|l\x01",
            ),
            ("\0AUTH EXTERNAL 30\r\nBEGIN\r\n", "OK G,|"),
            (
                "\0AUTH\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n",
                "REJECTED EXTERNAL,OK G,|",
            ),
            ("\0AUTH DBUS_COOKIE_SHA1 30\r\n", "REJECTED EXTERNAL,"),
            ("\0AUTH ANONYMOUS\r\nBEGIN\r\n", "REJECTED EXTERNAL,!"),
            ("\0BEGIN\r\n", "!"),
            ("\0AUTH EXTERNAL 30\r\nBEGIN x\r\n", "OK G,!"),
            (
                "\0AUTH EXTERNAL 30\r\nCANCEL\r\nrubbish\r\nBEGIN\r\n",
                "OK G,REJECTED EXTERNAL,ERROR,!",
            ),
            ("AUTH EXTERNAL 30\r\n", "!"),
            ("", ""),
            ("\0", ""),
            ("\0AUTH EXTERNAL 30\r", ""),
            ("\0\r\n", "ERROR,"),
        ] {
            assert_eq!(answers(said.as_bytes()), expect, "{said:?}");
        }
    }

    #[test]
    fn long_lines_and_many_lines_end_it() {
        assert_eq!(answers(&[&b"\0"[..], &[b'x'; LINE + 1]].concat()), "!");
        assert_eq!(answers(&[&b"\0"[..], &[b'x'; LINE - 1]].concat()), "");
        let many = "\0".to_owned() + &"x\r\n".repeat(40);
        assert_eq!(answers(many.as_bytes()), "ERROR,".repeat(32) + "!");
    }

    #[test]
    fn name_comes_from_a_reply_alone() {
        let said = |text: &str| {
            let mut reply = Vec::new();
            crate::header::text(&mut reply, 1, 1, text);
            reply
        };
        assert_eq!(name(&said(":1.42")), Some(":1.42".to_owned()));
        let mut error = Vec::new();
        crate::header::error(&mut error, 1, 1, "a.B", ":1.42");
        let mut empty = Vec::new();
        crate::header::reply(&mut empty, 1, 1);
        for other in [said("a.b"), said(":1\n.2"), said(""), error, empty, vec![]] {
            assert_eq!(name(&other), None, "{other:?}");
        }
        let mut long = said(":1.42");
        *long.iter_mut().rev().nth(9).unwrap() = 200;
        assert_eq!(name(&long), None);
    }

    #[test]
    fn bus_must_agree() {
        assert_eq!(hello(65), b"\0AUTH EXTERNAL 3635\r\n");
        let good = format!("OK {GUID}\r\n");
        assert_eq!(accepted(good.as_bytes()), Ok(Some(GUID.to_owned())));
        assert_eq!(accepted(b"OK "), Ok(None));
        for bad in [
            "REJECTED EXTERNAL\r\n",
            "OK\r\n",
            "OK xyz\r\n",
            "\r\n",
            &(good.clone() + "l"),
            &"x".repeat(ANSWER + 1),
        ] {
            assert_eq!(accepted(bad.as_bytes()), Err(()), "{bad:?}");
        }
    }
}
