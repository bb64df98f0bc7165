//! Enrolls an agent or an approver: all checks first, then the record, then each step. A second run does the steps that are missing.

use std::path::{Path, PathBuf};

use super::Request;
use super::account::{self, Account, AccountError, account_refusal, group_refusal};
use super::arguments::{End, Name};
use super::around::{check_bypasses, check_not_root_key, check_own_file, login_warnings, sshd_of};
use super::found_account::{FoundAccount, find_account};
use super::record::{EnrollmentRecord, Kept, Store};
use super::refused::Refused;
use super::role::Role;
use super::undo::{end_access, remove_keys_of};
use crate::enrollment;
use crate::enrollment::authorized_keys_file::KeyFile;
use crate::enrollment::authorized_keys_line::{self, Change, Foreign};
use crate::enrollment::safe_open::{Absent, Dir, Owner, Trust, WalkError};
use crate::external_program::Program;
use crate::openssh::effective::{self, Answers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountWas {
    Made,
    There,
}

#[derive(Debug)]
pub struct Enrolled {
    pub account: AccountWas,
    pub groups: Vec<String>,
    pub file: PathBuf,
    pub change: Change,
    pub expires: Option<End>,
    pub warnings: Vec<String>,
}

/// Gives a key its access. After an error the completed steps stay recorded and are not repeated.
pub fn enroll(request: &Request) -> Result<Enrolled, Refused> {
    check_group(request.role, request.group)?;
    let store = Store::open(request.state)?;
    let name = request.name;
    let role = request.role;
    if let Some((holder, other)) = store.other_with(name, &request.key.base64)? {
        return Err(key_is_taken(role, holder, &other));
    }
    let FoundAccount {
        mut record,
        account: found,
        home,
        void,
    } = find_account(request, &store)?;
    // Only an explicit `--expires` removes or changes an expiry. The same one again is no change, also after it.
    let kept = record.end_of(&request.key.base64);
    let expires = match request.expires {
        Some(expires) => enrollment::resolve(expires, |end| kept == Some(end))?,
        None => kept,
    };
    let groups = match &found {
        Some(account) => account
            .judge(role, name, request.group)
            .map_err(|e| account_refusal(e, name))?,
        None => Vec::new(),
    };
    let key = KeyEntry {
        request,
        line: authorized_keys_line::line(role, request.key, expires),
        expires,
    };
    check_not_root_key(role, request.key)?;
    // Nothing is made if the agent could not log in afterwards.
    let (account, made) = match (&found, &home) {
        (Some(account), _) => (account.clone(), record.account_made),
        (None, home) => (
            Account::to_be(role, home.as_deref().unwrap_or(Path::new("/"))),
            true,
        ),
    };
    let sshd = Answers::read();
    key.prepare(&account, made, Missing::Later, &sshd)?;
    if found.is_none() {
        key.refuse_leftover_keys(&account, void.as_ref(), &sshd)?;
    }
    let mut warnings = check_bypasses(request, &sshd)?;
    let now = enrollment::now()?;
    if let Some(end) = expires.filter(|end| end.is_over(now)) {
        warnings.push(format!("the key has expired: its end was {end}"));
    }
    if expires.is_some() && !effective::reads_utc() {
        let text = "this machine's sshd is older than OpenSSH 9.2 and may ignore the end of a key";
        return Err(
            Refused::new(text).lift("leave '--expires' out, and run 'remit unenroll' in time")
        );
    }

    if let Some(home) = home {
        if let Some(void) = &void {
            let about = format!("an older account '{name}' was enrolled");
            end_access(request.runtime, name).map_err(|refused| refused.about(&about))?;
            remove_keys_of(void, name)?;
        }
        record.account_made = true;
        record.directories_made = vec![home.clone()];
        store.save(name, &record)?;
        account::make(role, name, &home).map_err(|e| account_refusal(e, name))?;
    }
    let account = account::find(name)
        .map_err(|e| account_refusal(e, name))?
        .ok_or_else(|| account_refusal(AccountError::NotMade(name.clone()), name))?;
    record.uid = Some(account.uid);
    store.save(name, &record)?;
    if record.account_made {
        give_home_to_root(&account)?;
    }
    // The group comes before the key, because sshd may have settings and other key files for the group.
    if !account.is_in(request.group) {
        record.group_added = Some(request.group.to_string());
        store.save(name, &record)?;
        account::join(name, request.group).map_err(|e| account_refusal(e, name))?;
    }
    let (file, change) = key
        .write(&store, &mut record, &account)
        .map_err(|refused| {
            let group = request.group;
            refused.about(&format!(
                "'{name}' is in group '{group}', but the key was not added"
            ))
        })?;
    // The reload before found no account for the rules that name it.
    if void.is_some() && end_access(request.runtime, name).is_err() {
        let text = format!("rules that name '{name}' hold only after: remit policy reload");
        warnings.push(text);
    }
    warnings.extend(login_warnings(name));
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

/// Advises nothing that would take away the access of the `other` account, which works.
fn key_is_taken(role: Role, holder: Role, other: &str) -> Refused {
    Refused::new(format!(
        "this key is that of {} '{other}': each {} needs a key of its own",
        holder.noun(),
        role.noun()
    ))
    .lift("make another key: ssh-keygen -t ed25519 -f KEYFILE")
}

fn check_group(role: Role, group: &Name) -> Result<(), Refused> {
    let program = role.program();
    if Program::find(&[program]).is_none() {
        let text = format!("there is no '{program}', the only program that the key may start");
        return Err(Refused::new(text).lift("install remit's package"));
    }
    account::gid(group.as_str())
        .and_then(|gid| gid.ok_or_else(|| AccountError::NoGroup(group.to_string())))
        .map_err(|e| group_refusal(e, group))?;
    let does_more = match role {
        Role::Agent => account::is_powerful(group),
        Role::Approver => account::root_group_reason(group.as_str()).is_some(),
    };
    match does_more {
        true => Err(Refused::new(format!(
            "members of group '{group}' may do more than {}",
            role.with_article()
        ))),
        false => Ok(()),
    }
}

fn give_home_to_root(account: &Account) -> Result<(), Refused> {
    let inside = account.home.join("authorized_keys");
    // An interrupted useradd may have made no home.
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

struct KeyEntry<'a> {
    request: &'a Request<'a>,
    line: String,
    expires: Option<End>,
}

struct Prepared {
    file: KeyFile,
    text: Vec<u8>,
    change: Change,
    made: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Now,
    Later,
}

/// Returns owner, directory mode and file mode at `path`: root's outside the home, or if remit made the account.
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

impl KeyEntry<'_> {
    fn prepare(
        &self,
        account: &Account,
        account_made: bool,
        missing: Missing,
        sshd: &Answers,
    ) -> Result<Option<Prepared>, Refused> {
        let name = self.request.name;
        let files = sshd_of(self.request.role, name, sshd)?.authorized_keys_files(
            name.as_str(),
            account.uid,
            &account.home,
        );
        let (first, others) = files.split_first().ok_or_else(|| {
            Refused::new(format!("sshd reads no file for keys of user '{name}'"))
                .lift("set AuthorizedKeysFile in '/etc/ssh/sshd_config'")
        })?;
        check_own_file(name, first, sshd)?;
        for other in others {
            self.refuse_foreign_line(account, other)?;
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
        let (text, change) =
            authorized_keys_line::put(file.text(), self.request.role, self.request.key, &self.line)
                .map_err(|Foreign(line)| opens_more(self.request.role, first, line))?;
        Ok(Some(Prepared {
            file,
            text,
            change,
            made,
        }))
    }

    /// Refuses keys of this name alone that no record has: they would open the account that is made.
    fn refuse_leftover_keys(
        &self,
        account: &Account,
        void: Option<&EnrollmentRecord>,
        sshd: &Answers,
    ) -> Result<(), Refused> {
        let name = self.request.name;
        let settings = sshd_of(self.request.role, name, sshd)?;
        let files = |name: &str| settings.authorized_keys_files(name, account.uid, &account.home);
        // A file of all users opens other accounts, too: so its keys are the administrators'.
        let of_all = files("root");
        let void = void.map_or(&[][..], |void| void.keys.as_slice());
        for path in files(name.as_str())
            .iter()
            .filter(|path| !of_all.contains(path))
        {
            let (dir, file, _) = match Dir::of(path, trust(account), Absent::Refuse) {
                Err(WalkError::Missing(_)) => continue,
                walked => walked?,
            };
            let file = KeyFile::read(dir, file, trust(account))?;
            let known = void.iter().filter(|kept| kept.file == *path);
            let known = known.map(|kept| kept.base64.as_str());
            let known: Vec<&str> = known.chain([self.request.key.base64.as_str()]).collect();
            if authorized_keys_line::has_others(file.text(), &known) {
                return Err(account_refusal(AccountError::Leftover(path.clone()), name));
            }
        }
        Ok(())
    }

    fn refuse_foreign_line(&self, account: &Account, path: &Path) -> Result<(), Refused> {
        let (dir, name, _) = match Dir::of(path, trust(account), Absent::Refuse) {
            Err(WalkError::Missing(_)) => return Ok(()),
            walked => walked?,
        };
        let file = KeyFile::read(dir, name, trust(account))?;
        let role = self.request.role;
        match authorized_keys_line::find_foreign_line(file.text(), role, self.request.key) {
            Some(line) => Err(opens_more(role, path, line)),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        store: &Store,
        record: &mut EnrollmentRecord,
        account: &Account,
    ) -> Result<(PathBuf, Change), Refused> {
        let name = self.request.name;
        // The account may be new, and has its group now.
        let sshd = Answers::read();
        let prepared = self
            .prepare(account, record.account_made, Missing::Now, &sshd)?
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

fn opens_more(role: Role, path: &Path, line: usize) -> Refused {
    Refused::new(format!(
        "the key is in '{}', line {line}, with options that remit did not set",
        path.display()
    ))
    .lift(format!(
        "remove that line, or give the {} another key",
        role.noun()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_another_agent_needs_another_key_and_not_its_end() {
        for role in [Role::Agent, Role::Approver] {
            let refused = key_is_taken(role, Role::Agent, "agent");
            assert!(refused.message.contains("agent 'agent'"), "{refused:?}");
            let lift = refused.lift.unwrap();
            assert!(
                lift.contains("ssh-keygen") && !lift.contains("unenroll"),
                "{lift}"
            );
        }
    }
}
