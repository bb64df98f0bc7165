//! The service as systemd has it: does it run, will it run again, and does a drop-in reach into jobs?
//!
//! Settings are asked of systemd, and what came of them is seen at the process: its namespaces
//! and its status in `/proc`.

use std::fs;
use std::path::{Path, PathBuf};

use super::check::{Check, or_ok};
use super::walls::without;
use crate::configuration::REMITD;
use crate::program::{Program, ProgramError};

const SERVICE: &str = "remitd.service";
const SOCKETS: [&str; 2] = ["remitd.socket", "remitd-admin.socket"];

/// Settings that give the daemon mounts of its own.
const MOUNTS: &[&str] = &[
    "BindPaths",
    "BindReadOnlyPaths",
    "DynamicUser",
    "ExecPaths",
    "InaccessiblePaths",
    "LogNamespace",
    "MountAPIVFS",
    "MountFlags",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
];
/// Settings that take the host from the daemon's sight or hands.
const HIDING: &[&str] = &[
    "PrivateIPC",
    "PrivateNetwork",
    "PrivateUsers",
    "ProtectClock",
    "ProtectHostname",
];
/// Settings that every job inherits.
const INHERITED: &[&str] = &[
    "IPAddressDeny",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "RestrictAddressFamilies",
    "RestrictFileSystems",
    "RestrictNamespaces",
    "RestrictNetworkInterfaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
];
/// Settings that must have a value, and what happens with another.
const NEEDED: &[(&str, &str, &str)] = &[
    (
        "LogRateLimitIntervalUSec",
        "0",
        "journald may drop records of the audit trail",
    ),
    (
        "KillMode",
        "mixed",
        "a stop kills jobs before their end is recorded",
    ),
    (
        "OOMPolicy",
        "continue",
        "a job that runs out of memory stops the daemon",
    ),
];
/// Settings with which journald drops records, and the values with which it does not.
const DROPPING: &[(&str, &[&str])] = &[
    ("LogFilterPatterns", &[""]),
    // What runs is told at level 6, info.
    ("LogLevelMax", &["", "-1", "6", "7"]),
];
/// Controllers that limit jobs.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Namespaces in which the daemon must be where the host is.
const NAMESPACES: [&str; 6] = ["mnt", "net", "user", "pid", "ipc", "uts"];

/// What `systemctl show` says of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    fn ask(systemctl: &Program, unit: &str) -> Result<Self, ProgramError> {
        let text = systemctl.ask(&["show", "--no-pager", unit])?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    /// The value, empty where there is none.
    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// The files that this unit was read from.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let drop_ins = self.get("DropInPaths").split_whitespace();
        let files = std::iter::once(self.get("FragmentPath")).chain(drop_ins);
        files.filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

/// The service and its sockets.
pub struct Service {
    service: Properties,
    sockets: Vec<(&'static str, Properties)>,
}

impl Service {
    /// Asks systemd. `None` where it is not the service manager.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask() -> Option<Result<Self, ProgramError>> {
        // sd_booted(3).
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let systemctl = Program::find(&["/usr/bin/systemctl", "/bin/systemctl"])?;
        let all = || {
            let of = |unit: &'static str| Ok((unit, Properties::ask(&systemctl, unit)?));
            Ok(Self {
                service: Properties::ask(&systemctl, SERVICE)?,
                sockets: SOCKETS.into_iter().map(of).collect::<Result<_, _>>()?,
            })
        };
        Some(all())
    }

    /// The files of all three units.
    pub fn files(&self) -> Vec<PathBuf> {
        let sockets = self.sockets.iter().map(|(_, properties)| properties);
        let all = std::iter::once(&self.service).chain(sockets);
        all.flat_map(Properties::files).collect()
    }

    /// All checks.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = state(SERVICE, &self.service);
        for (unit, properties) in &self.sockets {
            checks.extend(state(unit, properties));
        }
        if self.service.get("LoadState") != "loaded" {
            return checks;
        }
        checks.extend(settings(&self.service));
        if let Ok(pid @ 1..) = self.service.get("MainPID").parse::<u32>() {
            checks.extend(process(pid));
        }
        checks
    }
}

/// Whether a unit is there, runs, and will run after a restart of the machine.
fn state(unit: &str, properties: &Properties) -> Vec<Check> {
    let load = properties.get("LoadState");
    if load != "loaded" {
        let why = format!("unit '{unit}' is not loaded but '{load}'");
        let fix = match load {
            "masked" => format!("systemctl unmask {unit}"),
            _ => "install the package again".to_owned(),
        };
        return vec![Check::failure(unit, why, fix)];
    }
    let mut found = Vec::new();
    let active = properties.get("ActiveState");
    if !matches!(active, "active" | "reloading") {
        let result = properties.get("Result");
        found.push(Check::failure(
            unit,
            format!("unit '{unit}' is '{active}', its last result '{result}'"),
            format!("systemctl restart {unit}; if it fails: journalctl -u {unit} -n 20"),
        ));
    }
    let enabled = properties.get("UnitFileState");
    if enabled != "enabled" {
        found.push(Check::warning(
            unit,
            format!("unit '{unit}' is '{enabled}': it does not start with the machine"),
            format!("systemctl enable {unit}"),
        ));
    }
    if properties.get("NeedDaemonReload") == "yes" {
        found.push(Check::warning(
            unit,
            format!("files of unit '{unit}' were changed since systemd read them"),
            "systemctl daemon-reload",
        ));
    }
    or_ok(found, unit, format!("{active}, {enabled}"))
}

