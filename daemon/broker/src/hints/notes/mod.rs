//! Notes of one line, at most three, about programs, found by name, whose output can mislead in the `read` sandbox.

mod scan;
mod table;

use std::collections::BTreeSet;

use remit_common::PRIVATE;
use remit_common::denial::ProfileVisibility;
use remit_common::outcome::{Enforced, NAMES_REACHED};
use remit_common::wire::Purpose;
use remit_link::JobMeta;
use remit_wire::{Bytes, Run, What};

use crate::hints::may_use::{wanted, wants_change};
use crate::hints::{Command, Commands, MayUse, ShellWords, found};
use scan::{Notes, of_program};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub notes: Vec<String>,
    pub commands: Commands,
    pub may_use: MayUse,
    /// Commands that an answer about it can name.
    pub wanted: BTreeSet<String>,
    /// It names a path in one of [`PRIVATE`].
    pub names_private: bool,
    pub shell_words: ShellWords,
    /// A command of the policy that looks: an empty answer is one.
    pub looks: bool,
}

pub const EMPTY: &str =
    "it printed nothing: a search has found nothing, and a check with exit status 0 no fault";

pub fn of_run(run: &Run, may_use: &MayUse) -> About {
    let shell_words = match &run.what {
        What::Argv(argv) => ShellWords::of_argv(&slices(argv)),
        What::Script { .. } | What::Named { .. } => ShellWords::default(),
    };
    // A one-off change runs where its approver saw, which is no sandbox as a rule.
    if matches!(run.purpose, Purpose::Change { .. }) {
        return About {
            shell_words,
            ..About::default()
        };
    }
    let is_read = matches!(run.profile.as_deref(), None | Some("read"));
    let about = match &run.what {
        What::Argv(argv) => about(&slices(argv), is_read, may_use),
        What::Script { text, .. } => {
            let notes = Notes::of_script(text, may_use);
            About::new(notes, Commands::of_script(text), is_read)
        }
        // A built-in command reports its own limits. The program of a policy command is not known here.
        What::Named { args, .. } => About {
            looks: run.purpose == Purpose::Use,
            names_private: args.iter().any(|(_, value)| table::is_private(value)),
            ..About::default()
        },
    };
    let is_private = |cwd: &[u8]| str::from_utf8(cwd).is_ok_and(table::is_private);
    let starts_there = run.cwd.as_ref().is_some_and(|cwd| is_private(cwd));
    About {
        names_private: about.names_private || starts_there,
        shell_words,
        may_use: may_use.clone(),
        ..about
    }
}

fn slices(argv: &[Bytes]) -> Vec<&[u8]> {
    argv.iter().map(|arg| arg.as_slice()).collect()
}

pub fn of_line(meta: &JobMeta) -> About {
    let Some(enforced) = &meta.enforced else {
        return About::default();
    };
    let argv: Vec<&[u8]> = meta.command.split(' ').map(str::as_bytes).collect();
    about(&argv, enforced.profile == "read", &MayUse::default())
}

fn about(argv: &[&[u8]], is_read: bool, may_use: &MayUse) -> About {
    let notes = Notes::of_argv(argv, may_use);
    About::new(notes, Commands::of_argv(argv), is_read)
}

impl About {
    fn new(notes: Notes, commands: Commands, is_read: bool) -> Self {
        let mut names = notes.wanted;
        let founds = commands
            .iter()
            .filter_map(|command| Some((found(command)?, command)));
        for (found, command) in founds {
            names.extend(wanted(&found, &command.name));
        }
        Self {
            wanted: names,
            may_use: MayUse::default(),
            notes: if is_read { notes.found } else { Vec::new() },
            commands,
            names_private: notes.names_private,
            shell_words: ShellWords::default(),
            looks: false,
        }
    }

    /// Returns true if what is said about it depends on what its caller may use.
    pub fn asks_for_grants(&self) -> bool {
        let changes = |command| found(command).is_some_and(|found| wants_change(&found));
        !self.wanted.is_empty() || self.commands.iter().any(changes)
    }
}

pub fn of_command(command: &Command, may_use: &MayUse) -> Option<String> {
    of_program(&command.name, &command.args, may_use)
}

