//! Builds what an approver sees. Every byte is shown, or counted and hashed. Any request fits one frame.

mod copies;
mod does;

use std::borrow::Cow;

use remit_common::admin::{FileView, PendingView, ShownRequest};
use remit_policy::Command;
use sha2::{Digest, Sha256};

use super::copies::Today;
use super::escape::{self, exact, words};
use super::risks;
use crate::approval::describe as in_words;
use crate::approval::file_hash::{AsFound, FileBinding, FileFound};
use crate::audit::chain::hex;
use crate::request::{ArgumentSlot, BoundCall, Content, Draft, SlotWhat, Whole};

/// Bytes shown of each part. Their sum is well below [`remit_common::caps::ADMIN_FRAME`].
const ARGV: usize = 12 << 10;
const ENV: usize = 9 << 10;
const FILES: usize = 5 << 10;
const SCRIPT: usize = 6 << 10;
const STDIN: usize = 2 << 10;
/// Every byte of a reason in its longest escape.
const REASON: usize = 4 * remit_common::caps::REASON + 200;
const CWD: usize = 1 << 10;
const LINE: usize = 400;
const APPROVERS: usize = 16;
/// Bytes of one element, widest first. The first width that shows all elements is used.
const WIDTHS: [usize; 5] = [8 << 10, 2 << 10, 1 << 10, 512, 200];
const SCRIPT_LINE: usize = 400;
const OVERHEAD: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub pending: &'a PendingView,
    pub draft: &'a Draft,
    pub found: &'a AsFound,
    pub today: &'a Today,
    pub rule: &'a str,
    pub command: Option<&'a Command>,
}

pub fn shown(request: &Shown<'_>) -> ShownRequest {
    let Shown {
        pending,
        draft,
        found,
        today,
        rule,
        command,
    } = request;
    let AsFound {
        files,
        loose,
        does,
        starts,
    } = found;
    let whole = draft.whole();
    let Whole {
        subject,
        bound,
        reason,
        client,
        script,
        stdin,
        job: _,
        path: _,
        name: _,
    } = whole;
    let elements = elements(bound);
    let (argv, more_argv) = fit(&elements, ARGV);
    let mut env = bound.env.iter().map(|var| Cow::Borrowed(var.as_bytes()));
    let profile = bound.compiled.profile();
    let login = match subject.loginuid() {
        Some(uid) => format!("loginuid {uid}, {}", subject.peer()),
        None => format!("no login, {}", subject.peer()),
    };
    ShownRequest {
        pending: line_of(pending),
        login: words(&login, LINE),
        client: exact(client.as_bytes(), LINE),
        reason: reason.map_or_else(String::new, |reason| exact(reason.as_bytes(), REASON)),
        summary: words(command.map_or("", |command| command.summary.as_str()), LINE),
        risks: [
            copies::notes(bound, files, today),
            risks::risks(&whole, files, loose, argv.len()),
            does::shown(does),
        ]
        .concat(),
        argv,
        more_argv: u32::try_from(more_argv).unwrap_or(u32::MAX),
        files: views(files),
        cwd: exact(bound.cwd.as_bytes(), CWD),
        env: all_or_counted(&env.by_ref().collect::<Vec<_>>(), ENV, "variables"),
        script: match script {
            Some(script) => script_lines(script, SCRIPT),
            None => copies::shown(bound, files, starts, SCRIPT),
        },
        stdin: match (&bound.secret_stdin, stdin) {
            (Some(_), _) => Some("[… a secret …]".into()),
            (None, stdin) => stdin.map(stdin_words),
        },
        profile: in_words::profile(profile),
        limits: in_words::limits(&bound.limits, &bound.runtime),
        rule: words(rule, LINE),
        policy: words(&bound.policy, LINE),
    }
}

/// SHA-256 of parts, each followed by a NUL byte, as in /proc/PID/cmdline.
pub fn hash_of_all<T: AsRef<[u8]>>(parts: &[T]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_ref());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Bounds text that [`crate::approval::Request::pending_view`] has escaped.
fn line_of(pending: &PendingView) -> PendingView {
    let by = pending.by.iter().map(|name| words(name, 100));
    let mut by: Vec<_> = by.take(APPROVERS).collect();
    if let Some(more) = pending
        .by
        .len()
        .checked_sub(APPROVERS)
        .filter(|more| *more > 0)
    {
        by.push(format!("[… {more} more …]"));
    }
    PendingView {
        user: words(&pending.user, LINE),
        command: words(&pending.command, LINE),
        reason: words(&pending.reason, LINE),
        by,
        ..pending.clone()
    }
}

enum Element<'a> {
    Bytes(&'a [u8]),
    Secret(&'a [u8]),
}

fn elements(bound: &BoundCall) -> Vec<Element<'_>> {
    let mut all: Vec<_> = bound
        .argv
        .iter()
        .map(|arg| Element::Bytes(arg.as_bytes()))
        .collect();
    for ArgumentSlot {
        index,
        before,
        what,
    } in &bound.slots
    {
        if let (Some(element), SlotWhat::Secret(_)) = (all.get_mut(*index), what) {
            *element = Element::Secret(before);
        }
    }
    all
}

