//! Arguments that are more than plain text: paths and secrets, which are opened inside the sandbox.

use std::ffi::CString;

use std::os::fd::OwnedFd;

use remit_policy::{ArgvElement, PassAs, PathIs};

pub const HIDDEN: &str = "***";

#[derive(Debug)]
pub struct ArgumentSlot {
    pub index: usize,
    /// The text before it in the same element.
    pub before: Vec<u8>,
    pub what: SlotWhat,
}

#[derive(Debug)]
pub enum SlotWhat {
    /// Opened beneath the directory `under`, without following a symbolic link.
    Path {
        under: CString,
        beneath: CString,
        is: PathIs,
        pass: Passed,
    },
    /// Passed as the path of a file that holds these bytes.
    Secret(Vec<u8>),
}

#[derive(Debug)]
pub enum Passed {
    Text,
    /// As the path of a descriptor that is opened inside the sandbox.
    Descriptor,
    /// The same, but of a sealed copy of the file, made when its approval was requested.
    Copy(OwnedFd),
}

/// Returns an element of argv as text, and a slot if it is more than text. Returns `None` for a NUL byte.
pub fn element(index: usize, input: ArgvElement) -> Option<(CString, Option<ArgumentSlot>)> {
    match input {
        ArgvElement::Text(text) => Some((CString::new(text).ok()?, None)),
        ArgvElement::Secret { before, value } => {
            let shown = [&before, HIDDEN.as_bytes()].concat();
            let what = SlotWhat::Secret(value);
            let slot = ArgumentSlot {
                index,
                before,
                what,
            };
            Some((CString::new(shown).ok()?, Some(slot)))
        }
        ArgvElement::Path {
            before,
            under,
            beneath,
            is,
            pass,
        } => {
            let slash = match (under.ends_with('/'), beneath.is_empty()) {
                (false, false) => "/",
                (true, _) | (_, true) => "",
            };
            let text = [
                &before,
                under.as_bytes(),
                slash.as_bytes(),
                beneath.as_bytes(),
            ]
            .concat();
            let what = SlotWhat::Path {
                under: CString::new(under).ok()?,
                beneath: CString::new(beneath).ok()?,
                is,
                pass: match pass {
                    PassAs::Path => Passed::Text,
                    PassAs::Descriptor => Passed::Descriptor,
                },
            };
            let slot = ArgumentSlot {
                index,
                before,
                what,
            };
            Some((CString::new(text).ok()?, Some(slot)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(before: &str, under: &str, beneath: &str) -> ArgvElement {
        ArgvElement::Path {
            before: before.into(),
            under: under.into(),
            beneath: beneath.into(),
            is: PathIs::File,
            pass: PassAs::Path,
        }
    }

    #[test]
    fn element_shows_path_and_hides_secret() {
        let secret = ArgvElement::Secret {
            before: b"--key=".to_vec(),
            value: b"hunter2".to_vec(),
        };
        for (input, want, is_slot) in [
            (ArgvElement::Text(b"-t".to_vec()), "-t", false),
            (path("", "/etc/nginx", "a/b"), "/etc/nginx/a/b", true),
            (path("--file=", "/", "a"), "--file=/a", true),
            (path("", "/srv", ""), "/srv", true),
            (path("", "/", ""), "/", true),
            (secret, "--key=***", true),
        ] {
            let (text, slot) = element(3, input).unwrap();
            assert_eq!(text.to_str().unwrap(), want);
            assert_eq!(slot.map(|slot| slot.index), is_slot.then_some(3), "{want}");
        }
        assert!(element(0, ArgvElement::Text(b"a\0b".to_vec())).is_none());
    }
}
