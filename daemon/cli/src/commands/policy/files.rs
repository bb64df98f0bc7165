//! Reads and compiles policy files. `remit policy diff` compares two states; `remit policy reload` shows the changes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use remit_common::admin::{AdminReply, AdminRequest, Reloaded};
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Diagnostic, Severity, Source};
use remit_policy_compile::load;
use remit_policy_files::{Loaded, Names, Owners, PolicyFiles, own_files, read_file};
use serde_json::{Value, json};

use crate::args::{DiffArgs, FilesArgs, MachineArgs, ReloadArgs};
use crate::client::admin_socket;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table;
use crate::render::units::count;

/// The daemon's own directories, which no profile may write.
const OWN: [&str; 4] = [
    "/etc/remit",
    "/usr/lib/remit",
    "/var/lib/remit",
    "/run/remit",
];

pub type Made = Result<Loaded, Vec<Diagnostic>>;

pub fn of_args(args: &FilesArgs) -> (Made, Names) {
    let (files, names) = read(args);
    (
        files.and_then(|files| Loaded::of(files, &names, &load)),
        names,
    )
}

pub fn read(args: &FilesArgs) -> (Result<PolicyFiles, Vec<Diagnostic>>, Names) {
    let files = directory(&args.config, &args.machine.vendor, owners(args));
    (files, names(&[&args.config], &args.machine))
}

pub fn owners(args: &FilesArgs) -> Owners {
    match args.any_owner || args.machine.other_machine {
        true => Owners::Any,
        false => Owners::Root,
    }
}

/// Reads a configuration, or one file, with the vendor's files, to compare. Any owner is allowed.
pub fn of_either(path: &Path, machine: &MachineArgs, names: &Names) -> Made {
    let files = match path.is_file() {
        false => directory(path, &machine.vendor, Owners::Any)?,
        true => single_file(path, &machine.vendor)?,
    };
    Loaded::of(files, names, &load)
}

/// Reads one file as if the configuration had no other: it replaces a file of the vendor that has its name.
fn single_file(path: &Path, vendor: &Path) -> Result<PolicyFiles, Vec<Diagnostic>> {
    let own = source(path)?;
    let vendor = resolve(vendor, Owners::Any).join("policy.d");
    let mut files = remit_policy_files::read(&vendor, &vendor, Owners::Any)?;
    let name = |source: &Source| Path::new(&source.name).file_name().map(OsStr::to_owned);
    files.sources.retain(|source| name(source) != name(&own));
    files.sources.push(own);
    files.sources.sort_by_key(name);
    Ok(files)
}

pub fn directory(
    config: &Path,
    vendor: &Path,
    owners: Owners,
) -> Result<PolicyFiles, Vec<Diagnostic>> {
    if let Err(error) = config.metadata() {
        let path = config.to_string_lossy();
        return Err(vec![Diagnostic::whole(
            Severity::Error,
            &path,
            error.to_string(),
        )]);
    }
    let (config, vendor) = (resolve(config, owners), resolve(vendor, owners));
    let admin = match config.join("policy.d") {
        // Files that are not installed yet may be in another directory.
        dir if owners == Owners::Any && !dir.exists() => config,
        dir => dir,
    };
    remit_policy_files::read(&vendor.join("policy.d"), &admin, owners)
}

/// Returns where `remit.toml` and the keys of approvers are for a directory of policy files: a shadow policy has those of
/// the directory above it.
pub fn settings_directory(config: &Path) -> &Path {
    match (config.file_name(), config.parent()) {
        (Some(name), Some(above)) if name == "shadow" && above.join("policy.d").is_dir() => above,
        _ => config,
    }
}

/// Returns an absolute path. If owners are checked, links stay, and are refused later.
pub fn resolve(dir: &Path, owners: Owners) -> PathBuf {
    match dir.is_absolute() && owners == Owners::Root {
        true => dir.to_owned(),
        false => dir.canonicalize().unwrap_or_else(|_| dir.to_owned()),
    }
}

