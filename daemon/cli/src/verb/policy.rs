//! `remit policy`: what policy files mean, told without the daemon; and the reload of them.

mod reload;

pub use reload::reload;
