//! Enrolling: every check first, then the record, then one step after the other. Doing it again does
//! what is left to do.

use std::path::{Path, PathBuf};

use super::account::{self, Account, AccountError};
use super::around::{led_around, not_roots, sshd_of};
use super::clock;
use super::expiry::{End, Expires};
use super::file::KeyFile;
use super::key::PublicKey;
use super::line::{self, COMMAND, Change, Foreign};
use super::record::{Kept, Record, Store};
use super::walk::{Absent, Dir, Owner, Trust, WalkError};
use super::{Name, Refused};
use crate::program::Program;
use crate::sshd::effective;

/// What is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// The agent's account.
    pub name: &'a Name,
    /// Whose members may connect to the daemon.
    pub group: &'a Name,
    /// The agent's key.
    pub key: &'a PublicKey,
    /// When the key ends; nothing to leave it as it is.
    pub expires: Option<&'a Expires>,
    /// Where records are kept.
    pub state: &'a Path,
}

/// Where the account comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountWas {
    /// It was made, now or when the agent was enrolled first.
    Made,
    /// It was there before.
    There,
}

/// What was done.
#[derive(Debug)]
pub struct Enrolled {
    /// Where the account comes from.
    pub account: AccountWas,
    /// Other groups it is in.
    pub groups: Vec<String>,
    /// Where the key stands.
    pub file: PathBuf,
    /// What became of its line.
    pub change: Change,
    /// When it ends.
    pub expires: Option<End>,
    /// What somebody should look at, a sentence each.
    pub warnings: Vec<String>,
}

/// Gives an agent's key its one way in.
///
/// # Errors
/// Something does not fit. What was done until then is recorded, and is done no second time.
pub fn enroll(request: &Request) -> Result<Enrolled, Refused> {
    ready(request.group)?;
    let expires = request.expires.map(clock::resolve).transpose()?;
    let store = Store::open(request.state)?;
    let name = request.name;
    if let Some(other) = store.other_with(name, &request.key.base64)? {
        let text =
            format!("this key is that of agent '{other}': each agent needs a key of its own");
        return Err(Refused::new(text).lift(format!("remit unenroll {other}")));
    }
    let (mut record, found, home) = judged(request, &store)?;
    // Only who says so lifts or moves an end that was set.
    let expires = expires.unwrap_or_else(|| record.end_of(&request.key.base64));
    let groups = match &found {
        Some(account) => account
            .judge(name, request.group)
            .map_err(|e| told(e, name))?,
        None => Vec::new(),
    };
    let key = Key {
        request,
        line: line::line(request.key, expires),
        expires,
    };
    not_roots(request.key)?;
    // Nothing is made for an agent that then could not come in.
    let (account, made) = match (&found, &home) {
        (Some(account), _) => (account.clone(), record.account_made),
        (None, home) => (
            Account::to_be(home.as_deref().unwrap_or(Path::new("/"))),
            true,
        ),
    };
    key.prepare(&account, made, Missing::Later)?;
    let warnings = led_around(request)?;
    if expires.is_some() && !effective::reads_utc() {
        let text =
            "this machine's sshd is older than OpenSSH 9.2, and a key's end is not sure with it";
        return Err(Refused::new(text).lift("leave '--expires' out, and 'remit unenroll' in time"));
    }

    if let Some(home) = home {
        record.account_made = true;
        record.directories_made = vec![home.clone()];
        store.save(name, &record)?;
        account::make(name, &home).map_err(|e| told(e, name))?;
    }
    let account = account::find(name)
        .map_err(|e| told(e, name))?
        .ok_or_else(|| told(AccountError::NotMade(name.clone()), name))?;
    record.uid = Some(account.uid);
    store.save(name, &record)?;
    if record.account_made {
        take_home(&account)?;
    }
    // Before the key: sshd may have settings for the group, and other files with keys.
    if !account.is_in(request.group) {
        record.group_added = Some(request.group.to_string());
        store.save(name, &record)?;
        account::join(name, request.group).map_err(|e| told(e, name))?;
    }
    let (file, change) = key
        .write(&store, &mut record, &account)
        .map_err(|refused| {
            let group = request.group;
            refused.about(&format!(
                "'{name}' is in group '{group}', and has not got the key"
            ))
        })?;
    Ok(Enrolled {
        account: match record.account_made {
            true => AccountWas::Made,
            false => AccountWas::There,
        },
        groups,
        file,
        change,
        expires,
        warnings,
    })
}

