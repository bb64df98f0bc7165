//! Messages between spawner and worker: one datagram each, with descriptors. A worker's children speak with the warden.

use crate::spec::compiled::Origin;
use serde::{Deserialize, Serialize};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

pub(super) use remit_spawn::socket::{is_socket, pair, patient_pair, receive, send, send_now};

/// The first message to a worker. Its descriptors: the warden's pidfd, and the switch that ends all jobs. The worker
/// says when it is ready; then each message is a [`remit_spawn::Fork`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) origin: Origin,
}

const KEEP: u8 = 1;

/// Has the worker keep the mount namespace of a job that ends soon: otherwise the job waits for the namespace's end.
pub(super) fn keep(worker: BorrowedFd<'_>, mount_ns: &OwnedFd) {
    // Without the worker the job ends a little later.
    let _ = send_now(worker, &KEEP, &[mount_ns.as_fd()]);
}

pub(super) fn receive_kept(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let kept = receive::<u8>(socket)?;
    Ok(kept.and_then(|(_, mut fds)| fds.pop()))
}
