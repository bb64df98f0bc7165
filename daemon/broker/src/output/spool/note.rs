//! `ID.lost`: which bytes of a job's output are in no file, and their number of lines. It is written before the
//! bytes are removed, so counts are right even if this process dies at any time. [`Lost`] is the reason, for reports.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;
use remit_common::names::JobId;
use remit_common::text::size;
use remit_wire::outcome::Stream;

use super::Spool;
use crate::output::Output;

// Four u64 for each stream, stdout first.
const ONE: usize = 32;
const BOTH: usize = 2 * ONE;

/// Bytes of a stream that are in no file. Empty if none are lost, all zeros if none ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostRange {
    /// Bytes in the spool file. Later bytes are in the overflow file.
    pub base: u64,
    pub from: u64,
    /// The first byte after the lost ones.
    pub to: u64,
    pub lines: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Damaged;

#[derive(Debug)]
pub struct Note {
    file: File,
    at: u64,
}

impl Note {
    pub fn write(&self, gap: LostRange) -> io::Result<()> {
        self.file.write_all_at(&encoded(gap), self.at)
    }
}

impl Spool {
    /// Opens or creates the note of a stream. A damaged note is an error and is not changed.
    pub fn note(&self, job: JobId, stream: Stream) -> io::Result<Note> {
        let file = self.at(&super::lost(job), OFlag::O_RDWR | OFlag::O_CREAT)?;
        match file.metadata()?.len() {
            // An empty note and zeros both mean that nothing is lost.
            0 => file.write_all_at(&[0; BOTH], 0)?,
            length if length != u64::try_from(BOTH).unwrap_or(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the note is damaged",
                ));
            }
            _ => {}
        }
        let at = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => u64::try_from(ONE).unwrap_or(0),
        };
        Ok(Note { file, at })
    }

    pub fn gaps(&self, job: JobId) -> Result<[LostRange; 2], Damaged> {
        let mut bytes = Vec::new();
        match self.at(&super::lost(job), OFlag::O_RDONLY) {
            Ok(file) => file
                .take(u64::try_from(BOTH + 1).unwrap_or(0))
                .read_to_end(&mut bytes)
                .map_err(|_| Damaged)?,
            Err(nix::errno::Errno::ENOENT) => return Ok([LostRange::default(); 2]),
            Err(_) => return Err(Damaged),
        };
        decoded(&bytes)
    }
}

fn encoded(gap: LostRange) -> Vec<u8> {
    [gap.base, gap.from, gap.to, gap.lines]
        .map(u64::to_le_bytes)
        .concat()
}

fn decoded(bytes: &[u8]) -> Result<[LostRange; 2], Damaged> {
    if bytes.is_empty() {
        return Ok([LostRange::default(); 2]);
    }
    let (numbers, rest) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|number| u64::from_le_bytes(*number))
        .collect();
    let (&[base, from, to, lines, base_err, from_err, to_err, lines_err], []) =
        (numbers.as_slice(), rest)
    else {
        return Err(Damaged);
    };
    let gaps = [
        LostRange {
            base,
            from,
            to,
            lines,
        },
        LostRange {
            base: base_err,
            from: from_err,
            to: to_err,
            lines: lines_err,
        },
    ];
    let sound = |gap: &LostRange| {
        let bytes = gap.to.checked_sub(gap.from);
        gap.base <= gap.from && bytes.is_some_and(|bytes| gap.lines <= bytes)
    };
    if gaps.iter().all(sound) {
        Ok(gaps)
    } else {
        Err(Damaged)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    OverLimit(u64),
    Full(String),
    /// Removed after the end of the job, to free space.
    Removed,
    /// Only an earlier broker knew the reason.
    Unknown,
    Damaged,
    Missing,
    /// It was not all read when the job ended: a process kept a pipe, or the disk was too slow.
    Abandoned,
}

#[derive(Clone, Copy, Debug)]
pub struct Amount {
    kept: u64,
    written: u64,
    lines: u64,
}

impl Amount {
    pub const fn is_none(self) -> bool {
        self.written == 0
    }

    pub fn of(stdout: &Output, stderr: &Output) -> Self {
        let both = |count: fn(&Output) -> u64| count(stdout).saturating_add(count(stderr));
        Self {
            kept: both(Output::kept),
            written: both(Output::written),
            lines: both(Output::lines),
        }
    }
}

impl Lost {
    pub fn sentence(&self, amount: Amount) -> String {
        let Amount {
            kept,
            written,
            lines,
        } = amount;
        let counted = format!(
            "its first {kept} bytes are kept; all {written} bytes ({lines} newlines) were counted, and only the end \
             of the rest is shown"
        );
        match self {
            Self::OverLimit(share) => {
                format!("the job wrote more than {}: {counted}", size(*share))
            }
            Self::Full(why) => format!("the spool took no more output ({why}): {counted}"),
            Self::Removed => format!(
                "the output was removed to free space for newer jobs; it had {written} bytes ({lines} newlines)"
            ),
            Self::Unknown => format!(
                "not all output was kept: {kept} bytes are, of {written} bytes ({lines} newlines) in all"
            ),
            Self::Damaged => "not all output was kept, and the amount is not known, because its note in the spool \
                              is damaged"
                .to_owned(),
            Self::Missing => "its output is no longer there: somebody removed it from the spool or truncated it"
                .to_owned(),
            Self::Abandoned => format!(
                "its output was still being read when it ended: {written} bytes ({lines} newlines) were; the rest is \
                 missing"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::spool::tests::Scratch;

    const GAP: LostRange = LostRange {
        base: 1,
        from: 2,
        to: u64::MAX,
        lines: 7,
    };

    #[test]
    fn note_is_read_back_per_stream() {
        let (scratch, job) = (Scratch::new(), JobId([1; 16]));
        let none = LostRange::default();
        assert_eq!(scratch.spool.gaps(job), Ok([none, none]));
        let note = scratch.spool.note(job, Stream::Stderr).unwrap();
        assert_eq!(scratch.spool.gaps(job), Ok([none, none]));
        note.write(GAP).unwrap();
        assert_eq!(scratch.spool.gaps(job), Ok([none, GAP]));
        scratch
            .spool
            .note(job, Stream::Stdout)
            .unwrap()
            .write(GAP)
            .unwrap();
        assert_eq!(scratch.spool.gaps(job), Ok([GAP, GAP]));
    }

    #[test]
    fn damaged_note_is_an_error_and_unchanged() {
        let (scratch, job) = (Scratch::new(), JobId([1; 16]));
        let path = scratch.path.join(super::super::lost(job));
        let numbers = |numbers: [u64; 8]| numbers.map(u64::to_le_bytes).concat();
        for bytes in [
            vec![0; 16],
            vec![0; 63],
            vec![0; 65],
            numbers([0, 2, 1, 0, 0, 0, 0, 0]),
            numbers([3, 2, 4, 0, 0, 0, 0, 0]),
            numbers([0, 0, 0, 0, 0, 5, 7, 3]),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(scratch.spool.gaps(job), Err(Damaged), "{bytes:?}");
        }
        std::fs::write(&path, [1; 16]).unwrap();
        assert!(scratch.spool.note(job, Stream::Stdout).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [1; 16]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(scratch.spool.gaps(job), Err(Damaged));
    }
}
