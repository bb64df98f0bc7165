//! Finds how an account of a machine could become root: facts by reading files, rules that turn them into clauses, and
//! the shortest proof. It changes nothing, and "no path found" never means that there is none.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod atom;
pub mod closure;
pub mod compare;
pub mod facts;
pub mod grants;
pub mod lines;
pub mod look;
pub mod machine;
pub mod opened;
mod over_time;
pub mod path;
pub mod people;
pub mod question;
pub mod report;
pub mod rule;
pub mod rules;
pub mod sources;
mod split_words;
pub mod text;
mod usual;
