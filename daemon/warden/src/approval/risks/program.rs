//! What the program is known to do, by its name. Pure.

use remit_programs::{Class, Program};

use super::super::escape::exact;
use super::super::measure::FileFound;
use super::super::words::{size, some};
use crate::plan::Whole;

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
    let known = remit_programs::known(&name);
    let interprets = known.is_some_and(Program::interprets);
    let shown = exact(name.as_bytes(), 200);
    if let Some(script) = whole.script {
        let size = size(script.size as u64);
        all.push(format!(
            "a script of {size} that the requester wrote is executed by '{shown}'"
        ));
    } else if interprets {
        let code = known.map_or(&[][..], Program::code);
        let is_code = |arg: &&[u8]| code.iter().any(|code| is_option(arg, code));
        let code = argv.iter().position(is_code);
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
    } else if known.is_some_and(|program| starts_others(program, argv)) {
        all.push(format!("'{shown}' can start other programs"));
    }
    let interpreter = files.iter().find(|file| file.what == "interpreter");
    if let Some(file) = interpreter {
        let by = exact(file.real.as_bytes(), 200);
        all.push(format!("the program is a script, executed by '{by}'"));
    }
    all
}

/// Whether it can start others as it is called: of a tool, by a word or an option that has it do so.
fn starts_others(program: &Program, argv: &[&[u8]]) -> bool {
    let Class::Tool(tool) = &program.class else {
        return program.starts_others();
    };
    let mut words = argv.iter().skip(1);
    let is_one = |arg: &&[u8]| {
        let words = tool.starts.iter().chain(tool.verbs);
        let is_code = |option: &&str| {
            let name = arg.split(|byte| *byte == b'=').next().unwrap_or_default();
            is_option(name, option)
        };
        words.into_iter().any(|word| word.as_bytes() == *arg) || tool.code.iter().any(is_code)
    };
    tool.operands.is_some() || words.any(is_one)
}

/// Whether an argument is this option; a short one may stand at the end of others, as `c` in `-lc`.
fn is_option(arg: &[u8], option: &str) -> bool {
    let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
    let bundled = |letter: &str| {
        let short = arg.starts_with(b"-") && !arg.starts_with(b"--");
        short && arg.len() > 1 && arg.ends_with(letter.as_bytes())
    };
    arg == option.as_bytes() || letter.is_some_and(bundled)
}

fn base_name(argv: &[&[u8]]) -> String {
    let program = argv.first().copied().unwrap_or_default();
    let name = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use remit_programs::{Class, all, known};

    /// What is said of a program to an approver goes by the same table as what the load refuses.
    #[test]
    fn c10_every_program_of_the_table_is_a_risk_or_only_writes() {
        for program in all() {
            let runs = program.interprets() || program.starts_others();
            let only_data = matches!(&program.class, Class::Tool(tool)
                if tool.verb || tool.operands_written || !tool.signs.is_empty() || !tool.writes.is_empty());
            assert!(runs || only_data, "{:?}", program.names);
        }
        // Those that earlier lists disagreed about.
        for name in [
            "ash",
            "yash",
            "rbash",
            "pypy",
            "jruby",
            "qjs",
            "mono",
            "dotnet",
            "racket",
            "scheme",
            "wish",
            "gsed",
            "nawk",
            "octave",
            "scala",
            "m4",
            "osascript",
            "gdb",
            "vim",
            "emacs",
            "ed",
            "ex",
            "sqlite3",
        ] {
            assert!(
                known(name).is_some_and(|program| program.interprets()),
                "{name}"
            );
        }
    }
}
