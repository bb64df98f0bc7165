//! Mount tables of the kernel: proc_pid_mountinfo(5). Pure.

use std::str::from_utf8;

/// Types of file systems without data of users.
pub const WITHOUT_DATA: [&str; 19] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];

#[derive(Debug)]
pub struct MountLine<'a> {
    pub id: u64,
    pub parent: u64,
    /// Major and minor number of the file system. For btrfs they are not those that stat(2) gives.
    pub device: (u32, u32),
    /// The part of the file system that is mounted, escaped.
    pub root: &'a [u8],
    pub point: Vec<u8>,
    /// Options of the mount, and of its file system.
    pub options: [&'a [u8]; 2],
    pub is_shared: bool,
    /// A user's program chooses a part of it: `fuse.NAME`.
    pub kind: &'a [u8],
    /// Escaped.
    pub source: &'a [u8],
}

impl<'a> MountLine<'a> {
    /// Parses `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = from_utf8(fields.next()?).ok()?.parse().ok()?;
        let parent = from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (major, minor) = from_utf8(fields.next()?).ok()?.split_once(':')?;
        let root = fields.next()?;
        let point = unescape(fields.next()?).filter(|point| point.starts_with(b"/"))?;
        let own = fields.next()?;
        // Optional fields end with a lone hyphen.
        let mut is_shared = false;
        loop {
            match fields.next()? {
                b"-" => break,
                field => is_shared |= field.starts_with(b"shared:"),
            }
        }
        let (kind, source) = (fields.next()?, fields.next()?);
        Some(Self {
            id,
            parent,
            device: (major.parse().ok()?, minor.parse().ok()?),
            root,
            point,
            options: [own, fields.next()?],
            is_shared,
            kind,
            source,
        })
    }

    /// Returns the mount point relative to the root; empty for the root itself.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        self.point.get(1..).unwrap_or_default()
    }
}

/// Returns the mounts of a table; `None` for a line that the kernel does not write.
pub fn mounts(table: &[u8]) -> impl DoubleEndedIterator<Item = Option<MountLine<'_>>> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(MountLine::parse)
}

/// Returns true if `path` is `directory` or beneath it. Neither ends with a slash.
#[must_use]
pub fn is_in(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| directory.is_empty() || matches!(rest.first(), None | Some(b'/')))
}

/// Returns a field in its plain form: the kernel writes spaces, tabs, line ends and backslashes as octal numbers, as `\040`.
#[must_use]
pub fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        plain.push(match first {
            b'\\' => {
                let (digits, others) = rest.split_at_checked(3)?;
                rest = others;
                let has_sign = digits.starts_with(b"+");
                let number = from_utf8(digits).ok().filter(|_| !has_sign)?;
                u8::from_str_radix(number, 8).ok()?
            }
            byte => *byte,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_octal_numbers_of_a_byte_are_escapes() {
        for (field, expect) in [
            (&br"/a\040b\134n\011\0430"[..], Some(&b"/a b\\n\t#0"[..])),
            (b"", Some(b"")),
            (br"\04", None),
            (br"\999", None),
            (br"\777", None),
            (br"\+12", None),
            (br"a\", None),
        ] {
            assert_eq!(unescape(field).as_deref(), expect, "{field:?}");
        }
    }

    #[test]
    fn line_is_read_with_and_without_optional_fields() {
        for (optional, is_shared) in [
            ("", false),
            ("master:2 ", false),
            ("shared:1 master:2 ", true),
        ] {
            let line = format!(
                r"36 35 98:1 /r\040 /a\040b\134 rw,noatime {optional}- ext3 /dev/x\040y rw,errors=continue"
            );
            let found = MountLine::parse(line.as_bytes()).unwrap();
            assert_eq!((found.id, found.parent, found.device), (36, 35, (98, 1)));
            assert_eq!(
                (found.root, found.relative()),
                (&br"/r\040"[..], &br"a b\"[..])
            );
            assert_eq!(
                (found.kind, found.source),
                (&b"ext3"[..], &br"/dev/x\040y"[..])
            );
            assert_eq!(found.options, [&b"rw,noatime"[..], b"rw,errors=continue"]);
            assert_eq!(found.is_shared, is_shared, "{line}");
        }
        // An empty source leaves two adjacent spaces.
        let empty = MountLine::parse(b"1 2 0:5 / / rw - tmpfs  rw").unwrap();
        assert_eq!((empty.source, empty.relative()), (&b""[..], &b""[..]));
        for odd in [
            "",
            "36 35 98:0 / /a rw",
            "x 35 98:0 / /a rw - ext4 d rw",
            "36 x 98:0 / /a rw - ext4 d rw",
            "36 35 98 / /a rw - ext4 d rw",
            "36 35 98:0 / relative rw - ext4 d rw",
            r"36 35 98:0 / /a\04 rw - ext4 d rw",
            "36 35 98:0 / /a rw ext4 d rw",
            "36 35 98:0 / /a rw - ext4 d",
        ] {
            assert!(MountLine::parse(odd.as_bytes()).is_none(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_table_is_read(line in "[0-9: /a\\\\,-]{0,60}", odd: Vec<u8>) {
            let _ = (mounts(line.as_bytes()).count(), mounts(&odd).count());
        }
    }
}
