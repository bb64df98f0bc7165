//! Finds the programs that a request names, by its text only. Pure. No decision depends on it.

use remit_common::text;
use remit_programs::Class;

// Bytes of a request that are parsed.
const LOOKED_AT: usize = 64 << 10;
const MOST: usize = 16;
// Programs that are looked up, also of what is no command in the end.
const LOOKED_UP: usize = 4 * MOST;
const WORDS: usize = 12;
// Bytes kept of one word.
const WORD: usize = 200;
const DEPTH: usize = 6;
const KEYWORDS: [&str; 9] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "exec",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub name: String,
    pub args: Vec<String>,
}

impl Command {
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.args.iter().map(String::as_str);
        words.filter(|word| !word.starts_with('-'))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(Vec<Command>);

impl Commands {
    /// Parses an argv. A shell with `-c` is parsed as a script, a wrapper by the program that it starts.
    pub fn of_argv(argv: &[&[u8]]) -> Self {
        let mut parse = CommandParse::default();
        parse.add(argv, DEPTH);
        Self(parse.found)
    }

    pub fn of_script(text: &[u8]) -> Self {
        let mut parse = CommandParse::default();
        parse.add_script(text, DEPTH);
        Self(parse.found)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.0.iter()
    }

    pub fn sole(&self) -> Option<&Command> {
        match self.0.as_slice() {
            [command] => Some(command),
            _ => None,
        }
    }
}

#[derive(Default)]
struct CommandParse {
    found: Vec<Command>,
    looked_up: usize,
}

impl CommandParse {
    fn add(&mut self, argv: &[&[u8]], depth: usize) {
        let Some(((program, args), depth)) = argv.split_first().zip(depth.checked_sub(1)) else {
            return;
        };
        if self.is_over() {
            return;
        }
        self.looked_up += 1;
        let name = name_of(program);
        if let Some(script) = script(&name, args) {
            return self.add_script(script, depth);
        }
        match inner(&name, args) {
            Some(inner) => self.add(inner, depth),
            None if !name.is_empty() => {
                let args = args.iter().take(WORDS - 1);
                self.found.push(Command {
                    name,
                    args: args.map(|arg| text::line(arg, WORD)).collect(),
                });
            }
            None => {}
        }
    }

    fn is_over(&self) -> bool {
        self.found.len() == MOST || self.looked_up == LOOKED_UP
    }

    fn add_script(&mut self, text: &[u8], depth: usize) {
        let text = text.get(..LOOKED_AT).unwrap_or(text);
        for command in text.split(|byte| b"|;&(){}`\n".contains(byte)) {
            if self.is_over() {
                return;
            }
            let words: Vec<&[u8]> = command
                .split(u8::is_ascii_whitespace)
                .map(unquoted)
                .filter(|word| !word.is_empty())
                .take(4 * WORDS)
                .collect();
            let is_none = |word: &&&[u8]| is_keyword(word) || is_assignment(word);
            let skip = words.iter().take_while(is_none).count();
            match words.get(skip) {
                Some(first) if !first.starts_with(b"#") => {
                    self.add(words.get(skip..).unwrap_or_default(), depth);
                }
                _ => {}
            }
        }
    }
}

fn script<'a>(name: &str, args: &[&'a [u8]]) -> Option<&'a [u8]> {
    if !remit_programs::is_shell(name) {
        return None;
    }
    let is_code = |arg: &&[u8]| arg.starts_with(b"-") && arg.ends_with(b"c");
    let at = args.iter().position(is_code)?;
    args.get(at + 1).copied()
}

/// Returns the inner argv of a wrapper such as `timeout 5 ls`, if the wrapper adds no reason to fail.
fn inner<'a>(name: &str, args: &'a [&'a [u8]]) -> Option<&'a [&'a [u8]]> {
    let wrapper = match &remit_programs::known(name).map(|program| &program.class) {
        Some(Class::Wrapper(wrapper) | Class::Joins(wrapper)) if wrapper.is_transparent => wrapper,
        _ if name == "command" => return (!args.is_empty()).then_some(args),
        _ => return None,
    };
    let mut rest = args;
    while let Some((word, after)) = rest.split_first() {
        let is = |option: &&str| option.as_bytes() == *word;
        rest = match word {
            _ if wrapper.with_value.iter().chain(wrapper.code).any(is) => {
                after.get(1..).unwrap_or_default()
            }
            [b'-', ..] => after,
            word if wrapper.assigns && is_assignment(word) => after,
            _ => break,
        };
    }
    rest.get(wrapper.operands..).filter(|rest| !rest.is_empty())
}

fn is_keyword(word: &[u8]) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.as_bytes() == word)
}

