//! `remit policy explain`: shows what a user may do, by which rule, and what would run.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{Gid, Group};
use remit_common::text;
use remit_plan::PlanPath;
use remit_policy::{
    Ask, Base, Call, CallerIds, Command, Inspect, Listed, Network, Profile, ProfileLimits, Subject,
    User,
};
use remit_policy_files::{InterfaceAddresses, Names};
use remit_wire::Effect;
use serde_json::json;

use super::files;
use super::groups::{Floor, floor, longest_runtime_s};
use super::outcome::{ExplainOutcome, granted};
use crate::args::ExplainArgs;
use crate::commands::input::usage;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::{table, units};

enum Question<'a> {
    /// Any program, or the given one, in the requested profile.
    Program(&'a ExplainArgs),
    Named(Call),
}

/// Shows the verdict and its reasons. Exit status: 0 if allowed without approval, 2 if the policy fails, otherwise 1.
pub fn explain(context: &Context, args: &ExplainArgs) -> Result<Exit, Failure> {
    // Arguments that no policy could accept are a usage error.
    Question::of(args, |_| Some(Effect::Read))?;
    let (made, names) = files::of_args(&args.files);
    let loaded = match made {
        Ok(loaded) => loaded,
        Err(found) => return files::unloaded(context, found),
    };
    let effect_of = |name: &str| loaded.policy.named(name).map(|command| command.effect());
    let question = match Question::of(args, effect_of)? {
        Question::Named(call) => {
            if let Some(why) = call.wrong_paths(&loaded.policy) {
                return Err(usage(&why));
            }
            Question::Named(call.completed(&loaded.policy))
        }
        program => program,
    };
    let subject = match Subject::named(&args.caller, &names) {
        Ok(subject) => subject,
        Err(why) => return files::trouble(context, &[], &why),
    };
    let caller = subject.caller();
    let argv0 = args.argv.first().map(|program| program.as_bytes());
    let ask = match &question {
        Question::Program(args) => Ask::Run {
            profile: args.profile.as_deref(),
            argv0: argv0.unwrap_or_default(),
            env_names: &[],
        },
        Question::Named(call) => call.ask(),
    };
    let config = files::resolve(&args.files.config, files::owners(&args.files));
    let remit_toml = files::settings_directory(&config).join("remit.toml");
    let floor = match floor(&remit_toml) {
        Ok(floor) => floor,
        Err(why) => return files::trouble(context, &[], &why),
    };
    let approval = floor.approval();
    let explanation =
        remit_policy_compile::explain_under(&loaded.policy, caller, &ask, approval.as_ref());
    let outcome = match &question {
        Question::Program(args) => ExplainOutcome::of_program(&explanation, &args.argv),
        Question::Named(call) => ExplainOutcome::of_command(&explanation, call),
    };
    let is_change = matches!(&question, Question::Named(call) if call.effect == Effect::Change);
    let outcome = match is_change && floor == Floor::Refuses {
        true => outcome.without_approver(),
        false => outcome,
    };
    let most = longest_runtime_s(&remit_toml).ok();
    let most = most.filter(|_| !names.are_of_other_host());
    let words = outcome.profile.map(|profile| match granted(&explanation) {
        Some(command) => {
            let mut words = words(&of_command(profile, command), &names, most);
            if command.runs_any_program() {
                let any = "any program: a plan may replace the command's own".to_owned();
                words.insert(1, ("runs", any));
            }
            words
        }
        None => words(profile, &names, most),
    });
    match context.form {
        Form::Json => output::json(&json!({
            "who": args.caller,
            "uid": caller.uid,
            "gids": caller.gids,
            "what": question.to_string(),
            "verdict": outcome.verdict.name(),
            "why": outcome.why,
            "rule": outcome.rule,
            "approval": outcome.approval,
            "lift": outcome.lift,
            "argv": outcome.argv,
            "notes": outcome.notes,
            "profile": outcome.profile.map(|profile| &profile.name),
            "profile_words": words.iter().flatten().cloned().collect::<BTreeMap<_, _>>(),
            "considered": explanation.considered.iter().map(|(rule, why)| json!({
                "rule": rule.to_string(),
                "why": why,
            })).collect::<Vec<_>>(),
        }))?,
        Form::Text => {
            let mut lines = format!(
                "{} ({}) asks for: {question}\n",
                table::cell(&args.caller),
                ids(&args.caller, caller, &names),
            );
            lines += &outcome.lines();
            for (name, value) in words.iter().flatten() {
                lines += &table::lines(name, value);
            }
            lines += "rules, in the order in which they decide:\n";
            if explanation.considered.is_empty() {
                lines += "  none\n";
            }
            for (rule, why) in &explanation.considered {
                lines += &format!("  {rule}\n      {why}\n");
            }
            output::text(&lines)?;
        }
    }
    Ok(match outcome.verdict.is_allowed() {
        true => Exit::OK,
        false => Exit::FOUND,
    })
}

