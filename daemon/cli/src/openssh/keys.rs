//! Parses lines of authorized_keys and public key files, and decodes their base64 (RFC 4648). Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::options::{Options, OptionsError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLine<'a> {
    Blank,
    AuthorizedKey(AuthorizedKey<'a>),
    /// Probably not a key for sshd.
    Unread(Unread),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    NoKey,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedKey<'a> {
    pub options: Options,
    pub kind: &'a str,
    pub base64: &'a str,
    /// The blob (RFC 4253, section 6.6) as [`blob`] normalizes it. It identifies the key.
    pub blob: Vec<u8>,
    pub comment: &'a [u8],
}

pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, KeyLine<'_>)> {
    (1..).zip(text.split(|byte| *byte == b'\n').map(KeyLine::parse))
}

impl<'a> KeyLine<'a> {
    pub fn parse(line: &'a [u8]) -> Self {
        // sshd treats a line as a C string.
        let end = line.iter().position(|byte| *byte == 0);
        let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Self::Blank;
        }
        if let Some(key) = AuthorizedKey::bare(line) {
            return Self::AuthorizedKey(key);
        }
        let (options, rest) = line.split_at(options_length(line));
        let Some(key) = AuthorizedKey::bare(rest.trim_ascii_start()) else {
            return Self::Unread(Unread::NoKey);
        };
        match Options::parse(options) {
            Ok(options) => Self::AuthorizedKey(AuthorizedKey { options, ..key }),
            Err(error) => Self::Unread(Unread::Options(error)),
        }
    }
}

impl<'a> AuthorizedKey<'a> {
    /// Parses a key without options: type, blob in base64, comment. The blob must have the type that the first word
    /// names, which recognizes future types: a key that sshd accepts and that is not found here would stay unnoticed.
    fn bare(text: &'a [u8]) -> Option<Self> {
        let (kind, rest) = word(text);
        let (base64, rest) = word(rest.trim_ascii_start());
        let blob = blob(base64)?;
        if !is_named(kind, field(&blob)?.0) {
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

/// Returns true if sshd reads a blob of type `of` after `kind`, a type or signature algorithm (`keyimpls` of sshkey.c).
fn is_named(kind: &[u8], of: &[u8]) -> bool {
    kind == of
        || match of {
            b"ssh-rsa" => matches!(kind, b"rsa-sha2-256" | b"rsa-sha2-512"),
            b"sk-ecdsa-sha2-nistp256@openssh.com" => {
                kind == b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
            }
            _ => false,
        }
}

/// Decodes base64 to one normal form for all spellings of a key. sshd ignores blanks, and leading zeros of RSA numbers.
pub fn blob(word: &[u8]) -> Option<Vec<u8>> {
    let is_digit = |byte: &u8| !matches!(byte, b'\x0b' | b'\x0c' | b'\r');
    let digits: Vec<u8> = word.iter().copied().filter(is_digit).collect();
    let spelt = decode_base64(&digits)?;
    let mut rest = match field(&spelt)? {
        (b"ssh-rsa", _) => spelt.as_slice(),
        _ => return Some(spelt),
    };
    let mut blob = Vec::with_capacity(spelt.len());
    while let Some((number, more)) = field(rest) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = number.get(zeros..).unwrap_or_default();
        blob.extend(u32::try_from(number.len()).ok()?.to_be_bytes());
        blob.extend(number);
        rest = more;
    }
    // Bytes that form no field stay, so a broken blob never equals a valid one.
    blob.extend(rest);
    Some(blob)
}

/// Splits off the first field of a blob: four bytes of length, then the data (RFC 4251, section 5, string).
pub fn field(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    text.split_at(end.unwrap_or(text.len()))
}

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

/// Returns `None` if `text` is empty or no padded base64 in its one normal form.
pub fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn key(line: &str) -> AuthorizedKey<'_> {
        match KeyLine::parse(line.as_bytes()) {
            KeyLine::AuthorizedKey(key) => key,
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
    fn line_without_key_is_reported() {
        use OptionsError::*;
        let blob = KEY.split(' ').next_back().unwrap();
        let cases = [
            (String::new(), KeyLine::Blank),
            ("  # restrict".into(), KeyLine::Blank),
            (format!("#{KEY}"), KeyLine::Blank),
            (format!("\0{KEY}"), KeyLine::Blank),
            ("ssh-ed25519".into(), KeyLine::Unread(Unread::NoKey)),
            (format!("ssh-rsa {blob}"), KeyLine::Unread(Unread::NoKey)),
            (
                format!("restrict, command=\"x\" {KEY}"),
                KeyLine::Unread(Unread::NoKey),
            ),
            (
                format!("restrict, {KEY}"),
                KeyLine::Unread(Unread::Options(Name)),
            ),
            (format!("command=\"x {KEY}"), KeyLine::Unread(Unread::NoKey)),
            (format!("restrict\0 {KEY}"), KeyLine::Unread(Unread::NoKey)),
        ];
        for (line, expect) in cases {
            assert_eq!(KeyLine::parse(line.as_bytes()), expect, "{line:?}");
        }
    }

    #[test]
    fn a_key_is_known_by_all_its_spellings() {
        let (short, padded) = (
            "AAAAB3NzaC1yc2EAAAABAwAAAAIA/w==",
            "AAAAB3NzaC1yc2EAAAACAAMAAAADAAD/",
        );
        let rsa = key(&format!("ssh-rsa {short}")).blob;
        for line in [
            format!("rsa-sha2-256 {short} x"),
            format!("rsa-sha2-512 {short}"),
            format!("pty ssh-rsa {padded}"),
            format!("ssh-rsa {}\x0b\x0c\r{} x", &short[..9], &short[9..]),
        ] {
            assert_eq!(key(&line).blob, rsa, "{line:?}");
        }
        let other = "AAAAB3NzaC1yc2EAAAABAwAAAAH/";
        assert_eq!(key(&format!("ssh-rsa {other}")).blob, rsa);
        let other = "AAAAB3NzaC1yc2EAAAABBQAAAAH/";
        assert_ne!(key(&format!("ssh-rsa {other}")).blob, rsa);
        let webauthn = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
        let blob = "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20=";
        assert_eq!(key(&format!("{webauthn} {blob}")).kind, webauthn);
        let decoy = format!("command=\"x {blob} \" {KEY}");
        assert_eq!(key(&decoy).blob, key(KEY).blob);
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
            .filter(|(_, line)| matches!(line, KeyLine::AuthorizedKey(_)))
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

    #[test]
    fn the_vectors_of_the_standard() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==", b"foob"),
            (b"Zm9vYmE=", b"fooba"),
            (b"+/+/", b"\xfb\xff\xbf"),
        ];
        for (text, bytes) in cases {
            assert_eq!(decode_base64(text).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            &b""[..],
            b"Zg",
            b"Zg=",
            b"Zh==",
            b"Zm9=",
            b"Z===",
            b"Zm 9",
            b"Zm-_",
            b"====",
            b"Zg==Zg==",
        ] {
            assert_eq!(decode_base64(text), None, "{text:?}");
        }
    }
}
