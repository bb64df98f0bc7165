//! The links that `disable` removes (systemctl(1)): all that lead to the unit's file, whoever made them. `[Install]` names only some.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::names::template;
use super::{Changed, quoted, relative};
use crate::args::Fault;

/// Maximum number of files and directories there that are looked at.
const ENTRIES: usize = 16 << 10;

impl Changed {
    /// Returns the links below `config` that `disable` removes after the change, sorted. Refuses a unit whose own file is one
    /// that leads out of the search path: the unit vanishes with it.
    pub fn removed_links(
        &self,
        units: &[&str],
        config: &Path,
        search: &[String],
    ) -> Result<Vec<PathBuf>, Fault> {
        let all = self.links_to(units, config)?;
        for (link, end) in &all {
            let is_own = is_one(link, units)
                && relative(link, search).is_some_and(|rest| rest.components().count() == 1);
            if is_own && relative(end, search).is_none() {
                return Err(Fault::Refused(format!(
                    "the unit is there by the link {} to {}, which is removed, and the unit with it; an administrator does it by systemctl",
                    quoted(link),
                    quoted(end)
                )));
            }
        }
        Ok(all.into_iter().map(|(link, _)| link).collect())
    }

    /// Returns the links below `config` with the name of one of these units, and those that lead to a file of that name,
    /// each with its end.
    pub fn links_to(
        &self,
        units: &[&str],
        config: &Path,
    ) -> Result<Vec<(PathBuf, PathBuf)>, Fault> {
        let mut all = Vec::new();
        for link in self.links_below(&self.way(config).end)? {
            let way = self.way(&link);
            let name = link.file_name().and_then(|name| name.to_str());
            let of_template = name.and_then(template);
            let leads_to_one = of_template.is_some_and(|name| units.contains(&name.as_str()))
                || is_one(&way.end, units)
                || way.links.iter().any(|link| is_one(link, units));
            if leads_to_one {
                all.push((link, way.end));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Returns the links below a directory after the change.
    fn links_below(&self, dir: &Path) -> Result<Vec<PathBuf>, Fault> {
        let cannot = |dir: &Path, error: &io::Error| {
            Fault::Refused(format!(
                "{}, of which links are removed, cannot be read: {error}",
                quoted(dir)
            ))
        };
        let made = self.all.keys().filter(|path| path.starts_with(dir));
        let mut links: Vec<PathBuf> = made.filter(|path| self.is_link(path)).cloned().collect();
        let (mut left, mut entries) = (vec![dir.to_owned()], 0_usize);
        while let Some(dir) = left.pop() {
            let listing = match fs::read_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| cannot(&dir, &error))?,
            };
            for entry in listing {
                let entry = entry.map_err(|error| cannot(&dir, &error))?;
                let kind = entry.file_type().map_err(|error| cannot(&dir, &error))?;
                entries += 1;
                if entries > ENTRIES {
                    return Err(Fault::Refused(format!(
                        "{} has more than {ENTRIES} files: which links are removed cannot be shown",
                        quoted(&dir)
                    )));
                }
                if kind.is_dir() {
                    left.push(entry.path());
                } else if kind.is_symlink() && !self.makes(&entry.path()) {
                    links.push(entry.path());
                }
            }
        }
        Ok(links)
    }
}

fn is_one(path: &Path, units: &[&str]) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| units.contains(&name))
}
