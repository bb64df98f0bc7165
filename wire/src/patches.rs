//! Splits a patch of several files, as diff(1) or git(1) makes it, into edits. Pure.
//!
//! **Invariant:** what the patch says and no edit does is an error.

use remit_common::text;
use remit_edit::{Action, Edit};
use remit_plan::PlanPath;

use crate::edits::keep;

/// What begins the section of a file, of git, svn and diff(1). Only the first that the patch has counts: the message before a
/// patch can have lines that begin with another.
const SECTIONS: [&[u8]; 3] = [GIT, b"Index: ", DIFF];
const GIT: &[u8] = b"diff --git ";
/// An option follows: a message can have a line that begins with the word.
const DIFF: &[u8] = b"diff -";

const CUT: &str = "the patch is cut: a '+++' line follows each '---' line";

/// Returns an edit for each file. A path is the old name of the file; `a/` and `b/` before it are as git writes them.
pub fn split_patch(bytes: &[u8]) -> Result<Vec<Edit>, String> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let begins = |head: &&[u8]| lines.iter().any(|line| line.starts_with(head));
    let section = SECTIONS.into_iter().find(begins).unwrap_or(DIFF);
    let (mut edits, mut rest) = (Vec::new(), lines.as_slice());
    while let Some(head) = rest.iter().position(|line| line.starts_with(b"--- ")) {
        let (words, from) = rest.split_at_checked(head).unwrap_or((rest, &[]));
        let words = own_words(words, section, edits.is_empty())?;
        let (names, hunks) = from.split_at_checked(2).ok_or(CUT)?;
        let length = hunks_length(hunks);
        let (hunks, after) = hunks.split_at_checked(length).unwrap_or((hunks, &[]));
        if length == 0 {
            return Err("the patch has a file without a hunk ('@@ -1 +1 @@')".to_owned());
        }
        edits.push(file_patch(words, names, &hunks.concat())?);
        rest = after;
    }
    check_words(rest)?;
    check_sections(rest, section)?;
    match edits.is_empty() {
        true => Err("the patch has no file ('--- NAME', '+++ NAME', '@@ -1 +1 @@')".to_owned()),
        false => Ok(edits),
    }
}

/// Returns how many lines the hunks at the beginning have, by their counts: a removed line can look like a file's name.
fn hunks_length(lines: &[&[u8]]) -> usize {
    let mut at = 0;
    while let Some((mut old, mut new)) = lines.get(at).and_then(|line| remit_edit::hunk_lines(line))
    {
        at += 1;
        while old > 0 || new > 0 {
            match lines.get(at).and_then(|line| line.first()) {
                None => return at,
                Some(b'-') => old = old.saturating_sub(1),
                Some(b'+') => new = new.saturating_sub(1),
                Some(b'\\') => {}
                Some(_) => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
            }
            at += 1;
        }
        at += usize::from(lines.get(at).is_some_and(|line| line.starts_with(b"\\")));
    }
    at
}

/// Refuses what git does to a file other than to its lines, and that an edit would not do.
fn check_words(words: &[&[u8]]) -> Result<(), String> {
    const NOT: [&str; 8] = [
        "old mode",
        "rename ",
        "copy ",
        "GIT binary",
        "Binary ",
        "Only in ",
        "Symbolic links ",
        "Property changes ",
    ];
    const OTHER_KIND: &[u8] = b" while file ";
    for line in words {
        let is_other_kind = line.starts_with(b"File ")
            && line
                .windows(OTHER_KIND.len())
                .any(|part| part == OTHER_KIND);
        let of_other_kind = is_other_kind.then_some(&"File ");
        let not = NOT.iter().find(|not| line.starts_with(not.as_bytes()));
        if let Some(not) = not.or(of_other_kind) {
            return Err(format!(
                "a file of the patch has '{}', which a patch here cannot do",
                not.trim_end()
            ));
        }
    }
    Ok(())
}

/// Returns the words of the file whose lines follow: those before its section are of others.
fn own_words<'a>(
    words: &'a [&'a [u8]],
    section: &[u8],
    is_first: bool,
) -> Result<&'a [&'a [u8]], String> {
    let is_section = |line: &&[u8]| line.starts_with(section);
    // The message of git is before its first section: of the file, or of the next mail in it. Words of diff(1) about other files
    // are there, too.
    let has_message = is_first || words.iter().any(|line| line.starts_with(b"From "));
    let message = match section == GIT && has_message {
        true => words.iter().position(is_section).unwrap_or(0),
        false => 0,
    };
    check_words(words.get(message..).unwrap_or_default())?;
    let own = words.iter().rposition(is_section);
    let (before, own) = words.split_at_checked(own.unwrap_or(0)).unwrap_or_default();
    check_sections(before, section)?;
    Ok(own)
}

