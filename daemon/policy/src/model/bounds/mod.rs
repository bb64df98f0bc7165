//! Bounds of the lists and texts of a policy that come from another process. Some are above what files can hold.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use remit_common::caps;

use crate::model::approval::Approval;
use crate::model::command::{Command, ParamKind, Word};
use crate::model::glob::Glob;
use crate::model::profile::{Network, Profile, User};
use crate::model::rule::{DenyRule, GrantRule, Grantees, RuleId};
use crate::model::scope::Scope;

pub const SUMMARY: usize = 256;
/// Words of an enum, and values of an argument of a rule.
pub const VALUES: usize = 256;
/// Elements of `argv` and of each group in it, and bytes of one.
pub const ELEMENTS: usize = 256;
pub const ELEMENT: usize = 4096;
pub const ADDRESSES: usize = 16;
/// Entries of any other list: each has two quotes and a comma in its file.
pub const ENTRIES: usize = caps::POLICY_FILE / 3;
/// Bytes of any other text of a file.
pub const TEXT: usize = caps::POLICY_FILE;
/// Bytes of a command printed with its profile, which may be of another file and with escapes.
pub const DEFINITION: usize = 16 << 20;
/// Members of the groups of a denial, by the user database.
pub const MEMBERS: usize = 1 << 20;

pub type Checked = Result<(), String>;

fn few(what: &str, count: usize, most: usize) -> Checked {
    match count <= most {
        true => Ok(()),
        false => Err(format!("has {count} {what}, over {most}")),
    }
}

fn short<'a>(
    what: &str,
    most: usize,
    mut texts: impl Iterator<Item = &'a (impl AsRef<str> + 'a)>,
) -> Checked {
    match texts.all(|text| text.as_ref().len() <= most) {
        true => Ok(()),
        false => Err(format!("has a {what} of over {most} bytes")),
    }
}

fn one(what: &str, most: usize, text: &str) -> Checked {
    short(what, most, [text].iter())
}

fn environment(env: &BTreeMap<String, String>) -> Checked {
    few("variables", env.len(), caps::ENV_COUNT)?;
    short(
        "variable",
        caps::ENV_ELEMENT,
        env.keys().chain(env.values()),
    )
}

fn globs(globs: &[Glob]) -> Checked {
    few("patterns", globs.len(), ENTRIES)?;
    let texts: Vec<&str> = globs.iter().map(Glob::as_str).collect();
    short("pattern", TEXT, texts.iter())
}

fn rule_id(id: &RuleId) -> Checked {
    one("file", caps::PATH, &id.file)?;
    short("name", caps::NAME, id.name.iter())
}

fn grantees(listed: &Grantees) -> Checked {
    few("ids", listed.ids.len(), ENTRIES)?;
    few("names", listed.words.len(), ENTRIES)?;
    few("members", listed.members.len(), MEMBERS)?;
    short(
        "name of a user",
        TEXT,
        listed.words.iter().chain(listed.ids.values()),
    )
}

fn scope(scope: &Scope) -> Checked {
    few("arguments", scope.args().count(), caps::NAMED_ARGS)?;
    scope.args().try_for_each(|(name, values)| {
        one("name of an argument", caps::NAME, name)?;
        few("values of an argument", values.len(), VALUES)?;
        globs(values)
    })
}

pub(crate) fn grant(rule: &GrantRule) -> Checked {
    rule_id(&rule.id)?;
    grantees(&rule.to)?;
    globs(&rule.allow)?;
    scope(&rule.scope)?;
    few("variables", rule.env.len(), ENTRIES)?;
    short("variable", TEXT, rule.env.iter())?;
    few("paths", rule.paths.len(), caps::PROFILE_PATHS)?;
    few("commands that follow", rule.acts.len(), ENTRIES)?;
    short("command", caps::NAME, rule.acts.iter())?;
    let mut lists = rule.approval.iter().flat_map(Approval::lists);
    lists.try_for_each(grantees)
}

pub(crate) fn denial(rule: &DenyRule) -> Checked {
    rule_id(&rule.id)?;
    grantees(&rule.to)?;
    globs(&rule.deny)?;
    scope(&rule.scope)
}

pub(crate) fn profile(profile: &Profile) -> Checked {
    one("name", caps::NAME, &profile.name)?;
    one("summary", SUMMARY, &profile.summary)?;
    if let User::Fixed { name, .. } = &profile.user {
        one("name of a user", TEXT, name)?;
    }
    few("groups", profile.groups.len(), ENTRIES)?;
    few("directories", profile.scratch.len(), caps::PROFILE_PATHS)?;
    let lists = [
        &profile.read,
        &profile.write,
        &profile.exec,
        &profile.devices,
        &profile.sockets,
    ];
    let paths = lists.into_iter().flatten().map(|listed| &listed.path);
    short("path", TEXT, paths.chain(&profile.scratch))?;
    if let Network::Connect(to) = &profile.network {
        short("host", TEXT, to.iter().map(|one| &one.host))?;
        let most = to.iter().map(|one| one.addresses.len()).max();
        few("addresses of a host", most.unwrap_or_default(), ADDRESSES)?;
    }
    environment(&profile.env)
}

pub(crate) fn command(command: &Command) -> Checked {
    rule_id(&command.id)?;
    one("name", caps::NAME, &command.name)?;
    one("summary", SUMMARY, &command.summary)?;
    one("directory", TEXT, &command.cwd)?;
    one("definition", DEFINITION, &command.definition)?;
    environment(&command.env)?;
    few("elements", command.argv.len(), ELEMENTS)?;
    for part in &command.argv {
        let words = part.words();
        few("elements of a group", words.len(), ELEMENTS)?;
        let texts = words.iter().filter_map(|word| match word {
            Word::Literal(text) | Word::Attached(text, _) => Some(text),
            Word::Value(_) => None,
        });
        short("element", ELEMENT, texts)?;
    }
    for param in &command.params {
        one("name of an argument", caps::NAME, &param.name)?;
        one("summary", SUMMARY, &param.summary)?;
        few("values of an argument", param.most, caps::NAMED_ARGS)?;
        match &param.kind {
            ParamKind::Enum(words) => {
                few("words of an argument", words.len(), VALUES)?;
                short("word", caps::NAMED_VALUE, words.iter())?;
            }
            ParamKind::Text { max, .. } | ParamKind::Secret { max } => {
                few("bytes of a value", *max, caps::NAMED_VALUE)?;
            }
            ParamKind::Flag(text) | ParamKind::Path { under: text, .. } => {
                one("text", TEXT, text)?;
            }
            ParamKind::Int { .. }
            | ParamKind::Unit { .. }
            | ParamKind::User
            | ParamKind::Package => {}
        }
    }
    Ok(())
}
