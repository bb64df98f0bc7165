//! Bytes that need not be UTF-8, one sequence on the wire.

pub use serde_bytes::ByteBuf as Bytes;
