//! Undoes all steps in a record of an agent or approver, even if one fails: then the record stays, and a second run does the rest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_common::admin::{AdminReply, AdminRequest, Grantee};
use remit_common::names::Runtime;
use remit_common::refusal::Refusal;
use remit_wire::client::{self, ClientError};

use super::account::{self, Account, account_refusal};
use super::arguments::Name;
use super::around;
use super::found_account::different_account;
use super::key::PublicKey;
use super::record::{EnrolledAccount, EnrollmentRecord, Kept, Store, enrolled};
use super::refused::Refused;
use crate::enrollment::authorized_keys_file::KeyFile;
use crate::enrollment::authorized_keys_line;
use crate::enrollment::safe_open::{Absent, Dir, Trust, WalkError};

/// Groups whose members may connect to the daemon.
const OPENING: [&str; 2] = ["remit", "remit-admin"];

#[derive(Debug)]
pub struct Undo<'a> {
    pub name: &'a Name,
    pub key: Option<&'a PublicKey>,
    pub state: &'a Path,
    pub runtime: &'a Runtime,
}

#[derive(Debug, Default)]
pub struct Undone {
    pub keys: usize,
    pub keys_left: usize,
    pub group: Option<String>,
    pub grants: usize,
    pub account: bool,
    pub processes: usize,
    /// Directories that remit made and left because they are not empty.
    pub kept: Vec<PathBuf>,
    pub notes: Vec<String>,
    /// Steps that failed. The agent stays enrolled until there are none.
    pub problems: Vec<String>,
}

/// Revokes an agent's access, or one key. Fails if that was not enrolled, or if the account is another one now.
pub fn unenroll(undo: &Undo) -> Result<Undone, Refused> {
    let name = undo.name;
    let store = Store::open(undo.state)?;
    let account = account::find(name).map_err(|error| account_refusal(error, name))?;
    let Some(mut record) = store.load(name)? else {
        let others = enrolled(undo.state)?;
        return Err(not_enrolled(name, account.as_ref(), &others));
    };
    if account
        .as_ref()
        .is_some_and(|account| !record.is_of(account))
    {
        return Err(different_account(name, &store));
    }
    let (going, staying): (Vec<_>, Vec<_>) = record
        .keys
        .iter()
        .cloned()
        .partition(|kept| undo.key.is_none_or(|key| key.base64 == kept.base64));
    if undo.key.is_some() && going.is_empty() {
        return Err(Refused::not_found(format!(
            "{} '{name}' has no such key",
            record.role.noun()
        )));
    }

    let removed = remove_recorded_lines(&going, &record, account.as_ref());
    let mut undone = Undone {
        keys: removed.count,
        keys_left: staying.len() + removed.left,
        ..Undone::default()
    };
    let problems = removed.failed.into_iter().map(|failed| failed.message);
    undone.problems.extend(problems);
    if undo.key.is_some() {
        match &account {
            Some(account) if record.account_made => undone.end_processes(account),
            Some(account) => undone.tell_open(name, account),
            None => {}
        }
        if undone.problems.is_empty() {
            record.keys = staying;
            store.save(name, &record)?;
        }
        return Ok(undone);
    }

    undone.revoke_grants(undo, account.as_ref());
    if let Some(account) = &account {
        undone.leave_group(name, &record, account);
        if record.account_made {
            undone.remove_account(name, account);
        }
    }
    if let Err(refused) = end_access(undo.runtime, name) {
        undone.problems.push(refused.line());
    }
    if let Some(account) = account.as_ref().filter(|_| !record.account_made) {
        undone.report_open(name, &record, account);
    }
    undone.remove_directories(&record, account.as_ref());
    if undone.problems.is_empty() {
        store.forget(name)?;
    } else if account.is_none() {
        // A user database that is partly unavailable also reports a missing account.
        undone.problems.push(format!(
            "there is no user '{name}': if that is for good, undo by hand what is left, then remove '{}'",
            store.path(name).display()
        ));
    }
    Ok(undone)
}

