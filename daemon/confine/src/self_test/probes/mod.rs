//! The self-test's attempts, each for a layer that forbids it. Each runs in its own process, which answers with an
//! errno, 0 if it was allowed. If possible, the same uid tries it before without the layers, as proof that they count.

mod common;

mod view;

pub(crate) use common::{
    Attempt, DEVICE, FIFO, FILE, NAME, NAMESPACES, OPEN, Outside, PIPE, PRIVATE, PROGRAM, SECRET,
    SERVICES, STAGE, Stage,
};

use crate::spec::compiled::Base;
use crate::{Layer, Sandbox, sys};
use common::{COMMON, HOLDS, call, each_mount, errno, holds, own_namespace, refusal, state};
use view::VIEW;

pub(crate) fn attempts(sandbox: &Sandbox) -> impl Iterator<Item = &'static Attempt> + '_ {
    let there = |attempt: &&Attempt| {
        attempt.layer.absent(&sandbox.kernel).is_none() && (attempt.fits)(sandbox)
    };
    let (namespaced, own) = match sandbox.base {
        Base::Strict(_) => (NAMESPACED, STRICT),
        Base::View(_) => (NAMESPACED, VIEW),
        Base::Read(_) | Base::Host | Base::Extract(_) => (&[][..], &[][..]),
    };
    let all = COMMON.iter().chain(namespaced).chain(own);
    all.filter(there)
}

static NAMESPACED: &[Attempt] = &[
    refusal(
        Layer::PidNamespace,
        "a pid namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 0),
    ),
    refusal(
        Layer::IpcNamespace,
        "an ipc namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 2),
    ),
    refusal(
        Layer::UtsNamespace,
        "a uts namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 3),
    ),
    refusal(
        Layer::CgroupNamespace,
        "a cgroup namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 4),
    ),
];

static STRICT: &[Attempt] = &[
    state(Layer::PrivateTmp, "/tmp can be written", |_| {
        let made = sys::make_dir(c"/tmp/witness", 0o700).is_ok();
        let here = sys::stat(c"/tmp").map(|tmp| tmp.st_dev);
        let root = sys::stat(c"/").map(|root| root.st_dev);
        holds(made && here.ok() != root.ok())
    }),
    refusal(
        Layer::PrivateRoot,
        "another root than the host's",
        HOLDS,
        0,
        |s| holds(sys::stat(c"/").is_ok_and(|root| root.st_dev != s.outside.root)),
    ),
    refusal(
        Layer::NoExec,
        "execute a file of mode 0755",
        libc::EACCES,
        0,
        |_| errno(sys::may_execute(PROGRAM)),
    ),
    state(Layer::NoExec, "every mount is noexec", |s| {
        each_mount(b"noexec", s.executable)
    }),
    refusal(
        Layer::NetworkNamespace,
        "a network of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 1),
    )
    .when(
        |sandbox| matches!(&sandbox.base, Base::Strict(strict) if strict.attendance.net.is_some()),
    ),
    Attempt {
        layer: Layer::LandlockScope,
        what: "signal the sandbox's init, of the same uid",
        held: libc::EPERM,
        control: None, // Without the layers there is no init.
        run: |_| call(libc::SYS_kill, [1, 0, 0, 0]),
        fits: |sandbox| sandbox.credentials.user.is_none(),
    },
];
