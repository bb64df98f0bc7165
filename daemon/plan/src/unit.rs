//! Units of the service manager that a plan makes.

use crate::PlanPath;
use crate::plan::{Change, New, Plan};

/// Where the service manager looks, systemd.unit(5): what is in the first one counts.
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

impl Plan {
    /// Returns the file of this unit, or of its template, if the plan makes it.
    #[must_use]
    pub fn made_unit(&self, name: &str) -> Option<&PlanPath> {
        let template = name.split_once('@').and_then(|(stem, rest)| {
            let (_, kind) = rest.rsplit_once('.')?;
            Some(format!("{stem}@.{kind}"))
        });
        let names = [Some(name), template.as_deref()].into_iter().flatten();
        let files = names.flat_map(|name| DIRECTORIES.map(|dir| format!("{dir}/{name}")));
        let made = |file: String| {
            let entry = self
                .entries()
                .iter()
                .find(|entry| entry.path.as_bytes() == file.as_bytes())?;
            let is_made = matches!(
                entry.change,
                Change::Create {
                    new: New::File(_),
                    ..
                }
            );
            is_made.then_some(&entry.path)
        };
        files.into_iter().find_map(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Content, Entry, Metadata, Source};
    use crate::sha256;

    #[test]
    fn file_of_a_unit_is_found_where_the_manager_looks() {
        let content = Content {
            size: 1,
            sha256: sha256(b"x"),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let (mode, uid, gid) = (0o644, 0, 0);
        let entry = |path: &str, new| Entry {
            path: PlanPath::new(path).unwrap(),
            change: Change::Create {
                new,
                meta: Metadata { mode, uid, gid },
            },
        };
        let file = New::File(content);
        let plan = Plan::new(vec![
            entry("/usr/lib/systemd/system/a.service", file),
            entry("/etc/systemd/system/b@.service", file),
            entry("/etc/systemd/system/b@1.service.d", New::Directory),
            entry("/usr/share/systemd/system/c.service", file),
        ])
        .unwrap();
        for (name, expect) in [
            ("a.service", Some("/usr/lib/systemd/system/a.service")),
            ("b@1.service", Some("/etc/systemd/system/b@.service")),
            ("b@.service", Some("/etc/systemd/system/b@.service")),
            ("b@1.service.d", None),
            ("c.service", None),
            ("../a.service", None),
        ] {
            let found = plan.made_unit(name).map(ToString::to_string);
            assert_eq!(found.as_deref(), expect, "{name}");
        }
    }
}
