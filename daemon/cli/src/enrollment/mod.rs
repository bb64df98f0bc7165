//! Creates and removes the access of an agent or an approver: an account that a key opens by ssh for one command only.
//! The key is in the home: a directory below `/etc/ssh` would need a change of sshd's settings. A new account owns
//! neither its home nor its key files: root does, which sshd accepts (sshd_config(5), StrictModes). So whoever controls
//! the account cannot lift the restrictions of its keys or leave files that a login reads.

pub mod account;
mod add;
mod arguments;
mod around;
pub(crate) mod authorized_keys_file;
pub(crate) mod authorized_keys_line;
mod found_account;
mod key;
mod record;
mod role;

mod refused {
    //! An enrollment that was refused: the reason, and how to make it possible. It becomes a refusal as the daemon gives them.

    use remit_common::refusal::{Code, Refusal};

    use super::{arguments, authorized_keys_file, record, safe_open};

    #[derive(Debug)]
    pub struct Refused {
        pub(super) code: Code,
        pub(super) message: String,
        pub(super) lift: Option<String>,
    }

    impl Refused {
        pub fn new(message: impl Into<String>) -> Self {
            Self {
                code: Code::InvalidArgs,
                message: message.into(),
                lift: None,
            }
        }

        pub(super) fn not_found(message: impl Into<String>) -> Self {
            Self {
                code: Code::NotFound,
                ..Self::new(message)
            }
        }

        pub(super) fn lift(mut self, lift: impl Into<String>) -> Self {
            self.lift = Some(lift.into());
            self
        }

        /// The reason and the way out, for a report of several.
        pub(super) fn line(&self) -> String {
            match &self.lift {
                Some(lift) => format!("{}; to go on: {lift}", self.message),
                None => self.message.clone(),
            }
        }

        pub(super) fn about(mut self, what: &str) -> Self {
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

    macro_rules! refused {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        }
    )*};
}

    /// Root must not follow a path that an untrusted user can redirect.
    const PLAIN: &str = "make it a regular file or directory that belongs to the user or root and that nobody else may \
                     write; or choose an unused name and remit will create the account";

    impl From<safe_open::WalkError> for Refused {
        fn from(error: safe_open::WalkError) -> Self {
            use super::safe_open::WalkError::{Call, Missing, Odd, Owner, Writable};
            let refused = Self::new(error.to_string()).about("cannot go to the file with the keys");
            match error {
                Odd(..) | Owner(..) | Writable(..) => refused.lift(PLAIN),
                Call(..) | Missing(..) => refused,
            }
        }
    }

    impl From<record::RecordError> for Refused {
        fn from(error: record::RecordError) -> Self {
            let refused = Self::new(error.to_string());
            match error.way_out() {
                Some(lift) => refused.lift(lift),
                None => refused,
            }
        }
    }

    impl From<authorized_keys_file::FileError> for Refused {
        fn from(error: authorized_keys_file::FileError) -> Self {
            use super::authorized_keys_file::FileError::{Changed, Io, Large, Links, Walk};
            match error {
                Walk(error) => error.into(),
                Links(..) => Self::new(error.to_string()).lift(PLAIN),
                Large(..) | Io(..) | Changed(..) => Self::new(error.to_string()),
            }
        }
    }

    refused!(
        arguments::ExpiryError,
        crate::external_program::ProgramError,
        crate::openssh::effective::EffectiveError
    );
}

pub(crate) mod safe_open;
mod undo;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use remit_common::names::Runtime;

use crate::external_program::Program;

pub use add::{AccountWas, Enrolled, enroll};
pub use arguments::{End, Expires, Name};
pub use authorized_keys_line::Change;
pub use key::{FILE as KEY_FILE, KeyError, PublicKey};
pub use record::{EnrolledAccount, enrolled};
pub use refused::Refused;
pub use role::Role;
pub use undo::{Undo, Undone, unenroll};

/// Returns the line of a key, and its end if that has passed: the key may be enrolled since before it.
pub fn printed(
    role: Role,
    key: &PublicKey,
    expires: Option<&Expires>,
) -> Result<(String, Option<End>), Refused> {
    let now = now()?;
    let expires = expires.map(|expires| resolve(expires, |end| end.is_over(now)));
    let expires = expires.transpose()?.flatten();
    let line = authorized_keys_line::line(role, key, expires);
    Ok((line, expires.filter(|end| end.is_over(now))))
}

pub const STATE: &str = "/var/lib/remit";

#[derive(Debug)]
pub struct Request<'a> {
    pub role: Role,
    pub name: &'a Name,
    pub group: &'a Name,
    pub key: &'a PublicKey,
    /// `None` keeps the current expiry.
    pub expires: Option<&'a Expires>,
    pub state: &'a Path,
    pub runtime: &'a Runtime,
}

/// Returns the expiry of a key. Fails if it has passed and is not accepted, or if this machine's clock has no such time.
fn resolve(expires: &Expires, is_accepted: impl Fn(End) -> bool) -> Result<Option<End>, Refused> {
    let at = expires.at(now()?, is_accepted, unix)?;
    at.map_err(|error| Refused::from(error).about("--expires"))
}

fn now() -> Result<u64, Refused> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|now| now.as_secs())
        .map_err(|_| Refused::new("the clock of this machine is before 1970"))
}

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
        let resolved = |text: &str| resolve(&text.parse().unwrap(), |_| false).unwrap();
        let soon = resolved("1d").unwrap();
        let later = resolved("2d").unwrap();
        assert_eq!(resolved("never"), None);
        assert_ne!(soon, later);
        assert_eq!(unix("2030-01-01 00:00:00").unwrap() / 100_000_000, 18);
        let past = resolve(&"2020-01-01".parse().unwrap(), |_| false).unwrap_err();
        assert_eq!(past.message, "--expires: it is in the past");
    }
}
