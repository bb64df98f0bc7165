//! Frames from a client: bounded in size, in time, and in memory before their bytes are here.

use std::rc::Rc;
use std::time::Duration;

use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::refusal::{Code, Refusal};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::time::timeout;

use super::End;
use super::reader::Reader;
use crate::account::{Account, Buffered};

/// Bytes read at once where a client sends many small frames.
const BUFFER: usize = 4 << 10;
/// A frame up to this size is not counted against its uid: all its calls in flight are little.
const SMALL: usize = 4 << 10;

/// The reading side of a client.
pub struct Frames {
    from: BufReader<Reader>,
    account: Rc<Account>,
}

/// One frame's bytes, and their share of the uid's buffers while they are held.
pub struct Frame {
    pub bytes: Vec<u8>,
    pub room: Option<Buffered>,
}

impl Frames {
    pub fn new(from: Reader, account: Rc<Account>) -> Self {
        Self {
            from: BufReader::with_capacity(BUFFER, from),
            account,
        }
    }

    /// Whose frames these are.
    pub fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// The next frame. Its first byte may take for ever, the rest has a deadline.
    pub async fn next(&mut self) -> Result<Frame, End> {
        let mut field = [0; frame::HEADER];
        let [first, ..] = &mut field;
        match self.from.read(std::slice::from_mut(first)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(End::Closed),
        }
        let deadline = Duration::from_millis(caps::FRAME_DEADLINE_MS);
        timeout(deadline, self.rest(field))
            .await
            .unwrap_or_else(|_| {
                let seconds = deadline.as_secs();
                Err(End::Refused(Refusal::new(
                    Code::InvalidArgs,
                    format!("the frame was not finished within {seconds} s"),
                )))
            })
    }

    async fn rest(&mut self, mut field: [u8; frame::HEADER]) -> Result<Frame, End> {
        let [_, others @ ..] = &mut field;
        if self.from.read_exact(others).await.is_err() {
            return Err(End::Closed);
        }
        let length = frame::header(field, caps::FRAME).map_err(refused)?;
        let room = if length > SMALL {
            Some(self.room(length)?)
        } else {
            None
        };
        // Grows with what arrives: a length alone costs nothing.
        let mut bytes = Vec::with_capacity(length.min(BUFFER));
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        match (&mut self.from).take(wanted).read_to_end(&mut bytes).await {
            Ok(read) if read == length => Ok(Frame { bytes, room }),
            Ok(_) | Err(_) => Err(End::Closed),
        }
    }

    fn room(&self, length: usize) -> Result<Buffered, End> {
        self.account.buffer(length).ok_or_else(|| {
            End::Refused(
                Refusal::new(Code::Busy, "too much data of this user is under way")
                    .next("send large requests one after the other, and read the answers"),
            )
        })
    }
}

fn refused(error: FrameError) -> End {
    match error {
        FrameError::TooLong { .. } => End::Refused(Refusal::new(Code::TooLarge, error.to_string())),
        FrameError::Malformed | FrameError::Closed | FrameError::Io(_) => {
            End::Refused(Refusal::new(Code::InvalidArgs, error.to_string()))
        }
    }
}
