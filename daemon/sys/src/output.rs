//! Read ends of a job's output. A pipe has one lock. Whoever closes the last descriptor of an end waits for that lock,
//! and no signal interrupts the wait. A job can hold it, and so can another process that opened the pipe by
//! `/proc/PID/fd`, even after the job's end. So no process or thread that serves may be the last to close these ends:
//! [`OutputEnd`] gives its descriptor away, however it is dropped.

use crate::sys;
use std::{
    fmt,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

#[derive(Clone)]
pub struct Closing(Rc<dyn Fn(OwnedFd)>);

impl Closing {
    /// Passes each of them to `close`, which must not be the last to close one in a thread or process that serves.
    pub fn by(close: impl Fn(OwnedFd) + 'static) -> Self {
        Self(Rc::new(close))
    }

    /// Closes on the spot, which may wait: for programs that serve nobody.
    pub fn here() -> Self {
        Self::by(drop)
    }

    pub fn guard(&self, fd: OwnedFd) -> OutputEnd {
        OutputEnd {
            fd: ManuallyDrop::new(fd),
            closing: self.clone(),
        }
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closing")
    }
}

/// The end by which a job's output is read. When dropped, it is closed where that may wait.
pub struct OutputEnd {
    fd: ManuallyDrop<OwnedFd>,
    closing: Closing,
}

impl fmt::Debug for OutputEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputEnd({})", self.as_raw_fd())
    }
}

impl AsFd for OutputEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for OutputEnd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for OutputEnd {
    fn drop(&mut self) {
        (self.closing.0)(sys::take_on_drop(&mut self.fd));
    }
}
