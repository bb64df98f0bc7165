//! Why a child has no findings. A file that cannot be bound is a change; a look that failed is none.

use remit_common::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};

use super::{MeasuredFiles, PATIENCE};

/// What a child found out, or why it did not.
pub type Measurement = Result<MeasuredFiles, Unmeasured>;

/// Why nothing was measured, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmeasured {
    /// A file or an undo cannot be bound as it is now.
    Unbindable(String),
    /// The machine has changed since the plan or the commit that the request is about.
    Outdated { why: String, next: String },
    /// The look itself has failed. Perhaps nothing has changed.
    Failed(String),
}

impl Unmeasured {
    pub fn why(&self) -> &str {
        match self {
            Self::Unbindable(why) | Self::Failed(why) | Self::Outdated { why, .. } => why,
        }
    }

    /// Returns it for the requester, with the way out if there is one.
    pub fn refusal(&self) -> Refusal {
        let refusal = Refusal::new(Code::NotStarted, self.why());
        match self {
            Self::Unbindable(_) | Self::Failed(_) => refusal,
            Self::Outdated { next, .. } => refusal.next(next),
        }
    }
}

impl From<String> for Unmeasured {
    fn from(why: String) -> Self {
        Self::Unbindable(why)
    }
}

/// Returns the failure of a child that has had its time.
pub fn late() -> Unmeasured {
    let seconds = PATIENCE.as_secs();
    Unmeasured::Failed(format!(
        "the files were not read in {seconds} s: a disk or a directory service does not respond"
    ))
}
