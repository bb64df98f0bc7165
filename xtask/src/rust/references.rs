//! Collects paths that code refers to, and the functions it declares. Items for tests only are skipped.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Macro, Path};

use super::attributes::{is_test_only, lines};
use super::imports::{self, Import};

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

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        imports::import(item, &mut self.imports);
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
}
