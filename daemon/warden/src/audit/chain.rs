//! The chain: every record carries its number and the hash of the one before.
//!
//! The head (last number and hash) is kept in a root-only file, so that a
//! restart goes on where the last daemon ended, and a cut tail shows.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::record::Record;
use crate::lock::private_file;

/// Number and hash of the last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first record ever.
    pub seq: u64,
    /// Its hash; zeros before the first record ever.
    pub hash: [u8; 32],
}

/// A record with its place in the chain: all fields in the order in which they were hashed.
#[derive(Debug)]
pub struct Linked {
    /// Name without prefix, value.
    pub fields: Vec<(&'static str, String)>,
    head: Head,
}

impl Linked {
    /// The record's number.
    pub fn seq(&self) -> u64 {
        self.head.seq
    }
}

/// The chain's head, in memory and on disk.
#[derive(Debug)]
pub struct Chain {
    head: Head,
    file: File,
    /// The file has the head.
    kept: bool,
}

const SIZE: usize = 40;

impl Chain {
    /// Opens or makes the head's file.
    ///
    /// # Errors
    /// It cannot be opened, or holds something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = private_file(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(SIZE as u64 + 1).read_to_end(&mut bytes)?;
        let head = match (
            bytes.first_chunk::<8>(),
            bytes.get(8..).map(TryInto::try_into),
        ) {
            (None, _) if bytes.is_empty() => Head {
                seq: 0,
                hash: [0; 32],
            },
            (Some(seq), Some(Ok(hash))) => Head {
                seq: u64::from_le_bytes(*seq),
                hash,
            },
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is no head of an audit chain",
                ));
            }
        };
        let mut chain = Self {
            head,
            file,
            kept: false,
        };
        // The bytes are allotted now, not when the disk is full.
        chain.keep()?;
        Ok(chain)
    }

    /// Makes sure that the file has the head, before anything is added.
    ///
    /// # Errors
    /// It cannot be written: a record more, and a restart would fork the chain by two.
    pub fn settle(&mut self) -> io::Result<()> {
        if self.kept { Ok(()) } else { self.keep() }
    }

    /// Gives a record its place. The head moves only with [`Chain::commit`].
    pub fn link(&self, record: &Record) -> Linked {
        let seq = self.head.seq.wrapping_add(1);
        let mut fields = Vec::with_capacity(record.fields.len() + 4);
        fields.push(("EVENT", record.event.name().to_owned()));
        fields.push(("SEQ", seq.to_string()));
        fields.push(("PREV", hex(&self.head.hash)));
        fields.extend(record.fields.iter().cloned());
        let hash = hash(&record.message, &fields);
        fields.push(("HASH", hex(&hash)));
        Linked {
            fields,
            head: Head { seq, hash },
        }
    }

    /// The record is where it belongs: it is the head now.
    ///
    /// # Errors
    /// The head's file cannot be written; the head in memory moved all the same.
    pub fn commit(&mut self, linked: &Linked) -> io::Result<()> {
        self.head = linked.head;
        self.keep()
    }

    fn keep(&mut self) -> io::Result<()> {
        self.kept = false;
        let mut bytes = [0; SIZE];
        let (seq, hash) = bytes.split_at_mut(8);
        seq.copy_from_slice(&self.head.seq.to_le_bytes());
        hash.copy_from_slice(&self.head.hash);
        self.file.write_all_at(&bytes, 0)?;
        self.kept = true;
        Ok(())
    }
}

/// SHA-256 over the sentence and all fields but HASH, each with its length before it.
fn hash(message: &str, fields: &[(&'static str, String)]) -> [u8; 32] {
    let mut sha = Sha256::new();
    let mut part = |bytes: &[u8]| {
        sha.update((bytes.len() as u64).to_le_bytes());
        sha.update(bytes);
    };
    part(message.as_bytes());
    for (name, value) in fields {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    sha.finalize().into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::audit::record::Event;

    fn value<'a>(linked: &'a Linked, name: &str) -> &'a str {
        let found = linked.fields.iter().find(|(n, _)| *n == name);
        &found.unwrap().1
    }

    #[test]
    fn each_record_names_the_one_before_also_after_a_restart() {
        let dir = std::env::temp_dir().join(format!("remit-chain-{}", std::process::id()));
        let record = Record::new(Event::Start, "x").field("USER", "root");
        let mut chain = Chain::open(&dir).unwrap();
        let first = chain.link(&record);
        chain.commit(&first).unwrap();
        let again = chain.link(&record);
        assert_eq!(value(&again, "PREV"), value(&first, "HASH"));
        assert_ne!(value(&again, "HASH"), value(&first, "HASH"));
        drop(chain);
        let chain = Chain::open(&dir).unwrap();
        assert_eq!(value(&chain.link(&record), "SEQ"), "2");
        assert_eq!(value(&chain.link(&record), "PREV"), value(&first, "HASH"));
        // A head that cannot be kept moves in memory; nothing more is added until it can.
        let mut chain = Chain {
            file: File::open(&dir).unwrap(),
            ..chain
        };
        let second = chain.link(&record);
        assert!(chain.commit(&second).is_err() && chain.settle().is_err());
        assert_eq!(value(&chain.link(&record), "PREV"), value(&second, "HASH"));
        chain.file = OpenOptions::new().write(true).open(&dir).unwrap();
        chain.settle().unwrap();
        let chain = Chain::open(&dir).unwrap();
        assert_eq!(value(&chain.link(&record), "SEQ"), "3");
        std::fs::write(&dir, "short").unwrap();
        assert!(Chain::open(&dir).is_err());
        std::fs::remove_file(&dir).unwrap();
    }
}
