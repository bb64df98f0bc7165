//! Describes known programs by name, in one table for all: the lint of templates, the risks of a request, and the hints
//! about a failed job. Why a program fails in a sandbox, and which command of remit answers instead, is another table.
//! It is data: no IO, no dependency. A name alone decides nothing, and no list of programs is complete.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

mod alternatives;

pub(crate) mod container_runner {
    //! Lists programs that start others in a container, a virtual machine or a network.

    use crate::program::{Class, ContainerRunner, Program, TOOL, Tool};

    const fn runner(names: &'static [&'static str], runner: ContainerRunner) -> Program {
        Program {
            names,
            class: Class::ContainerRunner(runner),
        }
    }

    const COMPOSE_CODE: &[&str] = &["-f", "--file", "--project-directory", "--env-file"];
    const COMPOSE_FILES: &[&str] = &[
        "compose.yaml",
        "compose.yml",
        "docker-compose.yaml",
        "docker-compose.yml",
        "compose.override.yaml",
        "docker-compose.override.yml",
    ];

    const ENDS: &[&str] = &["--time", "--timeout", "-t", "--signal", "-s"];

    const CONTAINER_RUNNER: ContainerRunner = ContainerRunner {
        starts: &[],
        chooses: &[],
        code: &[],
        verb_code: &[],
        verb_with_value: &[],
        verb_reads: &[],
    };

    pub(crate) const PROGRAMS: &[Program] = &[
        runner(
            &["docker", "podman", "nerdctl"],
            ContainerRunner {
                starts: &["exec", "run", "create"],
                code: &[
                    "-v",
                    "--volume",
                    "--mount",
                    "--volumes-from",
                    "--device",
                    "--cap-add",
                    "--security-opt",
                    "--entrypoint",
                    "--env-file",
                    "--config",
                    "--host",
                    "-H",
                ],
                verb_code: &[("compose", COMPOSE_CODE)],
                verb_with_value: &[
                    ("logs", &["--tail", "-n", "--since", "--until"]),
                    ("inspect", &["--format", "-f", "--type"]),
                    ("stats", &["--format", "--interval", "-i"]),
                    ("stop", ENDS),
                    ("restart", ENDS),
                    ("kill", ENDS),
                ],
                verb_reads: &[("compose", COMPOSE_FILES)],
                ..CONTAINER_RUNNER
            },
        ),
        Program {
            names: &["docker-compose", "podman-compose"],
            class: Class::Tool(Tool {
                code: COMPOSE_CODE,
                reads: COMPOSE_FILES,
                ..TOOL
            }),
        },
        runner(
            &["kubectl", "crictl"],
            ContainerRunner {
                starts: &["exec"],
                code: &[
                    "--kubeconfig",
                    "--filename",
                    "-k",
                    "--kustomize",
                    "--config",
                ],
                verb_code: &[
                    ("apply", &["-f"]),
                    ("create", &["-f"]),
                    ("delete", &["-f"]),
                    ("replace", &["-f"]),
                ],
                ..CONTAINER_RUNNER
            },
        ),
        runner(
            &["lxc", "incus"],
            ContainerRunner {
                starts: &["exec"],
                ..CONTAINER_RUNNER
            },
        ),
        runner(
            &["ctr"],
            ContainerRunner {
                starts: &["exec"],
                chooses: &["run"],
                code: &["--mount", "--config"],
                ..CONTAINER_RUNNER
            },
        ),
        runner(
            &["snap", "flatpak"],
            ContainerRunner {
                chooses: &["run", "install"],
                ..CONTAINER_RUNNER
            },
        ),
        runner(
            &["machinectl"],
            ContainerRunner {
                starts: &["shell"],
                ..CONTAINER_RUNNER
            },
        ),
        runner(
            &["ip"],
            ContainerRunner {
                starts: &["exec"],
                code: &["-batch", "-b"],
                ..CONTAINER_RUNNER
            },
        ),
        runner(
            &["virsh"],
            ContainerRunner {
                starts: &["qemu-agent-command", "qemu-monitor-command"],
                ..CONTAINER_RUNNER
            },
        ),
    ];
}

mod program;
mod shipped;
mod starters;
mod tools;
mod typed;
mod unit_verbs;
mod wrappers;
mod writers;

pub use alternatives::{Alternative, Argument, Found, PLACEHOLDER, found};
pub use program::{Class, ContainerRunner, Interpreter, Program, Tool, Wrapper};
pub use shipped::{Shipped, all_shipped, nearest, shipped};
pub use unit_verbs::has_units_started;
pub use writers::{Written, executes_no_file, has_shell_escape, takes_files, written};

