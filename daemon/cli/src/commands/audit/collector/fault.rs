//! What is wrong with the records of a host, in words.

use remit_trail::Hash;

/// A fault of one host's records.
#[derive(Debug)]
pub struct Fault {
    pub kind: &'static str,
    pub machine: Option<String>,
    pub seq: u64,
    pub last: u64,
    pub position: String,
    pub text: String,
    pub cause: Option<String>,
    /// Of a gap: the hash of the record before it, and the one that the record after it names.
    pub links: Option<(Hash, Hash)>,
}

impl Fault {
    pub fn new(kind: &'static str, machine: &str, seq: u64, last: u64, text: String) -> Self {
        Self {
            kind,
            machine: Some(machine.to_owned()),
            seq,
            last,
            position: String::new(),
            text,
            cause: None,
            links: None,
        }
    }

    pub fn of_host(kind: &'static str, text: String) -> Self {
        Self {
            machine: None,
            ..Self::new(kind, "", 0, 0, text)
        }
    }
}
