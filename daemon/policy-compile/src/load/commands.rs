//! Reads the tables `[[command]]`: each becomes a [`Command`] with a checked template and examples.

use std::sync::Arc;

use remit_common::builtin;
use remit_common::wire::Effect;
use remit_policy::call::bind::param_position;
use remit_policy::model::command::{Command, Param, ParamKind, Part, Stdin, Word};
use remit_policy::model::machine::{Machine, Program};
use remit_policy::model::paths::{beneath, not_plain, optional};
use remit_policy::model::profile::{Base, Destination, Network, Profile};
use remit_policy::model::rule::RuleId;
use remit_policy::{Severity, quoted};

use crate::load::limits::limits;
use crate::load::lint::{gaps, lint};
use crate::load::loading::Types;
use crate::load::parameters::{choice, params};
use crate::load::reader::{Fields, Report, WithSpan};
use crate::load::tables;
use crate::load::template::{self, Parsed, argv};
use crate::load::text::{is_name, summary, variables};
use crate::print::definition;

pub(crate) struct Draft<'a> {
    pub(crate) name: WithSpan<&'a str>,
    /// `None` after an error in it. Its name is taken all the same.
    pub(crate) command: Option<Command>,
}

/// Reads one command. Returns `None` if it has no name. `profile` finds a profile by name, and reports a missing one.
pub(crate) fn command<'a>(
    mut fields: Fields<'a>,
    profile: impl FnOnce(&WithSpan<&str>, &mut Report<'_>) -> Option<Arc<Profile>>,
    types: &Types,
    machine: &dyn Machine,
    report: &mut Report<'_>,
) -> Option<Draft<'a>> {
    let errors = report.errors();
    let header = fields.header();
    let name = fields.required("name", report);
    if let Some(name) = &name {
        check_name(name, report);
    }
    let summary = summary(fields.required("summary", report), report);
    let effects = [("read", Effect::Read), ("change", Effect::Change)];
    let effect = choice(
        "effect",
        fields.required("effect", report),
        &effects,
        report,
    );
    let params = params(&mut fields, types, report);
    let mut argv = argv(&mut fields, &params, report);
    let stdin = stdin(fields.string("stdin", report), &params, report);
    let profile_at = fields.required("profile", report);
    let profile = profile_at.as_ref().and_then(|name| profile(name, report));
    let cwd = cwd(fields.string("cwd", report), report);
    let env = variables(&mut fields, report);
    let limits = limits(&mut fields, report);
    let examples = tables::read_examples(&mut fields, report);
    fields.finish(report);

    let name = name?;
    let mut draft = Draft {
        name,
        command: None,
    };
    let (Some(effect), Some(profile), Some(profile_at)) = (effect, profile, profile_at) else {
        return Some(draft);
    };
    if report.errors() > errors {
        return Some(draft);
    }
    let WithSpan {
        value: stdin,
        span: stdin_at,
    } = stdin;
    check_every_argument_is_used(&params, &argv, &stdin, report);
    check_program(&mut argv, machine, report);
    for gap in gaps(&argv, &params) {
        report.error_with_help(gap.span, gap.message, &gap.help);
    }
    for finding in lint(&argv, &params, &stdin) {
        match finding.severity {
            Severity::Error => {
                report.error_with_help(finding.span, finding.message, &finding.help);
            }
            Severity::Warning => report.warning(finding.span, finding.message, None),
        }
    }
    if profile.base == Base::Host && stdin == Stdin::Caller {
        let message = format!(
            "a command in the profile {} reads nothing that a caller writes",
            quoted(&profile.name)
        );
        let help = "delete 'stdin', or use a profile of base read or strict";
        report.error_with_help(stdin_at, message, help);
    }
    let is_held = match profile.base {
        // remit-commit itself takes nothing but an id.
        Base::Host => argv.first().is_some_and(|part| part.value.is_committer()),
        Base::Read | Base::Strict | Base::Plan | Base::Extract => false,
    };
    if !is_held {
        suits(effect, &profile, &profile_at, &params, report);
    }
    can_be_seen(&profile, &params, report);
    let mut command = Command {
        name: draft.name.value.to_owned(),
        summary,
        effect,
        profile,
        id: RuleId {
            file: report.file().to_owned(),
            line: report.line(header.start),
            name: None,
        },
        argv: argv.into_iter().map(|part| part.value).collect(),
        params: params.into_iter().map(|param| param.value).collect(),
        stdin,
        env,
        cwd,
        limits,
        definition: String::new(),
    };
    command.definition = definition(&command);
    if let Err(why) = command.inspects() {
        let help = "use another profile, or change that; see 'inspect' in remit-policy(5)";
        report.error_with_help(profile_at.span.clone(), why, help);
    }
    if let Some(user) = command
        .checks_plans()
        .then(|| command.profile.sees_as())
        .flatten()
    {
        let message = format!(
            "who may run {} can learn whatever {user} can read in the profile {}: its program reads files that they wrote",
            quoted(&command.name),
            quoted(&command.profile.name)
        );
        let help = "leave the job its own uid, or list in 'read' only what these callers may know";
        report.warning(profile_at.span.clone(), message, Some(help));
    }
    if command.runs_any_program() {
        let message = format!(
            "who may run {} runs any program in the profile {}: a plan may replace the program of its check",
            quoted(&command.name),
            quoted(&command.profile.name)
        );
        let help = "grant it only to those who may run any program there";
        report.warning(profile_at.span.clone(), message, Some(help));
    }
    if let Err(why) = command.commits() {
        let help = "use the commands of 60-plans.toml; see 'paths' in remit-policy(5)";
        report.error_with_help(header.clone(), why, help);
    }
    if let Err(why) = command.extracts() {
        let help = "use the command plan.extract of 60-plans.toml";
        report.error_with_help(profile_at.span.clone(), why, help);
    }
    for param in &command.params {
        let default = param.default.as_deref().unwrap_or_default();
        if let Some(why) = command
            .protects(param, default)
            .filter(|_| !default.is_empty())
        {
            let (default, name) = (quoted(default), &param.name);
            let message = format!("the default {default} of '{name}' is protected: {why}");
            let help = "write another default, or none";
            report.error_with_help(header.clone(), message, help);
        }
    }
    examples.check(&command, report);
    draft.command = (report.errors() == errors).then_some(command);
    Some(draft)
}

