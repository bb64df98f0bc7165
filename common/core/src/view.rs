//! What a view leaves after its job, as remit-spawner lays it out and remit-extract reads it: a read-only tree of mounts.
//! `view` is all as the job saw it, but for its private directories.

use serde::{Deserialize, Serialize};

use crate::frame;

/// Ids of owners and groups in a view, from 0: those that accounts and packages of a distribution use.
pub const IDS: u32 = 1 << 16;
/// Ranges of that many ids that views have. The uid of a job, divided by it, leaves the number of its range: no two jobs
/// whose uids leave the same may have a view at the same time.
pub const RANGES: u32 = 16_000;
/// Directories that are a view's own, with what is mounted beneath.
pub const PRIVATE: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "var/tmp"];
/// The file with the encoded [`Index`].
pub const INDEX: &str = "index";
pub const VIEW: &str = "view";
/// Directory with the file [`ASKED`], which the job wrote.
pub const ACTS: &str = "area/acts";
/// What was asked of the service manager, which a view does not have: a verb of systemctl(1) and a unit in each line.
pub const ASKED: &str = "asked";

/// Directory of what was written to a mount, by the number of its point.
#[must_use]
pub fn upper(point: usize) -> String {
    format!("area/{point}/up")
}

/// Directory of the layer that hides, above the machine's own one. Its root is made as that of [`upper`], and no job can change it.
#[must_use]
pub fn mask(point: usize) -> String {
    format!("mask/{point}")
}

/// The machine's own directory.
#[must_use]
pub fn lower(point: usize) -> String {
    format!("low/{point}")
}

/// A program of ours in place of one that asks the service manager: it writes to [`ASKED`].
#[derive(Clone, Copy, Debug)]
pub struct StandIn {
    /// Relative to the root.
    pub path: &'static str,
    /// The file of the machine without which no program looks for it.
    pub needs: &'static str,
    pub text: &'static [u8],
}

/// Mode of a stand-in, which is of root.
pub const STAND_IN_MODE: u32 = 0o755;
const SYSTEMCTL: &[u8] = include_bytes!("stand_ins/systemctl");

pub const STAND_INS: [StandIn; 3] = [
    StandIn {
        path: "usr/bin/systemctl",
        needs: "usr/bin/systemctl",
        text: SYSTEMCTL,
    },
    StandIn {
        path: "bin/systemctl",
        needs: "bin/systemctl",
        text: SYSTEMCTL,
    },
    StandIn {
        path: "usr/sbin/policy-rc.d",
        needs: "usr/sbin/invoke-rc.d",
        text: include_bytes!("stand_ins/policy-rc.d"),
    },
];

/// Paths are relative to the root, which is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// When the view was made: nanoseconds since 1970.
    pub started_ns: i128,
    pub points: Vec<Point>,
    /// What the job's user may not read. Nothing beneath it is listed.
    pub hidden: Vec<Vec<u8>>,
    /// Directories of that kind in which the job could make names: it saw them empty.
    pub emptied: Vec<Vec<u8>>,
}

/// A mount point of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub at: Vec<u8>,
    /// Shown by an overlay. Others have none of [`upper`], [`mask`] and [`lower`].
    pub is_copied: bool,
}

impl Index {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail. An index without its bytes would be refused.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        frame::decode(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_read_back_whole_or_not_at_all() {
        let index = Index {
            started_ns: 1_700_000_000_000_000_000,
            points: vec![Point {
                at: Vec::new(),
                is_copied: true,
            }],
            hidden: vec![b"root".to_vec()],
            emptied: vec![b"etc/ssl/private".to_vec()],
        };
        let bytes = index.encode();
        assert_eq!(Index::decode(&bytes), Some(index));
        assert_eq!(Index::decode(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Index::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Index::decode(&[]), None);
    }
}
