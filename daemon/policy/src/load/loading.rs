//! What all files define: profiles first, then commands in them, then rules about those. So a file may
//! speak of what a later one defines.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::caps;

use crate::load::accounts::Resolved;
use crate::load::commands::command;
use crate::load::diagnostic::quoted;
use crate::load::kinds::compiled;
use crate::load::patterns::Unsaid;
use crate::load::profiles::profile;
use crate::load::reader::{Fields, Placed, Report, mistyped};
use crate::model::command::Command;
use crate::model::machine::Machine;
use crate::model::profile::{Base, Profile};
use crate::model::rule::{DenyRule, GrantRule};

/// Bytes of all patterns once compiled. The loop of the daemon stands still while they are, and has them
/// in memory twice as it reloads.
const COMPILED: usize = 32 << 20;

/// What has been read so far.
pub(crate) struct Loading<'a> {
    pub(crate) machine: &'a dyn Machine,
    pub(crate) resolved: Resolved,
    pub(crate) profiles: BTreeMap<String, Defined<Arc<Profile>>>,
    /// Those with an error have their name only.
    pub(crate) commands: BTreeMap<String, Defined<Option<Arc<Command>>>>,
    /// Of these, those that no sandbox holds.
    pub(crate) unconfined: BTreeMap<String, Arc<Command>>,
    pub(crate) grants: Vec<GrantRule>,
    pub(crate) denies: Vec<DenyRule>,
    /// Names given to rules, and where.
    pub(crate) taken: BTreeMap<String, String>,
    /// Patterns that rules have named so far, and whether they match anything.
    pub(crate) matched: BTreeMap<String, bool>,
    /// Patterns of grants that match commands which change the host, where the rule does not say so.
    pub(crate) unsaid: Vec<Unsaid>,
    /// Bytes of the patterns of all commands.
    compiled: usize,
}

/// Something with a name, and where it got it.
pub(crate) struct Defined<T> {
    pub(crate) value: T,
    place: String,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(machine: &'a dyn Machine) -> Self {
        let built_in = [Profile::read(), Profile::strict(), Profile::host()];
        let built_in = built_in.map(|profile| {
            let defined = Defined {
                value: Arc::new(profile.clone()),
                place: "remit itself".into(),
            };
            (profile.name, defined)
        });
        Self {
            machine,
            resolved: Resolved::default(),
            profiles: built_in.into(),
            commands: BTreeMap::new(),
            unconfined: BTreeMap::new(),
            grants: Vec::new(),
            denies: Vec::new(),
            taken: BTreeMap::new(),
            matched: BTreeMap::new(),
            unsaid: Vec::new(),
            compiled: 0,
        }
    }

    /// Adds the profiles of one file.
    pub(crate) fn read_profiles(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for (name, value) in top.entries("profile", report) {
            if !PROFILES.has_room(self.profiles.len()) {
                return;
            }
            let Some(table) = value.get_ref().as_table() else {
                mistyped("profile", "tables, as [profile.nginx]", value, report);
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

    /// Adds the commands of one file.
    pub(crate) fn read_commands(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for fields in top.tables("command", "[[command]]", report) {
            if !COMMANDS.has_room(self.commands.len()) {
                return;
            }
            let profiles = &self.profiles;
            let find = |name: &Placed<&str>, report: &mut Report<'_>| find(profiles, name, report);
            let Some(draft) = command(fields, find, self.machine, report) else {
                continue;
            };
            let params = draft.command.as_ref().map(|command| &command.params);
            self.compiled += params.map_or(0, |params| compiled(params));
            if self.compiled > COMPILED {
                let message = format!(
                    "the patterns of all commands need over {} MiB once compiled",
                    COMPILED >> 20
                );
                return report.error(draft.name.span, message);
            }
            let command = draft.command.map(Arc::new);
            if let Some(command) = command
                .as_ref()
                .filter(|one| one.profile.base == Base::Host)
            {
                let name = command.name.clone();
                self.unconfined.insert(name, Arc::clone(command));
            }
            define(&mut self.commands, &COMMANDS, &draft.name, command, report);
        }
    }

    /// The profile of this name.
    pub(crate) fn profile(
        &self,
        name: &Placed<&str>,
        report: &mut Report<'_>,
    ) -> Option<Arc<Profile>> {
        find(&self.profiles, name, report)
    }
}

fn find(
    profiles: &BTreeMap<String, Defined<Arc<Profile>>>,
    name: &Placed<&str>,
    report: &mut Report<'_>,
) -> Option<Arc<Profile>> {
    const SHOWN: usize = 16;
    if let Some(defined) = profiles.get(name.value) {
        return Some(Arc::clone(&defined.value));
    }
    let mut known: Vec<&str> = profiles.keys().map(String::as_str).take(SHOWN).collect();
    if profiles.len() > SHOWN {
        known.push("…");
    }
    let known = known.join(", ");
    let message = format!(
        "there is no profile {} (there is: {known})",
        quoted(name.value)
    );
    report.error(name.span.clone(), message);
    None
}

/// How many things of one kind there can be.
struct Bound {
    what: &'static str,
    /// Those of files.
    most: usize,
    /// Those of remit itself.
    built_in: usize,
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
    /// Whether one more is looked at, be it to report that it is one too many.
    fn has_room(&self, count: usize) -> bool {
        count <= self.most + self.built_in
    }
}

/// Gives a name to one thing only.
fn define<T>(
    all: &mut BTreeMap<String, Defined<T>>,
    bound: &Bound,
    name: &Placed<&str>,
    value: T,
    report: &mut Report<'_>,
) {
    let Bound { what, most, .. } = bound;
    if let Some(first) = all.get(name.value) {
        let shown = quoted(name.value);
        let message = format!("there is a {what} {shown} already, from {}", first.place);
        report.error(name.span.clone(), message);
        return;
    }
    if all.len() == most + bound.built_in {
        let message = format!("there are too many {what}s: over {most}");
        report.error(name.span.clone(), message);
    }
    let place = report.place(name.span.start);
    all.insert(name.value.to_owned(), Defined { value, place });
}
