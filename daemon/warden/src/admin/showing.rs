//! Sends what an approver wants to see of a request: facts, the signed bytes and the contents, in parts. A part is made
//! when the one before has left, so a client that does not read holds the facts alone.
//!
//! **Invariant:** copies of files and plans, which have what the job or its requester may read and others may not, are sent only
//! to root and to its possible approvers.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::uio::pread;
use remit_approval::{AnswerHead, COPIES, Context, Now};
use remit_common::admin::AdminReply;
use remit_common::caps;
use remit_common::wire::Bytes;

use super::{Admins, Wants};
use crate::approval::{Request, copied, no_such_request};
use crate::identity::peer::Subject;
use crate::job::table::Jobs;
use crate::request::{Draft, Passed, SlotWhat};

/// Bytes of one part: a frame without the rest of its message.
const PART: usize = caps::ADMIN_FRAME - 64;
/// Parts of one connection in one turn of the event loop.
pub(super) const PARTS: usize = 4;

#[derive(Debug)]
pub struct Showing {
    request: u64,
    reads_content: bool,
    head: Vec<u8>,
    /// Position: the head is 0, the signed bytes are 1, then each content.
    segment: usize,
    offset: usize,
    left: u64,
}

impl Showing {
    fn new(serial: u64, request: &Request, context: Context, reads_content: bool) -> Self {
        let contents = contents(request, reads_content);
        let sizes = contents.into_iter().map(|(_, size)| size);
        let head = AnswerHead {
            context,
            request: request.encoded.len() as u64,
            contents: sizes.collect(),
            is_withheld: !reads_content && request.has_private_content(),
        };
        let contents: u64 = head.contents.iter().sum();
        let after = head.request.saturating_add(contents);
        let head = head.encode();
        Self {
            request: serial,
            reads_content,
            left: after.saturating_add(head.len() as u64),
            head,
            segment: 0,
            offset: 0,
        }
    }

    /// Returns the next part. `None`: there is none, which no request that still waits leads to.
    fn next(&mut self, request: &Request) -> Option<AdminReply> {
        loop {
            let bytes = match self.segment {
                0 => piece(&self.head, self.offset).to_vec(),
                1 => piece(&request.encoded, self.offset).to_vec(),
                more => {
                    let contents = contents(request, self.reads_content);
                    let (content, _) = contents.get(more - 2)?;
                    read(*content, self.offset)?
                }
            };
            if bytes.is_empty() {
                self.segment += 1;
                self.offset = 0;
                continue;
            }
            self.offset += bytes.len();
            self.left = self.left.saturating_sub(bytes.len() as u64);
            return Some(AdminReply::Shown {
                left: self.left,
                bytes: Bytes::from(bytes),
            });
        }
    }
}

fn piece(bytes: &[u8], offset: usize) -> &[u8] {
    let rest = bytes.get(offset..).unwrap_or_default();
    rest.get(..PART).unwrap_or(rest)
}

/// Reads from a memory file of this process, without its offset: the job reads from there.
fn read(content: BorrowedFd<'_>, offset: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; PART];
    let count = pread(content, &mut bytes, i64::try_from(offset).ok()?).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

/// Returns the contents in the order of [`AnswerHead::contents`], with their sizes.
fn contents(request: &Request, reads_content: bool) -> Vec<(BorrowedFd<'_>, u64)> {
    let draft = &request.draft;
    let whole = draft.whole();
    let stdin = draft.stdin();
    let stdin = stdin.filter(|_| reads_content || !request.has_plan());
    let parts = [(draft.script(), whole.script), (stdin, whole.stdin)];
    let parts = parts.into_iter();
    let parts = parts.filter_map(|(file, content)| Some((file?, content?.size as u64)));
    let copies = copied(&draft.bound, &request.found.files).into_iter();
    let copies = copies.take(COPIES).filter(|_| reads_content);
    let copies = copies.filter_map(|(at, file)| Some((copy(draft, at)?, file.measured.size)));
    parts.chain(copies).collect()
}

fn copy(draft: &Draft, at: usize) -> Option<BorrowedFd<'_>> {
    let slot = draft.bound.slots.iter().find(|slot| slot.index == at)?;
    match &slot.what {
        SlotWhat::Path {
            pass: Passed::Copy(copy),
            ..
        } => Some(copy.as_fd()),
        SlotWhat::Path { .. } | SlotWhat::Secret(_) => None,
    }
}

