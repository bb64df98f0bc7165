//! Short record of what each user did, not an audit log: nothing depends on it, so a failure is only logged.

mod frame;
mod page;
mod store;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_link::{HistoryMark, HistoryRecord, Owner, ToWarden};
use remit_wire::{HistoryPage, HistoryQuery};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::runtime::threads::run_blocking;
use crate::state::Broker;

use page::HistoryScope;
use store::{HistoryFiles, HistoryStore};

/// The warden forgets stored entries this many at a time: a message for each would wake it once more for each job.
const BATCH: u64 = 64;
/// Entries that could not be written: as many as the warden keeps for the next broker.
const UNWRITTEN: usize = 4096;
/// Time until files that could not be opened or written are tried again: the disk may have been full.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct History {
    /// `None`: this broker keeps no history.
    dir: Option<PathBuf>,
    store: RefCell<Result<HistoryStore, String>>,
    /// Entries since the last [`Self::store`] that returned a number.
    unreported: Cell<u64>,
    /// Entries since one that could not be written, oldest first. None of them is reported as stored.
    unwritten: RefCell<VecDeque<HistoryRecord>>,
    failing: Cell<bool>,
    unreadable: Cell<bool>,
    reported_damage: Cell<bool>,
}

impl History {
    pub fn open(dir: Option<&Path>) -> Self {
        let store = match dir {
            Some(dir) => HistoryStore::open(dir),
            None => Err("it has no directory".to_owned()),
        };
        if let (Some(_), Err(why)) = (dir, &store) {
            tracing::warn!("cannot keep a history: {why}");
        }
        Self {
            dir: dir.map(Path::to_path_buf),
            store: RefCell::new(store),
            unreported: Cell::new(0),
            unwritten: RefCell::default(),
            failing: Cell::new(false),
            unreadable: Cell::new(false),
            reported_damage: Cell::new(false),
        }
    }

    /// Returns true if entries can be stored, or if this broker keeps none.
    pub fn is_open(&self) -> bool {
        self.dir.is_none() || self.store.borrow().is_ok()
    }

    /// Tries to open the files again and again. Meanwhile the warden sends no entries, so none is lost.
    pub async fn until_open(&self) {
        while let Some(dir) = self.dir.as_deref().filter(|_| !self.is_open()) {
            sleep(RETRY).await;
            let store = HistoryStore::open(dir);
            if store.is_ok() {
                tracing::info!("the history is kept again");
            }
            *self.store.borrow_mut() = store;
        }
    }

    pub fn newest(&self) -> Option<HistoryMark> {
        self.store.borrow().as_ref().ok()?.newest()
    }

    /// Stores an entry. Returns its number if the warden must learn that all up to it are stored.
    pub fn store(&self, record: &HistoryRecord) -> Option<u64> {
        if !self.add(record) {
            return None;
        }
        let unreported = (self.unreported.get() + 1) % BATCH;
        self.unreported.set(unreported);
        (unreported == 0).then_some(record.seq)
    }

    /// Returns false if it is to be written later.
    fn add(&self, record: &HistoryRecord) -> bool {
        let mut unwritten = self.unwritten.borrow_mut();
        if unwritten.is_empty() && self.write(record) {
            return true;
        }
        if unwritten.len() >= UNWRITTEN {
            unwritten.pop_front();
        }
        unwritten.push_back(record.clone());
        false
    }

    fn write(&self, record: &HistoryRecord) -> bool {
        let mut store = self.store.borrow_mut();
        // A broker without a directory keeps none.
        let Ok(store) = &mut *store else { return true };
        let written = store.add(record);
        let is_failing = written.is_err();
        let was_failing = self.failing.replace(is_failing);
        match written {
            Ok(()) if was_failing => tracing::info!("the history is written again"),
            Ok(()) => {}
            Err(error) => {
                if !was_failing {
                    tracing::warn!("the history cannot be written (the audit log is): {error}");
                }
                // No later try can write it.
                return error.kind() == io::ErrorKind::InvalidInput;
            }
        }
        true
    }

    /// Returns true if there are entries that [`Self::until_written`] has to write.
    pub fn is_behind(&self) -> bool {
        !self.unwritten.borrow().is_empty()
    }

    /// Tries to write the entries again and again. Returns the number of the last one. If the broker ends before, the warden
    /// sends them to the next one.
    pub async fn until_written(&self) -> Option<u64> {
        loop {
            sleep(RETRY).await;
            let mut unwritten = self.unwritten.borrow_mut();
            while unwritten.front().is_some_and(|record| self.write(record)) {
                let written = unwritten.pop_front();
                if unwritten.is_empty() {
                    return written.map(|record| record.seq);
                }
            }
        }
    }

