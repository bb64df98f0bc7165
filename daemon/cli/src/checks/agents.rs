//! Agent accounts, and what they can do without remit. An agent is an enrolled account. Other members of the socket's
//! group are people, unless one of their keys starts mcp-shim: such a member was made an agent by hand. So it is with
//! approvers, the group of the socket for administrators and keys that start the approver's command: a purge removes records.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{fs, io};

use nix::unistd::{Gid, Group, User};

use super::approvers::EnrolledKeys;
use super::login::Aging;
use super::report::{Check, or_ok};
use crate::checks::file_facts::Named;
use crate::enrollment::{EnrolledAccount, Role, account};

/// Maximum number of group members that are checked.
const MOST: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    pub comment: String,
    pub shell: PathBuf,
    pub groups: Vec<Named>,
    pub password: Password,
    pub aging: Aging,
}

impl AccountFacts {
    pub fn group_names(&self) -> Vec<&str> {
        let names = self.groups.iter().map(|group| group.name.as_str());
        names.collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// No password fits: `*`.
    None,
    /// `!`, alone or before a hash: sshd without PAM refuses keys too.
    Locked,
    Empty,
    Set,
    NotLocal,
    Unknown(String),
}

#[derive(Debug)]
pub struct Found {
    pub agents: Vec<AccountFacts>,
    pub approvers: Vec<(AccountFacts, EnrolledKeys)>,
    pub people: Vec<String>,
    /// Other members of the group of the admin socket: they can approve by their own logins.
    pub admins: Vec<String>,
    /// Number of accounts beyond the bound, not checked.
    pub more: usize,
    /// Faults of records, and members of which it is not known what they are.
    pub faults: Vec<Check>,
}

#[derive(Debug)]
pub struct AccountDatabase {
    pub passwd: String,
    shadow: io::Result<String>,
}

impl AccountDatabase {
    pub fn read() -> io::Result<Self> {
        Ok(Self {
            passwd: text("/etc/passwd")?,
            shadow: text("/etc/shadow"),
        })
    }

    pub fn account(&self, name: &str) -> io::Result<Option<AccountFacts>> {
        let Some(user) = User::from_name(name)? else {
            return Ok(None);
        };
        let password = match (field(&self.passwd, name), &self.shadow) {
            (Some(own), _) if own != "x" => by_hash(own),
            (_, Ok(shadow)) => field(shadow, name).map_or(Password::NotLocal, by_hash),
            (_, Err(error)) => Password::Unknown(error.to_string()),
        };
        let aging = self.shadow.as_ref();
        let aging = aging.map_or_else(|_| Aging::default(), |shadow| Aging::parse(shadow, name));
        let gids = account::groups_of(&user)?;
        Ok(Some(AccountFacts {
            aging,
            groups: gids.iter().map(|gid| Named::group(gid.as_raw())).collect(),
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            comment: user.gecos.to_string_lossy().into_owned(),
            shell: user.shell,
            password,
        }))
    }

    /// Finds the `enrolled` agents and approvers. Sorts other members of `clients` into agents and people by `is_agent`, and of
    /// `admins` into approvers and people by the `approving` keys.
    pub fn find(
        &self,
        [clients, admins]: [Option<u32>; 2],
        enrolled: &[EnrolledAccount],
        is_agent: impl Fn(&AccountFacts) -> Result<bool, String>,
        approving: impl Fn(&AccountFacts) -> BTreeSet<Vec<u8>>,
    ) -> io::Result<Found> {
        let mut found = Found {
            agents: Vec::new(),
            approvers: Vec::new(),
            people: Vec::new(),
            admins: Vec::new(),
            more: 0,
            faults: Vec::new(),
        };
        for record in enrolled {
            match self.account(&record.name)? {
                Some(account) if record.uid.is_none_or(|uid| uid == account.uid) => {
                    match record.role {
                        Role::Agent => found.agents.push(account),
                        Role::Approver => found.approvers.push((account, record.into())),
                    }
                }
                other => found
                    .faults
                    .push(lost_account_check(record, other.is_some())),
            }
        }
        let mut known: BTreeSet<String> = found.agents.iter().map(|one| one.name.clone()).collect();
        for account in self.members(clients, &known, &mut found.more)? {
            match is_agent(&account) {
                Ok(true) => found.agents.push(account),
                Ok(false) => found.people.push(account.name),
                Err(why) => {
                    found.faults.push(unknown_keys_check(&account.name, &why));
                    found.people.push(account.name);
                }
            }
        }
        let others = found.approvers.iter().map(|(account, _)| account);
        known.extend(
            found
                .agents
                .iter()
                .chain(others)
                .map(|one| one.name.clone()),
        );
        for account in self.members(admins, &known, &mut found.more)? {
            let keys = approving(&account);
            if account.comment == Role::Approver.comment() {
                found.approvers.push((account, EnrolledKeys::All));
            } else if keys.is_empty() {
                found.admins.push(account.name);
            } else {
                found.approvers.push((account, EnrolledKeys::Only(keys)));
            }
        }
        Ok(found)
    }

