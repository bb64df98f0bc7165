//! What each account has this program look at. The texts of an account take none of what is looked for of root.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::Machine;
use crate::path::FilePath;

/// Of one account that is not root: parts of paths, names in directories and pieces of files.
const PARTS: usize = 100_000;
/// Bytes of a piece.
const PIECE: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    payer: Cell<u32>,
    parts: RefCell<BTreeMap<u32, usize>>,
}

impl Machine {
    /// Has this account pay for what is looked at from now on. Returns who paid before.
    pub fn pay_as(&self, uid: u32) -> u32 {
        self.ledger.payer.replace(uid)
    }

    pub(super) fn pay(&self, parts: usize) {
        let payer = self.ledger.payer.get();
        // What is looked at for root has the bounds of the look alone.
        if payer != 0 {
            let mut all = self.ledger.parts.borrow_mut();
            let own = all.entry(payer).or_default();
            *own = own.saturating_add(parts);
        }
    }

    pub(super) fn pay_bytes(&self, bytes: usize) {
        self.pay(bytes.div_ceil(PIECE));
    }

    /// Returns true, and notes it, if no more is looked at for the account that pays.
    pub fn is_spent(&self) -> bool {
        let payer = self.ledger.payer.get();
        if payer == 0 {
            return false;
        }
        let own = self.ledger.parts.borrow().get(&payer).copied();
        let is_spent = own.is_some_and(|own| own > PARTS);
        if is_spent {
            self.left_out(format!(
                "more than {PARTS} parts of paths and files were looked at for uid {payer}"
            ));
        }
        is_spent
    }

    /// Notes a bound of what is looked for of all, or of one account.
    pub(crate) fn left_out(&self, why: String) {
        let (root, why) = (
            FilePath::root(),
            format!("{why}: the rest of them is left out"),
        );
        self.over(&root, &why);
        self.unknown(&root, why);
    }
}
