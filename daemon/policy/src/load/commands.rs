//! The tables `[[command]]`: each becomes a [`Command`], its template and its examples checked.

use std::net::IpAddr;
use std::sync::Arc;

use remit_common::builtin;
use remit_common::wire::Effect;

use crate::call::bind::place;
use crate::load::diagnostic::{Severity, quoted};
use crate::load::environment::variables;
use crate::load::kinds::{choice, params};
use crate::load::limits::limits;
use crate::load::lint::{gaps, lint};
use crate::load::paths::{beneath, not_plain, optional};
use crate::load::reader::{Fields, Placed, Report};
use crate::load::template::{self, Parsed, argv, words};
use crate::load::text::{is_name, summary};
use crate::model::command::{Command, Kind, Param, Part, Stdin, Word};
use crate::model::machine::{Machine, Program};
use crate::model::profile::{Base, Destination, Network, Profile};
use crate::model::rule::RuleId;

/// A command as it was read, and where its parts stand.
pub(crate) struct Draft<'a> {
    pub(crate) name: Placed<&'a str>,
    /// `None` after an error in it: its name stands all the same.
    pub(crate) command: Option<Command>,
}

/// Reads one command; `None` without a name. `profile` finds a profile by name, and reports it when
/// there is none.
pub(crate) fn command<'a>(
    mut fields: Fields<'a>,
    profile: impl FnOnce(&Placed<&str>, &mut Report<'_>) -> Option<Arc<Profile>>,
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
    let effect = choice(fields.required("effect", report), &effects, report);
    let params = params(&mut fields, report);
    let mut argv = argv(&mut fields, &params, report);
    let stdin = stdin(fields.string("stdin", report), &params, report);
    let profile_at = fields.required("profile", report);
    let profile = profile_at.as_ref().and_then(|name| profile(name, report));
    let cwd = cwd(fields.string("cwd", report), report);
    let env = variables(&mut fields, report);
    let limits = limits(&mut fields, report);
    let examples = crate::load::examples::read(&mut fields, report);
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
    let Placed {
        value: stdin,
        span: stdin_at,
    } = stdin;
    every_argument_has_its_place(&params, &argv, &stdin, report);
    check_program(&mut argv, machine, report);
    for gap in gaps(&argv, &params) {
        let help = "put it into brackets together with the option before it, or behind the others; \
                    in brackets alone, where that is meant";
        report.error_with_help(gap.span, gap.message, help);
    }
    for finding in lint(&argv, &params, &stdin) {
        match finding.severity {
            Severity::Error => report.error(finding.span, finding.message),
            Severity::Warning => report.warning(finding.span, finding.message, None),
        }
    }
    suits(effect, &profile, &profile_at, &params, report);
    if profile.base == Base::Host && stdin == Stdin::Caller {
        let message = format!(
            "a command in the profile {} reads nothing that a caller writes",
            quoted(&profile.name)
        );
        report.error(stdin_at, message);
    }
    can_be_seen(&profile, &params, report);
    let command = Command {
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
    };
    for param in &command.params {
        let default = param.default.as_deref().unwrap_or_default();
        if let Some(why) = command
            .protects(param, default)
            .filter(|_| !default.is_empty())
        {
            let (default, name) = (quoted(default), &param.name);
            let message = format!("the default {default} of '{name}' is protected: {why}");
            report.error(header.clone(), message);
        }
    }
    examples.check(&command, report);
    draft.command = (report.errors() == errors).then_some(command);
    Some(draft)
}

fn check_name(name: &Placed<&str>, report: &mut Report<'_>) {
    let dotted = name.value.contains('.') && name.value.split('.').all(|part| !part.is_empty());
    if !is_name(name.value) || !dotted {
        let message = format!("{} cannot name a command", quoted(name.value));
        let help =
            "1 to 64 of a-z 0-9 . _ -, the first a letter, with a dot inside, as \"nginx.test\"";
        report.error_with_help(name.span.clone(), message, help);
    } else if builtin::COMMANDS
        .iter()
        .any(|builtin| builtin.name == name.value)
    {
        let message = format!("{} is a command of remit itself", quoted(name.value));
        report.error(name.span.clone(), message);
    }
}

