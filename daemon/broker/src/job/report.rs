//! Views of a job: reports, lists, pages, progress; and the facts about it that the warden reported. For ended jobs they are
//! encoded: a thousand jobs are remembered, and each of many short strings would need its own allocation.

use std::fs::File;
use std::time::{Duration, Instant};

use remit_common::calendar::utc;
use remit_common::denial::{Denial, ProfileVisibility};
use remit_common::{caps, text};
use remit_wire::outcome::{
    Captured, Ending, Enforced, JobReport, JobSummary, Page, QueuePosition, State, Stream,
};
use remit_wire::{PageQuery, Progress};

use super::{BOTH, Job};
use crate::hints::{self, Evidence, notes};
use crate::output::page;
use crate::output::spool::{Amount, Lost, Spool};

// Bytes of the last line in a progress message.
const LAST_LINE: usize = 200;
/// Bytes of output that are searched for the last line.
const LAST: u64 = 4096;
/// Age at which the last line is read again. A call that waits alone asks once a second and always gets a new one.
const FRESH: Duration = Duration::from_millis(900);
/// Age of an end that no repeat of a call reaches. remit-fleet finds a dead connection within a minute and repeats for some more.
const STALE_MS: u64 = 900_000;

impl Job {
    /// Returns a report and the number of redacted secrets in it, with the position in the queue.
    pub fn report(
        &self,
        spool: &Spool,
        queue_position: Option<QueuePosition>,
    ) -> (JobReport, usize) {
        let redactor = self.secrets.redactor();
        let [
            (stdout, out_secret, out_whole),
            (stderr, err_secret, err_whole),
        ] = BOTH.map(|stream| {
            let file = self.file(spool, stream);
            let more = self.more(spool, stream);
            let captured = self.output(stream).captured(file.as_ref(), more.as_ref());
            let (captured, secret) =
                self.redacted(stream, captured, file.as_ref(), redactor.as_deref());
            (captured, secret, self.is_whole(stream, file.as_ref()))
        });
        if !(out_whole && err_whole) {
            self.lose(Lost::Missing);
        }
        let facts = self.reported.borrow().facts();
        let (denials, mut notes) = self.explained(&stderr, &facts);
        let amount = Amount::of(&self.stdout, &self.stderr);
        let is_abandoned = self.has_ended() && self.is_unread.get();
        let abandoned = is_abandoned.then_some(&Lost::Abandoned);
        let lost = self.lost.borrow();
        notes.extend(
            lost.iter()
                .chain(abandoned)
                .map(|lost| lost.sentence(amount)),
        );
        drop(lost);
        notes.extend(self.withheld());
        notes.extend(self.approved_so_far());
        notes.extend(self.asked_before());
        let found_nothing = amount.is_none() && !is_abandoned && self.about.borrow().looks;
        let is_over =
            |ending: &Ending| ending.state == State::Exited && matches!(ending.exit, Some(0 | 1));
        if found_nothing && facts.ending.as_ref().is_some_and(is_over) {
            notes.push(notes::EMPTY.to_owned());
        }
        let times = self.times.get();
        let report = JobReport {
            denials,
            job: self.id,
            command: self.command.clone(),
            state: self.state(),
            ending: facts.ending,
            started_ms: times.started_ms,
            waited_ms: if self.is_waiting() {
                self.elapsed_ms()
            } else {
                times.waited_ms
            },
            queue_position,
            approval: self.approval(),
            enforced: facts.enforced,
            stdout,
            stderr,
            then: self.then.borrow().clone(),
            notes,
        };
        (report, out_secret + err_secret)
    }

