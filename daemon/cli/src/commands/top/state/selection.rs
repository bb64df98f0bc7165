//! A selected entry of a list that changes, and the pace of requests.

/// A selected entry, and the index it had.
#[derive(Debug)]
pub struct Selection<T> {
    pub id: Option<T>,
    pub index: usize,
}

impl<T: Copy + PartialEq> Selection<T> {
    pub const NONE: Self = Self { id: None, index: 0 };

    /// Finds the entry again. If it is gone, the entry at its index is selected.
    pub fn settle(&mut self, ids: impl ExactSizeIterator<Item = T> + Clone) {
        let found = ids.clone().position(|id| Some(id) == self.id);
        self.index = found.unwrap_or(self.index).min(ids.len().saturating_sub(1));
        self.id = ids.clone().nth(self.index);
    }

    pub fn moves(&mut self, by: isize, ids: impl ExactSizeIterator<Item = T> + Clone) {
        self.index = self.index.saturating_add_signed(by);
        self.id = None;
        self.settle(ids);
    }
}

#[derive(Debug, Default)]
pub struct Poll {
    pub is_asked: bool,
    pub at: Option<u64>,
}

impl Poll {
    pub fn is_due(&mut self, now: u64, every: u64) -> bool {
        let is_due = !self.is_asked && self.at.is_none_or(|at| now >= at.saturating_add(every));
        if is_due {
            (self.is_asked, self.at) = (true, Some(now));
        }
        is_due
    }
}
