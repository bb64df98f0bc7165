//! Reads `remit.toml` and has it parsed. What the parser sends is checked here.

use std::path::Path;

use super::{PolicyErrors, compiler};
use crate::config::Config;

/// Reads `remit.toml` in `dir`; `id` is the uid and gid of its parser. A missing file means all defaults. May block on a
/// disk.
/// Errors: unreadable, not UTF-8, not owned by root, writable by others; not TOML, an unknown key, a value out of
/// bounds; no compiler.
pub fn load(dir: &Path, id: u32) -> Result<Config, PolicyErrors> {
    let path = dir.join("remit.toml");
    let unusable = |why: &str| format!("cannot use '{}': {why}", path.display());
    let Some(bytes) = remit_policy_files::read_trusted(&path)? else {
        return Ok(Config::default());
    };
    let text = String::from_utf8(bytes).map_err(|error| unusable(&error.to_string()))?;
    let config = compiler::settings(path.display().to_string(), text, id)?;
    config.check().map_err(|why| unusable(&why))?;
    Ok(config)
}
