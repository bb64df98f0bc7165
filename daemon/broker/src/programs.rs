//! Names of programs that have one thing in common, for all that is said of them: by notes before they fail, by
//! denials after.

/// They connect to a host, and are of no other use.
pub const CONNECT: &[&str] = &[
    "curl",
    "wget",
    "dig",
    "host",
    "nslookup",
    "nc",
    "ncat",
    "telnet",
    "ssh",
    "ssh-keyscan",
    "scp",
    "rsync",
    "git-remote-https",
];
/// They take packets from a wire, or put them on it.
pub const PACKETS: &[&str] = &[
    "ping",
    "ping6",
    "traceroute",
    "tracepath",
    "mtr",
    "arping",
    "tcpdump",
];
/// They ask services of systemd's, other than for units.
pub const BUS: &[&str] = &[
    "systemd-analyze",
    "systemd-run",
    "loginctl",
    "hostnamectl",
    "timedatectl",
    "localectl",
    "busctl",
    "machinectl",
    "networkctl",
    "resolvectl",
    "bootctl",
];
/// They ask a container engine.
pub const CONTAINERS: &[&str] = &["docker", "podman", "crictl", "ctr", "nerdctl", "kubectl"];
/// They become another user.
pub const USERS: &[&str] = &["su", "sudo", "runuser", "doas", "pkexec"];
/// They look at rules of the firewall, and maybe change them.
pub const FIREWALL: &[&str] = &[
    "iptables",
    "ip6tables",
    "iptables-save",
    "nft",
    "ufw",
    "firewall-cmd",
    "ipset",
    "conntrack",
];
/// They look at disks, and maybe change them.
pub const DISKS: &[&str] = &[
    "fdisk", "sfdisk", "parted", "blkid", "smartctl", "hdparm", "lvs", "pvs", "vgs", "mdadm",
    "dumpe2fs",
];
/// They end or restart the machine.
pub const REBOOT: &[&str] = &["reboot", "shutdown", "poweroff", "halt"];
/// Verbs of systemctl(1) that change units.
pub const UNIT_CHANGES: &[&str] = &[
    "start",
    "stop",
    "restart",
    "try-restart",
    "reload",
    "reload-or-restart",
    "kill",
    "enable",
    "disable",
    "mask",
    "unmask",
    "edit",
    "set-property",
    "daemon-reload",
    "reset-failed",
    "isolate",
];