/// Returns the note of a job that looks into directories of its own. `visibility`: known after a failure.
pub fn of_private(
    enforced: Option<&Enforced>,
    visibility: Option<&ProfileVisibility>,
) -> Option<String> {
    let has_mounts = |enforced: &Enforced| {
        let own = |layer: &String| ["mounts", "root"].contains(&layer.as_str());
        enforced.layers.iter().any(own)
    };
    let dirs = match visibility {
        Some(visibility) => visibility.private.join(", "),
        None if enforced.is_some_and(has_mounts) => PRIVATE.join(", "),
        None => String::new(),
    };
    let of_enforced = enforced.map(|enforced| &enforced.profile);
    let profile = visibility.map(|visibility| &visibility.profile);
    // A file of the policy can list paths in them.
    let is_read = profile.or(of_enforced).is_some_and(|name| name == "read");
    let listed = if is_read { "" } else { table::LISTED };
    (!dirs.is_empty()).then(|| table::private(&dirs) + listed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::validate::tests::plain;

    fn argv(words: &[&str]) -> Vec<String> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        Notes::of_argv(&words, &MayUse::default()).found
    }

    fn note(typed: &str) -> String {
        let mut words = typed.split(' ');
        let name = words.next().unwrap();
        of_program(name, &words.collect::<Vec<_>>(), &MayUse::default()).unwrap()
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

    fn run(what: What) -> Run {
        Run { what, ..plain() }
    }

    #[test]
    fn path_in_a_private_directory_is_found_in_each_request() {
        let argv = |words: &[&str]| {
            let words = words.iter().map(|word| word.as_bytes().to_vec().into());
            run(What::Argv(words.collect()))
        };
        let script = |text: &str| {
            run(What::Script {
                text: text.as_bytes().to_vec().into(),
                interpreter: None,
            })
        };
        let named = |value: &str| {
            run(What::Named {
                name: "directories.list".into(),
                args: vec![("directory".into(), value.into())],
            })
        };
        let cwd = Run {
            cwd: Some(b"/var/tmp".to_vec().into()),
            ..argv(&["ls"])
        };
        for (run, is_found) in [
            (argv(&["du", "-sh", "/tmp"]), true),
            (argv(&["ls", "/var/tmp/"]), true),
            (argv(&["cat", "/tmp/x"]), true),
            (argv(&["dd", "if=/dev/shm/x"]), true),
            (argv(&["sh", "-c", "cat '/tmp/x' | wc"]), true),
            (script("cd /tmp && ls"), true),
            (script("open(\"/tmp/x\")"), true),
            (named("/tmp"), true),
            (cwd, true),
            (argv(&["ls", "/tmpx", "/srv/tmp"]), false),
            (argv(&["cat", "/tmp/../etc/hosts"]), false),
            (script("ls /etc"), false),
            (named("/srv"), false),
        ] {
            assert_eq!(
                of_run(&run, &MayUse::default()).names_private,
                is_found,
                "{run:?}"
            );
        }
        let once = Run {
            purpose: Purpose::Change { reason: "x".into() },
            ..argv(&["ls", "/tmp"])
        };
        assert!(
            !of_run(&once, &MayUse::default()).names_private,
            "it sees the host's"
        );
    }

    #[test]
    fn private_directories_are_named_where_a_job_has_them() {
        let enforced = |layer: &str| Enforced {
            profile: "p".into(),
            uid: 1,
            layers: vec!["session".into(), layer.into()],
            landlock: 6,
            limits: Vec::new(),
        };
        let visibility = crate::hints::visibility_of_read();
        let of_read = table::of_topic(remit_programs::Topic::PrivateTmp);
        for (layer, visibility, expect) in [
            (
                "mounts",
                None,
                of_read.map(|note| note.to_owned() + table::LISTED),
            ),
            (
                "root",
                None,
                of_read.map(|note| note.to_owned() + table::LISTED),
            ),
            ("keyring", None, None),
            ("mounts", Some(&visibility), of_read.map(str::to_owned)),
            (
                "root",
                Some(&ProfileVisibility {
                    profile: "site".into(),
                    private: vec!["/tmp".into(), "/work".into()],
                    ..visibility.clone()
                }),
                Some(table::private("/tmp, /work") + table::LISTED),
            ),
            (
                "mounts",
                Some(&ProfileVisibility {
                    private: Vec::new(),
                    ..visibility.clone()
                }),
                None,
            ),
        ] {
            assert_eq!(
                of_private(Some(&enforced(layer)), visibility),
                expect,
                "{layer}"
            );
        }
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
            let note = of_program(name, &words.collect::<Vec<_>>(), &MayUse::default());
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
