//! Lists tools that take code, programs or files to write at certain positions.

use crate::program::{Class, Program, TOOL, Tool};

const fn tool(names: &'static [&'static str], tool: Tool) -> Program {
    Program {
        names,
        class: Class::Tool(tool),
    }
}

const fn code(names: &'static [&'static str], code: &'static [&'static str]) -> Program {
    tool(names, Tool { code, ..TOOL })
}

/// A tool that executes, installs or loads each of its files.
const fn runs_files(
    names: &'static [&'static str],
    with_value: &'static [&'static str],
) -> Program {
    let operands = Some(0);
    tool(
        names,
        Tool {
            operands,
            with_value,
            ..TOOL
        },
    )
}

pub(crate) const PROGRAMS: &[Program] = &[
    tool(
        &["find"],
        Tool {
            starts: &["-exec", "-execdir", "-ok", "-okdir"],
            code: &["-fprint", "-fprint0", "-fls", "-fprintf"],
            ..TOOL
        },
    ),
    code(
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
    ),
    tool(
        &["git"],
        Tool {
            code: &[
                "-c",
                "--config-env",
                "--exec-path",
                "--git-dir",
                "--upload-pack",
                "--receive-pack",
                "--exec",
                "-u",
                "-O",
                "--open-files-in-pager",
                "--output",
                "-x",
            ],
            starts: &["foreach"],
            verb: true,
            with_value: &["-C", "--work-tree", "--namespace"],
            ..TOOL
        },
    ),
    code(&["scp", "sftp"], &["-o", "-F", "-S", "-D"]),
    tool(
        &["rsync"],
        Tool {
            code: &["-e", "--rsh", "--rsync-path"],
            remote_code: &["--rsync-path"],
            ..TOOL
        },
    ),
    code(&["zip"], &["-TT", "--unzip-command"]),
    tool(
        &["vim", "vi", "nvim", "view", "ex"],
        Tool {
            code: &["-c", "--cmd", "-S", "-s", "-u"],
            signs: "+",
            is_interpreter: true,
            ..TOOL
        },
    ),
    tool(
        &["emacs"],
        Tool {
            code: &["-f", "-l", "--eval", "--funcall", "--load", "--script"],
            signs: "+",
            is_interpreter: true,
            ..TOOL
        },
    ),
    tool(
        &["less", "more", "most"],
        Tool {
            code: &["-P", "--pager"],
            signs: "+",
            ..TOOL
        },
    ),
    tool(
        &["make", "gmake"],
        Tool {
            code: &["--eval", "-f", "-C", "--file", "--makefile"],
            is_interpreter: true,
            reads: &["GNUmakefile", "makefile", "Makefile"],
            ..TOOL
        },
    ),
    tool(
        &["apt", "apt-get", "aptitude"],
        Tool {
            code: &["-o", "-c", "--option", "--config-file"],
            verbs: &[
                "install",
                "reinstall",
                "upgrade",
                "remove",
                "purge",
                "source",
                "build-dep",
                "satisfy",
            ],
            with_value: &["-t", "--target-release"],
            ..TOOL
        },
    ),
    code(&["apt-cache"], &["-o", "-c", "--option", "--config-file"]),
    tool(
        &["dnf", "yum", "zypper", "microdnf"],
        Tool {
            code: &[
                "-c",
                "--config",
                "--setopt",
                "--installroot",
                "--repofrompath",
            ],
            verbs: &[
                "install",
                "reinstall",
                "localinstall",
                "upgrade",
                "update",
                "downgrade",
                "swap",
                "in",
                "builddep",
            ],
            ..TOOL
        },
    ),
    tool(
        &["dpkg"],
        Tool {
            code: &[
                "--pre-invoke",
                "--post-invoke",
                "--root",
                "--admindir",
                "-i",
                "--install",
                "--unpack",
            ],
            ..TOOL
        },
    ),
    code(
        &["rpm", "rpmbuild", "rpmspec"],
        &[
            "-E",
            "-D",
            "--eval",
            "--define",
            "--pipe",
            "--load",
            "--macros",
            "--rcfile",
            "-U",
            "--install",
            "--upgrade",
        ],
    ),
    tool(
        &[
            "pip", "pipx", "npm", "yarn", "pnpm", "gem", "cargo", "go", "composer", "uv",
        ],
        Tool {
            code: &[
                "--config",
                "-r",
                "--requirement",
                "-C",
                "--prefix",
                "-e",
                "--editable",
            ],
            verbs: &[
                "run",
                "run-script",
                "exec",
                "install",
                "i",
                "ci",
                "add",
                "get",
                "download",
                "x",
                "dlx",
                "build",
                "tool",
            ],
            reads: &["package.json"],
            ..TOOL
        },
    ),
    tool(
        &["sort"],
        Tool {
            code: &["--compress-program"],
            writes: &["-o", "--output"],
            ..TOOL
        },
    ),
    tool(
        &["curl"],
        Tool {
            code: &["-K", "--config"],
            writes: &[
                "-o",
                "--output",
                "--output-dir",
                "-c",
                "--cookie-jar",
                "-D",
                "--dump-header",
                "--trace",
                "--trace-ascii",
                "--stderr",
                "--libcurl",
            ],
            signs: "@",
            ..TOOL
        },
    ),
    tool(
        &["wget"],
        Tool {
            code: &["-e", "--execute", "--config", "--use-askpass"],
            writes: &[
                "-O",
                "--output-document",
                "-o",
                "--output-file",
                "-a",
                "--append-output",
                "-P",
                "--directory-prefix",
                "--save-cookies",
            ],
            ..TOOL
        },
    ),
    tool(
        &["dig", "gcc", "g++", "cc", "ld", "javac"],
        Tool { signs: "@", ..TOOL },
    ),
    code(
        &["psql", "mysql", "mariadb"],
        &["-c", "-e", "-f", "--command", "--execute", "--file"],
    ),
    tool(
        &["sqlite3"],
        Tool {
            code: &["-cmd", "-init"],
            operands: Some(1),
            is_interpreter: true,
            ..TOOL
        },
    ),
    code(
        &["redis-cli", "valkey-cli"],
        &["--eval", "--functions-rdb", "-X"],
    ),
    code(&["man"], &["-H", "-P", "--html", "--pager"]),
    code(&["split"], &["--filter"]),
    code(&["cpio"], &["--rsh-command"]),
    tool(
        &["tcpdump"],
        Tool {
            code: &["-z"],
            writes: &["-w"],
            ..TOOL
        },
    ),
    code(&["nmap"], &["--script"]),
    code(&["nginx"], &["-g"]),
    code(
        &["openssl"],
        &["-engine", "-provider", "-provider-path", "-config"],
    ),
    code(&["lftp"], &["-c", "-e", "-f"]),
    code(
        &["nc", "ncat", "netcat"],
        &["-c", "-e", "--exec", "--lua-exec", "--sh-exec"],
    ),
    code(
        &[
            "iptables",
            "iptables-restore",
            "ip6tables",
            "ip6tables-restore",
        ],
        &["--modprobe"],
    ),
    runs_files(
        &["ansible-playbook"],
        &["-e", "-i", "-t", "-l", "--tags", "--limit"],
    ),
    runs_files(&["run-parts"], &["-a", "-u", "--arg", "--umask"]),
    runs_files(&["logrotate"], &["-s", "-m", "-l", "--state", "--log"]),
    runs_files(&["crontab"], &["-u"]),
    tool(
        &["at", "batch"],
        Tool {
            code: &["-f"],
            is_interpreter: true,
            ..TOOL
        },
    ),
    runs_files(&["modprobe", "insmod"], &["-C", "-d", "-S"]),
    tool(
        &["service", "invoke-rc.d"],
        Tool {
            verb: true,
            operands: Some(0),
            ..TOOL
        },
    ),
    tool(
        &["systemctl"],
        Tool {
            verb: true,
            verbs: &[
                "link",
                "edit",
                "enable",
                "reenable",
                "set-environment",
                "import-environment",
            ],
            with_value: &["-M", "-H", "-p", "-P", "-t", "-n", "-o", "-s"],
            ..TOOL
        },
    ),
    tool(
        &["perf"],
        Tool {
            starts: &["stat", "record", "trace"],
            ..TOOL
        },
    ),
    code(
        &["sysctl"],
        &["-w", "--write", "-p", "-f", "--load", "--system"],
    ),
    code(
        &["mount"],
        &["-o", "--options", "-t", "--types", "-T", "--fstab"],
    ),
    tool(
        &["tee"],
        Tool {
            operands_written: true,
            ..TOOL
        },
    ),
];
