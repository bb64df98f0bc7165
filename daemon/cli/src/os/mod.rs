//! The operating system around: programs that this one executes, and groups that lead to root.

pub mod external_program;
pub mod root_groups;
