//! What `remit prove --compare FILE --log` writes to the journal. These are no audit records: they have no number and no hash,
//! another SYSLOG_IDENTIFIER, and `remit audit` does not read them.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_prove::compare::{Comparison, NewPath};
use remit_prove::report::Report;

use super::looks::KeptLook;
use crate::error::Failure;
use crate::render::units::count;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of one value.
const VALUE: usize = 8 << 10;
/// Paths with an entry of their own. More are counted.
const PATHS: usize = 100;
/// journald may be busy, and must not hold this process for good.
const PATIENCE: Duration = Duration::from_secs(20);

/// A path that was not there at the last look. systemd/remit.catalog explains both.
const NEW_PATH: &str = "b0d9b58c8027472e96e8b1d9d2f23654";
/// A look has ended.
const LOOK: &str = "0fc85114b17145f488f9b4de5e3abb57";

#[derive(Debug, PartialEq, Eq)]
struct JournalEntry {
    id: &'static str,
    is_warning: bool,
    message: String,
    fields: Vec<(&'static str, String)>,
}

pub fn log(
    report: &Report,
    found: &Comparison,
    before: Option<&KeptLook>,
    file: &Path,
) -> Result<(), Failure> {
    send(&entries(report, found, before, file)).map_err(|error| {
        let why =
            format!("cannot write to the journal ('{SOCKET}'): {error}; the look is not kept");
        let next = "systemctl status systemd-journald; or without --log";
        Failure::Machine(Refusal::new(Code::NotStarted, why).lift(next))
    })
}

fn entries(
    report: &Report,
    found: &Comparison,
    before: Option<&KeptLook>,
    file: &Path,
) -> Vec<JournalEntry> {
    let mut entries: Vec<JournalEntry> = found.new.iter().take(PATHS).map(of_path).collect();
    let (new, gone, hidden) = (found.new.len(), found.gone.len(), found.uncompared.len());
    let mut said = match new {
        0 => "no new path found".to_owned(),
        _ => format!("{} found", count(new, "new path")),
    };
    if new > PATHS {
        said += &format!(" ({PATHS} of them have an entry)");
    }
    if gone > 0 {
        said += &format!(", {gone} gone");
    }
    if let Some((what, why)) = found.uncompared.first() {
        said += &format!("; looked at before and not now: {hidden}, such as {what} ({why})");
    }
    let unknown = report.unknown.len().saturating_add(report.more_unknown);
    if unknown > 0 {
        said += &format!("; not looked at: {}", count(unknown, "part"));
    }
    let since = match before {
        None => "first look, so every path is new: ",
        Some(_) => "",
    };
    let judged = report.subjects.len();
    let message = format!("{since}{}: {said}", count(judged, "account"));
    // Not even the accounts could be read.
    let is_blind = judged == 0 && unknown > 0;
    entries.push(JournalEntry {
        id: LOOK,
        is_warning: found.is_news() || is_blind,
        message,
        fields: vec![
            ("ACCOUNTS", judged.to_string()),
            ("NEW", new.to_string()),
            ("GONE", gone.to_string()),
            ("UNCOMPARED", hidden.to_string()),
            ("UNKNOWN", unknown.to_string()),
            ("FILE", file.display().to_string()),
        ],
    });
    entries
}

fn of_path(new: &NewPath) -> JournalEntry {
    let NewPath {
        account,
        is_known_goal,
        path,
    } = new;
    let steps: Vec<&str> = path.steps.iter().map(|step| step.fact.as_str()).collect();
    let steps = steps.join("; ");
    let how = if *is_known_goal {
        " by other steps"
    } else {
        ""
    };
    let closed_by = match path.closed_by.is_empty() {
        true => "no single change".to_owned(),
        false => path.closed_by.join("; or "),
    };
    JournalEntry {
        id: NEW_PATH,
        is_warning: true,
        message: format!("{account} reaches {}{how}: {steps}", path.goal),
        fields: vec![
            ("ACCOUNT", account.clone()),
            ("GOAL", path.goal.clone()),
            ("STEPS", steps),
            ("CLOSED_BY", closed_by),
        ],
    }
}

/// One datagram for each entry: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
fn send(entries: &[JournalEntry]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(SOCKET)?;
    entries
        .iter()
        .try_for_each(|entry| socket.send(entry.datagram().as_bytes()).map(drop))
}

impl JournalEntry {
    /// Values are one line each, so no text of a stranger begins a field.
    fn datagram(&self) -> String {
        let priority = if self.is_warning { "4" } else { "6" };
        let head = [
            ("MESSAGE", self.message.as_str()),
            ("MESSAGE_ID", self.id),
            ("PRIORITY", priority),
            ("SYSLOG_IDENTIFIER", "remit-prove"),
        ];
        let head = head.iter().map(|(name, value)| ("", *name, *value));
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| ("REMIT_PROVE_", *name, value.as_str()));
        let lines = head.chain(fields).map(|(prefix, name, value)| {
            format!("{prefix}{name}={}\n", text::line(value.as_bytes(), VALUE))
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use remit_prove::compare::{SeenPaths, compare};
    use remit_prove::report::{Path as Reached, Step, SubjectReport};

    use super::*;

    fn report(fact: &str) -> Report {
        let step = Step {
            rule: "r".to_owned(),
            fact: fact.to_owned(),
            sentence: String::new(),
            source: String::new(),
        };
        Report {
            subjects: vec![SubjectReport {
                name: "agent".to_owned(),
                groups: Vec::new(),
                reaches: vec![Reached {
                    goal: "root".to_owned(),
                    steps: vec![step],
                    closed_by: Vec::new(),
                }],
                accounts: Vec::new(),
            }],
            ..Report::default()
        }
    }

    #[test]
    fn new_path_is_a_warning_and_nothing_new_is_one_line() {
        let file = Path::new("/f");
        let look = KeptLook::of(&report("x"), 0);
        let first = compare(None, &report("x"));
        let logged = entries(&report("x"), &first, None, file);
        let [path, end] = logged.as_slice() else {
            panic!("{logged:?}");
        };
        assert_eq!((path.id, path.is_warning), (NEW_PATH, true));
        assert_eq!(path.message, "agent reaches root: x");
        assert!(end.message.starts_with("first look"), "{end:?}");
        assert!(end.is_warning);
        let same = compare(Some(&look.seen), &report("x"));
        let logged = entries(&report("x"), &same, Some(&look), file);
        let [end] = logged.as_slice() else {
            panic!("{logged:?}");
        };
        assert_eq!((end.id, end.is_warning), (LOOK, false));
        assert_eq!(end.message, "1 account: no new path found");
        let mut blind = Report::default();
        blind.unknown.push(("/".to_owned(), "why".to_owned()));
        let logged = entries(&blind, &compare(None, &blind), None, file);
        assert!(logged.last().unwrap().is_warning, "{logged:?}");
        // A look that sees less is no good news.
        let less = Report::default();
        let logged = entries(&less, &compare(Some(&look.seen), &less), Some(&look), file);
        assert!(logged.last().unwrap().is_warning, "{logged:?}");
    }

    #[test]
    fn text_of_a_stranger_begins_no_field() {
        let hostile =
            report("/srv/x\nMESSAGE_ID=0f46946454ed4d13afac535a47951ec5\nREMIT_SEQ=1\u{1b}[2J");
        let found = compare(Some(&SeenPaths::default()), &hostile);
        for entry in entries(&hostile, &found, None, Path::new("/f\nREMIT_SEQ=2")) {
            let datagram = entry.datagram();
            let names: Vec<&str> = datagram
                .lines()
                .map(|line| line.split_once('=').unwrap().0)
                .collect();
            assert_eq!(names.len(), 4 + entry.fields.len(), "{datagram}");
            let is_own = |name: &&str| name.starts_with("REMIT_PROVE_");
            assert!(names.iter().skip(4).all(is_own), "{datagram}");
            assert!(datagram.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }

    #[test]
    fn paths_beyond_the_bound_are_counted() {
        let mut many = report("x");
        let path = many
            .subjects
            .first()
            .unwrap()
            .reaches
            .first()
            .unwrap()
            .clone();
        let paths = (0..PATHS + 5).map(|goal| Reached {
            goal: goal.to_string(),
            ..path.clone()
        });
        many.subjects.first_mut().unwrap().reaches = paths.collect();
        let found = compare(None, &many);
        let logged = entries(&many, &found, None, Path::new("/f"));
        assert_eq!(logged.len(), PATHS + 1);
        let end = &logged.last().unwrap().message;
        assert!(
            end.contains("105 new paths found (100 of them have an entry)"),
            "{end}"
        );
    }
}