    fn explained(&self, stderr: &Captured, facts: &Facts) -> (Vec<Denial>, Vec<String>) {
        let (about, seen) = (self.about.borrow(), self.seen.borrow());
        let ending = facts.ending.as_ref();
        // What a program would have written wrongly is of no use if it did not run.
        let ran = ending.is_none_or(|ending| ending.state != State::NotStarted);
        let mut notes = if ran { about.notes.clone() } else { Vec::new() };
        // The warden says what the profile allowed only of a job that failed.
        let is_read = |enforced: &Enforced| enforced.profile == "read";
        let of_read = (facts.visibility.is_none() && facts.enforced.as_ref().is_some_and(is_read))
            .then(hints::visibility_of_read);
        // Once for an answer: the one thread that serves all clients searches it.
        let said = ending.map(|_| hints::said(stderr)).unwrap_or_default();
        let evidence = ending.map(|ending| Evidence {
            ending,
            visibility: facts.visibility.as_ref().or(of_read.as_ref()),
            seen: &seen,
            commands: &about.commands,
            may_use: &about.may_use,
            said: &said,
            is_silent: stderr.total == 0,
        });
        let denials = evidence.as_ref().map(hints::denials).unwrap_or_default();
        notes.extend(ending.and_then(|ending| about.shell_words.note(ending, &said)));
        let misses_private = evidence.as_ref().is_some_and(hints::misses_private);
        if ran && (about.names_private || misses_private) {
            let note = notes::of_private(facts.enforced.as_ref(), facts.visibility.as_ref());
            let is_new = |note: &String| !notes.contains(note);
            notes.extend(note.filter(is_new));
        }
        let has_failed = facts
            .ending
            .as_ref()
            .is_some_and(|ending| ending.exit != Some(0));
        if let Some(evidence) = evidence.filter(|_| !denials.is_empty()) {
            // Notes must not repeat a denial.
            let explained = hints::explained_commands(&evidence, &denials);
            notes.retain(|note| {
                !explained.iter().any(|command| {
                    notes::of_command(command, &about.may_use).as_ref() == Some(note)
                })
            });
        }
        // An answer that looks whole is not.
        if let Some(enforced) = facts
            .enforced
            .as_ref()
            .filter(|_| denials.is_empty() || !has_failed)
        {
            notes.extend(notes::of_errors(&enforced.profile, &stderr.head).map(str::to_owned));
        }
        notes.extend(facts.enforced.as_ref().and_then(notes::of_network));
        (denials, notes)
    }

    pub fn summary(&self) -> JobSummary {
        let [out, err] = self.written();
        JobSummary {
            job_id: self.id,
            command: self.command.clone(),
            state: self.state(),
            exit: self.end.get().and_then(|end| end.exit),
            started_ms: self.times.get().started_ms,
            output_bytes: out.saturating_add(err),
        }
    }

    pub fn page(&self, spool: &Spool, query: &PageQuery) -> (Page, usize) {
        let output = self.output(query.stream);
        let file = self.file(spool, query.stream);
        let all = output.there(file.as_ref());
        let redactor = self.secrets.redactor();
        let there = self.showable_length(query.stream, file.as_ref(), all, redactor.as_deref());
        let (mut offset, length) = page::range(query, there);
        let part = offset..offset.saturating_add(length);
        let masked = self.part(query.stream, file.as_ref(), part, all, redactor.as_deref());
        let mut bytes = masked.bytes;
        let at_end = |bytes: &[u8]| offset.saturating_add(size(bytes)) >= there;
        if query.whole_characters {
            // An incomplete character at the end of a finished job stays incomplete, so it is shown.
            if !(self.has_ended() && at_end(&bytes)) {
                let whole = page::whole_end(&bytes);
                if whole > 0 || (at_end(&bytes) && bytes.len() < 4) {
                    bytes.truncate(whole);
                }
            }
            if query.tail && offset > 0 {
                let skip = page::whole_start(&bytes);
                bytes.drain(..skip);
                offset = offset.saturating_add(u64::try_from(skip).unwrap_or(0));
            }
        }
        let end = offset.saturating_add(size(&bytes));
        let page = Page {
            stream: query.stream,
            offset,
            bytes: bytes.into(),
            total: output.written(),
            // Withheld output is not shown later either.
            eof: self.has_ended() && (end >= there || self.secrets.are_lost()),
        };
        (page, masked.redactions)
    }

    pub fn page_after(&self, spool: &Spool, stream: Stream, known: u64) -> Page {
        let query = PageQuery {
            stream,
            offset: known,
            limit: u32::try_from(caps::PAGE).unwrap_or(u32::MAX),
            tail: false,
            whole_characters: false,
        };
        self.page(spool, &query).0
    }

