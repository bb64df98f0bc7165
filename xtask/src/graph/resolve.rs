//! Resolves paths to the file that declares the named item.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::tree::{ModuleNode, ModuleTree};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning<'a> {
    Module(usize),
    Item(&'a str),
}

/// The kind that the caller looks for. A module and a function may share a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NameKind {
    Module,
    Item,
}

#[derive(Debug)]
pub struct Resolver<'t, 'a> {
    tree: &'t ModuleTree<'a>,
    /// Searches under way: imports may lead in a circle.
    pending: RefCell<BTreeSet<(usize, String, NameKind)>>,
}

impl<'t, 'a> Resolver<'t, 'a> {
    pub fn new(tree: &'t ModuleTree<'a>) -> Self {
        Self {
            tree,
            pending: RefCell::default(),
        }
    }

    /// Returns the file with the item that `path` names in `module`. A path to a module names no item.
    pub fn file_of(&self, module: usize, path: &[String]) -> Option<&'a str> {
        match self.path(module, path, NameKind::Item)? {
            Meaning::Item(file) => Some(file),
            Meaning::Module(_) => None,
        }
    }

    fn node(&self, module: usize) -> Option<&'t ModuleNode<'a>> {
        self.tree.modules.get(module)
    }

    fn path(&self, module: usize, path: &[String], wanted: NameKind) -> Option<Meaning<'a>> {
        let (first, mut rest) = path.split_first()?;
        let mut meaning = match first.as_str() {
            "crate" => Meaning::Module(0),
            "self" => Meaning::Module(module),
            "super" => Meaning::Module(self.node(module)?.parent?),
            name => self.name(
                module,
                name,
                if rest.is_empty() {
                    wanted
                } else {
                    NameKind::Module
                },
            )?,
        };
        while let (Meaning::Module(current), Some((name, behind))) = (meaning, rest.split_first()) {
            rest = behind;
            if name == "super" {
                meaning = Meaning::Module(self.node(current)?.parent?);
                continue;
            }
            let next = self.name(
                current,
                name,
                if behind.is_empty() {
                    wanted
                } else {
                    NameKind::Module
                },
            );
            // A macro in the module may have declared it.
            meaning = next.unwrap_or(Meaning::Item(self.node(current)?.file));
        }
        Some(meaning)
    }

    /// Returns the meaning of `name` in `module`; the wanted kind, if there are two.
    fn name(&self, module: usize, name: &str, wanted: NameKind) -> Option<Meaning<'a>> {
        let key = (module, name.to_owned(), wanted);
        if !self.pending.borrow_mut().insert(key.clone()) {
            return None;
        }
        let found = self.search(module, name, wanted);
        self.pending.borrow_mut().remove(&key);
        found
    }

    fn search(&self, module: usize, name: &str, wanted: NameKind) -> Option<Meaning<'a>> {
        let node = self.node(module)?;
        let child = node.children.get(name).map(|child| Meaning::Module(*child));
        let item = node
            .facts
            .items
            .contains(name)
            .then_some(Meaning::Item(node.file));
        let own = match wanted {
            NameKind::Module => child.or(item),
            NameKind::Item => item,
        };
        own.or_else(|| self.imported(module, node, name, wanted))
            .or(child)
            .or_else(|| self.by_glob(module, node, name, wanted))
    }

    fn imported(
        &self,
        module: usize,
        node: &ModuleNode<'a>,
        name: &str,
        wanted: NameKind,
    ) -> Option<Meaning<'a>> {
        let mut named = node
            .facts
            .imports
            .iter()
            .filter(|import| import.name.as_deref() == Some(name))
            .peekable();
        named.peek()?;
        named
            .find_map(|import| self.path(module, &import.path, wanted))
            // From another crate: a file that takes the name from here needs this file.
            .or(Some(Meaning::Item(node.file)))
    }

    fn by_glob(
        &self,
        module: usize,
        node: &ModuleNode<'a>,
        name: &str,
        wanted: NameKind,
    ) -> Option<Meaning<'a>> {
        let globs = node
            .facts
            .imports
            .iter()
            .filter(|import| import.name.is_none());
        globs.into_iter().find_map(|glob| {
            match self.path(module, &glob.path, NameKind::Module)? {
                Meaning::Module(from) => self.name(from, name, wanted),
                Meaning::Item(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    const FILES: &[(&str, &str)] = &[
        (
            "src/lib.rs",
            "pub mod a;\nmod b;\npub use b::c::Deep;\npub use serde::Bytes;",
        ),
        (
            "src/a.rs",
            "use super::*;\nuse crate::b::{c, open};\nuse crate::Deep as Renamed;\nmod open { }\n",
        ),
        (
            "src/b/mod.rs",
            "pub mod c;\npub use c::Deep;\npub use open::open;\nmod open;\nmake!(Made);\npub use ring::R;\nuse super::b as ring;",
        ),
        ("src/b/c.rs", "pub struct Deep;\npub fn f() {}"),
        ("src/b/open.rs", "pub fn open() {}"),
    ];

    fn file_of(module: &str, path: &str) -> Option<String> {
        let files = parsed(FILES);
        let tree = ModuleTree::new("src/lib.rs", &files).expect("a tree");
        let index = tree
            .files()
            .position(|file| file == module)
            .expect("a module");
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        Resolver::new(&tree)
            .file_of(index, &path)
            .map(str::to_owned)
    }

    #[test]
    fn reexports_lead_to_the_declaration() {
        for path in [
            "crate::Deep",
            "super::Deep",
            "Deep",
            "Renamed",
            "c::f",
            "crate::b::Deep::new",
            "super::b::c::f",
        ] {
            assert_eq!(
                file_of("src/a.rs", path).as_deref(),
                Some("src/b/c.rs"),
                "{path}"
            );
        }
    }

    #[test]
    fn function_is_preferred_to_module_of_its_name() {
        assert_eq!(
            file_of("src/b/mod.rs", "open").as_deref(),
            Some("src/b/open.rs")
        );
        assert_eq!(
            file_of("src/b/c.rs", "super::open").as_deref(),
            Some("src/b/open.rs")
        );
    }

    #[test]
    fn names_of_other_crates_have_no_file() {
        assert_eq!(file_of("src/a.rs", "std::fs::read"), None);
        assert_eq!(file_of("src/a.rs", "local"), None);
        assert_eq!(file_of("src/a.rs", "crate::b"), None);
        assert_eq!(file_of("src/lib.rs", "super::x"), None);
    }

    #[test]
    fn unknown_name_belongs_to_its_module() {
        assert_eq!(
            file_of("src/a.rs", "crate::b::Made").as_deref(),
            Some("src/b/mod.rs")
        );
        assert_eq!(
            file_of("src/a.rs", "crate::Bytes").as_deref(),
            Some("src/lib.rs")
        );
    }

    #[test]
    fn imports_in_a_circle_end() {
        assert_eq!(
            file_of("src/a.rs", "crate::b::R").as_deref(),
            Some("src/b/mod.rs")
        );
    }
}