macro_rules! topics {
    ($($name:literal $topic:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Topic {
            $($topic,)*
        }

        impl Topic {
            pub const ALL: &[Self] = &[$(Self::$topic,)*];

            pub(crate) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$topic),)*
                    _ => None,
                }
            }
        }
    };
}

topics! {
    "account" Account,
    "accounts" Accounts,
    "at-queue" AtQueue,
    "bus" Bus,
    "config-test" ConfigTest,
    "containers" Containers,
    "core-files" CoreFiles,
    "crontab" Crontab,
    "descriptors" Descriptors,
    "disks" Disks,
    "firewall" Firewall,
    "follow" Follow,
    "hidden-columns" HiddenColumns,
    "host-keys" HostKeys,
    "index" Index,
    "init-scripts" InitScripts,
    "interface-query" InterfaceQuery,
    "interfaces" Interfaces,
    "io-counters" IoCounters,
    "journal-change" JournalChange,
    "kernel-log" KernelLog,
    "lock-files" LockFiles,
    "locks" Locks,
    "machine" Machine,
    "memory-maps" MemoryMaps,
    "modules" Modules,
    "mount-table" MountTable,
    "mounts" Mounts,
    "namespace-list" NamespaceList,
    "namespaces" Namespaces,
    "network" Network,
    "own-limits" OwnLimits,
    "package-files" PackageFiles,
    "package-lists" PackageLists,
    "package-state" PackageState,
    "packages" Packages,
    "packets" Packets,
    "private-tmp" PrivateTmp,
    "reboot" Reboot,
    "resolver" Resolver,
    "root-files" RootFiles,
    "services" Services,
    "signal" Signal,
    "socket-owners" SocketOwners,
    "stop" Stop,
    "sysctl" Sysctl,
    "trace" Trace,
    "unit-change" UnitChange,
    "units" Units,
    "users" Users,
    "wal" Wal,
}

/// Returns all programs. A name is in only one entry.
pub fn all() -> impl Iterator<Item = &'static Program> {
    let interpreters = starters::PROGRAMS.iter().chain(wrappers::PROGRAMS);
    interpreters
        .chain(container_runner::PROGRAMS)
        .chain(tools::PROGRAMS)
}

static BY_NAME: LazyLock<BTreeMap<&str, &Program>> = LazyLock::new(|| {
    let named = |program: &'static Program| program.names.iter().map(move |name| (*name, program));
    all().flat_map(named).collect()
});

/// Suffixes of distributions for one of several builds, or for a diverted program.
const BUILDS: [&str; 8] = [
    "-dbg", ".basic", ".distrib", ".nox", ".openbsd", ".orig", ".real", ".tiny",
];

/// Returns the program of this name, the last part of a path. A version such as in `python3.11` is ignored.
pub fn known(name: &str) -> Option<&'static Program> {
    let built = BUILDS.iter().find_map(|build| name.strip_suffix(build));
    let stem = built.unwrap_or(name);
    let stem =
        stem.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.' || char == '-');
    let program = BY_NAME.get(name).or_else(|| BY_NAME.get(stem));
    program.copied()
}

/// Returns the words of the program that these words start in the end, behind wrappers.
pub fn innermost<W: AsRef<[u8]>>(mut words: &[W]) -> &[W] {
    while let Some((program, args)) = words.split_first() {
        let Some(Class::Wrapper(wrapper)) = program_of(program.as_ref()).map(|one| &one.class)
        else {
            break;
        };
        words = args.split_at(wrapper.inner(args)).1;
    }
    words
}

/// Returns the program that this path or name is of.
pub fn program_of(program: &[u8]) -> Option<&'static Program> {
    let name = program.rsplit(|byte| *byte == b'/').next()?;
    std::str::from_utf8(name).ok().and_then(known)
}

pub fn is_shell(name: &str) -> bool {
    known(name).is_some_and(|program| matches!(program.class, Class::Shell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().flat_map(|program| program.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().all(|program| !program.names.is_empty()));
    }

    #[test]
    fn versions_and_builds_are_left_out() {
        for (name, expect) in [
            ("python3.11", "python"),
            ("perl5.36", "perl"),
            ("vim.tiny", "vim"),
            ("sh.distrib", "sh"),
            ("ld-linux-x86-64.so.2", "ld-linux-x86-64.so"),
            ("nc.openbsd", "nc"),
        ] {
            let program = known(name).unwrap_or_else(|| unreachable!("{name}"));
            assert!(program.names.contains(&expect), "{name}");
        }
        for name in ["", "df", "showenv", "pythonic", "3.11"] {
            assert!(known(name).is_none(), "{name}");
        }
        assert!(is_shell("bash") && !is_shell("python3"));
    }
}
