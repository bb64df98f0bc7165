//! Signatures of approvers: what a rule asks for, what a key reports, and the bounds of both.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Namespace of the signatures (ssh-keygen(1), `-n`). A signature that was made for something else is not an approval.
pub const NAMESPACE: &str = "approve@remit";
/// Bytes of a signature, as ssh-keygen prints it. Those of ECDSA keys with an application's name have about 500.
pub const SIGNATURE: usize = 1024;
/// Bytes of the text that is signed.
pub const STATEMENT: usize = 1024;

/// What an approver's signature has to prove: `approval = { signed = "touch" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signed {
    /// A key of the approver has signed.
    Key,
    /// It is a security key, and somebody touched it.
    Touch,
    /// The security key has also verified who touched it, by a PIN or a finger.
    Verify,
}

impl Signed {
    pub const ALL: [Self; 3] = [Self::Key, Self::Touch, Self::Verify];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Touch => "touch",
            Self::Verify => "verify",
        }
    }

    /// For people: `a signature by a security key that was touched`.
    #[must_use]
    pub const fn asked(self) -> &'static str {
        match self {
            Self::Key => "a signature",
            Self::Touch => "a signature by a security key that was touched",
            Self::Verify => "a signature by a security key that verified its user",
        }
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the security key reports with its signature (PROTOCOL.u2f of OpenSSH). The signature covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    pub flags: u8,
    pub counter: u32,
}

impl Touch {
    pub const TOUCHED: u8 = 1;
    pub const VERIFIED: u8 = 4;

    const fn has(self, flag: u8) -> bool {
        self.flags & flag == flag
    }
}

/// Returns whether a signature proves what is asked for. `touch`: absent for a key that is a file.
///
/// # Errors
/// Says what is missing.
pub const fn proves(touch: Option<Touch>, asked: Signed) -> Result<(), &'static str> {
    let Some(touch) = touch else {
        return match asked {
            Signed::Key => Ok(()),
            Signed::Touch | Signed::Verify => Err("it is not by a security key"),
        };
    };
    match asked {
        Signed::Key => Ok(()),
        Signed::Touch | Signed::Verify if !touch.has(Touch::TOUCHED) => {
            Err("nobody touched the security key")
        }
        Signed::Verify if !touch.has(Touch::VERIFIED) => {
            Err("the security key did not verify its user (by a PIN or a finger)")
        }
        Signed::Touch | Signed::Verify => Ok(()),
    }
}

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// Characters of a line, as ssh-keygen(1) writes them.
const COLUMNS: usize = 70;

/// Returns the base64 of a signature as one line: so a record has it.
#[must_use]
pub fn body(signature: &str) -> String {
    let lines = signature.lines().map(str::trim);
    lines.filter(|line| !line.starts_with("-----")).collect()
}

/// Returns a signature as ssh-keygen(1) prints it, from its [`body`].
#[must_use]
pub fn armored(body: &str) -> String {
    let mut text = format!("{BEGIN}\n");
    for (at, c) in body.chars().enumerate() {
        if at > 0 && at % COLUMNS == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text + "\n" + END + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_of_a_record_is_printed_again() {
        for length in [1, 69, 70, 71, 140] {
            let kept = "A".repeat(length);
            let text = armored(&kept);
            assert_eq!(body(&text), kept);
            assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
            assert_eq!(text.lines().count(), 2 + length.div_ceil(COLUMNS));
        }
    }

    #[test]
    fn flags_are_compared_with_what_is_asked() {
        let sk = |flags| Some(Touch { flags, counter: 1 });
        for (touch, proven) in [
            (None, [true, false, false]),
            (sk(0), [true, false, false]),
            (sk(1), [true, true, false]),
            (sk(4), [true, false, false]),
            (sk(5), [true, true, true]),
            (sk(0xff), [true, true, true]),
            (sk(0xfa), [true, false, false]),
        ] {
            let found = Signed::ALL.map(|asked| proves(touch, asked).is_ok());
            assert_eq!(found, proven, "{touch:?}");
        }
    }
}
