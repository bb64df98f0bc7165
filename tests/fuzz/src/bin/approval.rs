//! The bytes that an approver signs. Any bytes are one request or an error, and a request has only these bytes.
#![no_main]

use remit_approval::{decode, encode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = decode(bytes) {
        assert_eq!(encode(&request), bytes, "a second spelling");
    }
});
