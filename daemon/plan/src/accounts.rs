//! Files in which each line is an account or a group, as glibc reads passwd(5), shadow(5), group(5) and gshadow(5), and
//! those of newuidmap(1).

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFile {
    Passwd,
    Group,
    Shadow,
    Gshadow,
    /// Ranges of users and of groups as which an account may act: subuid(5), subgid(5).
    Subuid,
    Subgid,
}

impl AccountFile {
    /// Returns what the file at a path is.
    pub fn at(path: &[u8]) -> Option<Self> {
        let name = path.strip_prefix(b"/etc/");
        match name.or_else(|| path.strip_prefix(b"/var/lib/extrausers/"))? {
            b"passwd" => Some(Self::Passwd),
            b"group" => Some(Self::Group),
            b"shadow" => Some(Self::Shadow),
            b"gshadow" => Some(Self::Gshadow),
            b"subuid" => Some(Self::Subuid),
            b"subgid" => Some(Self::Subgid),
            _ => None,
        }
    }

    pub const fn is_of_ranges(self) -> bool {
        matches!(self, Self::Subuid | Self::Subgid)
    }
}

/// Directories in which nss-systemd(8) finds accounts, and one file is one. /run has none of a plan.
const USERDB: [&[u8]; 4] = [
    b"/etc/userdb",
    b"/usr/local/lib/userdb",
    b"/usr/lib/userdb",
    b"/lib/userdb",
];

/// A path that systemd-userdbd(8) reads, or that has such paths beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRecord<'a> {
    Directory,
    /// `USER:GROUP.membership`
    Membership {
        user: &'a [u8],
        group: &'a [u8],
    },
    Other,
}

impl<'a> UserRecord<'a> {
    pub fn at(path: &'a [u8]) -> Option<Self> {
        let mut beneath = USERDB.iter().filter_map(|dir| path.strip_prefix(*dir));
        let name = match beneath.find(|rest| rest.is_empty() || rest.starts_with(b"/"))? {
            b"" => return Some(Self::Directory),
            rest => rest.get(1..).unwrap_or_default(),
        };
        let pair = name.strip_suffix(b".membership");
        let colon = pair.and_then(|pair| pair.iter().position(|byte| *byte == b':'));
        let split = pair.zip(colon).map(|(pair, at)| pair.split_at(at));
        Some(match split {
            Some((user, [_, group @ ..])) if !name.contains(&b'/') => {
                Self::Membership { user, group }
            }
            _ => Self::Other,
        })
    }
}

/// The directory of libnss-extrausers.
pub const EXTRAUSERS: &[u8] = b"/var/lib/extrausers";

/// Returns true for a table of passwords, which a plan can change by its lines.
#[must_use]
pub fn is_table(path: &[u8]) -> bool {
    [&b"/etc/shadow"[..], b"/etc/gshadow"].contains(&path)
}

/// Returns true for a file in which each line is an account or a group, or says as whom an account may act.
#[must_use]
pub fn is_of_accounts(path: &[u8]) -> bool {
    AccountFile::at(path).is_some()
}

/// Lines of one file; more are refused.
pub const LINES: usize = 1 << 16;

/// Returns the lines, or `None` if they are too many to compare, or if a NUL hides a part of one from glibc.
pub fn account_lines(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]> + Clone> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let is_short = lines.clone().take(LINES + 1).count() <= LINES;
    (is_short && !bytes.contains(&0)).then_some(lines)
}

pub fn field(line: &[u8], number: usize) -> Option<&[u8]> {
    line.split(|byte| *byte == b':').nth(number)
}

/// Returns the first field. glibc skips blanks before it (nss_readline.c).
pub fn account_name(line: &[u8]) -> &[u8] {
    without_blanks(field(line, 0).unwrap_or_default())
}

/// Returns the id in a field. glibc reads it by strtoul(3): a sign and blanks may be before it, and '-' wraps.
pub fn account_id(line: &[u8], number: usize) -> Option<u32> {
    let text = without_blanks(field(line, number)?);
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: Option<u64> = std::str::from_utf8(digits).ok()?.parse().ok();
    let value = match is_negative {
        true => value.map(u64::wrapping_neg),
        false => value,
    };
    let id = value.and_then(|value| u32::try_from(value).ok());
    Some(id.unwrap_or(u32::MAX))
}

/// Cuts what isspace(3) skips in some locale. No UTF-8 text begins with the last two.
fn without_blanks(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0x09..=0x0d | 0x85 | 0xa0);
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    text.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_glibc_reads_them() {
        for (text, expect) in [
            ("0", Some(0)),
            ("00", Some(0)),
            ("-0", Some(0)),
            (" \u{b}+1000", Some(1000)),
            ("-18446744073709550616", Some(1000)),
            ("18446744073709552616", Some(u32::MAX)),
            ("4294968296", Some(u32::MAX)),
            ("", None),
            ("x", None),
            ("0x0", None),
            ("--0", None),
        ] {
            assert_eq!(
                account_id(format!("a:x:{text}:5").as_bytes(), 2),
                expect,
                "{text}"
            );
        }
    }

    #[test]
    fn blanks_before_a_name_do_not_count() {
        for line in [&b"boss:x"[..], b" \t\x0b\x0c\rboss", b"\xa0boss:"] {
            assert_eq!(account_name(line), b"boss");
        }
        assert_eq!(account_name("\u{e9}va:x".as_bytes()), "\u{e9}va".as_bytes());
    }
}
