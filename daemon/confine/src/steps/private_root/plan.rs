//! Works out a root: what is listed, the base set, and what must be made for them.

use super::model::{Access, Content, Host, Link, Mount, Private, Root, relative};
use crate::ListedPath;
use crate::{Error, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    path::{Path, PathBuf},
};

/// A root in progress, by path, so that parents come before what is beneath them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    directories: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, CString>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    mounts: BTreeMap<PathBuf, Content>,
    base: BTreeSet<PathBuf>,
}

impl Plan {
    pub(super) fn base_private(&mut self, path: &str) {
        let what = Content::Private(Private::Shared);
        self.mounts.insert(path.into(), what);
    }

    /// `source` must have no link in it.
    pub(super) fn base(&mut self, path: &Path, source: &Path, access: Access) -> Result<()> {
        let host = Host {
            source: relative(source)?,
            optional: true,
            access,
        };
        self.mounts.insert(path.into(), Content::Host(host));
        self.base.insert(path.into());
        Ok(())
    }

    pub(super) fn link(&mut self, path: &Path, to: CString) {
        self.links.insert(path.into(), to);
    }

    pub(super) fn file(&mut self, path: &str, text: &str) {
        self.files.insert(path.into(), text.as_bytes().to_vec());
    }

    pub(super) fn directory(&mut self, path: &str) {
        self.directories.insert(path.into());
    }

    pub(super) fn list(
        &mut self,
        listed_path: &ListedPath,
        access: Access,
        both: bool,
    ) -> Result<()> {
        let path = &listed_path.path;
        let doing = || format!("cannot show '{}' in a sandbox", path.display());
        let source = relative(path)?;
        if path.starts_with("/proc") {
            return Err(Error::refused(doing(), "'/proc' is the sandbox's own"));
        }
        let (access, optional) = match self.mounts.get(path) {
            None => (access, listed_path.optional),
            Some(Content::Private(_)) => {
                return Err(Error::refused(doing(), "the job has a private one there"));
            }
            Some(Content::Host(before)) => {
                let both = join(before.access, access, both).ok_or_else(|| {
                    Error::refused(
                        doing(),
                        "it is listed for two purposes that exclude each other",
                    )
                })?;
                (both, listed_path.optional && before.optional)
            }
        };
        let host = Host {
            source,
            optional,
            access,
        };
        self.links.remove(path);
        self.files.remove(path);
        self.base.remove(path);
        self.mounts.insert(path.clone(), Content::Host(host));
        Ok(())
    }

    pub(super) fn private(&mut self, path: &Path, sharing: Private) -> Result<()> {
        relative(path)?;
        match self.mounts.get(path) {
            _ if path.starts_with("/proc") || path == Path::new("/dev") => Err(Error::refused(
                format!("cannot make a private '{}'", path.display()),
                "it is the sandbox's own",
            )),
            Some(Content::Host(_)) => Err(Error::refused(
                format!("cannot make a private '{}'", path.display()),
                "the sandbox shows the host's there",
            )),
            Some(Content::Private(_)) => Ok(()),
            None => {
                self.mounts.insert(path.into(), Content::Private(sharing));
                Ok(())
            }
        }
    }

    pub(super) fn finish(mut self) -> Result<Root> {
        // Everything beneath a directory of the host is as on the host.
        let listed: Vec<PathBuf> = self.hosts_directories().cloned().collect();
        let covered = |path: &Path| listed.iter().any(|l| path != l && path.starts_with(l));
        self.links.retain(|path, _| !covered(path));
        self.files.retain(|path, _| !covered(path));
        self.directories.retain(|path| !covered(path));
        self.mounts
            .retain(|path, _| !(covered(path) && self.base.contains(path)));
        let mut directories = BTreeSet::new();
        for path in self.links.keys().chain(self.files.keys()) {
            directories.extend(parents(path, None));
        }
        for path in &self.directories {
            directories.extend(parents(path, None));
            directories.insert(path.clone());
        }
        let mut mounts = Vec::new();
        for (path, what) in &self.mounts {
            let above = self.above(path);
            let parents = match above {
                Some((_, Content::Host(_))) => None,
                Some((above, Content::Private(_))) => Some(all(parents(path, Some(above)))?),
                None => {
                    directories.extend(parents(path, None));
                    Some(Vec::new())
                }
            };
            mounts.push(Mount {
                name: path.clone(),
                target: relative(path)?,
                parents,
                what: what.clone(),
            });
        }
        let link = |(path, to): (PathBuf, CString)| {
            Ok(Link {
                path: relative(&path)?,
                to,
            })
        };
        let file = |(path, text): (PathBuf, Vec<u8>)| Ok((relative(&path)?, text));
        Ok(Root {
            directories: all(directories)?,
            links: self.links.into_iter().map(link).collect::<Result<_>>()?,
            files: self.files.into_iter().map(file).collect::<Result<_>>()?,
            mounts,
        })
    }

