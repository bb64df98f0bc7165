//! Options among the words of a program, and their values.

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
