//! Control groups: maps a cgroup id to its path, and a path to its container. On 64-bit machines a group's id
//! is the inode number of its directory (cgroups(7), systemd's CGROUP_DELEGATION).

use std::collections::BTreeMap;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use remit_wire::host::{Container, List, Owner, Proc};
use remit_words::cgroup::units_of;

use crate::mounts;
use crate::read::{self, Gaps, Sources, Why};

const GROUPS: usize = 20_000;
const DEPTH: usize = 24;
const PATIENCE: Duration = Duration::from_secs(1);
const PROCS: usize = 4;
const CONTAINERS: usize = 256;

pub(crate) struct Tree {
    root: PathBuf,
    /// Paths below the root by id. The root itself is `/`.
    groups: Result<BTreeMap<u64, String>, Why>,
    whole: bool,
    proc: PathBuf,
}

impl Tree {
    /// Walks the hierarchy. Blocks for at most about a second.
    pub(crate) fn walk(at: &Sources) -> Self {
        let mut tree = Self {
            root: PathBuf::new(),
            groups: Err(String::new()),
            whole: true,
            proc: at.proc.clone(),
        };
        tree.groups = root(at).and_then(|root| {
            let mut groups = BTreeMap::new();
            let meta =
                std::fs::metadata(&root).map_err(|err| read::cannot("look at", &root, &err))?;
            groups.insert(meta.ino(), "/".to_owned());
            tree.whole = walk(&root, &mut groups, Instant::now() + PATIENCE);
            tree.root = root;
            Ok(groups)
        });
        tree
    }

    /// Returns the owner of the group with this id, and a warning if the owner is uncertain.
    pub(crate) fn owner(&self, id: u64) -> Result<(Owner, Option<Why>), Why> {
        let groups = self.groups.as_ref().map_err(Clone::clone)?;
        let path = groups.get(&id).ok_or(match self.whole {
            true => "its control group is gone, or not visible here",
            false => "there are too many control groups to examine them all",
        })?;
        if path == "/" {
            let owner = Owner {
                unit: None,
                user_unit: None,
                cgroup: path.clone(),
                procs: List::default(),
            };
            return Ok((
                owner,
                Some(
                    "made in the root control group: by the kernel, or by a process of no unit"
                        .into(),
                ),
            ));
        }
        let (unit, user_unit) = units_of(path);
        let (procs, torn) = match self.procs(path) {
            Ok(procs) => (procs, None),
            Err(why) => (List::default(), Some(why)),
        };
        let caution = unit.map_or(Some("its control group belongs to no unit"), |unit| {
            caution(unit, procs.total() == 0)
        });
        Ok((
            Owner {
                unit: unit.map(str::to_owned),
                user_unit: user_unit.map(str::to_owned),
                cgroup: read::shown(path),
                procs,
            },
            torn.or(caution.map(str::to_owned)),
        ))
    }

    fn text(&self, path: &str, name: &str) -> Result<String, Why> {
        let group = self.root.join(path.trim_start_matches('/'));
        read::text(&group.join(name), 1 << 20)
    }

    /// Returns true if a process is in the group or below it.
    fn is_populated(&self, path: &str) -> bool {
        let events = self.text(path, "cgroup.events").unwrap_or_default();
        events.lines().any(|line| line == "populated 1")
    }

    fn procs(&self, path: &str) -> Result<List<Proc>, Why> {
        let text = self.text(path, "cgroup.procs")?;
        // 0 means a process of another pid namespace.
        let pids: Vec<u64> = text
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid| *pid != 0)
            .collect();
        let pids = List::cut(pids, PROCS);
        let comm = |pid: u64| read::word(&self.proc.join(pid.to_string()).join("comm")).ok();
        let items = pids
            .items
            .into_iter()
            .map(|pid| Proc {
                pid,
                comm: comm(pid),
            })
            .collect();
        Ok(List {
            items,
            more: pids.more,
        })
    }
}

