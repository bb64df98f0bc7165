//! Commands of sudoers(5): what one lets accounts run or edit. A pattern is the programs that it fits now, and the one that
//! somebody could make.

use super::sudo_lists::Lists;
use crate::facts::SudoCommand;
use crate::look::Look;
use crate::path::FilePath;

/// What comparing a name with a pattern costs, in steps of the lists.
const NAME: usize = 5;
const DIGESTS: [&[u8]; 4] = [b"sha224", b"sha256", b"sha384", b"sha512"];

/// Returns what a command lets somebody do. What it does not understand is in the answer.
pub fn commands(
    look: &Look<'_>,
    lists: &mut Lists<'_>,
    file: &FilePath,
    command: &[u8],
) -> Vec<SudoCommand> {
    let (program, args) = without_digests(command);
    let args = (!args.is_empty()).then_some(args);
    let is_regular = |text: &[u8]| text.starts_with(b"^");
    if is_regular(program) || program == b"sudoedit" && args.is_some_and(is_regular) {
        let why = "a regular expression of a program counts as every program";
        look.machine.unknown(file, why);
        return vec![SudoCommand::All];
    }
    match (program, args) {
        // An exception stops nobody, sudoers(5).
        ([b'!', ..], _) => Vec::new(),
        (b"ALL", _) | (b"sudoedit", None) => vec![SudoCommand::All],
        (b"sudoedit", Some(mut args)) => {
            let mut found = Vec::new();
            while !args.is_empty() {
                let (path, rest) = word(args);
                found.extend(edits(look, lists, path));
                args = rest;
            }
            found
        }
        ([b'/', ..], _) => {
            let args = match args {
                Some(b"\"\"") => Some(Vec::new()),
                args => args.map(unescaped),
            };
            let program = match program {
                // All programs of a directory.
                [.., b'/'] => [program, b"*"].concat(),
                program => program.to_vec(),
            };
            let paths = paths(look, lists, &program).into_iter();
            let of = |path| SudoCommand::Program {
                path,
                args: args.clone(),
            };
            paths.map(of).collect()
        }
        _ => {
            let why = "some of its commands are not understood";
            look.machine.unknown(file, why);
            Vec::new()
        }
    }
}

/// Returns the program and its arguments of `sha224:DIGEST, sha256:DIGEST COMMAND`.
fn without_digests(mut command: &[u8]) -> (&[u8], &[u8]) {
    loop {
        let (program, args) = word(command);
        if !is_digest(program.split(|byte| *byte == b':').next()) {
            return (program, args);
        }
        command = args;
    }
}

pub fn is_digest(word: Option<&[u8]>) -> bool {
    word.is_some_and(|word| DIGESTS.contains(&word))
}

/// Editing any file that a pattern fits is making new ones in its directory.
fn edits(look: &Look<'_>, lists: &mut Lists<'_>, path: &[u8]) -> Vec<SudoCommand> {
    let mut found = paths(look, lists, path);
    if is_pattern(path) {
        found.extend(FilePath::new(path).and_then(|path| path.parent()));
    }
    found.into_iter().map(SudoCommand::Edit).collect()
}

/// Returns the paths that a pattern fits, and the pattern itself: a file can have that name, too.
fn paths(look: &Look<'_>, lists: &mut Lists<'_>, pattern: &[u8]) -> Vec<FilePath> {
    let own = FilePath::new(pattern);
    if !is_pattern(pattern) {
        return own.into_iter().collect();
    }
    let mut found = vec![FilePath::root()];
    for part in pattern.split(|byte| *byte == b'/') {
        let mut next = Vec::new();
        for directory in &found {
            if !is_pattern(part) {
                next.extend(directory.join(part));
                continue;
            }
            if !lists.may(look, NAME) {
                break;
            }
            let names = look.machine.list(directory);
            if !lists.may(look, names.len().saturating_mul(NAME)) {
                break;
            }
            let names = names.iter().filter(|name| fits(part, name));
            next.extend(names.filter_map(|name| directory.join(name)));
        }
        found = next;
    }
    found.into_iter().chain(own).collect()
}

fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|byte| b"*?[\\".contains(byte))
}

