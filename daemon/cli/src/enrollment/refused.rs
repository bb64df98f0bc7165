//! An enrollment that was refused: the reason, and how to make it possible. It becomes a refusal as the daemon gives them.

use remit_common::refusal::{Code, Refusal};

use super::{authorized_keys_file, expiry, record, safe_open};

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
    expiry::ExpiryError,
    record::RecordError,
    crate::external_program::ProgramError,
    crate::openssh::effective::EffectiveError
);
