//! Why a verb did not succeed.

#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was tried and failed.
    Failed(String),
    /// It was not tried.
    Refused(String),
}
