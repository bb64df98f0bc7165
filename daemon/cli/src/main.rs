//! daemon/cli
fn main() {}
