//! Follows the links of a plan, and finds those that may lead to an upload of the same plan. Reads no link of the machine.
//!
//! **Invariant:** a stranger chooses the plan, so each link is followed once, however many lead to it, and names and targets
//! are held for ends of ways only.

use std::collections::HashMap;
use std::rc::Rc;

use crate::PlanPath;
use crate::path::is_beneath;
use crate::plan::New;
use crate::view::View;

/// Links that are followed one after the other: path_resolution(7).
const LINKS: usize = 40;
/// Links that are followed for one plan.
const STEPS: usize = 4000;

#[derive(Debug, PartialEq, Eq)]
pub enum Led {
    /// It may lead to an upload.
    ToUpload,
    /// The links behind it are more than are followed.
    TooFar,
}

/// The entries of a plan. No entry lies beneath a link, by the invariant of plans.
pub struct LinkWays<'a> {
    /// By their keys.
    entries: Vec<WayEntry<'a>>,
    /// How many of the entries before each one are uploads or links.
    marked: Vec<usize>,
    /// Links that lead to no upload as far as paths say, by position, with the number of links of their way.
    followed: HashMap<usize, usize>,
    /// Paths of no entry at which ways end, each with the first link that leads to it.
    ends: Vec<(&'a PlanPath, PlanPath)>,
}

struct WayEntry<'a> {
    /// Its path for the order of trees.
    key: Vec<u8>,
    path: &'a PlanPath,
    kind: EntryKind<'a>,
}

#[derive(Clone, Copy)]
enum EntryKind<'a> {
    Upload,
    /// With its target.
    Link(&'a [u8]),
    Other,
}

enum WayStep {
    Link(usize),
    Entry,
    NoEntry(PlanPath),
    Upload,
}

/// What uploads and links with a certain name in their paths are, together.
enum Met {
    Nothing,
    /// Links to this path alone.
    LinksTo(Rc<PlanPath>),
    /// Uploads, or links to others.
    Uploads,
}

impl<'a> LinkWays<'a> {
    pub fn new(views: &[View<'a>]) -> Self {
        let entry = |view: &View<'a>| WayEntry {
            key: view.entry.path.tree_key(),
            path: &view.entry.path,
            kind: match target_of(view) {
                Some(target) => EntryKind::Link(target),
                None if view.entry.change.uploaded().is_some() => EntryKind::Upload,
                None => EntryKind::Other,
            },
        };
        let mut entries: Vec<WayEntry<'a>> = views.iter().map(entry).collect();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut count = 0;
        let mut marked = vec![count];
        for entry in &entries {
            count += usize::from(!matches!(entry.kind, EntryKind::Other));
            marked.push(count);
        }
        Self {
            entries,
            marked,
            followed: HashMap::new(),
            ends: Vec::new(),
        }
    }

