//! Matches names with `*` and `?`, as ssh_config(5) does. Pure.

/// A pattern without a wildcard is a name.
pub fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

/// Time is at most the product of both lengths.
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
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        let many = "*a".repeat(200);
        assert!(!matches(&many, &"a".repeat(199)) && matches(&many, &"a".repeat(200)));
    }
}
