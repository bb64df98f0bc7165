//! Parses and checks an agent's public key. Pure. Stricter than sshd: one key, no options, a secure type and size.

use std::fmt;

use crate::openssh::keys::{self, KeyLine, Unread};

/// In bytes.
pub const FILE: usize = 64 << 10;
/// In bytes; a longer comment is truncated.
const COMMENT: usize = 200;
/// Allowed bits of an RSA modulus. The upper bound is sshd's.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16384;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub kind: String,
    /// The blob in base64, which identifies the key.
    pub base64: String,
    pub comment: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    Empty,
    Private,
    Foreign,
    Several(usize),
    Options,
    Unread(usize, Unread),
    Certificate(String),
    Kind(String),
    Malformed(String),
    RsaBits(usize),
    TooLarge,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no key in it"),
            Self::Private => f.write_str(
                "it is a private key, which nobody but its owner should have: give the public one, \
                 as 'ssh-keygen -y -f FILE' prints it",
            ),
            Self::Foreign => {
                f.write_str("it is not in the form of OpenSSH: 'ssh-keygen -i -f FILE' converts it")
            }
            Self::Several(count) => write!(f, "it has {count} keys: give one"),
            Self::Options => {
                f.write_str("the line has options; give only the key, remit sets the options")
            }
            Self::Unread(line, why) => write!(f, "line {line} is not a public key: {why}"),
            Self::Certificate(kind) => write!(f, "it is a certificate ('{kind}'), not a key"),
            Self::Kind(kind) => write!(
                f,
                "keys of type '{kind}' are not accepted: use ssh-ed25519, ecdsa, rsa or an sk- type"
            ),
            Self::Malformed(kind) => write!(f, "it is damaged: not a valid key of type '{kind}'"),
            Self::RsaBits(bits) => write!(
                f,
                "its RSA modulus has {bits} bits: {} to {} are accepted",
                RSA_BITS.start(),
                RSA_BITS.end()
            ),
            Self::TooLarge => write!(f, "it has more than {FILE} bytes"),
        }
    }
}

impl std::error::Error for KeyError {}

impl PublicKey {
    /// Parses the only key in `text`. Blank lines and comments are ignored.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > FILE {
            return Err(KeyError::TooLarge);
        }
        if let Some(error) = not_openssh(text) {
            return Err(error);
        }
        let mut found = Vec::new();
        for (number, line) in keys::lines(text) {
            match line {
                KeyLine::Blank => {}
                KeyLine::Unread(why) => return Err(KeyError::Unread(number, why)),
                KeyLine::AuthorizedKey(key) => found.push(key),
            }
        }
        let key = match found.as_slice() {
            [] => return Err(KeyError::Empty),
            [key] => key,
            several => return Err(KeyError::Several(several.len())),
        };
        if !key.options.is_empty() {
            return Err(KeyError::Options);
        }
        // Base64 must be canonical, so each key has exactly one spelling.
        let blob = keys::decode_base64(key.base64.as_bytes());
        check(
            key.kind,
            &blob.ok_or_else(|| KeyError::Malformed(key.kind.to_owned()))?,
        )?;
        Ok(Self {
            kind: key.kind.to_owned(),
            base64: key.base64.to_owned(),
            comment: comment(key.comment),
        })
    }
}

/// Detects formats of other programs (RFC 7468, RFC 4716, PuTTY).
fn not_openssh(text: &[u8]) -> Option<KeyError> {
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    if has(b"PRIVATE KEY-----") || has(b"PuTTY-User-Key-File") {
        return Some(KeyError::Private);
    }
    (has(b"BEGIN SSH2 PUBLIC KEY") || has(b"BEGIN PUBLIC KEY") || has(b"BEGIN RSA PUBLIC KEY"))
        .then_some(KeyError::Foreign)
}

