//! One stream of a job: the locations of its bytes, and the parts that are shown. The first bytes are kept in the
//! spool file. After the job's share is used or the disk is full, [`overflow`] holds the last bytes.

pub(crate) mod disk;
pub(crate) mod overflow;
pub(crate) mod page;
pub(crate) mod pump;
pub(crate) mod quota;
pub(crate) mod splice;
pub(crate) mod spool;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use remit_common::caps;
use remit_wire::Bytes;
use remit_wire::outcome::Captured;
use tokio::sync::OnceCell;

use crate::output::overflow::{Lines, Overflow, RecoveredStream, StreamExtent};

use crate::output::splice::Moved;

// Bytes shown of the start, and the same number of the end.
pub const HALF: u64 = 12 << 10;
const INLINE: u64 = 2 * HALF;
const _: () = assert!(caps::INLINE_OUTPUT == 24 << 10);

#[derive(Debug)]
pub struct Output {
    kept: Cell<u64>,
    beyond: RefCell<Option<Box<Beyond>>>,
    /// Newlines that this broker has moved.
    counted: Cell<u64>,
    /// Newlines in the output of an earlier broker, after the count.
    earlier: OnceCell<Lines>,
    left: RecoveredStream,
    /// Kept bytes, true if more were lost, and how many of them can be shown.
    pub showable: Cell<Option<((u64, bool), u64)>>,
}

#[derive(Debug)]
struct Beyond {
    reach: StreamExtent,
    held: OverflowLocation,
}

#[derive(Debug)]
enum OverflowLocation {
    Spool,
    /// In memory, because the disk is full.
    Memory(Arc<File>),
    /// Head and tail of an ended stream. They hold no fd.
    Shown(Bytes, Bytes),
    Gone,
}

impl Output {
    pub fn new() -> Self {
        let output = Self::resumed(RecoveredStream::default());
        let _ = output.earlier.set(Lines::default());
        output
    }

    pub fn resumed(left: RecoveredStream) -> Self {
        let beyond = left.has_lost().then(|| {
            Box::new(Beyond {
                reach: left.reach(Lines::default()),
                held: if left.stale {
                    OverflowLocation::Gone
                } else {
                    OverflowLocation::Spool
                },
            })
        });
        Self {
            kept: Cell::new(left.kept),
            beyond: RefCell::new(beyond),
            counted: Cell::new(0),
            earlier: OnceCell::new(),
            left,
            showable: Cell::new(None),
        }
    }

    pub fn kept(&self) -> u64 {
        self.kept.get()
    }

