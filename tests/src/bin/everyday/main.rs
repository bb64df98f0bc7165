//! `everyday RESULTS HARMLESS [--json
//! --markdown]`: compares the answers of everyday commands to root and through remit. RESULTS has one directory per
//! command, as written by `tests/everyday/each`. HARMLESS lists different answers that are correct, with reasons. Does
//! not run the commands. The table and JSON end with status 1 if fewer are the same or harmless than promised.

mod report;
mod trial;
mod verdict;

use std::error::Error;
use std::process::ExitCode;

use report::Report;
use trial::Trial;
use verdict::Exception;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("everyday: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let [results, harmless, form @ ..] = arguments else {
        return Err("usage: everyday RESULTS HARMLESS [--json|--markdown]".into());
    };
    let trials = Trial::read_all(results.as_ref())?;
    let exceptions = Exception::parse_all(&std::fs::read_to_string(harmless)?)?;
    for Exception { command, .. } in &exceptions {
        if !trials.iter().any(|trial| trial.command == *command) {
            return Err(
                format!("'{harmless}' has '{command}', which is no everyday command").into(),
            );
        }
    }
    let report = Report::new(&trials, &exceptions);
    let out = &mut std::io::stdout().lock();
    match form {
        [] => report.table(out)?,
        ["--json"] => report.json(out)?,
        ["--markdown"] => return Ok(report.markdown(out)?),
        _ => return Err(format!("unknown form '{}'", form.join(" ")).into()),
    }
    Ok(report.keeps_the_promise()?)
}
