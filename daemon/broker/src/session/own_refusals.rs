//! Reports to the warden what the broker itself refuses in one session: one by one up to a rate, then by count. It must
//! leave out none, because the audit log and the limits of refusals have only what is reported here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_common::token_bucket::TokenBucket;
use remit_link::ToWarden;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::warden_link::Warden;

/// Reports of one refusal: per second, and burst.
const RATE: (u32, u32) = (2, 5);
/// Maximum time until counted refusals are reported.
const DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct OwnRefusals {
    session: u64,
    rate: RefCell<TokenBucket>,
    counted: RefCell<HashMap<Code, u32>>,
    has_counted: Notify,
}

impl OwnRefusals {
    pub fn new(session: u64) -> Self {
        Self {
            session,
            rate: RefCell::new(TokenBucket::per_second(RATE.0, RATE.1, Instant::now())),
            counted: RefCell::default(),
            has_counted: Notify::new(),
        }
    }

    pub fn report(&self, warden: &Warden, refusal: &Refusal) {
        if self.rate.borrow_mut().take(1, Instant::now()).is_ok() {
            return warden.tell(&ToWarden::Refused {
                session: self.session,
                refusal: refusal.clone(),
            });
        }
        let mut counted = self.counted.borrow_mut();
        let count = counted.entry(refusal.code).or_default();
        *count = count.saturating_add(1);
        self.has_counted.notify_one();
    }

    /// Reports the counts, again and again. Never returns.
    pub async fn report_counts(&self, warden: &Warden) {
        loop {
            self.has_counted.notified().await;
            sleep(DELAY).await;
            self.flush(warden);
        }
    }

    /// Reports the counts so far. The session's end needs it, because the warden counts nothing for a closed session.
    pub fn flush(&self, warden: &Warden) {
        for (code, count) in self.counted.take() {
            warden.tell(&ToWarden::MoreRefused {
                session: self.session,
                code,
                count,
            });
        }
    }
}
