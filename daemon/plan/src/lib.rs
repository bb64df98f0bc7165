//! A change of files as data: edits make a plan of entries with exact bytes; an approver approves its digest. The code
//! is pure: it reads no file and no clock.
//!
//! **Invariant:** a plan that exists is checked: [`Plan::new`] and [`Plan::decode`] are the only ways to one.

#![forbid(unsafe_code)]

mod accounts;
mod bundle;
mod capabilities;
pub mod codec;
mod conflict;
mod contents;
mod deciding;
mod digest;
mod directories;
pub mod dpkg;
mod extent;
mod facts;
mod journal;
mod lines;
mod lockout;
mod login_programs;
mod must_read;
mod obstacles;
mod of_packages;
mod path;
mod path_tree;
mod plan;
mod protected;
mod ranges;
mod reversed;
mod risk;
mod risks;
mod stat;
mod staying;
mod step;
mod subject;
mod summary;
mod time;
mod undo;
mod unit;
mod upload;
mod view;
mod ways;

pub use remit_common::hex::hex;

pub use accounts::{account_id, is_of_accounts, is_table};
pub use bundle::Bundle;
pub use capabilities::{FileCapabilities, OldCapabilities, permitted_capabilities};
pub use codec::PlanError;
pub use conflict::Conflict;
pub use deciding::deciding_paths;
pub use digest::canonical;
pub use directories::{DirectoryId, PlanDirectories, PlanDirectory};
pub use extent::Extent;
pub use journal::{Journal, Phase, UndoMark};
pub use lines::{LineError, TABLE_BYTES, TableChange, changed_table, line_changes};
pub use lockout::lock_out;
pub use must_read::is_read;
pub use obstacles::{
    FIXED_DIRECTORY, LISTED, MOUNT_POINT, RENUMBERED, attribute_conflict, has_list, is_dropped,
    is_fat, is_fixed, is_list_kept, is_taken, list_conflict, obstacle, too_long, unkept,
};
pub use of_packages::PackageNames;
pub use path::{PathError, PlanPath};
pub use path_tree::PathTree;
pub use plan::{Base, Change, Content, Entry, Kind, LINK_BYTES, Metadata, New, Plan, Source, Stat};
pub use protected::{
    Protected, needs_approval, path_is_refused, path_needs_approval, unnamed_in_system,
};
pub use risk::Risk;
pub use risks::{Context, risk_sentences, risks};
pub use staying::{OwnNames, staying};
pub use step::{Direction, Movement, Side};
pub use summary::summary;
pub use undo::{BeforeUndo, FoundDirectory, UNDO_RISK, UndoPage};
pub use upload::Upload;
pub use view::{View, metadata};

/// Largest number of entries of a plan.
pub const ENTRIES: usize = 20_000;
/// Largest encoded plan, in bytes.
pub const PLAN_BYTES: usize = 8 << 20;
/// Most bytes of all new contents of a plan, holes included.
pub const CONTENT_BYTES: u64 = 1 << 30;
/// Most new bytes of one file, and most of an upload that is one.
pub const FILE_BYTES: u64 = 256 << 20;
/// Old bytes of a longer file are not shown to an approver.
pub const OLD_BYTES: u64 = 256 << 10;
/// Old bytes of all files in a bundle, but of those that an approver has to read.
pub const SHOWN_OLD_BYTES: u64 = 512 << 10;
/// Largest bundle. It travels as the standard input of a request.
pub const BUNDLE_BYTES: usize = remit_common::caps::BUNDLE;
/// Longest path and deepest path of an entry. PATH_MAX counts a NUL.
pub const PATH_BYTES: usize = 4095;
pub const PATH_DEPTH: usize = 64;
/// Longest name in a path, NAME_MAX.
pub const NAME_BYTES: usize = 255;

#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
