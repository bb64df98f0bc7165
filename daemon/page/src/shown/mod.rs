//! Builds what an approver sees. Every byte is shown, or counted and hashed. Any request fits one frame.

mod contents;
mod opens;
mod plan;

pub use plan::OldBytes;

use std::ffi::CString;

use remit_approval::{BoundFile, FileBinding, arguments_sentence};
use remit_common::admin::PendingView;
use remit_common::escape::{quoted, words};
use remit_policy::model::command::ACTS;
use sha2::{Digest, Sha256};

use crate::verified::{Verified, followed};
use crate::view::{
    CUT, Extent, FileView, MANY_CUT, OLD_HASHED, OVERHEAD, READ, ShownRequest, exact, is_cut,
};
use crate::{describe as in_words, hex, risks};

/// Bytes shown of each part. Their sum is below 96 KiB, on any terminal more than anybody reads.
const ARGV: usize = 12 << 10;
const ENV: usize = 9 << 10;
const FILES: usize = 5 << 10;
/// A script of some hundred lines is shown whole.
const SCRIPT: usize = 32 << 10;
const COPIES: usize = 6 << 10;
/// Every byte of a reason in its longest escape.
const REASON: usize = 4 * remit_common::caps::REASON + 200;
const CWD: usize = 1 << 10;
const LINE: usize = 400;
/// Of a command that follows. The policy bounds it, too.
const ACT: usize = 1 << 10;
const APPROVERS: usize = 16;
/// Bytes of one element, widest first. The first width that shows all elements is used.
const WIDTHS: [usize; 5] = [8 << 10, 2 << 10, 1 << 10, 512, 200];
const START: usize = 32 << 10;
const LISTED: usize = 300;
const COPY: &str = "a copied file";

#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub size: usize,
    /// Lines of all its bytes, a last one without its end, too.
    pub lines: usize,
    pub sha256: [u8; 32],
    pub start: &'a [u8],
}

impl<'a> Content<'a> {
    pub(crate) fn new(bytes: &'a [u8], sha256: [u8; 32]) -> Self {
        Self {
            size: bytes.len(),
            lines: bytes.split_inclusive(|byte| *byte == b'\n').count(),
            sha256,
            start: bytes.get(..START).unwrap_or(bytes),
        }
    }

    fn to(self, extent: Extent, bytes: Option<&'a Vec<u8>>) -> Self {
        match (extent, bytes) {
            (Extent::Whole, Some(bytes)) => Self {
                start: bytes,
                ..self
            },
            _ => self,
        }
    }
}

#[must_use]
pub fn shown(verified: &Verified) -> ShownRequest {
    shown_to(verified, Extent::Page)
}

/// Returns the texts with all of what it does, of the script or the copied files, of standard input and of a plan, however
/// long they are.
#[must_use]
pub fn whole(verified: &Verified) -> ShownRequest {
    shown_to(verified, Extent::Whole)
}

fn shown_to(verified: &Verified, extent: Extent) -> ShownRequest {
    let Verified {
        request,
        context,
        digest,
        ..
    } = verified;
    let elements = elements(verified);
    let (argv, more_argv) = fit(&elements, ARGV);
    let login = match context.loginuid {
        Some(uid) => format!("loginuid {uid}, {}", context.peer),
        None => format!("no login, {}", context.peer),
    };
    // What the list says of signed parts is not used.
    let reason = request.reason.as_deref().unwrap_or_default();
    let pending = PendingView {
        job: request.job,
        user: quoted(request.requester_name.as_bytes(), LISTED),
        uid: request.requester_uid,
        reason: quoted(reason.as_bytes(), LISTED),
        digest: *digest,
        // Nobody approves what was not shown.
        yours: context.pending.yours && !verified.is_withheld,
        ..context.pending.clone()
    };
    let cwd = exact(request.cwd.as_bytes(), CWD);
    let env = all_or_counted(&request.env, ENV, "variables");
    let files = views(&request.files);
    let named = files.iter().flat_map(|one| [&one.what, &one.path]);
    let named: Vec<String> = named.cloned().collect();
    let script = contents::script_or_copies(verified, extent);
    let bundle = verified.plan();
    let plan = bundle
        .as_ref()
        .map(|bundle| plan::plan(bundle, &verified.old, &request.does, extent));
    let plan = plan.map(|(plan, cuts)| (plan.with(&context.checks), cuts));
    let (of_undo, does) = plan::undo_risks(verified);
    let opens = opens::opens(request, extent);
    let (opened, may_open) = opens::sentences(request);
    let steps: Vec<String> = opens
        .iter()
        .flat_map(|view| view.steps.iter().chain(&view.closed_by).cloned())
        .collect();
    let stdin = contents::stdin(verified, plan.is_some(), extent);
    let cuts = plan.as_ref().map(|(_, cuts)| *cuts).unwrap_or_default();
    let of_plan = [
        cuts.is_cut.then(|| format!("the plan {CUT}{READ}")),
        cuts.hides_old.then(|| OLD_HASHED.to_owned()),
    ];
    let untold = plan::untold(&does, plan.as_ref().map(|(plan, _)| plan));
    let (does, are_cut) = contents::does(&untold, verified.is_undo(), extent);
    let parts = [
        // An undo can have a mark of another program.
        (
            "what it does",
            does.get(..).filter(|_| are_cut).unwrap_or_default(),
        ),
        ("how it opens a path", &steps),
        match verified.request.script {
            Some(_) => ("the script", &script),
            // The sentence about withheld copies is about all of them.
            None if verified.is_withheld => (COPY, &[][..]),
            None => (COPY, &script),
        },
        ("standard input", stdin.as_slice()),
        ("the environment", &env),
        ("the list of files", &named),
        ("the directory", std::slice::from_ref(&cwd)),
    ];
    let cut = cut_parts(&argv, &parts, extent);
    ShownRequest {
        pending: line_of(&pending),
        login: words(&login, LINE),
        client: exact(context.client.as_bytes(), LINE),
        reason: match &request.reason {
            Some(reason) => exact(reason.as_bytes(), REASON),
            None => String::new(),
        },
        summary: words(&context.summary, LINE),
        risks: [
            opened,
            risks::failed_checks(verified),
            contents::withheld(verified),
            bundle
                .as_ref()
                .map(|bundle| plan::sentences(bundle, &verified.old))
                .unwrap_or_default(),
            of_undo,
            may_open.into_iter().collect(),
            cut,
            contents::notes(verified),
            risks::risks(verified, argv.len()),
            of_plan.into_iter().flatten().collect(),
            does,
        ]
        .concat(),
        opens,
        argv,
        more_argv: u32::try_from(more_argv).unwrap_or(u32::MAX),
        files,
        cwd,
        env,
        script,
        stdin,
        plan: plan.map(|(plan, _)| plan),
        undoes: plan::undoes(verified).map(|commit| words(commit, LINE)),
        then: followed(request)
            .take(ACTS)
            .map(|call| exact(call, ACT))
            .collect(),
        profile: in_words::profile(&context.profile),
        limits: in_words::limits(&request.limits, request.runtime_s, &context.runtime_source),
        rule: words(&request.rule, LINE),
        policy: words(&request.policy, LINE),
    }
}