/// As fnmatch(3), but that a set (`[...]`) and all behind it fits any bytes: rather a program too many.
pub(super) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // What follows the last star, and what it may still take.
    let mut star = None;
    loop {
        let fitted = match (pattern, name) {
            ([b'[', ..], _) => return true,
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                star = Some((rest, name));
                Some((rest, name))
            }
            ([b'?', rest @ ..], [_, behind @ ..]) => Some((rest, behind)),
            ([b'\\', own, rest @ ..], [byte, behind @ ..]) if own == byte => Some((rest, behind)),
            ([own, rest @ ..], [byte, behind @ ..]) if own == byte && *own != b'\\' => {
                Some((rest, behind))
            }
            _ => None,
        };
        (pattern, name) = match (fitted, star) {
            (Some(both), _) => both,
            (None, Some((rest, [_, behind @ ..]))) => {
                star = Some((rest, behind));
                (rest, behind)
            }
            (None, _) => return false,
        };
    }
}

/// Returns the first word, and what follows it. A backslash makes white space a part of the word.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let is_end = byte.is_ascii_whitespace() && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_ascii())
}

/// Removes the backslashes that sudoers(5) asks for before its own characters. Those before a wildcard stay.
fn unescaped(args: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    let mut bytes = args.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b',' | b':' | b'=' | b'#')) => {}
            (b'\\', Some(_)) => {
                found.push(byte);
                found.extend(bytes.next());
            }
            _ => found.push(byte),
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::machine::{Bounds, Machine};
    use crate::sources::sudo_lists::Aliases;

    /// What a command is on an empty machine, and whether it is understood.
    fn parsed(command: &[u8]) -> (Vec<SudoCommand>, bool) {
        let machine = Machine::open(Path::new("/proc/self/fdinfo"), Bounds::default()).unwrap();
        let (look, aliases) = (Look::new(&machine), Aliases::default());
        let file = FilePath::fixed("/etc/sudoers");
        let found = commands(&look, &mut Lists::new(&aliases), &file, command);
        (found, machine.take().1.is_empty())
    }

    #[test]
    fn commands_have_arguments_or_any() {
        let program = |path: &str, args: Option<&[u8]>| SudoCommand::Program {
            path: FilePath::fixed(path),
            args: args.map(<[u8]>::to_vec),
        };
        let edit = |path: &str| SudoCommand::Edit(FilePath::fixed(path));
        let all = || vec![SudoCommand::All];
        for (command, expect) in [
            ("/bin/a", vec![program("/bin/a", None)]),
            ("/bin/a \"\"", vec![program("/bin/a", Some(b""))]),
            ("/bin/a b  *", vec![program("/bin/a", Some(b"b  *"))]),
            ("sha224:ab= /bin/a b", vec![program("/bin/a", Some(b"b"))]),
            ("/bin/", vec![program("/bin/*", None)]),
            ("ALL", all()),
            ("sudoedit", all()),
            ("sudoedit /a /b", vec![edit("/a"), edit("/b")]),
            ("sudoedit /a/*", vec![edit("/a/*"), edit("/a")]),
            ("!/bin/a", Vec::new()),
        ] {
            assert_eq!(parsed(command.as_bytes()), (expect, true), "{command}");
        }
        assert_eq!(parsed(b"^/bin/(a|b)$ x"), (all(), false));
        assert_eq!(parsed(b"sudoedit ^/etc/.*$"), (all(), false));
        assert_eq!(parsed(b"bin/a"), (Vec::new(), false));
        assert_eq!(parsed(b"sha224:ab="), (Vec::new(), false));
        let digests = b"sha224:ab= ".repeat(100_000);
        let long = [&digests[..], b"/bin/a"].concat();
        assert_eq!(parsed(&long), (vec![program("/bin/a", None)], true));
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expect) in [
            ("*", "bash", true),
            ("ba?h", "bash", true),
            ("ba?h", "bah", false),
            ("b*s*h", "bash", true),
            ("b*s*x", "bash", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("b[aeiou]sh", "bash", true),
            ("b[aeiou]sh", "dash", false),
            ("", "", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expect,
                "{pattern}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, name: Vec<u8>) {
            let _ = fits(&bytes, &name);
            let _ = parsed(&bytes);
        }
    }

    #[test]
    fn escapes_of_sudoers_are_no_part_of_the_arguments() {
        for (args, expect) in [
            (&br"of\=/etc/cron.d/x"[..], &b"of=/etc/cron.d/x"[..]),
            (br"app\:app a\,b \#1", b"app:app a,b #1"),
            (br"\* \\= a\", br"\* \\= a\"),
        ] {
            assert_eq!(unescaped(args), expect);
        }
    }
}
