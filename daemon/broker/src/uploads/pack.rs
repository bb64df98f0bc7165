//! Takes the contents of a plan from the job that extracts it, as an upload of the job's user: see `remit_common::pack`. They
//! are no output of the job and have the bounds of uploads. Without all bytes nothing is kept.

use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::sys::socket::{MsgFlags, send};
use remit_common::pack::{ANSWER, Header, KEPT, SEND};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_link::ForeignSocket;
use remit_wire::{CONTENT_BYTES, Upload};
use tokio::io::{AsyncReadExt, BufReader};

use super::{UploadKey, UploadState, UploadStore};
use crate::runtime::async_fd::{Reader, Socket};

/// Bytes that are read before they are written: of each job this much is in memory.
const PART: u64 = 256 << 10;

/// Takes a pack if the job has one, and says how that ended.
pub async fn receive(uploads: &UploadStore, uid: u32, socket: ForeignSocket) {
    let socket = match Socket::new(socket) {
        Ok(socket) => Rc::new(socket),
        Err(error) => return tracing::warn!("cannot watch the socket of a plan: {error}"),
    };
    let mut from = BufReader::new(Reader(Rc::clone(&socket)));
    let mut header = [0; Header::BYTES];
    if from.read_exact(&mut header).await.is_err() {
        // A plan without a pack, or none.
        return;
    }
    let Header { sha256, size } = Header::decode(&header);
    let upload = Upload { sha256, size };
    let key = UploadKey { uid, upload };
    match kept(uploads, key, &socket, &mut from).await {
        Ok(()) => answer(&socket, KEPT),
        Err(why) => answer(&socket, &sentence(&why)),
    }
}

async fn kept(
    uploads: &UploadStore,
    key: UploadKey,
    socket: &Socket<ForeignSocket>,
    from: &mut BufReader<Reader>,
) -> Result<(), Refusal> {
    let size = key.upload.size;
    if !(1..=CONTENT_BYTES).contains(&size) {
        let text = format!("a plan has 1 to {CONTENT_BYTES} bytes of new files");
        return Err(Refusal::new(Code::TooLarge, text));
    }
    if uploads.add(key, 0, Vec::new()).await? == size {
        return Ok(());
    }
    uploads.begin_again(key)?;
    answer(socket, SEND);
    let copied = copied(uploads, key, from).await;
    if copied.is_err() {
        uploads.abandon(&key);
    }
    copied
}

async fn copied(
    uploads: &UploadStore,
    key: UploadKey,
    from: &mut BufReader<Reader>,
) -> Result<(), Refusal> {
    let mut at = 0;
    while at < key.upload.size {
        let wanted = (key.upload.size - at).min(PART);
        let mut bytes = Vec::new();
        let read = (&mut *from).take(wanted).read_to_end(&mut bytes).await;
        if !matches!(read, Ok(read) if read as u64 == wanted) {
            return Err(Refusal::new(Code::NotStarted, "not all of them came"));
        }
        at += wanted;
        if uploads.add(key, at - wanted, bytes).await? != at {
            let text = "another connection sends the same bytes";
            return Err(Refusal::new(Code::Busy, text).next("plan again"));
        }
    }
    Ok(())
}

fn sentence(why: &Refusal) -> String {
    let next = why.next.as_deref().unwrap_or_default();
    let mark = if next.is_empty() { "" } else { "; " };
    let text = format!("{}{mark}{next}", why.message);
    text::line(text.as_bytes(), ANSWER - 4)
}

/// Fits into the empty socket. A job that has left reads nothing.
fn answer(socket: &Socket<ForeignSocket>, text: &str) {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(
        socket.as_fd().as_raw_fd(),
        format!("{text}\n").as_bytes(),
        flags,
    );
}

impl UploadStore {
    /// Begins an upload from its first byte, also one that was not finished.
    fn begin_again(&self, key: UploadKey) -> Result<(), Refusal> {
        self.abandon(&key);
        self.begin(key)
    }

    /// Removes an upload that is not whole, unless a thread writes it just now.
    fn abandon(&self, key: &UploadKey) {
        let is_open = |state: &UploadState| matches!(state, UploadState::Open(_));
        let entries = self.entries.borrow();
        let is_open = entries.get(key).is_some_and(|entry| is_open(&entry.state));
        drop(entries);
        if is_open {
            self.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use remit_common::caps;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::output::spool::tests::Scratch;

    const UID: u32 = 8;

    fn upload(bytes: &[u8]) -> Upload {
        Upload {
            sha256: Sha256::digest(bytes).into(),
            size: bytes.len() as u64,
        }
    }

    /// The job says `named` and then sends `bytes`, if it is asked to. Returns the answers.
    async fn handed(store: &UploadStore, named: Upload, bytes: &[u8]) -> String {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let Upload { sha256, size } = named;
        let header = Header { sha256, size }.encode();
        let bytes = bytes.to_vec();
        let job = thread::spawn(move || {
            far.write_all(&header).unwrap();
            let mut first = [0; 5];
            let read = far.read(&mut first).unwrap();
            if &first[..read] == b"send\n" {
                let _ = far.write_all(&bytes);
            }
            let _ = far.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).unwrap();
            String::from_utf8([&first[..read], &rest].concat()).unwrap()
        });
        receive(store, UID, ForeignSocket::new(near.into(), drop)).await;
        job.join().unwrap()
    }

    #[tokio::test]
    async fn pack_is_kept_whole_or_not_at_all() {
        let scratch = Scratch::new();
        let store = UploadStore::open(Some(&scratch.path)).unwrap();
        let bytes = vec![b'x'; 700_001];
        let named = upload(&bytes);
        let key = UploadKey {
            uid: UID,
            upload: named,
        };
        let there = || std::fs::read_dir(&scratch.path).unwrap().count();
        let cut = handed(&store, named, &bytes[1..]).await;
        assert_eq!(cut, "send\nnot all of them came\n");
        assert_eq!((store.received(&key), there()), (None, 0));
        let mut other = bytes.clone();
        other[700_000] = b'y';
        let wrong = handed(&store, named, &other).await;
        assert!(wrong.contains("have another hash"), "{wrong}");
        assert_eq!(there(), 0);
        // One that a client has begun is begun again.
        store.begin(key).unwrap();
        assert_eq!(handed(&store, named, &bytes).await, "send\nkept\n");
        assert_eq!(handed(&store, named, &bytes).await, "kept\n");
        assert_eq!((store.received(&key), there()), (Some(700_001), 1));
        let path = scratch.path.join(format!("{UID}-{named}"));
        assert!(std::fs::read(path).unwrap() == bytes);
    }

    #[tokio::test]
    async fn pack_without_space_is_refused_before_a_byte_of_it_comes() {
        let scratch = Scratch::new();
        let store = UploadStore::open(Some(&scratch.path)).unwrap();
        let long = |size| Upload {
            sha256: [1; 32],
            size,
        };
        let refused = handed(&store, long(CONTENT_BYTES + 1), b"").await;
        assert_eq!(refused, "a plan has 1 to 1073741824 bytes of new files\n");
        let none = UploadStore::open(None).unwrap();
        let refused = handed(&none, long(9), b"").await;
        assert!(
            refused.starts_with("there is too little space"),
            "{refused}"
        );
        assert_eq!(caps::UPLOADS_PER_UID, CONTENT_BYTES);
    }
}
