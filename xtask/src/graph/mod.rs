//! Finds which file needs which other file, and the circles among them. A file needs another one if it names an item
//! that is declared there: in a path or in a private import. Re-exports are followed to the declaration. `mod name;`,
//! `pub use` and methods called on values do not count.

pub mod circles;
pub mod resolve;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};

use crate::packages::Package;
use crate::rust::RustFile;
use resolve::Resolver;
use tree::ModuleTree;

pub type FileGraph = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug)]
pub struct PackageModules<'a> {
    trees: Vec<ModuleTree<'a>>,
}

impl<'a> PackageModules<'a> {
    /// Follows `mod name;` from each crate root of `package`.
    pub fn new(package: &Package, files: &'a [RustFile]) -> Self {
        let roots = package.crate_roots.iter();
        Self {
            trees: roots
                .filter_map(|root| ModuleTree::new(root, files))
                .collect(),
        }
    }

    /// Returns the files that are only in builds of tests: all of their declarations are for tests only.
    pub fn test_files(&self) -> BTreeSet<&'a str> {
        let built: BTreeSet<&str> = self.trees.iter().flat_map(ModuleTree::files).collect();
        let tests = self
            .trees
            .iter()
            .flat_map(|tree| tree.test_files.iter().copied());
        tests.filter(|file| !built.contains(file)).collect()
    }

    pub fn graph(&self) -> FileGraph {
        let mut graph = FileGraph::new();
        for tree in &self.trees {
            let resolver = Resolver::new(tree);
            for (index, module) in tree.modules.iter().enumerate() {
                let needed = graph.entry(module.file.to_owned()).or_default();
                for path in &module.facts.references {
                    let found = resolver.file_of(index, path);
                    needed.extend(
                        found
                            .filter(|found| *found != module.file)
                            .map(str::to_owned),
                    );
                }
            }
        }
        graph
    }

    /// Returns pairs of a file and a file whose module is above it.
    pub fn ancestors(&self) -> BTreeSet<(String, String)> {
        let mut pairs = BTreeSet::new();
        for tree in &self.trees {
            for module in &tree.modules {
                let mut above = module.parent;
                while let Some(parent) = above.and_then(|index| tree.modules.get(index)) {
                    pairs.insert((module.file.to_owned(), parent.file.to_owned()));
                    above = parent.parent;
                }
            }
        }
        pairs
    }
}
