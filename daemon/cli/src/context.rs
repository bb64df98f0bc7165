//! What every verb gets: the daemon's directory, and the form of the output.

use remit_common::names::Runtime;

use crate::render::display::Width;
use crate::render::output::Form;

pub struct Context {
    pub runtime: Runtime,
    pub form: Form,
    /// Of stdout.
    pub width: Width,
}
