//! What a change of a path can mean for the machine, as true sentences for an approver. They come from the path and the
//! bytes. They refuse nothing that somebody approves: [`crate::Protected`] does.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::escape;

use crate::PlanPath;
use crate::deciding::{by_path, is_hidden_in_home, is_startup};
use crate::facts::{Groups, account_facts};
use crate::of_packages::OfPackages;
use crate::plan::{Change, Entry, Kind, Metadata, New};
use crate::risk::{Risk, worst};
use crate::view::View;

/// Sentences of a plan, and paths in one.
const SENTENCES: usize = 32;
const PATHS: usize = 4;
/// Bytes of all of them, and of a link's target: a long page begins with two lines of the worst risk, and words follow.
const SHOWN: usize = 54;

#[must_use]
pub fn risks(view: &View<'_>) -> BTreeSet<Risk> {
    let mut risks = path_risks(&view.entry.path);
    if view.entry.change.makes() == Some(New::Directory) {
        risks.remove(&Risk::Settings);
    }
    risks.extend(rights(&view.entry.change));
    let capabilities = match view.entry.change {
        Change::SetMetadata { base, .. } => base.capabilities.known(),
        change => change.content().and_then(|content| content.capabilities),
    };
    if let Some(own) = capabilities {
        risks.insert(Risk::Capabilities(own.names()));
    }
    if let Some(New::Link(_)) = view.entry.change.makes() {
        let target = view.new.map(|target| escape::in_quotes(target, SHOWN));
        risks.insert(Risk::Link(target.unwrap_or_default()));
    }
    if view.is_unread() {
        risks.insert(Risk::Unread);
    }
    if view.entry.change.uploaded().is_some() {
        risks.insert(Risk::Uploaded);
    }
    if is_known(view, false) {
        risks.insert(Risk::Known);
    }
    risks.extend(account_facts(view));
    risks
}

/// Returns the risks of any change of this path.
pub(crate) fn path_risks(path: &PlanPath) -> BTreeSet<Risk> {
    let mut risks: BTreeSet<Risk> = by_path(path).cloned().collect();
    if path.holds_login_keys() {
        risks.insert(Risk::LoginKeys);
    } else if is_startup(path) || is_hidden_in_home(path) {
        risks.insert(Risk::Home);
    }
    risks
}

/// Returns true for new content in a file that is closed to others from then on: a key, mostly. The mode decides, because it
/// is what the file is made to keep. Who replaces a file that was closed could read it before, or its old content is a risk of
/// its own. An undo puts back bytes that nobody knows from it: it has none. `is_beneath`: in a directory that is closed itself.
fn is_known(view: &View<'_>, is_beneath: bool) -> bool {
    let change = view.entry.change;
    let (Some(New::File(content)), Some(meta)) = (change.makes(), change.meta()) else {
        return false;
    };
    let has_bytes = view.new.is_some() || change.uploaded().is_some();
    let is_new = change
        .base()
        .is_none_or(|base| base.stat.meta.mode & 0o004 != 0 && base.sha256 != Some(content.sha256));
    let is_closed = is_beneath || meta.mode & 0o004 == 0;
    has_bytes && is_new && content.size > 0 && is_closed
}

/// What the entries of a plan tell about each other.
pub struct Context<'a> {
    packages: OfPackages<'a>,
    groups: Groups,
    /// New directories that others cannot enter.
    closed: BTreeSet<&'a [u8]>,
}

impl<'a> Context<'a> {
    /// Of all entries of a plan.
    pub fn new(views: impl Iterator<Item = View<'a>>) -> Self {
        let views: Vec<View<'a>> = views.collect();
        let mut groups = Groups::default();
        views.iter().for_each(|view| groups.add(view));
        Self {
            groups,
            closed: views.iter().filter_map(closed_directory).collect(),
            packages: OfPackages::new(&views),
        }
    }

    /// Returns true if it belongs to a package of the plan.
    #[must_use]
    pub fn is_of_package(&self, entry: &Entry) -> bool {
        self.packages.has(entry)
    }

    /// Returns the risks of an entry, also those that it has beside the others.
    #[must_use]
    pub fn risks(&self, view: &View<'_>) -> BTreeSet<Risk> {
        let all = risks(view).into_iter();
        let mut all: BTreeSet<Risk> = all
            .filter_map(|mut risk| self.groups.explain(&mut risk).then_some(risk))
            .collect();
        let mut above = view.entry.path.ancestors();
        if !self.closed.is_empty() && is_known(view, above.any(|dir| self.closed.contains(dir))) {
            all.insert(Risk::Known);
        }
        all
    }
}

