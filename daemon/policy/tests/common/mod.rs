//! What the tests of this crate share: accounts, sources, a loaded policy.

use remit_policy::{Diagnostic, Ids, MachineTable, Policy, Source, load};

/// Accounts of an invented machine, with those that try to confuse.
pub fn accounts() -> MachineTable {
    let table = |entries: &[(&str, u32)]| -> std::collections::BTreeMap<String, u32> {
        entries
            .iter()
            .map(|(name, id)| ((*name).to_owned(), *id))
            .collect()
    };
    let users = table(&[
        ("root", 0),
        ("deploy", 64001),
        ("mallory", 64003),
        ("64001", 64010),
        ("../../x", 64011),
        ("a b%c", 64012),
        ("nobody", 65534),
        ("far", 4_294_967_294),
    ]);
    MachineTable {
        users: users
            .into_iter()
            .map(|(name, id): (String, u32)| (name, Ids { uid: id, gid: id }))
            .collect(),
        groups: table(&[
            ("root", 0),
            ("remit", 900),
            ("ops", 901),
            ("deploy", 902),
            ("nogroup", 65534),
        ]),
        ..MachineTable::default()
    }
}

pub fn source(name: &str, text: impl AsRef<[u8]>) -> Source {
    Source {
        name: name.to_owned(),
        text: text.as_ref().to_vec(),
    }
}

/// A policy of one file that must load.
#[allow(dead_code, reason = "not every test file needs it")]
pub fn policy(text: &str) -> (Policy, Vec<Diagnostic>) {
    match load(&[source("a.toml", text)], &accounts()) {
        Ok(loaded) => loaded,
        Err(found) => panic!("{}", lines(&found)),
    }
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn lines(found: &[Diagnostic]) -> String {
    found.iter().map(|one| format!("{one}\n")).collect()
}