/// Whether a drop-in sets what reaches into jobs.
fn settings(properties: &Properties) -> Vec<Check> {
    let name = "settings of the unit";
    let fix = match properties.get("DropInPaths") {
        "" => format!("systemctl revert {SERVICE}, then: systemctl restart {SERVICE}"),
        files => format!(
            "take it out of {files}, then: systemctl daemon-reload; systemctl restart {SERVICE}"
        ),
    };
    let mut found = Vec::new();
    let kinds = [
        (
            MOUNTS,
            "gives the daemon mounts of its own: jobs would not see the host as it is",
        ),
        (HIDING, "takes from the daemon what it must see or do"),
    ];
    for (settings, why) in kinds {
        let set = settings.iter().filter(|one| is_set(properties.get(one)));
        found.extend(set.map(|one| {
            let why = format!("{one}={} {why}", properties.get(one));
            Check::failure(name, why, &fix)
        }));
    }
    for (one, harmless) in DROPPING {
        let has = properties.get(one);
        if !harmless.contains(&has) {
            let why = format!("{one} is '{has}': journald drops records of the audit trail");
            found.push(Check::failure(name, why, &fix));
        }
    }
    if !matches!(properties.get("User"), "" | "root" | "0") {
        let why = format!("User={}: the warden must be root", properties.get("User"));
        found.push(Check::failure(name, why, &fix));
    }
    let set = INHERITED.iter().filter(|one| is_set(properties.get(one)));
    found.extend(set.map(|one| {
        let why = format!("{one}= is inherited by every job, besides the walls of its own");
        Check::warning(name, why, &fix)
    }));
    for (one, value, why) in NEEDED {
        // An older systemd may not have the setting.
        let has = properties.get(one);
        if !has.is_empty() && has != *value {
            let why = format!("{one} is '{has}' and not '{value}': {why}");
            found.push(Check::warning(name, why, &fix));
        }
    }
    let delegated: Vec<&str> = properties
        .get("DelegateControllers")
        .split_whitespace()
        .collect();
    if properties.get("Delegate") != "yes" {
        let why = "Delegate= is off: the service manager may change the cgroups of jobs";
        found.push(Check::warning(name, why, &fix));
    } else if let Some(one) = CONTROLLERS.iter().find(|one| !delegated.contains(one)) {
        let why = format!("Delegate= does not name '{one}': {}", without(&[one]));
        found.push(Check::warning(name, why, &fix));
    }
    or_ok(found, name, "none that reaches into jobs")
}

/// Whether `systemctl show` says that something is set. What is not stands there with one of these.
fn is_set(value: &str) -> bool {
    !matches!(value, "" | "no" | "default" | "all" | "0" | "[not set]")
}

/// The daemon's process, compared with the first one of the machine.
fn process(pid: u32) -> Vec<Check> {
    let name = "the daemon's process";
    let link = |pid: u32, of: &str| fs::read_link(format!("/proc/{pid}/ns/{of}")).ok();
    let apart = |of: &&str| matches!((link(pid, of), link(1, of)), (Some(ours), Some(first)) if ours != first);
    let apart: Vec<&str> = NAMESPACES.into_iter().filter(apart).collect();
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Who may not look at another's process learns nothing of it (proc_pid_exe(5)).
    let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return vec![Check::skipped(
            name,
            "only root can tell: sudo remit doctor",
        )];
    };
    let mut found = compare(name, &apart, &status(pid), &status(1));
    if exe != Path::new(REMITD) {
        found.push(Check::warning(
            name,
            format!("the daemon runs '{}' and not '{REMITD}'", exe.display()),
            format!("systemctl restart {SERVICE}; if it stays: systemctl cat {SERVICE}"),
        ));
    }
    or_ok(found, name, format!("pid {pid}, as the host is"))
}

