//! Reads the inputs of a policy from this machine: the drop-in files and the names they use. `remit-policy` is pure
//! and reads nothing. The warden calls this crate in a forked child, because it may wait for a disk or a directory
//! service. `remit policy` calls it offline.

pub(crate) mod daemon_paths;
mod drop_ins;
mod impersonators;
mod names;
mod programs;
mod trust;
mod unreachable;

use std::path::Path;

use remit_policy::{Diagnostic, Machine, MachineTable, Policy, Severity, Source};

pub use crate::daemon_paths::own_files;
pub use drop_ins::{PolicyFiles, read, read_file, read_trusted};
pub use impersonators::impersonators;
pub use names::{LastKnown, Names};
pub use programs::{only_root_changes, only_root_names};
pub use trust::Owners;
pub use unreachable::{approvers, unreachable_grantees};

#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    pub warnings: Vec<Diagnostic>,
    pub sources: Vec<Source>,
    /// The machine's answers. With the sources they make the same policy again, on any machine.
    pub machine: MachineTable,
}

/// Turns texts and the answers of a machine into a policy and warnings, or into all findings.
pub type Compile<'a> =
    dyn Fn(&[Source], &dyn Machine) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> + 'a;

/// Reads the policy of two directories and compiles it with the names of this machine. Returns every finding if at
/// least one of them is an error.
pub fn load(
    vendor: &Path,
    admin: &Path,
    owners: Owners,
    names: &Names,
    compile: &Compile<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    Loaded::of(read(vendor, admin, owners)?, names, compile)
}

impl Loaded {
    /// Compiles files that are already read, with errors as [`load()`].
    pub fn of(
        files: PolicyFiles,
        names: &Names,
        compile: &Compile<'_>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let PolicyFiles {
            sources,
            mut warnings,
        } = files;
        let made = compile(&sources, names);
        warnings.extend(names.late().iter().map(|host| late(host)));
        let unanswered = names.unanswered();
        let is_answered = unanswered.is_empty() || names.may_be_unanswered();
        let severity = match names.may_be_unanswered() {
            true => Severity::Warning,
            false => Severity::Error,
        };
        let findings = unanswered.into_iter();
        warnings.extend(findings.map(|why| Diagnostic::whole(severity, "policy", why)));
        match made {
            Ok((_, found)) if !is_answered => {
                warnings.extend(found);
                Err(warnings)
            }
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
        "no name server answered for '{host}' in time; see /etc/resolv.conf, or write the \
         address itself"
    );
    Diagnostic::whole(Severity::Warning, "policy", why)
}
