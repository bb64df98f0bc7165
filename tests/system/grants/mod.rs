//! Temporary grants, over the real daemon: what they permit, how they end, and what they never permit.

mod ends;
mod granted;
mod refused;
mod restart;
mod revoked;
mod scene;
