//! Finds the programs and files in the text of a request that have notes.
//!
//! **Invariant:** the thread that serves all users runs this, so bytes and words are bounded over the whole request.

use std::borrow::Cow;
use std::collections::BTreeSet;

use remit_programs::Found;

use super::table;
use crate::hints::MayUse;
use crate::hints::may_use::{wanted, wants_change, works_in_copy};

const MOST: usize = 3;
const LOOKED_AT: usize = 64 << 10;
const WORDS: usize = 1024;

const ARGS: usize = 12;

#[derive(Default)]
pub(super) struct Notes {
    pub(super) found: Vec<String>,
    /// Commands that a note can name.
    pub(super) wanted: BTreeSet<String>,
    may_use: MayUse,
    /// One of the words is a path in a private directory.
    pub(super) names_private: bool,
    /// Bytes and words that were looked at.
    bytes: usize,
    words: usize,
}

impl Notes {
    fn new(may_use: &MayUse) -> Self {
        Self {
            may_use: may_use.clone(),
            ..Self::default()
        }
    }

    pub(super) fn of_argv(argv: &[&[u8]], may_use: &MayUse) -> Self {
        let mut notes = Self::new(may_use);
        let Some((program, args)) = argv.split_first() else {
            return notes;
        };
        let program = notes.text(program);
        let name = program.rsplit('/').next().unwrap_or_default();
        let args = args.iter().take(WORDS);
        if remit_programs::is_shell(name) {
            for script in args.skip_while(|arg| arg.starts_with(b"-")) {
                let script = notes.text(script);
                notes.add_of_script(&script);
            }
            return notes;
        }
        let args: Vec<_> = args.map(|arg| notes.text(arg)).collect();
        notes.add_of_program(name, &args);
        for arg in args {
            notes.add_of_file(&arg);
        }
        notes
    }

    pub(super) fn of_script(script: &[u8], may_use: &MayUse) -> Self {
        let mut notes = Self::new(may_use);
        let script = notes.text(script);
        notes.add_of_script(&script);
        notes
    }

    /// Returns the part of it that is still looked at.
    fn text<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        let left = LOOKED_AT.saturating_sub(self.bytes);
        let bytes = bytes.get(..left).unwrap_or(bytes);
        self.bytes += bytes.len();
        String::from_utf8_lossy(bytes)
    }

    fn add(&mut self, note: Option<String>) {
        if let Some(note) = note.filter(|note| !self.is_full() && !self.found.contains(note)) {
            self.found.push(note);
        }
    }

    fn add_of_program<A: AsRef<str>>(&mut self, name: &str, args: &[A]) {
        let Some(found) = remit_programs::found(name, args) else {
            return;
        };
        self.wanted.extend(wanted(&found, name));
        self.add(note(&found, name, &self.may_use));
    }

    fn add_of_file(&mut self, word: &str) {
        self.names_private |= table::is_private(word);
        self.add(table::of_file(word).map(str::to_owned));
    }

    fn is_full(&self) -> bool {
        self.found.len() == MOST
    }

    /// Treats each word as a possible program with arguments. Any language works; too many notes are better than none.
    fn add_of_script(&mut self, text: &str) {
        for command in text.split(['|', ';', '&', '(', ')', '{', '}', '`', '\n']) {
            if self.is_full() || self.words == WORDS {
                return;
            }
            let is_edge = |c: char| c.is_ascii_whitespace() || "\"',[]<>=$".contains(c);
            let words: Vec<&str> = command
                .split_inclusive(is_edge)
                .filter(|part| !is_descriptor(part))
                .map(|part| part.trim_end_matches(is_edge))
                .filter(|word| !word.is_empty())
                .take(WORDS - self.words)
                .collect();
            self.words += words.len();
            self.add_of_words(&words, silences_errors(command));
        }
    }

    fn add_of_words(&mut self, words: &[&str], is_silent: bool) {
        let mut reads = false;
        let mut names = false;
        let mut rest = words;
        while let Some((word, args)) = rest.split_first() {
            if self.is_full() {
                return;
            }
            self.add_of_file(word);
            if let Some(name) = program_in(word).filter(|_| !names) {
                self.add_of_program(name, args.get(..ARGS).unwrap_or(args));
                let is_reader = table::READERS.contains(&name);
                reads |= is_reader;
                // find starts programs.
                names = table::NAMERS.contains(&name) || (is_reader && name != "find");
            }
            rest = args;
        }
        if reads && is_silent {
            self.add(Some(table::UNSEEN.to_owned()));
        }
    }
}

pub(super) fn of_program<A: AsRef<str>>(
    name: &str,
    args: &[A],
    may_use: &MayUse,
) -> Option<String> {
    note(&remit_programs::found(name, args)?, name, may_use)
}

fn note(found: &Found, name: &str, may_use: &MayUse) -> Option<String> {
    let note = table::of_topic(found.topic)?.to_owned();
    let note = match may_use.next_step(found, name) {
        None => note,
        Some(next) => format!("{note}: {next}"),
    };
    Some(match wants_change(found) {
        true => note + &may_use.or_change(works_in_copy(found)),
        false => note,
    })
}

/// Returns the program that a word of a script can be: a path such as `/etc/ssh` is none.
fn program_in(word: &str) -> Option<&str> {
    match word.rsplit_once('/') {
        None => Some(word),
        Some((dir, name)) => dir.ends_with("bin").then_some(name),
    }
}