/// Says who is enrolled. The way by hand names only groups that the account has.
fn not_enrolled(name: &Name, account: Option<&Account>, others: &[EnrolledAccount]) -> Refused {
    let names: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
    let others = match names.as_slice() {
        [] => "no account is enrolled".to_owned(),
        names => format!("enrolled: {}", names.join(", ")),
    };
    let Some(account) = account else {
        return Refused::not_found(format!("there is no user '{name}'; {others}"));
    };
    let groups = account.groups.iter();
    let groups = groups.filter(|group| OPENING.contains(&group.as_str()));
    let mut way = "remove its key lines by hand".to_owned();
    for group in groups {
        way += &format!("\ngpasswd --delete {name} {group}");
    }
    Refused::not_found(format!("user '{name}' was not enrolled by remit; {others}")).lift(way)
}

fn trust<'a>(record: &'a EnrollmentRecord, account: Option<&'a Account>) -> Trust<'a> {
    let nowhere = Path::new("/nonexistent");
    match account {
        Some(account) => Trust {
            home: &account.home,
            uid: account.uid,
        },
        None => Trust {
            home: record
                .directories_made
                .first()
                .map_or(nowhere, PathBuf::as_path),
            uid: record.uid.unwrap_or_default(),
        },
    }
}

#[derive(Debug, Default)]
struct RemovedLines {
    count: usize,
    /// Keys in files that could not be changed.
    left: usize,
    failed: Vec<Refused>,
}

/// Removes the lines of some keys of a record from their files. `account`: `None` if it is gone.
fn remove_recorded_lines(
    keys: &[Kept],
    record: &EnrollmentRecord,
    account: Option<&Account>,
) -> RemovedLines {
    let mut removed = RemovedLines::default();
    let files: BTreeSet<&PathBuf> = keys.iter().map(|kept| &kept.file).collect();
    for file in files {
        let of_file = keys.iter().filter(|kept| kept.file == *file);
        let keys: Vec<&str> = of_file.map(|kept| kept.base64.as_str()).collect();
        match remove_lines(file, &keys, record, account) {
            Ok(count) => removed.count += count,
            Err(error) => {
                removed.left += keys.len();
                removed.failed.push(error);
            }
        }
    }
    removed
}

/// Removes the keys of an account that is gone: the new account of its name would have them. The record is the only list of
/// them, and is replaced afterwards.
pub(super) fn remove_keys_of(void: &EnrollmentRecord, name: &Name) -> Result<(), Refused> {
    let removed = remove_recorded_lines(&void.keys, void, None);
    let about = format!("the keys of an older account '{name}' are left");
    match removed.failed.into_iter().next() {
        Some(refused) => Err(refused.about(&about)),
        None => Ok(()),
    }
}

/// Ends sessions, requests and grants of an account that is gone or has lost its group, by a reload, which looks up each
/// account. A later account of its name and uid would inherit them.
pub(super) fn end_access(runtime: &Runtime, name: &Name) -> Result<(), Refused> {
    let left = |why: String| {
        Refused::new(format!(
            "sessions, requests and grants of '{name}' may be left: {why}"
        ))
    };
    match client::admin(&runtime.admin_socket(), AdminRequest::Reload) {
        Ok(AdminReply::Reloaded(_)) => Ok(()),
        Ok(_) => Err(left("the daemon answers something else".to_owned())),
        Err(ClientError::Refused(Refusal {
            message,
            lift: Some(lift),
            ..
        })) => Err(left(message).lift(lift)),
        Err(error @ ClientError::NotRunning { .. }) => {
            Err(left(error.to_string()).lift("systemctl start remitd"))
        }
        Err(error) => Err(left(error.to_string())),
    }
}

