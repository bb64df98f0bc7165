//! The texts of a page: one line each, escaped and cut. What does not fit is counted and hashed.

use remit_common::admin::PendingView;
use remit_common::escape::start;
use sha2::{Digest, Sha256};

use crate::hex;

/// Beginning of a sentence of [`ShownRequest::risks`] that says what the change will do. It is no risk by itself.
pub const DOES: &str = "does: ";

/// Beginning of a sentence of [`ShownRequest::risks`] about a way to root or to another account that the change opens.
pub const OPENS: &str = "opens a path: ";

/// End of a risk about a part that the page does not show whole.
pub(crate) const CUT: &str =
    "is cut on this page: an approval covers the part that you have not read, too";
pub(crate) const MANY_CUT: &str =
    "are cut on this page: an approval covers the parts that you have not read, too";
/// After [`CUT`], of parts that [`crate::whole`] does not cut.
pub(crate) const READ: &str = "; to read it: remit show --all";
/// Risk of old bytes that are in no plan. Neither a page nor [`crate::whole`] has them.
pub(crate) const OLD_HASHED: &str =
    "the plan has old bytes by their hash alone: an approval covers what is removed of them, too";
/// Part of the risk about arguments that the page lacks, before their hash.
pub(crate) const ARGUMENTS_CUT: &str =
    "arguments are not shown; sha256 of all, each with a NUL byte after it: ";

pub(crate) const OVERHEAD: usize = 4;

/// How much of what it does, of the script or the copied files, of standard input and of a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Page,
    Whole,
}

/// A change that waits for an approval, with all that will run. Every list counts what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRequest {
    pub pending: PendingView,
    /// `loginuid 1000, pid 77`.
    pub login: String,
    pub client: String,
    pub reason: String,
    pub summary: String,
    /// Argv, the program first. A truncated element ends in `[… N bytes more, sha256 …]`.
    pub argv: Vec<String>,
    pub more_argv: u32,
    /// As they were at the time of the request.
    pub files: Vec<FileView>,
    pub cwd: String,
    pub env: Vec<String>,
    /// Lines of the script. The first line has its size, line count and SHA-256. For a command, the same for each
    /// copied file, whose first line starts with `[…`. Empty without a script.
    pub script: Vec<String>,
    /// Size, SHA-256 and beginning.
    pub stdin: Option<String>,
    /// Standard input, if it is a plan of changes of files.
    pub plan: Option<PlanView>,
    /// Which commit an undo undoes: its id, and when it was made.
    pub undoes: Option<String>,
    /// Commands that follow once the files are changed.
    pub then: Vec<String>,
    /// Description of the sandbox, one sentence each; the first names the user and the profile.
    pub profile: Vec<String>,
    pub limits: Vec<String>,
    /// Ways to root or to another account that the change opens. `risks` begins with a sentence for each of them.
    pub opens: Vec<OpensView>,
    /// Risks for the approver, a sentence each, most serious first; then what the change will do, each after [`DOES`].
    pub risks: Vec<String>,
    pub rule: String,
    pub policy: String,
}

