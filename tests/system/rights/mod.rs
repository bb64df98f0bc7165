//! Rights end at once if accounts are removed, renamed or leave a group.

mod administrators;
mod approvers;
mod away;
mod connections;
mod covered;
mod denials;
mod directory;
mod givers;
mod logins;
mod numbers;
mod recipients;
mod scene;
mod uses;
