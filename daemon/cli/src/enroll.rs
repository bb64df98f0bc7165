//! An agent's way in: an account that can do nothing but talk to remit, and its undoing.
//!
//! The way is ssh alone: a key in the account's authorized_keys that may do nothing but start the
//! shim. The key stands where sshd looks already, in the home; a directory of our own below
//! `/etc/ssh` would need sshd to be told, and its settings are the administrator's.
//!
//! An account that is made here does not own that home, nor anything else: sshd wants files that are
//! root's or the user's (sshd_config(5), StrictModes), so they are root's, and whoever gets hold of the
//! account can neither lift what its keys may not do nor leave anything that a login would read. An
//! account that was there keeps what it has. Nothing here is policy: what an agent may ask for, the
//! daemon decides.

pub mod account;
mod add;
mod around;
mod clock;
mod expiry;
mod file;
mod key;
mod line;
mod name;
mod processes;
mod record;
mod undo;
mod walk;

use remit_common::refusal::{Code, Refusal};

pub use add::{AccountWas, Enrolled, Request, enroll};
pub use expiry::Expires;
pub use key::{FILE as KEY_FILE, PublicKey};
pub use line::Change;
pub use name::Name;
pub use record::{Agent, enrolled};
pub use undo::{Undo, Undone, unenroll};

/// Why nothing was done, or why it was not done to its end.
#[derive(Debug)]
pub struct Refused {
    code: Code,
    message: String,
    lift: Option<String>,
}

impl Refused {
    /// Something on this machine, or in what was asked for, does not fit.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            code: Code::InvalidArgs,
            message: message.into(),
            lift: None,
        }
    }

    /// What was named is not there.
    fn not_found(message: impl Into<String>) -> Self {
        Self {
            code: Code::NotFound,
            ..Self::new(message)
        }
    }

    /// Says what a person can do about it.
    fn lift(mut self, lift: impl Into<String>) -> Self {
        self.lift = Some(lift.into());
        self
    }

    /// Names what it is about.
    fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let refusal = Self::new(refused.code, refused.message);
        match refused.lift {
            Some(lift) => refusal.lift(lift),
            None => refusal,
        }
    }
}

/// Errors that say all there is to say.
macro_rules! refused {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        }
    )*};
}

/// Root goes where nobody can lead it astray.
const PLAIN: &str = "make it a plain file or directory of the user's or root's that nobody else may \
                     write to; or choose a name that is free, and the account is made";

impl From<walk::WalkError> for Refused {
    fn from(error: walk::WalkError) -> Self {
        use walk::WalkError::{Call, Missing, Odd, Owner, Writable};
        let refused = Self::new(error.to_string()).about("cannot go to the file with the keys");
        match error {
            Odd(..) | Owner(..) | Writable(..) => refused.lift(PLAIN),
            Call(..) | Missing(..) => refused,
        }
    }
}

impl From<file::FileError> for Refused {
    fn from(error: file::FileError) -> Self {
        use file::FileError::{Changed, Io, Large, Links, Walk};
        match error {
            Walk(error) => error.into(),
            Links(..) => Self::new(error.to_string()).lift(PLAIN),
            Large(..) | Io(..) | Changed(..) => Self::new(error.to_string()),
        }
    }
}

refused!(
    expiry::ExpiryError,
    record::RecordError,
    crate::program::ProgramError,
    crate::sshd::effective::EffectiveError
);

/// The line for a key, for somebody who puts it into a file by hand.
///
/// # Errors
/// Its end is over already.
pub fn printed(key: &PublicKey, expires: Option<&Expires>) -> Result<String, Refused> {
    let expires = expires.map(clock::resolve).transpose()?.flatten();
    Ok(line::line(key, expires))
}

/// Where the records are kept unless another directory is named.
pub const STATE: &str = "/var/lib/remit";
