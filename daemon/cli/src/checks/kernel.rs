//! Checks what the kernel and the machine give the daemon: Landlock, cgroup controllers, limits.

use std::path::Path;

use remit_common::admin::Checkup;
use remit_sys::sys;

use super::file_facts;
use super::report::{Check, Part, or_ok};

pub const TITLE: &str = "kernel";

/// Facts that the daemon does not report. They decide which fix helps.
#[derive(Debug, Default)]
pub struct Machine {
    pub lsm: Option<String>,
    /// Controllers at the top of the visible cgroup tree; `None` if that is not cgroup v2.
    pub controllers: Option<String>,
    pub is_container: bool,
    pub is_clock_synchronised: bool,
}

impl Machine {
    pub fn read() -> Self {
        let text = |path: &str| file_facts::read_text(Path::new(path)).ok().flatten();
        // Only the true top of the cgroup tree has no type, and a container sees another top (cgroup_namespaces(7)).
        let marks = [
            "/sys/fs/cgroup/cgroup.type",
            "/run/systemd/container",
            "/run/.containerenv",
            "/.dockerenv",
        ];
        Self {
            lsm: text("/sys/kernel/security/lsm"),
            controllers: text("/sys/fs/cgroup/cgroup.controllers"),
            is_container: marks.iter().any(|mark| Path::new(mark).exists()),
            is_clock_synchronised: sys::is_clock_synchronised(),
        }
    }

    /// Returns what gives remitd these controllers. A restart helps only if they are at the top of the tree.
    fn fix_of_controllers(&self, missing: &[String]) -> &'static str {
        let top = self.controllers.as_deref().unwrap_or_default();
        let is_at_top = |one: &String| top.split_whitespace().any(|other| other == one);
        match (missing.iter().all(is_at_top), self.is_container) {
            (true, _) => {
                "systemctl restart remitd; if it stays: systemctl show -p DelegateControllers remitd"
            }
            (false, true) => {
                "on the container's host, delegate these controllers to the container, on cgroup v2 (systemd: \
                 Delegate=yes); nothing inside the container helps"
            }
            (false, false) => {
                "boot with cgroup v2 for all controllers: systemd.unified_cgroup_hierarchy=1, without cgroup_disable="
            }
        }
    }
}

pub fn part(checkup: &Checkup, machine: &Machine) -> Part {
    Part {
        title: TITLE,
        checks: checks(checkup, machine),
    }
}

fn checks(checkup: &Checkup, machine: &Machine) -> Vec<Check> {
    let mut checks = vec![Check::ok("release", &checkup.kernel)];
    checks.push(landlock(checkup, machine.lsm.as_deref()));
    let controllers = checkup.controllers.join(" ");
    checks.push(
        match (&checkup.cgroup, checkup.missing_controllers.as_slice()) {
            (None, _) => Check::failure(
                "cgroup",
                "remitd cannot create cgroups for jobs, so nothing runs",
                "use Linux 5.14 or newer with a writable cgroup v2 at /sys/fs/cgroup and Delegate=yes in \
                 remitd.service, then: systemctl restart remitd",
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
                machine.fix_of_controllers(missing),
            ),
        },
    );
    let lowered = checkup.lowered_limits.iter().map(|limit| {
        let why = format!("a limit is lower than configured: {limit}");
        Check::warning(
            "limits",
            why,
            "raise Limit…= in remitd.service, or lower the limit in remit.toml",
        )
    });
    checks.extend(or_ok(lowered.collect(), "limits", "as configured"));
    checks.push(clock(machine.is_clock_synchronised));
    checks
}

/// No finding: some containers refuse the question, and a machine without a clock to trust works.
fn clock(is_synchronised: bool) -> Check {
    let found = match is_synchronised {
        true => "synchronised, so undos expire by age",
        false => {
            "not synchronised, as far as the kernel says, so no undo expires by age: remitd(8)"
        }
    };
    Check::ok("clock", found)
}

/// Describes the fallback to resource limits (setrlimit(2)) if cgroups lack these controllers.
pub fn without(controllers: &[impl AsRef<str>]) -> String {
    let words = controllers.iter().map(|one| match one.as_ref() {
        "memory" => "the memory limit applies to each process, not to the whole job",
        "pids" => "the task limit still applies, by the job's own uid",
        _ => "the CPU time limit applies to each process, not to the whole job",
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
            "the kernel was started without Landlock; the other sandbox layers still apply",
            "add landlock to lsm= on the kernel's command line, and reboot".to_owned(),
        ),
        Some(_) | None => (
            "this kernel has no Landlock; the other sandbox layers still apply",
            "boot Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK".to_owned(),
        ),
    };
    Check::warning("landlock", why, fix)
}

/// Returns true if a release such as `6.1.0-50-amd64` is 5.13 or newer, the first with Landlock.
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

fn of_service(jobs: &str) -> &str {
    jobs.rsplit_once("/jobs-of-remit-")
        .map_or(jobs, |(service, _)| service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::daemon::tests::checkup;
    use crate::checks::report::Verdict;

    fn found(checkup: &Checkup, lsm: Option<&str>) -> Vec<String> {
        let machine = Machine {
            lsm: lsm.map(str::to_owned),
            ..Machine::default()
        };
        let word = |check: Check| match check.verdict {
            Verdict::Ok(_) | Verdict::Skipped(_) => None,
            Verdict::Warning(_) => Some(format!("warning {}", check.name)),
            Verdict::Failure(_) => Some(format!("failure {}", check.name)),
        };
        let checks = checks(checkup, &machine);
        checks.into_iter().filter_map(word).collect()
    }

    #[test]
    fn job_without_cgroup_has_own_task_limit() {
        assert!(without(&["pids"]).contains("the job's own uid"));
        assert!(!without(&["pids"]).contains("to each process"));
        let both = without(&["memory", "cpu"]);
        assert_eq!(both.matches("to each process").count(), 2);
    }

    #[test]
    fn restart_is_advised_only_if_controllers_are_available() {
        let missing = ["cpu".to_owned(), "memory".to_owned()];
        let fix = |controllers: Option<&str>, is_container| {
            let machine = Machine {
                lsm: None,
                controllers: controllers.map(str::to_owned),
                is_container,
                is_clock_synchronised: true,
            };
            machine.fix_of_controllers(&missing)
        };
        let all = Some("cpuset cpu io memory pids\n");
        for (controllers, is_container, expect) in [
            (all, false, "systemctl restart"),
            (all, true, "systemctl restart"),
            (Some("pids\n"), true, "on the container's host"),
            (None, true, "on the container's host"),
            (Some("cpu pids\n"), false, "boot with cgroup v2"),
            (None, false, "boot with cgroup v2"),
        ] {
            let fix = fix(controllers, is_container);
            assert!(
                fix.starts_with(expect),
                "{controllers:?} {is_container}: {fix}"
            );
        }
    }

    #[test]
    fn old_kernel_gets_no_landlock_advice() {
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
    fn clock_is_no_finding_and_says_if_undos_expire() {
        for (is_clock_synchronised, says) in
            [(true, "so undos expire"), (false, "so no undo expires")]
        {
            let machine = Machine {
                is_clock_synchronised,
                ..Machine::default()
            };
            let found = checks(&checkup(), &machine);
            let clock = found.iter().find(|check| check.name == "clock");
            let said = clock.map(|check| match &check.verdict {
                Verdict::Ok(said) => said.contains(says),
                _ => false,
            });
            assert_eq!(said, Some(true), "{found:?}");
        }
    }

    #[test]
    fn missing_kernel_feature_is_a_warning() {
        assert_eq!(found(&checkup(), None), [""; 0]);
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
}