    pub fn progress(&self, spool: &Spool, queue_position: Option<QueuePosition>) -> Progress {
        let [out, err] = self.written();
        let mut last_line = match self.approval() {
            Some(view) => {
                let so_far = self.approved_so_far();
                let so_far = so_far.map_or_else(String::new, |so_far| format!("; {so_far}"));
                let waiting = format!("waiting for an approval by {}{so_far}", view.by.join(", "));
                let line = format!("{waiting}; approvers type: {}", view.line);
                // A line that is cut would be another one.
                match line.len() <= LAST_LINE {
                    true => line,
                    false => waiting,
                }
            }
            None => self.last_line(spool),
        };
        last_line.truncate(last_line.floor_char_boundary(LAST_LINE));
        Progress {
            queue_position,
            elapsed_ms: self.elapsed_ms(),
            output_bytes: out.saturating_add(err),
            last_line,
        }
    }

    /// Returns a note for a call that is answered with this job because of its request id, if the job ended long before: its
    /// result looks new. An interrupted one says itself that it did not run to its end.
    pub fn stale(&self, now_ms: u64) -> Option<String> {
        let ending = self.reported.borrow().facts().ending?;
        let times = self.times.get();
        let ran_ms = match ending.runtime_ms {
            0 => times.waited_ms,
            runtime_ms => runtime_ms,
        };
        let ended_ms = times.started_ms.saturating_add(ran_ms);
        let is_stale = now_ms.saturating_sub(ended_ms) > STALE_MS;
        (is_stale && ending.state != State::Interrupted).then(|| {
            format!(
                "nothing ran for this call: this is the job of an earlier call with this request_id, of {}; for a new run \
                 leave request_id out, or give a new one",
                utc(times.started_ms)
            )
        })
    }

    /// Returns the last whole line. All waiting calls share it, because searching it for secrets takes time.
    fn last_line(&self, spool: &Spool) -> String {
        if let Some((read, line)) = &*self.last_line.borrow()
            && read.elapsed() < FRESH
        {
            return line.clone();
        }
        let latest = self.latest.get();
        let file = self.file(spool, latest);
        let there = self.output(latest).there(file.as_ref());
        let part = there.saturating_sub(LAST)..there;
        let redactor = self.secrets.redactor();
        let bytes = self
            .part(latest, file.as_ref(), part, there, redactor.as_deref())
            .bytes;
        let line = text::line(last_line(&bytes), LAST_LINE);
        self.last_line.replace(Some((Instant::now(), line.clone())));
        line
    }

    fn is_whole(&self, stream: Stream, file: Option<&File>) -> bool {
        let output = self.output(stream);
        output.there(file) == output.kept()
    }
}

fn last_line(bytes: &[u8]) -> &[u8] {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.and_then(|end| bytes.get(..end)).unwrap_or_default();
    let start = whole.iter().rposition(|byte| *byte == b'\n');
    let start = start.map_or(0, |at| at + 1);
    whole.get(start..).unwrap_or_default()
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub enforced: Option<Enforced>,
    pub ending: Option<Ending>,
    /// Known after a failure.
    pub visibility: Option<ProfileVisibility>,
}

#[derive(Debug)]
pub enum StoredFacts {
    Open(Box<Facts>),
    Packed(Box<[u8]>),
}

impl From<Facts> for StoredFacts {
    fn from(facts: Facts) -> Self {
        Self::Open(Box::new(facts))
    }
}

impl StoredFacts {
    pub fn facts(&self) -> Facts {
        match self {
            Self::Open(facts) => facts.as_ref().clone(),
            Self::Packed(bytes) => unpacked(bytes),
        }
    }

    pub fn update(&mut self, change: impl FnOnce(&mut Facts)) {
        if let Self::Packed(bytes) = self {
            *self = unpacked(bytes).into();
        }
        if let Self::Open(facts) = self {
            change(facts);
        }
    }

    pub fn pack(&mut self) {
        if let Self::Open(facts) = self {
            let three = (&facts.enforced, &facts.ending, &facts.visibility);
            // Facts from a message can always be encoded. On an error they stay as they are.
            if let Ok(bytes) = postcard::to_extend(&three, Vec::with_capacity(512)) {
                *self = Self::Packed(bytes.into());
            }
        }
    }
}

