use std::collections::BTreeMap;

use remit_wire::{Access, AccessReport, Asked, CommandView, Effect, GrantView, Reply, Request};

use crate::args::{self, AccessArgs};
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::failure;
use crate::render::output::{self, Context, Form};
use crate::render::table::{self, Table};
use crate::render::units::Width;

/// Shows grants and the decision about a command, which also sets the exit status.
pub fn access(context: &Context, args: AccessArgs) -> Result<Exit, Failure> {
    let is_named = args.name.is_some();
    let query = args.query.clone();
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
        Form::Text => {
            let width = context.width;
            let lines = match (&query, &report.asked) {
                (Some(query), _) => found(&report, query, width),
                (None, Some(asked)) => decision(&report, asked, is_named),
                (None, None) => all(&report, width),
            };
            output::text(&width.fold(&lines))?;
        }
    }
    Ok(match &report.asked {
        Some(asked) if !asked.allowed && query.is_none() => Exit::REFUSED,
        Some(_) | None => Exit::OK,
    })
}

fn decision(report: &AccessReport, asked: &Asked, is_named: bool) -> String {
    let mut lines = caller(report);
    let allowed = match (asked.allowed, &asked.approval) {
        (true, _) => "yes",
        (false, Some(_)) => "not without approval",
        (false, None) => "no",
    };
    lines += &table::fact("allowed", allowed);
    lines += &table::fact("why", &failure::typed(&asked.why));
    if let Some(approval) = &asked.approval {
        lines += &table::fact("approval", approval);
    }
    if let Some(rule) = &asked.rule {
        lines += &table::fact("rule", rule);
    }
    if let Some(lift) = &asked.lift {
        lines += &table::lines("to lift it", lift);
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
    lines
}

fn caller(report: &AccessReport) -> String {
    format!("{} (uid {})\n", table::cell(&report.user), report.uid)
}

fn verb(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "run --name",
        Effect::Change => "change",
    }
}

fn found(report: &AccessReport, query: &str, width: Width) -> String {
    let mut lines = match report.commands.is_empty() {
        true => format!(
            "no command that you may use has these words: {}\n",
            table::cell(query)
        ),
        false => commands(report, width),
    };
    if let Some(asked) = &report.asked {
        lines += &format!("\n{}\n", table::line(&failure::typed(&asked.why)));
        let lift = asked.lift.iter();
        lines.extend(lift.map(|lift| table::lines("to lift it", lift)));
    }
    lines
}

fn all(report: &AccessReport, width: Width) -> String {
    let mut lines = caller(report);
    let is_run = |grant: &&GrantView| grant.allow.iter().any(|name| name == "run");
    let programs: String = report
        .grants
        .iter()
        .filter(is_run)
        .map(|grant| table::fact(&table::cell(&grant.profile), &terms(report, grant)))
        .collect();
    if !programs.is_empty() {
        lines += &format!("\nany program, in a profile: remit run PROGRAM [ARG...]\n{programs}");
    }
    let left = report.grants.iter().filter_map(|grant| {
        let left = grant.left.as_ref()?;
        let what = format!("{}: {}, {left}", grant.rule, grant.allow.join(", "));
        Some(table::fact("granted", &what))
    });
    let left: String = left.collect();
    if programs.is_empty() && report.commands.is_empty() && left.is_empty() {
        lines += "  nothing is granted to you here\n";
    }
    if !report.commands.is_empty() {
        lines += &format!("\n{}", commands(report, width));
    }
    if !left.is_empty() {
        lines += &format!("\nfor a time\n{left}");
    }
    if report.more_grants > 0 {
        lines += &format!("\n{} more grants are not shown\n", report.more_grants);
    }
    if !report.commands.is_empty() {
        lines += "\nto explain one: remit access --name COMMAND\n";
    }
    lines
}

fn terms(report: &AccessReport, grant: &GrantView) -> String {
    let mut profiles = report.profiles.iter();
    let profile = profiles.find(|profile| profile.name == grant.profile);
    let mut terms: Vec<String> = profile.map(|one| one.summary.clone()).into_iter().collect();
    if !grant.env.is_empty() {
        terms.push(format!("--env may set {}", grant.env.join(", ")));
    }
    terms.extend(grant.approval.clone());
    terms.join("; ")
}

fn commands(report: &AccessReport, width: Width) -> String {
    let mut groups: BTreeMap<(Effect, &Option<String>), Vec<&CommandView>> = BTreeMap::new();
    for command in &report.commands {
        let group = groups.entry((command.effect, &command.approval));
        group.or_default().push(command);
    }
    let mut lines = Vec::new();
    for ((effect, approval), commands) in groups {
        let what = match effect {
            Effect::Read => "commands that only read: remit run --name COMMAND [KEY=VALUE...]",
            Effect::Change => {
                "commands that change this machine: remit change -m WHY COMMAND [KEY=VALUE...]"
            }
        };
        let approval = approval
            .iter()
            .map(|words| format!("\n  {}", table::line(words)));
        let mut group = format!("{what}{}\n", approval.collect::<String>());
        let mut table = Table::new(["~COMMAND", "~ANSWERS"]);
        for command in commands {
            table.row([&command.usage, &command.summary]);
        }
        group += &table.render(width);
        lines.push(group);
    }
    let more = table::more(report.more_commands.into());
    let hint = match report.more_commands {
        0 => "",
        _ => "  to search all: remit access --query TEXT\n",
    };
    lines.join("\n") + &more + hint
}