/// Starts to send a request to a connection, of this number and subject; `reads_content`: also a plan, and what the copies have.
/// `today`: what has happened since to the files that were copied.
pub fn start_showing(
    admins: &mut Admins,
    jobs: &Jobs,
    (number, by, reads_content): (u64, &Subject, bool),
    serial: u64,
    today: BTreeMap<usize, Now>,
) -> bool {
    let Some(request) = jobs.find::<Request>(serial) else {
        return false;
    };
    let context = request.context(jobs, by, today);
    let showing = Showing::new(serial, request, context, reads_content);
    admins.showing.insert(number, showing);
    true
}

/// Sends a request to the connection that has waited for the comparison of its copies, which it may read.
pub fn show_compared(
    admins: &mut Admins,
    jobs: &Jobs,
    comparison: u64,
    by: &Subject,
    serial: u64,
    today: BTreeMap<usize, Now>,
) {
    let wants = Wants::Show(comparison);
    let mut waiting = admins.waiting.iter();
    let Some((number, _)) = waiting.find(|(_, what)| *what == wants).copied() else {
        return;
    };
    if !start_showing(admins, jobs, (number, by, true), serial, today) {
        admins.tell(wants, || AdminReply::Refused(no_such_request()));
        return;
    }
    admins.waiting.retain(|(_, what)| *what != wants);
    if let Some(admin) = admins.live.get_mut(&number) {
        admin.was_answered();
    }
    admins.due.push_back(number);
}

pub(super) fn next_part(admins: &mut Admins, jobs: &Jobs, number: u64) -> Option<AdminReply> {
    let showing = admins.showing.get_mut(&number)?;
    let request = jobs.find::<Request>(showing.request);
    let part = request.and_then(|request| showing.next(request));
    if part.is_some() && showing.left > 0 {
        return part;
    }
    admins.showing.remove(&number);
    // Without a part it was decided, or has expired, while it was sent.
    Some(part.unwrap_or_else(|| AdminReply::Refused(no_such_request())))
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_link::{Spec, memfd};
    use remit_policy::MachineTable;

    use super::*;
    use crate::approval::AsFound;
    use crate::approval::fixture::{Scene, plan_of_a_file, spec};
    use crate::request::fixture::named;

    const POLICY: &str = r##"
[[command]]
name = "site.commit"
summary = "commits a plan"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[command]]
name = "site.read"
summary = "reads standard input"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "strict"
stdin = "caller"

[[grant]]
name = "ops"
to = ["#64001"]
allow = ["site.*"]
effect = "change"
approval = { by = ["#64002"] }

[[grant]]
name = "commits"
to = ["#64001"]
allow = ["site.commit"]
effect = "change"
approval = { by = ["#64002"] }
"##;

    #[test]
    fn plan_is_sent_as_copies_are() {
        let scene = Scene::of(POLICY, &MachineTable::default());
        let plan = plan_of_a_file("/srv/x");
        for (name, is_private) in [("site.commit", true), ("site.read", false)] {
            let purpose = Purpose::Change { reason: "x".into() };
            let spec = Spec {
                stdin: true,
                ..spec(named(name, &[]), purpose)
            };
            let stdin = memfd::seal(c"stdin", plan.as_bytes()).unwrap();
            let (draft, pending) = scene.asks(spec, vec![stdin]);
            let request = Request::new(Box::new(draft), pending, AsFound::default());
            assert_eq!(request.has_private_content(), is_private, "{name}");
            for reads_content in [true, false] {
                let sizes = contents(&request, reads_content);
                let sizes: Vec<u64> = sizes.into_iter().map(|(_, size)| size).collect();
                let expect = match reads_content || !is_private {
                    true => vec![plan.as_bytes().len() as u64],
                    false => Vec::new(),
                };
                assert_eq!(sizes, expect, "{name} {reads_content}");
            }
        }
    }
}