pub fn names(configurations: &[&Path], machine: &MachineArgs) -> Names {
    let absolute = |path: &&Path| std::path::absolute(path).unwrap_or_default();
    let absolute_paths: Vec<PathBuf> = configurations.iter().map(absolute).collect();
    let own = OWN.iter().map(Path::new);
    let own = own_files(
        &own.chain(absolute_paths.iter().map(PathBuf::as_path))
            .collect::<Vec<_>>(),
    );
    match machine.other_machine {
        true => Names::of_other_machine(own),
        false => Names::new(own),
    }
}

fn source(path: &Path) -> Result<Source, Vec<Diagnostic>> {
    let shown = path.to_string_lossy();
    let refused = |why: &str| vec![Diagnostic::whole(Severity::Error, &shown, why)];
    match read_file(&resolve(path, Owners::Any), Owners::Any) {
        Ok(Some(text)) => Ok(Source {
            name: shown.into_owned(),
            text,
        }),
        Ok(None) => Err(refused("it is not there")),
        Err(why) => Err(refused(&why)),
    }
}

pub fn lines(found: &[Diagnostic]) -> String {
    found.iter().map(|one| format!("{one}\n")).collect()
}

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

pub fn errors(found: &[Diagnostic]) -> usize {
    let errors = found.iter().filter(|one| one.severity() == Severity::Error);
    errors.count()
}

/// Shows who gains and loses what. The exit status is that of diff(1), with 2 if one does not load.
pub fn diff(context: &Context, args: &DiffArgs) -> Result<Exit, Failure> {
    let names = names(&[&args.old, &args.new], &args.machine);
    let both = [&args.old, &args.new];
    let made = both.map(|path| of_either(path, &args.machine, &names));
    let changes = match &made {
        [Ok(old), Ok(new)] => remit_policy_compile::diff(&old.policy, &new.policy),
        [old, new] => {
            let findings = [old, new].map(|made| made.as_ref().err().cloned().unwrap_or_default());
            return unloaded(context, findings.concat());
        }
    };
    match context.form {
        Form::Json => output::json(&json!({ "changes": changes }))?,
        Form::Text => output::text(
            &changes
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )?,
    }
    Ok(match changes.is_empty() {
        true => Exit::OK,
        false => Exit::FOUND,
    })
}

pub fn unloaded(context: &Context, mut found: Vec<Diagnostic>) -> Result<Exit, Failure> {
    found.retain(|one| one.severity() == Severity::Error);
    let why = format!("the policy does not load: {}", count(found.len(), "error"));
    trouble(context, &found, &why)
}

pub fn trouble(context: &Context, found: &[Diagnostic], why: &str) -> Result<Exit, Failure> {
    output::complain(&lines(found));
    output::note(why);
    if context.form == Form::Json {
        let refusal = Refusal::new(Code::InvalidArgs, why);
        output::json(&json!({ "error": refusal, "findings": objects(found) }))?;
    }
    Ok(Exit::TROUBLE)
}

pub fn reload(context: &Context, args: &ReloadArgs) -> Result<Exit, Failure> {
    let reloaded = admin_socket::ask(context, AdminRequest::Reload, |reply| match reply {
        AdminReply::Reloaded(reloaded) => Some(reloaded),
        _ => None,
    })?;
    match context.form {
        Form::Text if args.quiet => {}
        Form::Json => output::json(&reloaded)?,
        Form::Text => output::text(&show(&reloaded))?,
    }
    Ok(Exit::OK)
}

fn show(reloaded: &Reloaded) -> String {
    let Reloaded {
        policy,
        rules,
        commands,
        changes,
        more_changes,
        warnings,
        notes,
    } = reloaded;
    let mut lines = format!("policy {policy} is in force\n");
    lines += &table::fact("rules", &rules.to_string());
    lines += &table::fact("commands", &commands.to_string());
    lines += match changes.is_empty() {
        true => "nothing that it means has changed\n",
        false => "what it means now and did not before:\n",
    };
    for change in changes {
        lines += &format!("  {change}\n");
    }
    lines += &table::more((*more_changes).into());
    for warning in warnings {
        lines += &format!("{warning}\n");
    }
    for note in notes {
        lines += &format!("note: {note}\n");
    }
    lines
}
