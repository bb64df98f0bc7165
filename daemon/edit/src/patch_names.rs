//! The names in the `---` and `+++` lines of a patch. Pure.

use crate::patch::{PatchError, header, patch, split};

const NO_FILE: &[u8] = b"/dev/null";

/// Returns the name in a `---` or `+++` line; diff(1) writes a time after a tab. It is `/dev/null` also for a file that is not
/// there: `diff -N` gives it the time 0, svn says `(nonexistent)`.
#[must_use]
pub fn file_name(line: &[u8]) -> Option<&[u8]> {
    let line = line
        .strip_prefix(b"--- ")
        .or_else(|| line.strip_prefix(b"+++ "))?;
    let mut parts = line.split(|byte| matches!(byte, b'\t' | b'\n' | b'\r'));
    let (name, note) = (parts.next()?, parts.next().unwrap_or_default());
    let is_absent = note == b"(nonexistent)" || std::str::from_utf8(note).is_ok_and(is_epoch);
    Some(if is_absent { NO_FILE } else { name })
}

/// Returns the new bytes of the file with this path, which is the old or the new one in the patch if that has names.
pub fn patch_file(path: &[u8], base: &[u8], text: &[u8]) -> Result<Vec<u8>, PatchError> {
    check_names(path, text)?;
    patch(base, text)
}

/// Fails if no name in the patch is that of the file with this path, or one says that there is no file. A patch may have none.
fn check_names(path: &[u8], text: &[u8]) -> Result<(), PatchError> {
    let head = split(text).into_iter();
    let head = (1..).zip(head.take_while(|line| header(line).is_none()));
    let names = head.filter_map(|(line, text)| Some((line, file_name(text)?)));
    let (mut is_own, mut other) = (false, None);
    for (line, name) in names.filter(|(_, name)| !is_without_path(name)) {
        match name {
            NO_FILE => return Err(PatchError::NoFile { line }),
            name if is_name(name, path) => is_own = true,
            _ => other = Some(line),
        }
    }
    match other.filter(|_| !is_own) {
        Some(line) => Err(PatchError::OtherFile { line }),
        None => Ok(()),
    }
}

/// Returns true for input of a program, and for a name in quotation marks: git writes so one that is not ASCII.
fn is_without_path(name: &[u8]) -> bool {
    name.is_empty() || name == b"-" || name.starts_with(b"/dev/fd/") || name.starts_with(b"\"")
}

/// Returns true if a name of git, or one with all directories, ends the path. Of another name the last part counts.
fn is_name(name: &[u8], path: &[u8]) -> bool {
    let of_path = |name: &[u8]| {
        let above = path.strip_suffix(name);
        above.is_some_and(|above| above.ends_with(b"/"))
    };
    let below = [&b"a/"[..], b"b/", b"/"]
        .iter()
        .find_map(|head| name.strip_prefix(*head));
    let last = || name.rsplit(|byte| *byte == b'/').next();
    below.or_else(last).is_some_and(of_path)
}

/// Returns true for the time 0, in any time zone: `1969-12-31 19:00:00.000000000 -0500`.
fn is_epoch(time: &str) -> bool {
    minutes_since_epoch(time) == Some(0)
}

