//! Quarantine of damaged files: `open.damaged-1`, `grants.damaged-1` and so on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const KEPT: u64 = 4;

#[derive(Debug)]
pub struct Damage {
    pub what: String,
    /// The quarantined file, or why there is none.
    pub kept_as: Result<PathBuf, String>,
}

impl Damage {
    pub fn describe(&self) -> String {
        let what = &self.what;
        match &self.kept_as {
            Ok(path) => format!("{what}; it is kept as '{}'", path.display()),
            Err(why) => format!("{what}; it cannot be moved away: {why}"),
        }
    }
}

/// Quarantines a whole file that cannot be used.
pub fn move_file(path: &Path, why: String) -> io::Result<Damage> {
    let kept_as = next(path)?;
    fs::rename(path, &kept_as)?;
    Ok(Damage {
        what: why,
        kept_as: Ok(kept_as),
    })
}

/// Keeps a copy of a file of which `count` entries are damaged; the others stay in use.
pub fn copied(path: &Path, count: usize) -> Damage {
    let copy = |kept_as: &PathBuf| {
        let copied = fs::copy(path, kept_as);
        if copied.is_err() {
            // Part of a copy is useless.
            let _ = fs::remove_file(kept_as);
        }
        copied
    };
    let kept_as = next(path).and_then(|kept_as| copy(&kept_as).map(|_| kept_as));
    let entries = if count == 1 {
        "entry is"
    } else {
        "entries are"
    };
    Damage {
        what: format!("{count} {entries} damaged"),
        kept_as: kept_as.map_err(|error| error.to_string()),
    }
}

/// Returns the next free name, and removes files that are too old for it.
fn next(path: &Path) -> io::Result<PathBuf> {
    let numbers = numbers(path)?;
    let next = numbers
        .iter()
        .max()
        .map_or(1, |newest| newest.saturating_add(1));
    for old in numbers
        .into_iter()
        .filter(|number| number.saturating_add(KEPT) <= next)
    {
        fs::remove_file(named(path, old))?;
    }
    Ok(named(path, next))
}

fn named(path: &Path, number: u64) -> PathBuf {
    path.with_extension(format!("damaged-{number}"))
}

fn numbers(path: &Path) -> io::Result<Vec<u64>> {
    let dir = path.parent().unwrap_or(path);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let begin = format!("{stem}.damaged-");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(&begin));
        numbers.extend(name.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}
