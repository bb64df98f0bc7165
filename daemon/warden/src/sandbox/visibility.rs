//! Describes what jobs of a profile may access, to explain failures. Reads only the policy, never the disk. Pure.

use remit_common::PRIVATE;
use remit_common::denial::ProfileVisibility;
use remit_policy::{Base, Listed, Network, Profile};

pub mod limits {
    //! Describes the limits of a job as text. Pure.

    use remit_common::outcome::NAMES_REACHED;
    use remit_common::text::size;
    use remit_policy::{Network, Profile};
    use remit_spawn::Clamped;
    use remit_sys::{Controller, Limits};

    /// Returns each limit with its mechanism. `controllers`: of the job's cgroup. `clamped`: limits that the daemon's
    /// own hard limits lower. `user`: the job's uid if others may have it, too. `space`: bytes of its copy, if it has one.
    pub fn limit_texts(
        limits: &Limits,
        controllers: &[Controller],
        clamped: &[Clamped],
        (user, space): (Option<u32>, Option<u64>),
    ) -> Vec<String> {
        let has = |controller| controllers.contains(&controller);
        let mut lines = vec![
            match limits.memory.filter(|_| has(Controller::Memory)) {
                Some(all) if all == limits.data => format!("memory {} (cgroup)", size(all)),
                Some(all) => format!(
                    "memory {} (cgroup; private memory of each process {}, rlimit)",
                    size(all),
                    size(limits.data)
                ),
                None if limits.data == Limits::INFINITY => "memory not limited".into(),
                None => format!(
                    "memory {} (private memory of each process, rlimit)",
                    size(limits.data)
                ),
            },
            match (has(Controller::Pids), user) {
                (true, _) => format!("tasks {} (cgroup)", limits.nproc),
                // The kernel counts tasks by uid, and no other job has this uid.
                (false, None) => format!(
                    "tasks {} (all processes of the job together, rlimit)",
                    limits.nproc
                ),
                // The kernel counts no tasks of root.
                (false, Some(0)) => {
                    "tasks not limited (no controller, and its user is root)".into()
                }
                (false, Some(_)) => {
                    format!("tasks {} more than its user had (rlimit)", limits.nproc)
                }
            },
            match limits.cpu_percent.filter(|_| has(Controller::Cpu)) {
                Some(percent) => format!("cpu {percent} % of one (cgroup)"),
                None => format!("cpu {} s (each process, rlimit)", limits.cpu_s),
            },
            format!("files {} (rlimit)", limits.nofile),
            format!("tmp {} each", size(limits.tmp_bytes)),
        ];
        match space {
            // It returns ENOSPC before a file is too large.
            Some(space) => lines.push(format!("space {} of its copy of the machine", size(space))),
            None if limits.is_fsize_of_tmp() => {}
            None => lines.push(format!("file {} (rlimit)", size(limits.fsize))),
        }
        lines.extend(clamped.iter().map(lowered));
        lines
    }

    /// Returns what a job of a copy asks by its proxy.
    pub fn names_text(profile: &Profile) -> Option<String> {
        let Network::Names(names) = &profile.network else {
            return None;
        };
        let names: Vec<String> = names
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        Some(format!(
            "{NAMES_REACHED}{} (GET and HEAD, proxy)",
            names.join(" ")
        ))
    }

