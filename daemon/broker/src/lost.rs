//! Why some output of a job is not there, as its report says it.

use crate::output::Output;

/// Why some output is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The job wrote more than its share, of so many bytes.
    OverLimit(u64),
    /// The spool took no more.
    Full(String),
    /// Removed after the end, to make room.
    Removed,
    /// An earlier broker knew.
    Unknown,
    /// The note of what is lost is damaged.
    Damaged,
    /// Somebody else removed it.
    Missing,
}

/// How much of a job's output there is and was.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    kept: u64,
    written: u64,
    lines: u64,
}

impl Amount {
    /// Of both streams together.
    pub fn of(stdout: &Output, stderr: &Output) -> Self {
        let both = |count: fn(&Output) -> u64| count(stdout).saturating_add(count(stderr));
        Self {
            kept: both(Output::kept),
            written: both(Output::written),
            lines: both(Output::lines),
        }
    }
}

impl Lost {
    /// The note in a report.
    pub fn sentence(&self, amount: Amount) -> String {
        let Amount {
            kept,
            written,
            lines,
        } = amount;
        let counted = format!(
            "its first {kept} bytes are kept; all {written} bytes ({lines} newlines) were counted, and of the rest \
             only the end is shown"
        );
        match self {
            Self::OverLimit(share) => {
                format!("the job wrote more than {}: {counted}", size(*share))
            }
            Self::Full(why) => format!("the spool took no more output ({why}): {counted}"),
            Self::Removed => format!(
                "the output was removed to make room for newer jobs; it was {written} bytes ({lines} newlines)"
            ),
            Self::Unknown => format!(
                "not all output was kept: {kept} bytes are, of {written} bytes ({lines} newlines) in all"
            ),
            Self::Damaged => "not all output was kept, and how much was lost is not known: the note of it in the \
                              spool is damaged"
                .to_owned(),
            Self::Missing => "its output is not there any more: somebody removed it from the spool, or cut it short"
                .to_owned(),
        }
    }
}

/// In words: MiB where it is a whole number of them.
pub fn size(bytes: u64) -> String {
    match bytes.checked_rem(1 << 20) {
        Some(0) if bytes > 0 => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}