    fn files(&self) -> Result<HistoryFiles, String> {
        let store = self.store.borrow();
        let store = store.as_ref().map_err(Clone::clone)?;
        store.files().map_err(|error| error.to_string())
    }

    /// Answers a user's question. Only the log has the reason of a failure, because it names paths and disks.
    pub async fn own_page(
        &self,
        owner: Owner,
        query: HistoryQuery,
    ) -> Result<HistoryPage, Refusal> {
        let page = self.page(HistoryScope::Own(owner), query).await;
        page.map_err(|_| unread("the history cannot be read".to_owned()))
    }

    pub async fn any_page(
        &self,
        user: Option<String>,
        query: HistoryQuery,
    ) -> Result<HistoryPage, Refusal> {
        let scope = user.map_or(HistoryScope::All, HistoryScope::Named);
        let page = self.page(scope, query).await;
        page.map_err(|why| unread(format!("the history cannot be read: {why}")))
    }

    async fn page(&self, scope: HistoryScope, query: HistoryQuery) -> Result<HistoryPage, String> {
        let found = match self.files() {
            Ok(files) => run_blocking(move || files.page(&scope, &query))
                .await
                .unwrap_or_else(|| Err("its reader failed".to_owned())),
            Err(why) => Err(why),
        };
        if let Err(why) = &found
            && !self.unreadable.get()
        {
            tracing::warn!("the history cannot be read: {why}");
        }
        self.unreadable.set(found.is_err());
        let found = found?;
        if found.is_damaged && !self.reported_damage.replace(true) {
            tracing::warn!(
                "part of the history is damaged and cannot be read; the next start moves it away"
            );
        }
        Ok(found.page)
    }
}

impl Broker {
    pub fn store(self: &Rc<Self>, entry: &HistoryRecord) {
        let was_behind = self.history.is_behind();
        if let Some(seq) = self.history.store(entry) {
            self.warden.tell(&ToWarden::HistoryStored { seq });
        }
        if self.history.is_behind() && !was_behind {
            let broker = Rc::clone(self);
            spawn_local(async move {
                if let Some(seq) = broker.history.until_written().await {
                    broker.warden.tell(&ToWarden::HistoryStored { seq });
                }
            });
        }
    }
}

fn unread(text: String) -> Refusal {
    Refusal::new(Code::NotStarted, text)
        .lift("the daemon's log has the reason; the audit log is complete")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::frame::tests::record;
    use super::*;
    use crate::output::spool::tests::Scratch;

    #[tokio::test(start_paused = true)]
    async fn files_that_could_not_be_opened_are_tried_again() {
        let scratch = Scratch::new();
        let first = scratch.path.join("log.1");
        fs::create_dir(&first).unwrap();
        let history = History::open(Some(&scratch.path));
        assert!(!history.is_open());
        let freed = async {
            sleep(3 * RETRY).await;
            fs::remove_dir(&first).unwrap();
        };
        tokio::join!(history.until_open(), freed);
        assert!(history.is_open());
        let seqs = 1..=BATCH;
        let stored = seqs.filter_map(|seq| history.store(&record(seq, 1, "alice")));
        assert_eq!(stored.collect::<Vec<_>>(), [BATCH]);
        let query = HistoryQuery {
            limit: 1,
            ..HistoryQuery::default()
        };
        let page = history.any_page(None, query).await.unwrap();
        assert_eq!(page.entries[0].seq, BATCH);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_could_not_be_written_are_written_later() {
        const LAST: u64 = 1500;
        let scratch = Scratch::new();
        let history = History::open(Some(&scratch.path));
        // The second file cannot be made once the first is full.
        let second = scratch.path.join("log.2");
        fs::create_dir(&second).unwrap();
        let long = |seq| HistoryRecord {
            cause: Some("c".repeat(1000)),
            ..record(seq, 1, "alice")
        };
        let reported = (1..=LAST).filter_map(|seq| history.store(&long(seq)));
        let reported: Vec<u64> = reported.collect();
        assert!(history.is_behind());
        let first = history.unwritten.borrow()[0].seq;
        assert_eq!(reported.last(), Some(&((first - 1) / BATCH * BATCH)));
        let freed = async {
            sleep(3 * RETRY).await;
            fs::remove_dir(&second).unwrap();
        };
        let (written, ()) = tokio::join!(history.until_written(), freed);
        assert_eq!((written, history.is_behind()), (Some(LAST), false));
        let (mut before, mut seqs) = (None, Vec::new());
        loop {
            let query = HistoryQuery {
                before,
                limit: 100,
                ..HistoryQuery::default()
            };
            let page = history.any_page(None, query).await.unwrap();
            seqs.extend(page.entries.iter().map(|entry| entry.seq));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert!(seqs.into_iter().eq((1..=LAST).rev()), "none is lost");
    }
}
