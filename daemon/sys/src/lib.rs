//! What the root processes share below their own duties: system calls as safe functions, cgroups, forked children and
//! unprivileged services. It knows no sandbox and decides nothing.

pub mod base_set;
pub mod cgroup;
mod error {
    //! The one error type of this crate: a system call that failed, or a refusal with its reason.

    use std::{fmt, io};

    #[derive(Debug)]
    pub enum Error {
        Call {
            /// The failed action with the object's name: `cannot mount a tmpfs on '/tmp'`.
            doing: String,
            source: io::Error,
        },
        /// The kernel or the machine lacks or has something that makes this unsafe.
        Refused { doing: String, why: String },
    }

    pub type Result<T> = std::result::Result<T, Error>;

    impl Error {
        pub fn refused(doing: impl Into<String>, why: impl Into<String>) -> Self {
            Self::Refused {
                doing: doing.into(),
                why: why.into(),
            }
        }

        pub fn errno(&self) -> Option<i32> {
            match self {
                Self::Call { source, .. } => source.raw_os_error(),
                Self::Refused { .. } => None,
            }
        }
    }

    impl fmt::Display for Error {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Call { doing, .. } => f.write_str(doing),
                Self::Refused { doing, why } => write!(f, "{doing}: {why}"),
            }
        }
    }

    impl std::error::Error for Error {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            match self {
                Self::Call { source, .. } => Some(source),
                Self::Refused { .. } => None,
            }
        }
    }

    pub trait Doing<T> {
        fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
    }

    impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
        fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
            self.map_err(|e| Error::Call {
                doing: doing(),
                source: e.into(),
            })
        }
    }
}
mod forked_task;
mod output {
    //! What a job leaves: the read ends of its output, its mount namespace, its copy of the machine. Whoever closes the last
    //! descriptor of an end waits for the pipe's lock, uninterruptibly. A job, or a process that opened the pipe by
    //! `/proc/PID/fd`, can hold it even after the job's end. The last one of mounts waits for the end of file systems. So
    //! [`OutputEnd`] gives its descriptor away: nothing that serves may be the last to close it.

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

    /// A descriptor of what a job leaves. When dropped, it is closed where that may wait.
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
}
mod private;
pub mod rights {
    //! Drops the rights of a process of ours that needs none.

    use std::io;

    use crate::sys;

    /// Drops every right. The kernel forces the order: first what needs `CAP_SETPCAP`, last the parent's death signal.
    pub fn drop_all_rights(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
        sys::drop_bounding()?;
        drop_all_rights_bounded(uid, gid, groups)
    }

    /// Does the same for a process that was born with an empty bounding set, which never grows. capabilities(7).
    pub fn drop_all_rights_bounded(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
        become_unprivileged(uid, gid, groups)?;
        sys::die_with_parent()?;
        is_unprivileged(uid, gid)
    }

    pub fn become_unprivileged(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
        sys::lock_securebits()?;
        sys::become_user(uid, gid, groups)?;
        sys::clear_capabilities()?;
        sys::set_dumpable(false)
    }

    pub fn is_unprivileged(uid: u32, gid: u32) -> io::Result<()> {
        match sys::is_user(uid, gid) && sys::has_no_capability()? && sys::securebits_locked() {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    }
}
mod service;
pub mod sys;

pub use cgroup::{Cgroup, Cgroups, Controller, Limits, Oom, Switch};
pub use error::{Doing, Error, Result};
pub use forked_task::{Answer, in_child, in_child_with};
pub use output::{Closing, OutputEnd};
pub use private::{NOBODYS, open_private};
pub use service::{spawn_root, spawn_service};
pub use sys::inherited_listener;
