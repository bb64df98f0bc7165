//! Finds what in an argv only a shell reads: its own words, several words in one, operators and patterns. Pure. What is
//! kept of an argv is bounded, and no note decides anything.

use remit_common::{builtin, text};
use remit_wire::outcome::{Ending, State};

use crate::hints::answer::named;
use crate::hints::stderr_patterns::{Kind, Said};

/// Words of an argv that are looked at.
const LOOKED_AT: usize = 1024;
/// Words that are kept because a shell replaces them.
const PATTERNS: usize = 8;
/// Bytes kept of a word, as of an object of standard error.
const WORD: usize = 200;
/// Words and their bytes that are shown as the argv that was meant.
const SHOWN: usize = 12;
const SHOWN_BYTES: usize = 240;

const NO_SHELL: &str =
    "no shell reads argv, so | > * ~ and $ reach the program as they are: use script";

/// Words that a shell reads itself; some systems have a program of this name too, which changes nothing.
const OWN: [&str; 25] = [
    ".", "[[", "alias", "case", "declare", "eval", "exec", "for", "function", "history", "if",
    "jobs", "local", "popd", "pushd", "set", "shopt", "source", "trap", "type", "ulimit", "umask",
    "unset", "until", "while",
];

/// Ends of names of scripts and programs.
const FILE_SUFFIXES: [&str; 9] = ["bash", "exe", "jar", "js", "php", "pl", "py", "rb", "sh"];

const OPERATORS: [&str; 12] = [
    "|",
    "||",
    "&&",
    ";",
    "&",
    ">",
    ">>",
    "<",
    "<<",
    "2>&1",
    ">/dev/null",
    "2>/dev/null",
];

/// Programs with such words among their own arguments.
const LITERAL: [&str; 18] = [
    "[", "awk", "column", "cut", "echo", "egrep", "expr", "fgrep", "find", "grep", "join", "jq",
    "paste", "printf", "sed", "sort", "test", "tr",
];

/// What a request with an argv has to say if it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShellWords {
    /// For a first word that is no program.
    first_word: Option<String>,
    has_operator: bool,
    /// Words that a shell replaces.
    patterns: Vec<String>,
}

impl ShellWords {
    pub fn of_argv(argv: &[&[u8]]) -> Self {
        let Some((program, args)) = argv.split_first() else {
            return Self::default();
        };
        let program = text::line(program, WORD);
        let name = program.rsplit('/').next().unwrap_or_default();
        if !program.contains(' ') && remit_programs::is_shell(name) {
            return Self::default();
        }
        let args = args.iter().take(LOOKED_AT);
        let is_operator = |arg: &[u8]| OPERATORS.iter().any(|word| word.as_bytes() == arg);
        let has_operator = args.clone().any(|arg| is_operator(arg));
        let is_pattern =
            |arg: &[u8]| arg.contains(&b'*') || arg.starts_with(b"~") || arg.starts_with(b"$");
        let patterns = args.filter(|arg| is_operator(arg) || is_pattern(arg));
        Self {
            first_word: of_first_word(&program, argv),
            has_operator: has_operator && !LITERAL.contains(&name),
            patterns: patterns
                .take(PATTERNS)
                .map(|arg| text::line(arg, WORD))
                .collect(),
        }
    }

    /// Returns what to do instead, if the job failed by such a word.
    pub fn note(&self, ending: &Ending, said: &[Said]) -> Option<String> {
        let is_missing = ending.state == State::NotStarted && ending.exit == Some(127);
        if let Some(note) = self.first_word.as_ref().filter(|_| is_missing) {
            return Some(note.clone());
        }
        let has_failed = is_missing || (ending.state == State::Exited && ending.exit != Some(0));
        let is_met = self.has_operator || self.is_missed(said);
        (has_failed && is_met).then(|| NO_SHELL.to_owned())
    }

    /// Returns true if standard error has one of the words as a missing file.
    fn is_missed(&self, said: &[Said]) -> bool {
        let is_own = |object: &String| self.patterns.contains(object);
        let mut missing = said.iter().filter(|said| said.kind == Kind::NoFile);
        missing.any(|said| said.object.as_ref().is_some_and(is_own))
    }
}

