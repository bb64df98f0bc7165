//! Compiles each profile of a policy into a sandbox for this machine, once for all its jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use remit_common::inspect::LOOK;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Base, Eyes, HostAddress, Inspect, Listed, Policy, Profile, User};
use remit_spawn::{
    Destination, ExtractProfile, FarAddress, HostProfile, ListedPath, Network, ReadProfile,
    StrictProfile, ViewProfile, Wanted,
};
use remit_sys::{Error, Limits, Result};

use super::ConfinedBase;
use crate::config::MachineLimits;
use crate::sandbox::spawner::{Compile, Sandbox};
use crate::startup::error::chain;

/// A profile and its sandbox. A job keeps it until its end, even if the policy changes.
#[derive(Debug)]
pub struct Compiled {
    profile: Arc<Profile>,
    sandbox: Sandbox,
    space: Option<u64>,
}

impl Compiled {
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    pub fn base(&self) -> Base {
        self.profile.base
    }

    /// Returns the uid of the profile's user; `None` if each job has its own.
    pub fn fixed_uid(&self) -> Option<u32> {
        match self.profile.user {
            User::Own => None,
            User::Fixed { uid, .. } => Some(uid),
        }
    }

    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns the bytes of each job's copy of the machine, if its jobs have one.
    pub fn space(&self) -> Option<u64> {
        self.space
    }

    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

#[derive(Debug)]
pub struct Workshop {
    compiler: Box<dyn Compile>,
    groups: Vec<u32>,
    limits: MachineLimits,
    /// The kernel's audit gets what the sandboxes refuse.
    is_audited: bool,
    has_bus: bool,
    /// `sandbox.require` names Landlock.
    needs_landlock: bool,
}

impl Workshop {
    pub fn new(
        compiler: Box<dyn Compile>,
        groups: Vec<u32>,
        limits: MachineLimits,
        is_audited: bool,
        has_bus: bool,
        needs_landlock: bool,
    ) -> Self {
        Self {
            compiler,
            groups,
            limits,
            is_audited,
            has_bus,
            needs_landlock,
        }
    }

    pub fn compile(&self, profile: &Arc<Profile>) -> Result<Compiled> {
        if profile.inspect == Some(Inspect::Processes) && self.needs_landlock {
            return Err(Error::refused(
                "cannot look at the processes of others",
                "sandbox.require in remit.toml has \"landlock\", and in a Landlock domain the kernel shows no other process",
            ));
        }
        let limits = limits_in(profile, self.limits.with(&[profile.limits]));
        let wanted = Wanted {
            profile: match profile.base {
                Base::Read => remit_spawn::Profile::Read(self.read(profile, limits)),
                Base::Strict => remit_spawn::Profile::Strict(strict_profile(profile, limits)),
                Base::Host => remit_spawn::Profile::Host(host_profile(profile, limits)),
                Base::Plan => remit_spawn::Profile::View(self.view(profile, limits)),
                Base::Extract => remit_spawn::Profile::Extract(ExtractProfile { limits }),
            },
            is_audited: self.is_audited,
        };
        Ok(Compiled {
            profile: Arc::clone(profile),
            space: (profile.base == Base::Plan).then(|| self.limits.space(profile.space)),
            sandbox: self.compiler.compile(wanted)?,
        })
    }

    fn view(&self, profile: &Profile, limits: Limits) -> ViewProfile {
        /// Bytes of a file, on average, as mkfs.ext4(8) counts.
        const BYTES_OF_A_FILE: u64 = 16 << 10;
        let space = self.limits.space(profile.space);
        ViewProfile {
            groups: self.groups.clone(),
            names: match &profile.network {
                remit_policy::Network::Names(names) => names.clone(),
                _ => Vec::new(),
            },
            area: (space, space / BYTES_OF_A_FILE),
            sees_all: profile.eyes == Eyes::Root,
            limits,
        }
    }

