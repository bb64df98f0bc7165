//! A path as one word of a command line that shells of any kind pass on as it is. Pure.

/// Returns a path as one word that no shell changes: bytes other than letters, digits and `/._+@,:=-` are `%XX`.
#[must_use]
pub fn path_word(path: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._+@,:=-".contains(byte);
    let word = path.iter().map(|byte| match is_plain(byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    word.collect()
}

/// Reads what [`path_word`] writes, and nothing else.
#[must_use]
pub fn path_of(word: &str) -> Option<Vec<u8>> {
    let mut rest = word.as_bytes();
    let mut path = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            path.push(*first);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok()?;
        path.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    (path_word(&path) == word).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_any_shell() {
        let path = b"/srv/a b/$(x)'\"\n\xff%~.tar";
        let word = path_word(path);
        assert_eq!(word, "/srv/a%20b/%24%28x%29%27%22%0A%FF%25%7E.tar");
        assert_eq!(path_of(&word).as_deref(), Some(&path[..]));
        for wrong in ["/a b", "/%2", "/%2f", "/%+1", "/%41", "~/x", "/x;y"] {
            assert_eq!(path_of(wrong), None, "{wrong}");
        }
    }
}