fn remove_lines(
    path: &Path,
    keys: &[&str],
    record: &EnrollmentRecord,
    account: Option<&Account>,
) -> Result<usize, Refused> {
    let trust = trust(record, account);
    let (dir, name, _) = match Dir::of(path, trust, Absent::Refuse) {
        Err(WalkError::Missing(_)) => return Ok(0),
        walked => walked?,
    };
    let file = KeyFile::read(dir, name, trust)?;
    let (text, count) = authorized_keys_line::remove(file.text(), keys);
    if text.is_empty() && record.files_made.iter().any(|made| made == path) {
        file.remove()?;
    } else if count > 0 {
        file.replace(&text, crate::enrollment::safe_open::Owner::ROOT, 0o600)?;
    }
    Ok(count)
}

impl Undone {
    fn leave_group(&mut self, name: &Name, record: &EnrollmentRecord, account: &Account) {
        let group = record.group_added.as_deref();
        match group.and_then(|group| group.parse::<Name>().ok()) {
            Some(group) if account.is_in(&group) => match account::leave_group(name, &group) {
                Ok(()) => self.group = Some(group.to_string()),
                Err(error) => self.problems.push(account_refusal(error, name).message),
            },
            Some(_) => {}
            None if record.account_made => {}
            None => self.notes.push(format!(
                "'{name}' was in its groups before, and stays in them"
            )),
        }
    }

