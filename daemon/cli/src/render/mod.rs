//! Text for people and programs: tables, columns, units, JSON, colors. Text of others is escaped here.

pub(crate) mod calls;
pub(crate) mod decided;
pub(crate) mod display;
mod failure;
pub(crate) mod job_end;
pub(crate) mod output;
pub(crate) mod request;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod units;
pub(crate) mod untrusted_columns;
