//! What a session prints on standard error: words for people, and at the end the receipt. Pure.

use remit_common::text;
use remit_plan::Upload;

use crate::link::reason::Tail;

/// Bytes of a line that is looked at.
const LINE: usize = 1024;
/// How `mcp-shim` begins a line of its own.
const OWN: &str = "mcp-shim: ";
const WAITING: &str = "waits for an approval";

/// The words of one session so far.
#[derive(Debug, Default)]
pub struct Said {
    tail: Tail,
    line: Vec<u8>,
    receipt: Option<Upload>,
    own: Option<String>,
}

impl Said {
    /// Adds bytes of any kind, in pieces of any length. Returns the line that says why nothing comes yet.
    pub fn add(&mut self, bytes: &[u8]) -> Option<String> {
        self.tail.add(bytes);
        let mut waiting = None;
        for byte in bytes {
            match byte {
                b'\n' => waiting = self.end_line().or(waiting),
                // The rest of a longer line is no receipt.
                _ if self.line.len() <= LINE => self.line.push(*byte),
                _ => {}
            }
        }
        waiting
    }

    /// The last line counts without its end, too.
    pub fn end(&mut self) {
        self.end_line();
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = text::line(line.trim_ascii(), LINE);
        if let Ok(receipt) = line.parse() {
            self.receipt = Some(receipt);
            return None;
        }
        let own = line.strip_prefix(OWN)?.to_owned();
        self.own = Some(own.clone());
        own.contains(WAITING).then_some(own)
    }

    pub fn receipt(&self) -> Option<Upload> {
        self.receipt
    }

    /// Returns the last words of `mcp-shim`, which need no guess about their meaning.
    pub fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// Returns the last words of anything.
    pub fn last(&self) -> String {
        self.tail.lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_is_a_line_of_its_own() {
        let receipt = format!("{}-12", "ab".repeat(32));
        for (said, is_receipt) in [
            (format!("Welcome\n{receipt}\n"), true),
            (format!("{receipt}\r\nBye\n"), true),
            (receipt.clone(), true),
            (format!("got {receipt}\n"), false),
            (format!("{}{receipt}\n", "x".repeat(3000)), false),
            (format!("{}\n", receipt.to_uppercase()), false),
            (String::new(), false),
        ] {
            for size in [1, 7, 4096] {
                let mut all = Said::default();
                for piece in said.as_bytes().chunks(size) {
                    all.add(piece);
                }
                all.end();
                let expect = is_receipt.then(|| receipt.parse().unwrap());
                assert_eq!(all.receipt(), expect, "{said}");
            }
        }
    }

    #[test]
    fn words_of_the_shim_are_not_those_of_others() {
        let mut said = Said::default();
        assert_eq!(said.add(b"Welcome\nmcp-shim: job ab wai"), None);
        let waiting = said.add(b"ts for an approval\n");
        assert_eq!(waiting.as_deref(), Some("job ab waits for an approval"));
        said.add(b"mcp-shim: job ab: cat: /x\x1b[2J: No such file or directory\nBye\n");
        assert_eq!(
            said.own(),
            Some("job ab: cat: /x\\x1b[2J: No such file or directory")
        );
        assert!(said.last().ends_with("; Bye"), "{}", said.last());
        said.add(&[b'x'; 100_000]);
        assert!(said.line.len() <= LINE + 1);
    }
}