    pub fn lowered(clamped: &Clamped) -> String {
        let Clamped { name, asked, set } = clamped;
        format!("{name} {set} instead of {asked} (remitd's own hard limit)")
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::config::MachineLimits;

        #[test]
        fn each_limit_names_what_holds_it() {
            let limits = MachineLimits::default().limits();
            let clamped = [Clamped {
                name: "nofile",
                asked: 1024,
                set: 512,
            }];
            for (controllers, clamped, want) in [
                (
                    &[][..],
                    &clamped[..],
                    &[
                        "memory 2048 MiB (private memory of each process, rlimit)",
                        "tasks 256 (all processes of the job together, rlimit)",
                        "cpu 3600 s (each process, rlimit)",
                        "files 1024 (rlimit)",
                        "tmp 64 MiB each",
                        "nofile 512 instead of 1024 (remitd's own hard limit)",
                    ][..],
                ),
                (
                    &Controller::ALL,
                    &[],
                    &[
                        "memory 2048 MiB (cgroup)",
                        "tasks 256 (cgroup)",
                        "cpu 400 % of one (cgroup)",
                        "files 1024 (rlimit)",
                        "tmp 64 MiB each",
                    ],
                ),
            ] {
                let texts = limit_texts(&limits, controllers, clamped, (None, None));
                assert_eq!(texts, want);
            }
            let writes = MachineLimits::default().of_a_writing_job();
            let texts = limit_texts(&writes, &Controller::ALL, &[], (None, None));
            assert_eq!(texts[5], "file 2048 MiB (rlimit)");
            let space = Some(512 << 20);
            let copies = MachineLimits::default().of_a_copying_job(space);
            for (controllers, memory) in [
                (
                    &Controller::ALL[..],
                    "memory 2560 MiB (cgroup; private memory of each process 2048 MiB, rlimit)",
                ),
                (
                    &[],
                    "memory 2048 MiB (private memory of each process, rlimit)",
                ),
            ] {
                let texts = limit_texts(&copies, controllers, &[], (None, space));
                assert_eq!(texts[0], memory);
                assert_eq!(texts[5], "space 512 MiB of its copy of the machine");
            }
            let host = MachineLimits::default().of_a_host_job();
            let texts = limit_texts(&host, &Controller::ALL, &[], (Some(0), None));
            assert_eq!(texts[0], "memory not limited");
            let of = |user, controllers| limit_texts(&limits, controllers, &[], (Some(user), None));
            assert_eq!(of(1, &Controller::ALL)[1], "tasks 256 (cgroup)");
            assert_eq!(of(1, &[])[1], "tasks 256 more than its user had (rlimit)");
            assert!(of(0, &[])[1].starts_with("tasks not limited"));
        }
    }
}

const BUS: &str = "/run/dbus/system_bus_socket";

/// `has_bus`: jobs of base `read` without a network ask the system bus.
pub fn of(profile: &Profile, has_bus: bool) -> ProfileVisibility {
    let paths = |lists: &[&[Listed]]| -> Vec<String> {
        let all = lists.iter().flat_map(|list| list.iter());
        all.map(|listed| listed.path.clone()).collect()
    };
    let private: Vec<String> = match profile.base {
        Base::Host => Vec::new(),
        Base::Plan => PRIVATE
            .iter()
            .chain(&["/run"])
            .map(ToString::to_string)
            .collect(),
        Base::Read | Base::Strict | Base::Extract => {
            let own = PRIVATE.iter().map(ToString::to_string);
            own.chain(profile.scratch.iter().cloned()).collect()
        }
    };
    ProfileVisibility {
        profile: profile.name.clone(),
        base: profile.base.name().into(),
        read: paths(&[&profile.read, &profile.exec]),
        write: paths(&[&profile.write]),
        private,
        sockets: match (profile.base, &profile.network) {
            (Base::Read, Network::None) if has_bus && profile.inspect.is_none() => {
                vec![BUS.to_owned()]
            }
            _ => paths(&[&profile.sockets]),
        },
        network: match &profile.network {
            Network::None => vec!["none".into()],
            Network::Loopback => vec!["loopback".into()],
            Network::Host => vec!["host".into()],
            Network::ThisHost => vec!["this-host".into()],
            Network::Connect(all) => all
                .iter()
                .map(|to| format!("{}:{}", to.host, to.port))
                .collect(),
            Network::Names(names) => names
                .iter()
                .map(|(host, port)| format!("{host}:{port}"))
                .collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_visibility_lists_paths_and_network() {
        let read = of(&Profile::read(), false);
        assert_eq!(
            (read.profile.as_str(), read.base.as_str()),
            ("read", "read")
        );
        assert_eq!(of(&Profile::read(), true).sockets, [BUS]);
        assert_eq!(
            (read.read.len(), read.write.len(), read.sockets.len()),
            (0, 0, 0)
        );
        assert_eq!(
            (read.private.join(" "), read.network.join(" ")),
            ("/tmp /var/tmp /dev/shm".into(), "none".into())
        );
        let listed = |path: &str| {
            vec![Listed {
                path: path.into(),
                optional: true,
            }]
        };
        let own = of(
            &Profile {
                read: listed("/srv"),
                write: listed("/var/lib/x"),
                scratch: vec!["/work".into()],
                sockets: listed("/run/s"),
                network: Network::Loopback,
                ..Profile::strict()
            },
            true,
        );
        assert_eq!(
            [own.read, own.write, own.sockets, own.network].map(|list| list.join(" ")),
            ["/srv", "/var/lib/x", "/run/s", "loopback"]
        );
        assert_eq!(own.private.last().map(String::as_str), Some("/work"));
        let host = of(&Profile::host(), true);
        assert_eq!(
            (
                host.base.as_str(),
                host.private.len(),
                host.network.join(" ")
            ),
            ("host", 0, "host".into())
        );
    }
}