fn is_command_name(name: &str) -> bool {
    let is_dotted = name.contains('.') && name.split('.').all(|part| !part.is_empty());
    is_name(name) && is_dotted
}

fn check_name(name: &WithSpan<&str>, report: &mut Report<'_>) {
    if !is_command_name(name.value) {
        let message = format!("invalid command name {}", quoted(name.value));
        let help =
            "1 to 64 of a-z 0-9 . _ -, the first a letter, with a dot inside, as \"nginx.test\"";
        let small = name.value.to_ascii_lowercase().replace(' ', "-");
        let help = match is_command_name(&small) {
            true => format!("write \"{small}\": {help}"),
            false => help.to_owned(),
        };
        report.error_with_help(name.span.clone(), message, &help);
    } else if builtin::COMMANDS
        .iter()
        .any(|builtin| builtin.name == name.value)
    {
        let message = format!("{} is a command of remit itself", quoted(name.value));
        let help = "choose another name";
        report.error_with_help(name.span.clone(), message, help);
    }
}

fn stdin(
    field: Option<WithSpan<&str>>,
    params: &[WithSpan<Param>],
    report: &mut Report<'_>,
) -> WithSpan<Stdin> {
    let none = WithSpan {
        value: Stdin::None,
        span: 0..0,
    };
    let Some(field) = field else { return none };
    let span = field.span.clone();
    let value = match (field.value, template::parse(field.value)) {
        ("none", _) => Stdin::None,
        ("caller", _) => Stdin::Caller,
        ("plan", _) => Stdin::Plan,
        (_, Ok(Parsed::Value { before, name })) if before.is_empty() => {
            let Some(at) = template::find(name, params, span.clone(), report) else {
                return none;
            };
            let secret = params.get(at).map(|param| &param.value.kind);
            if !matches!(secret, Some(ParamKind::Secret { .. })) {
                let message = format!("'stdin' can only be a secret, not {}", quoted(name));
                let help = format!(
                    "write args.{name} = {{ type = \"secret\" }}, or put \"{{{name}}}\" into argv"
                );
                report.error_with_help(span.clone(), message, &help);
            }
            Stdin::Secret(at)
        }
        _ => {
            let message = format!("'stdin' cannot be {}", quoted(field.value));
            let help =
                "write \"none\", \"caller\", \"plan\", or \"{x}\" with an argument of type secret";
            report.error_with_help(span.clone(), message, help);
            Stdin::None
        }
    };
    WithSpan { value, span }
}

fn cwd(field: Option<WithSpan<&str>>, report: &mut Report<'_>) -> String {
    let Some(field) = field else {
        return "/".into();
    };
    if let Some(why) = not_plain(field.value) {
        let help = "write an absolute path, as cwd = \"/srv/app\"";
        report.error_with_help(field.span, format!("{} {why}", quoted(field.value)), help);
    }
    field.value.to_owned()
}

