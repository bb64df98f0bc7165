//! Finds attributes that make code test-only, and the lines of such code.

use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Meta, Token};

/// Returns true if `attributes` exclude an item from every build except tests.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .filter_map(|attribute| attribute.parse_args::<Meta>().ok())
        .any(|condition| requires_test(&condition))
}

fn requires_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            let Ok(parts) = list.parse_args_with(parser) else {
                return false;
            };
            if list.path.is_ident("all") {
                parts.iter().any(requires_test)
            } else {
                list.path.is_ident("any") && parts.iter().all(requires_test)
            }
        }
        Meta::NameValue(_) => false,
    }
}

pub fn lines(syntax: &impl Spanned) -> RangeInclusive<usize> {
    let span = syntax.span();
    span.start().line..=span.end().line
}

/// Returns true if the path of an attribute ends in `test`: `#[test]`, `#[tokio::test]`.
pub fn is_test_attribute(attribute: TokenStream) -> bool {
    let mut is_test = false;
    for token in attribute {
        match token {
            TokenTree::Ident(ident) => is_test = ident == "test",
            TokenTree::Punct(punct) if punct.as_char() == ':' => {}
            _ => break,
        }
    }
    is_test
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(text: &str) -> Vec<Attribute> {
        syn::parse_str::<syn::ItemFn>(&format!("{text} fn f() {{}}"))
            .expect("a function")
            .attrs
    }

    #[test]
    fn cfg_test_is_found_in_conditions() {
        for text in [
            "#[cfg(test)]",
            "#[cfg(all(unix, test))]",
            "#[cfg(any(test, all(test)))]",
        ] {
            assert!(is_test_only(&attributes(text)), "{text}");
        }
        for text in [
            "",
            "#[cfg(not(test))]",
            "#[cfg(any(test, unix))]",
            "#[cfg(feature = \"test\")]",
            "#[test]",
        ] {
            assert!(!is_test_only(&attributes(text)), "{text}");
        }
    }

    #[test]
    fn test_attribute_is_known_by_end_of_path() {
        let is_test = |text: &str| is_test_attribute(text.parse().expect("tokens"));
        assert!(is_test("test") && is_test("tokio::test(flavor = \"x\")"));
        assert!(!is_test("tested") && !is_test("cfg(test)") && !is_test("test::case"));
    }
}