fn is_assignment(word: &[u8]) -> bool {
    let end = word.iter().position(|byte| *byte == b'=');
    let name = end.and_then(|end| word.get(..end)).unwrap_or_default();
    let sign = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(sign)
}

fn unquoted(word: &[u8]) -> &[u8] {
    let is_quote = |byte: &u8| b"'\"".contains(byte);
    let start = word.iter().take_while(|byte| is_quote(byte)).count();
    let word = word.get(start..).unwrap_or_default();
    let end = word.iter().rev().take_while(|byte| is_quote(byte)).count();
    word.get(..word.len() - end).unwrap_or_default()
}

fn name_of(program: &[u8]) -> String {
    let name = program.rsplit(|byte| *byte == b'/').next();
    text::line(name.unwrap_or_default(), 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(commands: &Commands) -> Vec<String> {
        let line = |command: &Command| {
            [std::slice::from_ref(&command.name), &command.args[..]]
                .concat()
                .join(" ")
        };
        commands.iter().map(line).collect()
    }

    #[test]
    fn programs_are_found_after_their_starters() {
        for (argv, expect) in [
            (&["/usr/bin/curl", "-s", "x"][..], &["curl -s x"][..]),
            (&["timeout", "-k", "1", "5", "ping", "x"], &["ping x"]),
            (&["env", "-i", "A=b", "nice", "-n", "5", "ls"], &["ls"]),
            (
                &["sh", "-c", "A=1 curl 'x' | tee /etc/y"],
                &["curl x", "tee /etc/y"],
            ),
            (
                &[
                    "bash",
                    "-lc",
                    "if ! systemctl restart nginx; then reboot; fi",
                ],
                &["systemctl restart nginx", "reboot", "fi"],
            ),
            (&["sudo", "-n", "ls"], &["sudo -n ls"]),
            (&["sh", "x.sh"], &["sh x.sh"]),
            (&["env"], &["env"]),
            (&[], &[]),
        ] {
            let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(shown(&Commands::of_argv(&argv)), expect, "{argv:?}");
        }
        assert_eq!(
            shown(&Commands::of_script(b"# no\necho x > /etc/y\n")),
            ["echo x > /etc/y"]
        );
    }

    /// The lint, the risks and the hints must know the same shells and wrappers.
    #[test]
    fn c10_listed_shells_and_wrappers_are_unwrapped() {
        for program in remit_programs::all() {
            for name in program.names {
                let shown = |argv: &[&str]| {
                    let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
                    shown(&Commands::of_argv(&argv))
                };
                match &program.class {
                    Class::Shell => {
                        assert_eq!(shown(&[name, "-c", "curl x"]), ["curl x"], "{name}")
                    }
                    Class::Wrapper(wrapper) | Class::Joins(wrapper) if wrapper.is_transparent => {
                        let operands = vec!["5"; wrapper.operands];
                        let argv = [&[*name][..], &operands, &["curl", "x"]].concat();
                        assert_eq!(shown(&argv), ["curl x"], "{name}");
                    }
                    _ => assert_eq!(shown(&[name, "x"]), [format!("{name} x")], "{name}"),
                }
            }
        }
    }

    #[test]
    fn a_request_is_bounded_in_every_way() {
        let deep = [b"env".as_slice(); 1000];
        assert!(Commands::of_argv(&deep).0.is_empty());
        let many = b"a b;".repeat(1000);
        assert_eq!(Commands::of_script(&many).0.len(), MOST);
        let long = [b"a ".repeat(1000), vec![b'x'; 1 << 20]].concat();
        assert_eq!(Commands::of_script(&long).0[0].args.len(), WORDS - 1);
        let word = vec![b'x'; 1 << 16];
        assert!(Commands::of_argv(&[b"a", &word]).0[0].args[0].len() <= WORD + 8);
        assert_eq!(Commands::of_argv(&[b"sh", b"-c"]).0[0].name, "sh");
    }

    /// None of these segments is a command.
    #[test]
    fn segments_without_a_command_are_counted() {
        for (segment, each) in [
            ("/;", 1),
            ("env env env env env env env;", 6),
            ("sh -c /;", 2),
        ] {
            let mut parse = CommandParse::default();
            parse.add_script(&segment.repeat(1000).into_bytes(), DEPTH);
            assert!(parse.found.is_empty(), "{segment}");
            assert_eq!(parse.looked_up, LOOKED_UP, "{segment}");
            // What follows a few of them is found.
            let few = [segment.repeat(LOOKED_UP / each / 2), "curl x".to_owned()].concat();
            assert_eq!(shown(&Commands::of_script(few.as_bytes())), ["curl x"]);
        }
    }
}