    /// Returns the path of the first of these links that may lead to an upload, to a directory with one, or to one with
    /// further links.
    pub fn first_led(&mut self, links: &[&'a PlanPath]) -> Option<(&'a PlanPath, Led)> {
        for link in links {
            if let Err(led) = self.follow(link) {
                return Some((link, led));
            }
        }
        let met = self.names_of_ends();
        let may_be = |(_, end): &&(&PlanPath, PlanPath)| match met.get(end.name()) {
            None | Some(Met::Nothing) => false,
            Some(Met::LinksTo(path)) => **path != *end,
            Some(Met::Uploads) => true,
        };
        let (link, _) = self.ends.iter().find(may_be)?;
        Some((link, Led::ToUpload))
    }

    /// Follows a link to the end of its way. Does not look at what has the name of that end.
    fn follow(&mut self, link: &'a PlanPath) -> Result<(), Led> {
        let mut way = Vec::new();
        let mut next = self.at(link);
        let beyond = loop {
            let at = match next {
                WayStep::Link(at) => at,
                WayStep::Entry => break 0,
                WayStep::NoEntry(end) => {
                    self.ends.push((link, end));
                    break 0;
                }
                WayStep::Upload => return Err(Led::ToUpload),
            };
            if let Some(links) = self.followed.get(&at) {
                break *links;
            }
            // A circle has no end either.
            if way.len() == LINKS {
                return Err(Led::ToUpload);
            }
            if self.followed.len() + way.len() == STEPS {
                return Err(Led::TooFar);
            }
            way.push(at);
            next = self.behind(at);
        };
        let counted = (beyond + 1..).zip(way.into_iter().rev());
        for (links, at) in counted {
            if links > LINKS {
                return Err(Led::ToUpload);
            }
            self.followed.insert(at, links);
        }
        Ok(())
    }

    /// Returns where the target of a link leads to. A way to a path of an entry ends there, or goes on if it is a link. What
    /// other paths lead to is not known, but it has the last name of the path.
    fn behind(&self, link: usize) -> WayStep {
        let target = match self.entries.get(link) {
            Some(entry) => entry.target(),
            None => None,
        };
        target.map_or(WayStep::Upload, |path| self.at(&path))
    }

    fn at(&self, path: &PlanPath) -> WayStep {
        let mut key = path.tree_key();
        let end = self.entries.partition_point(|entry| entry.key <= key);
        let last = end.checked_sub(1);
        let is_at = |entry: &WayEntry<'_>| entry.key == key;
        let entry = last.and_then(|last| self.entries.get(last));
        // Nothing comes between a link and what would lie beneath it.
        let is_beneath_link = entry.is_some_and(|entry| {
            matches!(entry.kind, EntryKind::Link(_)) && is_beneath(&key, &entry.key)
        });
        let found = entry.filter(|entry| is_at(entry)).map(|entry| entry.kind);
        key.push(1);
        let beneath = self.entries.partition_point(|entry| entry.key < key);
        let marked = |at: usize| self.marked.get(at);
        match found {
            _ if is_beneath_link || marked(beneath) != marked(end) => WayStep::Upload,
            Some(EntryKind::Upload) => WayStep::Upload,
            Some(EntryKind::Link(_)) => last.map_or(WayStep::Upload, WayStep::Link),
            Some(EntryKind::Other) => WayStep::Entry,
            None => WayStep::NoEntry(path.clone()),
        }
    }

    /// Returns what has the names of the ends in its path.
    fn names_of_ends(&self) -> HashMap<&[u8], Met> {
        let names_of_ends = self.ends.iter().map(|(_, end)| (end.name(), Met::Nothing));
        let mut met: HashMap<&[u8], Met> = names_of_ends.collect();
        if met.is_empty() {
            return met;
        }
        for entry in &self.entries {
            let mut target: Option<Option<Rc<PlanPath>>> = None;
            for name in names(entry.path.as_bytes()) {
                let Some(met) = met.get_mut(name) else {
                    continue;
                };
                let to = match (&entry.kind, &*met) {
                    (EntryKind::Other, _) | (_, Met::Uploads) => continue,
                    (EntryKind::Upload, _) => None,
                    (EntryKind::Link(_), _) => target
                        .get_or_insert_with(|| entry.target().map(Rc::new))
                        .clone(),
                };
                *met = match (to, &*met) {
                    (Some(to), Met::Nothing) => Met::LinksTo(to),
                    (Some(to), Met::LinksTo(only)) if to == *only => continue,
                    _ => Met::Uploads,
                };
            }
        }
        met
    }
}

impl WayEntry<'_> {
    fn target(&self) -> Option<PlanPath> {
        match self.kind {
            EntryKind::Link(target) => resolved(self.path.as_bytes(), target),
            EntryKind::Upload | EntryKind::Other => None,
        }
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

pub fn target_of<'a>(view: &View<'a>) -> Option<&'a [u8]> {
    match view.entry.change.makes() {
        Some(New::Link(_)) => view.new,
        _ => None,
    }
}

