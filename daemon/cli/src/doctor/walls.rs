//! What the daemon found when it tried its own walls, as checks. Pure.

use remit_common::admin::{Checkup, ProfileCheck, WallState};

use super::check::{Check, Part, or_ok};

/// The parts of a checkup: walls, kernel. `lsm` is the kernel's list of security modules, if it can be read.
pub fn parts(checkup: &Checkup, lsm: Option<&str>) -> [Part; 2] {
    let walls = match checkup.profiles.as_slice() {
        [] => vec![Check::failure(
            "profiles",
            "the daemon has no profile to try",
            "journalctl -u remitd -n 20",
        )],
        some => some.iter().flat_map(profile).collect(),
    };
    [
        Part {
            title: "walls",
            checks: walls,
        },
        Part {
            title: "kernel",
            checks: kernel(checkup, lsm),
        },
    ]
}

fn profile(profile: &ProfileCheck) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(why) = &profile.refused {
        checks.push(Check::failure(
            &profile.name,
            format!("nothing runs in profile '{}': {why}", profile.name),
            "mend that, by a newer kernel or a setting, then: systemctl restart remitd",
        ));
    } else if profile.walls.is_empty() {
        checks.push(Check::failure(
            &profile.name,
            format!("no wall of profile '{}' was tried", profile.name),
            "systemctl restart remitd, and look at: journalctl -u remitd -n 20",
        ));
    }
    checks.extend(profile.walls.iter().map(|wall| {
        let name = format!("{}: {}", profile.name, wall.name);
        match wall.state {
            WallState::Held => Check::ok(name, wall.detail.trim_end_matches(": as it must be")),
            WallState::Absent => Check::ok(name, format!("not in this kernel: {}", wall.detail)),
            WallState::Broken => Check::failure(
                name,
                format!("wall '{}' does not hold: {}", wall.name, wall.detail),
                "boot a kernel that has it, then: systemctl restart remitd",
            ),
        }
    }));
    checks
}

fn kernel(checkup: &Checkup, lsm: Option<&str>) -> Vec<Check> {
    let mut checks = vec![Check::ok("release", &checkup.kernel)];
    checks.push(landlock(checkup, lsm));
    let controllers = checkup.controllers.join(" ");
    checks.push(
        match (&checkup.cgroup, checkup.missing_controllers.as_slice()) {
            (None, _) => Check::failure(
                "cgroup",
                "jobs can have no cgroup, so nothing runs",
                "systemctl restart remitd, on Linux 5.14 or newer, where /sys/fs/cgroup is a cgroup v2 \
                 that may be written and Delegate= is set",
            ),
            (Some(_), []) => Check::ok("cgroup", controllers),
            (Some(path), missing) => Check::warning(
                "cgroup",
                format!(
                    "'{}' lacks {}: {}",
                    of_service(path),
                    missing.join(", "),
                    without(missing)
                ),
                "systemctl restart remitd, where the host has these controllers on cgroup v2",
            ),
        },
    );
    let lowered = checkup.lowered_limits.iter().map(|limit| {
        let why = format!("a limit is lower than configured: {limit}");
        Check::warning(
            "limits",
            why,
            "raise the Limit…= of remitd.service, or lower it in remit.toml",
        )
    });
    checks.extend(or_ok(lowered.collect(), "limits", "as configured"));
    checks
}

/// What limits jobs where cgroups lack these controllers: the resource limits (setrlimit(2)).
pub fn without(controllers: &[impl AsRef<str>]) -> String {
    let words = controllers.iter().map(|one| match one.as_ref() {
        "memory" => "memory is limited for each process, and not for the whole job",
        "pids" => "tasks are counted by the job's own uid alone",
        _ => "processor time is limited for each process, and not for the whole job",
    });
    words.collect::<Vec<_>>().join("; ")
}

fn landlock(checkup: &Checkup, lsm: Option<&str>) -> Check {
    if checkup.landlock > 0 {
        let text = match checkup.landlock_errata {
            0 => format!("version {}", checkup.landlock),
            errata => format!("version {}, errata {errata:#x}", checkup.landlock),
        };
        return Check::ok("landlock", text);
    }
    let is_listed = lsm.map(|lsm| lsm.trim().split(',').any(|one| one == "landlock"));
    let (why, fix) = match is_listed {
        Some(false) if knows_landlock(&checkup.kernel) => (
            "the kernel was started without Landlock: the other walls stand alone",
            "add landlock to lsm= on the kernel's command line, and reboot".to_owned(),
        ),
        Some(_) | None => (
            "this kernel has no Landlock: the other walls stand alone",
            "boot a kernel with CONFIG_SECURITY_LANDLOCK, 5.13 or newer".to_owned(),
        ),
    };
    Check::warning("landlock", why, fix)
}

/// Whether a release, such as `6.1.0-50-amd64`, is 5.13 or newer.
fn knows_landlock(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or_default());
    let version = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    version >= (5, 13)
}

