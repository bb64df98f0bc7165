//! Which files cron(8) ignores by their names.

/// Where this file is, cron and run-parts(8) ignore more names than those of hidden files.
pub const DEBIAN: &str = "/etc/debian_version";

const DOT: &str = "its name has a dot";

/// Says why cron and run-parts(8) ignore a file of this name in `/etc/cron.d` or a directory of scripts.
pub fn name_ignored(name: &[u8], is_debian: bool) -> Option<&'static str> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match is_debian {
        _ if name.starts_with(b".") => Some(DOT),
        false => None,
        true if name.iter().all(is_plain) => None,
        true if name.contains(&b'.') => Some(DOT),
        true => Some("its name has another character than letters, digits, '_' and '-'"),
    }
}

/// Returns true for the further names that cron(8) of Debian reads with option -l: `^_?([a-z0-9_.]+-)+[a-z0-9]+$`.
pub fn is_hierarchical(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &[u8]| {
        let fits = |byte: &u8| is_plain(byte) || matches!(byte, b'_' | b'.');
        !part.is_empty() && part.iter().all(fits)
    };
    let mut parts = name.rsplit(|byte| *byte == b'-');
    let last = parts.next().unwrap_or_default();
    let is_last = !last.is_empty() && last.iter().all(is_plain);
    let is_old = [&b"dpkg-old"[..], b"dpkg-dist"]
        .iter()
        .any(|end| name.ends_with(end));
    let mut before = parts.peekable();
    is_last && !is_old && before.peek().is_some() && before.all(is_part)
}
