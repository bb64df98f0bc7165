//! The self-test's attempts: for each layer, something that the layer forbids. Each attempt runs in its own process,
//! which answers with an errno, 0 if it was allowed. If possible, the same is tried before without the layers, by the
//! same uid, because an attempt that fails anyway proves nothing.

mod attempt;
mod common;
mod strict;

use crate::Sandbox;
use crate::spec::compiled::Base;
pub(crate) use attempt::{Attempt, DEVICE, FIFO, FILE, NAMESPACES, Outside, PROGRAM, STAGE, Stage};
use common::COMMON;
use strict::STRICT;

pub(crate) fn attempts(sandbox: &Sandbox) -> impl Iterator<Item = &'static Attempt> + '_ {
    let there = |attempt: &&Attempt| {
        attempt.layer.absent(&sandbox.kernel).is_none() && (attempt.fits)(sandbox)
    };
    let strict = match sandbox.base {
        Base::Strict(_) => STRICT,
        Base::Read(_) | Base::Host => &[],
    };
    COMMON.iter().chain(strict).filter(there)
}
