//! Arguments that make common tools execute programs or write files. Each works without remit, and has no effect
//! as a value of a named command.

mod attempts;
mod fixture;
mod table;
