//! The notes and their programs. Data only. A program is listed if it can only mislead in the sandbox: it reports a
//! wrong reason, or omits data silently. Each note says so and names an alternative, if there is one.

use crate::hints::topic;

const MOUNTS: &str = "the mount table is the sandbox's own, all read-only: `findmnt -N 1` and /proc/1/mounts show the host's";
const TMP: &str = "/tmp, /var/tmp and /dev/shm are private to the job and empty";
const DESCRIPTORS: &str = "descriptors of other users' processes are hidden here: `ss -ltnpe` shows uid and cgroup of each socket, and the tool host (section ports) names the unit";
const PROCESSES: &str = "of other users' processes ps shows neither environment nor wchan here; all other columns are true";
const MEMORY: &str = "memory maps of other users' processes cannot be read here: /proc/PID/status and `ps -o vsz,rss,size` show their size";
const NAMESPACES: &str =
    "namespaces of other users' processes cannot be read here: lsns shows the job's own only";
const LIMITS: &str =
    "ulimit shows the job's own limits: /proc/PID/limits shows those of any process";
const LOCKS: &str =
    "locks are answered without locking in this sandbox: a successful lock here proves nothing";
const LOCK_FILES: &str =
    "lslocks cannot name the files of other users' locks here: /proc/locks gives device and inode";
const ACCOUNT: &str =
    "the job's own uid has no account, so looking up its name fails: `id` shows its uid and groups";
const USERS: &str = "no job can become another user, whatever the message says: the tool access shows what is granted";
const UNIT_STATUS: &str = "systemctl cannot reach the service manager here: run {\"name\": \"service.status\", \"args\": {\"unit\": \"NAME\"}}, or `remit run --name service.status unit=NAME`";
const UNIT_LIST: &str = "systemctl cannot reach the service manager here: run {\"name\": \"service.list\", \"args\": {\"state\": \"failed\"}}, or `remit run --name service.list state=failed`";
const UNIT_FAILED: &str = "systemctl cannot reach the service manager here: run {\"name\": \"service.failed\"}, or `remit run --name service.failed`";
const UNIT_CHANGE: &str = "nothing can be started, stopped or set up from this sandbox: {\"name\": \"service.status\", \"args\": {\"unit\": \"NAME\"}} (`remit run --name service.status unit=NAME`) shows a unit";
const FOLLOW: &str = "what follows a log never ends here: ask again with {\"name\": \"logs\", \"args\": {\"unit\": \"NAME\", \"since\": \"-5min\"}}, or `remit run --name logs unit=NAME since=-5min`";
const JOURNAL_CHANGE: &str = "the journal can only be read here: {\"name\": \"logs\", \"args\": {\"since\": \"-1h\"}} or `remit run --name logs since=-1h` shows its entries";
const BUS: &str = "there is no D-Bus in this sandbox: use the tool host (sections os, users, units, network), or read /etc and /run/systemd; journalctl works";
const SERVICES: &str = "no service can be connected to from this sandbox, so a failure says nothing about the service: the tool host (sections units, ports) shows whether it runs";
const NETWORK: &str = "there is no network in this sandbox, for any host and for localhost";
const INTERFACES: &str =
    "ifconfig needs a socket that this sandbox refuses: `ip addr` and `ip -s link` show the same";
const CONTAINERS: &str = "the container engine's socket cannot be reached from this sandbox: the tool host (section containers) lists what runs";
const KERNEL_LOG: &str =
    "this sandbox cannot read the kernel's ring buffer: `journalctl -k` shows the same";
const CRONTAB: &str = "other users' crontabs are private: /etc/crontab and /etc/cron.d can be read";
const AT: &str = "this job cannot read the queue of at: `journalctl -u atd` shows what ran";
const FIREWALL: &str = "reading firewall rules needs a capability that jobs do not have here";
const DEVICES: &str = "disks cannot be opened here: `lsblk`, /sys/block and the tool host (section disks) know their size and use";
const PING: &str =
    "no raw or datagram socket can be made in this sandbox: `ip -s link` and `ss -s` show counters";