pub(super) fn told(error: AccountError, name: &Name) -> Refused {
    let refused = Refused::new(format!("user '{name}': {error}"));
    match error.lift(name) {
        Some(lift) => refused.lift(lift),
        None => refused,
    }
}

/// What an agent needs of this machine.
fn ready(group: &Name) -> Result<(), Refused> {
    if Program::find(&[COMMAND]).is_none() {
        let text = format!("there is no '{COMMAND}', which is all that the key may start");
        return Err(Refused::new(text).lift("install remit's package"));
    }
    account::gid(group.as_str())
        .and_then(|gid| gid.ok_or_else(|| AccountError::NoGroup(group.to_string())))
        .map_err(|e| told(e, group))?;
    match account::is_powerful(group) {
        true => Err(Refused::new(format!(
            "members of group '{group}' may do more than an agent"
        ))),
        false => Ok(()),
    }
}

/// The record to go on with, the account if it is there, and else the home it will have.
fn judged(
    request: &Request,
    store: &Store,
) -> Result<(Record, Option<Account>, Option<PathBuf>), Refused> {
    let name = request.name;
    let found = account::find(name).map_err(|e| told(e, name))?;
    let record = store.load(name)?;
    match (found, record) {
        (Some(account), Some(record)) if record.is_of(&account) => match &record.group_added {
            // Of two groups one would stay when it is unenrolled.
            Some(group) if group != request.group.as_str() => Err(Refused::new(format!(
                "agent '{name}' was put into group '{group}' when it was enrolled"
            ))
            .lift(format!("remit unenroll {name}"))),
            _ => Ok((record, Some(account), None)),
        },
        (Some(_), Some(_)) => Err(another(name, store)),
        (Some(account), None) => Ok((Record::new(Some(account.uid)), Some(account), None)),
        // Whatever was enrolled under this name is gone with its account.
        (None, _) => {
            let home = account::new_home(name).map_err(|e| told(e, name))?;
            Ok((Record::new(None), None, Some(home)))
        }
    }
}

/// The account is not the one that was enrolled.
pub(super) fn another(name: &Name, store: &Store) -> Refused {
    Refused::new(format!(
        "user '{name}' is another account than the agent that was enrolled by this name"
    ))
    .lift(format!(
        "look what '{}' says was done, undo it by hand, and remove that file",
        store.path(name).display()
    ))
}

/// Makes the home root's: its user may look, and that is all.
fn take_home(account: &Account) -> Result<(), Refused> {
    let inside = account.home.join("authorized_keys");
    // useradd may have been cut off before it made one.
    let make = Absent::Make(Owner::ROOT, 0o755);
    let (home, _, _) = Dir::of(&inside, trust(account), make)?;
    Ok(home.give(Owner::ROOT, 0o755)?)
}

fn trust(account: &Account) -> Trust<'_> {
    Trust {
        home: &account.home,
        uid: account.uid,
    }
}

/// A key on its way into a file.
struct Key<'a> {
    request: &'a Request<'a>,
    line: String,
    expires: Option<End>,
}

/// A file with the key in it, not written yet.
struct Prepared {
    file: KeyFile,
    text: Vec<u8>,
    change: Change,
    made: Vec<PathBuf>,
}

/// What to do about a directory in the home that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// Make it.
    Now,
    /// It will be made: so far everything fits.
    Later,
}

