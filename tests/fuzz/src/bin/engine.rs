//! Answers of a container engine's socket: any bytes are the end of an answer, or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match remit_engine::body(bytes) {
        Ok(body) => assert!(bytes.ends_with(&body)),
        Err(why) => assert!(!why.is_empty()),
    }
});
