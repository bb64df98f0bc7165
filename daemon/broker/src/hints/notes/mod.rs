//! Notes about programs whose output can mislead inside the `read` sandbox. A note is one short line; a result gets
//! at most three. Programs are found by name. A note only helps the reader: no decision depends on it.

mod table;

use remit_link::JobMeta;
use remit_wire::{Run, What};

use crate::hints::{Command, Commands};

const MOST: usize = 3;
const LOOKED_AT: usize = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub notes: Vec<&'static str>,
    pub commands: Commands,
}

pub fn of_run(run: &Run) -> About {
    let is_read = matches!(run.profile.as_deref(), None | Some("read"));
    match &run.what {
        What::Argv(argv) => {
            let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_slice()).collect();
            about(&argv, is_read)
        }
        What::Script { text, .. } => About {
            notes: if is_read { of_script(text) } else { Vec::new() },
            commands: Commands::of_script(text),
        },
        // A built-in command reports its own limits. The program of a policy command is not known here.
        What::Named { .. } => About::default(),
    }
}

pub fn of_line(meta: &JobMeta) -> About {
    let Some(enforced) = &meta.enforced else {
        return About::default();
    };
    let argv: Vec<&[u8]> = meta.command.split(' ').map(str::as_bytes).collect();
    about(&argv, enforced.profile == "read")
}

fn about(argv: &[&[u8]], is_read: bool) -> About {
    About {
        notes: if is_read { of_argv(argv) } else { Vec::new() },
        commands: Commands::of_argv(argv),
    }
}

pub fn of_command(command: &Command) -> Option<&'static str> {
    let args: Vec<&[u8]> = command.args.iter().map(String::as_bytes).collect();
    table::of_program(&command.name, &args)
}

/// Returns a note if standard error reports a read-only file system. Only for profile read: in others this can be a
/// real fault of the host.
pub fn of_errors(profile: &str, stderr: &[u8]) -> Option<&'static str> {
    const EROFS: &[u8] = b"Read-only file system";
    let is_there = || stderr.windows(EROFS.len()).any(|part| part == EROFS);
    (profile == "read" && is_there()).then_some(
        "every file system is read-only in this sandbox, by design; /proc/1/mounts says whether the host's are",
    )
}

#[derive(Default)]
struct Notes(Vec<&'static str>);

impl Notes {
    fn add(&mut self, note: Option<&'static str>) {
        if let Some(note) = note.filter(|note| self.0.len() < MOST && !self.0.contains(note)) {
            self.0.push(note);
        }
    }
}

fn of_argv(argv: &[&[u8]]) -> Vec<&'static str> {
    let Some((program, args)) = argv.split_first() else {
        return Vec::new();
    };
    let mut notes = Notes::default();
    match name_of(program) {
        Some(name) if remit_programs::is_shell(name) => {
            let scripts = args.iter().skip_while(|arg| arg.starts_with(b"-"));
            for script in scripts {
                add_of_script(script, &mut notes);
            }
        }
        Some(name) => {
            notes.add(table::of_program(name, args));
            for arg in args {
                notes.add(table::of_file(arg));
            }
        }
        None => {}
    }
    notes.0
}

fn of_script(text: &[u8]) -> Vec<&'static str> {
    let mut notes = Notes::default();
    add_of_script(text, &mut notes);
    notes.0
}

/// Treats each word as a possible program with the following words as arguments. Nothing is parsed, so any language
/// works; too many notes are better than none.
fn add_of_script(text: &[u8], notes: &mut Notes) {
    let text = text.get(..LOOKED_AT).unwrap_or(text);
    for command in text.split(|byte| b"|;&(){}`\n".contains(byte)) {
        let words: Vec<&[u8]> = command
            .split(|byte| byte.is_ascii_whitespace() || b"\"',[]<>=$".contains(byte))
            .filter(|word| !word.is_empty())
            .collect();
        let mut reads = false;
        let mut names = false;
        let mut rest = words.as_slice();
        while let Some((word, args)) = rest.split_first() {
            notes.add(table::of_file(word));
            if let Some(name) = name_of(word).filter(|_| !names) {
                notes.add(table::of_program(name, args));
                reads |= table::READERS.contains(&name);
                names = table::NAMERS.contains(&name);
            }
            rest = args;
        }
        if reads && silences_errors(command) {
            notes.add(Some(table::UNSEEN));
        }
    }
}

fn name_of(program: &[u8]) -> Option<&str> {
    let name = program.rsplit(|byte| *byte == b'/').next()?;
    std::str::from_utf8(name).ok()
}

fn silences_errors(command: &[u8]) -> bool {
    let has = |text: &[u8]| command.windows(text.len()).any(|at| at == text);
    has(b"2>/dev/null") || has(b"2> /dev/null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<&'static str> {
        of_argv(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    fn note(program: &str) -> &'static str {
        table::of_program(program, &[b"-p"]).unwrap()
    }

    #[test]
    fn a_program_gets_its_sentence_and_others_none() {
        assert_eq!(argv(&["df", "-h"]), [note("df")]);
        assert_eq!(argv(&["/usr/bin/busctl", "status"]), [note("busctl")]);
        assert_eq!(argv(&["ss", "-ltnp"]), [note("ss")]);
        assert_eq!(argv(&["wc", "-l", "/proc/mounts"]), [note("mount")]);
        for plain in [
            &["ss", "-ltn"][..],
            &["ls", "mount"],
            &["mountpoint"],
            &["./df-x"],
            &["cat", "/proc/1/mounts"],
            &["grep", "2>/dev/null"],
            &[],
        ] {
            assert!(argv(plain).is_empty(), "{plain:?}");
        }
    }

    #[test]
    fn script_gets_at_most_three_distinct_notes() {
        assert_eq!(of_script(b"df -h; df -i\nfindmnt"), [note("df")]);
        let many = b"a|/bin/dmesg;$(curl x)\nlsof `crontab`";
        let expect = ["dmesg", "curl", "lsof"].map(note);
        assert_eq!(of_script(many), expect);
        assert_eq!(argv(&["sh", "-c", "dmesg | tail"]), [note("dmesg")]);
        assert_eq!(
            argv(&["sh", "-c", "dmesg; df; lsof", "curl"]).len(),
            MOST,
            "over all arguments of the shell"
        );
        assert!(of_script(b"remount dfx my-curl /etc/ssh/sshd_config ~/.ssh").is_empty());
    }

    #[test]
    fn a_read_only_disk_is_the_sandboxs() {
        let line = b"touch: cannot touch '/x': Read-only file system\n";
        assert!(of_errors("read", line).is_some());
        assert!(of_errors("host", line).is_none());
        assert!(of_errors("read", b"touch: cannot touch '/x': Permission denied\n").is_none());
        assert!(of_errors("read", b"").is_none());
    }

    #[test]
    fn a_script_is_looked_at_command_by_command() {
        for (script, expect) in [
            ("ss -tn; ps -p 1", None),
            ("timeout 2 ss -tp", Some("ss")),
            ("subprocess.run([\"df\", \"-h\"])", Some("df")),
            ("require('os').userInfo().username", Some("whoami")),
            ("wc -l </proc/mounts", Some("mount")),
            ("grep ssh /proc/mounts", Some("mount")),
            ("journalctl -u ssh -n 5", None),
            ("last reboot", None),
            ("sleep 1; ps aux | grep docker && curl x", Some("curl")),
            ("shutdown -r now", Some("shutdown")),
        ] {
            let expect: Vec<_> = expect.map(note).into_iter().collect();
            assert_eq!(of_script(script.as_bytes()), expect, "{script}");
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
}