    /// Bytes that really exist: another process can have truncated or removed the file.
    pub fn there(&self, file: Option<&File>) -> u64 {
        let length = file
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len());
        self.kept().min(length)
    }

    pub fn written(&self) -> u64 {
        let beyond = self.beyond.borrow();
        beyond
            .as_ref()
            .map_or(self.kept.get(), |beyond| beyond.reach.written)
    }

    pub fn lines(&self) -> u64 {
        let earlier = self.earlier.get().map_or(0, Lines::all);
        earlier.saturating_add(self.counted.get())
    }

    pub fn reach(&self, lines: Lines) -> StreamExtent {
        if self.left.has_lost() {
            self.left.reach(lines)
        } else {
            StreamExtent::from(self.kept.get())
        }
    }

    pub fn has_lost(&self) -> bool {
        self.beyond.borrow().is_some()
    }

    pub fn left(&self) -> &RecoveredStream {
        &self.left
    }

    /// Returns the lines of an earlier broker, if they are counted.
    pub fn earlier_lines(&self) -> Option<Lines> {
        self.earlier.get().copied()
    }

    /// Waits until the lines of an earlier broker are counted. `count` runs once.
    pub async fn until_counted(&self, count: impl AsyncFnOnce() -> Lines) -> Lines {
        *self.earlier.get_or_init(async || count().await).await
    }

    pub fn keep(&self, moved: Moved) {
        self.kept.set(self.kept.get().saturating_add(moved.bytes));
        self.counted
            .set(self.counted.get().saturating_add(moved.lines));
    }

    pub fn count(&self, moved: Moved, rest: &Overflow) {
        self.counted
            .set(self.counted.get().saturating_add(moved.lines));
        if moved.bytes > 0 || self.has_lost() {
            let (reach, file) = (rest.reach(), rest.memory());
            let held = file.map_or(OverflowLocation::Spool, |file| {
                OverflowLocation::Memory(Arc::clone(file))
            });
            self.beyond.replace(Some(Box::new(Beyond { reach, held })));
        }
    }

    /// Called when no more output will be written: frees memory except for the shown parts.
    pub fn finish_output(&self, file: impl FnOnce() -> Option<File>) {
        let in_memory = |beyond: &Beyond| matches!(beyond.held, OverflowLocation::Memory(_));
        if self.beyond.borrow().as_deref().is_some_and(in_memory) {
            let Captured { head, tail, .. } = self.captured(file().as_ref(), None);
            if let Some(beyond) = self.beyond.borrow_mut().as_mut() {
                beyond.held = OverflowLocation::Shown(head, tail);
            }
        }
    }

    pub fn remove(&self) {
        let written = self.written();
        self.kept.set(0);
        let mut reach = StreamExtent::from(0);
        reach.written = written;
        reach.gap.from = 0;
        reach.gap.to = written;
        self.beyond.replace(Some(Box::new(Beyond {
            reach,
            held: OverflowLocation::Gone,
        })));
    }

    pub fn has_more(&self) -> bool {
        let beyond = self.beyond.borrow();
        beyond
            .as_ref()
            .is_some_and(|beyond| matches!(beyond.held, OverflowLocation::Spool))
    }

    /// Returns head and tail for an answer. `file`: absent if nothing is kept; `more`: the file of [`Self::has_more`].
    pub fn captured(&self, file: Option<&File>, more: Option<&File>) -> Captured {
        let total = self.written();
        let lines = self.lines();
        let beyond = self.beyond.borrow();
        let more = match beyond.as_ref().map(|beyond| &beyond.held) {
            Some(OverflowLocation::Shown(head, tail)) => {
                let (head, tail) = (head.clone(), tail.clone());
                return Captured {
                    total,
                    lines,
                    head,
                    tail,
                };
            }
            Some(OverflowLocation::Memory(file)) => Some(&**file),
            Some(OverflowLocation::Spool) => more,
            Some(OverflowLocation::Gone) | None => None,
        };
        let reach = beyond.as_ref().map(|beyond| beyond.reach);
        if self.kept.get() == total && total <= INLINE {
            let head = Bytes::from(read(file, 0, total));
            let tail = Bytes::new();
            return Captured {
                total,
                lines,
                head,
                tail,
            };
        }
        let mut head = self.start(file, reach, more);
        let mut tail = self.end(file, reach, more, HALF.max(total.saturating_sub(HALF)));
        if head.len() + tail.len() < usize::try_from(total).unwrap_or(usize::MAX) {
            head.truncate(page::whole_end(&head));
            tail.drain(..page::whole_start(&tail));
        }
        Captured {
            total,
            lines,
            head: head.into(),
            tail: tail.into(),
        }
    }

    fn start(
        &self,
        file: Option<&File>,
        reach: Option<StreamExtent>,
        more: Option<&File>,
    ) -> Vec<u8> {
        let kept = self.kept.get();
        let mut bytes = read(file, 0, kept.min(HALF));
        let whole = u64::try_from(bytes.len()).is_ok_and(|length| length == kept);
        if let Some(reach) = reach.filter(|reach| whole && reach.gap.base == kept) {
            let to = HALF.min(reach.gap.from).min(reach.written);
            bytes.extend(read(more, 0, to.saturating_sub(kept)));
        }
        bytes
    }

    fn end(
        &self,
        file: Option<&File>,
        reach: Option<StreamExtent>,
        more: Option<&File>,
        at: u64,
    ) -> Vec<u8> {
        let kept = self.kept.get();
        let Some(StreamExtent { written, gap, .. }) = reach else {
            return read(file, at, kept.saturating_sub(at));
        };
        let at = if gap.from == gap.to {
            at
        } else {
            at.max(gap.to)
        };
        let mut bytes = read(file, at, kept.saturating_sub(at));
        let at = at.max(gap.base);
        bytes.extend(read(more, at - gap.base, written.saturating_sub(at)));
        bytes
    }
}

