//! Groups of program names, shared by notes (before a failure) and denials (after it).

/// Programs that only connect to a host.
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
pub const PACKETS: &[&str] = &[
    "ping",
    "ping6",
    "traceroute",
    "tracepath",
    "mtr",
    "arping",
    "tcpdump",
];
// D-Bus services of systemd, without systemctl.
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
pub const CONTAINERS: &[&str] = &["docker", "podman", "crictl", "ctr", "nerdctl", "kubectl"];
pub const USERS: &[&str] = &["su", "sudo", "runuser", "doas", "pkexec"];
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
pub const DISKS: &[&str] = &[
    "fdisk", "sfdisk", "parted", "blkid", "smartctl", "hdparm", "lvs", "pvs", "vgs", "mdadm",
    "dumpe2fs",
];
pub const REBOOT: &[&str] = &["reboot", "shutdown", "poweroff", "halt"];
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
