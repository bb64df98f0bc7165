//! The verdicts on calls of which some arguments are known, and the caller chooses the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::Verdict;
use crate::decide::access::Usable;
use crate::model::command::ParamKind;
use crate::model::glob::Glob;
use crate::model::policy::Named;

/// Calls that are tried at most.
const MOST: usize = 256;
/// A value that no rule names.
const OTHER: &str = "remit-asks";

impl Usable<'_> {
    /// Returns the verdicts on calls with these arguments. Of the others, it tries the values that rules distinguish: those
    /// that rules name, those of an enumeration, one that no rule names, and none.
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
            calls.extend(more);
            calls.truncate(MOST);
        }
        let covered = calls.into_iter().filter(|call| self.is_about(call));
        covered.map(|call| self.verdict_of(&call))
    }

    /// Returns the arguments that rules are about, without those that are known, each with the values to try.
    fn choices(&self, known: &[(String, String)]) -> BTreeMap<&str, BTreeSet<String>> {
        let asking = self.asking.iter().map(|rule| &rule.scope);
        let scopes = [self.only.scope].into_iter().chain(asking);
        let scopes = scopes.chain(self.except.iter().copied());
        let mut choices: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (name, globs) in scopes.flat_map(|scope| scope.args()) {
            if known.iter().all(|(own, _)| own != name) {
                let values = choices.entry(name).or_default();
                values.extend(globs.iter().map(matching));
                values.extend(self.values(name));
            }
        }
        choices
    }

    fn values(&self, name: &str) -> Vec<String> {
        let Named::Command(command) = self.named else {
            return Vec::new();
        };
        let mut params = command.params.iter();
        match params
            .find(|param| param.name == name)
            .map(|param| &param.kind)
        {
            Some(ParamKind::Enum(values)) => values.clone(),
            Some(ParamKind::Flag(_)) => vec!["true".to_owned(), "false".to_owned()],
            Some(_) => vec![OTHER.to_owned()],
            None => Vec::new(),
        }
    }
}

fn matching(glob: &Glob) -> String {
    glob.as_str().replace('*', "")
}
