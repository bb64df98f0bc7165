//! Lines of authorized_keys files and of public key files. Pure.

use super::base64;
use super::options::{Options, OptionsError};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Nothing, or a comment.
    Blank,
    /// A key that sshd takes.
    Key(Key<'a>),
    /// No key that sshd would take, as far as we can tell.
    Unread(Unread),
}

/// Why a line gives nobody a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no key on it.
    NoKey,
    /// Its options make no sense.
    Options(OptionsError),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoKey => f.write_str("there is no key on it"),
            Self::Options(error) => write!(f, "{error}"),
        }
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// What it may be used for.
    pub options: Options,
    /// Its type, such as `ssh-ed25519`; the blob begins with the same.
    pub kind: &'a str,
    /// The blob in base64, as it stands there.
    pub base64: &'a str,
    /// The blob (RFC 4253, section 6.6). It tells keys apart.
    pub blob: Vec<u8>,
    /// The rest of the line. Anything may be in it.
    pub comment: &'a [u8],
}

/// The lines of a file with their numbers, from 1 on.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, Line<'_>)> {
    (1..).zip(text.split(|byte| *byte == b'\n').map(Line::parse))
}

impl<'a> Line<'a> {
    /// Reads one line, without its newline.
    pub fn parse(line: &'a [u8]) -> Self {
        // To sshd a line is a C string.
        let end = line.iter().position(|byte| *byte == 0);
        let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Self::Blank;
        }
        if let Some(key) = Key::bare(line) {
            return Self::Key(key);
        }
        let (options, rest) = line.split_at(options_length(line));
        let Some(key) = Key::bare(rest.trim_ascii_start()) else {
            return Self::Unread(Unread::NoKey);
        };
        match Options::parse(options) {
            Ok(options) => Self::Key(Key { options, ..key }),
            Err(error) => Self::Unread(Unread::Options(error)),
        }
    }
}

impl<'a> Key<'a> {
    /// A key without options: its type, its blob in base64, a comment. The blob must be of the
    /// type that the first word names, so any type there will ever be is known by its form.
    fn bare(text: &'a [u8]) -> Option<Self> {
        let (kind, rest) = word(text);
        let (base64, rest) = word(rest.trim_ascii_start());
        let blob = base64::decode(base64)?;
        if field(&blob)?.0 != kind {
            return None;
        }
        Some(Self {
            options: Options::default(),
            kind: std::str::from_utf8(kind).ok()?,
            base64: std::str::from_utf8(base64).ok()?,
            blob,
            comment: rest.trim_ascii(),
        })
    }
}

/// The first field of a blob and what follows it: four bytes of length, then so many
/// (RFC 4251, section 5, string).
pub fn field(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    text.split_at(end.unwrap_or(text.len()))
}

/// How far the options go: to the first blank outside of quotes.
fn options_length(text: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' if escaped => escaped = false,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return at,
            other => escaped = *other == b'\\',
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn key(line: &str) -> Key<'_> {
        match Line::parse(line.as_bytes()) {
            Line::Key(key) => key,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_key_is_found_behind_its_options() {
        for (before, after, options) in [
            ("", "", 0),
            ("  \t", " me@there\r", 0),
            ("restrict ", " x", 1),
            ("restrict,command=\"a b \\\" c\"  \t", " a b c", 2),
            ("from=\"\\\"\" ", "", 1),
        ] {
            let line = format!("{before}{KEY}{after}");
            let key = key(&line);
            assert_eq!(
                (key.kind, key.options.names().count()),
                ("ssh-ed25519", options)
            );
            assert_eq!(key.comment, after.trim().as_bytes());
            assert_eq!(key.blob.len(), 51);
        }
    }

    #[test]
    fn a_line_without_a_key_is_told() {
        use OptionsError::*;
        let blob = KEY.split(' ').next_back().unwrap();
        let cases = [
            (String::new(), Line::Blank),
            ("  # restrict".into(), Line::Blank),
            (format!("#{KEY}"), Line::Blank),
            (format!("\0{KEY}"), Line::Blank),
            ("ssh-ed25519".into(), Line::Unread(Unread::NoKey)),
            (format!("ssh-rsa {blob}"), Line::Unread(Unread::NoKey)),
            (
                format!("restrict, command=\"x\" {KEY}"),
                Line::Unread(Unread::NoKey),
            ),
            (
                format!("restrict, {KEY}"),
                Line::Unread(Unread::Options(Name)),
            ),
            (format!("command=\"x {KEY}"), Line::Unread(Unread::NoKey)),
            (format!("restrict\0 {KEY}"), Line::Unread(Unread::NoKey)),
        ];
        for (line, expect) in cases {
            assert_eq!(Line::parse(line.as_bytes()), expect, "{line:?}");
        }
    }

    #[test]
    fn a_word_in_the_comment_is_no_option() {
        assert!(
            key(&format!("{KEY} restrict,command=\"x\""))
                .options
                .is_empty()
        );
    }

    #[test]
    fn lines_count_from_one() {
        let text = format!("# x\n\n{KEY}\n");
        let found: Vec<usize> = lines(text.as_bytes())
            .filter(|(_, line)| matches!(line, Line::Key(_)))
            .map(|(number, _)| number)
            .collect();
        assert_eq!(found, [3]);
    }

    #[test]
    fn a_field_has_the_length_it_says() {
        assert_eq!(field(b"\0\0\0\x02abc"), Some((&b"ab"[..], &b"c"[..])));
        for short in [&b""[..], b"\0\0\0", b"\0\0\0\x02a", b"\xff\xff\xff\xff"] {
            assert_eq!(field(short), None);
        }
    }
}