/// Returns true for the number before a redirection, as in `2>/dev/null`.
fn is_descriptor(part: &str) -> bool {
    let number = part.strip_suffix(['<', '>']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn silences_errors(command: &str) -> bool {
    command.contains("2>/dev/null") || command.contains("2> /dev/null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_argv(argv: &[&[u8]]) -> Vec<String> {
        Notes::of_argv(argv, &MayUse::default()).found
    }

    fn of_script(script: &[u8]) -> Vec<String> {
        Notes::of_script(script, &MayUse::default()).found
    }

    fn argv(words: &[&str]) -> Vec<String> {
        of_argv(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    fn note(typed: &str) -> String {
        let mut words = typed.split(' ');
        let name = words.next().unwrap();
        of_program(name, &words.collect::<Vec<_>>(), &MayUse::default()).unwrap()
    }

    #[test]
    fn script_gets_at_most_three_distinct_notes() {
        let expect = ["df", "findmnt"].map(note);
        assert_eq!(of_script(b"df -h; df /\nfindmnt; findmnt -D"), expect);
        let many = b"a|/bin/dmesg;$(curl x)\nlsof `crontab`";
        let expect = ["dmesg", "curl x", "lsof"].map(note);
        assert_eq!(of_script(many), expect);
        assert_eq!(argv(&["sh", "-c", "dmesg | tail"]), [note("dmesg")]);
        assert_eq!(
            argv(&["sh", "-c", "dmesg; df; lsof", "curl"]).len(),
            MOST,
            "over all arguments of the shell"
        );
        assert!(of_script(b"remount dfx my-curl /etc/ssh ~/.ssh; ls /tmp/ssh mount").is_empty());
    }

    #[test]
    fn a_script_is_looked_at_command_by_command() {
        for (script, expect) in [
            ("ss -tn; ps -p 1", None),
            ("timeout 2 ss -tp", Some("ss -p")),
            ("subprocess.run([\"df\", \"-h\"])", Some("df")),
            ("require('os').userInfo().username", None),
            ("journalctl -u ssh -n 5", None),
            ("last reboot", None),
            ("systemctl list-timers | cat", None),
            ("getent hosts x.org", Some("getent hosts x.org")),
            ("sleep 1; ps aux | grep docker && curl x", Some("curl")),
            ("shutdown -r now", Some("shutdown -r now")),
        ] {
            let expect: Vec<_> = expect.map(note).into_iter().collect();
            assert_eq!(of_script(script.as_bytes()), expect, "{script}");
        }
        let plain = note("dpkg --verify");
        assert_eq!(of_script(b"dpkg --verify 2>/dev/null | wc -l"), [plain]);
        assert_eq!(of_script(b"dpkg -V nginx 2>&1"), [note("dpkg -V nginx")]);
        for script in ["wc -l </proc/mounts", "grep ssh /proc/mounts"] {
            assert_eq!(of_script(script.as_bytes()), [table::MOUNTS], "{script}");
        }
    }

    #[test]
    fn script_that_silences_read_errors_gets_note() {
        for (script, has_note) in [
            ("find / -name x 2>/dev/null | wc -l", true),
            ("n=$(ls /proc/*/fd 2> /dev/null)", true),
            ("find / -name x | wc -l", false),
            ("command -v x 2>/dev/null; ls", false),
        ] {
            let expect: &[&str] = if has_note { &[table::UNSEEN] } else { &[] };
            assert_eq!(of_script(script.as_bytes()), expect, "{script}");
        }
    }

    #[test]
    fn only_start_of_script_is_scanned() {
        let mut text = vec![b' '; LOOKED_AT];
        text.extend(b"df");
        assert!(of_script(&text).is_empty());
        assert_eq!(of_script(&text[2..]), [note("df")]);
    }

    /// Each of the first words has rows in the table.
    #[test]
    fn words_of_a_request_are_bounded_over_all_arguments() {
        let part = b"ss ".repeat(65_535 / 3);
        let mut argv = vec![b"sh".as_slice()];
        argv.extend([part.as_slice(); 15]);
        let notes = Notes::of_argv(&argv, &MayUse::default());
        assert!(notes.words <= WORDS && notes.bytes <= LOOKED_AT);
        assert!(notes.found.is_empty(), "{:?}", notes.found);
        // One word each, and nothing of them.
        for script in [b"ss".as_slice(), b"", b";", b"\xff"] {
            let argv = [&[b"sh".as_slice()][..], &[script; 16_000]].concat();
            let notes = Notes::of_argv(&argv, &MayUse::default());
            assert!(notes.words <= WORDS && notes.bytes <= LOOKED_AT);
        }
        let long = [b"x ".repeat(WORDS - 1), b"df; df".to_vec()].concat();
        assert_eq!(of_script(&long), [note("df")]);
        let late = [b"x ".repeat(WORDS), b"df".to_vec()].concat();
        assert!(of_script(&late).is_empty());
        let shared = [b"sh".as_slice(), &[b' '; LOOKED_AT - 3], b"df", b"dmesg"];
        assert!(of_argv(&shared).is_empty(), "'d' is left of the last");
    }

    #[test]
    fn scan_ends_with_the_last_note() {
        let script = [b"dmesg; df; lsof\n".to_vec(), b"ss ".repeat(1000)].concat();
        let notes = Notes::of_script(&script, &MayUse::default());
        assert_eq!((notes.found.len(), notes.words), (MOST, MOST));
    }
}
