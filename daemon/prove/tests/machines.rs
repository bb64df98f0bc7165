//! Each `tests/machines/NAME.toml` describes a machine and what is expected of it. It is laid out with real owners, and
//! read by the real reader. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;

use common::Laid;

#[test]
fn each_machine_is_judged_as_described() {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let mut files: Vec<_> = fs::read_dir(machines)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let only = std::env::var("REMIT_PROVE_MACHINE").unwrap_or_default();
    let mut wrong = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.to_string_lossy().contains(&only))
    {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let laid = Laid::out(&name, &fs::read_to_string(file).unwrap());
        if let Err(why) = laid.check() {
            wrong.push(format!("{name}: {why}"));
        }
    }
    assert!(!files.is_empty());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