/// Checks a blob against its type: RFC 4253 6.6 (rsa), RFC 5656 3.1 (ecdsa), RFC 8709 4 (ed25519), PROTOCOL.u2f (sk-).
fn check(kind: &str, blob: &[u8]) -> Result<(), KeyError> {
    let mut rest = blob;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (field, more) =
            keys::field(rest).ok_or_else(|| KeyError::Malformed(kind.to_owned()))?;
        fields.push(field);
        rest = more;
    }
    let good = match (kind, fields.get(1..).unwrap_or_default()) {
        ("ssh-ed25519", [point]) => point.len() == 32,
        ("sk-ssh-ed25519@openssh.com", [point, application]) => {
            point.len() == 32 && !application.is_empty()
        }
        ("ecdsa-sha2-nistp256", [curve, point]) => is_point(b"nistp256", 32, curve, point),
        ("ecdsa-sha2-nistp384", [curve, point]) => is_point(b"nistp384", 48, curve, point),
        ("ecdsa-sha2-nistp521", [curve, point]) => is_point(b"nistp521", 66, curve, point),
        ("sk-ecdsa-sha2-nistp256@openssh.com", [curve, point, application]) => {
            is_point(b"nistp256", 32, curve, point) && !application.is_empty()
        }
        ("ssh-rsa", [exponent, modulus]) => {
            let bits = bits(modulus);
            if !RSA_BITS.contains(&bits) {
                return Err(KeyError::RsaBits(bits));
            }
            (2..=64).contains(&self::bits(exponent))
        }
        (
            "ssh-ed25519"
            | "sk-ssh-ed25519@openssh.com"
            | "ecdsa-sha2-nistp256"
            | "ecdsa-sha2-nistp384"
            | "ecdsa-sha2-nistp521"
            | "sk-ecdsa-sha2-nistp256@openssh.com"
            | "ssh-rsa",
            _,
        ) => false,
        (other, _) if other.contains("-cert-v0") => {
            return Err(KeyError::Certificate(other.to_owned()));
        }
        (other, _) => return Err(KeyError::Kind(other.to_owned())),
    };
    good.then_some(())
        .ok_or_else(|| KeyError::Malformed(kind.to_owned()))
}

/// Checks for an uncompressed point (SEC 1, section 2.3.3): 4, then two coordinates.
fn is_point(name: &[u8], coordinate: usize, curve: &[u8], point: &[u8]) -> bool {
    curve == name && point.len() == 1 + 2 * coordinate && point.starts_with(&[4])
}

/// Returns the bits of a positive number (RFC 4251, section 5, mpint); 0 if negative or with needless leading zeros.
fn bits(number: &[u8]) -> usize {
    let digits = number.strip_prefix(&[0]).unwrap_or(number);
    let first = digits.first().copied().unwrap_or_default();
    // A leading zero is needed exactly if the next bit is set, which otherwise is the sign.
    if first == 0 || (first >= 0x80) != (digits.len() < number.len()) {
        return 0;
    }
    digits.len() * 8 - first.leading_zeros() as usize
}

fn comment(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |c: char| remit_common::text::is_plain(c) && !matches!(c, '\t' | '\n');
    let mut text: String = text
        .chars()
        .map(|c| if plain(c) { c } else { '?' })
        .collect();
    text.truncate(text.floor_char_boundary(COMMENT));
    text.trim().to_owned()
}

