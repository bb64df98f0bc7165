//! Policy files as somebody names them, read and made into a policy.

use std::path::{Path, PathBuf};

use remit_policy::{Diagnostic, Severity, Source};
use remit_policy_files::{Loaded, Names, Owners, PolicyFiles, own_files, read_file};
use serde_json::{Value, json};

use crate::args::{FilesArgs, MachineArgs};

/// Where the daemon's own files lie, whatever is looked at: no profile may write them.
const OWN: [&str; 4] = [
    "/etc/remit",
    "/usr/lib/remit",
    "/var/lib/remit",
    "/run/remit",
];

/// A policy; or every finding, of which at least one is an error.
pub type Made = Result<Loaded, Vec<Diagnostic>>;

/// Makes the policy of a configuration and the vendor's files.
pub fn of_args(args: &FilesArgs) -> (Made, Names) {
    let (files, names) = read(args);
    (files.and_then(|files| Loaded::of(files, &names)), names)
}

/// Reads the files of a configuration and the vendor's.
pub fn read(args: &FilesArgs) -> (Result<PolicyFiles, Vec<Diagnostic>>, Names) {
    let owners = match args.any_owner || args.machine.elsewhere {
        true => Owners::Anybody,
        false => Owners::Root,
    };
    let files = directory(&args.config, &args.machine.vendor, owners);
    (files, names(&[&args.config], &args.machine))
}

/// Reads the files of a configuration and the vendor's; or one file alone. They may be anybody's: they
/// are compared, and nothing comes into force.
pub fn of_either(path: &Path, machine: &MachineArgs, names: &Names) -> Made {
    let files = match path.is_file() {
        false => directory(path, &machine.vendor, Owners::Anybody)?,
        true => PolicyFiles {
            sources: vec![source(path)?],
            warnings: Vec::new(),
        },
    };
    Loaded::of(files, names)
}

/// The directories as the daemon would be given them.
fn directory(config: &Path, vendor: &Path, owners: Owners) -> Result<PolicyFiles, Vec<Diagnostic>> {
    if let Err(error) = config.metadata() {
        let path = config.to_string_lossy();
        return Err(vec![Diagnostic::whole(
            Severity::Error,
            &path,
            error.to_string(),
        )]);
    }
    let (config, vendor) = (place(config, owners), place(vendor, owners));
    let admin = match config.join("policy.d") {
        // Files that are not installed yet may lie in no such directory.
        dir if owners == Owners::Anybody && !dir.exists() => config,
        dir => dir,
    };
    remit_policy_files::read(&vendor.join("policy.d"), &admin, owners)
}

/// An absolute path. Where it matters whose the files are, a link on the way stays to be refused.
fn place(dir: &Path, owners: Owners) -> PathBuf {
    match dir.is_absolute() && owners == Owners::Root {
        true => dir.to_owned(),
        // What is not there is found to be missing later.
        false => dir.canonicalize().unwrap_or_else(|_| dir.to_owned()),
    }
}

/// What names stand for, with the files of these configurations. Policies that are compared share it.
pub fn names(configurations: &[&Path], machine: &MachineArgs) -> Names {
    let absolute = |path: &&Path| std::path::absolute(path).unwrap_or_default();
    let given: Vec<PathBuf> = configurations.iter().map(absolute).collect();
    let own = OWN.iter().map(Path::new);
    let own = own_files(
        &own.chain(given.iter().map(PathBuf::as_path))
            .collect::<Vec<_>>(),
    );
    match machine.elsewhere {
        true => Names::elsewhere(own),
        false => Names::new(own),
    }
}

fn source(path: &Path) -> Result<Source, Vec<Diagnostic>> {
    let shown = path.to_string_lossy();
    let refused = |why: &str| vec![Diagnostic::whole(Severity::Error, &shown, why)];
    match read_file(&place(path, Owners::Anybody), Owners::Anybody) {
        Ok(Some(text)) => Ok(Source {
            name: shown.into_owned(),
            text,
        }),
        Ok(None) => Err(refused("it is not there")),
        Err(why) => Err(refused(&why)),
    }
}

/// Findings for people, one below the other.
pub fn lines(found: &[Diagnostic]) -> String {
    found.iter().map(|one| format!("{one}\n")).collect()
}

/// Findings for programs.
pub fn objects(found: &[Diagnostic]) -> Vec<Value> {
    let object = |one: &Diagnostic| {
        json!({
            "severity": match one.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "file": one.file(),
            "line": one.line(),
            "column": one.column(),
            "message": one.message(),
            "shown": one.to_string(),
        })
    };
    found.iter().map(object).collect()
}

/// How many of them refuse the load.
pub fn errors(found: &[Diagnostic]) -> usize {
    let errors = found.iter().filter(|one| one.severity() == Severity::Error);
    errors.count()
}

/// `1 error`, `2 errors`.
pub fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}