const PACKAGES: &str = "files that the job may not read show as missing (Permission denied) or ????????? here: these lines say nothing about the package";
const HOST_KEYS: &str = "sshd finds no host keys because only root may read them: the configuration itself is in /etc/ssh/sshd_config and sshd_config.d";
const NGINX: &str = "a 'Permission denied' of nginx's own test is the sandbox's answer, not a fault of the configuration: its files are in /etc/nginx";
const WAL: &str = "a database in WAL mode may open here only as 'file:PATH?immutable=1', which leaves out what is not checkpointed yet";
pub(super) const UNSEEN: &str = "what the job may not read is left out, and with `2>/dev/null` nothing says so: counts and empty answers may be too small";

const PROGRAMS: &[(&[&str], &str)] = &[
    (&["mount", "findmnt", "df"], MOUNTS),
    (&["mktemp"], TMP),
    (&["netstat", "lsof", "fuser"], DESCRIPTORS),
    (&["pmap"], MEMORY),
    (&["lsns"], NAMESPACES),
    (&["ulimit", "prlimit"], LIMITS),
    (&["flock"], LOCKS),
    (&["lslocks"], LOCK_FILES),
    // The last two are the calls of node and Python.
    (&["whoami", "screen", ".userInfo", "pwd.getpwuid"], ACCOUNT),
    (topic::USERS, USERS),
    (topic::BUS, BUS),
    (
        &[
            "mysql",
            "mysqladmin",
            "mariadb",
            "mariadb-admin",
            "psql",
            "pg_isready",
            "redis-cli",
            "fail2ban-client",
            "postqueue",
            "mailq",
            "chronyc",
            "showmount",
            "rpcinfo",
        ],
        SERVICES,
    ),
    (topic::CONNECT, NETWORK),
    (&["ifconfig"], INTERFACES),
    (topic::REBOOT, UNIT_CHANGE),
    (topic::PACKETS, PING),
    (topic::CONTAINERS, CONTAINERS),
    (&["dmesg"], KERNEL_LOG),
    (&["crontab"], CRONTAB),
    (&["atq"], AT),
    (topic::FIREWALL, FIREWALL),
    (topic::DISKS, DEVICES),
    (&["sqlite3"], WAL),
];

/// Programs that skip unreadable files and continue.
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
    "grep",
    "egrep",
    "fgrep",
    "zgrep",
    "rg",
];

pub(super) fn of_program(name: &str, args: &[&[u8]]) -> Option<&'static str> {
    let long = |option: &str| args.contains(&option.as_bytes());
    match name {
        "ss" => (has_short(args, b"p") || long("--processes")).then_some(DESCRIPTORS),
        "ps" => shows_hidden_columns(args).then_some(PROCESSES),
        "ssh" if has_short(args, b"G") => Some(ACCOUNT),
        "sshd" => has_short(args, b"tT").then_some(HOST_KEYS),
        "nginx" => has_short(args, b"tT").then_some(NGINX),
        "systemctl" => Some(of_systemctl(args)),
        "service" | "invoke-rc.d" => of_service(args),
        "journalctl" => of_journalctl(args),
        "dpkg" => (long("--verify") || long("-V")).then_some(PACKAGES),
        _ => PROGRAMS
            .iter()
            .find(|(names, _)| names.contains(&name))
            .map(|(_, note)| *note),
    }
}

fn of_systemctl(args: &[&[u8]]) -> &'static str {
    if args.contains(&b"--failed".as_slice()) || args.contains(&b"--state=failed".as_slice()) {
        return UNIT_FAILED;
    }
    let verb = args.iter().find(|arg| !arg.starts_with(b"-"));
    match verb.map_or("list-units", |verb| {
        std::str::from_utf8(verb).unwrap_or_default()
    }) {
        "list-units" | "list-timers" | "list-sockets" | "list-unit-files" | "list-dependencies" => {
            UNIT_LIST
        }
        "is-system-running" => UNIT_FAILED,
        "reboot" | "poweroff" => UNIT_CHANGE,
        verb if topic::UNIT_CHANGES.contains(&verb) => UNIT_CHANGE,
        _ => UNIT_STATUS,
    }
}

/// `service NAME VERB` calls systemctl. Without a verb `service` is an ordinary word.
fn of_service(args: &[&[u8]]) -> Option<&'static str> {
    let verb = args.get(1)?;
    let verbs: [&[u8]; 6] = [
        b"status",
        b"start",
        b"stop",
        b"restart",
        b"reload",
        b"force-reload",
    ];
    verbs.contains(verb).then(|| of_systemctl(&[verb]))
}

