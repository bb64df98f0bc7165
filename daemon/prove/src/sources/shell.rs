//! Splits a shell text into commands, as far as words show them. What variables and functions do is not followed. Total on
//! any bytes.

use crate::path::FilePath;

/// Words of one text that are kept.
const WORDS: usize = 8000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellCommand {
    pub line: usize,
    /// What the last `cd` before it names.
    pub directory: Option<Vec<u8>>,
    /// `NAME=value` of it, behind the search path that the text has set.
    pub variables: Vec<Vec<u8>>,
    /// The first is the program; it is empty if the words continue another command.
    pub words: Vec<Vec<u8>>,
}

/// Words after which a command follows.
const BEFORE: [&[u8]; 14] = [
    b"if", b"then", b"else", b"elif", b"do", b"while", b"until", b"!", b"exec", b"command", b".",
    b"source", b"builtin", b"eval",
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

pub fn base_name(program: &[u8]) -> &[u8] {
    let mut parts = program.rsplit(|byte| *byte == b'/');
    parts.next().unwrap_or_default()
}

/// Returns true for a word that may be the name of a program.
pub fn is_name(word: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-[".contains(byte);
    word.iter().all(is_of_name) && !word.iter().all(u8::is_ascii_digit) && !BUILT_IN.contains(&word)
}

/// Returns true if only the shell that runs it knows what the word is.
pub fn is_open(word: &[u8]) -> bool {
    word.iter().any(|byte| b"$*?`".contains(byte))
}

/// Returns the absolute paths that a word has, also as a part of it.
pub fn paths(word: &[u8]) -> impl Iterator<Item = FilePath> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"'\"`;|&(){}<>[]=,:".contains(byte);
    let parts = word.split(is_between).filter(|part| !is_open(part));
    parts.filter_map(FilePath::new)
}

pub fn commands(text: &[u8]) -> Vec<ShellCommand> {
    let mut lexer = Lexer {
        line: 1,
        ..Lexer::default()
    };
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if lexer.count >= WORDS {
            break;
        }
        rest = lexer.byte(*byte, after);
    }
    lexer.end_command();
    lexer.found
}

#[derive(Default)]
struct Lexer {
    found: Vec<ShellCommand>,
    count: usize,
    line: usize,
    word: Vec<u8>,
    command: ShellCommand,
    /// The next word is a file for input or output.
    is_target: bool,
    directory: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    /// Parentheses around this byte, and around each double quote whose end is still to come.
    depth: usize,
    quotes: Vec<usize>,
}

/// A longer search path or directory of a text is not followed, bytes.
const COPIED: usize = 1 << 10;

impl Lexer {
    /// Takes a byte, and of those after it what belongs to it. Returns the rest.
    fn byte<'t>(&mut self, byte: u8, after: &'t [u8]) -> &'t [u8] {
        match byte {
            b'\\' => {
                let Some((escaped, after)) = after.split_first() else {
                    return after;
                };
                match escaped {
                    b'\n' => self.line = self.line.saturating_add(1),
                    escaped => self.word.push(*escaped),
                }
                return after;
            }
            b'#' if self.word.is_empty() => {
                let end = after.iter().position(|byte| *byte == b'\n');
                return after.split_at(end.unwrap_or(after.len())).1;
            }
            b'"' if self.quotes.last() == Some(&self.depth) => {
                self.quotes.pop();
                return after;
            }
            b'\'' | b'"' => return self.quoted(byte, after),
            b'{' if self.word.ends_with(b"$") => {
                let end = after.iter().position(|byte| matches!(byte, b'}' | b'\n'));
                let (name, after) = after.split_at(end.unwrap_or(after.len()));
                self.word.extend_from_slice(name);
                return after.strip_prefix(b"}").unwrap_or(after);
            }
            b' ' | b'\t' => self.end_word(),
            b'<' | b'>' => {
                self.end_word();
                self.is_target = true;
            }
            b'&' if self.is_target && self.word.is_empty() => {}
            b'(' => {
                self.depth = self.depth.saturating_add(1);
                // Of `$(…)` in front nothing is left but the sign.
                if self.word != b"$" && self.word.ends_with(b"$") {
                    self.word.pop();
                }
                self.end_command();
            }
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                self.end_command();
                self.command.words.push(Vec::new());
            }
            b'\n' | b';' | b'|' | b'&' | b'`' => self.end_command(),
            b'{' | b'}' if self.word.is_empty() => self.end_command(),
            byte => self.word.push(byte),
        }
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
            if self.depth == 0 {
                self.quotes.clear();
            }
        }
        after
    }

    /// A quote that has no end on its line, or in which a command is substituted, is left out, and what it quotes counts.
    fn quoted<'t>(&mut self, quote: u8, after: &'t [u8]) -> &'t [u8] {
        let mut is_escaped = false;
        let end = after.iter().position(|byte| {
            let is_end = matches!(*byte, b'\n') || *byte == quote && !is_escaped;
            is_escaped = *byte == b'\\' && quote == b'"' && !is_escaped;
            is_end
        });
        let Some((inner, [_, rest @ ..])) = end
            .map(|end| after.split_at(end))
            .filter(|(_, rest)| rest.first() == Some(&quote))
        else {
            return after;
        };
        let is_substituted = inner.contains(&b'`') || inner.windows(2).any(|two| two == b"$(");
        if quote == b'"' && is_substituted {
            self.quotes.push(self.depth);
            return after;
        }
        let mut bytes = inner.iter();
        while let Some(byte) = bytes.next() {
            let is_escape = *byte == b'\\' && quote == b'"';
            let byte = if is_escape { bytes.next() } else { Some(byte) };
            self.word.extend(byte);
        }
        rest
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if word.is_empty() || std::mem::take(&mut self.is_target) {
            return;
        }
        self.count = self.count.saturating_add(1);
        let is_first = self.command.words.is_empty();
        if is_first && (BEFORE.contains(&word.as_slice()) || word.starts_with(b"-")) {
            return;
        }
        if self.command.words.is_empty() && self.command.variables.is_empty() {
            self.command.line = self.line;
        }
        match is_first && is_assignment(&word) {
            true => self.command.variables.push(word),
            false => self.command.words.push(word),
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.is_target = false;
        let mut command = std::mem::take(&mut self.command);
        let name = command.words.first().map(Vec::as_slice);
        let is_exported = matches!(name, Some(b"export" | b"declare" | b"readonly"));
        let exported = command
            .words
            .iter()
            .filter(|word| is_exported && is_assignment(word));
        let own: Vec<Vec<u8>> = command.variables.iter().chain(exported).cloned().collect();
        // Each command has a copy.
        let is_path = |word: &&Vec<u8>| word.starts_with(b"PATH=") && word.len() <= COPIED;
        let path = match name.is_none() || is_exported {
            true => own.iter().rfind(is_path).cloned(),
            false => None,
        };
        if name == Some(b"cd") {
            let is_named = |word: &&Vec<u8>| !word.starts_with(b"-");
            let named = command.words.iter().skip(1).rfind(is_named).cloned();
            self.directory = match (self.directory.take(), named) {
                (Some(above), Some(named)) if !named.starts_with(b"/") => {
                    Some([above, named].join(&b'/'))
                }
                (_, named) => named,
            };
            self.directory = self.directory.take().filter(|path| path.len() <= COPIED);
        }
        if name.is_some() || !own.is_empty() {
            command.directory.clone_from(&self.directory);
            command.variables = self.path.iter().cloned().chain(own).collect();
            self.found.push(command);
        }
        self.path = path.or(self.path.take());
    }
}

