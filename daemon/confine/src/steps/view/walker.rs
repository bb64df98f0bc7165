//! The process that walks, and what it says. Without its end there is no view.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use remit_sys::rights::drop_all_rights;

use super::hidden::{Cover, Hidden};
use super::known::Known;
use super::walk::{Tree, Walk};
use crate::sys::{self, ForkCall};

/// Timeout of the walk: without its end there is no view. The child itself ends before.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the longest result: the budgets of a walk and `MOST_NEWS` are less.
const MOST_BYTES: usize = 24 << 20;
/// Bytes of news for a worker: if there are more, there is none.
const MOST_NEWS: usize = 8 << 20;
/// Owner and group of nothing, of which all views have the same: what it finds does not depend on the job's own.
const NO_ACCOUNT: u32 = super::PROBE;

/// Returns the paths that an account with these groups cannot read, relative to the root of the machine; nothing beneath them
/// is listed, nor beneath one of these mount points in the mount around it. The bytes are what a worker does not know of it, an
/// encoded [`Known`]. The trees are sorted. A directory that the account
/// may not enter or list is [`Cover::Empty`]; all else is closed, as what takes too long: the account may know its names. Fails
/// if root's own directories take too long, or have too much that is hidden.
pub(super) fn hidden(
    call: ForkCall,
    groups: &[u32],
    (trees, points): (&[Tree<'_>], &BTreeSet<&CStr>),
    known: &Known,
) -> io::Result<(Hidden, Vec<u8>)> {
    let (found, report) = pipe2(OFlag::O_CLOEXEC)?;
    let child = || {
        sys::close_one(found.as_raw_fd());
        let seen = drop_all_rights(NO_ACCOUNT, NO_ACCOUNT, groups)
            .and_then(|()| Walk::new(trees, points, known).all())
            .and_then(|(said, news)| encode(&said, &news))
            .and_then(|all| File::from(report.try_clone()?).write_all(&all));
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        seen.err().map_or(0, errno)
    };
    let (pid, pidfd) = sys::fork(call, None, child)?;
    drop(report);
    let read = read_all(&found);
    let _ = sys::pidfd_send_signal(&pidfd, libc::SIGKILL);
    let ended = sys::wait(pid, 0)?;
    let bytes = read?;
    match ended.and_then(|(status, _)| status.code()) {
        Some(0) => parse(&bytes),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        // The signal met it after its last word.
        None => parse(&bytes),
    }
}

/// The last byte of what is hidden; no path begins with it. At the end of a path: a directory that can be shown empty.
pub(super) const END: u8 = b'/';

fn read_all(found: &OwnedFd) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut all, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(found.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match sys::read(found.as_fd(), &mut part)? {
            0 => return Ok(all),
            length => all.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
        if all.len() > MOST_BYTES {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
    }
}

/// Puts the length of what is hidden before it, and the news behind it.
fn encode(said: &[u8], news: &Known) -> io::Result<Vec<u8>> {
    let news = postcard::to_stdvec(news).map_err(io::Error::other)?;
    let news = Some(news).filter(|news| news.len() <= MOST_NEWS);
    let length = (said.len() as u64).to_le_bytes();
    Ok([&length, said, &news.unwrap_or_default()].concat())
}

fn parse(bytes: &[u8]) -> io::Result<(Hidden, Vec<u8>)> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(io::Error::other)?;
    let (said, news) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((parse_hidden(said)?, news.to_vec()))
}

fn parse_hidden(bytes: &[u8]) -> io::Result<Hidden> {
    let whole = bytes
        .strip_suffix(&[END])
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let entries = whole.split_inclusive(|byte| *byte == 0);
    let path = |entry: &[u8]| {
        let path = CStr::from_bytes_with_nul(entry).map_err(io::Error::other)?;
        match path.to_bytes().strip_suffix(&[END]) {
            Some(directory) => Ok((CString::new(directory)?, Cover::Empty)),
            None => Ok((path.to_owned(), Cover::Closed)),
        }
    };
    entries.map(path).collect()
}

pub(super) fn say(said: &mut Vec<u8>, path: &[u8], cover: Cover) {
    said.extend_from_slice(path);
    if cover == Cover::Empty {
        said.push(END);
    }
    said.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_or_damaged_result_is_refused() {
        let mut said = Vec::new();
        say(&mut said, b"etc/key", Cover::Closed);
        say(&mut said, b"root", Cover::Empty);
        said.push(END);
        assert_eq!(said, b"etc/key\0root/\0/");
        let all = encode(&said, &Known::new()).unwrap();
        let (found, news) = parse(&all).unwrap();
        assert_eq!(postcard::from_bytes::<Known>(&news).unwrap(), Known::new());
        let text: Vec<_> = found
            .iter()
            .map(|(path, cover)| (path.to_bytes(), *cover))
            .collect();
        assert_eq!(
            text,
            [(&b"etc/key"[..], Cover::Closed), (b"root", Cover::Empty)]
        );
        assert!(parse_hidden(b"/").unwrap().is_empty());
        for length in 0..8 + said.len() {
            assert!(parse(&all[..length]).is_err(), "{length}");
        }
        for damaged in [&b""[..], b"etc/key\0", b"etc/key/", b"etc\0ro/"] {
            assert!(parse_hidden(damaged).is_err(), "{damaged:?}");
        }
    }
}
