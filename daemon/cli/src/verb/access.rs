//! `remit access`: what the caller may do.

use remit_common::text;
use remit_common::wire::{Access, AccessReport, CommandView, Effect, Reply, Request};

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
        query: args.query,
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

/// The verb that takes it.
fn verb(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "run --name",
        Effect::Change => "change",
    }
}

/// How a command is typed and what it does; below, what is not as with most.
fn listed(command: &CommandView) -> String {
    let (usage, summary) = (printable(&command.usage), printable(&command.summary));
    let mut lines = format!("  {} {usage}\n{:15}{summary}\n", verb(command.effect), "");
    if command.profile != "read" || command.approval.is_some() {
        let approval = command.approval.iter().map(|words| format!("; {words}"));
        let profile = format!(
            "in profile {}{}",
            command.profile,
            approval.collect::<String>()
        );
        lines += &format!("{:15}{}\n", "", printable(&profile));
    }
    lines
}

/// With a question only its answer; of the commands, the one asked about.
fn show(report: &AccessReport, is_named: bool) -> String {
    let mut lines = format!("{} (uid {})\n", table::cell(&report.user), report.uid);
    if let Some(asked) = &report.asked {
        let allowed = match (asked.allowed, &asked.approval) {
            (true, _) => "yes",
            (false, Some(_)) => "not without approval",
            (false, None) => "no",
        };
        lines += &table::fact("allowed", allowed);
        lines += &table::fact("why", &asked.why);
        if let Some(approval) = &asked.approval {
            lines += &table::fact("approval", approval);
        }
        if let Some(rule) = &asked.rule {
            lines += &table::fact("rule", rule);
        }
        if let Some(lift) = &asked.lift {
            lines += &table::fact("to lift it", lift);
        }
        for command in report.commands.iter().filter(|_| is_named) {
            let usage = format!("{} {}", verb(command.effect), command.usage);
            lines += &table::fact("usage", &usage);
            lines += &table::fact("answers", &command.summary);
            lines += &table::fact("effect", command.effect.name());
            lines += &table::fact("profile", &command.profile);
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
    for grant in &report.grants {
        if let Some(approval) = &grant.approval {
            lines += &table::fact("approval", &format!("{}: {approval}", grant.rule));
        }
        if let Some(left) = &grant.left {
            lines += &table::fact("left", &format!("{}: {left}", grant.rule));
        }
    }
    for profile in &report.profiles {
        lines += &table::fact(&table::cell(&profile.name), &profile.summary);
    }
    lines += &report.commands.iter().map(listed).collect::<String>();
    lines += &table::more(report.more_commands.into());
    if report.more_commands > 0 {
        lines += "  to see those that have some text: remit access --query TEXT\n";
    }
    lines
}
