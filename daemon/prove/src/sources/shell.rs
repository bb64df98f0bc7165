//! Finds what a shell text executes, as far as words show it: absolute paths, and names where a command begins. What
//! variables and functions do is not followed. Total on any bytes.

/// Words of one text that are kept.
const WORDS: usize = 2000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    pub line: usize,
    /// An absolute path, or a name without a slash where a command begins.
    pub word: Vec<u8>,
    /// It is a command, or what `.` and `source` read; otherwise some argument.
    pub is_command: bool,
}

/// Words after which a command follows.
const BEFORE: [&[u8]; 21] = [
    b"if", b"then", b"else", b"elif", b"do", b"while", b"until", b"!", b"exec", b"command", b"env",
    b"nice", b"nohup", b"sudo", b"time", b".", b"source", b"ionice", b"setsid", b"builtin",
    b"eval",
];

/// Names of the shell itself, which are no files.
const BUILT_IN: [&[u8]; 30] = [
    b"[",
    b"[[",
    b"test",
    b"cd",
    b"echo",
    b"printf",
    b"export",
    b"set",
    b"unset",
    b"exit",
    b"return",
    b"fi",
    b"done",
    b"esac",
    b"case",
    b"for",
    b"in",
    b"trap",
    b"umask",
    b"read",
    b"shift",
    b"wait",
    b":",
    b"true",
    b"false",
    b"local",
    b"alias",
    b"function",
    b"ulimit",
    b"break",
];

pub fn mentions(text: &[u8]) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut line = 1_usize;
    let mut word: Vec<u8> = Vec::new();
    let mut state = State::Command;
    let (mut quote, mut escaped, mut is_comment) = (None, false, false);
    for &byte in text.iter().chain(b"\n") {
        if found.len() >= WORDS {
            break;
        }
        if byte == b'\n' {
            is_comment = false;
        }
        if is_comment {
            continue;
        }
        match byte {
            _ if escaped => {
                escaped = false;
                match byte {
                    b'\n' => line = line.saturating_add(1),
                    _ => word.push(byte),
                }
            }
            b'\\' if quote != Some(b'\'') => escaped = true,
            b'\'' | b'"' if quote == Some(byte) => quote = None,
            b'\'' | b'"' if quote.is_none() => quote = Some(byte),
            // A quoted text may be one for another shell: its words count, too.
            b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'(' | b')' | b'{' | b'}' | b'<' | b'>'
            | b'`' => {
                let is_end = matches!(byte, b'\n' | b';' | b'|' | b'&' | b'(' | b'{' | b'`');
                state = state.after(&word, line, &mut found);
                word.clear();
                state = match byte {
                    b'>' | b'<' => State::Target,
                    _ if is_end => State::Command,
                    _ => state,
                };
                if byte == b'\n' {
                    line = line.saturating_add(1);
                }
            }
            b'#' if word.is_empty() && quote.is_none() => is_comment = true,
            _ => word.push(byte),
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next word is a command.
    Command,
    Argument,
    /// The next word is a file for input or output.
    Target,
}

impl State {
    fn after(self, word: &[u8], line: usize, found: &mut Vec<Mention>) -> Self {
        if self == Self::Target && !word.is_empty() {
            return Self::Argument;
        }
        let is_option = word.first() == Some(&b'-');
        let is_assignment = word.contains(&b'=') && word.first() != Some(&b'/');
        let is_command = self == Self::Command;
        if word.is_empty() || (is_command && (is_option || is_assignment)) {
            return self;
        }
        if is_command && BEFORE.contains(&word) {
            return Self::Command;
        }
        let is_name = !word.iter().all(u8::is_ascii_digit)
            && word
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._+-[".contains(byte));
        let is_path = word.first() == Some(&b'/') && !word.contains(&b'$') && !word.contains(&b'*');
        if is_path || (is_command && is_name && !BUILT_IN.contains(&word)) {
            found.push(Mention {
                line,
                word: word.to_vec(),
                is_command,
            });
        }
        Self::Argument
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<(String, bool)> {
        let found = mentions(text.as_bytes()).into_iter();
        let shown = found.map(|one| {
            (
                String::from_utf8_lossy(&one.word).into_owned(),
                one.is_command,
            )
        });
        shown.collect()
    }

    #[test]
    fn commands_and_paths_are_found() {
        let found = words(
            "# /not/this\nX=1 /opt/a.sh --x /srv/in\nif backup 2>/dev/null; then . /etc/x.conf; fi\n\
             sh -c \"cd /srv && /opt/b\"",
        );
        let expect = [
            ("/opt/a.sh", true),
            ("/srv/in", false),
            ("backup", true),
            ("/etc/x.conf", true),
            ("sh", true),
            ("/srv", false),
            ("/opt/b", true),
        ];
        let expect = expect.map(|(word, is_command)| (word.to_owned(), is_command));
        assert_eq!(found, expect);
    }

    #[test]
    fn lines_are_counted_over_continuations() {
        let found = mentions(b"a \\\n/x\n/y");
        let lines: Vec<usize> = found.iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = mentions(&bytes);
        }
    }
}
