//! Attempts to change, reach or stall the host from inside a sandbox.
//!
//! Each attack does one thing, once, and says whether the kernel let it. It
//! succeeds when run as the same uid without a sandbox (or as root, where only
//! root may): so a refusal inside is the wall's doing. Files, listeners and
//! victims are arranged by [`crate::scene`] and arrive as arguments.
//!
//! [`allowed`] is the other half: what a sandbox that only removes reach must
//! leave working.

pub mod allowed;
mod apart;
mod devices;
mod files;
pub mod hidden;
mod identity;
mod ipc;
mod kernel;
mod locks;
mod namespaces;
mod network;
pub mod objects;
pub mod pools;
mod process;
mod raw;
mod shared;
pub mod strict;

use std::io;

use serde_json::{Value, json};

/// What the kernel answered when it said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub i32);

impl Refused {
    fn last() -> Self {
        io::Error::last_os_error().into()
    }

    /// The error's name in C, such as `EROFS`.
    #[must_use]
    pub fn name(self) -> String {
        errno_name(self.0)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// What became of an attempt: done, in words, or refused.
pub type Tried = Result<String, Refused>;

/// What a sandbox must do to an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Refused with this error.
    Errno(i32),
    /// The kernel ends the process with this signal.
    Killed(i32),
    /// The call answers success, and nothing changes on the host.
    NoEffect,
    /// It works: for the table of what is left without a wall.
    Done,
}

impl Expect {
    /// In one word, as in tables.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Errno(errno) => errno_name(errno),
            Self::Killed(signal) => format!("signal {signal}"),
            Self::NoEffect => "no effect".into(),
            Self::Done => "done".into(),
        }
    }
}

/// Under which circumstances, without a sandbox, the attack succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// As the very uid that the job has.
    SameUid,
    /// As root, in fresh namespaces wherever a success would change this machine.
    Root,
    /// Never, and why.
    Impossible(&'static str),
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its name, unique.
    pub id: &'static str,
    /// The wall that refuses it first.
    pub wall: &'static str,
    /// What happens in profile `read`.
    pub expect: Expect,
    /// What happens there on a kernel without Landlock.
    pub without_landlock: Expect,
    /// Who can do it without a sandbox.
    pub control: Control,
    /// Kernels are also built without what it attacks.
    pub optional: bool,
    /// In words.
    pub what: &'static str,
    /// Performs it.
    pub run: fn(&[String]) -> Tried,
}

/// An attack that the same uid can do without a sandbox, and that holds without Landlock too.
const fn attack(
    id: &'static str,
    wall: &'static str,
    expect: Expect,
    what: &'static str,
    run: fn(&[String]) -> Tried,
) -> Attack {
    let (without_landlock, control) = (expect, Control::SameUid);
    Attack {
        id,
        wall,
        expect,
        without_landlock,
        control,
        optional: false,
        what,
        run,
    }
}

impl Attack {
    /// Only root can do it without a sandbox.
    const fn root(mut self) -> Self {
        self.control = Control::Root;
        self
    }

    /// Nobody can do it here, so that no control shows that the check can fail.
    const fn impossible(mut self, why: &'static str) -> Self {
        self.control = Control::Impossible(why);
        self
    }

    /// Many kernels do not have it at all.
    const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Without Landlock this happens instead.
    const fn without_landlock(mut self, expect: Expect) -> Self {
        self.without_landlock = expect;
        self
    }

    /// As one JSON object.
    #[must_use]
    pub fn describe(&self) -> Value {
        let errno = match self.expect {
            Expect::Errno(errno) => Some(errno),
            Expect::Killed(_) | Expect::NoEffect | Expect::Done => None,
        };
        json!({
            "id": self.id,
            "wall": self.wall,
            "expect": self.expect.word(),
            "errno": errno,
            "without_landlock": self.without_landlock.word(),
            "control": match self.control {
                Control::SameUid => "same uid",
                Control::Root => "root",
                Control::Impossible(_) => "none",
            },
            "description": self.what,
        })
    }
}

/// Every attack on `read`, by place.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    [
        files::ATTACKS,
        devices::ATTACKS,
        process::ATTACKS,
        network::ATTACKS,
        ipc::ATTACKS,
        locks::ATTACKS,
        shared::ATTACKS,
        pools::ATTACKS,
        namespaces::ATTACKS,
        kernel::ATTACKS,
        identity::ATTACKS,
    ]
    .into_iter()
    .flatten()
}

/// The attack of this name, one on `strict` alone among them.
#[must_use]
pub fn named(id: &str) -> Option<&'static Attack> {
    all().chain(hidden::ATTACKS).find(|attack| attack.id == id)
}

/// One JSON line about an attempt.
#[must_use]
pub fn report(id: &str, tried: &Tried) -> Value {
    match tried {
        Ok(detail) => json!({ "id": id, "outcome": "done", "detail": detail }),
        Err(refused) => json!({
            "id": id,
            "outcome": "refused",
            "errno": refused.0,
            "errno_name": refused.name(),
            "detail": io::Error::from_raw_os_error(refused.0).to_string(),
        }),
    }
}

/// What a kernel answers that was built without it.
pub const ABSENT: &[i32] = &[
    libc::ENOSYS,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ENOENT,
    libc::ENODEV,
    // A flag that the file system does not have, as overlayfs has no whiteout.
    libc::EINVAL,
];

fn errno_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// The argument at `place`; the scene gives all that an attack needs.
fn argument(arguments: &[String], place: usize) -> &str {
    arguments
        .get(place)
        .expect("the scene gives every argument")
}

/// A number among the arguments.
fn number(arguments: &[String], place: usize) -> i32 {
    argument(arguments, place)
        .parse()
        .expect("the scene gives a number")
}

/// For calls that would harm the machine if they worked: the arguments are
/// wrong on purpose, so these errors show that the permission check was passed.
fn passed_the_check(result: Result<usize, Refused>, harmless: &[i32]) -> Tried {
    match result {
        Ok(_) => Ok("the call was done".into()),
        Err(refused) if harmless.contains(&refused.0) => Ok(format!(
            "permitted, the argument was wrong on purpose: {}",
            refused.name()
        )),
        Err(refused) => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_unique() {
        let mut seen = BTreeSet::new();
        let allowed = super::allowed::all().map(|check| check.id);
        let attacks = super::all().chain(super::hidden::ATTACKS);
        for id in attacks.map(|attack| attack.id).chain(allowed) {
            assert!(seen.insert(id), "'{id}' names two");
        }
    }
}
