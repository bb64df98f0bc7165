//! Literal `Host` names of the user's ssh configuration and of the files that it includes (ssh_config(5)). They are only
//! what patterns of `fleet.toml` can match. Judges nothing else: `ssh -G` says what a name means.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use remit_openssh::{expand, words};

use crate::host_name::HostName;

/// As ssh (`READCONF_MAX_DEPTH`).
const DEPTH: usize = 16;
const FILES: usize = 4096;
const BYTES: u64 = 4 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct SshNames {
    pub file: PathBuf,
    /// In the order of the files, each once.
    pub all: Vec<HostName>,
    /// Why there may be more names: the first thing that was not read.
    pub unread: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum ConfigLine {
    Hosts(Vec<String>),
    Include(Vec<String>),
    Other,
}

impl SshNames {
    /// Reads as much as there is: a file that cannot be read has no names.
    pub fn read(home: &Path, file: &Path) -> Self {
        let mut names = Self {
            file: file.to_owned(),
            ..Self::default()
        };
        let mut files = FILES;
        names.add(home, file, 0, &mut files);
        names
    }

    fn add(&mut self, home: &Path, file: &Path, depth: usize, files: &mut usize) {
        // A circle, with which ssh itself fails.
        if depth > DEPTH {
            return;
        }
        if *files == 0 {
            self.note_unread(format!("it includes more than {FILES} files"));
            return;
        }
        *files -= 1;
        let (text, is_whole) = text(file);
        if !is_whole {
            let file = file.display();
            self.note_unread(format!("'{file}' has more than {BYTES} bytes"));
        }
        for line in text.lines() {
            match ConfigLine::parse(line) {
                ConfigLine::Hosts(words) => self.add_names(&words),
                ConfigLine::Include(patterns) => {
                    for pattern in patterns {
                        if is_other_than_a_path(&pattern) {
                            self.note_unread(format!("'Include {pattern}' is not followed here"));
                        }
                        for file in included(home, &pattern) {
                            self.add(home, &file, depth + 1, files);
                        }
                    }
                }
                ConfigLine::Other => {}
            }
        }
    }

    fn note_unread(&mut self, what: String) {
        self.unread.get_or_insert(what);
    }

    fn add_names(&mut self, words: &[String]) {
        // Patterns and exclusions name no host, and what is no plain name is not started.
        for name in words.iter().filter_map(|word| word.parse().ok()) {
            if !self.all.contains(&name) {
                self.all.push(name);
            }
        }
    }
}

/// Returns the text, and true if that is all of it.
fn text(file: &Path) -> (String, bool) {
    let mut bytes = Vec::new();
    // A FIFO would block for ever.
    let is_file = fs::metadata(file).is_ok_and(|metadata| metadata.is_file());
    if is_file && let Ok(file) = File::open(file) {
        // What was read before an error counts.
        let _ = file.take(BYTES + 1).read_to_end(&mut bytes);
    }
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|length| length <= BYTES);
    (String::from_utf8_lossy(&bytes).into_owned(), is_whole)
}

impl ConfigLine {
    fn parse(line: &str) -> Self {
        let mut words = words(line).into_iter();
        match words.next() {
            Some(keyword) if keyword.eq_ignore_ascii_case("host") => Self::Hosts(words.collect()),
            Some(keyword) if keyword.eq_ignore_ascii_case("include") => {
                Self::Include(words.collect())
            }
            _ => Self::Other,
        }
    }
}

/// Returns true for a home directory of another user, a variable or a token.
fn is_other_than_a_path(pattern: &str) -> bool {
    let is_home = pattern.starts_with('~') && !pattern.starts_with("~/");
    is_home || pattern.contains("${") || pattern.contains('%')
}

