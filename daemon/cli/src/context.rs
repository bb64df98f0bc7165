//! What every verb gets: the daemon's directory, and the form of the output.

use remit_common::names::Runtime;

use crate::render::output::Form;
use crate::render::units::Width;

pub struct Context {
    pub runtime: Runtime,
    pub form: Form,
    pub width: Width,
}
