//! Parses refusals in lines of standard error: kind, program, object. Pure, on bytes, in linear time.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Match};
use memchr::memmem;
use remit_common::text;

// Bytes of a line that are parsed.
const LINE: usize = 1024;
// Bytes of an object that are reported.
const OBJECT: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ReadOnly,
    Denied,
    NotPermitted,
    NeedsRoot,
    /// No route to a host, or its name does not resolve.
    NoNetwork,
    /// A local service such as the bus or a container engine does not answer.
    NoService,
    BusCall,
    NoUser,
    NoAccount,
    NoFile,
    NoSpace,
    NoDescriptor,
    NoMemory,
    /// EAGAIN of a fork.
    NoTask,
    Silent,
}

/// Phrases and their kind. The first match in this order wins.
const PHRASES: &[(&str, Kind)] = &[
    ("Refused by remit: ", Kind::BusCall),
    ("Read-only file system", Kind::ReadOnly),
    ("Failed to connect to bus", Kind::NoService),
    ("Failed to connect to system scope bus", Kind::NoService),
    ("System has not been booted with systemd", Kind::NoService),
    ("Cannot connect to the Docker daemon", Kind::NoService),
    ("trying to connect to the Docker daemon", Kind::NoService),
    ("trying to connect to the docker API", Kind::NoService),
    ("no new privileges", Kind::NoUser),
    ("Authentication failure", Kind::NoUser),
    ("must be setuid root", Kind::NoUser),
    ("setuid root", Kind::NoUser),
    ("isn't in the passwd file", Kind::NoAccount),
    ("No user exists for uid", Kind::NoAccount),
    ("Cannot determine your user name", Kind::NoAccount),
    ("you (user ", Kind::NoAccount),
    ("cannot find name for user ID", Kind::NoAccount),
    ("getpwuid()", Kind::NoAccount),
    ("uv_os_get_passwd", Kind::NoAccount),
    ("cannot open /etc/shadow", Kind::Denied),
    ("cannot open /etc/gshadow", Kind::Denied),
    ("No permission to enable ", Kind::NotPermitted),
    ("No permissions to create new namespace", Kind::NotPermitted),
    ("Cannot access the Hardware Clock", Kind::NotPermitted),
    ("you do not exist in the passwd database", Kind::NoAccount),
    ("Temporary failure in name resolution", Kind::NoNetwork),
    ("Temporary failure resolving", Kind::NoNetwork),
    ("Could not resolve", Kind::NoNetwork),
    ("unable to resolve host", Kind::NoNetwork),
    ("Name or service not known", Kind::NoNetwork),
    ("Network is unreachable", Kind::NoNetwork),
    ("No route to host", Kind::NoNetwork),
    ("Couldn't connect to server", Kind::NoNetwork),
    ("Failed to connect to ", Kind::NoNetwork),
    ("can't find either v4 or v6 networking", Kind::NoNetwork),
    ("communications error", Kind::NoNetwork),
    ("Cannot assign requested address", Kind::NoNetwork),
    ("Address family not supported", Kind::NoNetwork),
    // A Python installer that cannot reach its index.
    ("Could not find a version that satisfies", Kind::NoNetwork),
    ("must be root", Kind::NeedsRoot),
    ("must be run as root", Kind::NeedsRoot),
    ("must be superuser", Kind::NeedsRoot),
    ("requires superuser privilege", Kind::NeedsRoot),
    ("are you root", Kind::NeedsRoot),
    ("need to be root", Kind::NeedsRoot),
    ("as the root user", Kind::NeedsRoot),
    ("Only root may", Kind::NeedsRoot),
    ("only root can", Kind::NeedsRoot),
    ("Permission denied", Kind::Denied),
    ("permission denied", Kind::Denied),
    ("MemoryError", Kind::NoMemory),
    ("Cannot allocate memory", Kind::NoMemory),
    ("Out of memory", Kind::NoMemory),
    ("out of memory", Kind::NoMemory),
    ("Cannot fork", Kind::NoTask),
    (TRY_AGAIN, Kind::NoTask),
    ("can't start new thread", Kind::NoTask),
    ("Operation not permitted", Kind::NotPermitted),
    ("operation not permitted", Kind::NotPermitted),
    ("not permitted", Kind::NotPermitted),
    ("No space left on device", Kind::NoSpace),
    ("Too many open files", Kind::NoDescriptor),
    ("No such file or directory", Kind::NoFile),
];

