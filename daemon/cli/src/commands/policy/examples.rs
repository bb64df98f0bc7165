//! `remit policy test`: shows results of tables and examples. A load runs all; this parses again, for a line each.

use std::ops::{Range, RangeInclusive};

use remit_policy::{Diagnostic, Severity, Source, Subject};
use remit_policy_compile::load;
use remit_policy_files::Loaded;
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files;
use crate::args::FilesArgs;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units::count;

#[derive(Debug, PartialEq, Eq)]
struct Example {
    file: String,
    at: RangeInclusive<LineColumn>,
    what: String,
    /// A load tests verdicts only if there are no errors of other kinds.
    is_verdict: bool,
    /// Whose verdict it is; empty for an example.
    subject: String,
}

/// Line and column from 1; the column is in characters.
type LineColumn = (usize, usize);

enum ExampleOutcome<'a> {
    Passed,
    Failed(&'a Diagnostic),
    /// The account is not there, or its groups are not known.
    NotTested(String),
    Untried,
}

/// Shows each test and example. The exit status is 0 if none fails.
pub fn test(context: &Context, args: &FilesArgs) -> Result<Exit, Failure> {
    let (files, names) = files::read(args);
    let files = match files {
        Ok(files) => files,
        Err(found) => return untested(context, &found),
    };
    let examples: Vec<Example> = files.sources.iter().flat_map(examples).collect();
    let found = Loaded::of(files, &names, &load);
    let found = found.map_or_else(|found| found, |loaded| loaded.warnings);
    let is_error = |one: &Diagnostic| one.severity() == Severity::Error;
    let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(is_error);
    let of_none = |one: &Diagnostic| !examples.iter().any(|example| example.has(one));
    if errors.iter().any(of_none) {
        return untested(context, &errors);
    }
    let asked = errors.iter().all(is_about_verdict);
    let outcome = |example: &Example| match errors.iter().find(|one| example.has(one)) {
        Some(error) => ExampleOutcome::Failed(error),
        None if !example.is_verdict => ExampleOutcome::Passed,
        None => match Subject::named(&example.subject, &names) {
            Err(why) => ExampleOutcome::NotTested(format!("not tested: {why}")),
            Ok(_) if !asked => ExampleOutcome::Untried,
            Ok(_) if let Some(why) = not_tested(example, &warnings) => {
                ExampleOutcome::NotTested(why.to_owned())
            }
            Ok(_) => ExampleOutcome::Passed,
        },
    };
    let outcomes: Vec<(&Example, ExampleOutcome<'_>)> = examples
        .iter()
        .map(|example| (example, outcome(example)))
        .collect();
    let is_failed =
        |(_, outcome): &&(_, ExampleOutcome<'_>)| matches!(outcome, ExampleOutcome::Failed(_));
    let failed = outcomes.iter().filter(is_failed).count();
    match context.form {
        Form::Json => output::json(&json!({
            "loads": failed == 0,
            "tests": outcomes.iter().map(object).collect::<Vec<_>>(),
            "failed": failed,
        }))?,
        Form::Text => output::text(&show(&outcomes, failed))?,
    }
    Ok(match failed {
        0 => Exit::OK,
        _ => Exit::FOUND,
    })
}

fn not_tested<'a>(example: &Example, warnings: &'a [Diagnostic]) -> Option<&'a str> {
    let mut own = warnings.iter().filter(|one| example.has(one));
    let why = own.find(|one| one.message().starts_with("not tested: "))?;
    Some(why.message())
}

fn untested(context: &Context, found: &[Diagnostic]) -> Result<Exit, Failure> {
    match context.form {
        Form::Json => output::json(&json!({
            "loads": false,
            "tests": [],
            "failed": 0,
            "findings": files::objects(found),
        }))?,
        Form::Text => {
            let why = "nothing was tested: the policy does not load for other reasons";
            output::text(&format!("{}{why}\n", files::lines(found)))?;
        }
    }
    Ok(Exit::FOUND)
}

/// Returns true if the error is of a valid table, which a load judges with the verdicts.
fn is_about_verdict(error: &Diagnostic) -> bool {
    const STARTS: [&str; 8] = [
        "expected allow, got",
        "expected ask, got",
        "expected deny, got",
        "there is no command",
        "there is no profile",
        "paths are only for a command",
        "this is denied whatever the rules are: ",
        "the verdict depends on the paths of the plan: ",
    ];
    let message = error.message();
    STARTS.iter().any(|start| message.starts_with(start))
}

