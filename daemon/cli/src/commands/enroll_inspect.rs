//! Asks once whether agents may look at what only root sees, and grants that by the package's example, as a policy file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use remit_common::refusal::{Code, Refusal};

use super::enroll::refusals;
use crate::args::{Answer, EnrollArgs};
use crate::client::admin_socket::{self, ConfigAnswer};
use crate::enrollment::Name;
use crate::render::output;

const EXAMPLE: &str = "/usr/share/doc/remit/examples/inspect.toml";
/// The same text: a machine may leave documents out when it installs packages.
const TEXT: &str = include_str!("../../../../packaging/examples/inspect.toml");
const RULES: &str = "/etc/remit/policy.d/40-inspect.toml";
/// The first line of either file: packaging/deb/postrm looks for it.
const MARK: &str = "# Written by 'remit enroll'. A purge of the package removes this file.\n";
const NO: &str = "# Agents do not look at what only root sees: answered at 'remit enroll'. To grant it, replace this file by\n\
                  # /usr/share/doc/remit/examples/inspect.toml, or delete it to be asked again.\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspects {
    Granted,
    Declined,
    Decided,
    OtherGroups,
    OtherRules,
    NotAsked,
}

impl Inspects {
    pub fn word(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Declined => "declined",
            Self::Decided | Self::OtherRules => "was decided",
            Self::OtherGroups => "not for this group",
            Self::NotAsked => "not asked",
        }
    }

    pub fn sentence(self) -> &'static str {
        match self {
            Self::Granted => {
                "granted, by /etc/remit/policy.d/40-inspect.toml; to use it: remit policy reload"
            }
            Self::Declined => {
                "not granted; the answer is in /etc/remit/policy.d/40-inspect.toml; to load it: remit policy reload"
            }
            Self::Decided => "decided before, in /etc/remit/policy.d/40-inspect.toml",
            Self::OtherGroups => {
                "not granted to this group: /etc/remit/policy.d/40-inspect.toml names another; \
                 add it there, then: remit policy reload"
            }
            Self::OtherRules => {
                "decided before: /etc/remit/policy.d/40-inspect.toml has other rules; see the file"
            }
            Self::NotAsked => "not granted; 'remit enroll' with --inspect yes grants it",
        }
    }
}

/// Returns what applies now, and why the answer that was asked for was not kept.
pub fn decide(args: &EnrollArgs, group: &Name, may_ask: bool) -> (Inspects, Option<Refusal>) {
    if let Some(decided) = on_file(args.inspect, group) {
        return decided;
    }
    match answer(args, group, may_ask) {
        Ok(inspects) => (inspects, None),
        Err(refusal) => {
            let left = on_file(None, group).map(|(inspects, _)| inspects);
            (left.unwrap_or(Inspects::NotAsked), Some(refusal))
        }
    }
}

fn on_file(answer: Option<Answer>, group: &Name) -> Option<(Inspects, Option<Refusal>)> {
    // A link to nothing decides, too.
    fs::symlink_metadata(RULES).ok()?;
    let text = fs::read(RULES).unwrap_or_default();
    Some(decided(&text, answer, group.as_str()))
}

fn answer(args: &EnrollArgs, group: &Name, may_ask: bool) -> Result<Inspects, Refusal> {
    let answer = match args.inspect {
        Some(answer) => answer,
        None if may_ask && io::stdin().is_terminal() && io::stderr().is_terminal() => {
            output::note(&format!(
                "may agents of group '{}' look at what only root sees: open files of all processes, names and sizes in private \
                 directories, firewall rules, and a private file that somebody approves? {EXAMPLE} has the rules. [y/N]",
                group
            ));
            match read_answer(io::stdin().lock()).map_err(cannot_keep)? {
                Some(answer) => answer,
                None => return Ok(Inspects::NotAsked),
            }
        }
        None => return Ok(Inspects::NotAsked),
    };
    match answer {
        Answer::No => write(&declined()).map(|()| Inspects::Declined),
        Answer::Yes => {
            write(&rules(group.as_str()))?;
            match fault(admin_socket::check_configuration()) {
                None => Ok(Inspects::Granted),
                Some(why) => {
                    fs::remove_file(RULES).map_err(cannot_keep)?;
                    Err(refusal(
                        &why,
                        "mend that, then repeat this with --inspect yes",
                    ))
                }
            }
        }
    }
}

