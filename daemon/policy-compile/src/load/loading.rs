//! Collects the definitions of all files, in any order: profiles, commands in them, rules about those.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use remit_common::caps;

use crate::load::accounts::Resolved;
use crate::load::commands::command;
use crate::load::parameters::{OWN_TYPES, compiled, own_kind};
use crate::load::patterns::Unsaid;
use crate::load::profiles::profile;
use crate::load::reader::{Fields, Report, WithSpan, mistyped};
use crate::load::text::{is_name, summary};
use remit_policy::model::accepted::AcceptedPath;
use remit_policy::model::command::{Command, ParamKind};
use remit_policy::model::machine::Machine;
use remit_policy::model::profile::{Base, Profile};
use remit_policy::model::rule::{DenyRule, GrantRule};
use remit_policy::quoted;

/// Maximum number of bytes of all compiled patterns. They block the daemon's loop, and a reload has them twice.
const COMPILED: usize = 32 << 20;

pub(crate) struct Loading<'a> {
    pub(crate) machine: &'a dyn Machine,
    pub(crate) resolved: Resolved,
    pub(crate) profiles: BTreeMap<String, Defined<Arc<Profile>>>,
    pub(crate) types: Types,
    /// Commands with an error have only their name.
    pub(crate) commands: BTreeMap<String, Defined<Option<Arc<Command>>>>,
    /// Those of base host, and checks of plans with the eyes of root.
    pub(crate) risky: BTreeMap<String, Arc<Command>>,
    pub(crate) grants: Vec<GrantRule>,
    pub(crate) denies: Vec<DenyRule>,
    pub(crate) accepts: Vec<AcceptedPath>,
    pub(crate) taken: BTreeMap<String, String>,
    pub(crate) matched: BTreeMap<String, bool>,
    /// Patterns of grants that match commands which they do not include.
    pub(crate) unsaid: Vec<Unsaid>,
    /// Commits that a rule with paths allows without an approval: its position, the name and where it is written.
    pub(crate) unasked: Vec<(usize, String, Range<usize>)>,
    compiled: usize,
}

pub(crate) struct Defined<T> {
    pub(crate) value: T,
    location: String,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(machine: &'a dyn Machine) -> Self {
        let built_in = [Profile::read(), Profile::strict(), Profile::host()];
        let built_in = built_in.map(|profile| {
            let defined = Defined {
                value: Arc::new(profile.clone()),
                location: "remit itself".into(),
            };
            (profile.name, defined)
        });
        Self {
            machine,
            resolved: Resolved::default(),
            profiles: built_in.into(),
            types: Types::new(),
            commands: BTreeMap::new(),
            risky: BTreeMap::new(),
            grants: Vec::new(),
            denies: Vec::new(),
            accepts: Vec::new(),
            taken: BTreeMap::new(),
            matched: BTreeMap::new(),
            unsaid: Vec::new(),
            unasked: Vec::new(),
            compiled: 0,
        }
    }

    pub(crate) fn read_profiles(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for (name, value) in top.entries("profile", report) {
            if !PROFILES.has_capacity(self.profiles.len()) {
                return;
            }
            let Some(table) = value.get_ref().as_table() else {
                mistyped("profile", "a table, as [profile.nginx]", value, report);
                continue;
            };
            let shown = quoted(name.value);
            let what = format!("[profile.{}]", shown.trim_matches('\''));
            let fields = Fields::new(what, name.span.clone(), table);
            let profile = profile(&name, fields, self.machine, &mut self.resolved, report);
            define(
                &mut self.profiles,
                &PROFILES,
                &name,
                Arc::new(profile),
                report,
            );
        }
    }

    pub(crate) fn read_commands(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for fields in top.tables("command", "[[command]]", report) {
            if !COMMANDS.has_capacity(self.commands.len()) {
                return;
            }
            let profiles = &self.profiles;
            let find =
                |name: &WithSpan<&str>, report: &mut Report<'_>| find(profiles, name, report);
            let Some(draft) = command(fields, find, &self.types, self.machine, report) else {
                continue;
            };
            let params = draft.command.as_ref().map(|command| &command.params);
            self.compiled += params.map_or(0, |params| compiled(params));
            if self.compiled > COMPILED {
                let message = format!(
                    "the patterns of all commands need over {} MiB once compiled",
                    COMPILED >> 20
                );
                let help = "write shorter patterns, with smaller repetitions";
                return report.error_with_help(draft.name.span, message, help);
            }
            let command = draft.command.map(Arc::new);
            if let Some(command) = command
                .as_ref()
                .filter(|one| one.profile.base == Base::Host || one.shows_any_file())
            {
                let name = command.name.clone();
                self.risky.insert(name, Arc::clone(command));
            }
            define(&mut self.commands, &COMMANDS, &draft.name, command, report);
        }
    }