pub fn read(file: Option<&File>, offset: u64, length: u64) -> Vec<u8> {
    let Some(file) = file else { return Vec::new() };
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!("cannot read a spool file: {error}");
                break;
            }
        }
    }
    bytes.truncate(filled);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::splice;
    use crate::output::spool::tests::Scratch;
    use nix::errno::Errno;
    use remit_common::names::JobId;
    use remit_wire::outcome::Stream;
    use std::io::{PipeWriter, Write};

    const JOB: JobId = JobId([1; 16]);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum On {
        Disk,
        Memory,
    }

    struct Through {
        scratch: Scratch,
        output: Output,
        rest: Option<Overflow>,
        capacity: u64,
        on: On,
    }

    impl Through {
        fn new(capacity: u64, on: On) -> Self {
            let (scratch, output) = (Scratch::new(), Output::new());
            Self {
                scratch,
                output,
                rest: None,
                capacity,
                on,
            }
        }

        fn rest(&self, reach: StreamExtent) -> Overflow {
            let spool = &self.scratch.spool;
            let note = spool.note(JOB, Stream::Stdout).unwrap();
            match self.on {
                On::Disk => {
                    Overflow::on_disk(spool.create_more(JOB, Stream::Stdout).unwrap(), note, reach)
                }
                On::Memory => {
                    spool.remove_more(JOB, Stream::Stdout);
                    Overflow::in_memory(Some(note), reach).unwrap()
                }
            }
        }

        fn write(&mut self, bytes: &[u8]) {
            let file = self.scratch.spool.create(JOB, Stream::Stdout).unwrap();
            for part in bytes.chunks(30_000) {
                let (reader, writer) = std::io::pipe().unwrap();
                feed(writer, part);
                while self.turn(&reader, &file) > 0 {}
            }
        }

        fn turn(&mut self, reader: &std::io::PipeReader, file: &File) -> u64 {
            let left = self.capacity - self.output.kept();
            if left > 0 && !self.output.has_lost() {
                let moved = splice::splice_chunk(reader, file, self.output.kept(), left).unwrap();
                self.output.keep(moved);
                return moved.bytes;
            }
            let mut rest = match self.rest.take() {
                Some(rest) => rest,
                None => self.rest(StreamExtent::from(self.output.kept())),
            };
            let moved = rest.turn(reader).unwrap();
            self.output.count(moved, &rest);
            self.rest = Some(rest);
            moved.bytes
        }

        fn captured(&self, output: &Output) -> Captured {
            let spool = &self.scratch.spool;
            let file = spool.find(JOB, Stream::Stdout).unwrap();
            let more = spool.find_more(JOB, Stream::Stdout).unwrap();
            output.captured(file.as_ref(), more.as_ref())
        }

        fn found(&self) -> Output {
            let spool = &self.scratch.spool;
            let file = spool.find(JOB, Stream::Stdout).unwrap();
            let more = spool.find_more(JOB, Stream::Stdout).unwrap();
            let length = |file: &Option<File>| {
                file.as_ref()
                    .map_or(0, |file| file.metadata().unwrap().len())
            };
            let [gap, _] = spool.gaps(JOB).unwrap();
            let left = RecoveredStream::of(length(&file), length(&more), gap);
            let output = Output::resumed(left);
            output
                .earlier
                .set(left.count(file.as_ref(), more.as_ref()))
                .unwrap();
            output
        }
    }

    fn feed(mut writer: PipeWriter, bytes: &[u8]) {
        writer.write_all(bytes).unwrap();
    }

    fn newlines(text: &[u8]) -> u64 {
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn text(length: usize) -> Vec<u8> {
        let letters = b"abcdefghijklmnop\nqrstuv";
        (0..length).map(|n| letters[n % letters.len()]).collect()
    }

    #[test]
    fn head_and_tail_are_right_around_caps() {
        let half = HALF as usize;
        let whole = text(600_000);
        for on in [On::Disk, On::Memory] {
            for length in [
                0,
                1,
                half,
                half + 1,
                2 * half,
                2 * half + 1,
                3 * half,
                200_000,
                600_000,
            ] {
                for capacity in [0, 1, 1000, half, half + 1, 2 * half, 2 * half + 1, 1 << 20] {
                    let text = &whole[..length];
                    let mut through = Through::new(capacity as u64, on);
                    through.write(text);
                    let output = &through.output;
                    let captured = through.captured(output);
                    let case = format!("{length} bytes, room for {capacity}, on {on:?}");
                    assert_eq!(output.written(), length as u64, "{case}");
                    assert_eq!(output.kept(), length.min(capacity) as u64, "{case}");
                    assert_eq!(
                        (captured.total, captured.lines),
                        (length as u64, newlines(text)),
                        "{case}"
                    );
                    assert!(
                        text.starts_with(&captured.head) && text.ends_with(&captured.tail),
                        "{case}"
                    );
                    let shown = captured.head.len() + captured.tail.len();
                    assert_eq!(shown, length.min(2 * half), "{case}");
                    let found = through.found();
                    assert_eq!(
                        (found.written(), found.lines()),
                        (output.written(), output.lines()),
                        "{case}"
                    );
                    if on == On::Disk {
                        assert_eq!(through.captured(&found), captured, "{case}");
                    }
                    let file = through.scratch.spool.find(JOB, Stream::Stdout).unwrap();
                    output.finish_output(|| file);
                    assert_eq!(through.captured(output), captured, "{case}");
                }
            }
        }
    }

    #[test]
    fn brokers_that_follow_each_other_count_on() {
        let (all, step) = (text(1_000_000), 70_001);
        let mut through = Through::new(100_000, On::Disk);
        let mut written = 0;
        for (turn, part) in all.chunks(step).enumerate() {
            through.write(part);
            written += part.len();
            let found = through.found();
            assert_eq!(found.written(), written as u64);
            assert_eq!(found.lines(), newlines(&all[..written]), "after {written}");
            if found.has_lost() {
                through.on = if turn % 3 == 0 { On::Memory } else { On::Disk };
                let lines = *found.earlier.get().unwrap();
                through.rest = Some(through.rest(found.reach(lines)));
            }
            through.output = found;
        }
        through.rest.as_mut().unwrap().trim(1).unwrap();
        let captured = through.captured(&through.output);
        assert!(all.starts_with(&captured.head) && all.ends_with(&captured.tail));
        let more = through
            .scratch
            .spool
            .find_more(JOB, Stream::Stdout)
            .unwrap()
            .unwrap();
        let used = std::os::unix::fs::MetadataExt::blocks(&more.metadata().unwrap()) * 512;
        assert!(
            used < 100_000,
            "the middle is given up: {used} bytes are not"
        );
    }

    #[test]
    fn characters_are_whole_at_omitted_bytes() {
        let text = "\u{20ac}".repeat(20_000).into_bytes();
        let mut through = Through::new(1 << 20, On::Disk);
        through.write(&text);
        let captured = through.captured(&through.output);
        assert!(
            std::str::from_utf8(&captured.head).is_ok()
                && std::str::from_utf8(&captured.tail).is_ok()
        );
        assert_eq!(
            captured.omitted() as usize,
            text.len() - captured.head.len() - captured.tail.len()
        );
    }

    #[test]
    fn empty_pipe_differs_from_closed_pipe() {
        let scratch = Scratch::new();
        let file = scratch.spool.create(JOB, Stream::Stdout).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        assert_eq!(
            splice::splice_chunk(&reader, &file, 0, 10),
            Err(Errno::EAGAIN)
        );
        drop(writer);
        let nothing = Moved { bytes: 0, lines: 0 };
        assert_eq!(splice::splice_chunk(&reader, &file, 0, 10), Ok(nothing));
    }
}
