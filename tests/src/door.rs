//! Where a user comes in, for threads that outlive a daemon's death.

use std::path::PathBuf;

use remit_common::client::{Client, ClientError};

use crate::daemon::Daemon;
use crate::process::Identity;

/// A daemon's socket and somebody who knocks there.
#[derive(Clone, Debug)]
pub struct Door {
    socket: PathBuf,
    who: Identity,
}

impl Door {
    /// Somebody's way to a daemon, and to those that follow it in the same place.
    #[must_use]
    pub fn new(daemon: &Daemon, who: &Identity) -> Self {
        Self {
            socket: daemon.runtime().socket(),
            who: who.clone(),
        }
    }

    /// Whether it is this user's.
    #[must_use]
    pub fn is_of(&self, who: &Identity) -> bool {
        self.who == *who
    }

    /// A connection.
    ///
    /// # Errors
    /// The daemon does not let them in, or there is none.
    ///
    /// # Panics
    /// When the tests do not run as root.
    pub fn enter(&self) -> Result<Client, ClientError> {
        let Self { socket, who } = self.clone();
        // A thread of its own: it stays what it has become.
        let connect = move || {
            who.adopt().expect("the tests run as root");
            Client::connect(&socket, "remit-tests")
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }
}
