//! Words of a shell text.

use crate::path::FilePath;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShellCommand {
    pub line: usize,
    /// What the last `cd` before it names.
    pub directory: Option<Vec<u8>>,
    /// `NAME=value` of it, behind the search paths that the text has set.
    pub variables: Vec<Vec<u8>>,
    /// The first is the program; it is empty if the words continue another command.
    pub words: Vec<Vec<u8>>,
    /// The file of its standard input. Of another command's output only that is left: `$(NAME …)`.
    pub input: Option<Vec<u8>>,
}

/// Names of the shell itself, which are no files.
const BUILT_IN: [&[u8]; 35] = [
    b"[",
    b"[[",
    b"test",
    b"cd",
    b"pushd",
    b"popd",
    b"declare",
    b"readonly",
    b"typeset",
    b"echo",
    b"printf",
    b"export",
    b"set",
    b"unset",
    b"exit",
    b"return",
    b"fi",
    b"done",
    b"esac",
    b"case",
    b"for",
    b"in",
    b"trap",
    b"umask",
    b"read",
    b"shift",
    b"wait",
    b":",
    b"true",
    b"false",
    b"local",
    b"alias",
    b"function",
    b"ulimit",
    b"break",
];

pub fn base_name(program: &[u8]) -> &[u8] {
    let mut parts = program.rsplit(|byte| *byte == b'/');
    parts.next().unwrap_or_default()
}

/// Returns true for a command of the shell itself.
pub fn is_built_in(word: &[u8]) -> bool {
    BUILT_IN.contains(&word)
}

/// Returns true for a word that may be the name of a program.
pub fn is_name(word: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-[".contains(byte);
    word.iter().all(is_of_name) && !word.iter().all(u8::is_ascii_digit) && !is_built_in(word)
}

/// Returns true if only the shell that runs it knows what the word is, or the program that puts names of files for `{}`.
pub fn is_open(word: &[u8]) -> bool {
    word.iter().any(|byte| b"$*?`".contains(byte)) || is_found(word)
}

/// Returns true for a word of find(1) or `xargs -I{}` that has the name of a file in it.
pub fn is_found(word: &[u8]) -> bool {
    word.windows(2).any(|two| two == b"{}")
}

/// Returns the absolute paths that a word has, also as a part of it.
pub fn paths(word: &[u8]) -> impl Iterator<Item = FilePath> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"'\"`;|&(){}<>[]=,:".contains(byte);
    let parts = word.split(is_between).filter(|part| !is_open(part));
    parts.filter_map(FilePath::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parts_of_words() {
        let found = |word: &str| {
            let found = paths(word.as_bytes()).map(|path| path.to_string());
            found.collect::<Vec<_>>()
        };
        assert_eq!(found("--a=/b,/c"), ["/b", "/c"]);
        assert_eq!(found("run(['/a', \"/b\"])"), ["/a", "/b"]);
        assert!(found("$X/a /a/*.sh a/b").is_empty());
    }
}
