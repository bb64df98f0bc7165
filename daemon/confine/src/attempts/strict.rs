//! What is tried in a `strict` sandbox besides.

use super::{Attempt, HOLDS, PROGRAM, call, each_mount, errno, holds, own_namespace};
use super::{refusal, state};
use crate::sandbox::Base;
use crate::{Wall, floor};

pub(super) static STRICT: &[Attempt] = &[
    refusal(
        Wall::PidNamespace,
        "a pid namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 0),
    ),
    state(Wall::PrivateTmp, "/tmp can be written", |_| {
        let made = floor::make_dir(c"/tmp/witness", 0o700).is_ok();
        let here = floor::stat(c"/tmp").map(|tmp| tmp.st_dev);
        let root = floor::stat(c"/").map(|root| root.st_dev);
        holds(made && here.ok() != root.ok())
    }),
    refusal(
        Wall::PrivateRoot,
        "another root than the host's",
        HOLDS,
        0,
        |s| holds(floor::stat(c"/").is_ok_and(|root| root.st_dev != s.outside.root)),
    ),
    refusal(
        Wall::NoExec,
        "execute a file of mode 0755",
        libc::EACCES,
        0,
        |_| errno(floor::may_execute(PROGRAM)),
    ),
    state(Wall::NoExec, "every mount is noexec", |s| {
        each_mount(b"noexec", s.executable)
    }),
    refusal(
        Wall::NetworkNamespace,
        "a network of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 1),
    )
    .when(|sandbox| matches!(&sandbox.base, Base::Strict(strict) if strict.net.is_some())),
    refusal(
        Wall::IpcNamespace,
        "an ipc namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 2),
    ),
    refusal(
        Wall::UtsNamespace,
        "a uts namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 3),
    ),
    refusal(
        Wall::CgroupNamespace,
        "a cgroup namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 4),
    ),
    Attempt {
        wall: Wall::LandlockScope,
        what: "signal the sandbox's init, of the same uid",
        held: libc::EPERM,
        // There is none without the walls.
        control: None,
        run: |_| call(libc::SYS_kill, [1, 0, 0, 0]),
        fits: |sandbox| sandbox.who.user.is_none(),
    },
];
