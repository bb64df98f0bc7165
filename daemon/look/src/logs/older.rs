//! Counts matching entries that are older than those shown.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    None,
    Exactly(u64),
    MoreThan(u64),
}
