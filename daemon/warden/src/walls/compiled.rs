//! The sandboxes of a policy: each profile compiled for this machine, once for all its jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use remit_common::refusal::{Code, Refusal};
use remit_confine::{
    Destination, HostProfile, Kernel, Limits, Network, Place, ReadProfile, Result, Sandbox,
    StrictProfile,
};
use remit_policy::{Base, Listed, Policy, Profile, User};

use super::Walled;
use crate::config::JobLimits;
use crate::error::chain;

/// A profile, and the sandbox that it is here. A job has it as long as it lives, whatever
/// became of the policy.
#[derive(Debug)]
pub struct Compiled {
    profile: Arc<Profile>,
    sandbox: Sandbox,
}

impl Compiled {
    /// The profile's name.
    pub fn name(&self) -> &str {
        &self.profile.name
    }

    /// What it is made of.
    pub fn base(&self) -> Base {
        self.profile.base
    }

    /// The uid of its jobs, where it is not their own.
    pub fn fixed_uid(&self) -> Option<u32> {
        match self.profile.user {
            User::Own => None,
            User::Fixed { uid, .. } => Some(uid),
        }
    }

    /// The profile as the policy has it.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What jobs are put in.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// What sandboxes are compiled with, besides their profiles.
#[derive(Debug)]
pub struct Workshop {
    kernel: Kernel,
    /// Groups of every job in a profile of base `read`.
    groups: Vec<u32>,
    limits: JobLimits,
    /// The kernel's audit is told what they refuse.
    told: bool,
}

impl Workshop {
    /// For this kernel, with what `remit.toml` says of all jobs. `told`: the kernel's audit is told what
    /// they refuse.
    pub fn new(kernel: Kernel, groups: Vec<u32>, limits: JobLimits, told: bool) -> Self {
        Self {
            kernel,
            groups,
            limits,
            told,
        }
    }

    /// Makes a sandbox of a profile.
    ///
    /// # Errors
    /// This machine cannot have it.
    pub fn compile(&self, profile: &Arc<Profile>) -> Result<Compiled> {
        let limits = limits_in(profile, self.limits.with(&[profile.limits]));
        let sandbox = match profile.base {
            Base::Read => read(&self.read(profile, limits), &self.kernel),
            Base::Strict => strict(&strict_profile(profile, limits), &self.kernel),
            Base::Host => Sandbox::host(&host_profile(profile, limits), &self.kernel),
        };
        Ok(Compiled {
            profile: Arc::clone(profile),
            sandbox: match self.told {
                true => sandbox?.told_to_audit(),
                false => sandbox?,
            },
        })
    }

