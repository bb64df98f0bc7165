//! Parses `[Install]` sections as the service manager does (systemd.syntax(7)). A text that it could read in another way
//! is refused: with a name that is missed here, a protected unit gets or loses links.

use remit_common::text;

use super::manager::WORD;

/// Keys whose values name units or instances.
const KEYS: [&str; 6] = [
    "Also",
    "Alias",
    "RequiredBy",
    "WantedBy",
    "UpheldBy",
    "DefaultInstance",
];
/// White space of the service manager. Any other is a part of a key or a word.
const SPACE: [char; 2] = [' ', '\t'];
const BOM: char = '\u{feff}';

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Install {
    pub also: Vec<String>,
    pub alias: Vec<String>,
    /// Units that require this unit after an enable.
    pub required_by: Vec<String>,
    /// Units that start this unit after an enable.
    pub wanted_by: Vec<String>,
    /// Units that start this unit again whenever it ends, after an enable.
    pub upheld_by: Vec<String>,
}

impl Install {
    /// Adds the `[Install]` sections of a file, but an empty value resets no list: no name is missed.
    pub fn add(&mut self, text: &str, unit: &str) -> Result<(), String> {
        check(text)?;
        let mut is_install = false;
        for line in whole_lines(text) {
            let line = line.trim_matches(SPACE);
            if line.starts_with('[') {
                is_install = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| is_install) else {
                continue;
            };
            let key = key.trim_end_matches(SPACE);
            if !KEYS.contains(&key) {
                continue;
            }
            let words = value.split(SPACE).filter(|word| !word.is_empty());
            for word in words {
                check_word(key, word)?;
                match key {
                    "Also" => self.also.push(no_template(resolved(word, unit)?)?),
                    "Alias" => self.alias.push(resolved(word, unit)?),
                    "RequiredBy" => self.required_by.push(resolved(word, unit)?),
                    // Shown and not judged, so one with a specifier of the machine is shown as it is.
                    "WantedBy" => self.wanted_by.push(resolved_or_raw(word, unit)),
                    "UpheldBy" => self.upheld_by.push(resolved_or_raw(word, unit)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Refuses what the service manager and other programs read in different ways.
fn check(text: &str) -> Result<(), String> {
    let of_line = |line: &str| {
        let first = line.chars().next();
        first.is_some_and(|first| first.is_whitespace() && !first.is_ascii())
    };
    let why = match () {
        () if text.contains('\r') => "a carriage return",
        () if text.contains('\0') => "a NUL byte",
        () if text.contains(BOM) => "a byte order mark",
        () if text.lines().any(of_line) => "a line that begins with white space which is not ASCII",
        () => return Ok(()),
    };
    Err(format!(
        "it has {why}, which the service manager reads in another way than people do"
    ))
}

/// The service manager drops some of these characters, and takes others for a part of a name.
fn check_word(key: &str, word: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":-_.@%".contains(c);
    match word.chars().all(is_plain) {
        true => Ok(()),
        false => Err(format!(
            "'{key}={}' in [Install] is not a plain name of a unit",
            line(word)
        )),
    }
}

/// Refuses a template: which instances the service manager enables for it is decided by another file.
fn no_template(name: String) -> Result<String, String> {
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    match stem.ends_with('@') {
        false => Ok(name),
        true => Err(format!(
            "'Also={}' in [Install] names a template, whose links are not known here; an administrator does it by systemctl",
            line(&name)
        )),
    }
}

/// Joins lines: an odd number of backslashes at the end continues one. A comment between is skipped.
fn whole_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut whole = String::new();
    let is_comment = |line: &&str| line.trim_start_matches(SPACE).starts_with(['#', ';']);
    for line in text.split('\n').filter(|line| !is_comment(line)) {
        let start = line.trim_end_matches('\\');
        let backslashes = line.len() - start.len();
        match line.strip_suffix('\\').filter(|_| backslashes % 2 == 1) {
            Some(start) => {
                whole.push_str(start);
                whole.push(' ');
            }
            None => {
                whole.push_str(line);
                lines.push(std::mem::take(&mut whole));
            }
        }
    }
    lines.push(whole);
    lines
}

fn resolved_or_raw(word: &str, unit: &str) -> String {
    resolved(word, unit).unwrap_or_else(|_| word.to_owned())
}

fn resolved(word: &str, unit: &str) -> Result<String, String> {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut name = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            name.push(c);
            continue;
        }
        match rest.next() {
            Some('%') => name.push('%'),
            Some('i') => name.push_str(instance),
            Some('p') => name.push_str(prefix),
            Some('j') => name.push_str(prefix.rsplit('-').next().unwrap_or_default()),
            Some('n') => name.push_str(unit),
            Some('N') => name.push_str(stem),
            _ => {
                let word = line(word);
                return Err(format!("'{word}' in [Install] cannot be resolved"));
            }
        }
    }
    Ok(name)
}

fn line(name: &str) -> String {
    text::line(name.as_bytes(), WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Install, String> {
        let mut all = Install::default();
        all.add(text, "x.service").map(|()| all)
    }

    #[test]
    fn install_sections_are_read_as_systemd_does() {
        let mut all = Install::default();
        all.add(
            "[Unit]\nAlso=no.service\n[Install]\n# Also=no.service\n; x\nAlso=a.service \\\n# within\n  b.service\n\
         Also=\n Alias = c.service\t%p-%i.service\nWantedBy=e.target %i.target %H.target\nRequiredBy=d.service\nUpheldBy=f.service\n[X-Install]\nAlso=no\n",
            "t@1.service",
        )
        .unwrap();
        assert_eq!(all.also, ["a.service", "b.service"]);
        assert_eq!(all.alias, ["c.service", "t-1.service"]);
        assert_eq!(all.required_by, ["d.service"]);
        assert_eq!(all.wanted_by, ["e.target", "1.target", "%H.target"]);
        assert_eq!(all.upheld_by, ["f.service"]);
        assert_eq!(
            resolved("%n %N %j %%", "a-b.timer").unwrap(),
            "a-b.timer a-b b %"
        );
        for word in ["%H.service", "x%", "%m"] {
            assert!(read(&format!("[Install]\nAlso={word}\n")).is_err());
        }
    }

    /// Each of these was read by systemd 252 in the way that the comment says.
    #[test]
    fn no_text_hides_a_name_that_systemd_reads() {
        // Two backslashes continue no line; three do.
        for (text, also) in [
            (
                "[Unit]\nA=b\\\\\n[Install]\nAlso=ssh.service\n",
                &["ssh.service"][..],
            ),
            (
                "[Install]\nWantedBy=\n# \\\nAlso=ssh.service\n",
                &["ssh.service"],
            ),
            ("[Install]\nX=\\\nAlso=a.service\n", &[]),
            ("[Install]\nX=\\\\\\\nAlso=a.service\n", &[]),
            ("[Install]\nAlso=\\\nssh.service", &["ssh.service"]),
            ("[Install\u{a0}]\nAlso=a.service\n", &[]),
            (
                "[Install]\n[Unit]\u{a0}\n[Install]\nAlso=ssh.service\n",
                &["ssh.service"],
            ),
        ] {
            let read = read(text);
            assert_eq!(
                read.map(|all| all.also),
                Ok(also.iter().map(ToString::to_string).collect()),
                "{text:?}"
            );
        }
        for text in [
            // The carriage return and the NUL end a line.
            "# \r[Install]\rAlso=ssh.service\n",
            "# \0[Install]\0Also=ssh.service\n",
            // It is skipped at the beginning of a file.
            "\u{feff}[Install]\nAlso=ssh.service\n",
            // No white space of the service manager: this is no section, and the one before goes on.
            "[Install]\n\u{a0}[Unit]\nAlso=ssh.service\n",
            // The backslash is dropped, and quotes within a word.
            "[Install]\nAlso=ss\\h.service\n",
            "[Install]\nAlias=db\"us.service\"\n",
            "[Install]\nAlias='dbus.service'\n",
            "[Install]\nRequiredBy=d'bus'.service\n",
            "[Install]\nWantedBy=a\\x2eb.target\n",
            "[Install]\nUpheldBy=\"a.service\"\n",
            "[Install]\nDefaultInstance='a'\n",
            // A link in a directory of another unit.
            "[Install]\nAlias=dbus.service.requires/x.service\n",
            "[Install]\nAlso=ssh.service\u{a0}a.service\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(
            read("[Service]\nExecStart=/bin/sh -c \"a\\tb\"\n"),
            Ok(Install::default())
        );
    }
}
