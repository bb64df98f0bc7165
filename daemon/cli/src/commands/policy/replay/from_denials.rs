//! `remit policy replay --from-denials`: prints candidates of rules. Each is loaded with the policy before it is printed.

use std::collections::BTreeSet;
use std::path::Path;

use remit_policy::{Diagnostic, Machine, PATH_DIRS, Severity, Source};
use remit_policy_files::{Loaded, Names};
use serde_json::{Value, json};

use super::audit_log::AuditLog;
use super::candidate::{CandidateText, comment};
use super::denials::{Asker, Family, FamilyKind, RepeatedDenials};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units;

/// Candidates that are made and loaded; further families are only counted.
const MOST: usize = 50;
/// The first part of the names of new commands.
const PREFIX: &str = "seen";
const NAME: usize = 32;
/// The file of candidates in findings.
const CANDIDATES: &str = "candidates";

/// What becomes of families, and why others become nothing.
#[derive(Debug, Default)]
pub struct Candidates {
    pub accepted: Vec<PolicyCandidate>,
    pub left_out: Vec<OmittedFamily>,
}

#[derive(Debug)]
pub struct PolicyCandidate {
    pub toml: String,
    pub to: Vec<String>,
    pub family: Family,
}

#[derive(Debug, PartialEq, Eq)]
pub struct OmittedFamily {
    pub why: String,
    pub count: u64,
    pub example: String,
}

pub fn print(
    context: &Context,
    denials: &RepeatedDenials,
    log: &AuditLog,
    loaded: &Loaded,
    names: &Names,
) -> Result<Exit, Failure> {
    let found = find(denials, loaded, names, &resolve);
    match context.form {
        Form::Json => output::json(&json!({
            "candidates": found.accepted.iter().map(PolicyCandidate::json).collect::<Vec<_>>(),
            "left_out": found.left_out.iter().map(OmittedFamily::json).collect::<Vec<_>>(),
            "audit": log.json(),
        }))?,
        Form::Text => output::text(&text(&found, log))?,
    }
    Ok(Exit::OK)
}

fn text(found: &Candidates, log: &AuditLog) -> String {
    let mut lines = match found.accepted.len() {
        0 => comment(
            "No candidate: nothing that a rule could allow was refused or approved 3 times.",
        ),
        _ => comment(
            "Candidates of rules, for a person to read, change and copy into policy.d. Nothing is in force.",
        ),
    };
    lines += &log.facts().lines().map(comment).collect::<String>();
    for PolicyCandidate { toml, .. } in &found.accepted {
        lines += &format!("\n{toml}");
    }
    if !found.left_out.is_empty() {
        lines += &format!("\n{}", comment("Left out:"));
    }
    for OmittedFamily {
        why,
        count,
        example,
    } in &found.left_out
    {
        let times = units::count(*count, "time");
        lines += &comment(&format!("{times}, as it cannot be a candidate: {why}"));
        lines += &comment(&format!("  {example}"));
    }
    lines
}

