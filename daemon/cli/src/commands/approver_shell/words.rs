//! Splits a command line into words as sh(1) does, without a shell. Knows blanks, quotes and backslashes. What else a
//! shell would act on, outside quotes, is refused: whoever typed it means something that does not happen here.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// A character that would begin another command, a file or a variable.
    Special(char),
    NewLine,
    OpenQuote(char),
    LastBackslash,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(c) => write!(f, "no shell reads this line: put '{c}' into single quotes"),
            Self::NewLine => f.write_str("it has more than one line"),
            Self::OpenQuote(quote) => write!(f, "the quote {quote} has no end"),
            Self::LastBackslash => f.write_str("nothing comes after its last backslash"),
        }
    }
}

impl std::error::Error for LineError {}

const SPECIAL: &[u8] = b";|&<>()$`";

pub fn split(line: &[u8]) -> Result<Vec<OsString>, LineError> {
    let mut words = Vec::new();
    // `Some` inside a word, which may be empty: ''.
    let mut word: Option<Vec<u8>> = None;
    let mut rest = line.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\n' => return Err(LineError::NewLine),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some(b'\'') => break,
                        Some(byte) => word.push(byte),
                        None => return Err(LineError::OpenQuote('\'')),
                    }
                }
            }
            b'"' => quoted(&mut rest, word.get_or_insert_default())?,
            b'\\' => match rest.next() {
                // sh(1) would join the lines.
                Some(b'\n') => return Err(LineError::NewLine),
                Some(byte) => word.get_or_insert_default().push(byte),
                None => return Err(LineError::LastBackslash),
            },
            byte if SPECIAL.contains(&byte) => return Err(LineError::Special(byte.into())),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// Reads to the end of double quotes (POSIX, Shell Command Language, 2.2.3).
fn quoted(rest: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Result<(), LineError> {
    loop {
        match rest.next() {
            Some(b'"') => return Ok(()),
            Some(byte @ (b'$' | b'`')) => return Err(LineError::Special(byte.into())),
            Some(b'\\') => match rest.next() {
                Some(b'\n') => return Err(LineError::NewLine),
                Some(byte @ (b'"' | b'\\' | b'$' | b'`')) => word.push(byte),
                Some(byte) => word.extend([b'\\', byte]),
                None => return Err(LineError::OpenQuote('"')),
            },
            Some(byte) => word.push(byte),
            None => return Err(LineError::OpenQuote('"')),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn words_are_split_at_blanks_outside_quotes() {
        for (line, expect) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("pending --json", &["pending", "--json"]),
            ("  deny\t7f3a  ", &["deny", "7f3a"]),
            (
                r"deny 7f3a '--message=it'\''s $(reboot)'",
                &["deny", "7f3a", "--message=it's $(reboot)"],
            ),
            (r#"a "b  c" d\ e '' """#, &["a", "b  c", "d e", "", ""]),
            (r#""\$ \` \" \\ \n""#, &[r#"$ ` " \ \n"#]),
            ("'a\nb'", &["a\nb"]),
            (
                "why? [x] * ~ # {a,b} !",
                &["why?", "[x]", "*", "~", "#", "{a,b}", "!"],
            ),
        ] {
            assert_eq!(split(line.as_bytes()).unwrap(), expect, "{line}");
        }
        assert_eq!(split(b"\xff\x01").unwrap()[0].as_bytes(), b"\xff\x01");
    }

    #[test]
    fn what_a_shell_would_act_on_is_refused() {
        use LineError::*;
        for (line, error) in [
            ("pending; id", Special(';')),
            ("pending|sh", Special('|')),
            ("pending & id", Special('&')),
            ("pending >x", Special('>')),
            ("pending <x", Special('<')),
            ("show $(id)", Special('$')),
            ("show `id`", Special('`')),
            ("(pending)", Special('(')),
            ("show \"$HOME\"", Special('$')),
            ("show \"`id`\"", Special('`')),
            ("pending\nid", NewLine),
            ("pending \\\nid", NewLine),
            ("show \"a\\\nb\"", NewLine),
            ("deny x -m 'a", OpenQuote('\'')),
            ("deny x -m \"a", OpenQuote('"')),
            ("deny x -m \"a\\", OpenQuote('"')),
            ("pending \\", LastBackslash),
        ] {
            assert_eq!(split(line.as_bytes()), Err(error), "{line}");
        }
    }

    /// Every line of up to six of these characters, of a pseudorandom choice: what is split here, sh(1) splits alike.
    #[test]
    fn sh_splits_alike() {
        const ALPHABET: &[u8] = b"ab '\"\\$;\t";
        let (mut seed, mut lines) = (7_u64, Vec::new());
        while lines.len() < 3000 {
            let mut line = vec![b'x', b' '];
            for _ in 0..6 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                line.push(ALPHABET[usize::try_from(seed >> 33).unwrap() % ALPHABET.len()]);
            }
            if let Ok(words) = split(&line) {
                lines.push((line, words));
            }
        }
        let mut script = b"x() { printf '%s,' \"$#\" \"$@\"; echo; }\n".to_vec();
        let mut expect = Vec::new();
        for (line, words) in &lines {
            script.extend_from_slice(line);
            script.push(b'\n');
            expect.extend(format!("{},", words.len() - 1).bytes());
            for word in &words[1..] {
                expect.extend_from_slice(word.as_bytes());
                expect.push(b',');
            }
            expect.push(b'\n');
        }
        let dir = std::env::temp_dir().join(format!("remit-words-{}", std::process::id()));
        std::fs::write(&dir, script).unwrap();
        let ran = Command::new("sh").arg(&dir).output().unwrap();
        std::fs::remove_file(&dir).unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && said.is_empty(), "{said}");
        assert_eq!(ran.stdout, expect);
    }
}
