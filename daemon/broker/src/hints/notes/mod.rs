//! Notes of one line, at most three, about programs, found by name, whose output can mislead in the `read` sandbox.

mod table;

use std::borrow::Cow;

use remit_common::outcome::{Enforced, NAMES_REACHED};
use remit_common::wire::Purpose;
use remit_link::JobMeta;
use remit_wire::{Run, What};

use crate::hints::answer::instead;
use crate::hints::{Command, Commands};

const MOST: usize = 3;
const LOOKED_AT: usize = 64 << 10;

const ARGS: usize = 12;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub notes: Vec<String>,
    pub commands: Commands,
    /// A command of the policy that looks: an empty answer is one.
    pub looks: bool,
}

pub const EMPTY: &str = "it printed nothing: what it looks for is not there";

pub fn of_run(run: &Run) -> About {
    // A one-off change runs where its approver saw, which is no sandbox as a rule.
    if matches!(run.purpose, Purpose::Change { .. }) {
        return About::default();
    }
    let is_read = matches!(run.profile.as_deref(), None | Some("read"));
    match &run.what {
        What::Argv(argv) => {
            let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_slice()).collect();
            about(&argv, is_read)
        }
        What::Script { text, .. } => About {
            notes: if is_read { of_script(text) } else { Vec::new() },
            commands: Commands::of_script(text),
            looks: false,
        },
        // A built-in command reports its own limits. The program of a policy command is not known here.
        What::Named { .. } => About {
            looks: run.purpose == Purpose::Use,
            ..About::default()
        },
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
        looks: false,
    }
}

pub fn of_command(command: &Command) -> Option<String> {
    of_program(&command.name, &command.args)
}

fn of_program<A: AsRef<str>>(name: &str, args: &[A]) -> Option<String> {
    let found = remit_programs::found(name, args)?;
    let note = table::of_topic(found.topic)?;
    Some(match &found.alternative {
        None => note.to_owned(),
        Some(alternative) => format!("{note}: {}", instead(alternative)),
    })
}

/// Returns a note about a refusal in stderr that no denial explains, as of a job with status 0. Only in profile read.
pub fn of_errors(profile: &str, stderr: &[u8]) -> Option<&'static str> {
    const NOTES: [(&[u8], &str); 3] = [
        (
            b"pseudo-terminal",
            "no terminal can be made in this sandbox: run the inner command without the program that makes one",
        ),
        (
            b"Read-only file system",
            "every file system is read-only in this sandbox, by design; /proc/1/mounts says whether the host's are",
        ),
        (
            b"Permission denied",
            "standard error names what the job may not read: counts, sums and lists leave it out",
        ),
    ];
    let is_there = |text: &[u8]| stderr.windows(text.len()).any(|part| part == text);
    let note = NOTES.iter().find(|(text, _)| is_there(text));
    note.filter(|_| profile == "read").map(|(_, note)| *note)
}

/// Returns where a job of a copy could send what it saw.
pub fn of_network(enforced: &Enforced) -> Option<String> {
    let mut names = enforced.limits.iter();
    let names = names.find_map(|limit| limit.strip_prefix(NAMES_REACHED))?;
    Some(format!("the copy has a network: {names}"))
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn add(&mut self, note: Option<String>) {
        if let Some(note) = note.filter(|note| self.0.len() < MOST && !self.0.contains(note)) {
            self.0.push(note);
        }
    }
}

fn of_argv(argv: &[&[u8]]) -> Vec<String> {
    let argv: Vec<_> = argv.iter().map(|arg| text(arg)).collect();
    let Some((program, args)) = argv.split_first() else {
        return Vec::new();
    };
    let mut notes = Notes::default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if remit_programs::is_shell(name) {
        for script in args.iter().skip_while(|arg| arg.starts_with('-')) {
            add_of_script(script, &mut notes);
        }
        return notes.0;
    }
    notes.add(of_program(name, args));
    for arg in args {
        notes.add(table::of_file(arg).map(str::to_owned));
    }
    notes.0
}

fn of_script(script: &[u8]) -> Vec<String> {
    let mut notes = Notes::default();
    add_of_script(&text(script), &mut notes);
    notes.0
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.get(..LOOKED_AT).unwrap_or(bytes))
}