fn stdin(
    given: Option<Placed<&str>>,
    params: &[Placed<Param>],
    report: &mut Report<'_>,
) -> Placed<Stdin> {
    let none = Placed {
        value: Stdin::None,
        span: 0..0,
    };
    let Some(given) = given else { return none };
    let span = given.span.clone();
    let value = match (given.value, template::parse(given.value)) {
        ("none", _) => Stdin::None,
        ("caller", _) => Stdin::Caller,
        (_, Ok(Parsed::Value { before, name })) if before.is_empty() => {
            let Some(at) = template::find(name, params, span.clone(), report) else {
                return none;
            };
            let secret = params.get(at).map(|param| &param.value.kind);
            if !matches!(secret, Some(Kind::Secret { .. })) {
                let message = format!("'stdin' can be a secret, and {} is none", quoted(name));
                report.error(span.clone(), message);
            }
            Stdin::Secret(at)
        }
        _ => {
            let message = format!("{} can be no 'stdin'", quoted(given.value));
            let help = "it is \"none\", \"caller\", or \"{x}\" with an argument of type secret";
            report.error_with_help(span.clone(), message, help);
            Stdin::None
        }
    };
    Placed { value, span }
}

fn cwd(given: Option<Placed<&str>>, report: &mut Report<'_>) -> String {
    let Some(given) = given else {
        return "/".into();
    };
    if let Some(why) = not_plain(given.value) {
        report.error(given.span, format!("{} {why}", quoted(given.value)));
    }
    given.value.to_owned()
}

fn every_argument_has_its_place(
    params: &[Placed<Param>],
    argv: &[Placed<Part>],
    stdin: &Stdin,
    report: &mut Report<'_>,
) {
    let words = argv.iter().flat_map(|part| words(&part.value));
    let mut used: Vec<usize> = words.filter_map(place).collect();
    if let Stdin::Secret(at) = stdin {
        used.push(*at);
    }
    for (at, param) in params.iter().enumerate() {
        if !used.contains(&at) {
            let name = &param.value.name;
            let message = format!("the argument '{name}' stands nowhere");
            let help = format!("put \"{{{name}}}\" into argv, or take args.{name} out");
            report.error_with_help(param.span.clone(), message, &help);
        }
    }
}

/// Whether it can be trusted; and takes the hyphen away that says it may be missing.
fn check_program(argv: &mut [Placed<Part>], machine: &dyn Machine, report: &mut Report<'_>) {
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
        Program::Distrusted(why) => {
            let message = format!("the program {} cannot be trusted: {why}", quoted(path));
            report.error(span, message);
        }
    }
}

/// Whether the command's effect and arguments go with its profile.
fn suits(
    effect: Effect,
    profile: &Profile,
    at: &Placed<&str>,
    params: &[Placed<Param>],
    report: &mut Report<'_>,
) {
    let named = quoted(&profile.name);
    if profile.base == Base::Host {
        if effect == Effect::Read {
            let message = format!("a command of effect read cannot run in the profile {named}");
            let help = "no sandbox holds it there: effect = \"change\", or another profile";
            report.error_with_help(at.span.clone(), message, help);
        }
        for param in params {
            let kind = match param.value.kind {
                Kind::Text { .. } => "string",
                Kind::Path { .. } => "path",
                Kind::Secret { .. } => "secret",
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
        Network::None | Network::Loopback => None,
        Network::Connect(list) if list.iter().all(is_this_host) => {
            Some("reaches services of this host")
        }
        Network::Connect(_) | Network::Host => Some("reaches beyond the host"),
    };
    if let Some(what) = what.filter(|_| effect == Effect::Read) {
        let message = format!("a command of effect read runs in the profile {named}, which {what}");
        report.warning(at.span.clone(), message, None);
    }
}

/// Whether all that it stands for are loopback addresses. Of a name that nobody could tell it is not known.
fn is_this_host(destination: &Destination) -> bool {
    let mut addresses = destination.addresses.iter();
    !destination.addresses.is_empty() && addresses.all(IpAddr::is_loopback)
}

/// Warns of a path argument beneath a directory that its profile never shows.
fn can_be_seen(profile: &Profile, params: &[Placed<Param>], report: &mut Report<'_>) {
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
        let Kind::Path { under, .. } = &param.value.kind else {
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
