//! `Defaults` of sudoers(5) that give rights.

use super::variables::is_code;
use crate::look::Look;

#[derive(Debug, Default)]
pub struct Defaults {
    /// `!authenticate`.
    pub is_free: bool,
    /// `setenv`, `!env_reset`, or a variable of the loader that is kept.
    pub keeps_variables: bool,
}

impl Defaults {
    pub fn read(&mut self, look: &mut Look<'_>, line: &[u8]) {
        let has = |part: &str| {
            line.windows(part.len())
                .any(|found| found == part.as_bytes())
        };
        self.is_free |= has("!authenticate");
        exempt(look, line);
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let mut names = line.split(|byte| !is_of_name(byte));
        let is_code = names.any(|name| std::str::from_utf8(name).is_ok_and(is_code));
        self.keeps_variables |= (is_code || has("!env_reset")) && !has("env_delete");
        self.keeps_variables |= has(" setenv") || has("\tsetenv");
    }
}

/// Members of the group of `exempt_group` need no password.
fn exempt(look: &mut Look<'_>, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let Some((before, rest)) = text.split_once("exempt_group") else {
        return;
    };
    let name = rest.trim_start().strip_prefix('=').unwrap_or_default();
    let name = name.trim_start().trim_start_matches('"');
    let name = name.split(['"', ',', ' ', '\t']).next().unwrap_or_default();
    let accounts = &look.facts.accounts;
    if let Some(gid) = accounts.gid(name).filter(|_| !before.ends_with('!')) {
        let users = accounts.users.iter();
        let members = users.filter(|(name, _)| accounts.gids(name).contains(&gid));
        let members: Vec<u32> = members.map(|(_, user)| user.uid).collect();
        look.facts.without_password.extend(members);
    }
}
