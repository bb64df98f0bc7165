//! Splits the bytes read from an administrator into requests. Pure.

use remit_common::admin::AdminCall;
use remit_common::caps;
use remit_common::frame::{self, FrameError};

/// Removes and returns the first whole frame of `input`.
pub(super) fn take_frame(input: &mut Vec<u8>) -> Result<Option<AdminCall>, FrameError> {
    let Some(field) = input.first_chunk() else {
        return Ok(None);
    };
    let end = frame::HEADER + frame::header(*field, caps::ADMIN_FRAME)?;
    let Some(body) = input.get(frame::HEADER..end) else {
        return Ok(None);
    };
    let call = frame::decode(body)?;
    input.drain(..end);
    Ok(Some(call))
}

/// Returns true if `input` begins with a whole frame or with an invalid header, which `take_frame` reports.
pub(super) fn has_frame(input: &[u8]) -> bool {
    input.first_chunk().is_some_and(|field| {
        let length = frame::header(*field, caps::ADMIN_FRAME).unwrap_or(0);
        input.len() >= frame::HEADER + length
    })
}