    /// Returns the members of a group but for the `known` ones, and counts those beyond the bound.
    fn members(
        &self,
        gid: Option<u32>,
        known: &BTreeSet<String>,
        more: &mut usize,
    ) -> io::Result<Vec<AccountFacts>> {
        let Some(gid) = gid else {
            return Ok(Vec::new());
        };
        let mut members = first_group(&self.passwd, gid);
        if let Some(group) = Group::from_gid(Gid::from_raw(gid))? {
            members.extend(group.mem);
        }
        members.sort();
        members.dedup();
        members.retain(|name| !known.contains(name));
        *more += members.len().saturating_sub(MOST);
        // A member name without an account cannot connect.
        let accounts = members.iter().take(MOST).map(|name| self.account(name));
        accounts.filter_map(Result::transpose).collect()
    }
}

fn unknown_keys_check(user: &str, why: &str) -> Check {
    Check::warning(
        "people",
        format!(
            "the keys of '{user}' cannot be read, so whether it is an agent is not known: {why}"
        ),
        format!("keep its keys in a regular file, or remove '{user}' from the group of remit.sock"),
    )
}

fn lost_account_check(record: &EnrolledAccount, another: bool) -> Check {
    let (name, noun) = (&record.name, record.role.noun());
    let why = match another {
        true => {
            format!("'{name}' is not the account that was enrolled by this name")
        }
        false => format!("{noun} '{name}' was enrolled, but its account no longer exists"),
    };
    let fix = match another {
        true => {
            format!(
                "/var/lib/remit/enrolled/{name} lists what was done: undo it by hand, end its grants ('remit grants') \
                 and requests ('remit pending'), then remove that file"
            )
        }
        false => format!("remit unenroll {name}"),
    };
    Check::warning("enrolled", why, fix)
}

/// Reads an account file. Real names in it may have any encoding.
fn text(path: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

fn first_group(passwd: &str, gid: u32) -> Vec<String> {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(2)?.parse() == Ok(gid)).then(|| name.to_owned())
    };
    passwd.lines().filter_map(of_line).collect()
}

fn field<'a>(text: &'a str, user: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (name == user).then(|| rest.split(':').next().unwrap_or_default())
    })
}

fn by_hash(hash: &str) -> Password {
    match hash {
        "" => Password::Empty,
        // No hash starts with these (crypt(5)): 'usermod -L' adds '!', and accounts without a password have one.
        hash if hash.starts_with('!') => Password::Locked,
        hash if hash.starts_with('*') => Password::None,
        _ => Password::Set,
    }
}

pub fn members(found: &Found) -> Vec<Check> {
    let names: Vec<&str> = found.agents.iter().map(|one| one.name.as_str()).collect();
    let agents = match names.as_slice() {
        [] => "nobody is enrolled yet: remit enroll USER KEYFILE".to_owned(),
        names => names.join(" "),
    };
    let mut checks = vec![Check::ok("agents", agents)];
    if !found.approvers.is_empty() {
        let names = found.approvers.iter().map(|(one, _)| one.name.as_str());
        let names: Vec<&str> = names.collect();
        checks.push(Check::ok("approvers", names.join(" ")));
    }
    if !found.people.is_empty() {
        let people = found.people.join(" ");
        checks.push(Check::ok(
            "people",
            format!("{people}: may connect; not enrolled, so not checked as agents"),
        ));
    }
    if !found.admins.is_empty() {
        let admins = found.admins.join(" ");
        checks.push(Check::ok(
            "administrators",
            format!("{admins}: can approve by their own logins, which are not checked"),
        ));
    }
    if found.more > 0 {
        checks.push(Check::warning(
            "members",
            format!(
                "{} of the accounts that may connect were not checked",
                found.more
            ),
            "getent group remit remit-admin",
        ));
    }
    checks
}

