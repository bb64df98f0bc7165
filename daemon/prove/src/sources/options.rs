//! Options among the words of a program, and their values.

use remit_programs::Program;

use super::shell::base_name;

/// Returns `Some(None)` for this option, also as the last letter of several, as `-pe`, and with the value if it is
/// in the same word, as `--x=value`, `-I/value` and `-x:value`.
pub(super) fn option_value<'w>(option: &str, word: &'w [u8]) -> Option<Option<&'w [u8]>> {
    let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
    if let Some(rest) = word.strip_prefix(option.as_bytes()) {
        let is_path = |rest: &[u8]| rest.starts_with(b"/") || rest.starts_with(b".");
        return match rest {
            [] if !option.ends_with(':') => Some(None),
            [b'=', value @ ..] if option.starts_with("--") => Some(Some(value)),
            value if option.ends_with(':') => Some(Some(value)),
            value if letter.is_some() && is_path(value) => Some(Some(value)),
            _ => bundled(letter, word),
        };
    }
    bundled(letter, word)
}

fn bundled<'w>(letter: Option<&str>, word: &[u8]) -> Option<Option<&'w [u8]>> {
    let letters = word.strip_prefix(b"-").unwrap_or_default();
    let is_bundle = (2..5).contains(&letters.len()) && letters.iter().all(u8::is_ascii_alphabetic);
    let is_last = |letter: &str| is_bundle && word.ends_with(letter.as_bytes());
    letter.is_some_and(is_last).then_some(None)
}

/// Returns the values of these options.
pub(super) fn values_of<'w>(options: &[&str], args: &'w [Vec<u8>]) -> Vec<&'w [u8]> {
    let mut words = args.iter();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let value = options.iter().find_map(|option| option_value(option, word));
        found.extend(value.and_then(|value| value.or_else(|| words.next().map(Vec::as_slice))));
    }
    found
}

/// Returns the first value of one of these options.
pub(super) fn value_of<'w>(options: &[&str], args: &'w [Vec<u8>]) -> Option<&'w [u8]> {
    values_of(options, args).into_iter().next()
}

/// Returns the words without these options and their values. A value that this machine may evaluate first, as a template
/// of ansible, is left.
pub(super) fn without(options: &[&str], args: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words = args.iter().peekable();
    let mut left = Vec::new();
    let is_template = |text: &[u8]| text.windows(2).any(|part| part == b"{{");
    while let Some(word) = words.next() {
        let value = options.iter().find_map(|option| option_value(option, word));
        match value {
            Some(None) if words.peek().is_some_and(|value| !is_template(value)) => {
                words.next();
            }
            Some(Some(value)) if !is_template(value) => {}
            _ => left.push(word.clone()),
        }
    }
    left
}

/// Returns true if words name this machine, as `app@localhost` and `--connection=local`.
pub(super) fn names_this_machine(words: &[Vec<u8>]) -> bool {
    words.iter().any(|word| {
        let mut parts = word.split(|byte| b",@:=[]".contains(byte));
        let is_own = |part: &[u8]| {
            let part = part.strip_prefix(b"//").unwrap_or(part);
            part.starts_with(b"localhost") || part.starts_with(b"127.") || part == b"local"
        };
        parts.any(is_own) || word.windows(3).any(|part| part == b"::1")
    })
}

/// Splits `NAME=TEXT` or `NAME TEXT`, as ssh_config(5) has settings.
pub(super) fn split_setting(setting: &[u8]) -> (&[u8], &[u8]) {
    let is_end = |byte: &u8| *byte == b'=' || byte.is_ascii_whitespace();
    let end = setting.iter().position(is_end).unwrap_or(setting.len());
    let (name, text) = setting.split_at(end);
    let text = text.trim_ascii_start();
    (name, text.strip_prefix(b"=").unwrap_or(text))
}

/// Returns the words that name files of this machine: those behind `exec` are the container's. A network of ip(8) has the files
/// of the machine.
pub(super) fn of_this_machine<'w>(known: &Program, args: &'w [Vec<u8>]) -> &'w [Vec<u8>] {
    let is_of_container = ["docker", "kubectl", "lxc", "ctr"];
    let is_of_container = is_of_container
        .iter()
        .any(|name| known.names.contains(name));
    let exec = args.iter().position(|word| word == b"exec");
    let end = exec.filter(|_| is_of_container).unwrap_or(args.len());
    args.split_at(end).0
}

/// Returns the account of `systemd-run -p User=NAME`.
pub(super) fn property_user<'w>(program: &[u8], words: &'w [Vec<u8>]) -> Option<&'w [u8]> {
    let is_run = matches!(base_name(program), b"systemd-run" | b"run0");
    let properties = values_of(&["-p", "--property"], words).into_iter();
    let mut users = properties.filter_map(|value| value.strip_prefix(b"User="));
    users.next_back().filter(|_| is_run)
}

/// Returns true for several letters behind one sign, of which one is so.
pub(super) fn is_bundle_with(word: &[u8], is_one: impl FnMut(&u8) -> bool) -> bool {
    let letters = word.split_first().map(|(_, letters)| letters);
    let letters = letters.filter(|_| matches!(word.first(), Some(b'-' | b'+')));
    letters.is_some_and(|letters| {
        letters.iter().all(u8::is_ascii_alphabetic) && letters.iter().any(is_one)
    })
}

/// Returns true for options of a shell before a value.
pub(super) fn has_value(word: &[u8]) -> bool {
    let is_long = matches!(word, b"--rcfile" | b"--init-file");
    is_long || is_bundle_with(word, |letter| matches!(letter, b'o' | b'O'))
}