/// EAGAIN of any call.
const TRY_AGAIN: &str = "Resource temporarily unavailable";

/// Words of a line in which [`TRY_AGAIN`] is that of a fork, not of a read that does not block.
const FORKS: [&str; 4] = ["fork", "clone", "thread", "spawn"];

/// Finds [`PHRASES`], then [`FORKS`], in one pass. `None` if it cannot be built: no line is explained then.
static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let phrases = PHRASES.iter().map(|(phrase, _)| *phrase);
    let words = phrases.chain(FORKS);
    // The default kind takes ten times the memory.
    let kind = Some(AhoCorasickKind::ContiguousNFA);
    AhoCorasick::builder().kind(kind).build(words).ok()
});

/// Word stems before the phrase that indicate a change.
const CHANGES: &[&str] = &[
    "creat",
    "writ",
    "touch",
    "remov",
    "delet",
    "unlink",
    "mov",
    "renam",
    "chang",
    "setting",
    "set ",
    "lock",
    "mkdir",
    "temporary file",
    "truncat",
    "modif",
    "updat",
    "cop",
    "tee:",
    "sed:",
    "regular file",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub kind: Kind,
    pub by: Option<String>,
    pub object: Option<String>,
    pub change: bool,
}

pub fn line(line: &[u8]) -> Option<Said> {
    #[cfg(test)]
    tests::PARSED.set(tests::PARSED.get() + 1);
    let line = line.get(..LINE).unwrap_or(line);
    let Phrase { start, end, kind } = phrase(line)?;
    let (before, after) = (
        line.get(..start).unwrap_or_default(),
        line.get(end..).unwrap_or_default(),
    );
    let object = object(kind, before, after);
    // The name of the object must not count as a word of change.
    let verb = object
        .and_then(|object| before.get(..memmem::find(before, object)?))
        .unwrap_or(before);
    let changes = |word: &&str| memmem::find(verb, word.as_bytes()).is_some();
    Some(Said {
        kind,
        by: by(line),
        object: object.map(|object| text::line(object, OBJECT)),
        change: kind == Kind::ReadOnly || CHANGES.iter().any(changes),
    })
}

/// A phrase in a line, from byte `start` up to byte `end`.
#[derive(Debug, PartialEq, Eq)]
struct Phrase {
    start: usize,
    end: usize,
    kind: Kind,
}

fn phrase(line: &[u8]) -> Option<Phrase> {
    let (mut first, mut has_fork) = (None::<Match>, false);
    for found in WORDS.as_ref()?.find_overlapping_iter(line) {
        // Of one phrase the first occurrence comes first.
        let is_better = first.is_none_or(|first| found.pattern() < first.pattern());
        match PHRASES.get(found.pattern().as_usize()) {
            Some(_) if is_better => first = Some(found),
            Some(_) => {}
            None => has_fork = true,
        }
    }
    let first = first?;
    let (phrase, kind) = PHRASES.get(first.pattern().as_usize())?;
    (*phrase != TRY_AGAIN || has_fork).then_some(Phrase {
        start: first.start(),
        end: first.end(),
        kind: *kind,
    })
}

fn by(line: &[u8]) -> Option<String> {
    let end = line.iter().position(|byte| *byte == b':')?;
    let name = line.get(..end)?.rsplit(|byte| *byte == b'/').next()?;
    let sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte);
    (!name.is_empty() && name.iter().all(sign)).then(|| text::line(name, 64))
}

fn object<'a>(kind: Kind, before: &'a [u8], after: &'a [u8]) -> Option<&'a [u8]> {
    if kind == Kind::NoNetwork {
        return host(before, after);
    }
    if kind == Kind::BusCall {
        return after
            .split(u8::is_ascii_whitespace)
            .find(|word| word.contains(&b'.'));
    }
    // The text before the first colon is the speaker: a script is named by its path.
    let named = match before.iter().position(|byte| *byte == b':') {
        Some(end) => before.get(end..).unwrap_or_default(),
        None => before,
    };
    quoted(named)
        .or_else(|| path(named))
        .or_else(|| quoted(after))
        .or_else(|| path(after))
        .or_else(|| part(named))
}