/// Reports parts that the page does not show whole: an approver would approve bytes unread.
fn cut_parts(argv: &[String], parts: &[(&str, &[String])], extent: Extent) -> Vec<String> {
    let has_cut = |(name, texts): &(&str, &[String])| {
        let is_one = texts.iter().any(|text| is_cut(text));
        let read = match *name {
            "what it does" | "how it opens a path" | "the script" | "standard input" => READ,
            // With more copies than are sent, the whole page is cut, too.
            COPY if extent == Extent::Page => READ,
            _ => "",
        };
        is_one.then(|| format!("{name} {CUT}{read}"))
    };
    let arguments = argv.iter().enumerate().filter(|(_, text)| is_cut(text));
    let arguments: Vec<usize> = arguments.map(|(at, _)| at).collect();
    let parts = parts.iter().filter_map(has_cut);
    parts
        .chain(arguments_sentence(&arguments, CUT, MANY_CUT))
        .collect()
}

impl Verified {
    pub(crate) fn script(&self) -> Option<Content<'_>> {
        let (bytes, sha256) = (self.script.as_ref()?, self.request.script?);
        Some(Content::new(bytes, sha256))
    }

    pub(crate) fn stdin(&self) -> Option<Content<'_>> {
        let (bytes, sha256) = (self.stdin.as_ref()?, self.request.stdin?);
        Some(Content::new(bytes, sha256))
    }
}

/// SHA-256 of parts, each followed by a NUL byte, as in /proc/PID/cmdline.
pub(crate) fn hash_of_all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Bounds text that is already escaped.
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
        approved_by: pending
            .approved_by
            .iter()
            .take(APPROVERS)
            .map(|name| words(name, 100))
            .collect(),
        ..pending.clone()
    }
}

enum Element<'a> {
    Bytes(&'a [u8]),
    Secret(&'a [u8]),
}

fn elements(verified: &Verified) -> Vec<Element<'_>> {
    let request = &verified.request;
    let argv = request.argv.iter();
    let mut all: Vec<_> = argv.map(|arg| Element::Bytes(arg.as_bytes())).collect();
    for (index, before) in request.secrets() {
        if let Some(element) = all.get_mut(index) {
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

impl Show for CString {
    fn show(&self, width: usize) -> String {
        exact(self.as_bytes(), width)
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
fn all_or_counted(all: &[CString], free_bytes: usize, what: &str) -> Vec<String> {
    let (mut texts, more) = fit(all, free_bytes);
    if more > 0 {
        let hash = hex(&hash_of_all(all.iter().map(|one| one.as_bytes())));
        texts.push(format!("[… {more} {what} more, sha256 of all {hash} …]"));
    }
    texts
}

fn views(files: &[BoundFile]) -> Vec<FileView> {
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
        rest.iter().for_each(|file| hash.update(file.sha256));
        views.push(FileView {
            what: format!("[… {} files more …]", rest.len()),
            path: "their sizes together, and the sha256 of their sha256".into(),
            size: rest
                .iter()
                .map(|file| file.size)
                .fold(0, u64::saturating_add),
            sha256: hash.finalize().into(),
        });
    }
    views
}

fn view(file: &BoundFile) -> FileView {
    let path = exact(file.real.as_bytes(), LINE);
    let what = match file.held {
        FileBinding::Checked | FileBinding::Seen => words(&file.what, 100),
        FileBinding::Copied => format!("{}, in a copy", words(&file.what, 100)),
    };
    FileView {
        what: match file.real == file.name {
            true => what,
            false => format!("{what}, by the name {}", exact(file.name.as_bytes(), LINE)),
        },
        path,
        size: file.size,
        sha256: file.sha256,
    }
}

#[cfg(test)]
mod tests;
