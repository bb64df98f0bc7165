//! Checks the systemd units: they run, start at boot, and no drop-in affects jobs; the effect too, in `/proc`.

use std::fs;
use std::path::{Path, PathBuf};

use super::kernel::without;
use super::report::{Check, or_ok};
use super::selinux::domain_of;
use crate::client::admin_socket::REMITD;
use crate::external_program::{Program, ProgramError};

/// Starts the jobs. Its name is short enough to be shown whole.
const SPAWNER: &str = "remit-spawner";
const SERVICE: &str = "remitd.service";
const SOCKETS: [&str; 2] = ["remitd.socket", "remitd-admin.socket"];

/// Settings that put the daemon in a mount namespace of its own.
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
/// Settings that hide the host from the daemon or stop it from changing the host.
const HIDING: &[&str] = &[
    "PrivateIPC",
    "PrivateNetwork",
    "PrivateUsers",
    "ProtectClock",
    "ProtectHostname",
];
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
/// Settings, their required value, and the effect of another value.
const NEEDED: &[(&str, &str, &str)] = &[
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
/// Settings with which journald can drop records, and their harmless values.
const DROPPING: &[(&str, &[&str])] = &[
    ("LogFilterPatterns", &[""]),
    ("LogLevelMax", &["", "-1", "6", "7"]), // Records of jobs have level 6, info.
    // 0 is the limit of journald.conf: systemd does not pass it on.
    ("LogRateLimitIntervalUSec", &["", "1us"]),
];
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const NAMESPACES: [&str; 6] = ["mnt", "net", "user", "pid", "ipc", "uts"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    fn ask(systemctl: &Program, unit: &str) -> Result<Self, ProgramError> {
        let text = systemctl.ask(&["show", "--no-pager", unit])?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Returns what systemd says of these units. `None`: it does not run this machine.
    pub fn of(units: &[&str]) -> Option<Result<Vec<Self>, ProgramError>> {
        // sd_booted(3).
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let systemctl = Program::systemctl()?;
        let units = units.iter();
        Some(units.map(|unit| Self::ask(&systemctl, unit)).collect())
    }

    pub fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let drop_ins = self.get("DropInPaths").split_whitespace();
        let files = std::iter::once(self.get("FragmentPath")).chain(drop_ins);
        files.filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

pub struct Service {
    service: Properties,
    sockets: Vec<(&'static str, Properties)>,
}

impl Service {
    pub fn ask() -> Option<Result<Self, ProgramError>> {
        let units = [&[SERVICE], SOCKETS.as_slice()].concat();
        let units = Properties::of(&units)?.map(|found| {
            let mut found = found.into_iter();
            let service = found.next().unwrap_or_default();
            Self {
                service,
                sockets: SOCKETS.into_iter().zip(found).collect(),
            }
        });
        Some(units)
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let sockets = self.sockets.iter().map(|(_, properties)| properties);
        let all = std::iter::once(&self.service).chain(sockets);
        all.flat_map(Properties::files).collect()
    }

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
            checks.extend(domain_of(Path::new("/"), pid));
        }
        checks
    }
}

fn state(unit: &str, properties: &Properties) -> Vec<Check> {
    let load = properties.get("LoadState");
    if load != "loaded" {
        let why = format!("unit '{unit}' is '{load}', not 'loaded'");
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
            format!("unit '{unit}' is '{enabled}': it does not start at boot"),
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

fn settings(properties: &Properties) -> Vec<Check> {
    let name = "settings of the unit";
    let fix = match properties.get("DropInPaths") {
        "" => format!("systemctl revert {SERVICE}, then: systemctl restart {SERVICE}"),
        files => format!(
            "remove it from {files}, then: systemctl daemon-reload; systemctl restart {SERVICE}"
        ),
    };
    let mut found = Vec::new();
    let kinds = [
        (
            MOUNTS,
            "gives the daemon its own mounts: jobs would not see the host as it is",
        ),
        (
            HIDING,
            "hides from the daemon what it must see, or forbids what it must do",
        ),
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
            let why = format!("{one} is '{has}': journald can drop audit records");
            found.push(Check::failure(name, why, &fix));
        }
    }
    if !matches!(properties.get("User"), "" | "root" | "0") {
        let why = format!("User={}: the warden must be root", properties.get("User"));
        found.push(Check::failure(name, why, &fix));
    }
    let set = INHERITED.iter().filter(|one| is_set(properties.get(one)));
    found.extend(set.map(|one| {
        let why = format!("{one}= also applies to every job, in addition to its sandbox");
        Check::warning(name, why, &fix)
    }));
    for (one, value, why) in NEEDED {
        let has = properties.get(one);
        if !has.is_empty() && has != *value {
            let why = format!("{one} is '{has}', not '{value}': {why}");
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
    or_ok(found, name, "none affects jobs")
}

/// Returns true if a value of `systemctl show` is set. Unset settings have one of these values.
fn is_set(value: &str) -> bool {
    !matches!(value, "" | "no" | "default" | "all" | "0" | "[not set]")
}

fn process(pid: u32) -> Vec<Check> {
    let name = "the daemon's process";
    let link = |pid: u32, of: &str| fs::read_link(format!("/proc/{pid}/ns/{of}")).ok();
    let own_namespaces = |of: &&str| matches!((link(pid, of), link(1, of)), (Some(own), Some(first)) if own != first);
    let own_namespaces: Vec<&str> = NAMESPACES.into_iter().filter(own_namespaces).collect();
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // A process without ptrace access reads nothing here (proc_pid_exe(5)).
    let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return vec![Check::skipped(
            name,
            "only root can check this: sudo remit doctor",
        )];
    };
    let Some(spawner) = child(pid, SPAWNER) else {
        let fix =
            format!("systemctl restart {SERVICE}; if it stays: journalctl -u {SERVICE} -n 20");
        return vec![Check::failure(
            name,
            format!("it has no {SPAWNER}: nothing can run"),
            fix,
        )];
    };
    let mut found = compare(name, &own_namespaces, &status(spawner), &status(1));
    if exe != Path::new(REMITD) {
        found.push(Check::warning(
            name,
            format!("the daemon runs '{}', not '{REMITD}'", exe.display()),
            format!("systemctl restart {SERVICE}; if it stays: systemctl cat {SERVICE}"),
        ));
    }
    or_ok(found, name, format!("pid {pid}, in the host's namespaces"))
}

fn child(of: u32, name: &str) -> Option<u32> {
    let lines = [format!("Name:\t{name}\n"), format!("\nPPid:\t{of}\n")];
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut pids = fs::read_dir("/proc").ok()?.flatten().filter_map(pid);
    pids.find(|pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        lines.iter().all(|line| status.contains(line.as_str()))
    })
}

fn compare(name: &str, own_namespaces: &[&str], own: &str, first: &str) -> Vec<Check> {
    let fix =
        format!("find the setting: systemctl cat {SERVICE}; then: systemctl restart {SERVICE}");
    let mut found: Vec<Check> = own_namespaces
        .iter()
        .map(|of| {
            let why = format!("the daemon has its own {of} namespace: jobs do not see the host");
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
        let (own, first) = (field(own, of), field(first, of));
        if own.is_some() && own != first {
            let why = format!("{SPAWNER} has {what}, which every job inherits");
            found.push(Check::warning(name, why, &fix));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::report::whys;

    const GOOD: &str = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\
        NeedDaemonReload=no\nPrivateTmp=no\nProtectSystem=no\nProtectProc=default\nProcSubset=all\n\
        MountFlags=\nReadOnlyPaths=\nMountAPIVFS=no\nNoNewPrivileges=no\nSystemCallFilter=\n\
        LogRateLimitIntervalUSec=1us\nKillMode=mixed\nOOMPolicy=continue\nDelegate=yes\n\
        DelegateControllers=cpu memory pids\nUser=\nFragmentPath=/usr/lib/a\nDropInPaths=/etc/b /etc/c\n";

    /// The good unit after one more line; the first line of a name counts.
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
                "failure: PrivateTmp=yes gives the daemon its own mounts",
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
            ("PrivateNetwork=yes", "failure: PrivateNetwork=yes hides"),
            ("User=remit", "failure: User=remit: the warden must be root"),
            (
                "NoNewPrivileges=yes",
                "warning: NoNewPrivileges= also applies",
            ),
            (
                "SystemCallFilter=read write",
                "warning: SystemCallFilter= also applies",
            ),
            (
                "LogRateLimitIntervalUSec=30s",
                "failure: LogRateLimitIntervalUSec is '30s': journald can drop",
            ),
            (
                "LogRateLimitIntervalUSec=0",
                "failure: LogRateLimitIntervalUSec is '0': journald can drop",
            ),
            (
                "KillMode=control-group",
                "warning: KillMode is 'control-group'",
            ),
            (
                "LogLevelMax=4",
                "failure: LogLevelMax is '4': journald can drop",
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
    fn stopped_unit_is_reported() {
        for (line, expect) in [
            (
                "LoadState=not-found",
                "failure: unit 'remitd.service' is 'not-found', not 'loaded'",
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
        assert!(found[0].starts_with("failure: the daemon has its own mnt namespace"));
        assert!(found[1..].iter().all(|why| why.starts_with("warning")));
        // This test's own process against PID 1: any result is fine, but there must be one.
        assert!(!process(std::process::id()).is_empty());
    }
}
