//! Connects a user to a daemon from threads that outlive the daemon.

use std::path::PathBuf;

use remit_common::client::{Client, ClientError};

use crate::daemon::Daemon;
use crate::process::Identity;

/// A daemon's socket and a user.
#[derive(Clone, Debug)]
pub struct Door {
    socket: PathBuf,
    user: Identity,
}

impl Door {
    /// Stays valid for later daemons in the same directory.
    #[must_use]
    pub fn new(daemon: &Daemon, user: &Identity) -> Self {
        Self {
            socket: daemon.runtime().socket(),
            user: user.clone(),
        }
    }

    /// Returns true if it belongs to this user.
    #[must_use]
    pub fn is_of(&self, user: &Identity) -> bool {
        self.user == *user
    }

    /// Connects. Fails if the daemon refuses or is not running.
    pub fn enter(&self) -> Result<Client, ClientError> {
        let Self { socket, user } = self.clone();
        // A separate thread, because it keeps the identity.
        let connect = move || {
            user.adopt().expect("the tests run as root");
            Client::connect(&socket, "remit-tests")
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }
}
