//! The audit log: written before the exec, complete, chained, and safe against secrets, forgeries and floods.

mod corpus;
mod exact;
mod paths;
mod records;
mod sinks;
mod stops;