    /// Processes of an account that stays can start new sessions while they have the group; they may be the user's own
    /// work, so they are reported, not killed.
    fn report_open(&mut self, name: &Name, record: &EnrollmentRecord, account: &Account) {
        let Some(group) = &record.group_added else {
            return self.tell_open(name, account);
        };
        let left = match account::gid(group) {
            Ok(gid) => gid.map_or(Ok(0), |gid| around::in_group(account.uid, gid)),
            Err(error) => return self.problems.push(account_refusal(error, name).message),
        };
        match left {
            Ok(0) => {}
            Ok(count) => self.problems.push(format!(
                "processes of '{name}' that still have group '{group}', and may reach the daemon: {count}; \
                 'loginctl terminate-user {name}' or 'pkill -KILL -u {name}' ends them and all else of '{name}'"
            )),
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    fn end_processes(&mut self, account: &Account) {
        match around::end(account.uid) {
            Ok(count) => self.processes = count,
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    /// sshd checks a key only at the start of a connection.
    fn tell_open(&mut self, name: &Name, account: &Account) {
        if around::count(account.uid).is_ok_and(|count| count > 0) {
            self.notes.push(format!(
                "ssh connections that were opened with the key go on until they end: \
                 'loginctl terminate-user {name}' ends all of '{name}'"
            ));
        }
    }

    fn remove_account(&mut self, name: &Name, account: &Account) {
        self.end_processes(account);
        match account::remove(name, account.uid) {
            Ok(()) => self.account = true,
            Err(error) => self.problems.push(account_refusal(error, name).message),
        }
    }

    /// Revokes temporary grants to this account, and to an older one of its name.
    fn revoke_grants(&mut self, undo: &Undo, account: Option<&Account>) {
        let name = undo.name;
        let socket = undo.runtime.admin_socket();
        let left = |why: String| {
            format!("grants for a time to '{name}' may be left, see 'remit grants': {why}")
        };
        let all = match client::admin(&socket, AdminRequest::Grants) {
            Ok(AdminReply::Grants(all)) => all,
            Ok(_) => {
                return self
                    .problems
                    .push(left("the daemon answers something else".into()));
            }
            // The reload that follows says so.
            Err(ClientError::NotRunning { .. }) => return,
            Err(error) => return self.problems.push(left(error.to_string())),
        };
        let own = all.iter().filter(|entry| match &entry.new.to {
            Grantee::User { name: to, uid } => {
                to == name.as_str() || account.is_some_and(|account| account.uid == *uid)
            }
            Grantee::Group { .. } => false,
        });
        for grant in own.map(|entry| entry.grant) {
            let grant = Some(grant);
            match client::admin(&socket, AdminRequest::Revoke { grant }) {
                Ok(_) => self.grants += 1,
                Err(error) => self.problems.push(left(error.to_string())),
            }
        }
    }

    fn remove_directories(&mut self, record: &EnrollmentRecord, account: Option<&Account>) {
        let homeless = account.is_none() || self.account;
        for path in record.directories_made.iter().rev() {
            if !homeless && account.is_some_and(|account| account.home == *path) {
                continue;
            }
            let (dir, name, _) = match Dir::of(path, trust(record, account), Absent::Refuse) {
                Err(WalkError::Missing(_)) => continue,
                Err(error) => {
                    self.problems.push(error.to_string());
                    continue;
                }
                Ok(walked) => walked,
            };
            match unlinkat(dir.fd(), name.as_os_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => self.kept.push(path.clone()),
                Err(error) => {
                    let error = WalkError::Call("remove", path.clone(), error);
                    self.problems.push(error.to_string());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::key::tests::{ED25519, OTHER};
    use super::*;
    use crate::enrollment::Role;

    #[test]
    fn way_by_hand_is_one_of_an_account_that_is_there() {
        let name: Name = "bob".parse().unwrap();
        let other = |name: &str| EnrolledAccount {
            name: name.to_owned(),
            uid: Some(1001),
            role: Role::Agent,
            is_made: true,
            keys: Vec::new(),
        };
        let account = |groups: &[&str]| Account {
            groups: groups.iter().map(ToString::to_string).collect(),
            ..Account::to_be(Role::Agent, Path::new("/home/bob"))
        };
        let by_hand = "remove its key lines by hand";
        for (account, others, message, lift) in [
            (
                None,
                vec![],
                "there is no user 'bob'; no account is enrolled",
                None,
            ),
            (
                None,
                vec![other("agent"), other("ann")],
                "there is no user 'bob'; enrolled: agent, ann",
                None,
            ),
            (
                Some(account(&["bob", "sudo"])),
                vec![other("agent")],
                "user 'bob' was not enrolled by remit; enrolled: agent",
                Some(by_hand.to_owned()),
            ),
            (
                Some(account(&["bob", "remit", "remit-admin"])),
                vec![],
                "user 'bob' was not enrolled by remit; no account is enrolled",
                Some(format!(
                    "{by_hand}\ngpasswd --delete bob remit\ngpasswd --delete bob remit-admin"
                )),
            ),
        ] {
            let refused = not_enrolled(&name, account.as_ref(), &others);
            assert_eq!((refused.message.as_str(), refused.lift), (message, lift));
        }
    }

    #[test]
    fn lines_of_an_account_that_is_gone_are_removed_outside_its_home() {
        let dir = nix::unistd::mkdtemp("/run/remit-lines-XXXXXX").unwrap();
        let (own, others, gone) = (dir.join("bot"), dir.join("shared"), dir.join("gone/bot"));
        let line = format!("restrict,command=\"/usr/bin/mcp-shim\" {ED25519}\n");
        fs::write(&own, &line).unwrap();
        fs::write(&others, format!("{OTHER}\n{line}")).unwrap();
        let key = PublicKey::parse(ED25519.as_bytes()).unwrap();
        let kept = |file: &PathBuf| Kept {
            file: file.clone(),
            kind: key.kind.clone(),
            base64: key.base64.clone(),
            comment: String::new(),
            expires: None,
        };
        let mut record = EnrollmentRecord::new(Role::Agent, Some(60_101));
        record.account_made = true;
        record.directories_made.push("/home/bot".into());
        record.files_made.push(own.clone());
        // A link is not followed.
        let link = dir.join("link");
        std::os::unix::fs::symlink(&others, &link).unwrap();
        record.keys.extend([&own, &others, &gone, &link].map(kept));
        let removed = remove_recorded_lines(&record.keys, &record, None);
        let left = fs::read_to_string(&others);
        let is_there = own.exists();
        fs::remove_dir_all(dir).unwrap();
        assert_eq!((removed.count, removed.left), (2, 1));
        assert_eq!(removed.failed.len(), 1, "{:?}", removed.failed);
        assert!(!is_there);
        assert_eq!(left.unwrap(), format!("{OTHER}\n"));
    }
}
