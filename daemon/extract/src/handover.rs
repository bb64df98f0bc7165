//! Hands the contents of a plan to the daemon, which keeps them as an upload of the requester: see `remit_common::pack`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;

use remit_common::pack::{ANSWER, Header, KEPT, SEND};
use remit_plan::Upload;

use crate::content::PieceSink;

/// Writes all bytes of a pack. Errors: a sentence.
pub type PackWriter<'a> = &'a dyn Fn(PieceSink<'_>) -> Result<(), String>;

/// Hands a pack over. Fails with a sentence if the daemon does not keep all of it.
pub fn hand_over(daemon: impl AsFd, pack: Upload, write: PackWriter<'_>) -> Result<(), String> {
    let Upload { sha256, size } = pack;
    let cannot = |why: &str| {
        format!("cannot keep the {size} bytes of new files that the plan does not show: {why}")
    };
    let failed = |error: io::Error| cannot(&format!("the daemon does not answer: {error}"));
    let daemon = daemon.as_fd().try_clone_to_owned().map_err(failed)?;
    let mut daemon = File::from(daemon);
    let mut answers = BufReader::new(daemon.try_clone().map_err(failed)?);
    let mut answer = || -> io::Result<String> {
        let mut line = String::new();
        let mut some = answers.by_ref().take(ANSWER as u64);
        match some.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let header = Header { sha256, size }.encode();
    daemon.write_all(&header).map_err(failed)?;
    let mut said = answer().map_err(failed)?;
    if said == SEND {
        let (mut cut, mut sent) = (false, 0);
        let written = write(&mut |piece| {
            let written = daemon.write_all(piece);
            cut |= written.is_err();
            sent += piece.len() as u64;
            written
        });
        // It says why it takes no more.
        said = match written {
            Err(why) if !cut => return Err(why),
            _ => answer().map_err(failed)?,
        };
        debug_assert!(cut || said != KEPT || sent == size);
    }
    match said.as_str() {
        KEPT => Ok(()),
        why => Err(cannot(why)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    const BYTES: &[u8] = &[b'x'; 300_000];

    /// The daemon answers `first`, then reads `most` bytes and answers `last`.
    fn handed(first: &str, most: usize, last: &str) -> Result<(), String> {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (first, last) = (format!("{first}\n"), format!("{last}\n"));
        let daemon = thread::spawn(move || {
            let mut header = [0; Header::BYTES];
            far.read_exact(&mut header).unwrap();
            assert_eq!(Header::decode(&header).size, BYTES.len() as u64);
            far.write_all(first.as_bytes()).unwrap();
            let mut bytes = Vec::new();
            (&mut far)
                .take(most as u64)
                .read_to_end(&mut bytes)
                .unwrap();
            assert!(bytes == BYTES[..most]);
            far.write_all(last.as_bytes()).unwrap();
        });
        let sha256 = remit_plan::sha256(BYTES);
        let size = BYTES.len() as u64;
        let write = |sink: PieceSink<'_>| {
            let mut pieces = BYTES.chunks(1000);
            pieces.try_for_each(sink).map_err(|error| error.to_string())
        };
        let handed = hand_over(near, Upload { sha256, size }, &write);
        daemon.join().unwrap();
        handed
    }

    #[test]
    fn pack_is_kept_or_the_daemon_says_why_not() {
        assert_eq!(handed(SEND, BYTES.len(), KEPT), Ok(()));
        assert_eq!(handed(KEPT, 0, ""), Ok(()));
        for (first, most, last) in [("no space", 0, ""), (SEND, 70_000, "no space")] {
            let why = handed(first, most, last).unwrap_err();
            assert!(why.starts_with("cannot keep the 300000 bytes"), "{why}");
            assert!(why.ends_with(": no space"), "{why}");
        }
        let why = handed(SEND, BYTES.len(), "").unwrap_err();
        assert!(!why.is_empty());
    }
}