/// Treats each word as a possible program with arguments. Any language works; too many notes are better than none.
fn add_of_script(text: &str, notes: &mut Notes) {
    for command in text.split(['|', ';', '&', '(', ')', '{', '}', '`', '\n']) {
        let is_edge = |c: char| c.is_ascii_whitespace() || "\"',[]<>=$".contains(c);
        let words: Vec<&str> = command
            .split_inclusive(is_edge)
            .filter(|part| !is_descriptor(part))
            .map(|part| part.trim_end_matches(is_edge))
            .filter(|word| !word.is_empty())
            .collect();
        let mut reads = false;
        let mut names = false;
        let mut rest = words.as_slice();
        while let Some((word, args)) = rest.split_first() {
            notes.add(table::of_file(word).map(str::to_owned));
            if let Some(name) = program_in(word).filter(|_| !names) {
                notes.add(of_program(name, args.get(..ARGS).unwrap_or(args)));
                let is_reader = table::READERS.contains(&name);
                reads |= is_reader;
                // find starts programs.
                names = table::NAMERS.contains(&name) || (is_reader && name != "find");
            }
            rest = args;
        }
        if reads && silences_errors(command) {
            notes.add(Some(table::UNSEEN.to_owned()));
        }
    }
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

    fn argv(words: &[&str]) -> Vec<String> {
        of_argv(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    fn note(typed: &str) -> String {
        let mut words = typed.split(' ');
        let name = words.next().unwrap();
        of_program(name, &words.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_program_gets_its_sentence_and_others_none() {
        assert_eq!(argv(&["df", "-h"]), [note("df")]);
        assert_eq!(argv(&["/usr/bin/dmesg"]), [note("dmesg")]);
        assert_eq!(argv(&["ss", "-ltnp"]), [note("ss -p")]);
        assert_eq!(argv(&["wc", "-l", "/proc/mounts"]), [table::MOUNTS]);
        for plain in [
            &["ss", "-ltn"][..],
            &["ls", "mount"],
            &["mountpoint"],
            &["./df-x"],
            &["cat", "/proc/1/mounts"],
            &["grep", "2>/dev/null"],
            &["tar", "cf", "-", "/etc/ssh"],
            &["rsync", "-n", "-a", "/etc/nginx/", "/srv/data/"],
            &["netstat", "-rn"],
            &["docker", "--version"],
            &["tcpdump", "--version"],
            &["systemctl", "--root=/", "is-enabled", "x"],
            &["systemd-analyze", "calendar", "daily"],
            &["flock", "/tmp/l", "true"],
            &["systemctl", "status", "nginx"],
            &["busctl", "list"],
            &[],
        ] {
            assert!(argv(plain).is_empty(), "{plain:?}");
        }
    }

    #[test]
    fn script_gets_at_most_three_distinct_notes() {
        assert_eq!(of_script(b"df -h; df -i\nfindmnt"), [note("df")]);
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
    fn a_read_only_disk_is_the_sandboxs() {
        let line = b"touch: cannot touch '/x': Read-only file system\n";
        assert!(of_errors("read", line).is_some());
        assert!(of_errors("host", line).is_none());
        let partial = b"find: '/root': Permission denied\n";
        assert!(of_errors("read", partial).is_some_and(|note| note.contains("leave it out")));
        assert!(of_errors("site", partial).is_none());
        let terminal = b"script: failed to create pseudo-terminal: Permission denied\n";
        assert!(of_errors("read", terminal).is_some_and(|note| note.contains("no terminal")));
        assert!(of_errors("read", b"").is_none());
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

    #[test]
    fn notes_are_short_lines() {
        for topic in remit_programs::Topic::ALL {
            if let Some(note) = table::of_topic(*topic) {
                assert!(note.len() < 200 && !note.contains('\n'), "{note}");
                assert!(!note.ends_with('.'), "{note}");
            }
        }
    }

    #[test]
    fn a_program_may_mislead_with_some_arguments_only() {
        for (typed, expect) in [
            ("ss -ltn", None),
            ("ss --tcp", None),
            ("ss -ltnp", Some("`ss -ltnpe`")),
            ("ss --processes", Some("`ss -ltnpe`")),
            ("ps", None),
            ("ps aux", None),
            ("ps -ef", None),
            ("ps -eo pid,lstart", None),
            ("ps -C nginx", None),
            ("ps axe", Some("wchan")),
            ("ps l", Some("wchan")),
            ("ps -el", Some("wchan")),
            ("ps axo pid,wchan:20", Some("wchan")),
            ("ssh -G x", None),
            ("ssh x", Some("no network")),
            ("sshd -T", Some("host keys")),
            ("sshd -D", None),
            (
                "nginx -t",
                Some("{\"name\": \"logs\", \"args\": {\"unit\": \"nginx.service\"}}"),
            ),
            ("nginx -v", None),
            ("dpkg -l", None),
            ("dpkg --verify", Some("these lines say nothing")),
            ("dpkg -V bash", Some("packages.changed")),
            ("dpkg --audit", Some("packages.list")),
            ("systemctl restart nginx", Some("service.restart")),
            ("service nginx restart", Some("service.restart")),
            ("service nginx", None),
            ("service x y", None),
            ("service --status-all", Some("service.list")),
            ("journalctl -u nginx -n 50", None),
            ("journalctl -fu nginx", Some("\"since\": \"-5min\"")),
            ("journalctl --follow", Some("\"since\": \"-5min\"")),
            ("journalctl --vacuum-size=1G", Some("logs.usage")),
            ("pidstat -d 1 1", Some("io.units")),
            ("fail2ban-client status", Some("fail2ban.status")),
        ] {
            let mut words = typed.split(' ');
            let name = words.next().unwrap();
            let note = of_program(name, &words.collect::<Vec<_>>());
            match expect {
                None => assert_eq!(note, None, "{typed}"),
                Some(part) => assert!(
                    note.as_ref().is_some_and(|note| note.contains(part)),
                    "{typed}: {note:?}"
                ),
            }
        }
    }
}
