//! What all requests for approval share: the key of their digests, the grants, limits, and comparisons of copies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_sys::Answer;

use super::digest::{Key, Parts, encode};
use super::grants::Grants;
use super::table::Request;
use crate::audit::rate_limit::RateWindow;
use crate::identity::peer::Subject;

/// Requests of one user within [`WITHIN`].
const ASKS: usize = 100;
/// Notifications about one user's changes within [`WITHIN`]. Without a limit, a user who withdraws and asks again could
/// keep people and job slots busy forever.
pub const NOTIFICATIONS: usize = caps::PENDING_PER_UID;
pub const WITHIN: Duration = Duration::from_secs(600);

/// A child compares copies with the originals.
#[derive(Debug)]
pub struct Comparing {
    pub request: u64,
    pub by: Subject,
    pub at: Vec<usize>,
    pub answer: Answer,
}

#[derive(Debug)]
pub struct Approvals {
    /// Part of every digest; known only to this process.
    key: Key,
    machine_id: String,
    pub comparing: BTreeMap<u64, Comparing>,
    pub grants: Grants,
    /// Limits requests for approval, per user.
    asks: RateWindow,
    /// Limits notifications to people.
    pub people: RateWindow,
}

impl Approvals {
    pub fn open(mut random: &File, grants: Grants) -> io::Result<Self> {
        let mut key = [0; 32];
        random.read_exact(&mut key)?;
        let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Ok(Self {
            key: Key(key),
            machine_id: machine_id.trim().to_owned(),
            comparing: BTreeMap::new(),
            grants,
            asks: RateWindow::new(ASKS, WITHIN),
            people: RateWindow::new(NOTIFICATIONS, WITHIN),
        })
    }

    /// A request is recorded before anybody grants anything, so unlimited requests could fill the audit log.
    pub fn check_ask_rate(&mut self, uid: u32) -> Result<(), Refusal> {
        if self.asks.take(uid, Instant::now()) {
            return Ok(());
        }
        let minutes = WITHIN.as_secs() / 60;
        let text = format!("you have asked for {ASKS} approvals within {minutes} minutes");
        Err(Refusal::new(Code::RateLimited, text)
            .next("stop asking; tell the person you work for what you need"))
    }

    pub fn encoded(&self, request: &Request) -> Vec<u8> {
        encode(&Parts {
            machine_id: &self.machine_id,
            key: &self.key,
            draft: &request.draft,
            files: &request.found.files,
            does: &request.found.does,
            rule: &request.pending.rule().to_string(),
            expires_ms: request.expires_ms,
        })
    }
}
