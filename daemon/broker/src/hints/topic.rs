//! Maps programs to topics: the reason why they cannot work in a sandbox. Groups of program names are shared with the
//! notes. Mostly data.

use super::commands::Command;
use super::stderr_patterns::Kind;

/// Programs that fail for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Network,
    /// pip and other installers that download from an index.
    Index,
    /// Raw packet access.
    Packets,
    Units,
    UnitChange,
    /// Other D-Bus services of systemd.
    Bus,
    Containers,
    Packages,
    PackageLists,
    Users,
    Accounts,
    Reboot,
    Mounts,
    KernelLog,
    Firewall,
    Crontab,
    Sysctl,
    Machine,
    Modules,
    Trace,
    Namespaces,
    Signal,
    Disks,
    Interfaces,
}

const NAMES: &[(&[&str], Topic)] = &[
    (CONNECT, Topic::Network),
    (&["sftp", "whois", "ftp", "openssl"], Topic::Network),
    (PACKETS, Topic::Packets),
    (&["tshark", "nmap"], Topic::Packets),
    (BUS, Topic::Bus),
    (&["gdbus", "dbus-send"], Topic::Bus),
    (CONTAINERS, Topic::Containers),
    (USERS, Topic::Users),
    (
        &[
            "useradd", "usermod", "userdel", "adduser", "deluser", "groupadd", "groupmod",
            "groupdel", "addgroup", "gpasswd", "passwd", "chpasswd", "chfn", "chsh", "chage",
            "vipw",
        ],
        Topic::Accounts,
    ),
    (REBOOT, Topic::Reboot),
    (&["init", "telinit"], Topic::Reboot),
    (
        &["mount", "umount", "losetup", "swapon", "swapoff"],
        Topic::Mounts,
    ),
    (&["dmesg"], Topic::KernelLog),
    (FIREWALL, Topic::Firewall),
    (&["ip6tables-save", "iptables-restore"], Topic::Firewall),
    (&["crontab", "at", "atq", "atrm", "batch"], Topic::Crontab),
    (&["sysctl"], Topic::Sysctl),
    (
        &["date", "hwclock", "hostname", "domainname"],
        Topic::Machine,
    ),
    (&["modprobe", "insmod", "rmmod", "depmod"], Topic::Modules),
    (
        &[
            "strace", "ltrace", "gdb", "gcore", "perf", "bpftrace", "py-spy",
        ],
        Topic::Trace,
    ),
    (
        &["unshare", "nsenter", "bwrap", "chroot"],
        Topic::Namespaces,
    ),
    (
        &[
            "kill", "pkill", "killall", "renice", "chrt", "ionice", "taskset",
        ],
        Topic::Signal,
    ),
    (DISKS, Topic::Disks),
    (
        &[
            "mkfs",
            "mkfs.ext4",
            "mkfs.xfs",
            "mkswap",
            "fsck",
            "e2fsck",
            "wipefs",
            "lvcreate",
            "lvextend",
        ],
        Topic::Disks,
    ),
];

impl Topic {
    /// Returns the topic of a command; `None` if it depends only on files.
    pub fn of(command: &Command) -> Option<Self> {
        let verb = command.words().next();
        match command.name.as_str() {
            "systemctl" => Some(of_systemctl(verb, &command.args)),
            "service" | "invoke-rc.d" => Some(of_systemctl(command.words().nth(1), &command.args)),
            "apt" | "apt-get" | "aptitude" | "dnf" | "yum" | "zypper" | "dpkg" | "rpm" => {
                of_packages(verb, &command.args)
            }
            "git" => of_git(command),
            "pip" | "pip3" | "pipx" | "npm" | "yarn" | "gem" | "cargo" | "go" | "composer"
            | "uv" => {
                let gets = [
                    "install", "download", "i", "add", "ci", "get", "update", "fetch",
                ];
                verb.filter(|verb| gets.contains(verb)).map(|_| Self::Index)
            }
            "python" | "python3" => {
                let is_pip = command
                    .args
                    .windows(2)
                    .any(|two| matches!(two, [m, pip] if m == "-m" && pip == "pip"));
                is_pip.then_some(Self::Index)
            }
            "ip" => {
                let changes = ["set", "add", "del", "delete", "change", "replace", "flush"];
                command
                    .words()
                    .any(|word| changes.contains(&word))
                    .then_some(Self::Interfaces)
            }
            "ifconfig" | "ifup" | "ifdown" | "ethtool" | "tc" => Some(Self::Interfaces),
            name => NAMES
                .iter()
                .find(|(names, _)| names.contains(&name))
                .map(|(_, topic)| *topic),
        }
    }

