//! Collects paths that code refers to, its imports, and the functions it declares. Items for tests only are skipped.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemUse, Macro, Path, UseTree};

use super::lines::{is_test_only, lines};

#[derive(Debug, Default)]
pub struct References {
    pub paths: BTreeSet<Vec<String>>,
    /// Imports inside functions.
    pub imports: Vec<Import>,
    /// Functions and methods, with their line.
    pub functions: Vec<(String, usize)>,
    pub test_lines: Vec<RangeInclusive<usize>>,
}

impl References {
    fn function(&mut self, signature: &syn::Signature) {
        let line = signature.ident.span().start().line;
        self.functions.push((signature.ident.to_string(), line));
    }

    /// Collects paths from the tokens of a macro call, which have no syntax of their own.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut is_member = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons < 2 {
                        self.end_path(&mut path);
                    }
                    // `value.name` is a field or a method, not a path.
                    if !is_member {
                        path.push(ident.to_string());
                    }
                    colons = 0;
                    is_member = false;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Punct(punct) => is_member = punct.as_char() == '.',
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(_) => is_member = false,
            }
            colons = 0;
            self.end_path(&mut path);
        }
        self.end_path(&mut path);
    }

    fn end_path(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.paths.insert(std::mem::take(path));
        }
    }
}

impl<'ast> Visit<'ast> for References {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Macro(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Type(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_test_only(attributes) {
            self.test_lines.push(lines(item));
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test_only(&item.attrs) {
            self.test_lines.push(lines(item));
        } else {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_test_only(&item.attrs) {
            self.test_lines.push(lines(item));
        } else {
            self.function(&item.sig);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig);
        visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        import(item, &mut self.imports);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let names = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string());
            self.paths.insert(names.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    /// Attributes refer to macros, not to files.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    /// `pub(super)` is not a use of the parent.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// One name that `use` brings into a module, or all of another module.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    /// The name in this module; `None` for `*`.
    pub name: Option<String>,
    /// True if the import has a visibility of its own: a re-export.
    pub is_public: bool,
}

pub fn import(item: &ItemUse, imports: &mut Vec<Import>) {
    if item.leading_colon.is_none() && !is_test_only(&item.attrs) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        import_tree(&item.tree, &mut Vec::new(), is_public, imports);
    }
}

fn import_tree(
    tree: &UseTree,
    before: &mut Vec<String>,
    is_public: bool,
    imports: &mut Vec<Import>,
) {
    let mut add = |last: Option<String>, name: Option<String>| {
        let mut path = before.clone();
        // `use a::{self}` names `a` itself.
        path.extend(last.filter(|last| last != "self" || before.is_empty()));
        let name = name.map(|name| {
            if name == "self" {
                path.last().cloned().unwrap_or(name)
            } else {
                name
            }
        });
        imports.push(Import {
            path,
            name,
            is_public,
        });
    };
    match tree {
        UseTree::Name(leaf) => add(Some(leaf.ident.to_string()), Some(leaf.ident.to_string())),
        UseTree::Rename(leaf) => add(Some(leaf.ident.to_string()), Some(leaf.rename.to_string())),
        UseTree::Glob(_) => add(None, None),
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            import_tree(&path.tree, before, is_public, imports);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                import_tree(tree, before, is_public, imports);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let mut references = References::default();
        references.visit_file(&syn::parse_str(text).expect("a file"));
        references
            .paths
            .iter()
            .map(|path| path.join("::"))
            .collect()
    }

    #[test]
    fn paths_of_types_and_calls_are_found() {
        let found = paths("pub(super) fn f(x: a::B<super::C>) { crate::d::e(x.g) }");
        for path in ["a::B", "super::C", "crate::d::e", "x"] {
            assert!(found.iter().any(|one| one == path), "{path}: {found:?}");
        }
        assert!(!found.iter().any(|one| one == "super" || one == "g"));
    }

    #[test]
    fn paths_in_macro_calls_are_found() {
        let found = paths("fn f() { m!(a::b(c), x.d, K: e::F) }");
        assert_eq!(found, ["K", "a::b", "c", "e::F", "m", "x"]);
    }

    #[test]
    fn test_items_are_skipped_and_noted() {
        let text =
            "struct A;\nimpl A {\n #[cfg(test)]\n fn f() { b::c() }\n}\n#[cfg(test)]\nuse d::E;";
        let mut references = References::default();
        references.visit_file(&syn::parse_str(text).expect("a file"));
        assert_eq!(references.test_lines, [3..=4]);
        assert!(references.paths.iter().all(|path| path != &["b", "c"]));
        assert!(references.functions.is_empty());
    }

    fn imports(text: &str) -> Vec<String> {
        let mut imports = Vec::new();
        import(&syn::parse_str(text).expect("an import"), &mut imports);
        let text = |one: &Import| {
            format!(
                "{}={}",
                one.path.join("::"),
                one.name.as_deref().unwrap_or("*")
            )
        };
        imports.iter().map(text).collect()
    }

    #[test]
    fn groups_renames_and_globs_are_read() {
        let found = imports("use a::{self, b as c, d::*};");
        assert_eq!(found, ["a=a", "a::b=c", "a::d=*"]);
        assert_eq!(imports("use self::e;"), ["self::e=e"]);
    }

    #[test]
    fn imports_of_tests_and_other_crates_by_colons_are_left_out() {
        assert!(imports("#[cfg(test)] use a::b;").is_empty());
        assert!(imports("use ::a::b;").is_empty());
    }
}
