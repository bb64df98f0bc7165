//! Refusals: stable codes with an explaining sentence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{caps, text};

/// Why a request was not done. Stable on the wire, in JSON and in the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No policy rule allows it, or one denies it.
    DeniedRule,
    DeniedKernel,
    NeedsApproval,
    ApprovalDenied,
    ApprovalExpired,
    /// The approved request has changed since.
    ApprovalVoid,
    /// There is no such thing, or it is not the caller's.
    NotFound,
    InvalidArgs,
    /// A limit on what runs at once is reached.
    Busy,
    RateLimited,
    TooLarge,
    /// The request id was used for something else.
    ConflictRequestId,
    DaemonUnavailable,
    UnsupportedKernel,
    /// An administrator has locked remit, or the user is paused.
    Locked,
    /// It was allowed but could not be started.
    NotStarted,
}

impl Code {
    pub const ALL: [Self; 16] = [
        Self::DeniedRule,
        Self::DeniedKernel,
        Self::NeedsApproval,
        Self::ApprovalDenied,
        Self::ApprovalExpired,
        Self::ApprovalVoid,
        Self::NotFound,
        Self::InvalidArgs,
        Self::Busy,
        Self::RateLimited,
        Self::TooLarge,
        Self::ConflictRequestId,
        Self::DaemonUnavailable,
        Self::UnsupportedKernel,
        Self::Locked,
        Self::NotStarted,
    ];

    /// Returns the code's name in MCP and in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeniedRule => "denied_rule",
            Self::DeniedKernel => "denied_kernel",
            Self::NeedsApproval => "needs_approval",
            Self::ApprovalDenied => "approval_denied",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalVoid => "approval_void",
            Self::NotFound => "not_found",
            Self::InvalidArgs => "invalid_args",
            Self::Busy => "busy",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::ConflictRequestId => "conflict_request_id",
            Self::DaemonUnavailable => "daemon_unavailable",
            Self::UnsupportedKernel => "unsupported_kernel",
            Self::Locked => "locked",
            Self::NotStarted => "not_started",
        }
    }
}

impl Code {
    /// Returns whether the request led to it, not the machine's state or a person. What rates limit is not counted twice.
    #[must_use]
    pub const fn is_of_request(self) -> bool {
        match self {
            Self::DeniedRule
            | Self::DeniedKernel
            | Self::NotFound
            | Self::InvalidArgs
            | Self::TooLarge
            | Self::ConflictRequestId => true,
            Self::NeedsApproval
            | Self::ApprovalDenied
            | Self::ApprovalExpired
            | Self::ApprovalVoid
            | Self::Busy
            | Self::RateLimited
            | Self::DaemonUnavailable
            | Self::UnsupportedKernel
            | Self::Locked
            | Self::NotStarted => false,
        }
    }

    const fn next(self) -> &'static str {
        match self {
            Self::DeniedRule | Self::DeniedKernel | Self::NotFound => {
                "call access: it lists what you may do here"
            }
            Self::NeedsApproval
            | Self::ApprovalDenied
            | Self::ApprovalExpired
            | Self::ApprovalVoid => "tell the person you work for; ask again only when they say so",
            Self::InvalidArgs => "correct the request, and send it again",
            Self::TooLarge => "send less at a time",
            Self::ConflictRequestId => "use a new request_id for a new request",
            Self::Busy => "ask again in a second",
            Self::RateLimited => "wait a minute, and ask less often",
            Self::DaemonUnavailable => "ask again in a minute",
            Self::UnsupportedKernel | Self::Locked | Self::NotStarted => {
                "nothing ran; tell the person you work for"
            }
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Refusal {
    pub code: Code,
    /// One sentence: what was refused and why.
    pub message: String,
    /// Its object: a path, a name, a number.
    pub object: Option<String>,
    /// The policy rule or kernel layer that said no.
    pub by: Option<String>,
    /// What a person can type to allow it.
    pub lift: Option<String>,
    /// What the agent can do instead.
    pub next: Option<String>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            object: None,
            by: None,
            lift: None,
            next: None,
        }
    }

    /// Returns the sentence for people, with the code at its end: remit-refusals(7) lists the codes.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{} ({})", self.message, self.code)
    }

    #[must_use]
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    #[must_use]
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.by = Some(by.into());
        self
    }

    #[must_use]
    pub fn lift(mut self, lift: impl Into<String>) -> Self {
        self.lift = Some(lift.into());
        self
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The same, which says what to do next in any case.
    #[must_use]
    pub fn with_next(self) -> Self {
        match self.next {
            Some(_) => self,
            None => {
                let next = self.code.next();
                self.next(next)
            }
        }
    }

    /// The one answer to "not yours" and "not there".
    #[must_use]
    pub fn no_such_job() -> Self {
        Self::new(Code::NotFound, "you have no job with this id")
            .next("`remit jobs`, or the tool job without an id, lists yours")
    }

    /// The one answer to a command that policy does not know and to one that the caller may not use.
    #[must_use]
    pub fn no_such_command(name: &str) -> Self {
        let shown = text::line(name.as_bytes(), caps::NAME);
        let message = format!("there is no command '{shown}' that you may use");
        Self::new(Code::NotFound, message)
            .object(shown)
            .next("`remit access`, or the tool access, lists those that you may use")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence())?;
        if let Some(next) = &self.next {
            write!(f, "; to go on: {next}")?;
        }
        if let Some(lift) = &self.lift {
            write!(f, "; to lift it: {lift}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_codes_are_listed_in_their_order() {
        let numbers = (0..u8::MAX).map_while(|number| postcard::from_bytes::<Code>(&[number]).ok());
        assert_eq!(numbers.collect::<Vec<_>>(), Code::ALL);
    }
}
