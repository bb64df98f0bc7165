//! Messages between whoever has a signature verified and `remit-verify`: one question, one answer, both frames.

use std::fmt;
use std::io::{Read, Write};

use remit_common::frame::{self, FrameError};
use remit_common::signed::{SIGNATURE, STATEMENT, Touch};
use serde::{Deserialize, Serialize};

use crate::signers;

/// Name of the program.
pub const PROGRAM: &str = "remit-verify";
/// Bytes of a question: the keys of a whole file, the text and the signature.
pub const QUESTION: usize = signers::MOST + (8 << 10);
/// Bytes of an answer: it may name every line of the file.
pub const ANSWER: usize = 8 << 10;

/// A signature, and the keys that may have made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub namespace: String,
    pub text: String,
    /// As ssh-keygen(1) prints it.
    pub signature: String,
    /// Number of the line, and the key: kind and base64.
    pub keys: Vec<(u32, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Good(Good),
    Bad(Bad),
}

/// The signature is of one of the keys, over exactly this text and namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// All lines with its key.
    pub lines: Vec<u32>,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// `None`: the key is a file.
    pub touch: Option<Touch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bad {
    /// A line of the file is not a key.
    Key(u32),
    NotASignature,
    OtherNamespace,
    /// Its kind is not verified, such as RSA.
    Kind,
    /// Its key is on no line.
    NotListed,
    /// It is not over this text.
    OtherText,
}

impl Good {
    /// Returns whether it can be recorded. The answer is of a process that nobody trusts.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let digits = self.fingerprint.strip_prefix("SHA256:").unwrap_or_default();
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        digits.len() == 43 && digits.bytes().all(is_base64) && !self.lines.is_empty()
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(line) => write!(f, "line {line} of the approvers' file has no valid key"),
            Self::NotASignature => {
                f.write_str("it is not a whole signature of 'ssh-keygen -Y sign'")
            }
            Self::OtherNamespace => f.write_str("it was made for another namespace"),
            Self::Kind => f.write_str("its key is of a kind that is not accepted"),
            Self::NotListed => f.write_str("its key is not in the approvers' file"),
            Self::OtherText => f.write_str("it is not a signature of this request's text"),
        }
    }
}

impl Question {
    /// Returns true if its text or signature is longer than any of an approval.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.signature.len() > SIGNATURE || self.text.len() > STATEMENT
    }

    /// # Errors
    /// The stream fails.
    pub fn write(&self, to: &mut impl Write) -> Result<(), FrameError> {
        frame::write(to, self, QUESTION)
    }

    /// # Errors
    /// The stream ends or has something else.
    pub fn read(from: &mut impl Read) -> Result<Self, FrameError> {
        frame::read(from, QUESTION)
    }
}

impl Answer {
    /// # Errors
    /// The stream fails.
    pub fn write(&self, to: &mut impl Write) -> Result<(), FrameError> {
        frame::write(to, self, ANSWER)
    }

    /// # Errors
    /// The stream ends or has something else.
    pub fn read(from: &mut impl Read) -> Result<Self, FrameError> {
        frame::read(from, ANSWER)
    }
}
