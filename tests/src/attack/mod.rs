//! Attempts to change, reach or stall the host from inside a sandbox. Each attack does one thing once and reports the
//! kernel's answer. It must succeed without a sandbox, as the same uid or as root if only root may. A refusal inside
//! is therefore due to the sandbox layer. [`crate::scene`] prepares files, listeners and victims and passes them as
//! arguments. [`allowed`] lists what must still work in a sandbox.

pub mod allowed;
mod devices;
pub mod files;
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
mod separate;
mod shared;
pub mod strict;

use std::io;

use serde_json::{Value, json};

/// The errno of a refused attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub i32);

impl Refused {
    fn last() -> Self {
        io::Error::last_os_error().into()
    }

    /// Returns the name in C, such as `EROFS`.
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

/// The result of an attempt: a description if it was done, or the refusal.
pub type Tried = Result<String, Refused>;

/// The expected effect of a sandbox on an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Refused with this error.
    Errno(i32),
    /// The kernel kills the process with this signal.
    Killed(i32),
    /// The call returns success, but nothing changes on the host.
    NoEffect,
    /// The attack works, for example because a sandbox layer is missing.
    Done,
}

impl Expect {
    /// Returns one word for tables.
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

/// How the attack succeeds without a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// As the job's uid.
    SameUid,
    /// As root, in new namespaces if a success would change this machine.
    Root,
    /// Never, with the reason.
    Impossible(&'static str),
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Unique name.
    pub id: &'static str,
    /// The sandbox layer that refuses it first.
    pub layer: &'static str,
    /// Result in profile `read`.
    pub expect: Expect,
    /// Result in `read` on a kernel without Landlock.
    pub without_landlock: Expect,
    /// How it succeeds without a sandbox.
    pub control: Control,
    /// Errors of a machine that lacks the target.
    pub absent: &'static [i32],
    /// Description.
    pub what: &'static str,
    /// Performs the attack.
    pub run: fn(&[String]) -> Tried,
}

/// Defines an attack that the same uid can do without a sandbox, and that does not depend on Landlock.
const fn attack(
    id: &'static str,
    layer: &'static str,
    expect: Expect,
    what: &'static str,
    run: fn(&[String]) -> Tried,
) -> Attack {
    let (without_landlock, control) = (expect, Control::SameUid);
    Attack {
        id,
        layer,
        expect,
        without_landlock,
        control,
        absent: &[],
        what,
        run,
    }
}

impl Attack {
    const fn root(mut self) -> Self {
        self.control = Control::Root;
        self
    }

    /// No control is possible, so nothing shows that the check can fail.
    const fn impossible(mut self, why: &'static str) -> Self {
        self.control = Control::Impossible(why);
        self
    }

    const fn optional(mut self) -> Self {
        self.absent = ABSENT;
        self
    }

    /// Many file systems lack the target and return one of these errors.
    const fn absent(mut self, absent: &'static [i32]) -> Self {
        self.absent = absent;
        self
    }

    const fn without_landlock(mut self, expect: Expect) -> Self {
        self.without_landlock = expect;
        self
    }

    /// Returns the attack as one JSON object.
    #[must_use]
    pub fn describe(&self) -> Value {
        let errno = match self.expect {
            Expect::Errno(errno) => Some(errno),
            Expect::Killed(_) | Expect::NoEffect | Expect::Done => None,
        };
        json!({
            "id": self.id,
            "layer": self.layer,
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

/// Returns every attack on `read`, ordered by topic.
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

/// Finds an attack by name, including those only on `strict`.
#[must_use]
pub fn named(id: &str) -> Option<&'static Attack> {
    all().chain(hidden::ATTACKS).find(|attack| attack.id == id)
}

/// Returns one JSON line about an attempt.
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

const ABSENT: &[i32] = &[
    libc::ENOSYS,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ENOENT,
    libc::ENODEV,
];

fn errno_name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

fn argument(arguments: &[String], index: usize) -> &str {
    arguments
        .get(index)
        .expect("the scene gives every argument")
}

fn number(arguments: &[String], index: usize) -> i32 {
    argument(arguments, index)
        .parse()
        .expect("the scene gives a number")
}

/// For calls that would harm the machine. Their arguments are deliberately wrong, so these errors mean "permitted".
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