/// Who is to own what is made at `path`: an account that is made owns nothing, and nothing outside of
/// its home belongs to a user.
fn owner(account: &Account, made: bool, path: &Path) -> (Owner, u32, u32) {
    match !made && path.starts_with(&account.home) {
        true => {
            let owner = Owner {
                uid: account.uid,
                gid: account.gid,
            };
            (owner, 0o700, 0o600)
        }
        false => (Owner::ROOT, 0o755, 0o644),
    }
}

impl Key<'_> {
    /// Finds the file and puts the line into its text. Nothing, where a directory is missing that is
    /// not to be made yet.
    fn prepare(
        &self,
        account: &Account,
        account_made: bool,
        missing: Missing,
    ) -> Result<Option<Prepared>, Refused> {
        let name = self.request.name;
        let files = sshd_of(name)?.authorized_keys_files(name.as_str(), account.uid, &account.home);
        let (first, others) = files.split_first().ok_or_else(|| {
            Refused::new(format!(
                "sshd looks for no keys of user '{name}' in any file"
            ))
            .lift("set AuthorizedKeysFile in '/etc/ssh/sshd_config'")
        })?;
        for other in others {
            self.refuse_elsewhere(account, other)?;
        }
        let absent = match missing {
            Missing::Later => Absent::Refuse,
            Missing::Now => {
                let (owner, dirs, _) = owner(account, account_made, first);
                Absent::Make(owner, dirs)
            }
        };
        let (dir, file, made) = match Dir::of(first, trust(account), absent) {
            Err(WalkError::Missing(path))
                if missing == Missing::Later
                    && (account_made || path != account.home)
                    && path.starts_with(&account.home) =>
            {
                return Ok(None);
            }
            walked => walked?,
        };
        let file = KeyFile::read(dir, file, trust(account))?;
        let (text, change) = line::put(file.text(), self.request.key, &self.line)
            .map_err(|Foreign(line)| opens_more(first, line))?;
        Ok(Some(Prepared {
            file,
            text,
            change,
            made,
        }))
    }

    /// The key must open no other door.
    fn refuse_elsewhere(&self, account: &Account, path: &Path) -> Result<(), Refused> {
        let (dir, name, _) = match Dir::of(path, trust(account), Absent::Refuse) {
            Err(WalkError::Missing(_)) => return Ok(()),
            walked => walked?,
        };
        let file = KeyFile::read(dir, name, trust(account))?;
        match line::elsewhere(file.text(), self.request.key) {
            Some(line) => Err(opens_more(path, line)),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        store: &Store,
        record: &mut Record,
        account: &Account,
    ) -> Result<(PathBuf, Change), Refused> {
        let name = self.request.name;
        let prepared = self
            .prepare(account, record.account_made, Missing::Now)?
            .ok_or_else(|| Refused::new(format!("the home of user '{name}' is gone")))?;
        let path = prepared.file.path();
        for dir in prepared.made {
            if !record.directories_made.contains(&dir) {
                record.directories_made.push(dir);
            }
        }
        if !prepared.file.is_there() && !record.files_made.contains(&path) {
            record.files_made.push(path.clone());
        }
        let key = self.request.key;
        record
            .keys
            .retain(|kept| kept.base64 != key.base64 || kept.file != path);
        record.keys.push(Kept {
            file: path.clone(),
            kind: key.kind.clone(),
            base64: key.base64.clone(),
            comment: key.comment.clone(),
            expires: self.expires,
        });
        store.save(name, record)?;
        if prepared.change != Change::Unchanged {
            let (owner, _, mode) = owner(account, record.account_made, &path);
            prepared.file.replace(&prepared.text, owner, mode)?;
        }
        Ok((path, prepared.change))
    }
}

fn opens_more(path: &Path, line: usize) -> Refused {
    Refused::new(format!(
        "the key stands in '{}', line {line}, with other options than remit's",
        path.display()
    ))
    .lift("remove that line, or give the agent another key")
}