impl ShownRequest {
    /// Returns the command. Of a script with several lines it has no beginning, because the page has all of it in lines.
    #[must_use]
    pub fn asks_for(&self) -> String {
        let head = self.script.first().filter(|_| self.script.len() > 2);
        let lines = head.and_then(|head| Some(head.split_once(" lines, ")?.0));
        let count = lines.filter(|lines| lines.bytes().all(|byte| byte.is_ascii_digit()));
        match (count, self.argv.first()) {
            (Some(count), Some(interpreter)) => format!("{interpreter} script of {count} lines"),
            _ => self.pending.command.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView {
    /// `program`, `interpreter`, `argument 2`.
    pub what: String,
    /// With symbolic links resolved.
    pub path: String,
    pub size: u64,
    pub sha256: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpensView {
    /// `bot reaches root`.
    pub what: String,
    /// How, one after the other.
    pub steps: Vec<String>,
    /// Changes each of which closes it.
    pub closed_by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanView {
    pub commit_id: String,
    /// The same for two machines with the same plan for the same old files: 64 hexadecimal digits.
    pub content_sha256: String,
    pub names: String,
    /// The same without packages.
    pub paths: String,
    /// A line for each kind of change of packages, with the first ones whole.
    pub packages: Vec<String>,
    /// `unless confirmed within 2 min from a new login`.
    pub undone: Option<String>,
    /// How its checks ended, those that failed first.
    pub checked: Vec<String>,
    pub entries: Vec<EntryView>,
    /// How many entries are not shown, with the digest of the plan.
    pub left_out: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    pub path: String,
    pub what: String,
    /// Lines of a unified diff. The sign `…` behind the first character says that the line is escaped.
    pub diff: Vec<String>,
}

/// Shows all bytes, or as many as fit into `cap` (at least 200) with their number and the SHA-256 of all.
pub fn exact(bytes: &[u8], cap: usize) -> String {
    if bytes.is_empty() {
        return "[… empty …]".into();
    }
    let (text, taken) = start(bytes, cap);
    if taken == bytes.len() {
        return text;
    }
    let marker = |more: usize| {
        let all = hex(&Sha256::digest(bytes));
        format!("[… {more} bytes more, sha256 of all {all} …]")
    };
    let free_bytes = cap.saturating_sub(marker(bytes.len()).len());
    let (mut text, taken) = start(bytes, free_bytes);
    text.push_str(&marker(bytes.len() - taken));
    text
}

/// Returns true if a text of a page says that it leaves bytes or elements out. No untrusted text can have this mark.
pub fn is_cut(text: &str) -> bool {
    text.split("[… ").skip(1).any(|mark| {
        let mut words = mark.split([' ', ',']);
        let count = words.next().unwrap_or_default();
        count.bytes().all(|byte| byte.is_ascii_digit()) && words.nth(1) == Some("more")
    })
}

/// Returns true for a sentence of [`ShownRequest::risks`] that says that a part is not shown whole.
#[must_use]
pub fn is_of_cut(risk: &str) -> bool {
    let end = risk.strip_suffix(READ).unwrap_or(risk);
    risk == OLD_HASHED
        || end.ends_with(CUT)
        || end.ends_with(MANY_CUT)
        || risk.contains(ARGUMENTS_CUT)
}

#[cfg(test)]
mod tests {
    use remit_common::escape::{ELLIPSIS, is_hidden};

    use super::*;

    #[test]
    fn nothing_hides() {
        for (bytes, want) in [
            (&b"plain text"[..], "plain text"),
            (b"", "[… empty …]"),
            (b" a  b ", "\\x20a  b\\x20"),
            (b"    ", "[… 4 spaces …]"),
            (b"a     b", "a[… 5 spaces …]b"),
            (b"a\nb\r\tc", "a\\nb\\r\\tc"),
            (b"\x1b[31m\x07\x7f", "\\x1b[31m\\x07\\x7f"),
            (b"\\x1b", "\\\\x1b"),
            (b"\xff\xc3", "\\xff\\xc3"),
            (b"\xe2\x80", "\\xe2\\x80"),
            (
                "gr\u{fc}n \u{4e2d}\u{1f600}".as_bytes(),
                "gr\u{fc}n \u{4e2d}\u{1f600}",
            ),
            ("\u{202e}cba".as_bytes(), "\\u{202e}cba"),
            (
                "a\u{200b}b\u{a0}c\u{2028}d".as_bytes(),
                "a\\u{200b}b\\u{a0}c\\u{2028}d",
            ),
            ("e\u{301}".as_bytes(), "e\\u{301}"),
            ("\u{9b}31m\u{85}".as_bytes(), "\\u{9b}31m\\u{85}"),
            (
                "[… 3 spaces …]".as_bytes(),
                "[\\u{2026} 3 spaces \\u{2026}]",
            ),
            ("\u{e0b0}\u{fe0f}".as_bytes(), "\\u{e0b0}\\u{fe0f}"),
        ] {
            assert_eq!(exact(bytes, 4096), want);
        }
    }

    #[test]
    fn what_is_cut_is_counted_and_hashed() {
        let long = vec![b'x'; 1000];
        let cut = exact(&long, 300);
        let all = hex(&Sha256::digest(&long));
        let shown = cut.bytes().take_while(|byte| *byte == b'x').count();
        let want = format!("[… {} bytes more, sha256 of all {all} …]", 1000 - shown);
        assert!(shown > 150 && cut.len() <= 300, "{cut}");
        assert_eq!(cut.trim_start_matches('x'), want);
        assert_eq!(exact(&long, 1000).len(), 1000);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_one_line_within_the_cap(bytes: Vec<u8>, cap in 200_usize..400) {
            let text = exact(&bytes, cap);
            assert!(text.len() <= cap);
            assert!(text.chars().all(|c| c == ELLIPSIS || !is_hidden(c)));
        }

        #[test]
        fn different_bytes_show_differently(a: Vec<u8>, b: Vec<u8>) {
            assert_eq!(exact(&a, 9999) == exact(&b, 9999), a == b);
        }
    }
}
