//! Lines and patterns of OpenSSH's configuration files: ssh_config(5), sshd_config(5). Pure.
#![forbid(unsafe_code)]

/// Splits a line into words: quotes group, `=` may follow the keyword, `#` starts a comment.
pub fn words(line: &str) -> Vec<String> {
    let line = line.trim();
    // As strdelim() of OpenSSH: the keyword ends at white space or one '='.
    let end = line.find(|c: char| c.is_ascii_whitespace() || c == '=');
    let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
    if keyword.is_empty() || keyword.starts_with('#') {
        return Vec::new();
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let mut found = vec![keyword.trim_matches('"').to_owned()];
    let (mut word, mut quoted, mut open) = (String::new(), None, false);
    for c in rest.chars() {
        match (c, quoted) {
            (c, Some(quote)) if c == quote => quoted = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quoted, open) = (Some(c), true),
            ('#', None) if word.is_empty() && !open => break,
            (c, None) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, None) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        found.push(word);
    }
    found
}

/// A pattern without a wildcard is a name.
pub fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

/// Matches a name with `*` and `?`. Time is at most the product of both lengths.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where to continue if the part after the last star does not match.
    let mut again: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                again = Some((at + 1, of));
                at += 1;
            }
            Some(c) if *c == b'?' || name.get(of) == Some(c) => (at, of) = (at + 1, of + 1),
            _ => match again {
                Some((star, from)) => {
                    again = Some((star, from + 1));
                    (at, of) = (star, from + 1);
                }
                None => return false,
            },
        }
    }
    let rest = pattern.get(at..).unwrap_or_default();
    rest.iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_those_of_ssh() {
        for (pattern, name, expect) in [
            ("web*", "web1", true),
            ("web*", "web", true),
            ("web?", "web", false),
            ("web?", "web12", false),
            ("*.example.org", "a.b.example.org", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("w*1*2", "web1-2", true),
            ("w*1*2", "web2-1", false),
            ("Web1", "web1", false),
            ("LANG", "LANGUAGE", false),
            ("LC_*", "LD_PRELOAD", false),
            ("L*", "LD_PRELOAD", true),
            ("?NV", "ENV", true),
            ("*_PRE*", "LD_PRELOAD", true),
            ("**x**", "LD_PRELOAD", false),
            ("a*b*c*d*e*f", "ENV", false),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        let many = "*a".repeat(200);
        assert!(!matches(&many, &"a".repeat(199)) && matches(&many, &"a".repeat(200)));
    }
}