/// Asks again after another word. The end of the input is no answer that is kept.
fn read_answer(mut input: impl BufRead) -> io::Result<Option<Answer>> {
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(Some(Answer::Yes)),
            "" | "n" | "no" => return Ok(Some(Answer::No)),
            _ => output::note("answer y or n"),
        }
    }
}

/// An answer that contradicts the file is refused: ignored, `--inspect no` would seem to withdraw the rules. Rules that an
/// administrator or an earlier release wrote may be those that are asked for.
fn decided(text: &[u8], answer: Option<Answer>, group: &str) -> (Inspects, Option<Refusal>) {
    let granted = std::str::from_utf8(text).ok().and_then(group_of);
    let kept = if text == declined().as_bytes() {
        Some(Answer::No)
    } else {
        (granted == Some(group)).then_some(Answer::Yes)
    };
    let inspects = match granted {
        // An empty file, or a link to nothing, declines, too.
        _ if text.is_empty() || kept.is_some() => Inspects::Decided,
        Some(_) => Inspects::OtherGroups,
        None => Inspects::OtherRules,
    };
    let contradicts = match (answer, kept) {
        (None, _) | (Some(Answer::Yes), None) => false,
        (answer, kept) => answer != kept,
    };
    let refusal = contradicts.then(|| {
        let other = match kept {
            Some(Answer::Yes) => "grants it",
            Some(Answer::No) => "declines it",
            None => "has other rules",
        };
        refusal(
            &format!("--inspect changes nothing: '{RULES}' {other}"),
            &format!("replace or remove {RULES}, then: remit policy reload"),
        )
    });
    (inspects, refusal)
}

fn declined() -> String {
    format!("{MARK}{NO}")
}

fn rules(group: &str) -> String {
    let text = TEXT.replace("\"%remit\"", &format!("\"%{group}\""));
    format!("{MARK}{text}")
}

/// Returns the group of the rules that this release writes. Other rules may name agents in other ways.
fn group_of(text: &str) -> Option<&str> {
    let rules_of_none = rules("");
    let (before, _) = rules_of_none.split_once("\"%\"")?;
    let rest = text.strip_prefix(before)?.strip_prefix("\"%")?;
    let (group, _) = rest.split_once('"')?;
    (text == rules(group)).then_some(group)
}

/// Returns why the rules cannot stay: a policy that does not load keeps the daemon from starting.
fn fault(checked: Result<ConfigAnswer, String>) -> Option<String> {
    if let Err(why) = &checked {
        return Some(format!(
            "the policy with '{EXAMPLE}' was not checked: {why}"
        ));
    }
    let why = refusals(checked).into_iter().next()?;
    Some(format!("the policy would not load with '{EXAMPLE}': {why}"))
}

fn write(text: &str) -> Result<(), Refusal> {
    write_whole(Path::new(RULES), text).map_err(cannot_keep)
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of the rules would be a policy of its own, or keep the daemon from starting.
        let _ = fs::remove_file(path);
    }
    written
}

fn cannot_keep(error: io::Error) -> Refusal {
    let what = format!("cannot keep the answer in '{RULES}': {error}");
    refusal(&what, "repeat this with --inspect yes or no")
}

