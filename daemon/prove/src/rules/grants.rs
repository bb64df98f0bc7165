//! What the policy lets an account do.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::engines;
use remit_plan::{PlanPath, path_needs_approval};
use remit_programs::innermost;

use super::sudo_writes::{self, Decider, WriteTarget, WritingProgram};
use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, template};
use crate::grants::{Grants, JOB, ProfileFact, ProgramFact, What};
use crate::machine::entry::{End, Entry, Holder, Kind, WRITE};
use crate::path::FilePath;
use crate::rule::RuleId;
use crate::rules::files::user;

const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// Sockets at which a client that is root gets everything, as at those of engines.
const OF_ROOT: [&str; 2] = [SYSTEM_BUS, "/run/systemd/private"];

/// Files of the kernel and of remit, which no commit changes.
const OWN: [&[u8]; 8] = [
    b"/dev/",
    b"/proc/",
    b"/run/",
    b"/sys/",
    b"/etc/remit",
    b"/usr/lib/remit",
    b"/usr/libexec/remit",
    b"/var/lib/remit",
];

pub fn rules(facts: &Facts, grants: &Grants, clauses: &mut Clauses) {
    let profile_of = |name: &String| grants.profiles.iter().find(|one| one.name == *name);
    // What a permission decides is the same for each account that has it.
    let mut used = BTreeSet::new();
    for one in &grants.granted {
        let account = [Atom::Account(one.uid)];
        let detail = format!(
            "{} may call {} by {}",
            user(facts, one.uid),
            one.command,
            one.rule
        );
        let mut add = |head: Atom, rule: RuleId| {
            let clause = Clause::new(head, account.clone(), rule).detail(detail.clone());
            clauses.add(match &one.fix {
                Some(fix) => clause.fix(fix),
                None => clause,
            });
        };
        match &one.what {
            What::Call => add(Atom::Call(one.command.clone()), RuleId::GrantCall),
            What::Start(unit) => {
                for atom in starts(facts, unit, false) {
                    add(atom, RuleId::GrantUnit);
                }
            }
            What::StartTyped(unit) => add(Atom::StartTyped(unit.clone()), RuleId::GrantUnit),
            What::Input { profile, files } => {
                let uses = Atom::Uses(format!("{} {} {:?}", one.command, one.rule, one.what));
                add(uses.clone(), RuleId::GrantInput);
                if let Some(profile) = profile_of(profile).filter(|_| used.insert(uses.clone())) {
                    let files: Vec<FilePath> = files.iter().filter_map(FilePath::new).collect();
                    for path in input(facts, profile, &files) {
                        decides(facts, &uses, path, profile.uid == Some(0), clauses);
                    }
                }
            }
            What::Commit { beneath } => {
                let uses = Atom::Uses(format!("{} {} {:?}", one.command, one.rule, one.what));
                add(uses.clone(), RuleId::GrantCommit);
                if !used.insert(uses.clone()) {
                    continue;
                }
                for path in committed(facts, beneath) {
                    decides(facts, &uses, path, true, clauses);
                }
            }
        }
    }
    for profile in &grants.profiles {
        inside(facts, profile, clauses);
    }
    for program in grants.programs.iter() {
        if let Some(profile) = profile_of(&program.profile) {
            written(facts, profile, program, clauses);
        }
    }
}

/// Returns the paths that commits beneath these change without an approval; beneath none of them is any.
fn committed<'f>(facts: &'f Facts, beneath: &[FilePath]) -> Vec<&'f FilePath> {
    let named = beneath.iter();
    let named = named.filter_map(|path| PlanPath::new(path.as_bytes()).ok());
    let named: Vec<PlanPath> = named.collect();
    let is_open = |path: &FilePath| {
        let is_own = OWN.iter().any(|own| path.as_bytes().starts_with(own));
        let path = PlanPath::new(path.as_bytes());
        !is_own && path.is_ok_and(|path| path_needs_approval(&path, &named).is_none())
    };
    let files: Vec<FilePath> = beneath
        .iter()
        .filter(|path| is_open(path))
        .cloned()
        .collect();
    let directories = directories_of_missing(facts, &files);
    let is_in = |path: &FilePath| {
        let mut beneath = beneath.iter().map(|above| path.is_beneath(above));
        beneath.len() == 0 || beneath.any(|is_in| is_in)
    };
    let paths = facts.ways.iter().filter(|(path, way)| {
        let end = match &way.end {
            End::There(end) => Some(end),
            End::Missing(_) | End::Unknown => None,
        };
        let mut names = std::iter::once(*path).chain(end);
        directories.contains(path) || names.any(|path| is_in(path) && is_open(path))
    });
    paths.map(|(path, _)| path).collect()
}

