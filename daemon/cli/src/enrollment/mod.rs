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
mod expiry;
mod key;
mod name;
mod processes;
mod record;
mod refused;
pub(crate) mod safe_open;
mod undo;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use expiry::End;

use crate::external_program::Program;

pub use add::{AccountWas, Enrolled, enroll};
pub use authorized_keys_line::Change;
pub use expiry::Expires;
pub use key::{FILE as KEY_FILE, PublicKey};
pub use name::Name;
pub use record::{Agent, enrolled};
pub use refused::Refused;
pub use undo::{Undo, Undone, unenroll};

/// Returns the line for a key, to be added to a file by hand. Fails if the key has already expired.
pub fn printed(key: &PublicKey, expires: Option<&Expires>) -> Result<String, Refused> {
    let expires = expires.map(resolve).transpose()?.flatten();
    Ok(authorized_keys_line::line(key, expires))
}

pub const STATE: &str = "/var/lib/remit";

/// What `remit enroll` is to do.
#[derive(Debug)]
pub struct Request<'a> {
    pub name: &'a Name,
    pub group: &'a Name,
    pub key: &'a PublicKey,
    /// `None` keeps the current expiry.
    pub expires: Option<&'a Expires>,
    pub state: &'a Path,
}

/// Returns the expiry of a key. Fails if it has passed, or if this machine's clock has no such time.
pub fn resolve(expires: &Expires) -> Result<Option<End>, Refused> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Refused::new("the clock of this machine is before 1970"))?;
    let at = expires.at(now.as_secs(), unix)?;
    at.map_err(|error| Refused::from(error).about("--expires"))
}

/// Converts local time with date(1), which knows the machine's time zone.
fn unix(local: &str) -> Result<u64, Refused> {
    let date = Program::find(&["/usr/bin/date", "/bin/date"])
        .ok_or_else(|| Refused::new("this machine has no '/usr/bin/date'"))?;
    let seconds = date.ask(&["-d", local, "+%s"])?;
    let seconds = String::from_utf8_lossy(&seconds);
    seconds.trim().parse().map_err(|_| {
        Refused::new(format!(
            "'{}' cannot read '{local}' as a time: {seconds}",
            date.path().display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_local_time() {
        let soon = resolve(&"1d".parse().unwrap()).unwrap().unwrap();
        let later = resolve(&"2d".parse().unwrap()).unwrap().unwrap();
        assert_eq!(resolve(&"never".parse().unwrap()).unwrap(), None);
        assert_ne!(soon, later);
        assert_eq!(unix("2030-01-01 00:00:00").unwrap() / 100_000_000, 18);
        let past = resolve(&"2020-01-01".parse().unwrap()).unwrap_err();
        assert_eq!(past.message, "--expires: it is in the past");
    }
}
