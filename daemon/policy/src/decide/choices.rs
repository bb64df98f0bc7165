//! The verdicts on calls of which some arguments are known, and the caller chooses the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::Verdict;
use crate::decide::access::Usable;
use crate::model::command::ParamKind;
use crate::model::policy::Named;
use crate::model::scope::param;

/// Calls that are tried at most.
const MOST: usize = 256;
/// A value that no rule names.
const OTHER: &str = "remit-asks";

impl Usable<'_> {
    /// Returns the verdicts on calls with these arguments. Of the others, it tries the values that this rule names, those of
    /// an enumeration, one that no rule names, and none.
    pub fn verdicts_with(&self, args: &[(String, String)]) -> impl Iterator<Item = Verdict> {
        let mut calls = vec![args.to_vec()];
        for (name, values) in self.choices(args) {
            let with = |call: &Vec<_>, value: &String| {
                let own = (name.to_owned(), value.clone());
                call.iter().cloned().chain([own]).collect()
            };
            let more = calls.iter();
            let more = more.flat_map(|call| values.iter().map(move |value| with(call, value)));
            let more: Vec<Vec<_>> = more.take(MOST).collect();
            match self.only.scope.globs(name) {
                // Without a value that this rule wants, it covers no call.
                Some(_) => calls = more,
                None => calls.extend(more),
            }
            calls.truncate(MOST);
        }
        let covered = calls.into_iter().filter(|call| self.is_about(call));
        covered.map(|call| self.verdict_of(&call))
    }

    /// Returns the arguments that rules are about, without those that are known, each with the values to try. What other rules
    /// name can be avoided: they deny, or ask for more.
    fn choices(&self, known: &[(String, String)]) -> BTreeMap<&str, BTreeSet<String>> {
        let asking = self.asking.iter().map(|rule| &rule.scope);
        let scopes = [self.only.scope].into_iter().chain(asking);
        let scopes = scopes.chain(self.except.iter().copied());
        let names = scopes.flat_map(|scope| scope.args().map(|(name, _)| name));
        let names = names.filter(|name| known.iter().all(|(own, _)| own != name));
        let names: BTreeSet<&str> = names.collect();
        names
            .into_iter()
            .map(|name| (name, self.values(name)))
            .collect()
    }

    fn values(&self, name: &str) -> BTreeSet<String> {
        let own = self.only.scope.globs(name);
        let param = match self.named {
            Named::Command(command) => param(command, name),
            Named::Builtin(_) => None,
        };
        let values: Vec<String> = match param.map(|param| &param.kind) {
            Some(ParamKind::Enum(values)) => values.clone(),
            Some(ParamKind::Flag(_)) => vec!["true".to_owned(), "false".to_owned()],
            Some(_) | None => {
                let globs = own.into_iter().flatten();
                let named =
                    globs.flat_map(|glob| ["", OTHER].map(|text| glob.as_str().replace('*', text)));
                named.chain([OTHER.to_owned()]).collect()
            }
        };
        let is_own =
            |value: &String| own.is_none_or(|globs| globs.iter().any(|glob| glob.matches(value)));
        values.into_iter().filter(is_own).collect()
    }
}
