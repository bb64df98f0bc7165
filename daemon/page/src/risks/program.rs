//! Notes about what a program is known to do, by its name.

use remit_approval::name_of_argument;
use remit_programs::{Class, Program};

use crate::describe::{size, some};
use crate::verified::Verified;
use crate::view::exact;

/// Programs that change or stop more than themselves.
const STRONG: &[(&str, &str)] = &[
    (
        "dd",
        "it writes bytes where its arguments say, even over whole disks",
    ),
    ("fdisk", "it changes a disk's partitions"),
    ("halt", "it stops the machine"),
    (
        "ip",
        "it can change the machine's network, including the connection you use",
    ),
    ("iptables", "it can change the machine's firewall"),
    ("kexec", "it starts another kernel"),
    ("kill", "it ends processes"),
    ("killall", "it ends processes by their name"),
    ("mkfs", "it makes a new file system: all data there is lost"),
    ("mount", "it changes which file systems are mounted where"),
    ("nft", "it can change the machine's firewall"),
    ("parted", "it changes a disk's partitions"),
    ("pkill", "it ends processes by their name"),
    ("poweroff", "it stops the machine"),
    ("reboot", "the machine reboots: everything on it stops"),
    ("rm", "it removes files for good"),
    ("shred", "it overwrites files for good"),
    ("shutdown", "it stops the machine or reboots it"),
    (
        "systemctl",
        "it can stop and change any unit, and the machine itself",
    ),
    ("umount", "it changes which file systems are mounted where"),
    ("useradd", "it creates an account"),
    ("userdel", "it removes an account"),
    ("usermod", "it changes an account"),
    (
        "wipefs",
        "it erases the signatures by which the system knows a disk's content",
    ),
];

pub fn acts(argv: &[&[u8]]) -> Vec<String> {
    let name = base_name(argv);
    if name == "remit-act" {
        return own_program_risks(argv);
    }
    let stem = name.split_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let strong = STRONG.iter().find(|(known, _)| *known == stem);
    strong
        .map(|(_, does)| (*does).to_owned())
        .into_iter()
        .collect()
}

/// Returns whether it changes packages, one of which may be remit or restart it.
pub fn changes_packages(argv: &[&[u8]]) -> bool {
    let name = base_name(argv);
    let args: Vec<String> = argv.iter().skip(1).map(|arg| exact(arg, 200)).collect();
    let is_own = name == "remit-act" && args.first().is_some_and(|word| word == "package");
    let found = remit_programs::found(&name, &args);
    let command = found.and_then(|found| Some(found.alternative?.command));
    is_own || command.is_some_and(|command| command.starts_with("package."))
}

fn own_program_risks(argv: &[&[u8]]) -> Vec<String> {
    let words: Vec<String> = argv.iter().skip(1).map(|arg| exact(arg, 200)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["unit", verb, unit] => unit_verb(verb, unit),
        ["package", verb, names @ ..] => package_verb(verb, names),
        ["reboot", "--cancel"] => vec!["a planned reboot is canceled".into()],
        ["reboot", ..] => vec!["the machine reboots: everything on it stops".into()],
        _ => Vec::new(),
    }
}

fn unit_verb(verb: &str, unit: &str) -> Vec<String> {
    let sentence = match verb {
        "stop" => format!("{unit} and what requires it stop, until somebody starts them"),
        "restart" => format!(
            "{unit} stops and starts again: its users are cut off, and it stays down if it cannot start"
        ),
        "reload" => format!("{unit} reads its configuration again, as it is at that time"),
        "start" => format!("{unit} and what it requires start"),
        "enable" => format!("{unit} starts at each boot from now on"),
        "disable" => format!("{unit} no longer starts at boot"),
        _ => return Vec::new(),
    };
    vec![sentence]
}

fn package_verb(verb: &str, names: &[&str]) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let named = some(&names);
    let sentence = match verb {
        "install" => format!(
            "installs {named} and what they require, and may remove what conflicts with them"
        ),
        "upgrade" => format!(
            "upgrades {named} to what the repositories have at that time, and may restart services"
        ),
        "remove" => format!("removes {named} and every package that requires them"),
        _ => return Vec::new(),
    };
    let scripts = "programs in packages run as root, without a sandbox";
    vec![sentence, scripts.into()]
}

pub fn executes(verified: &Verified, argv: &[&[u8]]) -> Vec<String> {
    let mut all = Vec::new();
    let name = base_name(argv);
    let known = remit_programs::known(&name);
    let interprets = known.is_some_and(Program::interprets);
    let shown = exact(name.as_bytes(), 200);
    if let Some(script) = verified.script() {
        let size = size(script.size as u64);
        all.push(format!(
            "a script of {size} that the requester wrote is executed by '{shown}'"
        ));
    } else if interprets {
        let code = known.map_or(&[][..], Program::code);
        let is_code = |arg: &&[u8]| code.iter().any(|code| is_option(arg, code));
        let module = module(verified, argv, known.map_or(&[][..], Program::modules));
        let code = argv.iter().position(is_code);
        match code {
            _ if module.is_some() => all.extend(module.map(|at| {
                format!(
                    "argument {at} names a module that '{shown}' finds by itself: its bytes are not shown, and may \
                     be others when it runs"
                )
            })),
            Some(at) if at + 1 < argv.len() => {
                all.push(format!(
                    "argument {} is code that '{shown}' executes",
                    at + 1
                ));
            }
            Some(_) | None => {
                all.push(format!(
                    "'{shown}' executes code from its arguments, files or standard input"
                ));
            }
        }
        if verified.stdin.is_some() {
            all.push(format!("'{shown}' gets standard input, which may be code"));
        }
    } else if known.is_some_and(|program| starts_others(program, argv)) {
        all.push(format!("'{shown}' can start other programs"));
    }
    let interpreter = verified
        .request
        .files
        .iter()
        .find(|file| file.what == "interpreter");
    if let Some(file) = interpreter {
        let by = exact(file.real.as_bytes(), 200);
        all.push(format!("the program is a script, executed by '{by}'"));
    }
    all
}

/// Returns the argument that names code which is no file of this request. After the executed file, words are the program's.
fn module(verified: &Verified, argv: &[&[u8]], modules: &[&str]) -> Option<usize> {
    let is_file = |at: usize| {
        let what = name_of_argument(at);
        verified.request.files.iter().any(|file| file.what == what)
    };
    let named = |at: usize, arg: &[u8]| {
        let next = || argv.get(at + 1).map(|_| at + 1);
        modules.iter().find_map(|option| {
            let attached = arg.strip_prefix(option.as_bytes())?;
            match (attached, option.starts_with("--")) {
                ([], _) => next(),
                ([b'=', ..], true) | (_, false) => Some(at),
                (_, true) => None,
            }
        })
    };
    let words = argv.iter().enumerate().skip(1);
    let mut before_program = words.take_while(|(at, arg)| arg.starts_with(b"-") || !is_file(*at));
    let found = before_program.find_map(|(at, arg)| named(at, arg))?;
    (!is_file(found)).then_some(found)
}

/// Returns true if this call can start other programs. For a tool, a word or an option decides.
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

/// A short option may end a group, as `c` in `-lc`.
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

    /// Notes for an approver and refusals of the policy load use the same table.
    #[test]
    fn c10_listed_program_is_risk_or_writer() {
        for program in all() {
            let runs = program.interprets() || program.starts_others();
            let only_data = matches!(&program.class, Class::Tool(tool)
                if tool.verb || tool.operands_written || !tool.signs.is_empty() || !tool.writes.is_empty());
            assert!(runs || only_data, "{:?}", program.names);
        }
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
