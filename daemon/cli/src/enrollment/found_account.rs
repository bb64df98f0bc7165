//! Finds the account of a name and its record. Changes nothing.

use std::path::PathBuf;

use super::Request;
use super::account::{self, Account, account_refusal};
use super::arguments::Name;
use super::record::{EnrollmentRecord, Store};
use super::refused::Refused;

/// The account of a request, or where its home will be.
pub(super) struct FoundAccount {
    pub record: EnrollmentRecord,
    pub account: Option<Account>,
    pub home: Option<PathBuf>,
    /// The record of an account of that name that is gone. Its keys may be in files outside its home.
    pub void: Option<EnrollmentRecord>,
}

impl FoundAccount {
    fn there(record: EnrollmentRecord, account: Account) -> Self {
        Self {
            record,
            account: Some(account),
            home: None,
            void: None,
        }
    }
}

pub(super) fn find_account(request: &Request, store: &Store) -> Result<FoundAccount, Refused> {
    let name = request.name;
    let found = account::find(name).map_err(|e| account_refusal(e, name))?;
    let record = store.load(name)?;
    match (found, record) {
        (_, Some(record)) if record.role != request.role => Err(Refused::new(format!(
            "'{name}' is enrolled as {}: an account is an agent's or an approver's, not both",
            record.role.with_article()
        ))
        .lift(format!("choose another name; or: remit unenroll {name}"))),
        (Some(account), Some(record)) if record.is_of(&account) => match &record.group_added {
            // Unenroll removes only one group, so a second one would stay.
            Some(group) if group != request.group.as_str() => Err(Refused::new(format!(
                "{} '{name}' was enrolled in group '{group}'",
                record.role.noun()
            ))
            .lift(format!("remit unenroll {name}"))),
            _ => Ok(FoundAccount::there(record, account)),
        },
        (Some(_), Some(_)) => Err(different_account(name, store)),
        (Some(account), None) => Ok(FoundAccount::there(
            EnrollmentRecord::new(request.role, Some(account.uid)),
            account,
        )),
        (None, void) => Ok(FoundAccount {
            record: EnrollmentRecord::new(request.role, None),
            account: None,
            home: Some(
                account::new_home(name, void.is_some()).map_err(|e| account_refusal(e, name))?,
            ),
            void,
        }),
    }
}

pub(super) fn different_account(name: &Name, store: &Store) -> Refused {
    Refused::new(format!(
        "user '{name}' is not the account that was enrolled by this name"
    ))
    .lift(format!(
        "'{}' lists what was done: undo it by hand, end its grants ('remit grants') and requests ('remit pending'), \
         then remove that file",
        store.path(name).display()
    ))
}