fn is_assignment(word: &[u8]) -> bool {
    word.contains(&b'=') && !word.starts_with(b"/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each command as its directory, its variables and its words.
    fn shown(text: &str) -> Vec<String> {
        let found = commands(text.as_bytes()).into_iter();
        let shown = found.map(|one| {
            let directory = one.directory.map(|text| [text, b": ".to_vec()].concat());
            let words = one.variables.into_iter().chain(one.words);
            let words = words.collect::<Vec<_>>().join(&b'|');
            String::from_utf8_lossy(&[directory.unwrap_or_default(), words].concat()).into_owned()
        });
        shown.collect()
    }

    #[test]
    fn commands_have_their_words() {
        for (text, expect) in [
            (
                "# /not/this\nX=1 /opt/a.sh --x /srv/in # no",
                &["X=1|/opt/a.sh|--x|/srv/in"][..],
            ),
            (
                "if backup 2>/dev/null; then . /etc/x.conf; fi",
                &["backup|2", "/etc/x.conf", "fi"],
            ),
            ("sh -c \"cd /srv && /opt/b\"", &["sh|-c|cd /srv && /opt/b"]),
            ("sh -c 'a\n/b'", &["sh|-c|a", "/b"]),
            ("it's /a\n/b", &["its|/a", "/b"]),
            ("x=\"$(/a b)\" /c", &["x=", "/a|b", "|/c"]),
            (
                "[ \"$(a b)\" = 7 ] && /c \"d e\"",
                &["[|$", "a|b", "|=|7|]", "/c|d e"],
            ),
            (
                "x \"$(a \"b c\")\" && /d \"e\"",
                &["x|$", "a|b c", "", "/d|e"],
            ),
            ("x \"`a`\" && /d \"e\"", &["x", "a", "/d|e"]),
            ("$(a) b; ${D}/c; $D/e", &["$", "a", "|b", "$D/c", "$D/e"]),
            ("a > /b 2>&1 < /c d", &["a|2|d"]),
            (
                "D=/a\n/b; export E=c; d",
                &["D=/a", "/b", "E=c|export|E=c", "d"],
            ),
            (
                "cd /a && ./b; cd c; d",
                &["/a: cd|/a", "/a: ./b", "/a/c: cd|c", "/a/c: d"],
            ),
        ] {
            assert_eq!(shown(text), expect, "{text}");
        }
    }

    #[test]
    fn paths_are_parts_of_words() {
        let found = |word: &str| {
            let found = paths(word.as_bytes()).map(|path| path.to_string());
            found.collect::<Vec<_>>()
        };
        assert_eq!(found("--a=/b,/c"), ["/b", "/c"]);
        assert_eq!(found("run(['/a', \"/b\"])"), ["/a", "/b"]);
        assert!(found("$X/a /a/*.sh a/b").is_empty());
    }

    #[test]
    fn lines_are_counted_over_continuations() {
        let found = commands(b"a \\\n/x\n/y 'b'\n\n'c\nd'");
        let lines: Vec<usize> = found.iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 3, 5, 6]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            for command in commands(&bytes) {
                let _ = command.words.iter().flat_map(|word| paths(word)).count();
            }
        }
    }
}
