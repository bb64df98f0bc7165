//! daemon/warden
fn main() {}