/// Refuses files without lines: git writes so an empty file that is new or removed.
fn check_sections(words: &[&[u8]], section: &[u8]) -> Result<(), String> {
    match words.iter().find(|line| line.starts_with(section)) {
        Some(line) => Err(format!(
            "the patch has no lines after '{}'; use 'write' for an empty file, 'remove' for one that is removed",
            text::line(line.trim_ascii_end(), 4096)
        )),
        None => Ok(()),
    }
}

/// Returns the mode that git writes: of a new file, or in `index 1234567..89abcde 100644`.
fn git_mode(line: &[u8]) -> Option<&[u8]> {
    let of_index = || {
        let mut words = line.strip_prefix(b"index ")?.split(|byte| *byte == b' ');
        let hashes = words.next()?;
        hashes.windows(2).any(|pair| pair == b"..").then_some(())?;
        words.next()
    };
    let mode = line.strip_prefix(b"new file mode ").or_else(of_index);
    mode.map(<[u8]>::trim_ascii)
}

fn file_patch(words: &[&[u8]], names: &[&[u8]], hunks: &[u8]) -> Result<Edit, String> {
    let [old, new] = names else {
        return Err(CUT.to_owned());
    };
    let names = remit_edit::file_name(old).zip(remit_edit::file_name(new));
    let (old, new) = names.filter(|_| new.starts_with(b"+++ ")).ok_or(CUT)?;
    let git_mode = words.iter().find_map(|line| git_mode(line));
    let created = match git_mode {
        None => None,
        Some(b"100644") => Some(0o644),
        Some(b"100755") => Some(0o755),
        Some(mode) => {
            let file = if old == b"/dev/null" { new } else { old };
            return Err(format!(
                "'{}' has mode {} in the patch, which makes plain files only (100644, 100755); use 'link' for a symbolic \
                 link, 'write' and 'mode' for a file",
                text::line(file, 4096),
                text::line(mode, 64)
            ));
        }
    };
    match (old, new) {
        (b"/dev/null", new) => {
            let bytes = remit_edit::patch(b"", hunks).map_err(|error| error.to_string())?;
            Ok(Edit {
                action: Action::Write(bytes),
                mode: created,
                create_only: true,
                ..keep(path(new)?)
            })
        }
        (old, b"/dev/null") => Err(format!(
            "the patch removes '{}'; use 'remove' for it",
            text::line(old, 4096)
        )),
        (old, _) => Ok(Edit {
            action: Action::Patch(hunks.to_vec()),
            ..keep(path(old)?)
        }),
    }
}