fn unpacked(bytes: &[u8]) -> Facts {
    // These bytes were encoded by `pack`.
    let (enforced, ending, visibility) = postcard::from_bytes(bytes).unwrap_or_default();
    Facts {
        enforced,
        ending,
        visibility,
    }
}

#[cfg(test)]
mod tests {
    use remit_link::JobMeta;
    use remit_wire::Bytes;

    use super::super::registry::tests::{ending, meta, with_secret};
    use super::*;
    use crate::hints::ShellWords;
    use crate::hints::notes::About;
    use crate::hints::stderr_patterns::tests::PARSED;
    use crate::output::spool::tests::Scratch;
    use crate::redact::tests::BUILT;

    #[test]
    fn progress_of_many_calls_builds_one_redactor() {
        let scratch = Scratch::new();
        let job = with_secret(&scratch.spool, "hunter2", b"x hunter2\n");
        for _ in 0..200 {
            let progress = job.progress(&scratch.spool, None);
            assert_eq!(progress.last_line, "x *******");
        }
        assert_eq!(BUILT.get(), 1);
    }

    /// A long secret keeps the only thread of the broker busy for milliseconds each time.
    #[test]
    fn answers_about_a_job_build_one_redactor() {
        let scratch = Scratch::new();
        let job = with_secret(&scratch.spool, "hunter2", b"x hunter2\n");
        for _ in 0..20 {
            assert_eq!(job.report(&scratch.spool, None).1, 1);
            let page = job.page_after(&scratch.spool, Stream::Stdout, 0);
            assert_eq!(page.bytes.as_slice(), b"x *******\n");
        }
        assert_eq!(BUILT.get(), 1);
    }

    #[test]
    fn result_of_an_earlier_call_is_called_so() {
        const START: u64 = 1_795_163_148_042;
        for (state, waited_ms, runtime_ms, since_start, is_stale) in [
            (State::Exited, 0, 5000, 5000, false),
            // A repeat of the shim or of remit-fleet, or the last round of a client.
            (State::Exited, 0, 5000, 905_000, false),
            (State::Exited, 0, 5000, 905_001, true),
            (State::Exited, 900_000, 5000, 905_001, true),
            (State::Denied, 900_000, 0, 1_800_000, false),
            (State::Denied, 900_000, 0, 1_800_001, true),
            (State::Interrupted, 0, 0, 900_000, false),
            // The clock was set back.
            (State::Exited, 0, 5000, 0, false),
        ] {
            let ending = Ending {
                runtime_ms,
                ..Ending::unmeasured(state, String::new(), true)
            };
            let meta = JobMeta {
                started_ms: START,
                waited_ms,
                ending: Some(ending),
                ..meta(1, 9)
            };
            let note = Job::new(meta, About::default()).stale(START + since_start);
            assert_eq!(note.is_some(), is_stale, "{state:?} {since_start}");
            if let Some(note) = note {
                assert!(note.contains("2026-11-20 08:25:48 UTC"), "{note}");
            }
        }
        assert_eq!(Job::new(meta(1, 9), About::default()).stale(u64::MAX), None);
    }

