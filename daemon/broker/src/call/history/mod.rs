//! Short record of what each user did, not an audit log: nothing depends on it, so a failure is only logged.

mod frame;
mod page;
mod store;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_link::{HistoryMark, HistoryRecord, Owner};
use remit_wire::{HistoryPage, HistoryQuery};

use tokio::time::sleep;

use crate::runtime::threads::run_blocking;

use page::HistoryScope;
use store::{HistoryFiles, HistoryStore};

/// The warden forgets stored entries this many at a time: a message for each would wake it once more for each job.
const BATCH: u64 = 64;
/// Time until files that could not be opened are tried again: the disk may have been full.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct History {
    /// `None`: this broker keeps no history.
    dir: Option<PathBuf>,
    store: RefCell<Result<HistoryStore, String>>,
    /// Entries since the last [`Self::store`] that returned a number.
    unreported: Cell<u64>,
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
        let mut store = self.store.borrow_mut();
        if let Ok(store) = &mut *store {
            let written = store.add(record);
            let is_failing = written.is_err();
            if let Err(error) = written
                && !self.failing.get()
            {
                tracing::warn!("the history cannot be written (the audit log is): {error}");
            }
            self.failing.set(is_failing);
        }
        let unreported = (self.unreported.get() + 1) % BATCH;
        self.unreported.set(unreported);
        (unreported == 0).then_some(record.seq)
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
}