fn path(name: &[u8]) -> Result<PlanPath, String> {
    let shown = text::line(name, 4096);
    if name.starts_with(b"\"") {
        return Err(format!(
            "{shown} is quoted by git; use 'write' or 'replace' for it"
        ));
    }
    let from_git = name.strip_prefix(b"a").or_else(|| name.strip_prefix(b"b"));
    let plain = match from_git {
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => name,
    };
    PlanPath::new(plain).map_err(|error| format!("'{shown}' in the patch: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_of_several_files_is_split() {
        // The first file has lines that look like names of files.
        let text = "diff --git a/etc/a b/etc/a\nindex 1..2 100644\n--- a/etc/a\n+++ b/etc/a\n\
                    @@ -1,2 +1,2 @@\n--- x\n+++ y\n z\n@@ -9 +9 @@\n-p\n+q\n\\ No newline at end of file\n\
                    diff --git a/etc/b b/etc/b\nnew file mode 100755\nindex 0..1\n--- /dev/null\n+++ b/etc/b\n\
                    @@ -0,0 +1 @@\n+#!/bin/sh\n\
                    --- /srv/c c\t2026-01-01 00:00:00 +0000\n+++ /tmp/c\t2026\n@@ -1 +1 @@\n-a\n+b\n";
        let edits = split_patch(text.as_bytes()).unwrap();
        let paths: Vec<String> = edits.iter().map(|edit| edit.path.to_string()).collect();
        assert_eq!(paths, ["/etc/a", "/etc/b", "/srv/c c"]);
        let Action::Patch(first) = &edits[0].action else {
            panic!("{edits:?}");
        };
        assert_eq!(
            remit_edit::patch(b"-- x\nz\n1\n2\n3\n4\n5\n6\np\n", first).unwrap(),
            b"++ y\nz\n1\n2\n3\n4\n5\n6\nq"
        );
        assert_eq!(edits[1].action, Action::Write(b"#!/bin/sh\n".to_vec()));
        assert_eq!((edits[1].mode, edits[1].create_only), (Some(0o755), true));
    }

    #[test]
    fn message_before_a_patch_is_no_part_of_it() {
        let text = "Subject: diff of a\n\ndiff -u shows it\nIndex: no\nindex of a b\nnew file mode 100755\nrename the upstream,\n\
                    copy it and\nBinary files\n---\n a | 1 +\n\n\
                    diff --git a/a b/a\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/a\n\
                    @@ -0,0 +1 @@\n+a\n-- \n2.53.0\n";
        let edits = split_patch(text.as_bytes()).unwrap();
        assert_eq!((edits.len(), edits[0].mode), (1, Some(0o644)));
        let second = text
            .replace("a/a b/a", "a/b b/b")
            .replace("b/a\n@@", "b/b\n@@");
        let mails = format!("{text}\nFrom 1234 Mon Sep 17 2001\n{second}");
        assert_eq!(split_patch(mails.as_bytes()).unwrap().len(), 2);
        let joined = format!("{text}Only in /etc: x\n{second}");
        assert!(
            split_patch(joined.as_bytes())
                .unwrap_err()
                .contains("'Only in'")
        );
    }

    /// diff(1) with -N: the time of a file that is not there is 0.
    #[test]
    fn new_file_of_diff_is_made() {
        let text = "diff -ruN a/x b/x\n--- a/x\t1970-01-01 01:00:00.000000000 +0100\n+++ b/x\t2026\n@@ -0,0 +1 @@\n+a\n";
        let edits = split_patch(text.as_bytes()).unwrap();
        assert_eq!(edits[0].action, Action::Write(b"a\n".to_vec()));
        assert!(edits[0].create_only && edits[0].path.as_bytes() == b"/x");
    }

    #[test]
    fn patch_that_does_more_than_lines_is_refused() {
        let (hunk, new) = ("@@ -1 +1 @@\n-a\n+b\n", "@@ -0,0 +1 @@\n+a\n");
        let empty = "diff --git a/e b/e\nnew file mode 100755\nindex 0000000..e69de29\n";
        let head = "diff --git a/x b/x\n";
        let file = format!("{head}--- a/x\n+++ b/x\n{hunk}");
        for (text, expect) in [
            (String::new(), "no file"),
            ("--- a/x\n".into(), "cut"),
            (format!("--- /x\n\n{hunk}"), "cut"),
            (format!("--- /x\n--- /x\n{hunk}"), "cut"),
            ("--- a/x\n+++ b/x\n".into(), "without a hunk"),
            (format!("--- x\n+++ x\n{hunk}"), "does not begin with '/'"),
            (format!("--- \"/x\\n\"\n+++ /x\n{hunk}"), "quoted"),
            (format!("--- /x\n+++ /dev/null\n{hunk}"), "use 'remove'"),
            (
                "--- /x\t2026\n+++ /x\t1970-01-01 00:00:00.000000000 +0000\n@@ -1 +0,0 @@\n-a\n"
                    .into(),
                "removes '/x'; use 'remove'",
            ),
            (
                format!("--- /x\n+++ /x\n{hunk}Symbolic links a and b differ\n"),
                "'Symbolic links'",
            ),
            (
                format!(
                    "--- /x\n+++ /x\n{hunk}File a is a directory while file b is a symbolic link\n"
                ),
                "'File'",
            ),
            (
                format!("Index: e\n=====\nIndex: x\n=====\n--- /x\n+++ /x\n{hunk}"),
                "no lines after 'Index: e'",
            ),
            (
                format!("Index: x\n=====\n--- /x\n+++ /x\n{hunk}\nProperty changes on: x\n"),
                "'Property changes'",
            ),
            (format!("old mode 1\n--- /x\n+++ /x\n{hunk}"), "'old mode'"),
            (
                format!("--- /x\n+++ /x\n{hunk}Binary files a and b differ\n"),
                "'Binary'",
            ),
            (
                format!("{empty}{file}"),
                "no lines after 'diff --git a/e b/e'",
            ),
            (
                format!("{file}{empty}"),
                "no lines after 'diff --git a/e b/e'",
            ),
            (
                format!("diff -ruN a/x b/x\n--- /x\n+++ /x\n{hunk}diff -ruN a/e b/e\n"),
                "no lines after",
            ),
            (empty.to_owned(), "no lines after"),
            (
                format!("{head}new file mode 120000\n--- /dev/null\n+++ b/x\n{new}"),
                "'b/x' has mode 120000",
            ),
            (
                format!("{head}new file mode 160000\n--- /dev/null\n+++ b/x\n{new}"),
                "'b/x' has mode 160000",
            ),
            (
                format!("{head}index 1..2 120000\n--- a/x\n+++ b/x\n{hunk}"),
                "'a/x' has mode 120000",
            ),
            (
                format!("{head}new file mode 100640\n--- /dev/null\n+++ b/x\n{new}"),
                "use 'link'",
            ),
        ] {
            let error = split_patch(text.as_bytes()).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }
}
