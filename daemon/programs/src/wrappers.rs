//! Lists programs that only start others.

use crate::program::{Class, Program, TOOL, Tool, Wrapper};

const PLAIN: Wrapper = Wrapper {
    operands: 0,
    with_value: &[],
    code: &[],
    assigns: false,
    accounts: &[],
    is_account_operand: false,
    directories: &[],
    is_transparent: false,
    is_remote: false,
};
const THROUGH: Wrapper = Wrapper {
    is_transparent: true,
    ..PLAIN
};

const CONTAINED: Wrapper = Wrapper {
    with_value: &[
        "-n",
        "-D",
        "-M",
        "-i",
        "-u",
        "--name",
        "--directory",
        "--machine",
        "--image",
        "--user",
    ],
    ..PLAIN
};

const fn wrapper(names: &'static [&'static str], wrapper: Wrapper) -> Program {
    Program {
        names,
        class: Class::Wrapper(wrapper),
    }
}

const fn joins(names: &'static [&'static str], wrapper: Wrapper) -> Program {
    Program {
        names,
        class: Class::Joins(wrapper),
    }
}

pub(crate) const PROGRAMS: &[Program] = &[
    wrapper(
        &["env"],
        Wrapper {
            with_value: &["-u", "-C", "--unset", "--chdir", "-a", "--argv0"],
            code: &["-S", "--split-string"],
            assigns: true,
            directories: &["-C", "--chdir"],
            ..THROUGH
        },
    ),
    wrapper(
        &["sudo", "doas", "pkexec"],
        Wrapper {
            with_value: &[
                "-u",
                "-g",
                "-h",
                "-p",
                "-C",
                "-D",
                "-R",
                "-r",
                "-t",
                "-T",
                "-U",
                "--user",
                "--group",
                "--host",
                "--prompt",
                "--close-from",
                "--chdir",
                "--chroot",
                "--role",
                "--type",
                "--command-timeout",
                "--other-user",
            ],
            assigns: true,
            accounts: &["-u", "--user"],
            directories: &["-D", "--chdir"],
            ..PLAIN
        },
    ),
    wrapper(
        &["runuser", "su"],
        Wrapper {
            accounts: &["-u", "--user"],
            is_account_operand: true,
            with_value: &["-u", "-g", "-G", "-s", "-w", "--user", "--group", "--shell"],
            code: &["-c", "--command", "--session-command"],
            ..PLAIN
        },
    ),
    wrapper(
        &["nice", "ionice"],
        Wrapper {
            with_value: &[
                "-n",
                "--adjustment",
                "-c",
                "--class",
                "--classdata",
                "-p",
                "--pid",
            ],
            ..THROUGH
        },
    ),
    wrapper(
        &["timeout"],
        Wrapper {
            operands: 1,
            with_value: &["-k", "-s", "--kill-after", "--signal"],
            ..THROUGH
        },
    ),
    wrapper(
        &["flock"],
        Wrapper {
            operands: 1,
            with_value: &["-w", "-E", "--timeout", "--wait", "--conflict-exit-code"],
            code: &["-c", "--command"],
            ..PLAIN
        },
    ),
    wrapper(
        &[
            "chroot", "taskset", "chrt", "setarch", "logsave", "faketime",
        ],
        Wrapper {
            operands: 1,
            with_value: &["-T", "-P", "-D"],
            ..PLAIN
        },
    ),
    wrapper(
        &["stdbuf"],
        Wrapper {
            with_value: &["-i", "-o", "-e"],
            ..THROUGH
        },
    ),
    wrapper(
        &["xargs"],
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
            ..THROUGH
        },
    ),
    wrapper(
        &["strace", "ltrace"],
        Wrapper {
            with_value: &[
                "-e", "-o", "-p", "-s", "-u", "-E", "-P", "-a", "-b", "-I", "-O", "-S", "-X",
            ],
            ..PLAIN
        },
    ),
    wrapper(
        &["systemd-cat"],
        Wrapper {
            with_value: &[
                "-t",
                "-p",
                "--identifier",
                "--priority",
                "--stderr-priority",
                "--level-prefix",
                "--namespace",
            ],
            ..THROUGH
        },
    ),
    wrapper(&["systemd-inhibit"], CONTAINED),
    wrapper(
        &["systemd-nspawn", "lxc-attach"],
        Wrapper {
            is_remote: true,
            ..CONTAINED
        },
    ),
    wrapper(&["nohup", "setsid", "time", "chronic"], THROUGH),
    wrapper(&["run-one", "cronic"], PLAIN),
    wrapper(
        &["cgexec"],
        Wrapper {
            with_value: &["-g"],
            ..PLAIN
        },
    ),
    wrapper(
        &["setpriv"],
        Wrapper {
            with_value: &[
                "--reuid",
                "--regid",
                "--groups",
                "--inh-caps",
                "--bounding-set",
            ],
            accounts: &["--reuid"],
            ..PLAIN
        },
    ),
    wrapper(
        &["gosu", "setuidgid", "su-exec"],
        Wrapper {
            operands: 1,
            is_account_operand: true,
            ..PLAIN
        },
    ),
    wrapper(
        &["chpst"],
        Wrapper {
            with_value: &["-u", "-U", "-e", "-n", "-l", "-L", "-m", "-d", "-o"],
            accounts: &["-u"],
            ..PLAIN
        },
    ),
    Program {
        names: &["start-stop-daemon"],
        class: Class::Tool(Tool {
            code: &["-a", "-x", "--exec", "--startas"],
            accounts: &["-c", "--chuid"],
            ..TOOL
        }),
    },
    Program {
        names: &["ansible"],
        class: Class::Tool(Tool {
            code: &[
                "-a",
                "-e",
                "-i",
                "-m",
                "--args",
                "--extra-vars",
                "--inventory",
                "--module-name",
                "-M",
            ],
            remote_code: &["-a", "--args"],
            ..TOOL
        }),
    },
    wrapper(
        &["systemd-run", "run0"],
        Wrapper {
            with_value: &[
                "-p",
                "-u",
                "--unit",
                "--property",
                "--uid",
                "--slice",
                "-E",
                "--setenv",
                "--gid",
                "--working-directory",
                "--description",
                "--service-type",
            ],
            accounts: &["--uid"],
            directories: &["--working-directory"],
            ..PLAIN
        },
    ),
    wrapper(
        &[
            "busybox",
            "toybox",
            "unshare",
            "nsenter",
            "prlimit",
            "numactl",
            "choom",
            "valgrind",
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
            "cpulimit",
            "dumb-init",
            "firejail",
            "npx",
            "proxychains",
            "rlwrap",
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
        ],
        PLAIN,
    ),
    joins(
        &["watch"],
        Wrapper {
            with_value: &["-n", "--interval", "-q", "--equexit"],
            ..THROUGH
        },
    ),
    joins(
        &[
            "parallel", "script", "screen", "tmux", "entr", "sg", "socat",
        ],
        PLAIN,
    ),
    joins(
        &["ssh"],
        Wrapper {
            operands: 1,
            with_value: &[
                "-B", "-b", "-c", "-D", "-E", "-e", "-F", "-I", "-i", "-J", "-L", "-l", "-m", "-O",
                "-o", "-P", "-p", "-Q", "-R", "-S", "-W", "-w",
            ],
            code: &["-o", "-F", "-S", "-J"],
            is_remote: true,
            ..PLAIN
        },
    ),
];
