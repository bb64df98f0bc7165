//! Programs that start others in a container, a machine or a network.

/// Their names, and the words behind which a program stands.
pub(super) const PROGRAMS: &[(&[&str], &[&str])] = &[
    (&["docker", "podman", "nerdctl"], &["exec", "run", "create"]),
    (&["kubectl", "crictl", "lxc", "incus"], &["exec"]),
    (&["machinectl"], &["shell"]),
    (&["ip"], &["exec"]),
];

/// Their options that take the next word.
pub(super) const WITH_VALUE: &[&str] = &[
    "-c",
    "-e",
    "-n",
    "-u",
    "-v",
    "-w",
    "--container",
    "--cwd",
    "--env",
    "--group",
    "--name",
    "--namespace",
    "--network",
    "--user",
    "--volume",
    "--workdir",
];
