//! What policy is made from, read from this machine: the drop-in files, and the names they use.
//!
//! `remit-policy` is pure and reads nothing; this crate reads for it. The warden calls it in a forked
//! child, since it may wait for a disk or a directory service; `remit policy` calls it offline.

mod approvers;
mod drop_ins;
mod impersonators;
mod load;
mod names;
mod outsiders;
mod own;
mod places;
mod programs;
mod trust;

pub use approvers::approvers;
pub use drop_ins::{PolicyFiles, read, read_file, read_trusted};
pub use impersonators::impersonators;
pub use load::{Loaded, load};
pub use names::{Gone, Names};
pub use outsiders::outsiders;
pub use own::own_files;
pub use places::places;
pub use programs::only_root_changes;
pub use trust::Owners;
