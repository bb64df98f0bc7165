//! Attempts for a view, beside those for every sandbox.

use std::os::fd::AsFd;

use super::common::{Attempt, HOLDS, always, errno, holds, own_namespace, refusal, state};
use super::{NAME, OPEN, PIPE, SECRET};
use crate::steps::view::CAPABILITIES;
use crate::{Layer, sys};

pub(super) static VIEW: &[Attempt] = &[
    state(
        Layer::Capabilities,
        "root, with as many rights as a view gives",
        |_| {
            let bounded = sys::has_at_most(CAPABILITIES).unwrap_or(false);
            holds(sys::is_user(0, 0) && bounded)
        },
    ),
    refusal(
        Layer::UserNamespace,
        "a user namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 5),
    ),
    refusal(
        Layer::Mask,
        "read a file of mode 0600",
        libc::EACCES,
        libc::EACCES,
        |_| errno(sys::open(SECRET, libc::O_RDONLY)),
    ),
    // Shown empty, or closed.
    state(
        Layer::Mask,
        "see a name in a directory of mode 0700",
        |_| {
            let answer = errno(sys::stat(NAME));
            holds([libc::ENOENT, libc::EACCES].contains(&answer))
        },
    ),
    refusal(
        Layer::ReadOnlyMounts,
        "write to a file of mode 0666, not the machine's",
        HOLDS,
        0,
        |s| {
            let written = sys::open(OPEN, libc::O_WRONLY).and_then(|file| {
                sys::write(file.as_fd(), &[1])?;
                sys::stat_of(file.as_fd())
            });
            // Before Linux 6.3 no mount maps the owners of a tmpfs, so its copy is read-only.
            holds(match written {
                Ok(stat) => stat.st_dev != s.outside.services,
                Err(error) => error.raw_os_error() == Some(libc::EROFS),
            })
        },
    ),
    refusal(
        Layer::ReadOnlyMounts,
        "open a FIFO that a process of the machine reads",
        libc::ENXIO,
        0,
        |_| errno(sys::open(PIPE, libc::O_WRONLY | libc::O_NONBLOCK)),
    ),
    Attempt {
        layer: Layer::ReadOnlyMounts,
        what: "open a setting of the kernel for writing",
        held: libc::EROFS,
        control: None, // Without the layers its owner decides.
        run: |_| errno(sys::open(c"/proc/sys/kernel/panic", libc::O_WRONLY)),
        fits: always,
    },
    refusal(
        Layer::NetworkNamespace,
        "a network of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 1),
    ),
];
