//! Works out a root: what is listed, the base set, and what must be made for them.

use super::model::{Access, Content, Host, Link, Mount, Private, Root, relative};
use crate::ListedPath;
use crate::{Error, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    path::{Path, PathBuf},
};

const READ: Access = Access::Files {
    write: false,
    exec: false,
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
        if access == READ && self.links.contains_key(path) {
            return Ok(()); // It leads into '/usr', which is shown.
        }
        let (access, optional, source) = match self.mounts.get(path) {
            None => (access, listed_path.optional, source),
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
                // The base set shows it already, and has followed its own links.
                let source = match access == READ {
                    true => before.source.clone(),
                    false => source,
                };
                (both, listed_path.optional && before.optional, source)
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
        self.leave_out_beneath_links()?;
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
            let target = relative(path)?;
            let mut what = what.clone();
            if let (Some((_, Content::Host(_))), Content::Host(host)) = (above, &mut what) {
                // Not what a link of the base set leads to: its mount point would be the link, in the host's directory.
                host.source = target.clone();
            }
            mounts.push(Mount {
                name: path.clone(),
                target,
                parents,
                what,
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

    /// Leaves out optional paths beneath a link of the root, and fails for others.
    fn leave_out_beneath_links(&mut self) -> Result<()> {
        let links = &self.links;
        self.mounts.retain(|path, what| {
            let is_optional = matches!(what, Content::Host(host) if host.optional);
            !is_optional || link_above(links, path).is_none()
        });
        let mut paths = self.mounts.keys();
        let Some((path, link)) = paths.find_map(|path| Some((path, link_above(links, path)?)))
        else {
            return Ok(());
        };
        Err(Error::refused(
            format!("cannot show '{}' in a sandbox", path.display()),
            format!("'{}' is a link there; list where it leads", link.display()),
        ))
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

fn link_above<'a>(links: &BTreeMap<PathBuf, CString>, path: &'a Path) -> Option<&'a Path> {
    path.ancestors().find(|up| links.contains_key(*up))
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

    fn source<'a>(root: &'a Root, path: &str) -> &'a str {
        let Content::Host(host) = &mount(root, path).what else {
            panic!("{path}")
        };
        host.source.to_str().unwrap()
    }

    #[test]
    fn entry_of_the_base_set_stays_where_it_is_only_read() {
        const NAME: &str = "/etc/resolv.conf";
        let write = Access::Files {
            write: true,
            exec: false,
        };
        let exec = Access::Files {
            write: false,
            exec: true,
        };
        let plan = |listed: &[(&str, Access)]| {
            let mut plan = Plan::default();
            plan.link(Path::new("/bin"), c"usr/bin".to_owned());
            let real = Path::new("/run/x/resolv.conf");
            plan.base(Path::new(NAME), real, READ).unwrap();
            for (path, access) in listed {
                plan.list(&listed_path(path), *access, false).unwrap();
            }
            plan.finish().unwrap()
        };
        let (real, name) = ("run/x/resolv.conf", "etc/resolv.conf");
        for (listed, want, links) in [
            (&[("/bin", READ), (NAME, READ)][..], real, 1),
            (&[("/bin", READ), (NAME, READ), (NAME, READ)], real, 1),
            (&[("/bin", READ), ("/bin", exec), (NAME, exec)], name, 0),
            (&[("/bin", write), (NAME, READ), (NAME, write)], name, 0),
            // The host's directory has the link itself, on which nothing can be mounted.
            (&[("/etc", READ), (NAME, READ)], name, 1),
        ] {
            let root = plan(listed);
            assert_eq!(source(&root, NAME), want, "{listed:?}");
            assert_eq!(root.links.len(), links, "{listed:?}");
            let Content::Host(host) = &mount(&root, NAME).what else {
                panic!("{listed:?}")
            };
            assert!(!host.optional, "{listed:?}");
        }
    }

    #[test]
    fn nothing_is_mounted_beneath_a_link_of_the_base_set() {
        let plan = |optional| {
            let mut plan = Plan::default();
            plan.link(Path::new("/lib"), c"usr/lib".to_owned());
            let (path, files) = ("/lib/x".into(), Access::Device);
            plan.list(&ListedPath { path, optional }, files, false)?;
            plan.finish()
        };
        assert!(plan(true).unwrap().mounts.is_empty());
        let error = plan(false).unwrap_err().to_string();
        assert!(
            error.ends_with("'/lib' is a link there; list where it leads"),
            "{error}"
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