    fn read(&self, profile: &Profile, limits: Limits) -> ReadProfile {
        ReadProfile {
            groups: [&self.groups[..], &profile.groups].concat(),
            limits,
            capabilities: profile.capabilities,
            write: places(&profile.write),
            devices: places(&profile.devices),
            network: matches!(profile.network, remit_policy::Network::Host),
        }
    }
}

/// The limits of jobs in this profile, of what `remit.toml` and policy say.
pub fn limits_in(profile: &Profile, limits: JobLimits) -> Limits {
    let limits = match shares_a_user(profile) {
        true => limits.of_a_users_job(),
        false => limits,
    };
    match profile.write.is_empty() {
        true => limits.limits(),
        false => limits.of_a_writing_job(),
    }
}

/// Whether its jobs are, or can become, a user whom others are too.
fn shares_a_user(profile: &Profile) -> bool {
    const CAP_SETUID: u64 = 1 << 7;
    let is_confined = profile.base != Base::Host;
    let becomes = profile.capabilities & CAP_SETUID != 0;
    is_confined && (fixed(profile).is_some() || becomes)
}

fn strict_profile(profile: &Profile, limits: Limits) -> StrictProfile {
    StrictProfile {
        user: fixed(profile),
        groups: profile.groups.clone(),
        capabilities: profile.capabilities,
        read: places(&profile.read),
        write: places(&profile.write),
        exec: places(&profile.exec),
        devices: places(&profile.devices),
        sockets: places(&profile.sockets),
        scratch: profile.scratch.iter().map(PathBuf::from).collect(),
        write_and_exec: profile.write_and_exec,
        network: network(&profile.network),
        limits,
    }
}

fn host_profile(profile: &Profile, limits: Limits) -> HostProfile {
    HostProfile {
        // Policy knows no other: without a sandbox a uid of one's own protects nobody.
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

fn places(listed: &[Listed]) -> Vec<Place> {
    let place = |listed: &Listed| Place {
        path: PathBuf::from(&listed.path),
        optional: listed.optional,
    };
    listed.iter().map(place).collect()
}

fn network(network: &remit_policy::Network) -> Network {
    match network {
        remit_policy::Network::None => Network::None,
        remit_policy::Network::Loopback => Network::Loopback,
        remit_policy::Network::Host => Network::Host,
        remit_policy::Network::Connect(to) => {
            let destination = |to: &remit_policy::Destination| Destination {
                host: to.host.clone(),
                addresses: to.addresses.clone(),
                port: to.port,
            };
            Network::Connect(to.iter().map(destination).collect())
        }
    }
}

/// All sandboxes of one policy, and why there are none of some profiles.
#[derive(Debug, Default)]
pub struct Sandboxes(BTreeMap<String, std::result::Result<Rc<Compiled>, String>>);

impl Sandboxes {
    /// Compiles every profile of a policy. One that this machine cannot have is refused alone.
    /// `or`: why none can be had, where there is no workshop.
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

    /// The sandbox of a profile.
    ///
    /// # Errors
    /// `unsupported_kernel`: this machine cannot have it.
    pub fn get(&self, profile: &Profile) -> std::result::Result<Rc<Compiled>, Refusal> {
        let why = match self.0.get(&profile.name) {
            Some(Ok(compiled)) => return Ok(Rc::clone(compiled)),
            Some(Err(why)) => why,
            None => "it is not of the policy in force",
        };
        let name = &profile.name;
        let text = format!("nothing runs in '{name}' on this machine: {why}");
        Err(Refusal::new(Code::UnsupportedKernel, text)
            .by(format!("profile '{name}'"))
            .lift("change the profile in the policy, or what it needs of the machine; then remit policy reload")
            .next("tell the person you work for"))
    }

    /// What its jobs are put in.
    pub fn all(&self) -> impl Iterator<Item = &Sandbox> {
        let compiled = self
            .0
            .values()
            .filter_map(|compiled| compiled.as_ref().ok());
        compiled.map(|compiled| compiled.sandbox())
    }

    /// Profiles of the policy's own without a sandbox, and why. `read` and `strict` are told of by
    /// their walls.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_base = |name: &str| Walled::ALL.iter().any(|walled| walled.name() == name);
        let own = self.0.iter().filter(move |(name, _)| !is_base(name));
        own.filter_map(|(name, compiled)| Some((name.as_str(), compiled.as_ref().err()?.as_str())))
    }
}

#[cfg(not(feature = "mutate"))]
fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::read(profile, kernel)
}

#[cfg(not(feature = "mutate"))]
fn strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::strict(profile, kernel)
}

/// Under test, `REMIT_MUTATE=wall` leaves one wall out.
#[cfg(feature = "mutate")]
fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    match switched_off("") {
        Some(wall) => Sandbox::without(profile, kernel, wall),
        None => Sandbox::read(profile, kernel),
    }
}

/// The same, with `REMIT_MUTATE=strict.wall`.
#[cfg(feature = "mutate")]
fn strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
    match switched_off("strict.") {
        Some(wall) => Sandbox::strict_without(profile, kernel, wall),
        None => Sandbox::strict(profile, kernel),
    }
}

#[cfg(feature = "mutate")]
fn switched_off(prefix: &str) -> Option<remit_confine::Wall> {
    let name = std::env::var("REMIT_MUTATE").ok()?;
    let name = name.strip_prefix(prefix)?;
    let all = remit_confine::Wall::ALL.into_iter();
    let mut all = all.chain([remit_confine::Wall::Measured]);
    all.find(|wall| format!("{wall:?}") == name)
}
