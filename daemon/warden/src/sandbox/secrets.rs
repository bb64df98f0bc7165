//! Secrets of a job, in memory files that only the job can open. Made just before the fork: each needs a descriptor.

use std::os::fd::{AsFd, OwnedFd};

use remit_link::memfd;
use remit_spawn::{Argument, What};
use remit_sys::{Error, Result};

use crate::request::{ArgumentSlot, BoundCall, Passed, SlotWhat};

pub struct Secrets<'a> {
    slots: &'a [ArgumentSlot],
    /// One for each secret slot, in the same order.
    files: Vec<OwnedFd>,
    pub stdin: Option<OwnedFd>,
}

impl<'a> Secrets<'a> {
    /// Seals the secret arguments and standard input. Fails if no descriptor or no memory is left.
    pub fn seal(bound: &'a BoundCall) -> Result<Self> {
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

    pub fn arguments(&self) -> Vec<Argument<'_>> {
        let mut files = self.files.iter();
        let argument = |slot: &'a ArgumentSlot| {
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
