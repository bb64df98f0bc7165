//! Effects of a policy over the real daemon, and checks of the shipped examples.

mod arguments;
mod broken;
mod catalogue;
mod commands;
mod documents;
mod interpreters;
mod paths;
mod profiles;
mod reload;
mod scene;
mod strangers;
