//! Reads the tables `[type.NAME]`: types of arguments that several commands share. A type may be used in every file of
//! the load.

use std::collections::BTreeMap;

use crate::load::diagnostic::quoted;
use crate::load::loading::{Bound, Defined, Loading, define};
use crate::load::parameters::{OWN_TYPES, own_kind};
use crate::load::reader::{Fields, Report, mistyped};
use crate::load::text::{is_name, summary};
use crate::model::command::ParamKind;

/// By name. `None` after an error in the definition.
pub(crate) type Types = BTreeMap<String, Defined<Option<NamedType>>>;

#[derive(Debug, Clone)]
pub(crate) struct NamedType {
    pub(crate) kind: ParamKind,
    /// For arguments without their own.
    pub(crate) summary: String,
}

const TYPES: Bound = Bound {
    what: "type",
    most: 256,
    built_in: 0,
};

impl Loading<'_> {
    pub(crate) fn read_types(&mut self, top: &mut Fields<'_>, report: &mut Report<'_>) {
        for (name, value) in top.entries("type", report) {
            if !TYPES.has_capacity(self.types.len()) {
                return;
            }
            let Some(table) = value.get_ref().as_table() else {
                mistyped("type", "a table, as [type.container]", value, report);
                continue;
            };
            let errors = report.errors();
            let shown = quoted(name.value);
            let help = "1 to 64 of a-z 0-9 _ -, a letter first, none of remit's own types; as [type.container]";
            if !is_name(name.value) || name.value.contains('.') || OWN_TYPES.contains(&name.value) {
                let message = format!("a type cannot be named {shown}");
                report.error_with_help(name.span.clone(), message, help);
            }
            let what = format!("[type.{}]", shown.trim_matches('\''));
            let mut fields = Fields::new(what, name.span.clone(), table);
            let own = fields.required("type", report);
            // A type is made of remit's own types only, so its definition is one table to read.
            let kind = own.and_then(|own| own_kind(&own, &mut fields, &Types::new(), report));
            let summary = summary(fields.string("summary", report), report);
            fields.finish(report);
            let kind = kind.filter(|_| report.errors() == errors);
            let named = kind.map(|kind| NamedType { kind, summary });
            define(&mut self.types, &TYPES, &name, named, report);
        }
    }
}
