//! Why a host cannot be asked: words of ssh and of the host, and what to do. Pure.

use remit_common::text;

/// Bytes that are kept of standard error: the last ones.
pub const KEPT: usize = 4096;
const LINES: usize = 3;
const LINE: usize = 300;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    pub fn add(&mut self, bytes: &[u8]) {
        let bytes = bytes
            .get(bytes.len().saturating_sub(KEPT)..)
            .unwrap_or(bytes);
        let too_many = (self.0.len() + bytes.len()).saturating_sub(KEPT);
        self.0.drain(..too_many.min(self.0.len()));
        self.0.extend_from_slice(bytes);
    }

    /// Returns its last lines on one line, escaped.
    pub fn lines(&self) -> String {
        let lines = self.0.split(|byte| matches!(byte, b'\n' | b'\r'));
        let lines: Vec<String> = lines
            .map(|line| text::line(line.trim_ascii(), LINE))
            .filter(|line| !line.is_empty())
            .collect();
        let first = lines.len().saturating_sub(LINES);
        lines.get(first..).unwrap_or_default().join("; ")
    }
}

/// Words of ssh or of a shell, and what a person can do.
const FIXES: [(&str, &str); 7] = [
    (
        "Permission denied",
        "ssh asks nothing here: a key or certificate has to suffice. Try 'ssh -o BatchMode=yes HOST mcp-shim --check'",
    ),
    (
        "Host key verification failed",
        "log in once by hand with 'ssh HOST' and compare the key",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "find out why the key of the host has changed",
    ),
    (
        "not found",
        "if it is mcp-shim, remit is not installed there",
    ),
    (
        "No such file",
        "if it is mcp-shim, remit is not installed there",
    ),
    (
        "Could not resolve hostname",
        "check the name in ~/.ssh/config, 'ssh -G HOST' shows what ssh makes of it",
    ),
    (
        "this key starts mcp-shim and nothing else",
        "the key is bound to another command",
    ),
];

/// Returns the sentence about a session that failed. `end` says how it ended, `strange` what was printed before.
pub fn sentence(end: &str, said: &str, strange: &str) -> String {
    let mut sentence = match said.is_empty() {
        true => end.to_owned(),
        false => format!("{said} ({end})"),
    };
    if !strange.is_empty() {
        sentence += &format!("; it printed: {strange}");
    }
    if let Some((_, fix)) = FIXES.iter().find(|(words, _)| said.contains(words)) {
        sentence += &format!(". {fix}");
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_kept() {
        let mut tail = Tail::default();
        tail.add(&[b'x'; 3 * KEPT]);
        tail.add(b"\n** WARNING **\r\n\r\none\ntwo\x1b[2J\nthree\n");
        assert!(tail.0.len() <= KEPT);
        assert_eq!(tail.lines(), "one; two\\x1b[2J; three");
        assert_eq!(Tail::default().lines(), "");
    }

    #[test]
    fn known_reasons_have_a_way_out() {
        for (said, part) in [
            ("ann@web1: Permission denied (publickey).", "BatchMode=yes"),
            ("bash: line 1: mcp-shim: command not found", "not installed"),
            ("Host key verification failed.", "by hand"),
        ] {
            let sentence = sentence("ssh ended with status 255", said, "");
            assert!(
                sentence.starts_with(said) && sentence.contains(part),
                "{sentence}"
            );
        }
        assert_eq!(sentence("it is silent", "", ""), "it is silent");
        assert_eq!(sentence("ended", "", "hello"), "ended; it printed: hello");
    }
}