/// Checks the uid and the groups. `admins` is the group that may connect to the admin socket.
pub fn groups(account: &AccountFacts, admins: Option<u32>) -> Vec<Check> {
    let name = format!("{}: groups", account.name);
    let user = &account.name;
    let mut found = Vec::new();
    if account.uid == 0 {
        found.push(Check::failure(
            &name,
            format!("'{user}' has uid 0: remit cannot restrict root"),
            "use a separate account for the agent: remit enroll USER KEYFILE",
        ));
    }
    for group in &account.groups {
        let why = match account::root_group_reason(&group.name) {
            Some(why) => why,
            None if Some(group.id) == admins => "its members can approve requests and unlock remit",
            None => continue,
        };
        let fix = match group.id == account.gid {
            true => format!("usermod -g OTHER {user}"),
            false => format!("gpasswd -d {user} {}", group.name),
        };
        found.push(Check::failure(
            &name,
            format!("'{user}' is in group '{}': {why}", group.name),
            format!("{fix}; or use another account for the agent"),
        ));
    }
    or_ok(found, &name, account.group_names().join(" "))
}

/// Checks the password. `by_ssh` is true if sshd accepts passwords from this user, `None` if that is unknown.
pub fn password_check(account: &AccountFacts, by_ssh: Option<bool>) -> Check {
    let name = format!("{}: password", account.name);
    let user = &account.name;
    let fix = format!("usermod -p '*' {user}");
    match (&account.password, by_ssh) {
        (Password::None | Password::Locked, _) => Check::ok(name, "none"),
        (Password::Empty, _) => {
            let why = format!(
                "'{user}' has an empty password: anybody can log in as '{user}', without mcp-shim"
            );
            Check::failure(name, why, fix)
        }
        (Password::Set, Some(true)) => {
            let why = format!("'{user}' has a password and sshd accepts it: it opens a shell");
            Check::warning(name, why, fix)
        }
        (Password::Set, Some(false) | None) => {
            let why =
                format!("'{user}' has a password: it opens a shell at the console or with su");
            Check::warning(name, why, fix)
        }
        (Password::NotLocal, Some(true)) => {
            let why = format!(
                "'{user}' is not in /etc/shadow, and sshd accepts passwords: \
                 one from a directory service may open a shell"
            );
            let fix = format!(
                "set 'PasswordAuthentication no' in a 'Match User {user}' block of sshd_config"
            );
            Check::warning(name, why, fix)
        }
        (Password::NotLocal, Some(false) | None) => Check::ok(name, "not in /etc/shadow"),
        (Password::Unknown(why), _) => Check::skipped(name, format!("/etc/shadow: {why}")),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::checks::report::Verdict;

    pub fn agent(groups: &[(u32, &str)]) -> AccountFacts {
        let own = [(1001, "agent")];
        let groups = own.iter().chain(groups);
        AccountFacts {
            name: "agent".into(),
            uid: 1001,
            gid: 1001,
            home: "/home/agent".into(),
            comment: String::new(),
            shell: "/bin/sh".into(),
            groups: groups.map(|(id, name)| Named::fake(*id, name)).collect(),
            password: Password::Locked,
            aging: Aging::default(),
        }
    }

    fn whys(checks: &[Check]) -> Vec<&str> {
        checks.iter().filter_map(failure).collect()
    }

    fn failure(check: &Check) -> Option<&str> {
        match &check.verdict {
            Verdict::Failure(finding) => Some(&finding.why),
            Verdict::Ok(_) | Verdict::Skipped(_) | Verdict::Warning(_) => None,
        }
    }

    #[test]
    fn members_are_found_by_their_first_group_too() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\nagent:x:1001:990::/:/bin/sh\nb:x:990:1::/:/bin/sh\n\nx:y\n";
        assert_eq!(first_group(passwd, 990), ["agent"]);
    }

    #[test]
    fn members_without_a_record_are_sorted_by_their_keys() {
        let accounts = AccountDatabase {
            passwd: "root:x:0:0::/root:/bin/sh\n".to_owned(),
            shadow: Ok(String::new()),
        };
        let key = BTreeSet::from([vec![1]]);
        // The groups of root, if a key starts mcp-shim, if one approves, and the lists that root is in.
        let (yes, no, unknown) = (Ok(true), Ok(false), Err("a link".to_owned()));
        let cases = [
            ([Some(0), None], &yes, true, ["root", "", "", ""]),
            ([Some(0), None], &no, true, ["", "", "root", ""]),
            ([Some(0), None], &unknown, true, ["", "", "root", ""]),
            ([None, Some(0)], &no, true, ["", "root", "", ""]),
            ([None, Some(0)], &yes, false, ["", "", "", "root"]),
            ([Some(0), Some(0)], &yes, true, ["root", "", "", ""]),
            ([Some(0), Some(0)], &no, false, ["", "", "root", "root"]),
            ([None, None], &yes, true, ["", "", "", ""]),
        ];
        for (groups, is_agent, is_approver, expect) in cases {
            let approving = |_: &AccountFacts| match is_approver {
                true => key.clone(),
                false => BTreeSet::new(),
            };
            let found = accounts.find(groups, &[], |_| is_agent.clone(), approving);
            let found = found.unwrap();
            let has_unknown = is_agent.is_err() && groups[0].is_some();
            let mut faults = found.faults.iter().map(|check| &check.verdict);
            let names_root = |verdict: &Verdict| match verdict {
                Verdict::Warning(finding) => finding.why.contains("'root'"),
                _ => false,
            };
            assert_eq!(
                faults.any(names_root),
                has_unknown,
                "{groups:?} {is_agent:?}"
            );
            for (_, keys) in &found.approvers {
                assert!(matches!(keys, EnrolledKeys::Only(only) if *only == key));
            }
            let approvers: Vec<&AccountFacts> = found.approvers.iter().map(|one| &one.0).collect();
            let names = |accounts: Vec<&AccountFacts>| {
                let names = accounts.into_iter().map(|one| one.name.clone());
                names.filter(|name| name == "root").collect::<String>()
            };
            let only_root = |names: &[String]| {
                let names = names.iter().filter(|name| *name == "root");
                names.cloned().collect::<String>()
            };
            let is = [
                names(found.agents.iter().collect()),
                names(approvers),
                only_root(&found.people),
                only_root(&found.admins),
            ];
            assert_eq!(is, expect, "{groups:?} {is_agent:?} {is_approver}");
        }
    }

    #[test]
    fn each_powerful_group_is_named() {
        assert!(whys(&groups(&agent(&[(990, "remit"), (4, "adm")]), Some(991))).is_empty());
        let account = agent(&[
            (990, "remit"),
            (27, "sudo"),
            (998, "docker"),
            (991, "approvers"),
        ]);
        let checks = groups(&account, Some(991));
        let found = whys(&checks);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("'sudo'") && found[1].contains("'docker'"));
        assert!(found[2].contains("'approvers'") && found[2].contains("approve"));
        let mut root = agent(&[]);
        root.uid = 0;
        assert_eq!(whys(&groups(&root, None)).len(), 1);
    }

    #[test]
    fn a_first_group_is_not_left_by_gpasswd() {
        let mut account = agent(&[]);
        account.groups = vec![Named::fake(1001, "docker")];
        let Verdict::Failure(finding) = &groups(&account, None)[0].verdict else {
            panic!("docker");
        };
        assert!(finding.fix.starts_with("usermod -g"), "{finding:?}");
    }

    #[test]
    fn passwords_are_what_the_second_field_says() {
        let shadow = "a:*:1::\nb:!:1::\nc:!$y$x:1::\nd:$y$x:1::\ne::1::\nf:!!:1\n";
        let cases = [
            ("a", Some(Password::None)),
            ("b", Some(Password::Locked)),
            ("c", Some(Password::Locked)),
            ("d", Some(Password::Set)),
            ("e", Some(Password::Empty)),
            ("f", Some(Password::Locked)),
            ("g", None),
        ];
        for (user, expect) in cases {
            assert_eq!(field(shadow, user).map(by_hash), expect, "{user}");
        }
    }

    #[test]
    fn a_password_opens_a_shell() {
        let verdict = |password: Password, by_ssh| {
            let account = AccountFacts {
                password,
                ..agent(&[])
            };
            match password_check(&account, by_ssh).verdict {
                Verdict::Ok(_) => "ok",
                Verdict::Skipped(_) => "skipped",
                Verdict::Warning(_) => "warning",
                Verdict::Failure(_) => "failure",
            }
        };
        let cases = [
            (Password::None, Some(true), "ok"),
            (Password::Locked, Some(true), "ok"),
            (Password::Empty, Some(false), "failure"),
            (Password::Set, Some(true), "warning"),
            (Password::Set, Some(false), "warning"),
            (Password::NotLocal, Some(true), "warning"),
            (Password::NotLocal, Some(false), "ok"),
            (Password::Unknown("x".into()), None, "skipped"),
        ];
        for (password, by_ssh, expect) in cases {
            assert_eq!(verdict(password.clone(), by_ssh), expect, "{password:?}");
        }
    }
}
