//! Python environments: their interpreter obeys files beside it.

use super::execution::Execution;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

impl Look<'_> {
    /// The interpreter of a Python environment loads its packages: site, `pyvenv.cfg`.
    pub(super) fn venv(&mut self, by: &Execution, program: &FilePath) {
        let Some(environment) = program.parent().and_then(|bin| bin.parent()) else {
            return;
        };
        let settings = environment.join("pyvenv.cfg");
        if settings.is_none_or(|path| self.machine.entry(&path).is_none()) {
            return;
        }
        let Some(libraries) = environment.join("lib") else {
            return;
        };
        for name in self.machine.list(&libraries) {
            let packages = libraries
                .join(name)
                .and_then(|path| path.join("site-packages"));
            for path in packages.into_iter().chain(environment.join("pyvenv.cfg")) {
                self.obeys(by.uid, path, RuleId::Venv, &by.when, &by.source);
            }
        }
    }
}
