//! Programs that run code or start other programs, by the last part of their path.

use super::elsewhere::PROGRAMS;

/// What a program does with its words.
pub(super) enum Class {
    /// Runs its script, or the text behind `-c`.
    Shell,
    /// Runs its script, or the text behind these options.
    Interpreter { code: &'static [&'static str] },
    /// Starts another program.
    Wrapper(&'static Wrapper),
    /// Puts its words together into one text, which a shell reads.
    Joins(&'static Wrapper),
    /// Starts a program somewhere else, behind one of these words and the name of that place.
    Elsewhere(&'static [&'static str]),
    /// Takes code behind some options, and starts a program that follows others.
    Tool {
        code: &'static [&'static str],
        starts: &'static [&'static str],
    },
}

/// A program that starts another one.
pub(super) struct Wrapper {
    names: &'static [&'static str],
    /// Words before the inner program that are no options.
    pub(super) operands: usize,
    /// Options that take the next word.
    pub(super) with_value: &'static [&'static str],
    /// Options whose text is split into words.
    pub(super) code: &'static [&'static str],
    /// `NAME=value` words come before the inner program.
    pub(super) assigns: bool,
}

const SHELLS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "rbash", "csh", "tcsh", "yash",
    "pwsh",
];

const fn plain(names: &'static [&'static str]) -> Wrapper {
    Wrapper {
        names,
        operands: 0,
        with_value: &[],
        code: &[],
        assigns: false,
    }
}

const WRAPPERS: &[Wrapper] = &[
    Wrapper {
        with_value: &["-u", "-C", "--unset", "--chdir", "-a", "--argv0"],
        code: &["-S", "--split-string"],
        assigns: true,
        ..plain(&["env"])
    },
    Wrapper {
        with_value: &[
            "-u", "-g", "-h", "-p", "-C", "-D", "-R", "-r", "-t", "-T", "-U",
        ],
        assigns: true,
        ..plain(&["sudo", "doas", "pkexec"])
    },
    Wrapper {
        with_value: &["-u", "-g", "-G", "-s", "-w", "--user", "--group", "--shell"],
        code: &["-c", "--command", "--session-command"],
        ..plain(&["runuser", "su"])
    },
    Wrapper {
        with_value: &["-n", "--adjustment", "-c", "-p"],
        ..plain(&["nice", "ionice"])
    },
    Wrapper {
        operands: 1,
        with_value: &["-k", "-s", "--kill-after", "--signal"],
        ..plain(&["timeout"])
    },
    Wrapper {
        operands: 1,
        with_value: &["-w", "-E", "--timeout", "--wait", "--conflict-exit-code"],
        code: &["-c", "--command"],
        ..plain(&["flock"])
    },
    Wrapper {
        operands: 1,
        with_value: &["-T", "-P", "-D"],
        ..plain(&["chroot", "taskset", "chrt", "setarch"])
    },
    Wrapper {
        with_value: &["-i", "-o", "-e"],
        ..plain(&["stdbuf"])
    },
    Wrapper {
        with_value: &[
            "-a",
            "-d",
            "-E",
            "-I",
            "-L",
            "-n",
            "-P",
            "-s",
            "--arg-file",
            "--delimiter",
            "--max-args",
            "--max-procs",
            "--max-chars",
        ],
        ..plain(&["xargs"])
    },
    Wrapper {
        with_value: &[
            "-e", "-o", "-p", "-s", "-u", "-E", "-P", "-a", "-b", "-I", "-O", "-S", "-X",
        ],
        ..plain(&["strace", "ltrace"])
    },
    plain(&["busybox", "toybox"]),
    plain(&[
        "nohup",
        "setsid",
        "setpriv",
        "unshare",
        "nsenter",
        "prlimit",
        "numactl",
        "choom",
        "time",
        "gdb",
        "valgrind",
        "systemd-run",
        "fakeroot",
        "capsh",
        "sshpass",
        "dbus-run-session",
        "unbuffer",
        "linux32",
        "linux64",
        "catchsegv",
        "eatmydata",
        "aa-exec",
        "bwrap",
        "chpst",
        "cpulimit",
        "dumb-init",
        "faketime",
        "firejail",
        "gosu",
        "npx",
        "proxychains",
        "rlwrap",
        "run0",
        "runcon",
        "ssh-agent",
        "tini",
        "torsocks",
        "uvx",
        "xvfb-run",
        // The loader itself (ld.so(8)).
        "ld.so",
        "ld-linux.so",
        "ld-linux-aarch64.so",
        "ld-linux-x86-64.so",
        "ld-musl-aarch64.so",
        "ld-musl-x86_64.so",
    ]),
];

const JOINS: &[Wrapper] = &[
    Wrapper {
        with_value: &["-n", "--interval", "-q", "--equexit"],
        ..plain(&["watch"])
    },
    plain(&[
        "parallel", "script", "screen", "tmux", "entr", "sg", "socat",
    ]),
    Wrapper {
        operands: 1,
        with_value: &[
            "-B", "-b", "-c", "-D", "-E", "-e", "-F", "-I", "-i", "-J", "-L", "-l", "-m", "-O",
            "-o", "-P", "-p", "-Q", "-R", "-S", "-W", "-w",
        ],
        code: &["-o", "-F", "-S", "-J"],
        ..plain(&["ssh"])
    },
];