fn root(at: &Sources) -> Result<PathBuf, Why> {
    let table = mounts::table(at)?;
    let mount = table.iter().find(|mount| mount.fstype == "cgroup2");
    let mount = mount.ok_or("the unified control group hierarchy is not mounted")?;
    // It is always below /sys, but the sources may relocate /sys.
    Ok(mount
        .target
        .strip_prefix("/sys")
        .map_or_else(|_| mount.target.clone(), |below| at.sys.join(below)))
}

/// Adds the groups below `root`. Returns false if it stopped at a limit.
fn walk(root: &Path, groups: &mut BTreeMap<u64, String>, end: Instant) -> bool {
    let mut left = vec![(root.to_owned(), String::new(), 0)];
    let mut whole = true;
    while let Some((directory, path, depth)) = left.pop() {
        if groups.len() >= GROUPS || depth >= DEPTH || Instant::now() > end {
            whole = false;
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            groups.insert(entry.ino(), below.clone());
            left.push((entry.path(), below, depth + 1));
        }
    }
    whole
}

fn caution(unit: &str, empty: bool) -> Option<&'static str> {
    match (unit, empty) {
        ("init.scope", _) => Some("made by process 1, as for a socket unit"),
        (unit, _) if unit.ends_with(".socket") => {
            Some("made for a socket unit: its service may not run now")
        }
        (_, true) => {
            Some("no process is in its control group: it was made for, or handed to, another")
        }
        (_, false) => None,
    }
}

pub(crate) fn containers(tree: Option<&Tree>, gaps: &mut Gaps) -> Option<List<Container>> {
    let tree = tree?;
    let groups = gaps.known("containers", tree.groups.as_ref().map_err(Clone::clone))?;
    if !tree.whole {
        gaps.note(
            "containers",
            "there are too many control groups to examine them all: some may be missing",
        );
    }
    let mut found: Vec<(Option<&str>, Container)> = groups
        .values()
        .filter_map(|path| Some((path, container(path)?)))
        .filter(|(path, _)| tree.is_populated(path))
        .map(|(path, container)| (user_manager(path), container))
        .collect();
    // Those of users come last: a user makes as many groups as they like.
    found.sort();
    found.dedup();
    let found = found.into_iter().map(|(user, container)| match user {
        Some(user) => Container {
            engine: format!("{} of user {user}", container.engine),
            ..container
        },
        None => container,
    });
    Some(List::cut(found.collect(), CONTAINERS))
}

/// Returns the uid in `user@UID.service`: the groups below it are made by that user, under any name.
fn user_manager(path: &str) -> Option<&str> {
    let (unit, _) = units_of(path);
    let uid = unit?.strip_prefix("user@")?.strip_suffix(".service")?;
    uid.bytes().all(|byte| byte.is_ascii_digit()).then_some(uid)
}

fn container(path: &str) -> Option<Container> {
    let mut parts = path.rsplit('/');
    let name = parts.next()?;
    let parent = parts.next().unwrap_or_default();
    let of_engine = |engine: &str, id: &str| {
        Some(Container {
            engine: engine.into(),
            id: read::shown(id),
        })
    };
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return of_engine("lxc", name);
    }
    if let Some(machine) = name
        .strip_prefix("systemd-nspawn@")
        .and_then(|name| name.strip_suffix(".service"))
    {
        return of_engine("nspawn", machine);
    }
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    for (prefix, engine) in [
        ("docker-", "docker"),
        ("libpod-", "podman"),
        ("libpod-payload-", "podman"),
        ("nerdctl-", "nerdctl"),
        ("cri-containerd-", "containerd"),
        ("crio-", "cri-o"),
    ] {
        if let Some(id) = stem.strip_prefix(prefix).and_then(short_id) {
            return of_engine(engine, id);
        }
    }
    match parent {
        "docker" => of_engine("docker", short_id(name)?),
        "libpod_parent" => of_engine("podman", short_id(name)?),
        "lxc" => of_engine("lxc", name),
        pod if pod.starts_with("pod") => of_engine("kubernetes", short_id(name)?),
        _ => None,
    }
}