    /// Returns true if the programs cannot work in any sandbox, whatever they print.
    pub fn is_hopeless(self) -> bool {
        matches!(self, Self::Users | Self::Reboot | Self::Packets)
    }

    /// Returns true if programs of this topic report their refusal as `kind`.
    pub fn accepts(self, kind: Kind) -> bool {
        use Kind::{
            Denied, NeedsRoot, NoAccount, NoNetwork, NoService, NoUser, NotPermitted, ReadOnly,
            Silent,
        };
        match self {
            Self::Network => matches!(kind, NoNetwork | NoAccount | NotPermitted | Silent),
            Self::Index => matches!(kind, NoNetwork),
            Self::Packets => matches!(kind, NoNetwork | NotPermitted | Denied | NeedsRoot | Silent),
            Self::Units | Self::Bus => {
                matches!(kind, NoService | Denied | NotPermitted | NoNetwork)
            }
            Self::UnitChange => matches!(
                kind,
                NoService | Denied | NotPermitted | NoNetwork | NeedsRoot | ReadOnly
            ),
            Self::Containers => matches!(
                kind,
                NoService | Denied | NotPermitted | NoNetwork | NeedsRoot
            ),
            Self::Packages | Self::PackageLists => {
                matches!(
                    kind,
                    Denied | NeedsRoot | ReadOnly | NotPermitted | NoNetwork
                )
            }
            Self::Users | Self::Reboot => matches!(
                kind,
                Denied
                    | NeedsRoot
                    | ReadOnly
                    | NotPermitted
                    | NoUser
                    | NoAccount
                    | NoService
                    | NoNetwork
            ),
            Self::Accounts | Self::Crontab => {
                matches!(
                    kind,
                    Denied | NeedsRoot | ReadOnly | NotPermitted | NoAccount | NoUser
                )
            }
            Self::Firewall | Self::Interfaces => {
                matches!(kind, NoNetwork | NotPermitted | Denied | NeedsRoot)
            }
            Self::Mounts | Self::Machine | Self::Modules | Self::Namespaces | Self::Disks => {
                matches!(
                    kind,
                    NotPermitted | Denied | NeedsRoot | NoAccount | ReadOnly
                )
            }
            Self::KernelLog | Self::Trace | Self::Signal => {
                matches!(kind, NotPermitted | Denied | NeedsRoot)
            }
            Self::Sysctl => matches!(kind, Denied | ReadOnly | NotPermitted),
        }
    }
}

fn of_systemctl(verb: Option<&str>, args: &[String]) -> Topic {
    let looks = args.iter().any(|arg| arg == "--failed");
    match verb.filter(|_| !looks) {
        Some("force-reload") => Topic::UnitChange,
        Some(verb) if UNIT_CHANGES.contains(&verb) => Topic::UnitChange,
        Some("reboot" | "poweroff" | "halt" | "kexec" | "suspend") => Topic::Reboot,
        _ => Topic::Units,
    }
}

fn of_packages(verb: Option<&str>, args: &[String]) -> Option<Topic> {
    let option = |short: &[&str]| args.iter().any(|arg| short.contains(&arg.as_str()));
    match verb {
        Some("update" | "makecache" | "refresh" | "check-update") => Some(Topic::PackageLists),
        Some(
            "install" | "remove" | "purge" | "upgrade" | "full-upgrade" | "dist-upgrade"
            | "autoremove" | "reinstall" | "erase" | "downgrade" | "in" | "rm",
        ) => Some(Topic::Packages),
        _ if option(&[
            "-i",
            "--install",
            "-r",
            "--remove",
            "-P",
            "--purge",
            "-U",
            "-e",
            "--configure",
        ]) =>
        {
            Some(Topic::Packages)
        }
        _ => None,
    }
}

fn of_git(command: &Command) -> Option<Topic> {
    let reaches = ["pull", "fetch", "clone", "push", "ls-remote", "remote"];
    command
        .words()
        .any(|word| reaches.contains(&word))
        .then_some(Topic::Network)
}

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
