//! What the program is known to do, by its name. Pure.

use super::super::escape::exact;
use super::super::measure::FileFound;
use super::super::words::{size, some};
use crate::plan::Whole;

/// They execute code from their arguments, from files that these name, or programs that these name.
const SHELLS: &[&str] = &[
    "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh",
];
const INTERPRETERS: &[&str] = &[
    "awk",
    "bun",
    "deno",
    "expect",
    "gawk",
    "gdb",
    "guile",
    "java",
    "jshell",
    "julia",
    "lua",
    "luajit",
    "m4",
    "mawk",
    "node",
    "nodejs",
    "octave",
    "osascript",
    "perl",
    "php",
    "pwsh",
    "python",
    "Rscript",
    "ruby",
    "scala",
    "sqlite3",
    "tclsh",
    "vim",
    "vi",
    "emacs",
    "ed",
    "ex",
    "sed",
];
const LAUNCHERS: &[&str] = &[
    "at",
    "batch",
    "chroot",
    "chrt",
    "crontab",
    "docker",
    "doas",
    "env",
    "find",
    "flock",
    "ionice",
    "kubectl",
    "make",
    "nerdctl",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "pkexec",
    "podman",
    "rsync",
    "runuser",
    "screen",
    "setpriv",
    "setsid",
    "ssh",
    "stdbuf",
    "su",
    "sudo",
    "systemd-run",
    "tar",
    "timeout",
    "tmux",
    "unshare",
    "watch",
    "xargs",
];
/// Options before code, of those above.
const CODE: &[&str] = &["-c", "-e", "-E", "--eval", "--command", "-r", "--exec"];
/// They change or stop more than themselves.
const STRONG: &[(&str, &str)] = &[
    (
        "dd",
        "it writes bytes where its arguments say, also over whole disks",
    ),
    ("fdisk", "it changes how a disk is divided"),
    ("halt", "it stops the machine"),
    (
        "ip",
        "it can change the machine's network, also the way by which you reach it",
    ),
    ("iptables", "it can change the machine's firewall"),
    ("kexec", "it starts another kernel"),
    ("kill", "it ends processes"),
    ("killall", "it ends processes by their name"),
    ("mkfs", "it makes a new file system: what was there is lost"),
    ("mount", "it changes which file systems are where"),
    ("nft", "it can change the machine's firewall"),
    ("parted", "it changes how a disk is divided"),
    ("pkill", "it ends processes by their name"),
    ("poweroff", "it stops the machine"),
    ("reboot", "the machine reboots: all that runs on it stops"),
    ("rm", "it removes files, and nothing brings them back"),
    ("shred", "it overwrites files, and nothing brings them back"),
    ("shutdown", "it stops the machine or reboots it"),
    (
        "systemctl",
        "it can stop and change any unit, and the machine itself",
    ),
    ("umount", "it changes which file systems are where"),
    ("useradd", "it makes an account"),
    ("userdel", "it removes an account"),
    ("usermod", "it changes an account"),
    (
        "wipefs",
        "it makes the content of a disk unknown to the system",
    ),
];

/// What it changes, where that is known.
pub fn acts(argv: &[&[u8]]) -> Vec<String> {
    let name = base_name(argv);
    if name == "remit-act" {
        return ours(argv);
    }
    let stem = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let strong = STRONG.iter().find(|(known, _)| *known == stem);
    strong
        .map(|(_, does)| (*does).to_owned())
        .into_iter()
        .collect()
}

/// The changes of remit's own policy.
fn ours(argv: &[&[u8]]) -> Vec<String> {
    let words: Vec<String> = argv.iter().skip(1).map(|arg| exact(arg, 200)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["unit", verb, unit] => unit_verb(verb, unit),
        ["package", verb, names @ ..] => package_verb(verb, names),
        ["reboot", "--cancel"] => vec!["a reboot that was planned is called off".into()],
        ["reboot", ..] => vec!["the machine reboots: all that runs on it stops".into()],
        _ => Vec::new(),
    }
}

fn unit_verb(verb: &str, unit: &str) -> Vec<String> {
    let told = match verb {
        "stop" => format!("{unit} stops, and what needs it with it, until somebody starts it"),
        "restart" => format!(
            "{unit} stops and starts again: who uses it just then is cut off, and it stays down if it cannot start"
        ),
        "reload" => format!("{unit} reads its configuration again, as it is then"),
        "start" => format!("{unit} starts, and what it needs with it"),
        "enable" => format!("{unit} starts at each boot from now on"),
        "disable" => format!("{unit} does not start at boot any more"),
        _ => return Vec::new(),
    };
    vec![told]
}

fn package_verb(verb: &str, names: &[&str]) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let named = some(&names);
    let told = match verb {
        "install" => format!(
            "installs {named} and what they need, and may remove what does not go with them"
        ),
        "upgrade" => format!(
            "upgrades {named} to what the repositories have by then, and may restart services"
        ),
        "remove" => format!("removes {named} and every package that needs them"),
        _ => return Vec::new(),
    };
    let scripts = "programs that come with packages run as root, without a sandbox";
    vec![told, scripts.into()]
}

/// Whether it executes code that is not its own.
pub fn executes(whole: &Whole<'_>, argv: &[&[u8]], files: &[FileFound]) -> Vec<String> {
    let mut all = Vec::new();
    let name = base_name(argv);
    // `python3.12`, `perl5.38`.
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let is = |known: &[&str]| known.contains(&name.as_str()) || known.contains(&stem);
    let shown = exact(name.as_bytes(), 200);
    if let Some(script) = whole.script {
        let size = size(script.size as u64);
        all.push(format!(
            "a script of {size} that the requester wrote is executed by '{shown}'"
        ));
    } else if is(SHELLS) || is(INTERPRETERS) {
        let code = argv
            .iter()
            .position(|arg| CODE.iter().any(|code| code.as_bytes() == *arg));
        match code {
            Some(at) if at + 1 < argv.len() => {
                all.push(format!(
                    "argument {} is code that '{shown}' executes",
                    at + 1
                ));
            }
            Some(_) | None => {
                all.push(format!(
                    "'{shown}' executes what its arguments, files or standard input tell it"
                ));
            }
        }
        if whole.stdin.is_some() {
            all.push(format!(
                "'{shown}' is given standard input, which may be code"
            ));
        }
    } else if is(LAUNCHERS) {
        all.push(format!("'{shown}' can start other programs"));
    }
    let interpreter = files.iter().find(|file| file.what == "interpreter");
    if let Some(file) = interpreter {
        let by = exact(file.real.as_bytes(), 200);
        all.push(format!("the program is a script, executed by '{by}'"));
    }
    all
}

fn base_name(argv: &[&[u8]]) -> String {
    let program = argv.first().copied().unwrap_or_default();
    let name = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}
