//! Finds what no plan may change: remit's files, and the accounts, homes, keys and timers of those who approve.
//! **Invariant:** what the user database does not say is not taken for "nobody": then no login key may change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};
use remit_plan::{PlanPath, Protected};
use remit_policy::Policy;
use remit_policy::model::rule::Grantees;

use crate::unreachable::{by_first_group, local_users};

/// What decides that the key of an agent starts the shim.
const SSH: &str = "/etc/ssh/sshd_config.d/remit.conf";

/// Users and groups of the rules, and members of a group, that are looked up: a load must end soon.
const MOST: usize = 1000;

/// Returns it for these files of remit's own, and for all approvers and administrators. It may wait for a directory service.
pub fn protected(policy: &Policy, own: &[String], admin_gids: &[u32]) -> Protected {
    let mut guard = Guard::default();
    let lists = || policy.asking().flat_map(|asking| asking.approval.lists());
    let gids = lists().flat_map(Grantees::gids);
    let gids: BTreeSet<u32> = gids.chain(admin_gids.iter().copied()).collect();
    let uids: BTreeSet<u32> = lists().flat_map(Grantees::uids).collect();
    guard.of.has_unknown_homes = gids.len() > MOST || uids.len() > MOST;
    guard.of.gids.clone_from(&gids);
    guard.of.uids.clone_from(&uids);
    gids.into_iter().take(MOST).for_each(|gid| guard.group(gid));
    uids.into_iter().take(MOST).for_each(|uid| guard.uid(uid));
    guard.other_names();
    for path in own.iter().map(String::as_str).chain([SSH]) {
        guard.path(Path::new(path));
    }
    guard.of
}

#[derive(Default)]
struct Guard {
    of: Protected,
}

impl Guard {
    fn group(&mut self, gid: u32) {
        let group = self.answered(Group::from_gid(Gid::from_raw(gid)));
        let mut names: BTreeSet<String> = BTreeSet::new();
        if let Some(group) = group {
            self.of.names.insert(group.name.into_bytes());
            names.extend(group.mem);
        }
        match by_first_group(gid) {
            Ok(first) => names.extend(first.into_keys()),
            Err(_) => self.of.has_unknown_homes = true,
        }
        self.of.has_unknown_homes |= names.len() > MOST;
        for name in names.into_iter().take(MOST) {
            let user = self.answered(User::from_name(&name));
            self.of.names.insert(name.into_bytes());
            user.into_iter().for_each(|user| self.user(user));
        }
    }

    /// Adds the names that share a uid: the database answers one of them.
    fn other_names(&mut self) {
        match local_users() {
            Ok(users) => {
                let own = users
                    .into_iter()
                    .filter(|user| self.of.uids.contains(&user.uid));
                let names: Vec<Vec<u8>> = own.map(|user| user.name.into_bytes()).collect();
                self.of.names.extend(names);
            }
            Err(_) => self.of.has_unknown_homes = true,
        }
    }

    fn uid(&mut self, uid: u32) {
        let user = self.answered(User::from_uid(Uid::from_raw(uid)));
        user.into_iter().for_each(|user| self.user(user));
    }

    fn user(&mut self, user: User) {
        self.of.uids.insert(user.uid.as_raw());
        for directory in remit_common::cron::SPOOLS {
            self.path(&Path::new(directory).join(&user.name));
        }
        self.of.names.insert(user.name.into_bytes());
        // Whoever has '/' as home has keys in '/.ssh'.
        match user.dir == Path::new("/") {
            true => self.path(Path::new("/.ssh")),
            false => self.path(&user.dir),
        }
    }

    /// Adds a path as it is written, and as it is without links.
    fn path(&mut self, path: &Path) {
        for path in [path.to_path_buf(), without_links(path)] {
            match PlanPath::new(path.as_os_str().as_encoded_bytes()) {
                Ok(path) => self.of.paths.insert(path),
                Err(_) => self.of.has_unknown_homes = true,
            }
        }
    }

    fn answered<T>(&mut self, found: Result<Option<T>, Errno>) -> Option<T> {
        match found {
            Ok(found) => found,
            // Some services report "does not exist" as an error (getpwnam(3), "Return value").
            Err(Errno::ENOENT | Errno::ESRCH) => None,
            Err(_) => {
                self.of.has_unknown_homes = true;
                None
            }
        }
    }
}

/// Resolves links in the part of the path that exists.
fn without_links(path: &Path) -> PathBuf {
    let mut above = path.ancestors();
    let found = above.find_map(|dir| Some((dir, dir.canonicalize().ok()?)));
    let Some((dir, real)) = found else {
        return path.to_path_buf();
    };
    match path.strip_prefix(dir) {
        Ok(rest) if rest.as_os_str().is_empty() => real,
        Ok(rest) => real.join(rest),
        Err(_) => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::Source;

    use super::*;
    use crate::Names;

    fn guard(by: &str, own: &[String], admins: &[u32]) -> Protected {
        let text =
            format!("[[grant]]\nto = ['#7']\nallow = ['run']\napproval = {{ by = ['{by}'] }}\n");
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], &Names::default()).unwrap();
        protected(&policy, own, admins)
    }

    fn has(guard: &Protected, path: &str) -> bool {
        guard.paths.holds(&PlanPath::new(path).unwrap())
    }

    #[test]
    fn approvers_are_protected_with_home_and_crontab() {
        for by in ["root", "#0"] {
            let guard = guard(by, &["/etc/remit".to_owned()], &[]);
            for path in ["/etc/remit", "/root", "/var/spool/cron/crontabs/root", SSH] {
                assert!(has(&guard, path), "{by}: {path}");
            }
            assert!(guard.names.contains(&b"root"[..]) && guard.uids.contains(&0));
            assert!(!guard.has_unknown_homes);
        }
        // Of a group: those whose first group it is, too.
        for guard in [guard("%root", &[], &[]), guard("#64001", &[], &[0])] {
            assert!(guard.gids.contains(&0) && guard.uids.contains(&0));
            assert!(has(&guard, "/root"), "{guard:?}");
        }
        let unnamed = guard("#64001", &[], &[]);
        assert!(!has(&unnamed, "/root") && unnamed.uids == [64_001].into());
    }

    #[test]
    fn own_paths_are_protected_behind_their_links() {
        let dir = std::env::temp_dir().join(format!("remit-guard-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("real")).unwrap();
        std::os::unix::fs::symlink(dir.join("real"), dir.join("link")).unwrap();
        let own = dir.join("link/state/x").display().to_string();
        let guard = guard("#64001", std::slice::from_ref(&own), &[]);
        assert!(has(&guard, &own));
        let real = dir.canonicalize().unwrap().join("real/state/x");
        assert!(has(&guard, &real.display().to_string()), "{guard:?}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn path_that_no_plan_can_have_leaves_homes_unknown() {
        assert!(guard("#64001", &["relative".to_owned()], &[]).has_unknown_homes);
    }
}