impl<'a> Question<'a> {
    fn of(
        args: &'a ExplainArgs,
        effect_of: impl Fn(&str) -> Option<Effect>,
    ) -> Result<Self, Failure> {
        let mut words: Vec<&str> = match args.what.as_slice() {
            [one] => one.split_ascii_whitespace().collect(),
            words => words.iter().map(String::as_str).collect(),
        };
        let is_program = matches!(words.as_slice(), [] | ["run"]) && args.paths.is_empty();
        if is_program {
            return Ok(Self::Program(args));
        }
        if let ["change"] = words.as_slice()
            && args.argv.is_empty()
            && args.paths.is_empty()
        {
            let call = Call::parse(&words).map_err(|why| usage(&why))?;
            let profile = args.profile.clone();
            return Ok(Self::Named(Call { profile, ..call }));
        }
        if !args.argv.is_empty() || args.profile.is_some() {
            return Err(usage(
                "a named command has its own program and profile: no '--', no '--profile'",
            ));
        }
        // The command's definition has the effect, so its name is enough.
        if let Some(name) = words.first().copied()
            && !["run", "change"].contains(&name)
        {
            let effect = effect_of(name).ok_or_else(|| {
                let shown = text::line(name.as_bytes(), 96);
                usage(&format!(
                    "'{shown}' is neither 'run' nor 'change', nor a command of this policy"
                ))
            })?;
            words.insert(0, verb(effect));
        }
        let path = |path: &String| {
            let wrong = |why| usage(&format!("'{}': {why}", text::line(path.as_bytes(), 96)));
            PlanPath::new(path.as_str()).map_err(wrong)
        };
        let paths = args.paths.iter().map(path).collect::<Result<_, _>>()?;
        let call = Call::parse(&words).map_err(|why| usage(&why))?;
        Ok(Self::Named(Call { paths, ..call }))
    }
}

impl std::fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(args) => match args.argv.is_empty() {
                true => write!(f, "run (any program or script)")?,
                false => {
                    let argv: Vec<&[u8]> = args.argv.iter().map(|word| word.as_bytes()).collect();
                    write!(f, "run -- {}", text::command_line(&argv, 256))?;
                }
            },
            Self::Named(call) => {
                let any = "(any program or script, once)";
                let name = call.name.as_deref().unwrap_or(any);
                write!(f, "{} {name}", tool(call))?;
                for (key, value) in &call.args {
                    let word = format!("{key}={value}");
                    write!(f, " {}", text::command_line(&[word], 256))?;
                }
                for path in &call.paths {
                    write!(f, " --paths '{path}'")?;
                }
            }
        }
        let profile = match self {
            Self::Program(args) => &args.profile,
            Self::Named(call) => &call.profile,
        };
        match profile {
            Some(profile) => write!(f, " in profile {}", table::cell(profile)),
            None => Ok(()),
        }
    }
}

fn tool(call: &Call) -> &'static str {
    verb(call.effect)
}

fn verb(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "run",
        Effect::Change => "change",
    }
}

/// Returns uid and groups. A `%group` is a hypothetical user with no real uid.
fn ids(written: &str, caller: CallerIds<'_>, names: &Names) -> String {
    if written.starts_with('%') {
        return "somebody who is in that group and in no other".to_owned();
    }
    let groups: Vec<String> = caller.gids.iter().map(|gid| group(*gid, names)).collect();
    match groups.is_empty() {
        true => format!("uid {}, groups none", caller.uid),
        false => format!("uid {}, groups {}", caller.uid, groups.join(" ")),
    }
}

/// Describes a sandbox in plain words. Returns names and descriptions, which may have several lines. No job runs for more than
/// `most` seconds.
pub fn words(profile: &Profile, names: &Names, most: Option<u32>) -> Vec<(&'static str, String)> {
    let mut words = vec![("profile", format!("{}\n{}", profile.name, profile.summary))];
    let base = match profile.base {
        Base::Read => {
            "sees what an operator's account sees, changes nothing but what is listed here"
                .to_owned()
        }
        Base::Strict => "sees /usr and what is listed here, in namespaces of its own".to_owned(),
        Base::Host => "no sandbox: whatever its user may".to_owned(),
        Base::Plan => format!(
            "root of a copy of the machine, {}; nothing of the machine changes",
            profile.eyes.meaning()
        ),
        Base::Extract => "reads what a job of base plan made of its copy of the machine".to_owned(),
    };
    words.push(("base", format!("{}: {base}", profile.base.name())));
    words.push((
        "runs as",
        match &profile.user {
            User::Own => "a uid of its own for each job, without privilege".to_owned(),
            User::Fixed { name, uid, gid } => format!("{name} (uid {uid}, gid {gid})"),
        },
    ));
    let groups: Vec<String> = profile
        .groups
        .iter()
        .map(|gid| group(*gid, names))
        .collect();
    let besides = [
        ("groups", groups.join(" ")),
        ("capabilities", profile.capability_names().join(" ")),
        (
            "inspects",
            profile.inspect.map_or("", Inspect::meaning).to_owned(),
        ),
        ("reads", listed(&profile.read)),
        ("writes", written(profile)),
        ("executes", listed(&profile.exec)),
        ("scratch", profile.scratch.join(" ")),
        ("devices", listed(&profile.devices)),
        ("sockets", listed(&profile.sockets)),
        (
            "network",
            network(&profile.network, &InterfaceAddresses::ask(names)),
        ),
        ("space", profile.space.map(units::bytes).unwrap_or_default()),
        (
            "variables",
            profile.env.keys().cloned().collect::<Vec<_>>().join(" "),
        ),
        ("limits", limits(&profile.limits, most)),
    ];
    words.extend(besides.into_iter().filter(|(_, value)| !value.is_empty()));
    words
}