/// What the words of calls name to be written, and what decides its content beyond the caller.
fn written(facts: &Facts, profile: &ProfileFact, program: &ProgramFact, clauses: &mut Clauses) {
    let chosen = program.words.chosen.iter();
    let chosen = chosen.filter_map(|(word, above)| Some((word.clone(), FilePath::new(above)?)));
    let chosen: BTreeMap<String, FilePath> = chosen.collect();
    let directory = FilePath::new(&program.directory);
    let mut found: BTreeMap<WriteTarget, BTreeSet<Decider>> = BTreeMap::new();
    for call in &program.words.calls {
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        let Some((path, words)) = innermost(&call).split_first() else {
            continue;
        };
        let writer = WritingProgram {
            runas: program.uid.unwrap_or(JOB),
            name: path.rsplit('/').next().unwrap_or_default(),
            words,
            is_free: false,
            has_input: program.has_input,
            directory: directory.as_ref(),
            chosen: &chosen,
        };
        for (target, decider) in sudo_writes::writes(facts, &writer) {
            found.entry(target).or_default().insert(decider);
        }
    }
    let call = Atom::Call(program.command.clone());
    for (target, deciders) in found {
        let (heads, rule, what) = match &target {
            WriteTarget::File(file) => {
                let paths = input(facts, profile, std::slice::from_ref(file)).into_iter();
                let heads = paths.flat_map(|path| heads(facts, path, profile.uid == Some(0)));
                let what = format!("writes {file}");
                (heads.collect(), RuleId::GrantInput, what)
            }
            // Mounts, programs of another account, and the tables of accounts are the machine's.
            WriteTarget::Account(_) | WriteTarget::Members(_) if !profile.is_host => continue,
            WriteTarget::Account(uid) => {
                let what = format!("has {} do what its words say", user(facts, *uid));
                (vec![Atom::Account(*uid)], RuleId::GrantWords, what)
            }
            WriteTarget::Members(gid) => {
                let what = format!(
                    "changes the members of {}",
                    super::files::group(facts, *gid)
                );
                (vec![Atom::Member(*gid)], RuleId::GrantWords, what)
            }
        };
        let heads: Vec<Atom> = heads;
        let detail = format!("command {} of {} {what}", program.command, program.rule);
        for decider in deciders {
            let body: Vec<Atom> = [call.clone()].into_iter().chain(decider).collect();
            for head in &heads {
                let clause = Clause::new(head.clone(), body.clone(), rule);
                clauses.add(clause.detail(detail.clone()));
            }
        }
    }
}

/// Adds that this permission decides what is found by a path.
fn decides(facts: &Facts, uses: &Atom, path: &FilePath, as_root: bool, clauses: &mut Clauses) {
    for head in heads(facts, path, as_root) {
        clauses.add(Clause::hidden(head, [uses.clone()]));
    }
}

/// The atoms of deciding what is found by a path.
fn heads(facts: &Facts, path: &FilePath, as_root: bool) -> impl Iterator<Item = Atom> {
    let change = Atom::Change(path.clone());
    let as_root = as_root.then(|| super::files::as_root(facts, path));
    [change].into_iter().chain(as_root)
}

/// Returns the paths whose content a program of the profile decides that writes these files, or what is beneath them. Without
/// any, it is anywhere.
fn input<'f>(facts: &'f Facts, profile: &ProfileFact, files: &[FilePath]) -> Vec<&'f FilePath> {
    let writes: Vec<FilePath> = profile.writes.iter().filter_map(FilePath::new).collect();
    let directories = directories_of_missing(facts, files);
    let paths = facts.ways.iter().filter(|(path, way)| {
        let end = match &way.end {
            End::There(end) => Some(end.clone()),
            End::Missing(missing) => missing.parent(),
            End::Unknown => None,
        };
        let entry = end.and_then(|end| facts.files.get(&end));
        let is_named = files.is_empty() || files.iter().any(|file| path.is_beneath(file));
        let is_named = is_named || directories.contains(path);
        let is_shown = profile.is_host || writes.iter().any(|above| path.is_beneath(above));
        is_named && is_shown && entry.is_some_and(|entry| can_write(profile, entry))
    });
    paths.map(|(path, _)| path).collect()
}

/// Returns the directories in which one of these files would be a new one that somebody obeys. In a search path its name
/// decides: names that somebody runs are paths of their own.
fn directories_of_missing<'f>(facts: &'f Facts, named: &[FilePath]) -> BTreeSet<&'f FilePath> {
    let end = |path: &FilePath| facts.ways.get(path).map(|way| &way.end);
    let parents = named.iter().filter_map(|file| match end(file) {
        Some(End::Missing(missing)) => missing.parent(),
        _ => None,
    });
    let parents: BTreeSet<FilePath> = parents.collect();
    if parents.is_empty() {
        return BTreeSet::new();
    }
    let obeyed = facts.obeys.iter().filter(|one| {
        let is_by_name = matches!(
            one.rule,
            RuleId::SearchPath | RuleId::LibraryPath | RuleId::Venv
        );
        let is_parent = |end: &End| matches!(end, End::There(end) if parents.contains(end));
        !is_by_name && end(&one.file).is_some_and(is_parent)
    });
    obeyed.map(|one| &one.file).collect()
}

