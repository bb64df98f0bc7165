//! Machines in TOML files, laid out beneath temporary directories with real owners, and read by the real reader.

#![allow(dead_code)]

pub mod change;
pub mod described;
pub mod laid;

use std::fs;
use std::path::Path;

use described::Described;
pub use laid::Laid;

/// All machines of `tests/machines` with their names.
pub fn machines() -> Vec<(String, Described)> {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let only = std::env::var("REMIT_PROVE_MACHINE").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir(machines)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.to_string_lossy().contains(&only))
        .collect();
    files.sort();
    let machines = files.iter().map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let described = Described::parse(&name, &fs::read_to_string(file).unwrap());
        (name, described)
    });
    let machines: Vec<_> = machines.collect();
    assert!(!machines.is_empty());
    machines
}
