//! Names capabilities (capabilities(7)), and refuses those that no profile can have.

use remit_common::capability;

use crate::model::profile::{Base, Network};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In every profile: it undoes the sandbox, or its effect stays on the host.
    Everywhere,
    /// In base `read`, whose jobs are among the host's processes.
    Read,
    /// On the host's network, which base `read` has too.
    HostNetwork,
}

const REFUSED: [(&str, Where, &str); 23] = [
    (
        "SYS_ADMIN",
        Where::Everywhere,
        "it mounts, and enters and leaves namespaces",
    ),
    (
        "SYS_MODULE",
        Where::Everywhere,
        "it loads code into the kernel",
    ),
    (
        "SYS_RAWIO",
        Where::Everywhere,
        "it reads and writes the machine's memory and ports",
    ),
    (
        "SYS_PTRACE",
        Where::Everywhere,
        "it reads and changes other processes",
    ),
    (
        "SYS_BOOT",
        Where::Everywhere,
        "it stops the machine and replaces its kernel",
    ),
    (
        "SYS_TIME",
        Where::Everywhere,
        "it sets the clock that all programs share",
    ),
    (
        "SYS_PACCT",
        Where::Everywhere,
        "it has the kernel write a file of its choice",
    ),
    (
        "SYS_RESOURCE",
        Where::Everywhere,
        "it lifts the limits of the job",
    ),
    (
        "SYS_TTY_CONFIG",
        Where::Everywhere,
        "it hangs up the terminals of others",
    ),
    (
        "BPF",
        Where::Everywhere,
        "it loads programs into the kernel",
    ),
    ("PERFMON", Where::Everywhere, "it observes the whole kernel"),
    (
        "SYSLOG",
        Where::Everywhere,
        "it clears the kernel's log and shows where its code lies",
    ),
    (
        "CHECKPOINT_RESTORE",
        Where::Everywhere,
        "it makes up the state of processes",
    ),
    (
        "MAC_OVERRIDE",
        Where::Everywhere,
        "it passes the mandatory access control by",
    ),
    (
        "MAC_ADMIN",
        Where::Everywhere,
        "it changes the mandatory access control",
    ),
    (
        "AUDIT_CONTROL",
        Where::Everywhere,
        "it changes whom the kernel's audit names",
    ),
    // On the host these work for any process that finds them, long after the job.
    (
        "MKNOD",
        Where::Everywhere,
        "it makes device nodes, which outlive the job",
    ),
    (
        "SETFCAP",
        Where::Everywhere,
        "it gives capabilities to files, which outlive the job",
    ),
    ("SETUID", Where::Read, "it becomes the user of another job"),
    ("SETGID", Where::Read, "it becomes a member of any group"),
    ("KILL", Where::Read, "it ends processes of the host"),
    ("SYS_NICE", Where::Read, "it slows processes of the host"),
    (
        "NET_ADMIN",
        Where::HostNetwork,
        "it changes the host's network",
    ),
];

/// Returns the bit of a capability of capabilities(7). Errors: none, or not for this base and network, and why.
pub fn bit(name: &str, base: Base, network: &Network) -> Result<u64, String> {
    let bare = name.strip_prefix("CAP_").unwrap_or_default();
    let is_written_so = !name.bytes().any(|byte| byte.is_ascii_lowercase());
    let Some(number) = capability::number(name).filter(|_| is_written_so) else {
        return Err("capabilities(7) has none of this name".into());
    };
    let read = base == Base::Read;
    match REFUSED.iter().find(|(refused, ..)| *refused == bare) {
        Some((_, Where::Everywhere, why)) => Err(format!("no profile can have it: {why}")),
        Some((_, Where::Read, why)) if read => {
            Err(format!("no profile of base read can have it: {why}"))
        }
        Some((_, Where::HostNetwork, why)) if read || *network == Network::Host => Err(format!(
            "it needs base strict with a network of the job's own: {why}"
        )),
        _ => Ok(1 << number),
    }
}

pub fn names(bits: u64) -> Vec<String> {
    capability::names(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_of_the_kernel() {
        for (name, number) in [
            ("CAP_CHOWN", 0),
            ("CAP_DAC_READ_SEARCH", 2),
            ("CAP_KILL", 5),
            ("CAP_NET_BIND_SERVICE", 10),
            ("CAP_NET_ADMIN", 12),
            ("CAP_SYS_NICE", 23),
            ("CAP_AUDIT_READ", 37),
        ] {
            let found = bit(name, Base::Strict, &Network::None);
            assert_eq!(found, Ok(1 << number), "{name}");
            assert_eq!(names(1 << number), [name]);
        }
    }

    #[test]
    fn what_undoes_the_sandbox_is_refused() {
        for (name, refused_in, _) in REFUSED {
            let in_profile = |base, network| bit(&format!("CAP_{name}"), base, &network).is_ok();
            assert!(
                capability::number(&format!("CAP_{name}")).is_some(),
                "{name}"
            );
            assert!(!in_profile(Base::Read, Network::None), "{name}");
            let strict = in_profile(Base::Strict, Network::None);
            assert_eq!(strict, refused_in != Where::Everywhere, "{name}");
            let host = in_profile(Base::Strict, Network::Host);
            assert_eq!(host, refused_in == Where::Read, "{name}");
        }
        for name in ["", "CHOWN", "cap_chown", "CAP_", "CAP_ALL", "CAP_CHOWN "] {
            let why = bit(name, Base::Strict, &Network::None).unwrap_err();
            assert!(why.contains("none of this name"), "{name:?}");
        }
    }
}
