//! Measures the cost of a policy decision with many rules and commands: no daemon, no system call, one thread. Reads what one
//! audit record costs on the warden's thread: remitd's test `cost_of_a_record` measures it with the real audit log, and
//! `make bench` runs that test first.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use remit_policy::{Ask, CallerIds, MachineTable, Policy, Source, Verdict};
use remit_policy_compile::load;
use remit_wire::Effect;
use serde::Serialize;

use crate::Failure;
use crate::section::Section;
use crate::series::{Series, Summary};

/// Commands, in families of ten: `svc0.do0` to `svc49.do9`.
const COMMANDS: u32 = 500;
const FAMILY: u32 = 10;
/// Half of the grants name a family, the others one command or `run`.
const GRANTS: u32 = 1600;
/// Denials name commands of the last ten families.
const DENIALS: u32 = 400;
const GROUPS: u32 = 100;
const GID: u32 = 5000;
const TIMES: usize = 20_000;
const LONG_TIMES: usize = 2_000;

#[derive(Debug, Serialize)]
pub struct Decision {
    pub title: &'static str,
    /// Microseconds, with rules for a hundred groups and a caller in ten of them.
    pub spread: Summary,
    /// Microseconds, with all rules for one group, the caller's.
    pub one_group: Summary,
}

struct Question {
    title: &'static str,
    ask: Ask<'static>,
    is_right: fn(&Verdict) -> bool,
}

const fn command(name: &'static str) -> Ask<'static> {
    let effect = Effect::Read;
    Ask::Command {
        name,
        effect,
        args: &[],
    }
}

const QUESTIONS: [Question; 5] = [
    Question {
        title: "a command that is granted",
        ask: command("svc20.do9"),
        is_right: |verdict| matches!(verdict, Verdict::Allow(_)),
    },
    Question {
        title: "a command that is not granted",
        ask: command("svc39.do9"),
        is_right: |verdict| matches!(verdict, Verdict::Deny(denial) if denial.rule.is_none()),
    },
    Question {
        title: "a command that is denied",
        ask: command("svc49.do9"),
        is_right: |verdict| matches!(verdict, Verdict::Deny(denial) if denial.rule.is_some()),
    },
    Question {
        title: "any program, a variable of the last rule",
        ask: Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[b"LAST"],
        },
        is_right: |verdict| matches!(verdict, Verdict::Allow(_)),
    },
    Question {
        title: "any program, a variable of no rule",
        ask: Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[b"TZ", b"NONE"],
        },
        is_right: |verdict| matches!(verdict, Verdict::Deny(denial) if denial.rule.is_some()),
    },
];

pub fn take() -> Result<Vec<Decision>, Failure> {
    let spread = policy(GROUPS)?;
    let one_group = policy(1)?;
    let gids: Vec<u32> = gids().collect();
    let caller = CallerIds {
        uid: 1000,
        gids: &gids,
    };
    let mut decisions = Vec::new();
    for question in &QUESTIONS {
        decisions.push(Decision {
            title: question.title,
            spread: decided(&spread, caller, question)?,
            one_group: decided(&one_group, caller, question)?,
        });
    }
    decisions.push(Decision {
        title: "all that the caller may use",
        spread: timed(LONG_TIMES, || {
            black_box(spread.access(caller)).commands.len()
        }),
        one_group: timed(LONG_TIMES, || {
            black_box(one_group.access(caller)).commands.len()
        }),
    });
    Ok(decisions)
}

pub fn section(decisions: &[Decision]) -> Section {
    let columns = [
        "decide among 2,000 rules, 500 commands",
        "100 groups p50 µs",
        "p95 µs",
        "one group p50 µs",
        "p95 µs",
    ];
    let mut section = Section::new("Verdicts", &columns);
    for Decision {
        title,
        spread,
        one_group,
    } in decisions
    {
        let times = [spread.p50, spread.p95, one_group.p50, one_group.p95];
        section.row(*title, times.map(|micros| format!("{micros:.2}")));
    }
    section
}

fn decided(
    policy: &Policy,
    caller: CallerIds<'_>,
    question: &Question,
) -> Result<Summary, Failure> {
    let verdict = policy.decide(caller, &question.ask);
    if !(question.is_right)(&verdict) {
        return Err(format!("{}: {verdict:?}", question.title).into());
    }
    Ok(timed(TIMES, || {
        policy.decide(caller, black_box(&question.ask))
    }))
}

fn timed<T>(times: usize, mut what: impl FnMut() -> T) -> Summary {
    let mut series = Series::default();
    for _ in 0..times {
        let start = Instant::now();
        let answer = what();
        series.push(start.elapsed());
        drop(black_box(answer));
    }
    series.summary()
}

/// Builds a policy whose rules use `groups` groups in turn.
fn policy(groups: u32) -> Result<Policy, Failure> {
    let text = text(groups)?;
    let machine = MachineTable {
        groups: (0..GROUPS).map(|at| (format!("g{at}"), GID + at)).collect(),
        ..MachineTable::default()
    };
    let source = Source {
        name: "bench.toml".into(),
        text: text.into_bytes(),
    };
    let (policy, _) = load(&[source], &machine).map_err(|found| {
        let first = found.first().map(ToString::to_string);
        format!("the policy does not load: {}", first.unwrap_or_default())
    })?;
    Ok(policy)
}

