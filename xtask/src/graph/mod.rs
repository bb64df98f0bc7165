//! Finds which file needs which other file, and the circles among them. A file needs another one if it names an item
//! that is declared there: in a path or in a private import. Re-exports are followed to the declaration. `mod name;`,
//! `pub use` and methods called on values do not count.

pub mod resolve;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::Package;
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

/// Returns the circles of `graph`, the largest first, each sorted.
pub fn circles(graph: &FileGraph) -> Vec<Vec<String>> {
    let mut search = CircleSearch {
        graph,
        order: BTreeMap::new(),
        stack: Vec::new(),
        on_stack: BTreeSet::new(),
        found: Vec::new(),
    };
    for file in graph.keys() {
        if !search.order.contains_key(file.as_str()) {
            search.visit(file);
        }
    }
    let mut found = search.found;
    found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    found
}

/// Tarjan's algorithm. It recurses as deep as the longest chain of files.
struct CircleSearch<'a> {
    graph: &'a FileGraph,
    order: BTreeMap<&'a str, usize>,
    stack: Vec<&'a str>,
    on_stack: BTreeSet<&'a str>,
    found: Vec<Vec<String>>,
}

impl<'a> CircleSearch<'a> {
    /// Returns the lowest number of a file on the stack that `file` reaches.
    fn visit(&mut self, file: &'a str) -> usize {
        let number = self.order.len();
        self.order.insert(file, number);
        self.stack.push(file);
        self.on_stack.insert(file);
        let mut lowest = number;
        for next in self.graph.get(file).into_iter().flatten() {
            match self.order.get(next.as_str()) {
                None => lowest = lowest.min(self.visit(next)),
                Some(known) if self.on_stack.contains(next.as_str()) => lowest = lowest.min(*known),
                Some(_) => {}
            }
        }
        if lowest == number {
            self.take_component(file);
        }
        lowest
    }

    fn take_component(&mut self, file: &str) {
        let mut component = Vec::new();
        while let Some(top) = self.stack.pop() {
            self.on_stack.remove(top);
            component.push(top.to_owned());
            if top == file {
                break;
            }
        }
        if component.len() > 1 {
            component.sort();
            self.found.push(component);
        }
    }
}

/// Returns `graph` without the references of files to modules above them. A circle that disappears by this is a
/// parent that calls its children, which use a type of the parent.
pub fn without_ancestors(graph: &FileGraph, ancestors: &BTreeSet<(String, String)>) -> FileGraph {
    let mut graph = graph.clone();
    for (file, needed) in &mut graph {
        needed.retain(|other| !ancestors.contains(&(file.clone(), other.clone())));
    }
    graph
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::rust::parse;
    use crate::words::table::WordTable;

    pub fn parsed(files: &[(&str, &str)]) -> Vec<RustFile> {
        let words = WordTable::parse("", "word = []").expect("a table");
        let files = files.iter();
        files
            .map(|(path, text)| parse(path, text, &words).expect("Rust"))
            .collect()
    }

    fn found(files: &[(&str, &str)]) -> (Vec<Vec<String>>, usize) {
        let package = Package {
            name: "p".into(),
            dir: String::new(),
            crate_roots: vec!["src/lib.rs".into()],
        };
        let files = parsed(files);
        let modules = PackageModules::new(&package, &files);
        let graph = modules.graph();
        let fewer = circles(&without_ancestors(&graph, &modules.ancestors())).len();
        (circles(&graph), fewer)
    }

    #[test]
    fn siblings_in_a_circle_are_found() {
        let (all, fewer) = found(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "pub struct B(super::c::C);"),
            ("src/c.rs", "pub struct C; fn f() { m!(crate::a::A) }"),
        ]);
        assert_eq!(all, [["src/a.rs", "src/b.rs", "src/c.rs"]]);
        assert_eq!(fewer, 1);
    }

    #[test]
    fn parent_with_its_child_is_marked() {
        let (all, fewer) = found(&[
            ("src/lib.rs", "mod a; pub struct L; fn f() { a::g() }"),
            ("src/a.rs", "use crate::L; pub fn g() {}"),
        ]);
        assert_eq!(all, [["src/a.rs", "src/lib.rs"]]);
        assert_eq!(fewer, 0);
    }

    #[test]
    fn chains_reexports_and_tests_make_no_circle() {
        let (all, _) = found(&[
            ("src/lib.rs", "mod a; mod b; pub use a::A;"),
            (
                "src/a.rs",
                "use crate::b::B; pub struct A;\n#[cfg(test)]\nmod tests { use crate::b::C; }",
            ),
            (
                "src/b.rs",
                "pub(super) struct B;\n#[cfg(test)]\nmod tests { use crate::A; }",
            ),
        ]);
        assert_eq!(all, Vec::<Vec<String>>::new());
    }
}
