//! Limits the resource use of one uid over all its connections: request rate, by a token bucket; buffers; concurrent
//! work.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::token_bucket::TokenBucket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::repeated_denials::RefusalCounter;

const KEPT: usize = 1024;

#[derive(Debug)]
pub struct Account {
    rate: RefCell<TokenBucket>,
    buffered: Cell<usize>,
    asks: Semaphore,
    host: Semaphore,
    search: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    background: Semaphore,
    pub denials: RefCell<RefusalCounter>,
}

#[derive(Debug)]
pub struct Buffered {
    account: Rc<Account>,
    bytes: usize,
}

impl Drop for Buffered {
    fn drop(&mut self) {
        let now = self.account.buffered.get();
        self.account.buffered.set(now.saturating_sub(self.bytes));
    }
}

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            rate: RefCell::new(TokenBucket::per_second(
                caps::REQUESTS_PER_SECOND,
                caps::REQUEST_BURST,
                now,
            )),
            buffered: Cell::new(0),
            asks: Semaphore::new(caps::ASKS_PER_UID),
            host: Semaphore::new(1),
            search: Arc::new(Semaphore::new(1)),
            answers: Arc::new(Semaphore::new(1)),
            background: Semaphore::new(1),
            denials: RefCell::default(),
        }
    }

    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.asks.acquire().await.ok()
    }

    pub async fn host_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.host.acquire().await.ok()
    }

    pub async fn search_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.search).acquire_owned().await.ok()
    }

    pub async fn answer_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.answers).acquire_owned().await.ok()
    }

    pub async fn background_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.background.acquire().await.ok()
    }

    /// Pays for a request of `bytes`: one token, and one more for each 64 KiB.
    /// Errors: Returns the time until there are enough tokens.
    pub fn pay(&self, bytes: usize) -> Result<(), Duration> {
        let cost = 1 + (bytes / (64 << 10)) as u64;
        self.rate.borrow_mut().take(cost, Instant::now())
    }

    pub fn buffer(self: &Rc<Self>, bytes: usize) -> Option<Buffered> {
        let all = self.buffered.get().checked_add(bytes)?;
        if all > caps::BUFFERS_PER_UID {
            return None;
        }
        self.buffered.set(all);
        Some(Buffered {
            account: Rc::clone(self),
            bytes,
        })
    }
}

#[derive(Debug, Default)]
pub struct Accounts(RefCell<HashMap<u32, Rc<Account>>>);

impl Accounts {
    /// Returns the account of `uid`. It outlives its connections, so a reconnect refills nothing.
    pub fn of(&self, uid: u32) -> Rc<Account> {
        let now = Instant::now();
        let mut accounts = self.0.borrow_mut();
        if accounts.len() >= KEPT {
            accounts.retain(|_, account| {
                Rc::strong_count(account) > 1 || !account.rate.borrow().is_full(now)
            });
        }
        Rc::clone(
            accounts
                .entry(uid)
                .or_insert_with(|| Rc::new(Account::new(now))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_end_at_the_cap_and_come_back() {
        let account = Accounts::default().of(1);
        let all = account.buffer(caps::BUFFERS_PER_UID);
        assert!(all.is_some() && account.buffer(1).is_none());
        drop(all);
        assert!(account.buffer(caps::BUFFERS_PER_UID + 1).is_none());
        assert!(account.buffer(1).is_some());
    }

    #[test]
    fn uid_shares_account_large_requests_cost_more() {
        let accounts = Accounts::default();
        assert!(Rc::ptr_eq(&accounts.of(1), &accounts.of(1)));
        let account = accounts.of(2);
        let paid = (0..1000)
            .take_while(|_| account.pay(4 << 20).is_ok())
            .count();
        assert!((6..10).contains(&paid), "{paid}");
        assert!(accounts.of(1).pay(0).is_ok());
    }
}
