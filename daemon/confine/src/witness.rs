//! Proof by trying: a child takes the checklist and then tries each wall.

use crate::{Error, Keeper, Result, Sandbox, Template};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One thing a sandbox must hold, that a test can see missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wall {
    /// Own uid, gid and groups.
    Identity = 1,
}

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