/// What code in a sandbox reaches beyond what every account does.
fn inside(facts: &Facts, profile: &ProfileFact, clauses: &mut Clauses) {
    let inside = [Atom::Inside(profile.name.clone())];
    let of = profile
        .uid
        .map_or_else(|| "a job".to_owned(), |uid| user(facts, uid));
    let mut add = |head: Atom, rule: RuleId, detail: String| {
        clauses.add(Clause::new(head, inside.clone(), rule).detail(detail));
    };
    if let Some(uid) = profile.uid.filter(|_| profile.is_host) {
        let detail = format!("profile {} is {of} without a sandbox", profile.name);
        add(Atom::Account(uid), RuleId::GrantHost, detail);
    }
    for path in profile.writes.iter().filter_map(FilePath::new) {
        let known = facts.files.iter();
        for (known, _) in
            known.filter(|(known, entry)| known.is_beneath(&path) && can_write(profile, entry))
        {
            let detail = format!("profile {} lets {of} write {path}", profile.name);
            if profile.uid == Some(0) {
                let as_root = Atom::AsRoot(known.clone());
                add(as_root, RuleId::GrantWrite, detail.clone());
            }
            add(Atom::Write(known.clone()), RuleId::GrantWrite, detail);
        }
    }
    for socket in &profile.sockets {
        let detail = || format!("profile {} lets {of} connect to {socket}", profile.name);
        for (head, rule) in account_by(facts, profile, socket) {
            add(head, rule, detail());
        }
        let mut of_root = engines::SOCKETS.iter().chain(&OF_ROOT);
        let is_of_root = profile.uid == Some(0) && of_root.any(|known| known == socket);
        if is_of_root || is_powerful(facts, profile, socket) {
            add(Atom::Account(0), RuleId::GrantSocket, detail());
        }
    }
}

/// What a socket gives because of the account that connects: its own service manager starts what it is asked to, and on the system
/// bus polkit permits what it permits the account.
fn account_by(facts: &Facts, profile: &ProfileFact, socket: &str) -> Vec<(Atom, RuleId)> {
    let (Some(uid), Some(path)) = (profile.uid, FilePath::new(socket)) else {
        return Vec::new();
    };
    if path.is_beneath(&FilePath::fixed(&format!("/run/user/{uid}"))) {
        return vec![(Atom::Account(uid), RuleId::GrantSocket)];
    }
    if ![SYSTEM_BUS, "/var/run/dbus/system_bus_socket"].contains(&socket) {
        return Vec::new();
    }
    let name = facts.accounts.name_of(uid).unwrap_or_default();
    let gids = facts.accounts.gids(name);
    let permits = facts.permits.iter().filter(|permit| {
        permit.users.contains(&uid) || gids.iter().any(|gid| permit.groups.contains(gid))
    });
    permits
        .flat_map(|permit| super::permits::yes(facts, permit))
        .collect()
}

/// Returns true if the profile's account can write what its sandbox shows so. CHOWN, DAC_OVERRIDE and FOWNER of capabilities(7)
/// make any file writable, and root without a sandbox has them. Other accounts need no profile for what anybody can write.
fn can_write(profile: &ProfileFact, entry: &Entry) -> bool {
    let overrides = profile.capabilities & (1 | 1 << 1 | 1 << 3) != 0;
    let has = |holder: Holder| match holder {
        Holder::Anyone => profile.uid.is_some(),
        Holder::User(uid) => profile.uid == Some(uid),
        Holder::Group(gid) => profile.gids.contains(&gid),
    };
    overrides
        || profile.is_host && profile.uid == Some(0)
        || entry.holders(WRITE).into_iter().any(has)
}

/// Returns true if the profile's account can open the socket of a container engine.
fn is_powerful(facts: &Facts, profile: &ProfileFact, socket: &str) -> bool {
    let end = |path: &FilePath| match facts.ways.get(path).map(|way| &way.end) {
        Some(End::There(end)) => Some(end.clone()),
        _ => None,
    };
    let listed = FilePath::new(socket);
    let engines = facts.powerful.iter().filter_map(|one| {
        let end = end(&one.file)?;
        let is_it = listed.as_ref() == Some(&one.file) || listed.as_ref() == Some(&end);
        facts.files.get(&end).filter(|_| is_it)
    });
    let mut engines = engines.filter(|entry| entry.kind == Kind::Socket);
    engines.any(|entry| can_write(profile, entry))
}

/// The atoms of having a unit started. `any`: an instance or a pattern may be meant.
pub fn starts(facts: &Facts, unit: &str, any: bool) -> Vec<Atom> {
    if let Some((prefix, _)) = unit.split_once(['*', '?', '[', '\\']).filter(|_| any) {
        let units = facts.units.iter().filter(|known| known.starts_with(prefix));
        return units
            .map(|unit| match unit.contains("@.") {
                true => Atom::StartTyped(unit.clone()),
                false => Atom::Start(unit.clone()),
            })
            .collect();
    }
    let names = [Some(unit.to_owned()), template(unit)]
        .into_iter()
        .flatten();
    names.map(Atom::Start).collect()
}