/// Returns a sentence for each risk, the worst first; more paths are counted. Those are named first that belong to no package
/// of the plan.
pub fn risk_sentences<'a>(views: impl Iterator<Item = View<'a>>) -> Vec<String> {
    let views: Vec<View<'a>> = views.collect();
    let context = Context::new(views.iter().copied());
    let mut paths: BTreeMap<Risk, Vec<(bool, &PlanPath)>> = BTreeMap::new();
    for view in &views {
        let one = (context.is_of_package(view.entry), &view.entry.path);
        for risk in context.risks(view) {
            paths.entry(risk).or_default().push(one);
        }
    }
    let sentence = |(risk, mut paths): (Risk, Vec<(bool, &PlanPath)>)| {
        paths.sort_by_key(|(is_of_package, _)| *is_of_package);
        let paths: Vec<&PlanPath> = paths.into_iter().map(|(_, path)| path).collect();
        format!("{}: {risk}", names(&paths))
    };
    let (worst, more) = worst(paths, SENTENCES, |(risk, _)| risk);
    let mut all: Vec<String> = worst.into_iter().map(sentence).collect();
    if more > 0 {
        all.push(format!("{more} more such facts about the paths"));
    }
    all
}

/// Returns the path of a new directory that others cannot enter.
fn closed_directory<'a>(view: &View<'a>) -> Option<&'a [u8]> {
    match view.entry.change {
        Change::Create {
            new: New::Directory,
            meta,
        } if meta.mode & 0o001 == 0 => Some(view.entry.path.as_bytes()),
        _ => None,
    }
}

/// Returns as many paths as fit before the words of a risk, and at least one.
pub fn names(paths: &[&PlanPath]) -> String {
    let first = |count: usize, most: usize| {
        let first = paths.iter().take(count);
        let first: Vec<String> = first
            .map(|path| escape::middle(path.as_bytes(), most))
            .collect();
        let more = match paths.len().saturating_sub(count) {
            0 => String::new(),
            more => format!(", [… {more} more …]"),
        };
        (first.join(", "), more)
    };
    let fits = |(names, more): &(String, String)| names.len() + more.len() <= SHOWN;
    let mut counts = (1..=PATHS).rev();
    let (names, more) = counts
        .find_map(|count| Some(first(count, SHOWN)).filter(fits))
        .unwrap_or_else(|| {
            let (_, more) = first(1, SHOWN);
            first(1, SHOWN.saturating_sub(more.len()))
        });
    names + &more
}

fn rights(change: &Change) -> impl Iterator<Item = Risk> {
    let is_link = matches!(change.makes(), Some(New::Link(_)));
    // The mode of a link says nothing: a file that replaces it is a new one.
    let base = change.base().map(|base| base.stat);
    let base = base.filter(|base| is_link || base.kind != Kind::Symlink);
    let is_directory = match change {
        Change::Create { new, .. } => *new == New::Directory,
        _ => base.is_some_and(|base| base.kind == Kind::Directory),
    };
    let has_other_bytes = match change {
        Change::Replace { base, content, .. } => base.sha256 != Some(content.sha256),
        _ => false,
    };
    let of = |meta: Metadata| {
        let before = base.map(|base| base.meta);
        let old = before.map_or(0, |old| old.mode);
        let gained = meta.mode & !old;
        let is_new = before.is_none();
        let is_owner_kept = match before {
            Some(old) => (old.uid, old.gid) == (meta.uid, meta.gid),
            None => (meta.uid, meta.gid) == (0, 0),
        };
        // Without the sticky bit everybody who may write a directory removes the files of others.
        let is_unstuck = old & !meta.mode & 0o1000 != 0 && meta.mode & 0o022 != 0;
        let is_opened = !is_new && (gained & 0o077 != 0 || is_unstuck);
        [
            (!is_directory && meta.mode & 0o6000 != 0, Risk::SetId),
            (
                has_other_bytes && (meta.mode | old) & 0o111 != 0,
                Risk::Program,
            ),
            (meta.mode & 0o002 != 0, Risk::WorldWritable),
            (is_directory && gained & 0o2000 != 0, Risk::SetGidDirectory),
            (is_new && meta.mode & 0o022 == 0o020, Risk::GroupWritable),
            (is_opened, Risk::Opened),
            (!is_owner_kept, Risk::Owner),
            (!is_directory && gained & 0o111 != 0, Risk::Executable),
        ]
    };
    let found = change.meta().map(of).into_iter().flatten();
    let found = found.filter(move |(_, risk)| !is_link || *risk == Risk::Owner);
    found.filter_map(|(is_there, risk)| is_there.then_some(risk))
}
