//! What somebody hostile may have reached: the heads and bodies of clauses.

use crate::path::FilePath;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// What every account can do.
    Anyone,
    Account(u32),
    Member(u32),
    /// Having the private keys of those that log in to an account. An account that was taken over does not give them.
    Keys(u32),
    /// Passing a directory. Real paths only, as the next two.
    Enter(FilePath),
    /// Changing the content of a file, or the entries of a directory.
    Write(FilePath),
    /// Putting something else at a path.
    Replace(FilePath),
    /// Deciding what is found by a path, as somebody names it.
    Change(FilePath),
    /// Changing a file as root, so that it stays root's.
    AsRoot(FilePath),
    /// Having a unit started.
    Start(String),
    /// Having a template started with any text behind its `@`.
    StartTyped(String),
    /// Having a program run by sudo as an account.
    Sudo(FilePath, u32),
    /// Calling a command of the policy without another person.
    Call(String),
    /// Using a permission of the policy: a command and a rule.
    Uses(String),
    /// Deciding what runs in a profile of the policy.
    Inside(String),
    /// Deciding what a unit runs that has rights beyond its account.
    Unit(String),
    /// Deciding what remit permits.
    Remit,
}
