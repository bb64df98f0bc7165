//! Reports about a job and its output.

use remit_common::denial::Denial;
use remit_common::names::JobId;
pub use remit_common::outcome::{ApprovalView, DENIED_BY, Ending, Enforced, FollowUp, State};
use remit_common::text::{self, Shown};
use remit_common::wire::Bytes;
use serde::{Deserialize, Serialize};

/// One of a job's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The part of a stream that fits in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// All bytes written so far.
    pub total: u64,
    /// All newline characters among them.
    pub lines: u64,
    pub head: Bytes,
    /// The last bytes, where the whole did not fit in `head`. The gap is `total - head - tail`.
    pub tail: Bytes,
}

/// Bytes that a gap may take of the line before it, and of the line after it.
const FRAGMENT: usize = 4 << 10;

impl Captured {
    /// Returns head and tail, and between them the count of what is missing. `rest` says how to read it from an offset. Without
    /// a gap the two are one text: a character may lie across the seam. Next to the mark a newline ends a whole line.
    #[must_use]
    pub fn with_gap(&self, rest: impl FnOnce(usize) -> String) -> Shown {
        if self.omitted() == 0 {
            return text::show(&[self.head.as_slice(), &self.tail].concat());
        }
        let cut = self.at_lines();
        let (mut shown, tail) = (text::show(&cut.head), text::show(&cut.tail));
        let rest = rest(cut.head.len());
        shown.text += &format!("[… {} bytes omitted: {rest} …]", cut.omitted());
        if cut.tail.len() < self.tail.len() {
            shown.text.push('\n');
        }
        shown.text += &tail.text;
        shown.escaped |= tail.escaped;
        shown
    }

    /// Returns it with a gap that begins and ends between lines, because a value that is cut looks whole. What is left out
    /// belongs to the gap. A part of a line longer than 4 KiB stays, and so does a tail without another line.
    #[must_use]
    pub fn at_lines(&self) -> Self {
        if self.omitted() == 0 {
            return self.clone();
        }
        let is_end = |byte: &u8| *byte == b'\n';
        let (head, tail) = (self.head.as_slice(), self.tail.as_slice());
        let end = head.iter().rposition(is_end).map(|at| at + 1);
        let end = end.filter(|end| head.len() - end <= FRAGMENT);
        let start = tail.iter().take(FRAGMENT).position(is_end).map(|at| at + 1);
        let start = start.filter(|start| *start < tail.len());
        let part = |bytes: Option<&[u8]>| Bytes::from(bytes.unwrap_or_default().to_vec());
        Self {
            head: part(head.get(..end.unwrap_or(head.len()))),
            tail: part(tail.get(start.unwrap_or(0)..)),
            ..*self
        }
    }

    #[must_use]
    pub fn omitted(&self) -> u64 {
        self.total
            .saturating_sub(self.head.len() as u64)
            .saturating_sub(self.tail.len() as u64)
    }
}

/// A job as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub job: JobId,
    pub command: String,
    pub state: State,
    /// How it ended; absent while it runs.
    pub ending: Option<Ending>,
    /// When it started (one that waits: when it was asked for), in milliseconds since 1970.
    pub started_ms: u64,
    /// Time in the queue, in milliseconds.
    pub waited_ms: u64,
    /// Its place in the queue, while it waits.
    #[serde(rename = "place")]
    pub queue_position: Option<QueuePosition>,
    pub approval: Option<ApprovalView>,
    /// The enforced layers; absent before the exec.
    pub enforced: Option<Enforced>,
    pub stdout: Captured,
    pub stderr: Captured,
    /// Refusals in the sandbox, at most [`remit_common::caps::DENIALS`].
    pub denials: Vec<Denial>,
    /// Commands that followed a commit of files. The end of the commit is reported when all of them are over.
    pub then: Vec<FollowUp>,
    /// Sentences about what may mislead in this result.
    pub notes: Vec<String>,
}

/// The position of a queued job. Users take turns, so jobs of others do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueuePosition {
    /// 1: the next of its owner's.
    pub position: u32,
    /// Jobs of its owner that wait.
    pub of: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobSummary {
    #[serde(with = "id_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub job_id: JobId,
    pub command: String,
    pub state: State,
    pub exit: Option<i32>,
    pub started_ms: u64,
    /// Bytes of output so far, both streams.
    pub output_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputPart {
    Page(Page),
    Matches(Matches),
}

/// Lines of one stream that match a pattern, and those around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches {
    pub stream: Stream,
    pub lines: Vec<Line>,
    pub matching: u32,
    /// The byte from which the search began: the start of a line.
    pub offset: u64,
    /// Up to here everything is searched and shown: the offset to go on from.
    pub next: u64,
    pub total: u64,
    /// No more will come after these.
    pub eof: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number in the stream; the first is 1.
    pub number: u64,
    pub offset: u64,
    /// It matches; otherwise it is context of a line that does.
    pub matches: bool,
    /// Without its newline; of a long one the part around the match, at most [`remit_common::caps::GREP_LINE`] bytes.
    pub text: Bytes,
    pub omitted: u64,
}

/// New output of a job, and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    pub state: State,
    #[serde(rename = "place")]
    pub queue_position: Option<QueuePosition>,
    pub stdout: Page,
    pub stderr: Page,
    pub report: Option<Box<JobReport>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub stream: Stream,
    pub offset: u64,
    pub bytes: Bytes,
    pub total: u64,
    pub eof: bool,
}

/// Ids are text in JSON and bytes in postcard.
mod id_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use remit_common::names::JobId;

    pub fn serialize<S: Serializer>(id: &JobId, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(id)
        } else {
            id.serialize(to)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<JobId, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(D::Error::custom)
        } else {
            JobId::deserialize(from)
        }
    }
}
