//! Parses a key's options. Pure. Names ignore case; `restrict,pty` gives a terminal, `pty,restrict` does not (sshd(8)).

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<KeyOption>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyOption {
    name: String,
    value: Option<Vec<u8>>,
}

/// Rights that a single option grants or denies, as sshd names them.
pub const RIGHTS: [&str; 5] = [
    "agent-forwarding",
    "port-forwarding",
    "x11-forwarding",
    "pty",
    "user-rc",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    Quote,
    Name,
    Comma,
    TwoCommands,
}

impl std::fmt::Display for OptionsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quote => "a quote in its options has no end",
            Self::Name => "an option of it has no name",
            Self::Comma => "its options are not divided by commas",
            Self::TwoCommands => "it has more than one command",
        })
    }
}

impl Options {
    pub fn parse(mut text: &[u8]) -> Result<Self, OptionsError> {
        let mut all = Vec::new();
        while !text.is_empty() {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
            let length = text.iter().take_while(|byte| is_name(byte)).count();
            let (name, rest) = text.split_at(length);
            if name.is_empty() {
                return Err(OptionsError::Name);
            }
            let (value, rest) = match rest.strip_prefix(b"=") {
                Some(quoted) => {
                    let (value, rest) = dequote(quoted)?;
                    (Some(value), rest)
                }
                None => (None, rest),
            };
            all.push(KeyOption {
                name: String::from_utf8_lossy(name).to_ascii_lowercase(),
                value,
            });
            text = match rest {
                [] => rest,
                [b',', more @ ..] if !more.is_empty() => more,
                [b',', ..] => return Err(OptionsError::Name),
                _ => return Err(OptionsError::Comma),
            };
        }
        let options = Self(all);
        match options.values("command").count() {
            0 | 1 => Ok(options),
            _ => Err(OptionsError::TwoCommands),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|one| one.name.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.names().any(|one| one == name)
    }

    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of_name = self.0.iter().filter(move |one| one.name == name);
        of_name.filter_map(|one| one.value.as_deref())
    }

    pub fn command(&self) -> Option<&[u8]> {
        self.values("command").next()
    }

    pub fn rights(&self) -> Vec<&'static str> {
        RIGHTS
            .into_iter()
            .filter(|right| {
                let decides = |name: &str| match name {
                    "restrict" => Some(false),
                    name if name == *right => Some(true),
                    name => (name.strip_prefix("no-") == Some(*right)).then_some(false),
                };
                // The last option decides; without one sshd allows.
                self.names().filter_map(decides).last().unwrap_or(true)
            })
            .collect()
    }
}

/// Returns the text in the leading quotes, and the rest. `\"` is a quote; any other backslash is literal.
fn dequote(text: &[u8]) -> Result<(Vec<u8>, &[u8]), OptionsError> {
    let mut rest = text.strip_prefix(b"\"").ok_or(OptionsError::Quote)?;
    let mut value = Vec::new();
    loop {
        rest = match rest {
            [] => return Err(OptionsError::Quote),
            [b'\\', b'"', more @ ..] => {
                value.push(b'"');
                more
            }
            [b'"', more @ ..] => return Ok((value, more)),
            [byte, more @ ..] => {
                value.push(*byte);
                more
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lose_their_quotes() {
        let text = br#"RESTRICT,command="/usr/bin/env \"a,b\" \n",from="*.example.org""#;
        let options = Options::parse(text).unwrap();
        assert_eq!(
            options.names().collect::<Vec<_>>(),
            ["restrict", "command", "from"]
        );
        assert_eq!(options.command(), Some(&br#"/usr/bin/env "a,b" \n"#[..]));
        assert!(options.has("restrict") && !options.has("pty"));
    }

    #[test]
    fn what_sshd_refuses_is_refused() {
        use OptionsError::*;
        let cases: [(&[u8], OptionsError); 8] = [
            (b"command=\"x", Quote),
            (b"command=x", Quote),
            (b"restrict,", Name),
            (b",restrict", Name),
            (b"restrict,,pty", Name),
            (b"command=\"x\"pty", Comma),
            (b"restrict;pty", Comma),
            (b"command=\"a\",command=\"b\"", TwoCommands),
        ];
        for (text, error) in cases {
            assert_eq!(Options::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_last_word_about_a_right_counts() {
        let all = RIGHTS.to_vec();
        let cases: [(&[u8], Vec<&str>); 8] = [
            (b"", all.clone()),
            (b"from=\"x\"", all),
            (b"restrict", vec![]),
            (b"restrict,pty", vec!["pty"]),
            (b"pty,restrict", vec![]),
            (b"restrict,PTY,no-pty", vec![]),
            (
                b"restrict,user-rc,port-forwarding",
                vec!["port-forwarding", "user-rc"],
            ),
            (
                b"no-agent-forwarding,no-x11-forwarding,no-port-forwarding",
                vec!["pty", "user-rc"],
            ),
        ];
        for (text, rights) in cases {
            assert_eq!(Options::parse(text).unwrap().rights(), rights, "{text:?}");
        }
    }
}
