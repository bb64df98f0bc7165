//! Files and names, and the policy they make: one step for those who want all of it.

use std::path::Path;

use remit_policy::{Diagnostic, MachineTable, Policy, Severity, Source};

use crate::drop_ins::{self, PolicyFiles};
use crate::names::Names;
use crate::trust::Owners;

/// A policy, with all that it was made from.
#[derive(Debug)]
pub struct Loaded {
    /// What it means.
    pub policy: Policy,
    /// What its author should look at.
    pub warnings: Vec<Diagnostic>,
    /// The files.
    pub sources: Vec<Source>,
    /// What the machine answered: with the sources it makes the same policy again, elsewhere too.
    pub machine: MachineTable,
}

/// Reads the policy of two directories and makes it, with the names of this machine.
///
/// # Errors
/// Every finding, of which at least one is an error: about files that cannot be trusted or read, or
/// about what stands in them.
pub fn load(
    vendor: &Path,
    admin: &Path,
    owners: Owners,
    names: &Names,
) -> Result<Loaded, Vec<Diagnostic>> {
    Loaded::of(drop_ins::read(vendor, admin, owners)?, names)
}

impl Loaded {
    /// Makes the policy of files that were read.
    ///
    /// # Errors
    /// As [`load()`].
    pub fn of(files: PolicyFiles, names: &Names) -> Result<Self, Vec<Diagnostic>> {
        let PolicyFiles {
            sources,
            mut warnings,
        } = files;
        let made = remit_policy::load(&sources, names);
        warnings.extend(names.late().iter().map(|host| late(host)));
        match made {
            Ok((policy, found)) => {
                warnings.extend(found);
                Ok(Self {
                    policy,
                    warnings,
                    sources,
                    machine: names.table(),
                })
            }
            Err(found) => {
                warnings.extend(found);
                Err(warnings)
            }
        }
    }
}

fn late(host: &str) -> Diagnostic {
    let why = format!(
        "no name server told the addresses of '{host}' in time; see /etc/resolv.conf, or write the \
         address itself"
    );
    Diagnostic::whole(Severity::Warning, "policy", why)
}