fn compare(name: &str, apart: &[&str], ours: &str, first: &str) -> Vec<Check> {
    let fix = format!("systemctl cat {SERVICE}, and: systemctl restart {SERVICE}");
    let mut found: Vec<Check> = apart
        .iter()
        .map(|of| {
            let why =
                format!("the daemon has a {of} namespace of its own: jobs do not see the host");
            Check::failure(name, why, &fix)
        })
        .collect();
    let field = |status: &'_ str, of: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(of));
        line.map(|rest| rest.trim_start_matches(':').trim().to_owned())
    };
    for (of, what) in [
        ("Seccomp", "a system call filter"),
        ("NoNewPrivs", "no_new_privs"),
        ("CapBnd", "fewer capabilities"),
    ] {
        let (ours, first) = (field(ours, of), field(first, of));
        if ours.is_some() && ours != first {
            let why = format!("the daemon has {what}, which every job inherits");
            found.push(Check::warning(name, why, &fix));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::check::whys;
    use super::*;

    const GOOD: &str = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\
        NeedDaemonReload=no\nPrivateTmp=no\nProtectSystem=no\nProtectProc=default\nProcSubset=all\n\
        MountFlags=\nReadOnlyPaths=\nMountAPIVFS=no\nNoNewPrivileges=no\nSystemCallFilter=\n\
        LogRateLimitIntervalUSec=0\nKillMode=mixed\nOOMPolicy=continue\nDelegate=yes\n\
        DelegateControllers=cpu memory pids\nUser=\nFragmentPath=/usr/lib/a\nDropInPaths=/etc/b /etc/c\n";

    /// The good unit with one line put in front, where the first of a name counts.
    fn with(line: &str) -> Properties {
        Properties::parse(&format!("{line}\n{GOOD}"))
    }

    #[test]
    fn a_good_unit_is_good() {
        let good = Properties::parse(GOOD);
        assert_eq!(whys(&state(SERVICE, &good)), [""; 0]);
        assert_eq!(whys(&settings(&good)), [""; 0]);
        let files: Vec<PathBuf> = good.files().collect();
        assert_eq!(files, ["/usr/lib/a", "/etc/b", "/etc/c"].map(PathBuf::from));
    }

    #[test]
    fn settings_that_reach_into_jobs_are_named() {
        for (line, expect) in [
            (
                "PrivateTmp=yes",
                "failure: PrivateTmp=yes gives the daemon mounts",
            ),
            (
                "ProtectSystem=strict",
                "failure: ProtectSystem=strict gives",
            ),
            ("ReadOnlyPaths=/etc", "failure: ReadOnlyPaths=/etc gives"),
            (
                "ProtectProc=invisible",
                "failure: ProtectProc=invisible gives",
            ),
            ("PrivateNetwork=yes", "failure: PrivateNetwork=yes takes"),
            ("User=remit", "failure: User=remit: the warden must be root"),
            (
                "NoNewPrivileges=yes",
                "warning: NoNewPrivileges= is inherited",
            ),
            (
                "SystemCallFilter=read write",
                "warning: SystemCallFilter= is inherited",
            ),
            (
                "LogRateLimitIntervalUSec=30s",
                "warning: LogRateLimitIntervalUSec is '30s'",
            ),
            (
                "KillMode=control-group",
                "warning: KillMode is 'control-group'",
            ),
            (
                "LogLevelMax=4",
                "failure: LogLevelMax is '4': journald drops",
            ),
            ("LogLevelMax=0", "failure: LogLevelMax is '0'"),
            ("LogFilterPatterns=~x", "failure: LogFilterPatterns is '~x'"),
            ("Delegate=no", "warning: Delegate= is off"),
            (
                "DelegateControllers=cpu pids",
                "warning: Delegate= does not name 'memory'",
            ),
        ] {
            let found = whys(&settings(&with(line)));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found[0].starts_with(expect), "{line}: {found:?}");
        }
    }

    #[test]
    fn a_unit_that_does_not_run_is_a_failure() {
        for (line, expect) in [
            (
                "LoadState=not-found",
                "failure: unit 'remitd.service' is not loaded",
            ),
            (
                "ActiveState=failed",
                "failure: unit 'remitd.service' is 'failed'",
            ),
            (
                "UnitFileState=disabled",
                "warning: unit 'remitd.service' is 'disabled'",
            ),
            ("NeedDaemonReload=yes", "warning: files of unit"),
        ] {
            let found = whys(&state(SERVICE, &with(line)));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found[0].starts_with(expect), "{line}: {found:?}");
        }
    }

    #[test]
    fn the_process_is_as_the_host_is() {
        let first =
            "Name:\tsystemd\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\nCapBnd:\tff\n";
        assert_eq!(whys(&compare("x", &[], first, first)), [""; 0]);
        let other = "NoNewPrivs:\t1\nSeccomp:\t2\nCapBnd:\t0f\n";
        let found = whys(&compare("x", &["mnt"], other, first));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("failure: the daemon has a mnt namespace"));
        assert!(found[1..].iter().all(|why| why.starts_with("warning")));
        // Ourselves, compared with the first process: whatever is found, nothing is missing.
        assert!(!process(std::process::id()).is_empty());
    }
}
