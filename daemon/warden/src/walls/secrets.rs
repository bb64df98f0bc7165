//! Secrets on their way into a job: memory files that only it can open, made just before the fork.
//!
//! Not earlier: a job that waits would hold a descriptor for each.

use std::os::fd::{AsFd, OwnedFd};

use remit_confine::{Argument, Error, Result, What};
use remit_link::memfd;

use crate::plan::{Bound, Passed, Slot, SlotWhat};

/// Those of one job, sealed.
pub struct Secrets<'a> {
    slots: &'a [Slot],
    /// One for each slot that is a secret, in their order.
    files: Vec<OwnedFd>,
    /// Standard input, where that is a secret.
    pub stdin: Option<OwnedFd>,
}

impl<'a> Secrets<'a> {
    /// Seals what is secret in the arguments and the standard input.
    ///
    /// # Errors
    /// No descriptor is left, or no memory.
    pub fn seal(bound: &'a Bound) -> Result<Self> {
        let seal = |bytes: &[u8]| {
            memfd::seal(c"secret", bytes).map_err(|error| Error::Refused {
                doing: "cannot hand a secret to a job".to_owned(),
                why: error.to_string(),
            })
        };
        let values = bound.slots.iter().filter_map(|slot| match &slot.what {
            SlotWhat::Secret(value) => Some(seal(value)),
            SlotWhat::Path { .. } => None,
        });
        Ok(Self {
            files: values.collect::<Result<_>>()?,
            stdin: bound.secret_stdin.as_deref().map(seal).transpose()?,
            slots: &bound.slots,
        })
    }

    /// What becomes of the arguments inside the sandbox.
    pub fn arguments(&self) -> Vec<Argument<'_>> {
        let mut files = self.files.iter();
        let argument = |slot: &'a Slot| {
            let what = match &slot.what {
                SlotWhat::Path {
                    under,
                    beneath,
                    is,
                    pass,
                } => What::Path {
                    under,
                    beneath,
                    is: *is,
                    by_descriptor: !matches!(pass, Passed::Text),
                    copy: match pass {
                        Passed::Copy(file) => Some(file.as_fd()),
                        Passed::Text | Passed::Descriptor => None,
                    },
                },
                SlotWhat::Secret(_) => What::Secret(files.next()?.as_fd()),
            };
            Some(Argument {
                index: slot.index,
                before: &slot.before,
                what,
            })
        };
        self.slots.iter().filter_map(argument).collect()
    }
}
