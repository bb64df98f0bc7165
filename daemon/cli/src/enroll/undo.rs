//! Unenrolling: what the record says was done is undone, and nothing else.
//!
//! Taking rights away goes on when a step fails: what can be taken is taken. Then the record stays,
//! and doing it again does the rest.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_common::admin::{AdminReply, AdminRequest, Whom};
use remit_common::client::{self, ClientError};
use remit_common::names::Runtime;

use super::Refused;
use super::account::{self, Account};
use super::add::{another, told};
use super::file::KeyFile;
use super::key::PublicKey;
use super::line;
use super::name::Name;
use super::processes;
use super::record::{Record, Store};
use super::walk::{Absent, Dir, Trust, WalkError};

/// What is asked for.
#[derive(Debug)]
pub struct Undo<'a> {
    /// The agent.
    pub name: &'a Name,
    /// Only this key.
    pub key: Option<&'a PublicKey>,
    /// Where records are kept.
    pub state: &'a Path,
    /// Where the daemon listens.
    pub runtime: &'a Runtime,
}

/// What was undone.
#[derive(Debug, Default)]
pub struct Undone {
    /// Lines of keys that were removed.
    pub keys: usize,
    /// Keys that stay.
    pub keys_left: usize,
    /// The group it is no longer in.
    pub group: Option<String>,
    /// Grants for a time to it that were revoked.
    pub grants: usize,
    /// The account is gone.
    pub account: bool,
    /// Processes of the account that were ended.
    pub processes: usize,
    /// What was made and stays, since something is in it.
    pub kept: Vec<PathBuf>,
    /// What else its reader should know.
    pub notes: Vec<String>,
    /// What could not be done. While there is something, the agent counts as enrolled.
    pub problems: Vec<String>,
}

/// Takes from an agent what enrolling gave it; or one key, and nothing else.
///
/// # Errors
/// Nobody of this name, or nobody with this key, was enrolled; or the account is another by now.
pub fn unenroll(undo: &Undo) -> Result<Undone, Refused> {
    let name = undo.name;
    let store = Store::open(undo.state)?;
    let mut record = store.load(name)?.ok_or_else(|| {
        Refused::not_found(format!("user '{name}' was not enrolled by 'remit enroll'")).lift(
            format!("remove its key lines by hand, and: gpasswd --delete {name} remit"),
        )
    })?;
    let account = account::find(name).map_err(|error| told(error, name))?;
    if account
        .as_ref()
        .is_some_and(|account| !record.is_of(account))
    {
        return Err(another(name, &store));
    }
    let (going, staying): (Vec<_>, Vec<_>) = record
        .keys
        .iter()
        .cloned()
        .partition(|kept| undo.key.is_none_or(|key| key.base64 == kept.base64));
    if undo.key.is_some() && going.is_empty() {
        return Err(Refused::not_found(format!(
            "agent '{name}' has no such key"
        )));
    }

    let mut undone = Undone {
        keys_left: staying.len(),
        ..Undone::default()
    };
    let mut files: Vec<&PathBuf> = going.iter().map(|kept| &kept.file).collect();
    files.dedup();
    for file in files {
        let of_file = going.iter().filter(|kept| kept.file == *file);
        let keys: Vec<&str> = of_file.map(|kept| kept.base64.as_str()).collect();
        match remove_lines(file, &keys, &record, account.as_ref()) {
            Ok(count) => undone.keys += count,
            Err(error) => undone.problems.push(error.message),
        }
    }
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

    if let Some(account) = &account {
        undone.revoke_grants(undo, account);
        undone.leave(name, &record, account);
        match record.account_made {
            true => undone.remove_account(undo, account),
            false => undone.end_sessions(undo, &record, account),
        }
    }
    undone.remove_directories(&record, account.as_ref());
    if undone.problems.is_empty() {
        store.forget(name)?;
    } else if account.is_none() {
        // A user database that does not answer in full has no such account either.
        undone.problems.push(format!(
            "there is no user '{name}': if that is for good, remove '{}'",
            store.path(name).display()
        ));
    }
    Ok(undone)
}

