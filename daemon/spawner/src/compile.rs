//! Compiles the profiles of the warden's policy.

use remit_confine::{Kernel, Result, Sandbox};
use remit_spawn::{Profile, ReadProfile, StrictProfile, Wanted};

pub fn compile(wanted: &Wanted, kernel: &Kernel) -> Result<Sandbox> {
    let sandbox = match &wanted.profile {
        Profile::Read(profile) => read(profile, kernel),
        Profile::Strict(profile) => strict(profile, kernel),
        Profile::Host(profile) => Sandbox::host(profile, kernel),
    }?;
    Ok(match wanted.is_audited {
        true => sandbox.with_kernel_audit(),
        false => sandbox,
    })
}

#[cfg(not(feature = "mutate"))]
fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::read(profile, kernel)
}

#[cfg(not(feature = "mutate"))]
fn strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::strict(profile, kernel)
}

/// Under test, `REMIT_MUTATE` names one layer to leave out, for example `NoSuid`.
#[cfg(feature = "mutate")]
fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    match switched_off("") {
        Some(layer) => Sandbox::without(profile, kernel, layer),
        None => Sandbox::read(profile, kernel),
    }
}

/// The same with a prefix, for example `REMIT_MUTATE=strict.NoSuid`.
#[cfg(feature = "mutate")]
fn strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
    match switched_off("strict.") {
        Some(layer) => Sandbox::strict_without(profile, kernel, layer),
        None => Sandbox::strict(profile, kernel),
    }
}

#[cfg(feature = "mutate")]
fn switched_off(prefix: &str) -> Option<remit_confine::Layer> {
    let name = std::env::var("REMIT_MUTATE").ok()?;
    let name = name.strip_prefix(prefix)?;
    let all = remit_confine::Layer::ALL.into_iter();
    let mut all = all.chain([remit_confine::Layer::Measured]);
    all.find(|layer| format!("{layer:?}") == name)
}