fn object((example, outcome): &(&Example, ExampleOutcome<'_>)) -> Value {
    let (passed, why) = match outcome {
        ExampleOutcome::Passed => (Some(true), None),
        ExampleOutcome::Failed(error) => (Some(false), Some(error.message())),
        ExampleOutcome::NotTested(why) => (None, Some(why.as_str())),
        ExampleOutcome::Untried => (None, None),
    };
    json!({
        "file": example.file,
        "line": example.at.start().0,
        "what": example.what,
        "passed": passed,
        "why": why,
    })
}

fn show(outcomes: &[(&Example, ExampleOutcome<'_>)], failed: usize) -> String {
    let mut lines = String::new();
    let (mut untried, mut not_tested) = (false, 0);
    for (example, outcome) in outcomes {
        let (word, error) = match outcome {
            ExampleOutcome::Passed => ("ok", None),
            ExampleOutcome::Failed(error) => ("FAILED", Some(error.to_string())),
            ExampleOutcome::NotTested(why) => ("-", Some(format!("warning: {why}"))),
            ExampleOutcome::Untried => ("-", None),
        };
        untried |= matches!(outcome, ExampleOutcome::Untried);
        not_tested += usize::from(matches!(outcome, ExampleOutcome::NotTested(_)));
        let Example { file, at, what, .. } = example;
        lines += &format!("{word:<6} {file}:{}: {what}\n", at.start().0);
        for line in error.iter().flat_map(|error| error.lines()) {
            lines += &format!("       {line}\n");
        }
    }
    if untried {
        lines += "no verdict was asked for, because of the other errors\n";
    }
    lines
        + &match (count(outcomes.len(), "test"), failed) {
            _ if outcomes.is_empty() => {
                "there is no [[test]], accepts or rejects in these files\n".to_owned()
            }
            (all, 0) if not_tested > 0 => format!("{all}, {not_tested} not tested\n"),
            (all, 0) => format!("{all}, all passed\n"),
            (all, failed) => format!("{all}, {failed} failed: the policy does not load\n"),
        }
}

impl Example {
    fn has(&self, error: &Diagnostic) -> bool {
        let line_column = error.line().zip(error.column());
        self.file == error.file()
            && line_column.is_some_and(|line_column| self.at.contains(&line_column))
    }
}

fn examples(source: &Source) -> Vec<Example> {
    let text = std::str::from_utf8(&source.text).unwrap_or_default();
    let Ok(table) = DeTable::parse(text) else {
        return Vec::new();
    };
    let example = |span: Range<usize>, what: String, subject: Option<String>| Example {
        file: source.name.clone(),
        at: line_column(text, span.start)..=line_column(text, span.end.saturating_sub(1)),
        what,
        is_verdict: subject.is_some(),
        subject: subject.unwrap_or_default(),
    };
    let mut found = Vec::new();
    for command in tables(table.get_ref(), "command") {
        let Some(fields) = command.get_ref().as_table() else {
            continue;
        };
        let name = field(fields, "name");
        for key in ["accepts", "rejects"] {
            for item in tables(fields, key) {
                let what = format!("{name} {key} {}", shown(item.get_ref()));
                found.push(example(item.span(), what, None));
            }
        }
    }
    for test in tables(table.get_ref(), "test") {
        let Some(fields) = test.get_ref().as_table() else {
            continue;
        };
        let [subject, mut what, verdict] = ["who", "what", "verdict"].map(|key| field(fields, key));
        if let Some(profile) = fields.get("profile") {
            what += &format!(" in profile {}", shown(profile.get_ref()));
        }
        if let Some(paths) = fields.get("paths") {
            what += &format!(" of {}", shown(paths.get_ref()));
        }
        // The span of a table is only its header, so it is extended to its fields.
        let ends = fields.values().map(|value| value.span().end);
        let span = test.span().start..ends.fold(test.span().end, usize::max);
        let what = format!("{subject}: {what} is {verdict}");
        found.push(example(span, what, Some(subject)));
    }
    found.sort_by_key(|example| *example.at.start());
    found
}

fn field(fields: &DeTable<'_>, key: &str) -> String {
    let value = fields.get(key);
    value
        .map(|value| shown(value.get_ref()))
        .unwrap_or_default()
}

fn tables<'a, 'b>(
    table: &'a DeTable<'b>,
    key: &str,
) -> impl Iterator<Item = &'a Spanned<DeValue<'b>>> {
    let list = table.get(key).and_then(|value| value.get_ref().as_array());
    list.into_iter().flat_map(|list| list.iter())
}

fn line_column(text: &str, at: usize) -> LineColumn {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Array(list) => {
            let words = list.iter().map(|item| shown(item.get_ref()));
            words.collect::<Vec<_>>().join(" ")
        }
        DeValue::Table(table) if table.is_empty() => "no argument".to_owned(),
        DeValue::Table(table) => {
            let words = table.iter().flat_map(|(key, value)| {
                let key = key.get_ref().to_string();
                let values: Vec<String> = match value.get_ref() {
                    DeValue::Array(list) => list.iter().map(|item| shown(item.get_ref())).collect(),
                    one => vec![shown(one)],
                };
                values
                    .into_iter()
                    .map(move |value| format!("{key}={value}"))
            });
            words.collect::<Vec<_>>().join(" ")
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Float(_) | DeValue::Datetime(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_lines_and_words() {
        let text = r#"
[[command]]
name = "a.b"
accepts = [{ x = "1", y = ["2", 3] },
           {}]
rejects = [
  { x = true },
]

[[test]]
who = "%ops"
what = ["run", "a.b", "x=1"]

verdict = "deny"

[[test]]
profile = "strict"
"#;
        let source = Source {
            name: "f".into(),
            text: text.into(),
        };
        let found: Vec<_> = examples(&source)
            .into_iter()
            .map(|example| (example.at, example.what))
            .collect();
        let expect = [
            ((4, 12)..=(4, 36), "a.b accepts x=1 y=2 y=3"),
            ((5, 12)..=(5, 13), "a.b accepts no argument"),
            ((7, 3)..=(7, 14), "a.b rejects x=true"),
            ((10, 1)..=(14, 16), "%ops: run a.b x=1 is deny"),
            ((16, 1)..=(17, 18), ":  in profile strict is "),
        ];
        assert_eq!(found, expect.map(|(at, what)| (at, what.to_owned())));
        let broken = Source {
            name: "f".into(),
            text: b"[[test".into(),
        };
        assert_eq!(examples(&broken), []);
    }
}
