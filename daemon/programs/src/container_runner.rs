//! Lists programs that start others in a container, a virtual machine or a network.

use crate::program::{Class, ContainerRunner, Program};

const fn runner(names: &'static [&'static str], runner: ContainerRunner) -> Program {
    Program {
        names,
        class: Class::ContainerRunner(runner),
    }
}

const CONTAINER_RUNNER: ContainerRunner = ContainerRunner {
    starts: &[],
    chooses: &[],
    code: &[],
    verb_code: &[],
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
            verb_code: &[(
                "compose",
                &["-f", "--file", "--project-directory", "--env-file"],
            )],
            ..CONTAINER_RUNNER
        },
    ),
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