    pub(crate) fn profile(
        &self,
        name: &WithSpan<&str>,
        report: &mut Report<'_>,
    ) -> Option<Arc<Profile>> {
        find(&self.profiles, name, report)
    }
}

fn find(
    profiles: &BTreeMap<String, Defined<Arc<Profile>>>,
    name: &WithSpan<&str>,
    report: &mut Report<'_>,
) -> Option<Arc<Profile>> {
    if let Some(defined) = profiles.get(name.value) {
        return Some(Arc::clone(&defined.value));
    }
    let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
    let help = unknown_profile(name.value, &known, report);
    let message = format!("there is no profile {}", quoted(name.value));
    report.error_with_help(name.span.clone(), message, &help);
    None
}

pub(crate) fn unknown_profile(name: &str, known: &[&str], report: &Report<'_>) -> String {
    const SHOWN: usize = 16;
    let meant = report.similar(name, known.iter().copied());
    let meant = meant.map_or(String::new(), |meant| format!("did you mean '{meant}'? "));
    let more = if known.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<&str> = known.iter().copied().take(SHOWN).collect();
    format!("{meant}profiles: {}{more}", shown.join(", "))
}

pub(crate) struct Bound {
    pub(crate) what: &'static str,
    pub(crate) most: usize,
    pub(crate) built_in: usize,
}

const PROFILES: Bound = Bound {
    what: "profile",
    most: caps::POLICY_PROFILES,
    built_in: 3,
};
const COMMANDS: Bound = Bound {
    what: "command",
    most: caps::POLICY_COMMANDS,
    built_in: 0,
};

impl Bound {
    /// Returns true if one more is read, even if only to report that it is one too many.
    pub(crate) fn has_capacity(&self, count: usize) -> bool {
        count <= self.most + self.built_in
    }
}

pub(crate) fn define<T>(
    all: &mut BTreeMap<String, Defined<T>>,
    bound: &Bound,
    name: &WithSpan<&str>,
    value: T,
    report: &mut Report<'_>,
) {
    let Bound { what, most, .. } = bound;
    if let Some(first) = all.get(name.value) {
        let shown = quoted(name.value);
        let message = format!("there is already a {what} {shown}, at {}", first.location);
        let help = "choose another name, or delete one; a file in /etc/remit/policy.d replaces the package's file \
                    of the same name";
        report.error_with_help(name.span.clone(), message, help);
        return;
    }
    if all.len() == most + bound.built_in {
        let message = format!("there are too many {what}s: over {most}");
        report.error_with_help(name.span.clone(), message, "delete or merge some of them");
    }
    let location = report.location(name.span.start);
    all.insert(name.value.to_owned(), Defined { value, location });
}

/// By name. `None` after an error in the definition.
pub(crate) type Types = BTreeMap<String, Defined<Option<NamedType>>>;

#[derive(Debug, Clone)]
pub(crate) struct NamedType {
    pub(crate) kind: ParamKind,
    pub(crate) summary: String,
}

const TYPES: Bound = Bound {
    what: "type",
    most: 256,
    built_in: 0,
};

impl Loading<'_> {
    /// Reads the tables `[type.NAME]`: types of arguments, shared by commands in every file of the load.
    pub(crate) fn read_types(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for (name, value) in top.entries("type", report) {
            if !TYPES.has_capacity(self.types.len()) {
                return;
            }
            let Some(table) = value.get_ref().as_table() else {
                mistyped("type", "a table, as [type.container]", value, report);
                continue;
            };
            let errors = report.errors();
            let shown = quoted(name.value);
            let help = "1 to 64 of a-z 0-9 _ -, a letter first, none of remit's own types; as [type.container]";
            if !is_name(name.value) || name.value.contains('.') || OWN_TYPES.contains(&name.value) {
                let message = format!("a type cannot be named {shown}");
                report.error_with_help(name.span.clone(), message, help);
            }
            let what = format!("[type.{}]", shown.trim_matches('\''));
            let mut fields = Fields::new(what, name.span.clone(), table);
            let own = fields.required("type", report);
            // A type is made of remit's own types only, so its definition is one table to read.
            let kind = own.and_then(|own| own_kind(&own, &mut fields, &Types::new(), report));
            let summary = summary(fields.string("summary", report), report);
            fields.finish(report);
            let kind = kind.filter(|_| report.errors() == errors);
            let named = kind.map(|kind| NamedType { kind, summary });
            define(&mut self.types, &TYPES, &name, named, report);
        }
    }
}