#[cfg(test)]
pub mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    pub const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP/+/fz7+vn49/b19PPy8fDv7u3s6+rp6Ofm5eTj4uHg";

    fn made(kind: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in [&[kind.as_bytes()], fields].concat() {
            blob.extend((field.len() as u32).to_be_bytes());
            blob.extend(field);
        }
        format!("{kind} {}", STANDARD.encode(&blob))
    }

    fn rsa(bits: usize) -> String {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= bits.div_ceil(8) * 8 - bits;
        if modulus[0] & 0x80 != 0 {
            modulus.insert(0, 0);
        }
        made("ssh-rsa", &[&[1, 0, 1], &modulus])
    }

    fn point(length: usize) -> Vec<u8> {
        [&[4][..], &vec![7; length]].concat()
    }

    #[test]
    fn good_keys_are_taken_as_they_are() {
        for key in [
            ED25519.to_owned(),
            OTHER.to_owned(),
            rsa(2048),
            rsa(3072),
            rsa(4095),
            rsa(16384),
            made("ecdsa-sha2-nistp256", &[b"nistp256", &point(64)]),
            made("ecdsa-sha2-nistp384", &[b"nistp384", &point(96)]),
            made("ecdsa-sha2-nistp521", &[b"nistp521", &point(132)]),
            made("sk-ssh-ed25519@openssh.com", &[&[1; 32], b"ssh:"]),
            made(
                "sk-ecdsa-sha2-nistp256@openssh.com",
                &[b"nistp256", &point(64), b"ssh:"],
            ),
        ] {
            let text = format!("# mine\n\n{key} me@there\r\n");
            let parsed = PublicKey::parse(text.as_bytes()).unwrap();
            assert_eq!(format!("{} {}", parsed.kind, parsed.base64), key);
            assert_eq!(parsed.comment, "me@there");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let cases: Vec<(String, KeyError)> = vec![
            (String::new(), KeyError::Empty),
            ("# nothing\n".into(), KeyError::Empty),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n".into(),
                KeyError::Private,
            ),
            (
                format!("{ED25519}\n-----BEGIN EC PRIVATE KEY-----\n"),
                KeyError::Private,
            ),
            ("PuTTY-User-Key-File-3: ssh-rsa".into(), KeyError::Private),
            ("---- BEGIN SSH2 PUBLIC KEY ----".into(), KeyError::Foreign),
            ("-----BEGIN PUBLIC KEY-----".into(), KeyError::Foreign),
            (format!("{ED25519}\n{OTHER}"), KeyError::Several(2)),
            (format!("{ED25519}\n{ED25519}"), KeyError::Several(2)),
            (format!("restrict {ED25519}"), KeyError::Options),
            (format!("command=\"/bin/sh\" {ED25519}"), KeyError::Options),
            ("hello".into(), KeyError::Unread(1, Unread::NoKey)),
            (
                format!("\n{ED25519}\nssh-rsa AAAA"),
                KeyError::Unread(3, Unread::NoKey),
            ),
            (
                made("ssh-dss", &[b"p", b"q", b"g", b"y"]),
                KeyError::Kind("ssh-dss".into()),
            ),
            (made("ssh-x", &[]), KeyError::Kind("ssh-x".into())),
            (
                made("ssh-ed25519-cert-v01@openssh.com", &[&[1; 32]]),
                KeyError::Certificate("ssh-ed25519-cert-v01@openssh.com".into()),
            ),
            (rsa(1024), KeyError::RsaBits(1024)),
            (rsa(2047), KeyError::RsaBits(2047)),
            (rsa(16385), KeyError::RsaBits(16385)),
            (
                made("ssh-rsa", &[&[1, 0, 1], &[0xff; 256]]),
                KeyError::RsaBits(0),
            ),
            (
                made(
                    "ssh-rsa",
                    &[&[1, 0, 1], &[&[0, 0], &[0xff; 256][..]].concat()],
                ),
                KeyError::RsaBits(0),
            ),
            (
                rsa(2048).replacen("ssh-rsa", "rsa-sha2-512", 1),
                KeyError::Kind("rsa-sha2-512".into()),
            ),
            (
                format!("{}\x0c{}", &ED25519[..30], &ED25519[30..]),
                KeyError::Malformed("ssh-ed25519".into()),
            ),
            (
                made("ssh-ed25519", &[&[1; 31]]),
                KeyError::Malformed("ssh-ed25519".into()),
            ),
            (
                made("ssh-ed25519", &[&[1; 32], b"more"]),
                KeyError::Malformed("ssh-ed25519".into()),
            ),
            (
                made("ecdsa-sha2-nistp256", &[b"nistp384", &point(64)]),
                KeyError::Malformed("ecdsa-sha2-nistp256".into()),
            ),
            (
                made("ecdsa-sha2-nistp256", &[b"nistp256", &[2; 65]]),
                KeyError::Malformed("ecdsa-sha2-nistp256".into()),
            ),
            (" ".repeat(FILE + 1), KeyError::TooLarge),
        ];
        for (text, error) in cases {
            let start: String = text.chars().take(60).collect();
            assert_eq!(PublicKey::parse(text.as_bytes()), Err(error), "{start}");
        }
    }

    #[test]
    fn a_comment_becomes_harmless() {
        let long = "x".repeat(300);
        for (raw, kept) in [
            (&b""[..], ""),
            (b"  agent of web-1  ", "agent of web-1"),
            (b"a\x1b[2J\xff\tb", "a?[2J\u{fffd}?b"),
            ("gr\u{fc}n \u{202e}x".as_bytes(), "gr\u{fc}n ?x"),
            (long.as_bytes(), &long[..200]),
        ] {
            let text = [ED25519.as_bytes(), b" ", raw].concat();
            assert_eq!(PublicKey::parse(&text).unwrap().comment, kept, "{raw:?}");
        }
    }
}