    fn hosts_directories(&self) -> impl Iterator<Item = &PathBuf> {
        let host = |what: &&Content| matches!(what, Content::Host(_));
        self.mounts
            .iter()
            .filter(move |(_, what)| host(what))
            .map(|(path, _)| path)
    }

    fn above(&self, path: &Path) -> Option<(&PathBuf, &Content)> {
        let mut above = path.ancestors().skip(1);
        above.find_map(|path| self.mounts.get_key_value(path))
    }
}

/// Joins two accesses to one path. Writing and executing go together only if `both` is set.
fn join(a: Access, b: Access, both: bool) -> Option<Access> {
    match (a, b) {
        (
            Access::Files { write, exec },
            Access::Files {
                write: writes,
                exec: executes,
            },
        ) => {
            let (write, exec) = (write || writes, exec || executes);
            (!(write && exec) || both).then_some(Access::Files { write, exec })
        }
        _ => (a == b).then_some(a),
    }
}

fn parents(path: &Path, below: Option<&PathBuf>) -> Vec<PathBuf> {
    let skip = below.map_or(1, |below| below.components().count());
    let mut all: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
    all.reverse();
    all.into_iter().skip(skip).collect()
}

fn all(paths: impl IntoIterator<Item = PathBuf>) -> Result<Vec<CString>> {
    paths.into_iter().map(|path| relative(&path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrictProfile;

    fn listed_path(path: &str) -> ListedPath {
        ListedPath {
            path: path.into(),
            optional: false,
        }
    }

    fn mount<'a>(root: &'a Root, path: &str) -> &'a Mount {
        let path = Path::new(path);
        root.mounts.iter().find(|m| m.name == path).unwrap()
    }

    fn names(all: Option<&[CString]>) -> Option<Vec<&str>> {
        all.map(|all| all.iter().map(|name| name.to_str().unwrap()).collect())
    }

    #[test]
    fn parents_precede_children_host_directories_untouched() {
        let profile = StrictProfile {
            read: vec![listed_path("/srv/a/b"), listed_path("/run/x/y")],
            write: vec![listed_path("/srv/a/b/c/d"), listed_path("/srv/a")],
            scratch: vec!["/run".into(), "/srv/a/b/c/e".into()],
            ..StrictProfile::default()
        };
        let root = super::super::plan_root(&profile, "").unwrap();
        let order: Vec<&Path> = root.mounts.iter().map(|m| m.name.as_path()).collect();
        for (n, name) in order.iter().enumerate() {
            assert!(
                !order[n..]
                    .iter()
                    .skip(1)
                    .any(|later| name.starts_with(later))
            );
        }
        let made = |path| names(mount(&root, path).parents.as_deref());
        assert_eq!(made("/srv/a"), Some(vec![]));
        assert_eq!(made("/run"), Some(vec![]));
        assert_eq!(made("/run/x/y"), Some(vec!["run/x"]));
        for beneath in ["/srv/a/b", "/srv/a/b/c/d", "/srv/a/b/c/e"] {
            assert_eq!(made(beneath), None, "{beneath}");
        }
        let directories = names(Some(&root.directories)).unwrap();
        assert!(directories.contains(&"srv") && directories.contains(&"proc"));
        assert!(
            !directories
                .iter()
                .any(|d| d.starts_with("srv/") || d.starts_with("run/"))
        );
    }

    #[test]
    fn listed_path_replaces_base_set() {
        let profile = StrictProfile {
            read: vec![listed_path("/etc")],
            write: vec![listed_path("/etc/passwd")],
            ..StrictProfile::default()
        };
        let root = super::super::plan_root(&profile, "").unwrap();
        let etc: Vec<&Path> = root
            .mounts
            .iter()
            .map(|m| m.name.as_path())
            .filter(|name| name.starts_with("/etc"))
            .collect();
        assert_eq!(etc, [Path::new("/etc"), Path::new("/etc/passwd")]);
        assert!(root.files.is_empty());
        assert!(
            !root
                .links
                .iter()
                .any(|link| link.path.to_bytes().starts_with(b"etc/"))
        );
    }

    #[test]
    fn path_listed_twice_is_merged_or_refused() {
        let both = |write_and_exec| StrictProfile {
            write: vec![listed_path("/srv")],
            exec: vec![listed_path("/srv")],
            write_and_exec,
            ..StrictProfile::default()
        };
        assert!(super::super::plan_root(&both(false), "").is_err());
        let root = super::super::plan_root(&both(true), "").unwrap();
        let Content::Host(host) = &mount(&root, "/srv").what else {
            panic!()
        };
        let access = Access::Files {
            write: true,
            exec: true,
        };
        assert_eq!(host.access, access);
    }
}
