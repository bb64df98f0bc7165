//! Messages between the warden, the spawner and `remit-bus`, one a datagram. It decides nothing: `remit-bus` has the
//! table of permitted calls. A message that is not exactly one within its bounds is an error.

use serde::{Deserialize, Serialize};

use crate::frame::{self, FrameError};

/// Changes with each change of a message. All processes are of one release, which `remit-bus` checks.
pub const VERSION: u16 = 1;
pub const DATAGRAM: usize = 64 << 10;
/// Calls that `remit.toml` can add.
pub const CALLS: usize = 64;
/// Bytes of one call, `interface.Member`.
pub const CALL: usize = 255;
/// Names of refused calls that are reported for one job.
pub const REFUSED: usize = 4;
pub const REFUSED_NAME: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The first message, from the warden.
    Begin {
        version: u16,
        /// Calls that are permitted beside the table: `interface.Member`.
        calls: Vec<String>,
    },
    /// A seccomp listener, the only descriptor of the datagram. From the spawner, any number of times.
    Listener,
    /// The job with this uid has ended. Answer: [`Report::Ended`].
    End { uid: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It is confined and serves.
    Ready,
    /// The first connection of this uid. Sent before the connect(2) returns.
    Connected { uid: u32 },
    /// Answer to [`Order::End`], in order. Zeroes for an unknown uid.
    Ended {
        uid: u32,
        calls: u64,
        refused: u64,
        /// The first refused calls, each once: `interface.Member`.
        first: Vec<String>,
    },
}

impl Order {
    /// Decodes one message from all of `bytes`. Errors: [`FrameError::Malformed`], also above a bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let order = decode(bytes)?;
        match &order {
            Self::Begin { calls, .. }
                if calls.len() > CALLS || !calls.iter().all(|call| is_call(call)) =>
            {
                Err(FrameError::Malformed)
            }
            Self::Begin { .. } | Self::Listener | Self::End { .. } => Ok(order),
        }
    }

    /// Errors: [`FrameError::Malformed`] if [`Self::decode`] would refuse it.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let bytes = encode(self)?;
        Self::decode(&bytes).map(|_| bytes)
    }
}

impl Report {
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let report = decode(bytes)?;
        match &report {
            Self::Ended { first, .. }
                if first.len() > REFUSED || !first.iter().all(|name| is_shown(name)) =>
            {
                Err(FrameError::Malformed)
            }
            Self::Ready | Self::Connected { .. } | Self::Ended { .. } => Ok(report),
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let bytes = encode(self)?;
        Self::decode(&bytes).map(|_| bytes)
    }
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, FrameError> {
    match bytes.len() <= DATAGRAM {
        true => frame::decode(bytes),
        false => Err(FrameError::Malformed),
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    postcard::to_stdvec(message).map_err(|_| FrameError::Malformed)
}

/// Returns true for `interface.Member`: at least three names, of which the last is the member.
#[must_use]
pub fn is_call(text: &str) -> bool {
    let is_name = |name: &str| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.len() <= CALL && text.split('.').count() > 2 && text.split('.').all(is_name)
}

fn is_shown(name: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    name.len() <= REFUSED_NAME && (name == "?" || !name.is_empty() && name.bytes().all(is_safe))
}

/// Returns the name of a refused call as [`Report::Ended`] has it: truncated, and `?` for any other character.
#[must_use]
pub fn shown(name: &str) -> String {
    let start: String = name.chars().take(REFUSED_NAME).collect();
    match is_shown(&start) {
        true => start,
        false => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(calls: &[&str]) -> Order {
        let (version, calls) = (
            VERSION,
            calls.iter().map(|call| (*call).to_owned()).collect(),
        );
        Order::Begin { version, calls }
    }

    fn ended(first: &[&str]) -> Report {
        let first = first.iter().map(|name| (*name).to_owned()).collect();
        let (uid, calls, refused) = (u32::MAX, u64::MAX, 1);
        Report::Ended {
            uid,
            calls,
            refused,
            first,
        }
    }

    #[test]
    fn messages_within_bounds_survive() {
        let long = format!("a.{}.B", "x".repeat(CALL - 4));
        assert_eq!(long.len(), CALL);
        for order in [
            begin(&[]),
            begin(&["org.example.Foo.GetState"; CALLS]),
            begin(&[&long]),
            Order::Listener,
            Order::End { uid: 7 },
        ] {
            let bytes = order.encode().unwrap();
            assert_eq!(Order::decode(&bytes).unwrap(), order);
            assert!(Order::decode(&[&bytes[..], b"\0"].concat()).is_err());
        }
        let longest = "x".repeat(REFUSED_NAME);
        for report in [
            Report::Ready,
            Report::Connected { uid: 7 },
            ended(&[]),
            ended(&["a.B", "?", &longest, "_"]),
        ] {
            let bytes = report.encode().unwrap();
            assert_eq!(Report::decode(&bytes).unwrap(), report);
            assert!(Report::decode(&[&bytes[..], b"\0"].concat()).is_err());
        }
    }

    #[test]
    fn messages_beyond_bounds_are_refused() {
        let long = format!("a.{}.B", "x".repeat(CALL - 3));
        for order in [
            begin(&["org.example.Foo.GetState"; CALLS + 1]),
            begin(&[&long]),
            begin(&["org.Member"]),
            begin(&["a..B"]),
            begin(&["a.b.1"]),
            begin(&["a.b.*"]),
            begin(&[""]),
        ] {
            assert!(order.encode().is_err(), "{order:?}");
            assert!(
                Order::decode(&encode(&order).unwrap()).is_err(),
                "{order:?}"
            );
        }
        let long = "x".repeat(REFUSED_NAME + 1);
        for report in [
            ended(&["a.B"; REFUSED + 1]),
            ended(&[&long]),
            ended(&["a\n"]),
            ended(&["a?"]),
            ended(&[""]),
        ] {
            assert!(report.encode().is_err(), "{report:?}");
            assert!(Report::decode(&encode(&report).unwrap()).is_err());
        }
        assert!(Order::decode(&[]).is_err() && Report::decode(&[]).is_err());
        assert!(Order::decode(&vec![1; DATAGRAM + 1]).is_err());
    }

    #[test]
    fn names_of_refused_calls_are_bounded_and_plain() {
        for (name, expect) in [
            ("org.a.B", "org.a.B"),
            ("", "?"),
            ("a\u{202e}b", "?"),
            ("a b", "?"),
        ] {
            assert_eq!(shown(name), expect);
        }
        assert_eq!(shown(&"x".repeat(300)).len(), REFUSED_NAME);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_one_message_or_an_error(bytes: Vec<u8>) {
            if let Ok(order) = Order::decode(&bytes) {
                let again = order.encode().unwrap();
                assert_eq!(Order::decode(&again).unwrap(), order);
            }
            if let Ok(report) = Report::decode(&bytes) {
                let again = report.encode().unwrap();
                assert_eq!(Report::decode(&again).unwrap(), report);
            }
        }
    }
}
