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
    let (mut state, mut directory) = (State::Command, None);
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
                state = state.after(&word, line, &mut directory, &mut found);
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
    /// The next word is the directory of what follows.
    Directory,
    /// The next word is an option, or what an interpreter runs.
    Script {
        is_shell: bool,
    },
}

impl State {
    fn after(
        self,
        word: &[u8],
        line: usize,
        directory: &mut Option<Vec<u8>>,
        found: &mut Vec<Mention>,
    ) -> Self {
        if word.is_empty() {
            return self;
        }
        if self == Self::Target {
            return Self::Argument;
        }
        let is_option = word.first() == Some(&b'-');
        let is_assignment = word.contains(&b'=') && word.first() != Some(&b'/');
        let is_script = matches!(self, Self::Script { .. });
        let is_command = self == Self::Command || is_script;
        match self {
            Self::Script { is_shell: true } if is_option && word.ends_with(b"c") => {
                return Self::Command;
            }
            Self::Script { .. } if matches!(word, b"-c" | b"-e" | b"-m") => return Self::Argument,
            _ if is_command && (is_option || is_assignment) => return self,
            Self::Command if BEFORE.contains(&word) => return Self::Command,
            Self::Command if word == b"cd" => return Self::Directory,
            Self::Directory => *directory = Some(word.to_vec()),
            _ => {}
        }
        let is_plain = !word.contains(&b'$') && !word.contains(&b'*');
        let is_path = word.first() == Some(&b'/') && is_plain;
        let is_name = !word.iter().all(u8::is_ascii_digit)
            && word
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._+-[".contains(byte));
        // A name of a script lies in the directory; a name of a command is looked for.
        let is_beneath = is_command && is_plain && (is_script || word.contains(&b'/'));
        let above = directory.as_ref().filter(|_| is_beneath && !is_path);
        let word = match above {
            Some(above) => [above.as_slice(), b"/", word].concat(),
            None => word.to_vec(),
        };
        let is_known = is_path || above.is_some();
        if is_known || (self == Self::Command && is_name && !BUILT_IN.contains(&word.as_slice())) {
            let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let next = match self {
                Self::Command if is_interpreter(name) => Self::Script {
                    is_shell: is_shell(name),
                },
                _ => Self::Argument,
            };
            found.push(Mention {
                line,
                word,
                is_command,
            });
            return next;
        }
        Self::Argument
    }
}

pub fn is_shell(name: &[u8]) -> bool {
    matches!(
        name,
        b"sh" | b"bash" | b"dash" | b"zsh" | b"ksh" | b"ash" | b"fish" | b"busybox"
    )
}

pub fn is_interpreter(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 10] = [
        b"python",
        b"perl",
        b"ruby",
        b"node",
        b"php",
        b"lua",
        b"tclsh",
        b"pypy",
        b"gunicorn",
        b"uwsgi",
    ];
    is_shell(name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
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
    fn scripts_of_interpreters_and_directories_are_found() {
        let found = words(
            "cd /srv/a && ./run --x; bin/y\npython3 -u /opt/job.py /in\n. /etc/x; cd /srv/b && /usr/bin/perl -w job.pl in\n\
             python3 -m http.server; bash -ec 'cd /srv/c; ./z'; perl -e 'a/b'",
        );
        let commands: Vec<&str> = found
            .iter()
            .filter_map(|(word, is_command)| is_command.then_some(word.as_str()))
            .collect();
        let expect = [
            "/srv/a/./run",
            "/srv/a/bin/y",
            "python3",
            "/opt/job.py",
            "/etc/x",
            "/usr/bin/perl",
            "/srv/b/job.pl",
            "python3",
            "bash",
            "/srv/c/./z",
            "perl",
        ];
        assert_eq!(commands, expect);
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
