//! The paths that a change of files changes, for the program that describes a command which follows it: what that finds on
//! the machine is of the time before the change.

use serde::{Deserialize, Serialize};

use crate::frame;

/// Bytes of all of them, encoded.
pub const BYTES: u64 = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedPath {
    /// Absolute, without links in its parents.
    pub path: Vec<u8>,
    pub becomes: Becomes,
    /// Generators of the service manager make units of it: systemd.generator(7).
    pub is_for_generators: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Becomes {
    /// A file; with its bytes if they are known and may be those of a unit.
    File(Option<Vec<u8>>),
    /// A symbolic link; with its target if that is known.
    Link(Option<Vec<u8>>),
    Directory,
    /// What it was, with another owner or mode.
    Same,
    Gone,
}

#[must_use]
pub fn encode(paths: &[ChangedPath]) -> Vec<u8> {
    // Writing to memory cannot fail. No bytes at all would be refused.
    postcard::to_stdvec(paths).unwrap_or_default()
}

#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<ChangedPath>> {
    frame::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_paths_are_read_back_whole_or_not_at_all() {
        let paths = vec![
            ChangedPath {
                path: b"/etc/systemd/system/a.service".to_vec(),
                becomes: Becomes::File(Some(b"[Unit]\n".to_vec())),
                is_for_generators: false,
            },
            ChangedPath {
                path: b"/etc/\xff".to_vec(),
                becomes: Becomes::Gone,
                is_for_generators: true,
            },
        ];
        let bytes = encode(&paths);
        assert_eq!(decode(&bytes), Some(paths));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None);
        }
        assert_eq!(decode(&[&bytes[..], b"x"].concat()), None);
    }
}
