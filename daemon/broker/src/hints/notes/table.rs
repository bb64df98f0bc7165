//! The notes by topic, for programs that report a wrong reason in the sandbox or omit data silently. Data only.

use remit_common::PRIVATE;
use remit_programs::Topic;

use crate::hints::answer::{is_plain, lies_in};

pub(super) const MOUNTS: &str = "the mount table is the sandbox's own, all read-only: `findmnt -N 1` and /proc/1/mounts show the host's";
pub(super) const UNSEEN: &str = "what the job may not read is left out, and with `2>/dev/null` nothing says so: counts and empty answers may be too small";

const UNIT_CHANGE: &str = "nothing can be started, stopped or set up from this sandbox";
const ROOT_FILES: &str = "a 'Permission denied' of the program's own test is the sandbox's answer, not a fault of the configuration";

pub(super) fn of_topic(topic: Topic) -> Option<&'static str> {
    Some(match topic {
        Topic::MountTable => MOUNTS,
        Topic::PrivateTmp => {
            "/tmp, /var/tmp, /dev/shm are private to the job: what the host has there cannot be seen"
        }
        Topic::Descriptors => {
            "descriptors of other users' processes are hidden here, so a list of them has gaps"
        }
        Topic::SocketOwners => {
            "ss cannot name the processes of other users here: `ss -ltnpe` shows uid and cgroup of each socket, and the \
             tool host (section ports) names the unit"
        }
        Topic::HiddenColumns => {
            "of other users' processes ps shows neither environment nor wchan here; all other columns are true"
        }
        Topic::MemoryMaps => {
            "memory maps of other users' processes cannot be read here: `ps -o vsz,rss,size` shows their size"
        }
        Topic::NamespaceList => {
            "namespaces of other users' processes cannot be read here: lsns shows the job's own only"
        }
        Topic::OwnLimits => {
            "ulimit shows the job's own limits: /proc/PID/limits shows those of any process"
        }
        Topic::Locks => {
            "locks are answered without locking in this sandbox: a successful lock here proves nothing"
        }
        Topic::LockFiles => {
            "lslocks cannot name the files of other users' locks here: /proc/locks gives device and inode"
        }
        Topic::Users => {
            "no job can become another user, whatever the message says: the tool access shows what is granted"
        }
        Topic::InitScripts => {
            "[ - ] says nothing here: init scripts ask processes and the service manager, which this sandbox hides"
        }
        Topic::UnitChange | Topic::Reboot | Topic::Stop => UNIT_CHANGE,
        Topic::Follow => "what follows a log never ends here: ask again for what is new",
        Topic::JournalChange => "the journal can only be read here",
        Topic::Services => {
            "no service can be connected to from this sandbox, so a failure says nothing about the service"
        }
        Topic::Network => "there is no network in this sandbox, for any host and for localhost",
        Topic::Resolver => {
            "no name server can be asked from this sandbox: an empty answer does not mean that the name does not exist"
        }
        Topic::InterfaceQuery => {
            "ifconfig, ethtool and networkctl need a socket that this sandbox refuses: `ip addr` and `ip -s link` show the same"
        }
        Topic::Containers => "the container engine's socket cannot be reached from this sandbox",
        Topic::KernelLog => {
            "this sandbox cannot read the kernel's ring buffer: `journalctl -k` shows the same"
        }
        Topic::Crontab => {
            "other users' crontabs are private: /etc/crontab and /etc/cron.d can be read"
        }
        Topic::AtQueue => {
            "this job cannot read the queue of at: `journalctl -u atd` shows what ran"
        }
        Topic::Firewall => "reading firewall rules needs a capability that no job in a sandbox has",
        Topic::Disks => {
            "disks cannot be opened here: `lsblk` and /sys/block know their size and use"
        }
        Topic::Packets => "no raw or datagram socket can be made in this sandbox",
        Topic::IoCounters => {
            "the io counters of other users' processes are hidden here: empty or no rows say nothing"
        }
        Topic::PackageFiles => {
            "files that the job may not read show as missing (Permission denied) or ????????? here: these lines say \
             nothing about the package"
        }
        Topic::PackageState => {
            "the package manager cannot lock its database in this sandbox, even to look"
        }
        Topic::HostKeys => {
            "sshd finds no host keys because only root may read them: the configuration itself is in \
             /etc/ssh/sshd_config and sshd_config.d"
        }
        Topic::ConfigTest | Topic::RootFiles => ROOT_FILES,
        Topic::CoreFiles => "core files are root's: only the list of crashes can be read",
        Topic::Wal => {
            "a file that only its owner may read does not open here, and a database in WAL mode only as \
             'file:PATH?immutable=1', which leaves out what is not checkpointed yet"
        }
        Topic::Account
        | Topic::Accounts
        | Topic::Bus
        | Topic::Index
        | Topic::Interfaces
        | Topic::Machine
        | Topic::Modules
        | Topic::Mounts
        | Topic::Namespaces
        | Topic::PackageLists
        | Topic::Packages
        | Topic::Signal
        | Topic::Sysctl
        | Topic::Trace
        | Topic::Units => return None,
    })
}

/// Programs that skip unreadable files and continue. Their arguments are names too.
pub(super) const READERS: &[&str] = &[
    "find", "grep", "egrep", "fgrep", "zgrep", "rg", "ls", "tree", "du", "cat", "zcat", "head",
    "tail", "stat", "wc",
];

/// Programs whose arguments are names or patterns: an argument `ssh` runs nothing.
pub(super) const NAMERS: &[&str] = &[
    "systemctl",
    "service",
    "invoke-rc.d",
    "journalctl",
    "pgrep",
    "pidof",
    "which",
    "whereis",
    "dpkg",
    "dpkg-query",
    "rpm",
    "apt",
    "apt-cache",
    "apt-get",
    "dnf",
    "man",
    "getent",
    "last",
    "echo",
    "tar",
    "cp",
    "docker",
    "podman",
];

/// What follows of a profile that is not `read`.
pub(super) const LISTED: &str = ", but for paths that the profile lists";

/// Returns what [`Topic::PrivateTmp`] says, of other directories.
pub(super) fn private(dirs: &str) -> String {
    format!("{dirs} are private to the job: what the host has there cannot be seen")
}

/// Returns true for a path in one of [`PRIVATE`], also as the value of an option.
pub(super) fn is_private(word: &str) -> bool {
    let path = word.split_once('=').map_or(word, |(_, path)| path);
    is_plain(path) && PRIVATE.iter().any(|dir| lies_in(path, dir))
}

pub(super) fn of_file(path: &str) -> Option<&'static str> {
    let mounts = [
        "/proc/mounts",
        "/proc/self/mounts",
        "/proc/self/mountinfo",
        "/etc/mtab",
    ];
    mounts.contains(&path).then_some(MOUNTS)
}