/// Returns the policy for many groups, which it names by number.
pub fn text_by_number() -> Result<String, Failure> {
    let numbered = |text: String, at: u32| {
        text.replace(&format!("\"%g{at}\""), &format!("\"%#{}\"", GID + at))
    };
    Ok((0..GROUPS).fold(text(GROUPS)?, numbered))
}

/// Returns the groups of the caller.
pub fn gids() -> impl Iterator<Item = u32> {
    GID..GID + 10
}

fn text(groups: u32) -> Result<String, Failure> {
    let mut text = String::new();
    for at in 0..COMMANDS {
        let (family, member) = (at / FAMILY, at % FAMILY);
        writeln!(
            text,
            "[[command]]\nname = \"svc{family}.do{member}\"\nsummary = \"number {at}\"\n\
             argv = [\"/usr/bin/printf\", \"x\", \"{{n}}\"]\neffect = \"read\"\nprofile = \"strict\"\n\
             args.n = {{ type = \"int\", min = 0, max = 9 }}"
        )?;
    }
    let denied = COMMANDS / FAMILY - 10;
    // The last rules of each kind always name the caller's group.
    let group = |at: u32, of: u32| if of - at <= 200 { 0 } else { at % groups };
    for at in 0..GRANTS {
        let allow = match at % 4 {
            0 | 1 => format!("svc{}.*", at % (denied - 1)),
            2 => format!("svc{}.do{}", denied + at / 4 % FAMILY, at / 40 % FAMILY),
            _ => "run".into(),
        };
        let group = group(at, GRANTS);
        let env = if at == GRANTS - 1 { "LAST" } else { "TZ" };
        writeln!(
            text,
            "[[grant]]\nto = [\"%g{group}\"]\nallow = [\"{allow}\"]\nenv = [\"{env}\"]"
        )?;
    }
    for at in 0..DENIALS {
        writeln!(
            text,
            "[[deny]]\nto = [\"%g{}\"]\ndeny = [\"svc{}.do{}\"]",
            group(at, DENIALS),
            denied + at % 10,
            at / 10 % FAMILY
        )?;
    }
    Ok(text)
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub sink: String,
    pub sync: String,
    /// `look` or `change`.
    pub kind: String,
    /// The record is on disk before anything runs.
    pub fdatasync: bool,
    /// Microseconds.
    pub p50: f64,
    pub p95: f64,
}

pub fn read(path: &Path) -> Result<Vec<Cost>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read '{}': {e}", path.display()))?;
    let costs: Vec<Cost> = text.lines().filter_map(parse).collect();
    if costs.is_empty() {
        return Err(format!("'{}' has the cost of no record", path.display()).into());
    }
    Ok(costs)
}

/// Parses `sink sync record fdatasync median p95`.
fn parse(line: &str) -> Option<Cost> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [sink, sync, kind, fdatasync, p50, p95] = words.as_slice() else {
        return None;
    };
    Some(Cost {
        sink: (*sink).into(),
        sync: (*sync).into(),
        kind: (*kind).into(),
        fdatasync: *fdatasync == "yes",
        p50: p50.parse().ok()?,
        p95: p95.parse().ok()?,
    })
}

pub fn of_a_look(costs: &[Cost], sink: &str, sync: &str) -> Option<f64> {
    // A look is only synced if every record is.
    let synced = sink == "file" && sync == "always";
    let mut right = costs
        .iter()
        .filter(|cost| cost.sink == sink && cost.kind == "look" && cost.fdatasync == synced);
    right.next().map(|cost| cost.p50)
}

pub fn record_section(costs: &[Cost]) -> Section {
    let columns = ["a record on the warden's thread", "p50 µs", "p95 µs"];
    let mut section = Section::new("Records", &columns);
    for cost in costs {
        let disk = if cost.fdatasync { ", fdatasync" } else { "" };
        section.row(
            format!(
                "sink {}, sync {}, a {}{disk}",
                cost.sink, cost.sync, cost.kind
            ),
            [format!("{:.1}", cost.p50), format!("{:.1}", cost.p95)],
        );
    }
    section.note(
        "Made, chained and written by the real audit log, one after another, before the daemon starts.",
    );
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_has_its_answer_under_both_policies() {
        let gids: Vec<u32> = gids().collect();
        let caller = CallerIds {
            uid: 1000,
            gids: &gids,
        };
        for groups in [GROUPS, 1] {
            let policy = policy(groups).expect("it loads");
            assert_eq!(policy.rules(), (GRANTS + DENIALS) as usize);
            assert_eq!(policy.commands().count(), COMMANDS as usize);
            for question in &QUESTIONS {
                let verdict = policy.decide(caller, &question.ask);
                assert!(
                    (question.is_right)(&verdict),
                    "{}: {verdict:?}",
                    question.title
                );
            }
        }
    }

    #[test]
    fn the_measurement_is_understood() {
        let text = "cost of a record on the warden's thread, in µs\n\
                sink       sync      record    fdatasync    median      p95\n\
                file       changes   look      no             12.5     20.0\n\
                file       changes   change    yes          900.0    1000.0\n\
                journald   not measured (REMIT_BENCH_JOURNALD=1, on a throw-away machine)\n";
        let costs: Vec<Cost> = text.lines().filter_map(parse).collect();
        assert_eq!(costs.len(), 2);
        assert_eq!(of_a_look(&costs, "file", "changes"), Some(12.5));
        assert_eq!(of_a_look(&costs, "file", "always"), None);
        assert_eq!(of_a_look(&costs, "journald", "changes"), None);
    }
}
