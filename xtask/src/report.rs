//! Computes the report: all counters over the whole repository.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::classified::{ClassifiedFiles, LineCounts, PackageCircles, total};
use crate::packages::{self, Package};
use crate::repository::{ReportError, Repository};
use crate::rust;
use crate::words::old_names::{self, OldName};
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
    let packages = packages::packages(repository)?;
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
            files: old_names::files(repository, &table),
            types: old_names::types(files.product(), &table),
            functions: old_names::functions(files.product(), &table),
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
        let closure = packages::closure(repository, name)?;
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
}
