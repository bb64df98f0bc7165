//! Attempts for a view, beside those for every sandbox.

use super::SECRET;
use super::common::{Attempt, HOLDS, errno, holds, own_namespace, refusal, state};
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
    refusal(
        Layer::NetworkNamespace,
        "a network of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 1),
    ),
];
