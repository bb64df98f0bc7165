//! Bounds of an extraction. Those of plans are the same as in `remit-plan`, also of names, paths and depth:
//! [`remit_plan::NAME_BYTES`], [`remit_plan::PATH_BYTES`] and [`remit_plan::PATH_DEPTH`].

/// Largest number of entries.
pub const PLAN_ENTRIES: usize = remit_plan::ENTRIES;
/// Most bytes of all new files. Holes count, so a sparse file is refused before a byte of it is read.
pub const NEW_BYTES: u64 = remit_plan::CONTENT_BYTES;
/// Most bytes of one new file, holes included.
pub const FILE_BYTES: u64 = remit_plan::FILE_BYTES;
/// Most bytes of all old files. They are read to be hashed.
pub const BASE_BYTES: u64 = 1 << 30;
/// Most names that are listed, of upper and lower directories together. Merged directories may have as many again.
pub const LISTED_NAMES: usize = 200_000;
/// Most extended attributes of one path.
pub const ATTRIBUTES: usize = 64;
/// Most notes and most refusals that are kept. Further ones are counted.
pub const MESSAGES: usize = 100;