fn quoted(text: &[u8]) -> Option<&[u8]> {
    const QUOTES: [(&[u8], &[u8]); 3] = [
        (b"'", b"'"),
        (b"\"", b"\""),
        ("\u{2018}".as_bytes(), "\u{2019}".as_bytes()),
    ];
    QUOTES.iter().find_map(|(open, close)| {
        let end = memmem::rfind(text, close)?;
        let head = text.get(..end)?;
        let start = memmem::rfind(head, open)? + open.len();
        head.get(start..).filter(|quoted| !quoted.is_empty())
    })
}

fn path(text: &[u8]) -> Option<&[u8]> {
    let edge = |byte: &u8| byte.is_ascii_whitespace() || b"()<>,;[]".contains(byte);
    let word = text.rsplit(edge).find(|word| word.starts_with(b"/"))?;
    let end = word
        .iter()
        .rev()
        .take_while(|byte| b":.".contains(byte))
        .count();
    word.get(..word.len() - end).filter(|word| word.len() > 1)
}

fn part(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_suffix(b": ")?;
    let start = memmem::rfind(text, b": ")? + 2;
    let part = text.get(start..)?;
    let plain = !part.is_empty() && !part.iter().any(u8::is_ascii_whitespace);
    plain.then(|| {
        part.strip_prefix(b"(")
            .and_then(|part| part.strip_suffix(b")"))
            .unwrap_or(part)
    })
}

