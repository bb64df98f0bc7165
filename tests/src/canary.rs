//! Searches files for a text that must not be there.

use std::fs;
use std::path::Path;

/// Returns a file below `dir` that contains `text`. Skips directories named in `but`.
#[must_use]
pub fn holder(dir: &Path, text: &[u8], but: &[&str]) -> Option<String> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            let is_spared = but.iter().any(|name| path.ends_with(name));
            if let Some(found) = (!is_spared).then(|| holder(&path, text, but)).flatten() {
                return Some(found);
            }
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|part| part == text) {
                return Some(path.display().to_string());
            }
        }
    }
    None
}
