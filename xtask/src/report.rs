//! Computes the report: all counters over the whole repository. Compares new figures with those kept in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::classified::{ClassifiedFiles, LineCounts, PackageCircles, total};
use crate::repository::{Package, ReportError, Repository, closure, packages};
use crate::rust;
use crate::type_names::{self, OldName};
use crate::words::table::{self, TABLE_FILE, WordTable};
use crate::words::{TextKind, WordHit};

/// Packages that are started as root and stay root.
const ROOT_PROCESSES: &[&str] = &["remitd", "remit-spawner"];

const SOURCE_FOLDERS: &[&str] = &[
    "daemon/warden/src",
    "daemon/broker/src",
    "daemon/confine/src",
    "daemon/sys/src",
    "daemon/spawn/src",
    "daemon/spawner/src",
    "daemon/cli/src",
];

#[derive(Debug, Serialize)]
pub struct RootProcess {
    pub packages: BTreeSet<String>,
    pub code: usize,
    pub external_crates: usize,
}

#[derive(Debug, Default, Serialize)]
pub struct OldNames {
    pub files: Vec<OldName>,
    pub types: Vec<OldName>,
    pub functions: Vec<OldName>,
}

#[derive(Debug, Default, Serialize)]
pub struct RepositoryReport {
    pub packages: BTreeMap<String, LineCounts>,
    pub shipped: LineCounts,
    pub all: LineCounts,
    pub root_processes: BTreeMap<String, RootProcess>,
    /// Lines of code of all root processes and of what they link, each package once.
    pub root_code: usize,
    pub entries: BTreeMap<String, usize>,
    /// Type names that are declared more than once in a package.
    pub repeated_types: BTreeMap<String, Vec<String>>,
    /// Type names that are declared in more than one package.
    pub shared_types: BTreeMap<String, Vec<String>>,
    pub circles: BTreeMap<String, PackageCircles>,
    pub impl_spread: BTreeMap<String, usize>,
    /// Number of banned words, by word and kind of text.
    pub words: BTreeMap<String, BTreeMap<TextKind, usize>>,
    pub instead: BTreeMap<String, String>,
    pub old_names: OldNames,
    pub files_in_git: usize,
    #[serde(skip)]
    pub hits: Vec<WordHit>,
}

pub fn compute(repository: &Repository) -> Result<RepositoryReport, ReportError> {
    let text = repository.text(TABLE_FILE)?.unwrap_or_default();
    let table = WordTable::parse(TABLE_FILE, &text)?;
    let packages = packages(repository)?;
    let mut files = rust::read_all(repository, &table)?;
    let mut hits = table::hits(repository, &table)?;
    hits.extend(files.iter_mut().flat_map(|file| file.hits.drain(..)));
    hits.sort();
    let files = ClassifiedFiles::new(&packages, &files);
    let lines = files.lines();
    let sum = |is_wanted: &dyn Fn(&Package) -> bool| {
        let wanted = packages.iter().filter(|package| is_wanted(package));
        total(wanted.filter_map(|package| lines.get(&package.name)))
    };
    let (names, spread) = files.types();
    let root_processes = root_processes(repository, &lines)?;
    let root: BTreeSet<&String> = root_processes
        .values()
        .flat_map(|process| &process.packages)
        .collect();
    let root = root.into_iter().filter_map(|package| lines.get(package));
    Ok(RepositoryReport {
        shipped: sum(&Package::is_shipped),
        all: sum(&|_| true),
        root_code: root.map(|counts| counts.code).sum(),
        root_processes,
        packages: lines,
        entries: SOURCE_FOLDERS
            .iter()
            .map(|dir| ((*dir).to_owned(), repository.entries(dir)))
            .collect(),
        repeated_types: names.repeated(),
        shared_types: names.shared(),
        circles: files.circles(),
        impl_spread: spread.wide(),
        words: word_counts(&table, &hits),
        instead: table
            .words()
            .iter()
            .map(|entry| (entry.word.clone(), entry.instead.clone()))
            .collect(),
        old_names: OldNames {
            files: type_names::files(repository, &table),
            types: type_names::types(files.product(), &table),
            functions: type_names::functions(files.product(), &table),
        },
        files_in_git: repository.files().len(),
        hits,
    })
}

fn root_processes(
    repository: &Repository,
    lines: &BTreeMap<String, LineCounts>,
) -> Result<BTreeMap<String, RootProcess>, ReportError> {
    let mut found = BTreeMap::new();
    for name in ROOT_PROCESSES {
        let closure = closure(repository, name)?;
        let code = closure.own.iter().filter_map(|package| lines.get(package));
        let process = RootProcess {
            code: code.map(|counts| counts.code).sum(),
            packages: closure.own,
            external_crates: closure.external,
        };
        found.insert((*name).to_owned(), process);
    }
    Ok(found)
}

fn word_counts(table: &WordTable, hits: &[WordHit]) -> BTreeMap<String, BTreeMap<TextKind, usize>> {
    let words = table.words().iter();
    let mut counts: BTreeMap<_, BTreeMap<_, _>> = words
        .map(|entry| (entry.word.clone(), BTreeMap::new()))
        .collect();
    for hit in hits {
        *counts
            .entry(hit.word.clone())
            .or_default()
            .entry(hit.kind)
            .or_insert(0) += 1;
    }
    counts
}