fn of_journalctl(args: &[&[u8]]) -> Option<&'static str> {
    let begins = |begin: &str| args.iter().any(|arg| arg.starts_with(begin.as_bytes()));
    if begins("--follow") || has_short(args, b"f") {
        return Some(FOLLOW);
    }
    let changes = ["--vacuum", "--rotate", "--flush", "--sync", "--relinquish"];
    changes.into_iter().any(begins).then_some(JOURNAL_CHANGE)
}

pub(super) fn of_file(path: &[u8]) -> Option<&'static str> {
    let mounts: [&[u8]; 4] = [
        b"/proc/mounts",
        b"/proc/self/mounts",
        b"/proc/self/mountinfo",
        b"/etc/mtab",
    ];
    mounts.contains(&path).then_some(MOUNTS)
}

fn has_short(args: &[&[u8]], letters: &[u8]) -> bool {
    args.iter().any(|arg| match arg.split_first() {
        Some((b'-', options)) => {
            options.iter().all(u8::is_ascii_alphanumeric)
                && options.iter().any(|letter| letters.contains(letter))
        }
        _ => false,
    })
}

/// ps(1): the column `wchan`, the long formats (`-l`, `l`), or the environment (`e` without a dash, as in `axe`).
fn shows_hidden_columns(args: &[&[u8]]) -> bool {
    let bsd = args.first().is_some_and(|first| {
        first.iter().all(u8::is_ascii_lowercase)
            && first.iter().any(|letter| b"el".contains(letter))
    });
    let wchan = |arg: &&[u8]| arg.windows(b"wchan".len()).any(|at| at == b"wchan");
    bsd || has_short(args, b"l") || args.iter().any(wchan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_short_lines_and_names_unique() {
        let mut names: Vec<_> = PROGRAMS.iter().flat_map(|(names, _)| *names).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let with_arguments = [
            UNSEEN,
            PROCESSES,
            HOST_KEYS,
            NGINX,
            PACKAGES,
            UNIT_STATUS,
            UNIT_LIST,
            UNIT_FAILED,
            UNIT_CHANGE,
            FOLLOW,
            JOURNAL_CHANGE,
        ];
        let all = PROGRAMS.iter().map(|(_, note)| *note).chain(with_arguments);
        for note in all {
            assert!(note.len() < 200 && !note.contains('\n'), "{note}");
            assert!(!note.ends_with('.'), "{note}");
        }
    }

    #[test]
    fn a_program_may_mislead_with_some_arguments_only() {
        for (line, expect) in [
            ("ss -ltn", None),
            ("ss --tcp", None),
            ("ss -ltnp", Some(DESCRIPTORS)),
            ("ss --processes", Some(DESCRIPTORS)),
            ("ps", None),
            ("ps aux", None),
            ("ps -ef", None),
            ("ps -eo pid,lstart", None),
            ("ps -C nginx", None),
            ("ps axe", Some(PROCESSES)),
            ("ps l", Some(PROCESSES)),
            ("ps -el", Some(PROCESSES)),
            ("ps axo pid,wchan:20", Some(PROCESSES)),
            ("ssh -G x", Some(ACCOUNT)),
            ("ssh x", Some(NETWORK)),
            ("sshd -T", Some(HOST_KEYS)),
            ("sshd -D", None),
            ("nginx -t", Some(NGINX)),
            ("nginx -v", None),
            ("dpkg -l", None),
            ("dpkg --verify", Some(PACKAGES)),
            ("dpkg -V", Some(PACKAGES)),
            ("systemctl", Some(UNIT_LIST)),
            ("systemctl status nginx", Some(UNIT_STATUS)),
            ("systemctl --no-pager is-active nginx", Some(UNIT_STATUS)),
            ("systemctl list-units --failed", Some(UNIT_FAILED)),
            ("systemctl --failed", Some(UNIT_FAILED)),
            ("systemctl restart nginx", Some(UNIT_CHANGE)),
            ("service nginx status", Some(UNIT_STATUS)),
            ("service nginx restart", Some(UNIT_CHANGE)),
            ("service nginx", None),
            ("service x y", None),
            ("journalctl -u nginx -n 50", None),
            ("journalctl -fu nginx", Some(FOLLOW)),
            ("journalctl --follow", Some(FOLLOW)),
            ("journalctl --vacuum-size=1G", Some(JOURNAL_CHANGE)),
        ] {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let args: Vec<&[u8]> = words.map(str::as_bytes).collect();
            assert_eq!(of_program(name, &args), expect, "{line}");
        }
    }
}
