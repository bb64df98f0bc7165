//! Lists programs that change files, accounts or the machine as their arguments say, and those in which a person starts others.

/// What a program changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Files that its words name get what its standard input or a person at its terminal gives.
    Input,
    /// The file or directory that its last word names gets what the others name.
    LastOperand,
    /// Contents of files, which its words alone do not choose.
    Files,
    /// Owners, modes and capabilities of files.
    Metadata,
    /// Accounts, as its standard input or a person at its terminal says.
    Accounts,
    /// Accounts and their groups, as its words say.
    Members,
    /// Files as an archive has them that its words name.
    Archive,
    /// The files of its options get what is at the addresses among its words.
    Download,
    /// A directory shows what its words name.
    Mounts,
    /// The machine runs, or is set up by, the files that its words name.
    Loaded,
    /// File systems, the boot or services, as its words say.
    System,
}

const PROGRAMS: &[(Written, &[&str])] = &[
    (
        Written::Input,
        &[
            "tee", "dd", "sponge", "patch", "nano", "pico", "joe", "jed", "micro", "mcedit",
            "rvim", "rview", "ne",
        ],
    ),
    (
        Written::LastOperand,
        &["cp", "mv", "install", "ln", "rsync"],
    ),
    (
        Written::Files,
        &[
            "truncate", "shred", "split", "csplit", "xxd", "gzip", "gunzip", "xz", "bzip2", "zstd",
            "rename", "mkfifo", "mknod",
        ],
    ),
    (
        Written::Metadata,
        &[
            "chmod", "chown", "chgrp", "setfacl", "setcap", "setfattr", "chattr",
        ],
    ),
    (
        Written::Accounts,
        &[
            "passwd",
            "chpasswd",
            "chgpasswd",
            "newusers",
            "visudo",
            "vipw",
            "vigr",
        ],
    ),
    (
        Written::Members,
        &[
            "usermod",
            "useradd",
            "adduser",
            "addgroup",
            "groupadd",
            "groupmod",
            "groupmems",
            "gpasswd",
            "chsh",
        ],
    ),
    (
        Written::Archive,
        &["tar", "bsdtar", "cpio", "unzip", "7z", "7za"],
    ),
    (Written::Download, &["curl", "wget"]),
    (Written::Mounts, &["mount"]),
    (
        Written::Loaded,
        &[
            "kexec",
            "update-alternatives",
            "alternatives",
            "ldconfig",
            "depmod",
            "puppet",
            "salt-call",
            "chef-client",
            "systemd-tmpfiles",
            "systemd-sysusers",
        ],
    ),
    (
        Written::System,
        &[
            "tune2fs",
            "debugfs",
            "e2fsck",
            "xfs_db",
            "fdisk",
            "sfdisk",
            "cfdisk",
            "gdisk",
            "parted",
            "mkfs",
            "dmsetup",
            "losetup",
            "lvm",
            "init",
            "telinit",
            "grub-install",
            "dpkg-reconfigure",
            "busctl",
            "dbus-send",
            "gdbus",
        ],
    ),
];

/// Programs in which a person at the terminal starts others, whatever their words are.
const SHELL_ESCAPES: &[&str] = &[
    "vi", "vim", "nvim", "view", "ex", "emacs", "less", "more", "most", "man", "gdb", "lldb", "ed",
    "nano", "pico", "joe", "mc",
];

/// Programs that read, list or write the files of their words, and execute none of them.
const FILES: &[&str] = &[
    ":",
    "[",
    "[[",
    "b2sum",
    "basename",
    "cat",
    "cd",
    "cksum",
    "cmp",
    "cut",
    "dd",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "file",
    "grep",
    "egrep",
    "fgrep",
    "head",
    "ls",
    "md5sum",
    "mkdir",
    "popd",
    "printf",
    "pushd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "sort",
    "stat",
    "tail",
    "tee",
    "test",
    "touch",
    "wc",
    "zcat",
    "zip",
];

/// Returns true for a program that executes no file of its words, except those of its options for code.
pub fn takes_files(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| {
        let is_writer = matches!(
            written(name),
            Some(Written::LastOperand | Written::Files | Written::Metadata | Written::Archive)
        );
        is_writer || FILES.contains(&name)
    })
}

/// As [`takes_files`], also for programs of which it is not known what else they do.
pub fn executes_no_file(name: &[u8]) -> bool {
    const OTHERS: [&[u8]; 12] = [
        b"clamdscan",
        b"clamscan",
        b"fuser",
        b"gpg",
        b"gpg2",
        b"gpgv",
        b"jq",
        b"lsof",
        b"scp",
        b"sed",
        b"sftp",
        b"unlink",
    ];
    OTHERS.contains(&name) || takes_files(name)
}

/// Returns what the program of this name changes.
pub fn written(name: &str) -> Option<Written> {
    let row = PROGRAMS.iter().find(|(_, names)| names.contains(&name));
    row.map(|(written, _)| *written)
}

/// Returns true if a person in it starts other programs.
pub fn has_shell_escape(name: &str) -> bool {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    SHELL_ESCAPES.contains(&stem)
}