/// Whether the audit trail takes records now.
pub fn audit(checkup: &Checkup) -> Check {
    match &checkup.audit_error {
        None => Check::ok("audit trail", &checkup.audit),
        Some(why) => Check::failure(
            "audit trail",
            format!("{} takes no records, so nothing runs: {why}", checkup.audit),
            match checkup.audit.starts_with("journald") {
                true => "systemctl restart systemd-journald",
                false => "df -h /var/lib/remit",
            },
        ),
    }
}

/// The service's cgroup: the directory of its jobs has another name after each start.
fn of_service(jobs: &str) -> &str {
    jobs.rsplit_once("/jobs-of-remit-")
        .map_or(jobs, |(service, _)| service)
}

#[cfg(test)]
pub mod tests {
    use remit_common::admin::WallCheck;

    use super::super::check::Verdict;
    use super::*;

    /// A checkup in which all is well.
    pub fn checkup() -> Checkup {
        let wall = |name: &str, state| WallCheck {
            name: name.into(),
            state,
            detail: "it was refused".into(),
        };
        Checkup {
            kernel: "6.1.0".into(),
            landlock: 2,
            landlock_errata: 0,
            cgroup: Some("/x".into()),
            controllers: ["memory", "pids", "cpu"].map(str::to_owned).to_vec(),
            missing_controllers: Vec::new(),
            lowered_limits: Vec::new(),
            audit: "journald".into(),
            audit_error: None,
            profiles: vec![ProfileCheck {
                name: "read".into(),
                refused: None,
                walls: vec![
                    wall("mounts", WallState::Held),
                    wall("landlock network", WallState::Absent),
                ],
            }],
        }
    }

    fn found(checkup: &Checkup, lsm: Option<&str>) -> Vec<String> {
        let [walls, kernel] = parts(checkup, lsm);
        let checks = walls.checks.into_iter().chain(kernel.checks);
        let word = |check: Check| match check.verdict {
            Verdict::Ok(_) | Verdict::Skipped(_) => None,
            Verdict::Warning(_) => Some(format!("warning {}", check.name)),
            Verdict::Failure(_) => Some(format!("failure {}", check.name)),
        };
        checks.filter_map(word).collect()
    }

    #[test]
    fn a_wall_that_does_not_hold_is_a_failure() {
        assert_eq!(found(&checkup(), None), [""; 0]);
        let mut broken = checkup();
        broken.profiles[0].walls[0].state = WallState::Broken;
        broken.profiles[0].refused = Some("wall 'mounts' does not hold".into());
        assert_eq!(
            found(&broken, None),
            ["failure read", "failure read: mounts"]
        );
        let mut untried = checkup();
        untried.profiles[0].walls.clear();
        assert_eq!(found(&untried, None), ["failure read"]);
        untried.profiles.clear();
        assert_eq!(found(&untried, None), ["failure profiles"]);
    }

    #[test]
    fn what_is_only_as_it_must_be_is_not_told() {
        let mut good = checkup();
        good.profiles[0].walls[0].detail = "no capability is left: as it must be".into();
        let [walls, _] = parts(&good, None);
        let expect = Check::ok("read: mounts", "no capability is left");
        assert_eq!(walls.checks[0], expect);
    }

    #[test]
    fn a_job_without_a_cgroup_still_has_its_own_tasks() {
        assert!(without(&["pids"]).contains("the job's own uid"));
        assert!(!without(&["pids"]).contains("for each process"));
        assert_eq!(
            without(&["memory", "cpu"])
                .matches("for each process")
                .count(),
            2
        );
    }

    #[test]
    fn a_kernel_that_is_too_old_is_not_asked_for_a_setting() {
        for (release, expect) in [
            ("6.1.0-50-amd64", true),
            ("5.13.0", true),
            ("5.12.19", false),
            ("5.10.0-32-cloud-amd64", false),
            ("", false),
        ] {
            assert_eq!(knows_landlock(release), expect, "{release}");
        }
    }

    #[test]
    fn what_the_kernel_lacks_is_a_warning() {
        let mut poor = checkup();
        poor.landlock = 0;
        poor.missing_controllers = vec!["cpu".into()];
        poor.lowered_limits = vec!["files 512".into()];
        assert_eq!(
            found(&poor, Some("capability,yama\n")),
            ["warning landlock", "warning cgroup", "warning limits"]
        );
        poor.cgroup = None;
        assert_eq!(found(&poor, None)[1], "failure cgroup");
    }

    #[test]
    fn an_audit_trail_that_takes_nothing_is_a_failure() {
        let mut full = checkup();
        assert!(matches!(audit(&full).verdict, Verdict::Ok(_)));
        full.audit_error = Some("no space".into());
        assert!(matches!(audit(&full).verdict, Verdict::Failure(_)));
    }
}
