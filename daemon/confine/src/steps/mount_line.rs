//! One line of a mount table: proc_pid_mountinfo(5). Pure.

#[derive(Debug)]
pub(crate) struct MountLine<'a> {
    /// `MAJOR:MINOR` of the file system. For btrfs it is not the one that fstat(2) gives.
    pub(crate) device: &'a [u8],
    /// Relative to the root; empty for the root itself.
    pub(crate) at: Vec<u8>,
    /// Options of the mount, and of its file system.
    pub(crate) options: [&'a [u8]; 2],
    pub(crate) is_shared: bool,
    /// A user's program chooses a part of it: `fuse.NAME`.
    pub(crate) kind: &'a [u8],
}

impl<'a> MountLine<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = fields.nth(2)?;
        let at = unescaped(fields.nth(1)?)?;
        let own = fields.next()?;
        // Optional fields end with a lone hyphen.
        let mut is_shared = false;
        loop {
            match fields.next()? {
                b"-" => break,
                field => is_shared |= field.starts_with(b"shared:"),
            }
        }
        let kind = fields.next()?;
        Some(Self {
            device,
            at,
            options: [own, fields.nth(1)?],
            is_shared,
            kind,
        })
    }
}

/// Returns true if `path` is `directory` or beneath it. Both are relative.
pub(crate) fn is_in(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| directory.is_empty() || matches!(rest.first(), None | Some(b'/')))
}

/// Returns a path without its slash at the front. The kernel escapes spaces, tabs, line ends and backslashes.
fn unescaped(field: &[u8]) -> Option<Vec<u8>> {
    let mut rest = field.strip_prefix(b"/")?;
    let mut path = Vec::with_capacity(rest.len());
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'\\' {
            path.push(*first);
            continue;
        }
        let (digits, others) = rest.split_at_checked(3)?;
        rest = others;
        let digits = std::str::from_utf8(digits).ok()?;
        path.push(u8::from_str_radix(digits, 8).ok()?);
    }
    Some(path)
}