/// Returns the path that a target names from the directory of the link; nothing for the root, and for a `..` behind a name
/// of the target, which may be a link.
fn resolved(link: &[u8], target: &[u8]) -> Option<PlanPath> {
    let slash = link.iter().rposition(|byte| *byte == b'/')?;
    let mut parts: Vec<&[u8]> = match target.first() {
        Some(b'/') => Vec::new(),
        _ => names(link.get(..slash)?).collect(),
    };
    let mut is_named = false;
    for part in names(target).filter(|part| part != b".") {
        match part {
            b".." if is_named => return None,
            b".." => drop(parts.pop()),
            part => {
                is_named = true;
                parts.push(part);
            }
        }
    }
    PlanPath::new([&b"/"[..], &parts.join(&b'/')].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Change, Content, Entry, Metadata, Source};

    /// Entries of links with their targets, and of one upload.
    struct TestLinks(Vec<(Entry, Option<String>)>);

    impl TestLinks {
        fn new(links: impl Iterator<Item = (String, String)>) -> Self {
            let made = |path: &str, is_link| {
                let content = Content {
                    size: 1,
                    sha256: [0; 32],
                    source: if is_link {
                        Source::Bundle
                    } else {
                        Source::Upload
                    },
                    capabilities: None,
                    mtime: None,
                };
                let new = if is_link {
                    New::Link(content)
                } else {
                    New::File(content)
                };
                let meta = Metadata {
                    mode: 0o777,
                    uid: 0,
                    gid: 0,
                };
                let (path, change) = (PlanPath::new(path).unwrap(), Change::Create { new, meta });
                Entry { path, change }
            };
            let links = links.map(|(path, to)| (made(&path, true), Some(to)));
            Self(links.chain([(made("/upload", false), None)]).collect())
        }

        fn views(&self) -> Vec<View<'_>> {
            let all = self.0.iter();
            all.map(|(entry, to)| View {
                entry,
                old: None,
                new: to.as_ref().map(String::as_bytes),
            })
            .collect()
        }
    }

    fn chain(of: String, count: usize) -> impl Iterator<Item = (String, String)> {
        (0..count).map(move |n| (format!("{of}/{n:04}"), format!("{:04}", n + 1)))
    }

    fn first<'a>(views: &[View<'a>], count: usize) -> Vec<&'a PlanPath> {
        views
            .iter()
            .take(count)
            .map(|view| &view.entry.path)
            .collect()
    }

    #[test]
    fn chain_of_many_links_is_followed_once() {
        let units = (0..1000).map(|n| (format!("/etc/u{n:04}"), "/s/0000".to_owned()));
        let links = TestLinks::new(units.chain(chain("/s".to_owned(), 38)));
        let views = links.views();
        let mut ways = LinkWays::new(&views);
        assert_eq!(ways.first_led(&first(&views, 1000)), None);
        assert_eq!(ways.followed.len(), 1000 + 38);
        assert_eq!(ways.ends.len(), 1);
    }

    #[test]
    fn names_and_targets_are_held_for_ends_only() {
        let names = |n: usize| (0..64).map(move |depth| format!("/{:x}", n * 64 + depth));
        let links = (0..1000).map(|n| (names(n).collect(), "x".to_owned()));
        let links = TestLinks::new(
            [("/a".to_owned(), "/b/x".to_owned())]
                .into_iter()
                .chain(links),
        );
        let views = links.views();
        let mut ways = LinkWays::new(&views);
        assert_eq!(ways.first_led(&first(&views, 1)), None);
        assert_eq!((ways.ends.len(), ways.names_of_ends().len()), (1, 1));
        assert!(matches!(
            ways.names_of_ends().get(&b"x"[..]),
            Some(Met::Nothing)
        ));
    }

    #[test]
    fn way_longer_than_the_kernels_is_refused() {
        for (count, known, expect) in [
            (40, 0, None),
            (41, 0, Some(Led::ToUpload)),
            // Its end is known already.
            (40, 20, None),
            (41, 20, Some(Led::ToUpload)),
        ] {
            let links = TestLinks::new(chain("/s".to_owned(), count));
            let views = links.views();
            let mut asked = first(&views, known + 1);
            asked.reverse();
            let led = LinkWays::new(&views).first_led(&asked).map(|(_, led)| led);
            assert_eq!(led, expect, "{count} {known}");
        }
    }

    #[test]
    fn links_beyond_the_bound_are_not_followed() {
        for (count, expect) in [(100, None), (101, Some(Led::TooFar))] {
            let links = (0..count).flat_map(|n| chain(format!("/s{n:04}"), LINKS));
            let links = TestLinks::new(links);
            let views = links.views();
            let asked: Vec<_> = first(&views, count * LINKS)
                .into_iter()
                .step_by(LINKS)
                .collect();
            let mut ways = LinkWays::new(&views);
            let led = ways.first_led(&asked).map(|(_, led)| led);
            assert_eq!(led, expect, "{count}");
            assert_eq!(ways.followed.len(), STEPS, "{count}");
        }
    }
}
