//! Frames of the client sockets, both directions: any bytes are one message or an error.
#![no_main]

use remit_common::frame::{self, HEADER};
use remit_wire::{FromClient, ToClient};
use serde::{Serialize, de::DeserializeOwned};

/// Smaller than the real limit, so that few bytes suffice to exceed it.
const CAP: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    read::<FromClient>(bytes);
    read::<ToClient>(bytes);
});

/// A decoded message must survive a second round unchanged and within the limit.
fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(message) = frame::read::<T>(&mut &*bytes, CAP) else {
        return;
    };
    let once = frame::encode(&message, CAP).expect("a frame within the cap encodes within it");
    let again: T = frame::decode(&once[HEADER..]).expect("an encoded frame decodes");
    let twice = frame::encode(&again, CAP).expect("the same frame again");
    assert_eq!(once, twice);
}