/// Returns the call that was meant, if the first word is the name of a command of the package, or of a granted one.
/// `granted`: `None` of another name, and whether a granted command changes something.
pub fn call_of_typed_name(
    argv: &[&[u8]],
    granted: impl Fn(&str) -> Option<bool>,
) -> Option<String> {
    let name = std::str::from_utf8(argv.first()?).ok()?;
    let shipped = remit_programs::shipped(name).map(|command| command.changes);
    let is_granted = granted(name);
    let call = call(name, is_granted.or(shipped)?, argv);
    Some(match is_granted {
        Some(_) => format!("{name} is a command of remit, no program: {call}"),
        None => format!("{name} is a command of remit, no program, and not granted to you: {call}"),
    })
}

fn of_first_word(program: &str, argv: &[&[u8]]) -> Option<String> {
    match program {
        "cd" => return Some("cd is a word of the shell: use cwd, or script".into()),
        "export" => return Some("export is a word of the shell: use env, or script".into()),
        own if OWN.contains(&own) => {
            return Some(format!("{own} is a word of the shell: use script"));
        }
        program if !program.contains(' ') => return of_command(program, argv),
        _ => {}
    }
    let words = program.split(' ').filter(|word| !word.is_empty());
    let rest = argv.iter().skip(1).take(SHOWN);
    let rest = rest.map(|arg| text::line(arg, WORD));
    let words: Vec<String> = words.map(str::to_owned).chain(rest).collect();
    let length: usize = words.iter().map(String::len).sum();
    let is_plain = !program.contains(|c: char| "|&;<>()$`\\\"'*?~\u{2026}".contains(c));
    Some(
        match is_plain && words.len() <= SHOWN && length <= SHOWN_BYTES {
            true => format!("argv is not split: {words:?}"),
            false => "argv is not split, each word is one element: use script for a line".into(),
        },
    )
}

/// Returns the call of the named command that a program of this name was probably meant to be. Asks no policy: only the
/// list of the package is public.
fn of_command(name: &str, argv: &[&[u8]]) -> Option<String> {
    let shipped = remit_programs::shipped(name);
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let is_name = name.split_once('.').is_some_and(|(family, last)| {
        is_word(family) && is_word(last) && !FILE_SUFFIXES.contains(&last)
    });
    if shipped.is_none() && !is_name {
        return None;
    }
    let call = call(name, shipped.is_some_and(|command| command.changes), argv);
    Some(match shipped {
        Some(_) => format!("{name} is a command of remit, no program: {call}"),
        None => format!("if {name} is a command of the policy, and no program: {call}"),
    })
}