trait Show {
    fn show(&self, width: usize) -> String;
}

impl Show for Element<'_> {
    fn show(&self, width: usize) -> String {
        const SECRET: &str = "[… a secret …]";
        match self {
            Self::Bytes(bytes) => exact(bytes, width),
            Self::Secret([]) => SECRET.into(),
            Self::Secret(before) => format!("{}{SECRET}", exact(before, width)),
        }
    }
}

impl Show for Cow<'_, [u8]> {
    fn show(&self, width: usize) -> String {
        exact(self, width)
    }
}

/// Shows all elements as wide as possible, otherwise as many as fit. Returns the number of omitted ones.
fn fit<T: Show>(all: &[T], free_bytes: usize) -> (Vec<String>, usize) {
    let narrowest = WIDTHS.last().copied().unwrap_or_default();
    for width in WIDTHS {
        let mut left = free_bytes;
        let mut texts = Vec::new();
        for one in all {
            let text = one.show(width);
            let Some(rest) = left.checked_sub(text.len() + OVERHEAD) else {
                break;
            };
            left = rest;
            texts.push(text);
        }
        if texts.len() == all.len() || width == narrowest {
            let more = all.len() - texts.len();
            return (texts, more);
        }
    }
    (Vec::new(), all.len())
}

/// Like [`fit`], with a line that counts and hashes omitted elements.
fn all_or_counted(all: &[Cow<'_, [u8]>], free_bytes: usize, what: &str) -> Vec<String> {
    let (mut texts, more) = fit(all, free_bytes);
    if more > 0 {
        let hash = hex(&hash_of_all(all));
        texts.push(format!("[… {more} {what} more, sha256 of all {hash} …]"));
    }
    texts
}

fn views(files: &[FileFound]) -> Vec<FileView> {
    let mut free_bytes = FILES;
    let mut views: Vec<FileView> = Vec::new();
    for file in files {
        let view = view(file);
        let size = view.what.len() + view.path.len() + 32 + 3 * OVERHEAD;
        let Some(left) = free_bytes.checked_sub(size) else {
            break;
        };
        free_bytes = left;
        views.push(view);
    }
    let rest = files.get(views.len()..).unwrap_or_default();
    if !rest.is_empty() {
        let mut hash = Sha256::new();
        rest.iter()
            .for_each(|file| hash.update(file.measured.sha256));
        views.push(FileView {
            what: format!("[… {} files more …]", rest.len()),
            path: "their sizes together, and the sha256 of their sha256".into(),
            size: rest
                .iter()
                .map(|file| file.measured.size)
                .fold(0, u64::saturating_add),
            sha256: hash.finalize().into(),
        });
    }
    views
}

fn view(file: &FileFound) -> FileView {
    let path = exact(file.real.as_bytes(), LINE);
    let what = match file.held {
        FileBinding::Checked | FileBinding::Seen => words(&file.what, 100),
        FileBinding::Copied => format!("{}, in a copy", words(&file.what, 100)),
    };
    FileView {
        what: match file.real == file.measured.path {
            true => what,
            false => format!(
                "{what}, by the name {}",
                exact(file.measured.path.as_bytes(), LINE)
            ),
        },
        path,
        size: file.measured.size,
        sha256: file.measured.sha256,
    }
}

fn script_lines(script: Content<'_>, mut free_bytes: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut bytes, mut shortened) = (0, 0);
    let mut rest = script.start;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = match end {
            Some(end) => (rest.get(..end), rest.get(end + 1..)),
            None => (Some(rest), None),
        };
        let line = line.unwrap_or_default();
        let text = match line {
            [] => String::new(),
            line => exact(line, SCRIPT_LINE),
        };
        let Some(left) = free_bytes.checked_sub(text.len() + OVERHEAD) else {
            break;
        };
        free_bytes = left;
        lines.push(text);
        shortened += usize::from(escape::start(line, SCRIPT_LINE).1 < line.len());
        bytes += line.len() + usize::from(end.is_some());
        rest = after.unwrap_or_default();
    }
    let mut head = format!(
        "{}, sha256 {}",
        in_words::size(script.size as u64),
        hex(&script.sha256)
    );
    match (script.size.saturating_sub(bytes), shortened) {
        (0, 0) => head.push_str(", all of it:"),
        (0, _) => head.push_str(&format!("; all lines, {shortened} of them cut:")),
        (more, _) => {
            let cut = format!("[… {more} bytes more …]");
            head.push_str(&format!("; the first {} lines, {cut}:", lines.len()));
            // Also where it ends: after hundreds of lines, the head has left the screen.
            lines.push(cut);
        }
    }
    lines.insert(0, head);
    lines
}

fn stdin_words(stdin: Content<'_>) -> String {
    let (text, taken) = escape::start(stdin.start, STDIN);
    let size = in_words::size(stdin.size as u64);
    let head = format!("{size}, sha256 {}", hex(&stdin.sha256));
    match stdin.size.saturating_sub(taken) {
        0 if stdin.size == 0 => head,
        0 => format!("{head}: {text}"),
        more => format!("{head}, begins: {text}[… {more} bytes more …]"),
    }
}

#[cfg(test)]
mod tests;