/// Makes a candidate of each family that loads together with the policy and the candidates before it.
pub fn find(
    denials: &RepeatedDenials,
    loaded: &Loaded,
    names: &Names,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Candidates {
    let mut found = Candidates::default();
    // A candidate that was copied may be a rule alone.
    let commands = loaded.policy.commands().map(|command| &*command.name);
    let names_in_use = commands.chain(loaded.policy.rule_names());
    let mut taken: BTreeSet<String> = names_in_use.map(str::to_owned).collect();
    let mut sources = loaded.sources.clone();
    for (at, family) in denials.families().into_iter().enumerate() {
        let made = match at < MOST {
            true => candidate(&family, loaded, names, resolve, &mut taken),
            false => Err(format!("there are {MOST} candidates before it")),
        };
        let loads = made.and_then(|(toml, to)| {
            let before: String = found.accepted.iter().map(|one| one.toml.as_str()).collect();
            let first = before.lines().count();
            sources.truncate(loaded.sources.len());
            sources.push(Source {
                name: CANDIDATES.to_owned(),
                text: (before + &toml).into_bytes(),
            });
            let (_, warnings) =
                remit_policy_compile::load(&sources, names).map_err(|findings| {
                    let mut errors = findings
                        .iter()
                        .filter(|one| one.severity() == Severity::Error);
                    errors.next().map_or_else(String::new, |error| {
                        format!("the policy would not load with it: {}", error.message())
                    })
                })?;
            // Whoever copies it reads them here first, as of a script that somebody else can write.
            let is_own = |one: &&Diagnostic| {
                one.file() == CANDIDATES && one.line().is_none_or(|line| line > first)
            };
            let warnings = warnings.iter().filter(is_own);
            let warnings = warnings.map(|one| comment(&format!("warning: {}", one.message())));
            Ok((warnings.collect::<String>() + &toml, to))
        });
        match loads {
            Ok((toml, to)) => found.accepted.push(PolicyCandidate { toml, to, family }),
            Err(why) => found.left_out.push(OmittedFamily {
                why,
                count: family.tally.count,
                example: family.tally.example,
            }),
        }
    }
    let others = denials.left_out.iter();
    found
        .left_out
        .extend(others.map(|(why, (count, example))| OmittedFamily {
            why: why.to_string(),
            count: *count,
            example: example.clone(),
        }));
    found
}

fn candidate(
    family: &Family,
    loaded: &Loaded,
    names: &Names,
    resolve: &dyn Fn(&str) -> Option<String>,
    taken: &mut BTreeSet<String>,
) -> Result<(String, Vec<String>), String> {
    let (last, program) = match &family.kind {
        FamilyKind::Program { program, .. } => (program.as_str(), resolve(program)),
        FamilyKind::Named { name, .. } => (name.as_str(), None),
    };
    let name = unused(last, taken);
    let to: Vec<String> = family
        .askers
        .iter()
        .map(|asker| word(asker, names))
        .collect();
    let askers: Vec<String> = family.askers.iter().zip(&to).map(whose).collect();
    let candidate = CandidateText {
        family,
        name: &name,
        to: &to,
        askers: &askers,
        program: program.as_deref(),
    };
    let toml = candidate.toml(&loaded.policy)?;
    taken.insert(name);
    Ok((toml, to))
}

/// Returns a name for a new command that no other has: `seen.systemctl-2`.
fn unused(of: &str, taken: &BTreeSet<String>) -> String {
    let last = of
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let stem: String = last
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .filter(plain)
        .take(NAME)
        .collect();
    let stem = match stem.as_str() {
        "" => "command",
        stem => stem,
    };
    let name = format!("{PREFIX}.{stem}");
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names
        .find(|name| !taken.contains(name))
        .unwrap_or(name.clone())
}

/// Returns how policy files name a user: by name if it is still the same account.
fn word(asker: &Asker, names: &Names) -> String {
    // Those mean a group or a number there.
    let is_name = !asker.user.starts_with(['%', '#']);
    match names.user(&asker.user) {
        Some(ids) if is_name && ids.uid == asker.uid => asker.user.clone(),
        Some(_) | None => format!("#{}", asker.uid),
    }
}

/// Returns how a comment names a user: a number may be another account's by now.
fn whose((asker, word): (&Asker, &String)) -> String {
    match *word == asker.user {
        true => word.clone(),
        false => format!("{word} (then '{}')", asker.user),
    }
}

/// Finds a program as a job does.
fn resolve(program: &str) -> Option<String> {
    if program.contains('/') {
        return program.starts_with('/').then(|| program.to_owned());
    }
    let mut paths = PATH_DIRS.iter().map(|dir| format!("{dir}/{program}"));
    paths.find(|path| Path::new(path).is_file())
}

impl PolicyCandidate {
    fn json(&self) -> Value {
        let tally = &self.family.tally;
        json!({
            "toml": self.toml,
            "count": tally.count,
            "users": self.to,
            "last_ms": tally.last_ms,
            "example": tally.example,
        })
    }
}

impl OmittedFamily {
    fn json(&self) -> Value {
        json!({ "why": self.why, "count": self.count, "example": self.example })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use remit_common::signed::Signed;
    use remit_policy::{ArgvElement, Ask, CallerIds, Policy, Verdict};
    use remit_policy_files::PolicyFiles;
    use remit_wire::Effect;

    use super::*;
    use crate::commands::policy::replay::judge::NewVerdict;
    use crate::commands::policy::replay::past::{
        PastProgram, PastRequest, PastVerdict, PastWhat, RecordedValue,
    };

    const POLICY: &str = r##"
[[command]]
name = "unit.reload"
summary = "reloads"
argv = ["/usr/bin/systemctl", "reload", "{unit}"]
effect = "change"
profile = "host"
args.unit = { type = "unit" }

[[command]]
name = "disk.usage"
summary = "shows"
argv = ["/usr/bin/du", ["--threshold={least}"], "--", "{where}"]
effect = "read"
profile = "read"
args.where = { type = "path", under = "/var", default = "/var/log", is = "directory" }
args.least = { type = "int", optional = true }

[[command]]
name = "disk.free"
summary = "shows"
argv = ["/usr/bin/df", "--type={kind}", "--", "{where}"]
effect = "read"
profile = "read"
args.where = { type = "path", under = "/var", default = "/var/log", is = "directory" }
args.kind = { type = "string" }

[[deny]]
name = "never"
to = ["#64009"]
deny = ["*"]
"##;

    fn load(texts: &[&str]) -> Loaded {
        let sources = texts.iter().enumerate().map(|(at, text)| Source {
            name: format!("{at}.toml"),
            text: text.as_bytes().to_vec(),
        });
        let files = PolicyFiles {
            sources: sources.collect(),
            warnings: Vec::new(),
        };
        let names = Names::of_other_machine(Vec::new());
        Loaded::of(files, &names, &remit_policy_compile::load).unwrap()
    }

    fn request(uid: u32, past: &str, what: PastWhat, argv: &[String]) -> PastRequest {
        let past = match past {
            "approved" => PastVerdict::Asked,
            code => PastVerdict::Refused(code.to_owned()),
        };
        PastRequest {
            seq: Some(7),
            job: Some("7f3a".to_owned()),
            at_ms: None,
            user: format!("#{uid}"),
            uid: Some(uid),
            gids: None,
            what,
            past,
            rule: None,
            policy: String::new(),
            shown: remit_common::text::command_line(argv, 4096),
            program: PastProgram {
                argv: Some(argv.to_vec()),
                cwd: "/".to_owned(),
                ..PastProgram::default()
            },
        }
    }

    fn none() -> RecordedValue<Vec<String>> {
        RecordedValue::Known(Vec::new())
    }

    fn run(uid: u32, argv: &[String]) -> PastRequest {
        request(
            uid,
            "denied_rule",
            PastWhat::Run("read".to_owned(), none()),
            argv,
        )
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn deny(_: &PastRequest) -> Result<NewVerdict, super::super::judge::CannotTell> {
        Ok(NewVerdict::Deny {
            rule: None,
            why: String::new(),
        })
    }

    fn found(requests: impl IntoIterator<Item = PastRequest>) -> (Candidates, Policy) {
        let mut denials = RepeatedDenials::default();
        for request in requests {
            let is_approved = request.past == PastVerdict::Asked;
            denials.add(request, deny);
            if is_approved {
                denials.approved("7f3a", deny);
            }
        }
        let names = Names::of_other_machine(Vec::new());
        let resolve = |program: &str| Some(format!("/usr/bin/{program}"));
        let found = find(&denials, &load(&[POLICY]), &names, &resolve);
        let all: String = found.accepted.iter().map(|one| one.toml.as_str()).collect();
        (found, load(&[POLICY, &all]).policy)
    }

    #[test]
    fn candidate_is_readable_and_exact() {
        let seen = ["df -h /srv", "df -h /var", "df -h /srv"].map(|line| run(64001, &words(line)));
        let (found, _) = found(seen);
        assert_eq!(found.left_out, []);
        let expect = r##"# 3 requests of #64001: denied_rule (record 7)
#   df -h /var
[[command]]
name = "seen.df"
summary = "Asked for 3 times: df -h /var"
argv = ["/usr/bin/df", "-h", "{value}"]
effect = "read"
profile = "read"
args.value = { type = "enum", values = ["/srv", "/var"] }
accepts = [{ value = "/srv" }, { value = "/var" }]
rejects = [{ value = "not-seen" }]

[[grant]]
name = "seen.df"
to = ["#64001"]
allow = ["seen.df"]

[[test]]
who = "#64001"
what = ["run", "seen.df", "value=/srv"]
verdict = "allow"

[[test]]
who = "#64001"
what = ["run", "seen.df", "value=/var"]
verdict = "allow"
"##;
        assert_eq!(found.accepted[0].toml, expect);
    }

    /// What the loader warns of is read before it is copied.
    #[test]
    fn warnings_about_a_candidate_are_beside_it() {
        let lines = ["python3 /srv/x.py", "df -h", "bash -c id"];
        let requests = lines
            .iter()
            .flat_map(|line| vec![run(64001, &words(line)); 3]);
        let (found, _) = found(requests);
        assert_eq!(found.left_out, []);
        for PolicyCandidate { toml, family, .. } in &found.accepted {
            let warning = match family.tally.example.as_str() {
                "python3 /srv/x.py" => Some("'/usr/bin/python3' is an interpreter: "),
                "bash -c id" => Some("'/usr/bin/bash' is a shell: "),
                _ => None,
            };
            let found: Vec<&str> = toml
                .lines()
                .filter(|line| line.starts_with("# warning"))
                .collect();
            let expect: Vec<String> = warning
                .map(|text| format!("# warning: {text}"))
                .into_iter()
                .collect();
            assert_eq!(found.len(), expect.len(), "{toml}");
            assert!(expect.iter().all(|text| toml.starts_with(text)), "{toml}");
        }
    }

    #[test]
    fn name_of_a_copied_candidate_is_not_used_again() {
        let candidates = |unit: &str, texts: &[&str]| {
            let args = vec![("unit".to_owned(), unit.to_owned())];
            let what = PastWhat::Named {
                name: "unit.reload".to_owned(),
                effect: Effect::Change,
                args: RecordedValue::Known(args),
                has_stdin: false,
                has_env: false,
            };
            let mut denials = RepeatedDenials::default();
            for _ in 0..3 {
                denials.add(request(64001, "not_found", what.clone(), &[]), deny);
            }
            let names = Names::of_other_machine(Vec::new());
            find(&denials, &load(texts), &names, &|_| None).accepted
        };
        let copied = candidates("a.service", &[POLICY]);
        let later = candidates("b.service", &[POLICY, &copied[0].toml]);
        for (found, name) in [(copied, "seen.unit-reload"), (later, "seen.unit-reload-2")] {
            let line = format!("name = \"{name}\"\n");
            assert!(found[0].toml.contains(&line), "{}", found[0].toml);
        }
    }

    #[test]
    fn unapproved_is_forgotten() {
        let mut denials = RepeatedDenials::default();
        let change = PastWhat::OneOff("host".to_owned(), none());
        let asked = request(64001, "approved", change, &words("id"));
        for _ in 0..3 {
            denials.add(asked.clone(), deny);
            denials.lapsed("7f3a");
            denials.approved("7f3a", deny);
        }
        assert_eq!(denials.families(), []);
    }

    #[test]
    fn number_of_a_user_is_beside_its_name_of_then() {
        let renamed = PastRequest {
            user: "old\n[[grant]]".to_owned(),
            ..run(64001, &words("id"))
        };
        let (found, _) = found(vec![renamed; 3]);
        let toml = &found.accepted[0].toml;
        let begin = "# 3 requests of #64001 (then 'old\\n[[grant]]'): denied_rule (record 7)\n";
        assert!(toml.starts_with(begin), "{toml}");
    }

    #[test]
    fn each_family_has_its_candidate_or_a_reason() {
        let named = |name: &str, args: &[(&str, &str)], effect| PastWhat::Named {
            name: name.to_owned(),
            effect,
            args: RecordedValue::Known(
                args.iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            ),
            has_stdin: false,
            has_env: false,
        };
        let script = PastProgram {
            is_script: true,
            ..PastProgram::default()
        };
        let base = || run(64001, &words("id -u"));
        let one_off = |by: Option<&str>| PastRequest {
            program: PastProgram {
                by: by.map(str::to_owned),
                ..base().program
            },
            ..request(
                64001,
                "approved",
                PastWhat::OneOff("host".to_owned(), none()),
                &words("id -u"),
            )
        };
        let of = |past: &str, what| request(64001, past, what, &[]);
        for (request, part) in [
            (base(), "argv = [\"/usr/bin/id\", \"-u\"]"),
            (
                one_off(Some("%#60 #7")),
                "approval = { by = [\"%#60\", \"#7\"] }",
            ),
            (
                one_off(Some("2 of (%#60, #7)")),
                "approval = { by = [\"%#60\", \"#7\"], count = 2 }",
            ),
            (
                PastRequest {
                    program: PastProgram {
                        signed: Some(Signed::Touch),
                        ..one_off(Some("%#60")).program
                    },
                    ..one_off(Some("%#60"))
                },
                "approval = { by = [\"%#60\"], signed = \"touch\" }",
            ),
            (
                one_off(Some("(%#60, #8) and #7")),
                "several rules asked for its approval, of (%#60, #8) and #7",
            ),
            (
                one_off(Some("2 of (%#60, #8) and (#7, #9)")),
                "several rules asked for its approval",
            ),
            (
                of(
                    "not_found",
                    named("unit.reload", &[("unit", "a.service")], Effect::Change),
                ),
                "args = { \"unit\" = [\"a.service\"] }\napproval = { by = [\"%remit-admin\"] }",
            ),
            (
                of(
                    "not_found",
                    named("disk.free", &[("kind", "xfs")], Effect::Read),
                ),
                "args = { \"kind\" = [\"xfs\"], \"where\" = [\"/var/log\"] }",
            ),
            (
                of("not_found", named("disk.usage", &[], Effect::Read)),
                "'least' is absent",
            ),
            (
                of(
                    "not_found",
                    named("unit.reload", &[("unit", "a*")], Effect::Change),
                ),
                "no grant changes this",
            ),
            (
                of("invalid_args", named("disk.usage", &[], Effect::Read)),
                "no grant changes",
            ),
            (
                of("not_found", named("no.such", &[], Effect::Read)),
                "there is no command 'no.such'",
            ),
            (
                of("denied_rule", named("service.status", &[], Effect::Read)),
                "a built-in command",
            ),
            (
                of("approved", named("disk.usage", &[], Effect::Read)),
                "use remit grant",
            ),
            (
                PastRequest {
                    program: script,
                    ..base()
                },
                "a script is no list",
            ),
            (
                run(64009, &words("id")),
                "would not load with it: expected allow, got deny",
            ),
            (
                PastRequest {
                    what: PastWhat::Run("no-such".to_owned(), none()),
                    ..base()
                },
                "would not load with it",
            ),
            (
                PastRequest {
                    what: PastWhat::Run(
                        "read".to_owned(),
                        RecordedValue::Known(vec!["TZ".to_owned()]),
                    ),
                    ..base()
                },
                "it set variables",
            ),
            (
                run(64001, &words("sh -c x")),
                "argv = [\"/usr/bin/sh\", \"-c\", \"x\"]",
            ),
        ] {
            let (found, _) = found(vec![request; 3]);
            let why: Vec<&str> = found.left_out.iter().map(|one| one.why.as_str()).collect();
            let tomls: Vec<&str> = found.accepted.iter().map(|one| one.toml.as_str()).collect();
            let all = [why, tomls].concat();
            assert!(all.len() == 1 && all[0].contains(part), "{part}: {all:?}");
            assert!(found.left_out.iter().all(|one| one.count == 3), "{found:?}");
        }
    }

    #[test]
    fn what_differs_twice_is_never_combined() {
        let lines = ["cp a b", "cp a b", "cp a b", "cp c d", "cp c d", "cp a d"];
        let (found, policy) = found(lines.map(|line| run(64001, &words(line))));
        assert_eq!(found.accepted.len(), 1);
        let granted = all_granted(&policy, 64001);
        assert_eq!(granted, BTreeSet::from([words("/usr/bin/cp a b")]));
    }

    #[test]
    fn users_are_together_only_if_they_asked_for_the_same() {
        let asked = [
            (64001, "id -u"),
            (64002, "id -u"),
            (64003, "id -u"),
            (64003, "id -g"),
        ];
        let requests = asked
            .into_iter()
            .flat_map(|(uid, line)| vec![run(uid, &words(line)); 3]);
        let (found, policy) = found(requests);
        let to: Vec<_> = found.accepted.iter().map(|one| one.to.join(" ")).collect();
        assert_eq!(to, ["#64003", "#64001 #64002"]);
        assert_eq!(
            all_granted(&policy, 64001),
            BTreeSet::from([words("/usr/bin/id -u")])
        );
        assert_eq!(all_granted(&policy, 64003).len(), 2);
    }

    /// Returns every argument list that the candidates allow this user.
    fn all_granted(policy: &Policy, uid: u32) -> BTreeSet<Vec<String>> {
        let caller = CallerIds { uid, gids: &[] };
        let mut granted = BTreeSet::new();
        for command in policy
            .commands()
            .filter(|command| command.name.starts_with("seen."))
        {
            let values = match command.params.as_slice() {
                [] => vec![vec![]],
                [param] => match &param.kind {
                    remit_policy::ParamKind::Enum(values) => values
                        .iter()
                        .map(|value| vec![(param.name.clone(), value.clone())])
                        .collect(),
                    other => panic!("{other:?}"),
                },
                more => panic!("{more:?}"),
            };
            for args in values {
                let ask = Ask::Command {
                    name: &command.name,
                    effect: command.effect,
                    args: &args,
                };
                if let Verdict::Deny(_) = policy.decide(caller, &ask) {
                    continue;
                }
                let argv = command.bind(&args, false).unwrap().argv.into_iter();
                let word = |element| match element {
                    ArgvElement::Text(bytes) => String::from_utf8(bytes).unwrap(),
                    other => panic!("{other:?}"),
                };
                granted.insert(argv.map(word).collect());
                let other = |text: &str| vec![(VALUE.to_owned(), text.to_owned())];
                for changed in ["", "x\u{1}", "changed"] {
                    let is_seen = args.iter().any(|(_, value)| value == changed)
                        || !command.params.is_empty();
                    assert!(is_seen || command.bind(&other(changed), false).is_err());
                }
            }
        }
        granted
    }

    const VALUE: &str = "value";

    fn word() -> impl Strategy<Value = String> {
        let hostile = prop::sample::select(vec![
            "\"]\n[[grant]]\nto = [\"#64001\"]\nallow = [\"run\"]",
            "'''",
            "\"\"\"",
            "\\\"",
            "\\",
            "{value}",
            "{",
            "}}",
            "\u{202e}x",
            "\u{1b}[2J",
            "#",
            "a\r",
            "*",
            "--x={value}",
            "-",
            "a",
            "b",
            "c",
        ]);
        prop_oneof![4 => hostile.prop_map(str::to_owned), 1 => "\\PC{1,6}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_what_was_seen_is_granted(
            seen in prop::collection::vec((64001_u32..64003, prop::collection::vec(word(), 0..3), 1_usize..5), 1..5)
        ) {
            let argv = |words: &[String]| [&["tool".to_owned()], words].concat();
            let requests = seen.iter().flat_map(|(uid, words, times)| vec![run(*uid, &argv(words)); *times]);
            let (found, policy) = found(requests);
            for uid in [64001, 64002, 64003] {
                let of_user = seen.iter().filter(|(of, _, _)| *of == uid);
                let at_path = |words: &[String]| [&["/usr/bin/tool".to_owned()], words].concat();
                let asked: BTreeSet<_> = of_user.clone().map(|(_, words, _)| at_path(words)).collect();
                let granted = all_granted(&policy, uid);
                prop_assert!(granted.is_subset(&asked), "{granted:?} {asked:?}");
                for (_, words, times) in of_user {
                    let is_left_out = || found.left_out.iter().any(|one| one.why.contains("would not load"));
                    prop_assert!(*times < 3 || granted.contains(&at_path(words)) || is_left_out(), "{found:?}");
                }
                // Nothing but the new commands: no word has become a rule.
                let run = Ask::Run { profile: None, argv0: b"", env_names: &[] };
                let verdict = policy.decide(CallerIds { uid, gids: &[] }, &run);
                prop_assert!(matches!(verdict, Verdict::Deny(_)));
            }
            let rules = found.accepted.len() + 1;
            prop_assert_eq!(policy.rules(), rules);
            for PolicyCandidate { toml, .. } in &found.accepted {
                prop_assert!(toml.chars().all(remit_common::text::is_plain));
            }
        }
    }
}
