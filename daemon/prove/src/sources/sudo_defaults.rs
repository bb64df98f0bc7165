//! `Defaults` of sudoers(5) that give rights.

use std::collections::BTreeSet;

use super::shell::base_name;
use super::sudo::split;
use super::sudo_commands::fits;
use super::sudo_lists::{AliasKind, Lists};
use super::variables;
use crate::facts::SudoCommand;
use crate::look::Look;

/// One line of settings.
#[derive(Debug, Default)]
struct Line {
    /// For users (`Defaults:ann`) or commands (`Defaults!/bin/x`) alone.
    users: Option<Vec<Vec<u8>>>,
    commands: Option<Vec<Vec<u8>>>,
    is_free: bool,
    keeps_variables: bool,
}

#[derive(Debug, Default)]
pub struct Defaults(Vec<Line>);

/// What settings give to a permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultRights {
    /// `!authenticate`.
    pub is_free: bool,
    /// `setenv`, `!env_reset`, or a variable of the loader that is kept.
    pub keeps_variables: bool,
}

impl Defaults {
    /// Settings for a host or for whom commands are run as count for all.
    pub fn read(&mut self, look: &mut Look<'_>, line: &[u8]) {
        exempt(look, line);
        let rest = line.strip_prefix(b"Defaults").unwrap_or_default();
        let (scope, settings) = match rest.first() {
            Some(b':' | b'!' | b'>' | b'@') => scope(rest.get(1..).unwrap_or_default()),
            _ => (&[][..], rest),
        };
        let names = || split(scope, b',');
        let mut found = Line {
            users: (rest.first() == Some(&b':')).then(names),
            commands: (rest.first() == Some(&b'!')).then(names),
            ..Line::default()
        };
        for setting in split(settings, b',') {
            let is_sign = |byte: &&u8| b"! \t".contains(byte);
            let signs = setting.iter().take_while(is_sign).count();
            let (signs, setting) = setting.split_at(signs);
            let is_off = signs.iter().filter(|byte| **byte == b'!').count() % 2 == 1;
            let end = setting.iter().position(|byte| b" \t+-=".contains(byte));
            let (name, value) = setting.split_at(end.unwrap_or(setting.len()));
            match (name, is_off) {
                (b"authenticate", true) => found.is_free = true,
                (b"setenv", false) | (b"env_reset", true) => found.keeps_variables = true,
                (b"env_keep" | b"env_check", false) => found.keeps_variables |= keeps_code(value),
                _ => {}
            }
        }
        if found.is_free || found.keeps_variables {
            self.0.push(found);
        }
    }

    /// Returns what they give to these accounts for this command.
    pub fn of(
        &self,
        look: &Look<'_>,
        lists: &mut Lists<'_>,
        accounts: &BTreeSet<u32>,
        command: &SudoCommand,
    ) -> DefaultRights {
        let mut rights = DefaultRights::default();
        for line in &self.0 {
            let is_of_users = line.users.as_ref().is_none_or(|users| {
                let users = lists.accounts(look, AliasKind::User, users, 0);
                !users.is_disjoint(accounts)
            });
            let is_of_command = match (&line.commands, command) {
                (Some(commands), SudoCommand::Program { path, .. }) => {
                    let expanded: Vec<_> = commands
                        .iter()
                        .flat_map(|one| lists.expand(look, one))
                        .collect();
                    let mut all = expanded.iter();
                    // sudo compares files, which links give several paths, but one base name. Of a pattern or a directory it is
                    // not known here which programs it fits.
                    let name = base_name(path.as_bytes());
                    all.any(|one| base_name(one) == name || !is_plain(one))
                }
                _ => true,
            };
            if is_of_users && is_of_command {
                rights.is_free |= line.is_free;
                rights.keeps_variables |= line.keeps_variables;
            }
        }
        rights
    }
}

/// Returns true if a variable that makes code of its value is kept by `= "NAME NAME=VALUE NA*"`.
fn keeps_code(value: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"\"'".contains(byte);
    let list = value.strip_prefix(b"+").unwrap_or(value);
    let list = list.strip_prefix(b"=").unwrap_or(list);
    let mut names = list.split(is_between).filter_map(|one| {
        let name = one.split(|byte| *byte == b'=').next()?;
        (!name.is_empty()).then_some(name)
    });
    !value.starts_with(b"-") && names.any(|name| variables::code_names().any(|own| fits(name, own)))
}

fn is_plain(command: &[u8]) -> bool {
    command.starts_with(b"/")
        && !command.ends_with(b"/")
        && !command.iter().any(|byte| b"*?[\\ ".contains(byte))
}

/// The list behind the sign, and the settings behind it: blanks around its commas are a part of it.
fn scope(text: &[u8]) -> (&[u8], &[u8]) {
    let mut last = b',';
    let end = text.iter().enumerate().position(|(at, byte)| {
        let next = text
            .get(at..)
            .unwrap_or_default()
            .trim_ascii_start()
            .first();
        let is_end = byte.is_ascii_whitespace() && last != b',' && next != Some(&b',');
        if !byte.is_ascii_whitespace() {
            last = *byte;
        }
        is_end
    });
    text.split_at(end.unwrap_or(text.len()))
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
        let members = accounts.members(gid).map(|(_, uid)| uid);
        look.facts.without_password.extend(members);
    }
}
