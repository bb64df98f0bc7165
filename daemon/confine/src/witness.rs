//! Proof by trying: a child takes the checklist and then tries each wall.

use crate::{Error, Keeper, Result, Sandbox, Template, Wall};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What was seen of one wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub wall: Wall,
    /// It was tried, and it held.
    pub held: bool,
    /// What was tried and what the kernel answered.
    pub detail: String,
}

/// A witness at work.
#[derive(Debug)]
pub struct Witness {
    answer: OwnedFd,
}

/// Forks a witness under `uid`, `gid` (not used by a job meanwhile).
pub fn witness(
    _sandbox: &Sandbox,
    _template: Option<&Template>,
    _keeper: &Keeper,
    _uid: u32,
    _gid: u32,
) -> Result<Witness> {
    Err(Error::refused("cannot witness", "not built yet"))
}

impl Witness {
    /// Readable when `read` gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// The findings, one for each wall this kernel can have; `None`: read again when readable.
    pub fn read(&mut self) -> Result<Option<Vec<Finding>>> {
        Err(Error::refused("cannot witness", "not built yet"))
    }
}
