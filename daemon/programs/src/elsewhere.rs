//! Programs that start others in a container, a machine or a network.

use crate::{Class, Elsewhere, Program};

const fn elsewhere(names: &'static [&'static str], elsewhere: Elsewhere) -> Program {
    Program {
        names,
        class: Class::Elsewhere(elsewhere),
    }
}

const PLACE: Elsewhere = Elsewhere {
    starts: &[],
    chooses: &[],
    code: &[],
    verb_code: &[],
};

pub(crate) const PROGRAMS: &[Program] = &[
    elsewhere(
        &["docker", "podman", "nerdctl"],
        Elsewhere {
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
            ..PLACE
        },
    ),
    elsewhere(
        &["kubectl", "crictl"],
        Elsewhere {
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
            ..PLACE
        },
    ),
    elsewhere(
        &["lxc", "incus"],
        Elsewhere {
            starts: &["exec"],
            ..PLACE
        },
    ),
    elsewhere(
        &["ctr"],
        Elsewhere {
            starts: &["exec"],
            chooses: &["run"],
            code: &["--mount", "--config"],
            ..PLACE
        },
    ),
    elsewhere(
        &["snap", "flatpak"],
        Elsewhere {
            chooses: &["run", "install"],
            ..PLACE
        },
    ),
    elsewhere(
        &["machinectl"],
        Elsewhere {
            starts: &["shell"],
            ..PLACE
        },
    ),
    elsewhere(
        &["ip"],
        Elsewhere {
            starts: &["exec"],
            code: &["-batch", "-b"],
            ..PLACE
        },
    ),
    elsewhere(
        &["virsh"],
        Elsewhere {
            starts: &["qemu-agent-command", "qemu-monitor-command"],
            ..PLACE
        },
    ),
];
