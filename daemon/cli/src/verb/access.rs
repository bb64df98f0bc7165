//! `remit access`: what the caller may do.

use remit_common::text;
use remit_common::wire::{Access, AccessReport, Reply, Request};

use crate::app::Context;
use crate::args::{self, AccessArgs};
use crate::daemon::Daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::table::{self, Table};

/// Shows grants, and the answer about a command; that is also in the exit status.
pub fn access(context: &Context, args: AccessArgs) -> Result<Exit, Failure> {
    let is_named = args.name.is_some();
    let mut daemon = Daemon::connect(&context.runtime)?;
    let argv = (!args.argv.is_empty()).then(|| args::bytes(&args.argv));
    let question = Access {
        argv,
        profile: args.profile,
        name: args.name,
        query: None,
    };
    let Reply::Access(report) = daemon.call(Request::Access(question))? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&show(&report, is_named))?,
    }
    Ok(match &report.asked {
        Some(asked) if !asked.allowed => Exit::REFUSED,
        Some(_) | None => Exit::OK,
    })
}

/// One line, whole: a usage that is cut is of no use.
fn printable(text: &str) -> String {
    text::line(text.as_bytes(), 1000)
}

/// With a question only its answer; of the commands, the one asked about.
fn show(report: &AccessReport, is_named: bool) -> String {
    let mut lines = format!("{} (uid {})\n", table::cell(&report.user), report.uid);
    if let Some(asked) = &report.asked {
        lines += &table::fact("allowed", if asked.allowed { "yes" } else { "no" });
        lines += &table::fact("why", &asked.why);
        if let Some(rule) = &asked.rule {
            lines += &table::fact("rule", rule);
        }
        if let Some(lift) = &asked.lift {
            lines += &table::fact("to lift it", lift);
        }
        for command in report.commands.iter().filter(|_| is_named) {
            lines += &table::fact("usage", &command.usage);
            lines += &table::fact("answers", &command.summary);
            for arg in &command.args {
                let (name, what) = arg.split_once(": ").unwrap_or((arg, ""));
                lines += &table::fact(&table::cell(name), what);
            }
        }
        return lines;
    }
    if report.grants.is_empty() {
        lines += "  nothing is granted to you here\n";
    }
    let mut grants = Table::new(["ALLOWED", "PROFILE", "VARIABLES", "RULE"]);
    for grant in &report.grants {
        grants.row([
            &grant.allow.join(", "),
            &grant.profile,
            &grant.env.join(", "),
            &grant.rule,
        ]);
    }
    lines += &grants.render();
    for profile in &report.profiles {
        lines += &table::fact(&table::cell(&profile.name), &profile.summary);
    }
    for command in &report.commands {
        let (usage, summary) = (printable(&command.usage), printable(&command.summary));
        lines += &format!("  run --name {usage}\n{:15}{summary}\n", "");
    }
    lines
}
