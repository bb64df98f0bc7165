//! Collects what one module declares and refers to. Test code is left out, but its lines are kept.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use syn::visit::Visit;
use syn::{File, Item, ItemImpl, ItemMod, Type};

use super::attributes::{is_test_only, lines};
use super::references::{Import, References, import};

/// A module of a file: the file itself or an inline `mod name { … }`.
#[derive(Debug, Default)]
pub struct ModuleFacts {
    pub name: String,
    pub inline: Vec<ModuleFacts>,
    pub declared: Vec<DeclaredModule>,
    /// Names of items other than modules and imports.
    pub items: BTreeSet<String>,
    /// Structs, enums, unions, traits and type aliases, with their line.
    pub types: Vec<(String, usize)>,
    pub imports: Vec<Import>,
    /// Paths used in code and in private imports.
    pub references: BTreeSet<Vec<String>>,
    pub inherent_impls: BTreeSet<String>,
}

/// `mod name;`
#[derive(Debug)]
pub struct DeclaredModule {
    pub name: String,
    pub path: Option<String>,
    pub is_test: bool,
}

#[derive(Debug, Default)]
pub struct FileFacts {
    pub module: ModuleFacts,
    pub test_lines: Vec<RangeInclusive<usize>>,
    /// Functions and methods that are not for tests, with their line.
    pub functions: Vec<(String, usize)>,
    pub is_test: bool,
}

pub fn read(file: &File) -> FileFacts {
    let mut facts = FileFacts {
        is_test: is_test_only(&file.attrs),
        ..FileFacts::default()
    };
    facts.module = module(String::new(), &file.items, &mut facts);
    facts
}

fn module(name: String, items: &[Item], facts: &mut FileFacts) -> ModuleFacts {
    let mut found = ModuleFacts {
        name,
        ..ModuleFacts::default()
    };
    let mut references = References::default();
    for item in items {
        match item {
            Item::Mod(item) => submodule(item, &mut found, facts),
            Item::Use(item) if is_test_only(&item.attrs) => facts.test_lines.push(lines(item)),
            Item::Use(item) => import(item, &mut found.imports),
            Item::Impl(item) => {
                found.inherent_impls.extend(inherent(item));
                references.visit_item_impl(item);
            }
            _ => {
                if let Some((name, line, is_type)) = declared(item)
                    && !is_test_only(attributes(item))
                {
                    found.items.insert(name.clone());
                    if is_type {
                        found.types.push((name, line));
                    }
                }
                references.visit_item(item);
            }
        }
    }
    facts.test_lines.append(&mut references.test_lines);
    facts.functions.append(&mut references.functions);
    found.imports.append(&mut references.imports);
    let private = found.imports.iter().filter(|import| !import.is_public);
    references.paths.extend(
        private
            .filter(|import| import.name.is_some())
            .map(|import| import.path.clone()),
    );
    found.references = references.paths;
    found
}

fn submodule(item: &ItemMod, found: &mut ModuleFacts, facts: &mut FileFacts) {
    let is_test = is_test_only(&item.attrs);
    if is_test {
        facts.test_lines.push(lines(item));
    }
    let name = item.ident.to_string();
    match &item.content {
        Some((_, items)) if !is_test => found.inline.push(module(name, items, facts)),
        Some(_) => {}
        None => found.declared.push(DeclaredModule {
            name,
            path: path_attribute(item),
            is_test,
        }),
    }
}

fn path_attribute(item: &ItemMod) -> Option<String> {
    let values = item
        .attrs
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("path") => Some(&pair.value),
            _ => None,
        });
    values.into_iter().find_map(|value| match value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    })
}

fn inherent(item: &ItemImpl) -> Option<String> {
    if item.trait_.is_some() || is_test_only(&item.attrs) {
        return None;
    }
    match &*item.self_ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// Returns the name of an item, its line, and true if it is a type.
fn declared(item: &Item) -> Option<(String, usize, bool)> {
    let (ident, is_type) = match item {
        Item::Struct(item) => (&item.ident, true),
        Item::Enum(item) => (&item.ident, true),
        Item::Union(item) => (&item.ident, true),
        Item::Trait(item) => (&item.ident, true),
        Item::TraitAlias(item) => (&item.ident, true),
        Item::Type(item) => (&item.ident, true),
        Item::Const(item) => (&item.ident, false),
        Item::Static(item) => (&item.ident, false),
        Item::Fn(item) => (&item.sig.ident, false),
        Item::Macro(item) => (item.ident.as_ref()?, false),
        _ => return None,
    };
    Some((ident.to_string(), ident.span().start().line, is_type))
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}
