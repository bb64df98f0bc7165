//! Notes in a report about output that is not available.

use crate::output::Output;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    OverLimit(u64),
    Full(String),
    /// Removed after the end of the job, to free space.
    Removed,
    /// Only an earlier broker knew the reason.
    Unknown,
    /// The note file is damaged.
    Damaged,
    /// Another process removed it.
    Missing,
}

#[derive(Clone, Copy, Debug)]
pub struct Amount {
    kept: u64,
    written: u64,
    lines: u64,
}

impl Amount {
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
    pub fn sentence(&self, amount: Amount) -> String {
        let Amount {
            kept,
            written,
            lines,
        } = amount;
        let counted = format!(
            "its first {kept} bytes are kept; all {written} bytes ({lines} newlines) were counted, and only the end \
             of the rest is shown"
        );
        match self {
            Self::OverLimit(share) => {
                format!("the job wrote more than {}: {counted}", size(*share))
            }
            Self::Full(why) => format!("the spool took no more output ({why}): {counted}"),
            Self::Removed => format!(
                "the output was removed to free space for newer jobs; it had {written} bytes ({lines} newlines)"
            ),
            Self::Unknown => format!(
                "not all output was kept: {kept} bytes are, of {written} bytes ({lines} newlines) in all"
            ),
            Self::Damaged => "not all output was kept, and the amount is not known, because its note in the spool \
                              is damaged"
                .to_owned(),
            Self::Missing => "its output is no longer there: somebody removed it from the spool or truncated it"
                .to_owned(),
        }
    }
}

/// Formats whole MiB as such, other sizes in bytes.
pub fn size(bytes: u64) -> String {
    match bytes.checked_rem(1 << 20) {
        Some(0) if bytes > 0 => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}
