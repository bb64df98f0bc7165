//! Bad input and misbehaving jobs end in a clear refusal or a named outcome. The daemon lives, others are served
//! within a second, and no process is left.

mod connections;
mod frames;
mod jobs;
mod mcp;
mod named;
mod requests;
