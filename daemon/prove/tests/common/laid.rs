//! Lays a described machine out beneath a temporary directory, and asks about it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use remit_common::prove::Question;
use remit_policy::Source;
use remit_prove::accounts::Accounts;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::answer;
use remit_prove::report::{Report, SubjectReport};
use remit_prove::text::text;

use super::described::{Described, File, Group, User};

pub struct Laid {
    pub root: PathBuf,
    pub described: Described,
}

impl Drop for Laid {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Laid {
    pub fn out(name: &str, toml: &str) -> Self {
        Self::of(&Described::parse(name, toml))
    }

    pub fn of(described: &Described) -> Self {
        let root = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-prove-XXXXXX")).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let described = described.clone();
        let laid = Self { root, described };
        laid.tables();
        for path in &laid.described.programs {
            let path = laid.at(path);
            fs::write(&path, "\u{7f}ELF").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for file in &laid.described.file {
            laid.file(file);
        }
        laid
    }

    fn tables(&self) {
        let (mut passwd, mut group, mut shadow) = (
            "root:x:0:0::/root:/bin/bash\n".to_owned(),
            "root:x:0:\n".to_owned(),
            "root:*:1::::::\n".to_owned(),
        );
        for user in &self.described.user {
            let User {
                name,
                uid,
                home,
                shell,
                password,
                ..
            } = user;
            let home = home.clone().unwrap_or_else(|| format!("/home/{name}"));
            let shell = shell.as_deref().unwrap_or("/bin/bash");
            passwd += &format!("{name}:x:{uid}:{uid}::{home}:{shell}\n");
            let hash = if *password { "$6$x" } else { "!" };
            shadow += &format!("{name}:{hash}:1::::::\n");
            group += &format!("{name}:x:{uid}:\n");
        }
        for Group { name, gid } in &self.described.group {
            let members = self
                .described
                .user
                .iter()
                .filter(|user| user.groups.contains(name));
            let members: Vec<&str> = members.map(|user| user.name.as_str()).collect();
            group += &format!("{name}:x:{gid}:{}\n", members.join(","));
        }
        for user in &self.described.user {
            let known = |name: &String| self.described.group.iter().any(|one| one.name == *name);
            assert!(user.groups.iter().all(known), "groups of {}", user.name);
        }
        for (path, text, mode) in [
            ("/etc/passwd", passwd, 0o644),
            ("/etc/group", group, 0o644),
            ("/etc/shadow", shadow, 0o600),
        ] {
            let path = self.at(path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Returns the path beneath the machine's root, whose directory exists.
    pub fn at(&self, path: &str) -> PathBuf {
        let path = self.root.join(path.strip_prefix('/').unwrap());
        let parents: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|path| *path != self.root)
            .collect();
        for parent in parents.into_iter().rev() {
            if parent.symlink_metadata().is_err() {
                fs::create_dir(parent).unwrap();
                fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        path
    }

    fn file(&self, file: &File) {
        let path = self.at(&file.path);
        let usual = match file {
            File { link: Some(to), .. } => {
                symlink(to, &path).unwrap();
                0
            }
            File { socket: true, .. } => {
                drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
                0o660
            }
            File {
                text: Some(text), ..
            } => {
                fs::write(&path, text).unwrap();
                0o644
            }
            _ => {
                if !path.is_dir() {
                    fs::create_dir(&path).unwrap();
                }
                0o755
            }
        };
        let uid = self.number(&file.owner);
        let gid = self.number(file.group.as_ref().unwrap_or(&file.owner));
        if file.link.is_some() {
            lchown(&path, Some(uid), Some(gid)).unwrap();
            return;
        }
        chown(&path, Some(uid), Some(gid)).unwrap();
        let mode = file
            .mode
            .as_ref()
            .map_or(usual, |mode| u32::from_str_radix(mode, 8).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if let Some((kind, name, bits)) = &file.acl {
            self.list(&path, kind, name, *bits);
        }
        if let Some(bits) = file.capabilities {
            // Version 2, with the effective bit: vfs_cap_data of linux/capability.h.
            let words = [0x0200_0001, bits, 0, 0, 0];
            let value: Vec<u8> = words
                .iter()
                .flat_map(|word: &u32| word.to_le_bytes())
                .collect();
            let opened = fs::File::open(&path).unwrap();
            remit_sys::sys::set_xattr(&opened, c"security.capability", &value).unwrap();
        }
    }

    /// Writes an access list with one named entry, as setfacl(1) does.
    fn list(&self, path: &Path, kind: &str, name: &str, bits: u16) {
        const NONE: u32 = u32::MAX;
        let mode = fs::metadata(path).unwrap().permissions().mode();
        let tag: u16 = if kind == "user" { 2 } else { 8 };
        let own = |shift: u32| u16::try_from(mode >> shift & 7).unwrap();
        let mut rows = [
            (1, own(6), NONE),
            (tag, bits, self.number(name)),
            (4, own(3), NONE),
            (16, own(3) | bits, NONE),
            (32, own(0), NONE),
        ];
        rows.sort_unstable();
        let rows = rows.iter().flat_map(|(tag, bits, id): &(u16, u16, u32)| {
            [
                &tag.to_le_bytes()[..],
                &bits.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat()
        });
        let list: Vec<u8> = [2, 0, 0, 0].into_iter().chain(rows).collect();
        let opened = fs::File::open(path).unwrap();
        remit_sys::sys::set_xattr(&opened, c"system.posix_acl_access", &list).unwrap();
    }

    pub fn number(&self, name: &str) -> u32 {
        let user = self
            .described
            .user
            .iter()
            .find(|user| user.name == name)
            .map(|user| user.uid);
        let group = self
            .described
            .group
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid);
        match name {
            "root" => 0,
            _ => user.or(group).unwrap_or_else(|| panic!("no {name}")),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn report(&self) -> Report {
        let machine = Machine::open(&self.root, Bounds::default()).unwrap();
        self.report_of(machine).unwrap()
    }

    pub fn report_of(&self, machine: Machine) -> Result<Report, String> {
        answer(&self.question(), &machine)
    }

    /// Asks about the described agent, with the described policy.
    pub fn question(&self) -> Question {
        let accounts = Accounts::read(&Machine::open(&self.root, Bounds::default()).unwrap());
        let source = Source {
            name: "a.toml".into(),
            text: self.described.policy.clone().into_bytes(),
        };
        let policy = remit_policy_compile::load(&[source], &accounts.table());
        let (policy, _) = policy.unwrap_or_else(|found| panic!("{}", found[0]));
        Question {
            release: remit_common::RELEASE.to_owned(),
            root: self.root.as_os_str().as_encoded_bytes().to_vec().into(),
            policy: policy.encode().into(),
            compared: None,
            subject: Some(self.described.agent.clone()),
            accounts: Vec::new(),
            in_force: Vec::new(),
            asks_for_changes: false,
            socket_group: "remit".into(),
            admin_group: "remit-admin".into(),
        }
    }

    /// Compares the answer with what is described.
    pub fn check(&self) -> Result<(), String> {
        let report = self.report();
        let shown = text(&report, true);
        let subject = &report.subjects[0];
        let expected: Vec<&str> = self
            .described
            .reaches
            .iter()
            .map(|one| one.goal.as_str())
            .collect();
        if goals(subject) != expected {
            return Err(format!("expected {expected:?}:\n{shown}"));
        }
        for (path, expect) in subject.reaches.iter().zip(&self.described.reaches) {
            let is_step = |(found, wanted): (&remit_prove::report::Step, &String)| {
                let (rule, part) = wanted.split_once(' ').unwrap_or((wanted, ""));
                found.rule == rule && found.fact.contains(part)
            };
            let all = path.steps.len() == expect.steps.len()
                && path.steps.iter().zip(&expect.steps).all(is_step);
            if !all {
                return Err(format!("expected {:#?}:\n{shown}", expect.steps));
            }
            let closed = |part: &&String| !path.closed_by.iter().any(|one| one.contains(*part));
            if let Some(part) = expect.closed_by.iter().find(closed) {
                return Err(format!("'{part}' does not close it:\n{shown}"));
            }
            if path.closed_by.is_empty() != expect.several_changes.is_some() {
                return Err(format!("one change, or several_changes:\n{shown}"));
            }
        }
        for part in &self.described.unknown {
            let is_one = |(path, why): &(String, String)| format!("{path}: {why}").contains(part);
            if !report.unknown.iter().any(is_one) {
                return Err(format!("'{part}' is not unknown:\n{shown}"));
            }
        }
        Ok(())
    }
}

pub fn goals(subject: &SubjectReport) -> Vec<&str> {
    let goals = subject.reaches.iter().map(|path| path.goal.as_str());
    goals.collect()
}
