//! The bytes that an approver signs. Any bytes are one request or an error, and a request has only these bytes. As the
//! answer of a daemon they are its parts, all of them, or nothing.
#![no_main]

use remit_approval::encode;
use remit_page::{Answer, decode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(answer) = Answer::split(bytes) {
        let contents: usize = answer.contents.iter().map(|content| content.len()).sum();
        assert!(answer.request.len() + contents < bytes.len());
    }
    if let Ok(request) = decode(bytes) {
        assert_eq!(encode(&request), bytes, "a second spelling");
    }
});
