//! Resolves a path as the kernel does, and keeps what it passes: whoever can replace a link on the way decides where it
//! leads.

use std::collections::VecDeque;

use super::entry::{End, Entry, Kind, Way};
use super::{Machine, Seen};
use crate::path::FilePath;

/// As the kernel's MAXSYMLINKS.
const LINKS: usize = 40;

impl Machine {
    pub fn way(&self, path: &FilePath) -> Way {
        let mut links = Vec::new();
        let end = self.follow(path, &mut links).unwrap_or(End::Unknown);
        Way { links, end }
    }

    /// Returns what is at the end of a path, and its real path.
    pub fn entry(&self, path: &FilePath) -> Option<(FilePath, Entry)> {
        if self.is_spent() || self.is_late(path) {
            return None;
        }
        match self.way(path).end {
            End::There(end) => self.look(&end).entry().map(|entry| (end, entry)),
            End::Missing(_) | End::Unknown => None,
        }
    }

    fn follow(&self, path: &FilePath, links: &mut Vec<FilePath>) -> Option<End> {
        let mut at = FilePath::root();
        self.look(&at).entry()?;
        let mut left: VecDeque<Vec<u8>> = path.parts().map(<[u8]>::to_vec).collect();
        while let Some(part) = left.pop_front() {
            if part == b".." {
                at = at.parent().unwrap_or(at);
                continue;
            }
            self.pay(1);
            let next = at.join(&part)?;
            let entry = match self.look(&next) {
                Seen::There(entry) => entry,
                Seen::Missing => return Some(End::Missing(next)),
                Seen::Unknown => return Some(End::Unknown),
            };
            let Kind::Link(text) = &entry.kind else {
                at = next;
                continue;
            };
            if links.len() >= LINKS {
                self.unknown(path, "its way has too many links");
                return None;
            }
            if text.first() == Some(&b'/') {
                at = FilePath::root();
            }
            links.push(next);
            for part in text.rsplit(|byte| *byte == b'/') {
                if !part.is_empty() && part != b"." {
                    left.push_front(part.to_vec());
                }
            }
        }
        Some(End::There(at))
    }
}