/// A relative path is in `~/.ssh`.
fn included(home: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = match pattern.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => home.join(".ssh").join(pattern),
    };
    // One more than is read, which then is known to be missing.
    expand(&pattern, FILES + 1, |dir| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_by_ssh() {
        let hosts =
            |names: &[&str]| ConfigLine::Hosts(names.iter().map(|name| (*name).into()).collect());
        for (line, expect) in [
            ("Host web1 web2", hosts(&["web1", "web2"])),
            ("  host=web1 # comment", hosts(&["web1"])),
            ("HOST = \"web1\"\tdb1", hosts(&["web1", "db1"])),
            ("Host web* !web3", hosts(&["web*", "!web3"])),
            (
                "Include conf.d/*",
                ConfigLine::Include(vec!["conf.d/*".into()]),
            ),
            ("HostName 10.0.0.1", ConfigLine::Other),
            ("Match host web1", ConfigLine::Other),
            ("# Host web1", ConfigLine::Other),
            ("", ConfigLine::Other),
        ] {
            assert_eq!(ConfigLine::parse(line), expect, "{line}");
        }
    }

    #[test]
    fn included_files_are_read_once_for_each_name() {
        let home = std::env::temp_dir().join(format!("remit-fleet-names-{}", std::process::id()));
        let dir = home.join(".ssh/conf.d");
        fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, text: &str| fs::write(home.join(".ssh").join(name), text).unwrap();
        write(
            "config",
            "Host web1 *.example.org -x\nInclude conf.d/[0-9]* ~/.ssh/more\nHost web1 db1\n",
        );
        write("conf.d/20-b", "Host b\nInclude config\n");
        write("conf.d/10-a", "Host a b\n");
        write("conf.d/_old", "Host old\n");
        write("more", "Host more\u{1b} more\n");
        let names = SshNames::read(&home, &home.join(".ssh/config"));
        let names: Vec<&str> = names.all.iter().map(HostName::as_str).collect();
        fs::remove_dir_all(&home).unwrap();
        // 'Include config' is a circle: it ends at the depth where no more files are included.
        assert_eq!(names, ["web1", "a", "b", "db1", "more"]);
        let none = SshNames::read(Path::new("/nonexistent"), Path::new("/dev/zero"));
        assert_eq!((none.all, none.unread), (vec![], None));
    }

    #[test]
    fn what_is_not_read_is_known() {
        let home = std::env::temp_dir().join(format!("remit-fleet-unread-{}", std::process::id()));
        let config = home.join(".ssh/config");
        fs::create_dir_all(home.join(".ssh/conf.d")).unwrap();
        let file = |number: usize| home.join(format!(".ssh/conf.d/{number:04}"));
        // The first one is the file that includes the others.
        for number in 1..FILES {
            fs::write(file(number), format!("Host web{number}\n")).unwrap();
        }
        let large = "#".repeat(usize::try_from(BYTES).unwrap());
        let large = format!("{large}\nHost late\n");
        let read = |text: &str| {
            fs::write(&config, text).unwrap();
            let names = SshNames::read(&home, &config);
            (names.all.len(), names.unread)
        };
        let because = |why: &str| Some(why.to_owned());
        let too_large = format!("'{}' has more than {BYTES} bytes", config.display());
        let cases = [
            ("Include conf.d/*\n", FILES - 1, None),
            ("Include conf.d/0001 ~/.ssh/conf.d/0002", 2, None),
            (
                "Include conf.d/0001 ~ann/x\n",
                1,
                because("'Include ~ann/x' is not followed here"),
            ),
            (
                "Include ${DIR}/*\nInclude %d/x\nHost a\n",
                1,
                because("'Include ${DIR}/*' is not followed here"),
            ),
            (&large, 0, Some(too_large)),
        ];
        let found: Vec<_> = cases.iter().map(|(text, ..)| read(text)).collect();
        fs::write(file(0), "Host first\n").unwrap();
        let (count, unread) = read("Include conf.d/*\n");
        fs::remove_dir_all(&home).unwrap();
        for (found, (text, count, unread)) in found.into_iter().zip(cases) {
            let text = text.get(..40).unwrap_or(text);
            assert_eq!(found, (count, unread), "{text}");
        }
        assert_eq!(unread, Some(format!("it includes more than {FILES} files")));
        // Those that are read are the first ones in the order of ssh.
        assert_eq!(count, FILES - 1);
    }
}
