//! The names of capabilities by their numbers: capabilities(7), `<linux/capability.h>`.

pub const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Returns the number of a name with `CAP_` before it, in any case.
pub fn number(name: &str) -> Option<u32> {
    let (prefix, bare) = name.split_at_checked(4)?;
    let is_it = |(_, known): &(u32, &str)| known.eq_ignore_ascii_case(bare);
    let found = (0..).zip(NAMES).find(is_it);
    found
        .filter(|_| prefix.eq_ignore_ascii_case("CAP_"))
        .map(|(number, _)| number)
}

/// Returns the names of a set, each with `CAP_` before it. One without a name has its number.
pub fn names(set: u64) -> impl Iterator<Item = String> {
    let is_set = move |number: &u32| set & (1 << number) != 0;
    (0..u64::BITS).filter(is_set).map(|number| {
        let name = usize::try_from(number).ok().and_then(|at| NAMES.get(at));
        let name = name.map(|name| name.to_ascii_uppercase());
        format!("CAP_{}", name.unwrap_or_else(|| number.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_a_set_has_a_name() {
        let found: Vec<String> = names(1 | 1 << 21 | 1 << 40 | 1 << 63).collect();
        let expect = [
            "CAP_CHOWN",
            "CAP_SYS_ADMIN",
            "CAP_CHECKPOINT_RESTORE",
            "CAP_63",
        ];
        assert_eq!(found, expect);
        let numbers = ["cap_chown", "CAP_SYS_ADMIN", "CAP_63", "chown", "cap", ""].map(number);
        assert_eq!(numbers, [Some(0), Some(21), None, None, None, None]);
        assert_eq!(names(0).count(), 0);
    }
}
