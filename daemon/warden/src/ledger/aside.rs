//! Damaged files are kept for whoever wants to look: `open.damaged-1`, `grants.damaged-1` and so on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many are kept; the newest.
const KEPT: u64 = 4;

/// What is damaged, and where it is now.
#[derive(Debug)]
pub struct Damage {
    /// In words.
    pub what: String,
    /// The file it is in, or why it could not be put there.
    pub aside: Result<PathBuf, String>,
}

impl Damage {
    /// What is damaged, and what became of the file.
    pub fn told(&self) -> String {
        let what = &self.what;
        match &self.aside {
            Ok(path) => format!("{what}; it is kept as '{}'", path.display()),
            Err(why) => format!("{what}; it cannot be set aside: {why}"),
        }
    }
}

/// Puts a whole file aside that cannot be used.
///
/// # Errors
/// It cannot be renamed.
pub fn renamed(path: &Path, why: String) -> io::Result<Damage> {
    let aside = next(path)?;
    fs::rename(path, &aside)?;
    Ok(Damage {
        what: why,
        aside: Ok(aside),
    })
}

/// Keeps a copy of a file of which `count` entries are damaged; the others stay in use.
pub fn copied(path: &Path, count: usize) -> Damage {
    let copy = |aside: &PathBuf| {
        let copied = fs::copy(path, aside);
        if copied.is_err() {
            // Part of a copy is none.
            let _ = fs::remove_file(aside);
        }
        copied
    };
    let aside = next(path).and_then(|aside| copy(&aside).map(|_| aside));
    let entries = if count == 1 {
        "entry is"
    } else {
        "entries are"
    };
    Damage {
        what: format!("{count} {entries} damaged"),
        aside: aside.map_err(|error| error.to_string()),
    }
}

/// The next free name; those that are too old for it are removed.
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
