//! The time of the last write that a new file gets from its plan.

use crate::{Change, Entry};

impl Entry {
    /// Returns the time of the last write that a commit at `now` gives the file if that of the old one is earlier, all in
    /// nanoseconds since 1970. None is later than the commit: systemd sets a clock that is behind `/usr/lib/clock-epoch`.
    /// Only the source of a Python module has one: its compiled module names it, and is compiled again otherwise. The requester
    /// chooses the time, and an old one would hide a new file.
    #[must_use]
    pub fn time(&self, now: i64) -> Option<i64> {
        // What programs read through a link is another file, whose time is not known.
        let is_other = matches!(self.change, Change::ReplaceKind { .. });
        let time = self.change.content()?.mtime?;
        let is_source = self.path.name().ends_with(b".py");
        (is_source && time <= now && !is_other && !self.path.is_of_units()).then_some(time)
    }
}