/// Returns the call of a named command, with the words after its name as arguments, if all of them have that form.
fn call(name: &str, changes: bool, argv: &[&[u8]]) -> String {
    let is_plain = |text: &str, signs: &[u8]| {
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
        !text.is_empty() && text.bytes().all(is_sign)
    };
    // A single word after the name is most likely the unit.
    let first = builtin::find(name).ok().filter(|_| argv.len() == 2);
    let first = first.and_then(|command| {
        let mut args = command.args.iter().map(|arg| arg.name);
        args.find(|name| matches!(*name, "unit" | "pattern"))
    });
    let args = argv.iter().skip(1).take(SHOWN).map(|arg| {
        let arg = text::line(arg, WORD);
        let is_option = arg.starts_with('-');
        let bare = first.filter(|_| !is_option).map(|key| (key, &*arg));
        let (key, value) = arg.split_once('=').or(bare)?;
        let fits = is_plain(key, b"_") && is_plain(value, b"-_.@:/+,%");
        fits.then(|| format!("\"{key}\": \"{value}\""))
    });
    // Without its arguments the call still has the form that was missed.
    let args: Vec<String> = args.collect::<Option<_>>().unwrap_or_default();
    let tool = match changes {
        true => "change",
        false => "run",
    };
    named(tool, name, &args.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;
    use remit_wire::Bytes;
    use remit_wire::outcome::Captured;

    fn note(argv: &[&str], state: State, exit: i32, stderr: &str) -> Option<String> {
        let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
        let ending = Ending {
            exit: Some(exit),
            ..Ending::unmeasured(state, String::new(), true)
        };
        let stderr = Captured {
            total: stderr.len() as u64,
            head: Bytes::from(stderr.as_bytes().to_vec()),
            ..Captured::default()
        };
        ShellWords::of_argv(&argv).note(&ending, &said(&stderr))
    }

    #[test]
    fn a_first_word_that_is_no_program_names_the_next_step() {
        for (argv, expect) in [
            (&["df -h"][..], Some("argv is not split: [\"df\", \"-h\"]")),
            (
                &["ls -la /etc", "/x y"],
                Some("argv is not split: [\"ls\", \"-la\", \"/etc\", \"/x y\"]"),
            ),
            (
                &["ls | wc"],
                Some("argv is not split, each word is one element: use script for a line"),
            ),
            (
                &["cd", "/etc"],
                Some("cd is a word of the shell: use cwd, or script"),
            ),
            (
                &["export", "A=1"],
                Some("export is a word of the shell: use env, or script"),
            ),
            (
                &["source", "/x"],
                Some("source is a word of the shell: use script"),
            ),
            (&["nginx", "-t"], None),
            (
                &["service.status", "unit=nginx.service"],
                Some(
                    "service.status is a command of remit, no program: run {\"name\": \"service.status\", \
                     \"args\": {\"unit\": \"nginx.service\"}}",
                ),
            ),
            (
                &["service.status", "nginx"],
                Some(
                    "service.status is a command of remit, no program: run {\"name\": \"service.status\", \
                     \"args\": {\"unit\": \"nginx\"}}",
                ),
            ),
            (
                &["service.status", "--all"],
                Some(
                    "service.status is a command of remit, no program: run {\"name\": \"service.status\"}",
                ),
            ),
            (
                &["service.status", "nginx", "ssh"],
                Some(
                    "service.status is a command of remit, no program: run {\"name\": \"service.status\"}",
                ),
            ),
            (
                &["service.restart", "unit=x y"],
                Some(
                    "service.restart is a command of remit, no program: change {\"name\": \"service.restart\"}",
                ),
            ),
            (
                &["greeter.check"],
                Some(
                    "if greeter.check is a command of the policy, and no program: run {\"name\": \"greeter.check\"}",
                ),
            ),
            (&["deploy.sh", "unit=x"], None),
            (&["python3.11", "-V"], None),
            (&["/opt/greeter.check"], None),
            (&["a.b.c"], None),
            (&[], None),
        ] {
            let missing = note(argv, State::NotStarted, 127, "");
            assert_eq!(missing.as_deref(), expect, "{argv:?}");
            assert_eq!(note(argv, State::NotStarted, 126, ""), None, "{argv:?}");
            assert_eq!(note(argv, State::Exited, 0, ""), None, "{argv:?}");
        }
        let long = "x ".repeat(1000);
        let shown = note(&[&long], State::NotStarted, 127, "").unwrap();
        assert!(shown.len() < 200, "{shown}");
    }

    #[test]
    fn words_of_a_shell_are_named_if_the_job_failed() {
        let missing =
            |object: &str| format!("ls: cannot access '{object}': No such file or directory");
        for (argv, stderr, has_note) in [
            (&["ls", "|", "wc"][..], String::new(), true),
            (&["df", "-h", "&&", "ls"], String::new(), true),
            (&["ls", "/var/log/*.log"], missing("/var/log/*.log"), true),
            (&["ls", "~"], missing("~"), true),
            (&["ls", "$HOME/x"], missing("$HOME/x"), true),
            (
                &["cat", "*.log"],
                "cat: *.log: No such file or directory".into(),
                true,
            ),
            (
                &["grep", "x", "/etc/hosts", "|", "wc"],
                "grep: |: No such file or directory".into(),
                true,
            ),
            (&["ls", "/x"], missing("/x"), false),
            // A pattern of the program's own.
            (&["grep", "a.*b", "/etc/hosts"], String::new(), false),
            (&["find", "/x", "-name", "*.log"], missing("/x"), false),
            (
                &["find", "/x", "-exec", "ls", "{}", ";"],
                String::new(),
                false,
            ),
            (&["cut", "-d", "|", "/x"], missing("/x"), false),
            (&["sh", "-c", "ls", "|"], String::new(), false),
        ] {
            let note = note(argv, State::Exited, 1, &stderr);
            assert_eq!(note.is_some(), has_note, "{argv:?}: {note:?}");
        }
        assert_eq!(note(&["ls", "|", "wc"], State::Exited, 0, ""), None);
        assert_eq!(note(&["ls", "|", "wc"], State::Cancelled, 1, ""), None);
    }

    #[test]
    fn what_is_kept_of_an_argv_is_bounded() {
        let word = vec![b'*'; 1 << 16];
        let argv = [&[b"ls".as_slice()][..], &[word.as_slice(); 5000]].concat();
        let words = ShellWords::of_argv(&argv);
        let bytes: usize = words.patterns.iter().map(String::len).sum();
        assert!(words.patterns.len() <= PATTERNS && bytes <= PATTERNS * (WORD + 4));
    }
}