    #[test]
    fn the_last_whole_line_is_found() {
        for (text, line) in [
            ("", ""),
            ("a", ""),
            ("a\nb\nc", "b"),
            ("a\n", "a"),
            ("\n\n", ""),
        ] {
            assert_eq!(last_line(text.as_bytes()), line.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn notes_are_of_what_ran_and_of_its_directories() {
        let about = About {
            notes: vec!["of nginx".to_owned()],
            names_private: true,
            shell_words: ShellWords::of_argv(&[b"cd"]),
            ..About::default()
        };
        let plain = About::default();
        let private = "private to the job";
        let missing = "cat: /tmp/x: No such file or directory";
        let other = "cat: /srv/x: No such file or directory";
        for (about, state, exit, layer, stderr, expect) in [
            (
                &about,
                State::NotStarted,
                127,
                "mounts",
                "",
                &["cd is a word"][..],
            ),
            (
                &about,
                State::Exited,
                0,
                "mounts",
                "",
                &["of nginx", private],
            ),
            (&about, State::Exited, 0, "root", "", &["of nginx", private]),
            (
                &about,
                State::Exited,
                1,
                "mounts",
                "",
                &["of nginx", private],
            ),
            (&about, State::Exited, 0, "keyring", "", &["of nginx"]),
            (&plain, State::Exited, 0, "mounts", "", &[]),
            (&plain, State::Exited, 1, "mounts", missing, &[private]),
            (&plain, State::Exited, 1, "mounts", other, &[]),
        ] {
            let facts = Facts {
                enforced: Some(Enforced {
                    profile: "p".into(),
                    uid: 7,
                    layers: vec![layer.into()],
                    landlock: 6,
                    limits: Vec::new(),
                }),
                ending: Some(Ending {
                    state,
                    exit: Some(exit),
                    ..ending()
                }),
                visibility: (exit != 0).then(hints::visibility_of_read),
            };
            let stderr = Captured {
                total: stderr.len() as u64,
                head: Bytes::from(stderr.as_bytes().to_vec()),
                ..Captured::default()
            };
            let job = Job::new(meta(1, 1), about.clone());
            let notes = job.explained(&stderr, &facts).1;
            let has = |(note, part): (&String, &&str)| note.contains(part);
            assert!(
                notes.len() == expect.len() && notes.iter().zip(expect).all(has),
                "{state:?} {layer}: {notes:?}"
            );
        }
    }

    #[test]
    fn only_what_ended_by_itself_has_found_nothing() {
        let scratch = Scratch::new();
        for (state, exit, expect) in [
            (State::Exited, 0, true),
            (State::Exited, 1, true),
            (State::Exited, 2, false),
            (State::Cancelled, 0, false),
            (State::TimedOut, 1, false),
        ] {
            let about = About {
                looks: true,
                ..About::default()
            };
            let job = Job::new(meta(1, 1), about);
            let exit = Some(exit);
            job.end(Ending {
                state,
                exit,
                ..ending()
            });
            let (report, _) = job.report(&scratch.spool, None);
            let is_said = report.notes.iter().any(|note| note == notes::EMPTY);
            assert_eq!(is_said, expect, "{state:?} {exit:?}: {:?}", report.notes);
        }
    }

    #[test]
    fn answer_parses_each_line_of_stderr_once() {
        let about = About {
            shell_words: ShellWords::of_argv(&[b"ls", b"*.log"]),
            ..About::default()
        };
        let job = Job::new(meta(1, 1), about);
        let text = "ls: cannot access '*.log': No such file or directory\nx\ny";
        let stderr = Captured {
            total: text.len() as u64,
            head: Bytes::from(text.as_bytes().to_vec()),
            ..Captured::default()
        };
        let facts = |exit| Facts {
            enforced: None,
            ending: Some(Ending {
                exit: Some(exit),
                ..ending()
            }),
            visibility: Some(hints::visibility_of_read()),
        };
        // The tail of an output that fits is one empty line.
        for (exit, notes) in [(0, 0), (2, 1)] {
            PARSED.set(0);
            assert_eq!(job.explained(&stderr, &facts(exit)).1.len(), notes);
            assert_eq!(PARSED.get(), 4, "{exit}");
        }
    }

    #[test]
    fn packed_facts_are_unchanged() {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 7,
            layers: vec!["landlock".into(), String::new()],
            landlock: 6,
            limits: vec!["memory 1 (cgroup)".into()],
        };
        let facts = Facts {
            enforced: Some(enforced),
            ending: Some(ending()),
            visibility: Some(hints::visibility_of_read()),
        };
        for facts in [facts, Facts::default()] {
            let mut stored = StoredFacts::from(facts.clone());
            assert_eq!(stored.facts(), facts);
            stored.pack();
            assert!(matches!(stored, StoredFacts::Packed(_)));
            assert_eq!(stored.facts(), facts);
            stored.update(|facts| facts.enforced = None);
            let less = Facts {
                enforced: None,
                ..facts
            };
            assert_eq!(stored.facts(), less);
        }
    }
}