/// Returns the profile with the command's variables and limits, which override its own.
pub fn of_command(profile: &Profile, command: &Command) -> Profile {
    let mut of_command = profile.clone();
    of_command.env.extend(command.env.clone());
    let (own, others) = (command.limits, profile.limits);
    of_command.limits = ProfileLimits {
        runtime_s: own.runtime_s.or(others.runtime_s),
        memory: own.memory.or(others.memory),
        tasks: own.tasks.or(others.tasks),
        cpu_percent: own.cpu_percent.or(others.cpu_percent),
        open_files: own.open_files.or(others.open_files),
        tmp: own.tmp.or(others.tmp),
    };
    of_command
}

pub fn group(gid: u32, names: &Names) -> String {
    let of_machine = || Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name);
    names
        .group_of(gid)
        .or_else(of_machine)
        .unwrap_or_else(|| format!("#{gid}"))
}

fn listed(all: &[Listed]) -> String {
    let word = |listed: &Listed| match listed.optional {
        true => format!("{} (if it is there)", listed.path),
        false => listed.path.clone(),
    };
    all.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn written(profile: &Profile) -> String {
    let all = listed(&profile.write);
    match profile.write_and_exec {
        true => format!("{all}\nwhat it writes may be executed"),
        false => all,
    }
}

fn network(network: &Network, own: &InterfaceAddresses) -> String {
    match network {
        Network::None => "none".to_owned(),
        Network::Loopback => "itself alone".to_owned(),
        Network::Host => "what the host reaches".to_owned(),
        Network::ThisHost => "itself, and by TCP this host's own addresses".to_owned(),
        Network::Connect(all) => {
            let all = all.iter().map(|to| {
                let addresses = to.addresses.iter().map(|one| match own.has_refused(one) {
                    true => format!("{} [this machine has it now: refused]", one.ip),
                    false => one.ip.to_string(),
                });
                let addresses: Vec<String> = addresses.collect();
                let addresses = match addresses.is_empty() {
                    true => "no address: nothing runs here".to_owned(),
                    false => addresses.join(" "),
                };
                format!("{} port {} ({addresses})", to.host, to.port)
            });
            format!("itself, and by TCP {}", all.collect::<Vec<_>>().join(", "))
        }
        Network::Names(names) => {
            let all = names
                .iter()
                .map(|(host, port)| format!("{host} port {port}"));
            let all = all.collect::<Vec<_>>().join(", ");
            format!("itself, and by GET and HEAD of http {all}")
        }
    }
}

fn limits(limits: &ProfileLimits, most: Option<u32>) -> String {
    let runtime_s = limits.runtime_s.map(|s| most.map_or(s, |most| s.min(most)));
    let all = [
        runtime_s.map(|s| format!("runtime {s} s")),
        limits
            .memory
            .map(|bytes| format!("memory {}", units::bytes(bytes))),
        limits.tasks.map(|tasks| format!("tasks {tasks}")),
        limits.cpu_percent.map(|percent| format!("cpu {percent} %")),
        limits.open_files.map(|files| format!("open files {files}")),
        limits
            .tmp
            .map(|bytes| format!("tmp {}", units::bytes(bytes))),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use remit_policy::{Destination, HostAddress};

    use super::*;

    #[test]
    fn runtime_is_at_most_that_of_the_machine() {
        let own = ProfileLimits {
            runtime_s: Some(36000),
            ..ProfileLimits::default()
        };
        for (most, expect) in [
            (Some(3600), "runtime 3600 s"),
            (Some(86400), "runtime 36000 s"),
            (None, "runtime 36000 s"),
        ] {
            assert_eq!(limits(&own, most), expect);
        }
    }

    #[test]
    fn address_that_jobs_do_not_connect_to_is_marked() {
        let address = |n: u8, may_be_own| HostAddress {
            ip: [192, 0, 2, n].into(),
            may_be_own,
        };
        let to = |addresses| {
            let host = "api.example".to_owned();
            let port = 443;
            Network::Connect(vec![Destination {
                host,
                addresses,
                port,
            }])
        };
        let own: InterfaceAddresses = [address(7, false).ip].into_iter().collect();
        for (addresses, expect) in [
            (vec![], "no address: nothing runs here"),
            (vec![address(8, false)], "192.0.2.8"),
            (vec![address(7, true)], "192.0.2.7"),
            (
                vec![address(7, false), address(8, false)],
                "192.0.2.7 [this machine has it now: refused] 192.0.2.8",
            ),
        ] {
            let found = network(&to(addresses), &own);
            let expect = format!("itself, and by TCP api.example port 443 ({expect})");
            assert_eq!(found, expect);
        }
    }
}
