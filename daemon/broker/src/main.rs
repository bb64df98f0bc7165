//! daemon/broker
fn main() {}
