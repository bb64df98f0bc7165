//! Arguments that are not plain text: they become what they are inside the sandbox.

use std::ffi::CString;

use std::os::fd::OwnedFd;

use remit_confine::PathIs;
use remit_policy::{Given, Pass};

/// Stands in lists and records for what nobody is to read.
pub const HIDDEN: &str = "***";

/// One of them.
#[derive(Debug)]
pub struct Slot {
    /// Which element of the argv.
    pub index: usize,
    /// What stands before it in that element.
    pub before: Vec<u8>,
    /// What it is.
    pub what: SlotWhat,
}

/// What becomes of it.
#[derive(Debug)]
pub enum SlotWhat {
    /// Opened beneath a directory, without a link on the way.
    Path {
        /// The directory.
        under: CString,
        /// The way from there.
        beneath: CString,
        /// What must be there.
        is: PathIs,
        /// How the program gets it.
        pass: Passed,
    },
    /// The path of a file that holds these bytes.
    Secret(Vec<u8>),
}

/// How a program gets a path.
#[derive(Debug)]
pub enum Passed {
    /// As text.
    Text,
    /// As the path of a descriptor that is opened inside.
    Descriptor,
    /// The same, of a sealed copy of the file as it was when somebody was asked to approve it.
    Copy(OwnedFd),
}

/// An element of an argv as text, with what becomes of it where that is not all. `None`: a NUL byte.
pub fn element(index: usize, given: Given) -> Option<(CString, Option<Slot>)> {
    match given {
        Given::Text(text) => Some((CString::new(text).ok()?, None)),
        Given::Secret { before, value } => {
            let shown = [&before, HIDDEN.as_bytes()].concat();
            let what = SlotWhat::Secret(value);
            let slot = Slot {
                index,
                before,
                what,
            };
            Some((CString::new(shown).ok()?, Some(slot)))
        }
        Given::Path {
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
                is: match is {
                    remit_policy::PathIs::File => PathIs::File,
                    remit_policy::PathIs::Directory => PathIs::Directory,
                    remit_policy::PathIs::Either => PathIs::Either,
                },
                pass: match pass {
                    Pass::Path => Passed::Text,
                    Pass::Descriptor => Passed::Descriptor,
                },
            };
            let slot = Slot {
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

    fn path(before: &str, under: &str, beneath: &str) -> Given {
        Given::Path {
            before: before.into(),
            under: under.into(),
            beneath: beneath.into(),
            is: remit_policy::PathIs::File,
            pass: Pass::Path,
        }
    }

    #[test]
    fn an_element_shows_the_whole_path_and_no_secret() {
        let secret = Given::Secret {
            before: b"--key=".to_vec(),
            value: b"hunter2".to_vec(),
        };
        for (given, want, is_slot) in [
            (Given::Text(b"-t".to_vec()), "-t", false),
            (path("", "/etc/nginx", "a/b"), "/etc/nginx/a/b", true),
            (path("--file=", "/", "a"), "--file=/a", true),
            (path("", "/srv", ""), "/srv", true),
            (path("", "/", ""), "/", true),
            (secret, "--key=***", true),
        ] {
            let (text, slot) = element(3, given).unwrap();
            assert_eq!(text.to_str().unwrap(), want);
            assert_eq!(slot.map(|slot| slot.index), is_slot.then_some(3), "{want}");
        }
        assert!(element(0, Given::Text(b"a\0b".to_vec())).is_none());
    }
}