/// Returns the first 12 digits of a 64-digit id, as container engines show it.
fn short_id(id: &str) -> Option<&str> {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.get(..12).filter(|_| is_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn shared_socket_has_caution() {
        for (unit, empty, cautious) in [
            ("nginx.service", false, false),
            ("nginx.service", true, true),
            ("ssh.socket", true, true),
            ("init.scope", false, true),
        ] {
            assert_eq!(caution(unit, empty).is_some(), cautious, "{unit} {empty}");
        }
    }

    #[test]
    fn containers_differ_from_other_cgroups() {
        let id = "0123456789abcdef".repeat(4);
        for (path, expect) in [
            (
                format!("/system.slice/docker-{id}.scope"),
                Some(("docker", "0123456789ab")),
            ),
            (
                format!("/machine.slice/libpod-{id}.scope"),
                Some(("podman", "0123456789ab")),
            ),
            (format!("/machine.slice/libpod-{id}.scope/container"), None),
            (format!("/machine.slice/libpod-conmon-{id}.scope"), None),
            (
                format!("/system.slice/web.service/libpod-payload-{id}"),
                Some(("podman", "0123456789ab")),
            ),
            (
                format!("/system.slice/web.service/libpod-payload-{id}/container"),
                None,
            ),
            (
                format!("/system.slice/nerdctl-{id}.scope"),
                Some(("nerdctl", "0123456789ab")),
            ),
            (format!("/docker/{id}"), Some(("docker", "0123456789ab"))),
            (
                format!("/kubepods/burstable/pod12-34/{id}"),
                Some(("kubernetes", "0123456789ab")),
            ),
            (
                format!("/kubepods.slice/cri-containerd-{id}.scope"),
                Some(("containerd", "0123456789ab")),
            ),
            ("/lxc.payload.web".into(), Some(("lxc", "web"))),
            (
                "/machine.slice/systemd-nspawn@deb.service".into(),
                Some(("nspawn", "deb")),
            ),
            ("/system.slice/docker.service".into(), None),
            ("/docker/buildx".into(), None),
            ("/".into(), None),
        ] {
            let expect = expect.map(|(engine, id)| Container {
                engine: engine.into(),
                id: id.into(),
            });
            assert_eq!(container(&path), expect, "{path}");
        }
    }

    #[test]
    fn running_containers_are_those_with_processes_and_of_users_last() {
        let id = "0123456789abcdef".repeat(4);
        let docker = format!("system.slice/docker-{id}.scope");
        let rootless =
            format!("user.slice/user-1001.slice/user@1001.service/user.slice/libpod-{id}.scope");
        let scratch = Scratch::new();
        let put = |group: &str, populated: u8| {
            let events = format!("populated {populated}\nfrozen 0\n");
            let path = format!("sys/fs/cgroup/{group}/cgroup.events");
            scratch.put(&[(&path, events.as_bytes())]);
        };
        scratch.put(&[(
            "proc/1/mountinfo",
            b"23 1 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        )]);
        put(&docker, 1);
        put(&rootless, 1);
        put("lxc.payload.ended", 0);
        put("lxc.payload.web", 1);
        let user = "user.slice/user-1000.slice/user@1000.service";
        for number in 100..100 + CONTAINERS {
            put(&format!("{user}/lxc.payload.a{number}"), 1);
        }
        put(&format!("{user}/lxc.payload.empty"), 0);
        let mut gaps = Gaps::default();
        let found = containers(Some(&Tree::walk(&scratch.sources())), &mut gaps).unwrap();
        let shown: Vec<String> = found
            .items
            .iter()
            .map(|one| format!("{}: {}", one.engine, one.id))
            .collect();
        assert_eq!(
            shown[..3],
            ["docker: 0123456789ab", "lxc: web", "lxc of user 1000: a100"]
        );
        assert_eq!(found.total() as usize, CONTAINERS + 3);
        assert!(shown[2..].iter().all(|one| one.contains(" of user ")));
    }

    proptest::proptest! {
        #[test]
        fn odd_paths_never_panic(path in "[/a-z@._-]{0,60}", odd in ".{0,80}") {
            let _ = (container(&path), container(&odd));
        }
    }
}
