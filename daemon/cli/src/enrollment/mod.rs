//! Creates and removes an agent's access: an account that can only talk to remit.
//!
//! The only access is ssh, with a key in authorized_keys that may only start the shim. The key is in the home, where
//! sshd already looks. A directory below `/etc/ssh` would need a change of sshd's settings, which belong to the
//! administrator.
//!
//! sshd accepts files of root or the user (sshd_config(5), StrictModes). A new account owns neither its home nor its
//! key files: root does. Whoever controls the account cannot lift the restrictions of its keys or leave files that a
//! login reads. An account that existed before keeps its files. The daemon's policy decides what an agent may do, not
//! this module.

pub mod account;
mod add;
mod around;
pub(crate) mod authorized_keys_file;
pub(crate) mod authorized_keys_line;
mod clock;
mod expiry;
mod key;
mod name;
mod processes;
mod record;
mod refused;
mod request;
pub(crate) mod safe_open;
mod undo;

pub use crate::enrollment::authorized_keys_line::Change;
pub use add::{AccountWas, Enrolled, enroll};
pub use expiry::Expires;
pub use key::{FILE as KEY_FILE, PublicKey};
pub use name::Name;
pub use record::{Agent, enrolled};
pub use refused::Refused;
pub use request::Request;
pub use undo::{Undo, Undone, unenroll};

/// Returns the line for a key, to be added to a file by hand. Fails if the key has already expired.
pub fn printed(key: &PublicKey, expires: Option<&Expires>) -> Result<String, Refused> {
    let expires = expires.map(clock::resolve).transpose()?.flatten();
    Ok(authorized_keys_line::line(key, expires))
}

pub const STATE: &str = "/var/lib/remit";