fn host<'a>(before: &'a [u8], after: &'a [u8]) -> Option<&'a [u8]> {
    let after = after.strip_prefix(b" host").unwrap_or(after);
    let word = after
        .split(|byte| byte.is_ascii_whitespace() || b"'\",()".contains(byte))
        .find(|word| !word.is_empty() && *word != b":");
    let is_host = |word: &&[u8]| {
        let sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]/".contains(byte);
        word.iter().all(sign) && word.iter().any(|byte| b".:".contains(byte))
    };
    let word = word
        .map(|word| word.strip_suffix(b":").unwrap_or(word))
        .filter(is_host);
    word.or_else(|| quoted(before).filter(is_host))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Lines that this thread has parsed.
        pub static PARSED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn programs_word_it_in_many_ways() {
        // Recorded from programs of Debian 12, in jobs of profile read.
        for (line_, kind, by, object, change) in [
            (
                "touch: cannot touch '/etc/x': Read-only file system",
                Kind::ReadOnly,
                "touch",
                "/etc/x",
                true,
            ),
            (
                "tee: /etc/x: Read-only file system",
                Kind::ReadOnly,
                "tee",
                "/etc/x",
                true,
            ),
            (
                "tee: notes: Read-only file system",
                Kind::ReadOnly,
                "tee",
                "notes",
                true,
            ),
            (
                "sed: couldn't open temporary file /etc/sedN1Q51F: Read-only file system",
                Kind::ReadOnly,
                "sed",
                "/etc/sedN1Q51F",
                true,
            ),
            (
                "/proc/self/fd/3: 1: cannot create /dev/sda: Read-only file system",
                Kind::ReadOnly,
                "3",
                "/dev/sda",
                true,
            ),
            (
                "mkdir: cannot create directory \u{2018}/opt/a b\u{2019}: Read-only file system",
                Kind::ReadOnly,
                "mkdir",
                "/opt/a b",
                true,
            ),
            (
                "mv: cannot move '/etc/hosts' to '/etc/h': Read-only file system",
                Kind::ReadOnly,
                "mv",
                "/etc/h",
                true,
            ),
            (
                "OSError: [Errno 30] Read-only file system: '/etc/x'",
                Kind::ReadOnly,
                "OSError",
                "/etc/x",
                true,
            ),
            (
                "cat: /etc/shadow: Permission denied",
                Kind::Denied,
                "cat",
                "/etc/shadow",
                false,
            ),
            (
                "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)",
                Kind::Denied,
                "E",
                "/var/lib/dpkg/lock-frontend",
                true,
            ),
            (
                "useradd: Permission denied.",
                Kind::Denied,
                "useradd",
                "",
                false,
            ),
            (
                "sysctl: permission denied on key \"vm.swappiness\"",
                Kind::Denied,
                "sysctl",
                "vm.swappiness",
                false,
            ),
            (
                "kill: (1): Operation not permitted",
                Kind::NotPermitted,
                "kill",
                "1",
                false,
            ),
            (
                "mount: /mnt: must be superuser to use mount.",
                Kind::NeedsRoot,
                "mount",
                "/mnt",
                false,
            ),
            (
                "curl: (6) Could not resolve host: example.com",
                Kind::NoNetwork,
                "curl",
                "example.com",
                false,
            ),
            (
                "curl: (7) Failed to connect to 127.0.0.1 port 80 after 0 ms: Couldn't connect to server",
                Kind::NoNetwork,
                "curl",
                "",
                false,
            ),
            (
                "fatal: unable to access 'https://example.com/x/': Could not resolve host: example.com",
                Kind::NoNetwork,
                "fatal",
                "example.com",
                false,
            ),
            (
                "bash: socket: Address family not supported by protocol",
                Kind::NoNetwork,
                "bash",
                "",
                false,
            ),
            (
                "Failed to connect to bus: Host is down",
                Kind::NoService,
                "",
                "",
                false,
            ),
            (
                "crontab: your UID isn't in the passwd file.",
                Kind::NoAccount,
                "crontab",
                "",
                false,
            ),
        ] {
            let said = line(line_.as_bytes()).unwrap_or_else(|| panic!("{line_}"));
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            if kind != Kind::NoNetwork || !object.is_empty() {
                assert_eq!(text(&said.object), object, "{line_}");
            }
            assert_eq!((said.kind, said.change), (kind, change), "{line_}");
            assert!(by.is_empty() || text(&said.by) == by, "{line_}: {said:?}");
        }
        for other in [
            "",
            ":",
            "permission",
            "curl: (3) URL rejected: Malformed input",
            "grep: x: is a directory",
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
            "cat: -: Resource temporarily unavailable",
        ] {
            assert_eq!(line(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn eagain_counts_only_of_a_fork() {
        for text in [
            "bash: fork: retry: Resource temporarily unavailable",
            "sh: 0: Cannot fork",
            "xargs: cannot fork: Resource temporarily unavailable",
            "make: vfork: Resource temporarily unavailable",
            "posix_spawn: Resource temporarily unavailable",
            "clone: Resource temporarily unavailable",
            "cannot create thread: Resource temporarily unavailable",
            "RuntimeError: can't start new thread",
        ] {
            let kind = line(text.as_bytes()).map(|said| said.kind);
            assert_eq!(kind, Some(Kind::NoTask), "{text}");
        }
    }

    /// Returns the first phrase of the list that the line has, by one search for each.
    fn one_by_one(line: &str) -> Option<Phrase> {
        let found = PHRASES
            .iter()
            .find_map(|(phrase, kind)| Some((line.find(phrase)?, *phrase, *kind)));
        let (start, phrase, kind) = found?;
        let has_fork = FORKS.iter().any(|word| line.contains(word));
        (phrase != TRY_AGAIN || has_fork).then_some(Phrase {
            start,
            end: start + phrase.len(),
            kind,
        })
    }

    #[test]
    fn one_pass_finds_the_phrase_of_single_searches() {
        let words: Vec<&str> = PHRASES
            .iter()
            .map(|(phrase, _)| *phrase)
            .chain(FORKS)
            .chain(["", "x: ", "not permit"])
            .collect();
        for first in &words {
            for second in &words {
                // Also a phrase that begins in another one.
                let overlap = second.get(1..).unwrap_or_default();
                for line in [
                    format!("{first}{second}"),
                    format!("{second} '{first}' {second}"),
                    format!("{first}{overlap}{second}"),
                ] {
                    assert_eq!(phrase(line.as_bytes()), one_by_one(&line), "{line}");
                }
            }
        }
    }

    #[test]
    fn no_line_is_too_odd() {
        let parts: [&[u8]; 12] = [
            b"'",
            b"\"",
            "\u{2018}".as_bytes(),
            "\u{2019}".as_bytes(),
            b"/",
            b": ",
            b":",
            b"\xff",
            b"Permission denied",
            b"Read-only file system",
            b"Could not resolve",
            b"(",
        ];
        for a in parts {
            for b in parts {
                for c in parts {
                    for d in parts {
                        let _ = line(&[a, b, c, d].concat());
                    }
                }
            }
        }
        let long = [&vec![b'/'; 1 << 20][..], b": Permission denied"].concat();
        assert_eq!(line(&long), None);
        let escape = line(b"cat: '/\x1b[31m/\xe2\x80\xae': Permission denied").unwrap();
        assert!(!escape.object.unwrap().contains('\x1b'));
    }
}