    fn read(&self, profile: &Profile, limits: Limits) -> ReadProfile {
        ReadProfile {
            groups: [&self.groups[..], &profile.groups].concat(),
            limits,
            capabilities: profile.capabilities,
            write: listed_paths(&profile.write),
            devices: listed_paths(&profile.devices),
            network: matches!(profile.network, remit_policy::Network::Host),
            has_bus: self.has_bus && profile.inspect.is_none(),
            inspect: profile.inspect.map(|inspect| match inspect {
                Inspect::Names => remit_spawn::Inspect::Names {
                    program: LOOK.into(),
                },
                Inspect::Processes => remit_spawn::Inspect::Processes,
                Inspect::File => remit_spawn::Inspect::File,
            }),
        }
    }
}

pub fn limits_in(profile: &Profile, limits: MachineLimits) -> Limits {
    match profile.base {
        Base::Plan => return limits.of_a_copying_job(profile.space),
        Base::Host => return limits.of_a_host_job(),
        Base::Read | Base::Strict | Base::Extract => {}
    }
    let limits = match shares_a_user(profile) {
        true => limits.of_a_users_job(),
        false => limits,
    };
    match profile.write.is_empty() {
        true => limits.limits(),
        false => limits.of_a_writing_job(),
    }
}

/// Returns true if its confined jobs have, or can change to, a uid that other processes may have, too.
fn shares_a_user(profile: &Profile) -> bool {
    const CAP_SETUID: u64 = 1 << 7;
    let becomes = profile.capabilities & CAP_SETUID != 0;
    fixed(profile).is_some() || becomes
}

fn strict_profile(profile: &Profile, limits: Limits) -> StrictProfile {
    StrictProfile {
        user: fixed(profile),
        groups: profile.groups.clone(),
        capabilities: profile.capabilities,
        read: listed_paths(&profile.read),
        write: listed_paths(&profile.write),
        exec: listed_paths(&profile.exec),
        devices: listed_paths(&profile.devices),
        sockets: listed_paths(&profile.sockets),
        scratch: profile.scratch.iter().map(PathBuf::from).collect(),
        write_and_exec: profile.write_and_exec,
        network: network(&profile.network),
        limits,
    }
}

fn host_profile(profile: &Profile, limits: Limits) -> HostProfile {
    HostProfile {
        // The policy allows no other user here: without a sandbox, a separate uid protects nothing.
        user: fixed(profile).unwrap_or((0, 0)),
        groups: profile.groups.clone(),
        limits,
    }
}

fn fixed(profile: &Profile) -> Option<(u32, u32)> {
    match profile.user {
        User::Own => None,
        User::Fixed { uid, gid, .. } => Some((uid, gid)),
    }
}

fn listed_paths(listed: &[Listed]) -> Vec<ListedPath> {
    let listed_path = |listed: &Listed| ListedPath {
        path: PathBuf::from(&listed.path),
        optional: listed.optional,
    };
    listed.iter().map(listed_path).collect()
}

fn network(network: &remit_policy::Network) -> Network {
    match network {
        remit_policy::Network::None => Network::None,
        remit_policy::Network::Loopback => Network::Loopback,
        remit_policy::Network::Host => Network::Host,
        remit_policy::Network::ThisHost => Network::ThisHost,
        remit_policy::Network::Connect(to) => {
            let address = |one: &HostAddress| FarAddress {
                ip: one.ip,
                may_be_own: one.may_be_own,
            };
            let destination = |to: &remit_policy::Destination| Destination {
                host: to.host.clone(),
                addresses: to.addresses.iter().map(address).collect(),
                port: to.port,
            };
            Network::Connect(to.iter().map(destination).collect())
        }
        remit_policy::Network::Names(names) => Network::Names(names.clone()),
    }
}

/// All sandboxes of a policy. A profile without one has the reason instead.
#[derive(Debug, Default)]
pub struct Sandboxes(BTreeMap<String, std::result::Result<Rc<Compiled>, String>>);

impl Sandboxes {
    pub fn of(policy: &Policy, workshop: std::result::Result<&Workshop, &str>) -> Self {
        let compile = |profile: &Arc<Profile>| match workshop {
            Ok(workshop) => workshop
                .compile(profile)
                .map(Rc::new)
                .map_err(|error| chain(&error)),
            Err(why) => Err(why.to_owned()),
        };
        let all = policy.profiles();
        Self(all.map(|p| (p.name.clone(), compile(p))).collect())
    }

    /// Errors: `unsupported_kernel`: this machine cannot provide it.
    pub fn get(&self, profile: &Profile) -> std::result::Result<Rc<Compiled>, Refusal> {
        let why = match self.0.get(&profile.name) {
            Some(Ok(compiled)) => return Ok(Rc::clone(compiled)),
            Some(Err(why)) => why,
            None => "it does not belong to the policy in force",
        };
        let name = &profile.name;
        let text = format!("nothing runs in '{name}' on this machine: {why}");
        Err(Refusal::new(Code::UnsupportedKernel, text)
            .by(format!("profile '{name}'"))
            .lift("change the profile, or provide what it needs on this machine; then remit policy reload")
            .next("tell the person you work for"))
    }

    pub fn all(&self) -> impl Iterator<Item = &Sandbox> {
        let compiled = self
            .0
            .values()
            .filter_map(|compiled| compiled.as_ref().ok());
        compiled.map(|compiled| compiled.sandbox())
    }

    /// Returns refused profiles except `read` and `strict`, which are reported with their layers.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_base = |name: &str| {
            ConfinedBase::ALL
                .iter()
                .any(|confined| confined.name() == name)
        };
        let own = self.0.iter().filter(move |(name, _)| !is_base(name));
        own.filter_map(|(name, compiled)| Some((name.as_str(), compiled.as_ref().err()?.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_job_has_no_limit_of_memory() {
        let memory = |profile: &Profile| {
            let machine = MachineLimits::default().with(&[profile.limits]);
            limits_in(profile, machine).memory
        };
        let mut host = Profile::host();
        assert_eq!(memory(&host), None);
        host.limits.memory = Some(1 << 20);
        assert_eq!(memory(&host), Some(1 << 20));
        assert_eq!(memory(&Profile::read()), Some(2 << 30));
        assert_eq!(memory(&Profile::strict()), Some(2 << 30));
    }
}