/// Who may own what lies in the home: also where the account is gone already.
fn trust<'a>(record: &'a Record, account: Option<&'a Account>) -> Trust<'a> {
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

/// Removes the lines of these keys, and the file if it was made for them and nothing else is in it.
fn remove_lines(
    path: &Path,
    keys: &[&str],
    record: &Record,
    account: Option<&Account>,
) -> Result<usize, Refused> {
    let trust = trust(record, account);
    let (dir, name, _) = match Dir::of(path, trust, Absent::Refuse) {
        Err(WalkError::Missing(_)) => return Ok(0),
        walked => walked?,
    };
    let file = KeyFile::read(dir, name, trust)?;
    let (text, count) = line::remove(file.text(), keys);
    if text.is_empty() && record.files_made.iter().any(|made| made == path) {
        file.remove()?;
    } else if count > 0 {
        // It is there, so it keeps its owner and mode.
        file.replace(&text, super::walk::Owner::ROOT, 0o600)?;
    }
    Ok(count)
}

impl Undone {
    /// Takes the account out of the group it was put into.
    fn leave(&mut self, name: &Name, record: &Record, account: &Account) {
        let group = record.group_added.as_deref();
        match group.and_then(|group| group.parse::<Name>().ok()) {
            Some(group) if account.is_in(&group) => match account::leave(name, &group) {
                Ok(()) => self.group = Some(group.to_string()),
                Err(error) => self.problems.push(told(error, name).message),
            },
            Some(_) => {}
            None if record.account_made => {}
            None => self.notes.push(format!(
                "'{name}' was in its groups before, and stays in them"
            )),
        }
    }

    /// Has the daemon end the sessions of an account that stays: a reload looks at who is in which
    /// group by now. New ones can come from processes that still have the group, such as an ssh
    /// connection that is open. They may be its user's own work, so they are told of and left alone.
    fn end_sessions(&mut self, undo: &Undo, record: &Record, account: &Account) {
        let name = undo.name;
        let Some(group) = &record.group_added else {
            return self.tell_open(name, account);
        };
        self.reload(undo);
        let left = match account::gid(group) {
            Ok(gid) => gid.map_or(Ok(0), |gid| processes::in_group(account.uid, gid)),
            Err(error) => return self.problems.push(told(error, name).message),
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

    /// Ends what runs in an account that was made: it is all its agent's.
    fn end_processes(&mut self, account: &Account) {
        match processes::end(account.uid) {
            Ok(count) => self.processes = count,
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    /// sshd looks at a key when a connection begins.
    fn tell_open(&mut self, name: &Name, account: &Account) {
        if processes::count(account.uid).is_ok_and(|count| count > 0) {
            self.notes.push(format!(
                "ssh connections that were opened with the key go on until they end: \
                 'loginctl terminate-user {name}' ends all of '{name}'"
            ));
        }
    }

    /// Removes the account, and ends what runs in it; the daemon forgets whose number it was.
    fn remove_account(&mut self, undo: &Undo, account: &Account) {
        let name = undo.name;
        self.end_processes(account);
        match account::remove(name, account.uid) {
            Ok(()) => self.account = true,
            Err(error) => self.problems.push(told(error, name).message),
        }
        self.reload(undo);
    }

    /// Has the daemon look at all accounts again: it ends sessions, requests and grants of those who are not
    /// who they were.
    fn reload(&mut self, undo: &Undo) {
        match client::admin(&undo.runtime.admin_socket(), AdminRequest::Reload) {
            Ok(_) | Err(ClientError::NotRunning { .. }) => {}
            Err(error) => self.problems.push(format!(
                "sessions of '{}' with the daemon may still be open: {error}",
                undo.name
            )),
        }
    }

    /// Revokes what people gave this account for a time. Without a daemon nothing can be started by it; where
    /// the account goes, the next daemon ends it.
    fn revoke_grants(&mut self, undo: &Undo, account: &Account) {
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
            Err(ClientError::NotRunning { .. }) => {
                return self.notes.push(left("the daemon is not running".into()));
            }
            Err(error) => return self.problems.push(left(error.to_string())),
        };
        let own = all.iter().filter(|given| match &given.new.to {
            Whom::User { uid, .. } => *uid == account.uid,
            Whom::Group { .. } => false,
        });
        for grant in own.map(|given| given.grant) {
            let grant = Some(grant);
            match client::admin(&socket, AdminRequest::Revoke { grant }) {
                Ok(_) => self.grants += 1,
                Err(error) => self.problems.push(left(error.to_string())),
            }
        }
    }

    /// Removes the directories that were made and are empty.
    fn remove_directories(&mut self, record: &Record, account: Option<&Account>) {
        // An account needs its home.
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