pub const FIGURES_FILE: &str = "xtask/report.json";

/// Figures of which more is better. Of all others less is better.
const MORE_IS_BETTER: &[&str] = &["tests"];

/// Figures by name. A missing figure is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, usize>);

#[derive(Debug, PartialEq, Eq)]
pub struct FigureChange {
    pub name: String,
    pub before: usize,
    pub now: usize,
}

impl FigureChange {
    pub fn is_worse(&self) -> bool {
        (self.now > self.before) != MORE_IS_BETTER.contains(&self.name.as_str())
    }
}

impl fmt::Display for FigureChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}, was {}", self.name, self.now, self.before)
    }
}

impl Figures {
    /// Takes the figures that are compared from a report. Lines of code of single packages are left out: code may
    /// move between packages.
    pub fn of_report(report: &RepositoryReport) -> Self {
        let mut figures = BTreeMap::new();
        let mut add = |name: String, value: usize| figures.insert(name, value);
        add("code.shipped".into(), report.shipped.code);
        add("comments.shipped".into(), report.shipped.comments);
        add("comments.all".into(), report.all.comments);
        add("tests".into(), report.all.tests);
        add("files_in_git".into(), report.files_in_git);
        for (name, process) in &report.root_processes {
            add(format!("code.process.{name}"), process.code);
            add(format!("external_crates.{name}"), process.external_crates);
        }
        add("code.root".into(), report.root_code);
        for (dir, entries) in &report.entries {
            add(format!("entries.{dir}"), *entries);
        }
        add("types.repeated".into(), report.repeated_types.len());
        add("types.shared".into(), report.shared_types.len());
        for (package, found) in &report.circles {
            let pairs = found
                .circles
                .iter()
                .map(|circle| circle.len() * (circle.len() - 1) / 2);
            add(format!("circles.pairs.{package}"), pairs.sum());
        }
        add("impl_spread.types".into(), report.impl_spread.len());
        add(
            "impl_spread.files".into(),
            report.impl_spread.values().sum(),
        );
        for (word, kinds) in &report.words {
            add(format!("words.{word}"), kinds.values().sum());
        }
        add("old_names.files".into(), report.old_names.files.len());
        add("old_names.types".into(), report.old_names.types.len());
        add(
            "old_names.functions".into(),
            report.old_names.functions.len(),
        );
        Self(figures)
    }

    pub fn read(repository: &Repository) -> Result<Self, ReportError> {
        let path = repository.root().join(FIGURES_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // Before the first '--write' nothing is kept: every figure is compared with 0.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(ReportError::File { path, source }),
        };
        serde_json::from_str(&text).map_err(|error| ReportError::invalid(FIGURES_FILE, error))
    }

    pub fn write(&self, repository: &Repository) -> Result<(), ReportError> {
        let path = repository.root().join(FIGURES_FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| ReportError::invalid(FIGURES_FILE, error))?;
        std::fs::write(&path, text + "\n").map_err(|source| ReportError::File { path, source })
    }

    pub fn changes_since(&self, before: &Self) -> Vec<FigureChange> {
        let names: BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let value = |figures: &Self, name| figures.0.get(name).copied().unwrap_or(0);
        names
            .into_iter()
            .map(|name| FigureChange {
                name: name.clone(),
                before: value(before, name),
                now: value(self, name),
            })
            .filter(|change| change.before != change.now)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_hits_are_listed() {
        let table =
            WordTable::parse("", "[[word]]\nword = \"a\"\ninstead = \"b\"").expect("a table");
        let hit = |kind| WordHit {
            file: "f".into(),
            line: 1,
            kind,
            word: "a".into(),
        };
        assert_eq!(
            word_counts(&table, &[]).get("a").map(BTreeMap::len),
            Some(0)
        );
        let counts = word_counts(&table, &[hit(TextKind::Name), hit(TextKind::Name)]);
        assert_eq!(
            counts.get("a").and_then(|kinds| kinds.get(&TextKind::Name)),
            Some(&2)
        );
    }

    fn figures(values: &[(&str, usize)]) -> Figures {
        let values = values.iter();
        Figures(
            values
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        )
    }

    fn worse(before: &[(&str, usize)], now: &[(&str, usize)]) -> Vec<String> {
        let changes = figures(now).changes_since(&figures(before));
        let worse = changes.iter().filter(|change| change.is_worse());
        worse.map(ToString::to_string).collect()
    }

    #[test]
    fn more_is_worse_and_less_is_better() {
        let before = [("a", 2), ("b", 2), ("c", 2)];
        assert_eq!(
            worse(&before, &[("a", 3), ("b", 1), ("c", 2)]),
            ["a: 3, was 2"]
        );
    }

    #[test]
    fn fewer_tests_are_worse() {
        assert_eq!(worse(&[("tests", 2)], &[("tests", 1)]), ["tests: 1, was 2"]);
        assert!(worse(&[("tests", 2)], &[("tests", 3)]).is_empty());
    }

    #[test]
    fn missing_figure_is_zero() {
        assert_eq!(worse(&[], &[("a", 1), ("b", 0)]), ["a: 1, was 0"]);
        assert!(worse(&[("a", 1)], &[]).is_empty());
        assert_eq!(figures(&[]).changes_since(&figures(&[("a", 1)])).len(), 1);
    }
}