const INTERPRETERS: &[(&[&str], &[&str])] = &[
    (&["python", "pypy"], &["-c", "-m"]),
    (&["perl"], &["-e", "-E", "-M", "-m", "-I", "-x"]),
    (&["ruby", "jruby"], &["-e", "-r", "-I"]),
    (
        &["node", "nodejs", "deno", "bun"],
        &[
            "-e",
            "-p",
            "--eval",
            "--print",
            "-r",
            "--require",
            "--import",
            "--loader",
        ],
    ),
    (&["lua", "luajit"], &["-e", "-l"]),
    (&["php"], &["-r", "-B", "-R", "-E", "-F", "-f", "-d"]),
    (
        &["awk", "gawk", "mawk", "nawk"],
        &[
            "-f",
            "-e",
            "-i",
            "-l",
            "-E",
            "--file",
            "--source",
            "--include",
            "--load",
            "--exec",
        ],
    ),
    (&["sed", "gsed"], &["-e", "-f", "--expression", "--file"]),
    (&["tclsh", "wish", "expect"], &["-c", "-f"]),
    (
        &["Rscript", "julia", "guile", "racket", "scheme"],
        &["-e", "-E", "-c", "-l"],
    ),
    (
        &["java", "dotnet", "mono", "qjs", "jshell"],
        &["-cp", "-jar", "-classpath"],
    ),
];

type Tool = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const TOOLS: &[Tool] = &[
    (
        &["find"],
        &["-fprint", "-fprint0", "-fls", "-fprintf"],
        &["-exec", "-execdir", "-ok", "-okdir"],
    ),
    (
        &["tar", "bsdtar"],
        &[
            "-I",
            "-F",
            "--use-compress-program",
            "--checkpoint-action",
            "--to-command",
            "--rsh-command",
            "--info-script",
            "--new-volume-script",
        ],
        &[],
    ),
    (
        &["git"],
        &[
            "-c",
            "--config-env",
            "--exec-path",
            "--upload-pack",
            "--receive-pack",
            "--exec",
            "-u",
            "-O",
            "--open-files-in-pager",
            "--output",
            "-x",
        ],
        &[],
    ),
    (&["scp", "sftp"], &["-o", "-F", "-S", "-D"], &[]),
    (&["rsync"], &["-e", "--rsh", "--rsync-path"], &[]),
    (&["zip"], &["-TT", "--unzip-command"], &[]),
    (
        &["vim", "vi", "nvim", "view", "ex"],
        &["-c", "--cmd", "-S", "-s", "-u"],
        &[],
    ),
    (
        &["make", "gmake"],
        &["--eval", "-f", "-C", "--file", "--makefile"],
        &[],
    ),
    (
        &["apt", "apt-get", "apt-cache", "aptitude"],
        &["-o", "-c", "--option", "--config-file"],
        &[],
    ),
    (
        &["dpkg"],
        &["--pre-invoke", "--post-invoke", "--root", "--admindir"],
        &[],
    ),
    (&["sort"], &["--compress-program"], &[]),
    (&["curl"], &["-K", "--config"], &[]),
    (
        &["wget"],
        &["-e", "--execute", "--config", "--use-askpass"],
        &[],
    ),
    (
        &["psql", "mysql", "mariadb", "sqlite3"],
        &["-c", "-e", "--command", "--execute", "-cmd"],
        &[],
    ),
    (&["less", "more"], &["-P", "--pager"], &[]),
    (&["man"], &["-H", "-P", "--html", "--pager"], &[]),
    (&["split"], &["--filter"], &[]),
    (&["cpio"], &["--rsh-command"], &[]),
    (&["tcpdump"], &["-z"], &[]),
    (&["nmap"], &["--script"], &[]),
    (&["nginx"], &["-g"], &[]),
    (&["lftp"], &["-c", "-e", "-f"], &[]),
    (
        &["nc", "ncat", "netcat"],
        &["-c", "-e", "--exec", "--lua-exec", "--sh-exec"],
        &[],
    ),
    (
        &["emacs"],
        &["-f", "-l", "--eval", "--funcall", "--load", "--script"],
        &[],
    ),
    (
        &["start-stop-daemon"],
        &["-a", "-x", "--exec", "--startas"],
        &[],
    ),
    (
        &[
            "iptables",
            "iptables-restore",
            "ip6tables",
            "ip6tables-restore",
        ],
        &["--modprobe"],
        &[],
    ),
];

/// What distributions put behind the name of one of several builds, or of what they have diverted.
const BUILDS: [&str; 8] = [
    "-dbg", ".basic", ".distrib", ".nox", ".openbsd", ".orig", ".real", ".tiny",
];

/// What the program of this name does, versions as in `python3.11` left out; `None` for what is in
/// no list.
pub(super) fn class(name: &str) -> Option<Class> {
    let built = BUILDS.iter().find_map(|build| name.strip_suffix(build));
    let stem = built.unwrap_or(name);
    let stem =
        stem.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.' || char == '-');
    let is = |names: &[&str]| names.contains(&name) || names.contains(&stem);
    if is(SHELLS) {
        return Some(Class::Shell);
    }
    if let Some((_, code)) = INTERPRETERS.iter().find(|(names, _)| is(names)) {
        return Some(Class::Interpreter { code });
    }
    if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| is(wrapper.names)) {
        return Some(Class::Wrapper(wrapper));
    }
    if let Some(joins) = JOINS.iter().find(|wrapper| is(wrapper.names)) {
        return Some(Class::Joins(joins));
    }
    if let Some((_, words)) = PROGRAMS.iter().find(|(names, _)| is(names)) {
        return Some(Class::Elsewhere(words));
    }
    let (_, code, starts) = TOOLS.iter().find(|(names, ..)| is(names))?;
    Some(Class::Tool { code, starts })
}