/// Returns nothing for a time of other days, or with seconds.
fn minutes_since_epoch(time: &str) -> Option<i32> {
    let minutes = |hours: &str, minutes: &str| -> Option<i32> {
        let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
        Some(i32::from(hours) * 60 + i32::from(minutes))
    };
    let mut words = time.split_ascii_whitespace();
    let day = match words.next()? {
        "1970-01-01" => 0,
        "1969-12-31" => -24 * 60,
        _ => return None,
    };
    let mut clock = words.next()?.splitn(3, ':');
    let local = day + minutes(clock.next()?, clock.next()?)?;
    let is_whole = clock.next()?.bytes().all(|byte| b"0.".contains(&byte));
    let (sign, zone) = words.next().unwrap_or("+0000").split_at_checked(1)?;
    let (hours, rest) = zone.split_at_checked(2)?;
    let offset = minutes(hours, rest.trim_start_matches(':'))?;
    let offset = if sign == "-" { -offset } else { offset };
    is_whole.then_some(local - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_patch_are_those_of_the_file() {
        let hunk = "@@ -1 +1 @@\n-a\n+b\n";
        let (none, other) = (
            |line| Err(PatchError::NoFile { line }),
            |line| Err(PatchError::OtherFile { line }),
        );
        for (head, expect) in [
            ("", Ok(())),
            (
                "diff --git a/etc/x b/etc/x\n--- a/etc/x\n+++ b/etc/x\n",
                Ok(()),
            ),
            ("--- a/x\n+++ b/x\n", Ok(())),
            ("--- x\t2026-01-01\n+++ x\t2026-01-02\n", Ok(())),
            ("--- x.orig\n+++ x\n", Ok(())),
            ("--- old/x\n+++ new/x\n", Ok(())),
            ("--- /etc/x\n+++ /dev/fd/63\n", Ok(())),
            ("--- /etc/x\n+++ /tmp/x.new\n", Ok(())),
            // difflib without names, diff(1) of its input, git.
            ("--- \n+++ \n", Ok(())),
            ("--- -\n+++ /dev/fd/63\n", Ok(())),
            (
                "--- \"a/etc/\\303\\251\"\n+++ \"b/etc/\\303\\251\"\n",
                Ok(()),
            ),
            ("--- /dev/null\n+++ b/x\n", none(1)),
            ("--- a/x\n+++ /dev/null\n", none(2)),
            (
                "--- x\t1970-01-01 00:00:00.000000000 +0000\n+++ x\t2026\n",
                none(1),
            ),
            (
                "--- x\n+++ x\t1969-12-31 19:00:00.000000000 -0500\n",
                none(2),
            ),
            ("--- x\t(nonexistent)\n+++ x\t(working copy)\n", none(1)),
            ("--- a/y\n+++ b/y\n", other(2)),
            ("--- a/xx\n+++ b/x/y\n", other(2)),
            ("--- a/srv/x\n+++ b/srv/x\n", other(2)),
            ("--- a/tc/x\n+++ -\n", other(1)),
            ("--- /srv/x\n+++ /srv/etc/x\n", other(2)),
        ] {
            let text = format!("{head}{hunk}");
            let got = patch_file(b"/etc/x", b"a\n", text.as_bytes());
            assert_eq!(got, expect.map(|()| b"b\n".to_vec()), "{head}");
        }
        // A removed line can look like a name.
        let text = "--- x\n+++ x\n@@ -1 +1 @@\n--- y\n+++ /dev/null\n";
        assert_eq!(
            patch_file(b"/etc/x", b"-- y\n", text.as_bytes()),
            Ok(b"++ /dev/null\n".to_vec())
        );
    }

    #[test]
    fn time_0_is_that_of_no_file() {
        for (time, expect) in [
            ("1970-01-01 00:00:00.000000000 +0000", true),
            ("1970-01-01 00:00:00", true),
            ("1970-01-01 05:30:00.000000000 +0530", true),
            ("1970-01-01 05:30:00 +05:30", true),
            ("1969-12-31 16:00:00 -0800", true),
            ("1970-01-01 01:00:00.000000000 +0000", false),
            ("1970-01-01 00:00:00.000000001 +0000", false),
            ("1970-01-01 00:00:01 +0000", false),
            ("1969-12-31 16:00:00 +0800", false),
            ("2026-01-01 00:00:00 +0000", false),
            ("1970-01-01", false),
            ("1970-01-01 00:00:00 \u{e9}", false),
            ("", false),
        ] {
            assert_eq!(is_epoch(time), expect, "{time}");
        }
    }
}