fn check_every_argument_is_used(
    params: &[WithSpan<Param>],
    argv: &[WithSpan<Part>],
    stdin: &Stdin,
    report: &mut Report<'_>,
) {
    let words = argv.iter().flat_map(|part| part.value.words());
    let mut used: Vec<usize> = words.filter_map(param_position).collect();
    if let Stdin::Secret(at) = stdin {
        used.push(*at);
    }
    for (at, param) in params.iter().enumerate() {
        if !used.contains(&at) {
            let name = &param.value.name;
            let message = format!("argument '{name}' is declared but not used in argv or stdin");
            let help = format!("put \"{{{name}}}\" into argv, or delete args.{name}");
            report.error_with_help(param.span.clone(), message, &help);
        }
    }
}

/// Checks the program, and removes the hyphen that means it may be missing.
fn check_program(argv: &mut [WithSpan<Part>], machine: &dyn Machine, report: &mut Report<'_>) {
    let Some(first) = argv.first_mut() else {
        return;
    };
    let Part::Word(Word::Literal(path)) = &mut first.value else {
        return;
    };
    let (plain, may_be_missing) = optional(path);
    *path = plain.to_owned();
    let span = first.span.clone();
    match machine.program(path) {
        Program::Trusted => {}
        Program::Missing if may_be_missing => {}
        Program::Missing => {
            let message = format!("there is no program {} yet", quoted(path));
            report.warning(
                span,
                message,
                Some("the command is refused until there is one"),
            );
        }
        Program::Distrusted(why) if report.findings.is_first_about(path) => {
            let message = format!("the program {} cannot be trusted: {why}", quoted(path));
            let help = "have root own it and every directory above it, writable by nobody else; or name another program";
            report.error_with_help(span, message, help);
        }
        Program::Distrusted(_) => {}
    }
}

fn suits(
    effect: Effect,
    profile: &Profile,
    at: &WithSpan<&str>,
    params: &[WithSpan<Param>],
    report: &mut Report<'_>,
) {
    let named = quoted(&profile.name);
    if profile.base == Base::Host {
        for param in params {
            let kind = match param.value.kind {
                ParamKind::Text { .. } => "string",
                ParamKind::Path { .. } => "path",
                ParamKind::Secret { .. } => "secret",
                _ => continue,
            };
            let message = format!(
                "'{}' is a {kind}, which no command in the profile {named} can have",
                param.value.name
            );
            let help = "no sandbox holds it there: use enum, int, unit, user or package";
            report.error_with_help(param.span.clone(), message, help);
        }
        return;
    }
    let sockets = !profile.sockets.is_empty() && !profile.leads_to_root;
    let changes = !profile.write.is_empty() || sockets;
    let what = match &profile.network {
        _ if changes => Some("can change the host"),
        // The word in the profile says it.
        Network::None | Network::Loopback | Network::ThisHost => None,
        Network::Connect(list) if list.iter().all(is_this_host) => {
            Some("reaches services of this host")
        }
        Network::Connect(_) | Network::Host | Network::Names(_) => Some("reaches beyond the host"),
    };
    if let Some(what) = what.filter(|_| effect == Effect::Read) {
        let message = format!("a command of effect read runs in the profile {named}, which {what}");
        report.warning(at.span.clone(), message, None);
    }
}

/// Returns true if all its addresses are loopback. Of a name without an answer that is not known.
fn is_this_host(destination: &Destination) -> bool {
    let mut addresses = destination.addresses.iter();
    !destination.addresses.is_empty() && addresses.all(|address| address.ip.is_loopback())
}

fn can_be_seen(profile: &Profile, params: &[WithSpan<Param>], report: &mut Report<'_>) {
    if profile.base != Base::Strict {
        return;
    }
    let lists = [&profile.read, &profile.write, &profile.exec];
    let listed = lists
        .into_iter()
        .flatten()
        .map(|listed| listed.path.as_str());
    let shown: Vec<&str> = listed.chain(["/usr", "/bin", "/sbin", "/lib"]).collect();
    for param in params {
        let ParamKind::Path { under, .. } = &param.value.kind else {
            continue;
        };
        let seen = |path: &&str| beneath(under, path).is_some() || beneath(path, under).is_some();
        if !shown.iter().any(seen) {
            let message = format!(
                "nothing beneath '{under}' is seen in the profile {}",
                quoted(&profile.name)
            );
            let help = format!("list it: read = [\"{under}\"]");
            report.warning(param.span.clone(), message, Some(&help));
        }
    }
}