fn refusal(what: &str, lift: &str) -> Refusal {
    let text = format!("the agent is enrolled, but {what}");
    Refusal::new(Code::InvalidArgs, text).lift(lift)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "REMIT_TEST_FULL";

    #[test]
    fn rules_that_were_not_checked_do_not_stay() {
        let unchecked = fault(Err("it took more than 20 s".to_owned())).unwrap();
        assert!(unchecked.contains("not checked: it took"), "{unchecked}");
        let taken = ConfigAnswer::Taken {
            policy: String::new(),
            texts: String::new(),
            warnings: Vec::new(),
        };
        assert_eq!(fault(Ok(taken)), None);
    }

    #[test]
    fn an_answer_that_was_written_says_how_it_is_loaded() {
        for answer in [Inspects::Granted, Inspects::Declined] {
            assert!(
                answer.sentence().ends_with("remit policy reload"),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn purge_knows_what_enroll_wrote() {
        let purge = include_str!("../../../../packaging/deb/postrm");
        assert!(purge.contains(&format!("grep -qx \"{}\"", MARK.trim())));
        for text in [declined(), rules("agents")] {
            assert!(text.starts_with(MARK));
        }
    }

    #[test]
    fn an_answer_that_the_file_does_not_have_is_refused() {
        let granted = rules("agents");
        let declined = declined();
        let texts = [granted.as_str(), &declined, &rules("others"), ""];
        for (text, same) in texts.into_iter().zip([Some(Answer::Yes), Some(Answer::No)]) {
            for answer in [None, same] {
                let was = decided(text.as_bytes(), answer, "agents");
                assert_eq!(was, (Inspects::Decided, None), "{answer:?}");
            }
        }
        for (text, answer, says, what) in [
            (texts[0], Answer::No, Inspects::Decided, "grants it"),
            (texts[1], Answer::Yes, Inspects::Decided, "declines it"),
            (texts[2], Answer::No, Inspects::OtherGroups, "other rules"),
            (texts[3], Answer::No, Inspects::Decided, "has other rules"),
        ] {
            let without = decided(text.as_bytes(), None, "agents");
            assert_eq!(without, (says, None), "{answer:?}");
            // What the file says applies also after the refusal.
            let (was, refused) = decided(text.as_bytes(), Some(answer), "agents");
            assert_eq!(was, says, "{answer:?}");
            let refused = refused.unwrap();
            assert!(refused.message.contains(what), "{answer:?}: {refused:?}");
            let lift = refused.lift.unwrap();
            assert!(lift.contains("remit policy reload"), "{lift}");
        }
        // Maybe an earlier release or an administrator wrote these.
        for rules in [
            "to = [\"%agents\"]\n",
            "to = [\"bot\"]\n",
            "to = ['%agents']\n",
            "# none\n",
        ] {
            let was = decided(rules.as_bytes(), Some(Answer::Yes), "agents");
            assert_eq!(was, (Inspects::OtherRules, None), "{rules}");
        }
    }

    #[test]
    fn rules_for_other_groups_are_not_rules_for_this_one() {
        for (text, answer, expect) in [
            (rules("others"), Some(Answer::Yes), Inspects::OtherGroups),
            (rules("others"), None, Inspects::OtherGroups),
            (rules("agents"), Some(Answer::Yes), Inspects::Decided),
            (declined(), None, Inspects::Decided),
            (String::new(), Some(Answer::Yes), Inspects::Decided),
        ] {
            let was = decided(text.as_bytes(), answer, "agents");
            assert_eq!(was, (expect, None), "{answer:?}: {text}");
        }
    }

    #[test]
    fn an_answer_is_yes_or_no() {
        for (input, expect) in [
            ("y\n", Some(Answer::Yes)),
            ("Yes\n", Some(Answer::Yes)),
            (" YES \n", Some(Answer::Yes)),
            ("\n", Some(Answer::No)),
            ("No\n", Some(Answer::No)),
            ("sure\nyes\n", Some(Answer::Yes)),
            ("sure\n", None),
            ("", None),
        ] {
            let answer = read_answer(input.as_bytes()).unwrap();
            assert_eq!(answer, expect, "{input:?}");
        }
    }

    /// The test runs itself with a limit of the size of files, which ends a write as a full disk does.
    #[test]
    fn rules_are_there_whole_or_not_at_all() {
        if let Some(path) = std::env::var_os(CHILD) {
            let path = Path::new(&path);
            write_whole(path, &"#".repeat(100_000)).unwrap_err();
            assert!(!path.exists());
            write_whole(path, "# short\n").unwrap();
            write_whole(path, "# other\n").unwrap_err();
            return;
        }
        let path = std::env::temp_dir().join(format!("remit-rules-{}", std::process::id()));
        let name = "commands::enroll_inspect::tests::rules_are_there_whole_or_not_at_all";
        let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact --nocapture \"$1\"";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(CHILD, &path)
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "# short\n");
        fs::remove_file(path).unwrap();
    }
}
