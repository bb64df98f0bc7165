//! Reads the inputs of a policy from this machine: the drop-in files and the names they use. `remit-policy` is pure
//! and reads nothing. The warden calls this crate in a forked child, because it may wait for a disk or a directory
//! service. `remit policy` calls it offline.

mod approvers;
pub(crate) mod daemon_paths;
mod drop_ins;
mod impersonators;
mod load;
mod names;
mod programs;
mod trust;
pub(crate) mod unreachable_grantees;

pub use approvers::approvers;
pub use drop_ins::{PolicyFiles, read, read_file, read_trusted};
pub use impersonators::impersonators;
pub use load::{Compile, Loaded, load};
pub use names::{LastKnown, Names};
pub use programs::{only_root_changes, only_root_names};
pub use trust::Owners;

pub use crate::daemon_paths::own_files;
pub use crate::unreachable_grantees::unreachable_grantees;
