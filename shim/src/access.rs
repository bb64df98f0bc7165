//! The answer to `access`, short enough to open a session with: named commands by family, and only what was asked for.

use std::collections::BTreeMap;

use remit_wire::{AccessReport, CommandView, Effect, GrantView};
use schemars::JsonSchema;
use serde::Serialize;

/// Names that one grant lists. Its commands are listed by family.
const ALLOW: usize = 6;

/// What the caller may do, as much of it as fits.
#[derive(Serialize, JsonSchema)]
pub struct AccessAnswer {
    user: String,
    uid: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<Grant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Permission>,
    /// A sentence for each profile in the grants.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    profiles: BTreeMap<String, String>,
    /// Named commands for `run`, by family: `cpu.{load,now}` is cpu.load and cpu.now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    run: Vec<String>,
    /// Named commands for `change`, by family.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    change: Vec<String>,
    /// The commands found, or the one asked for, with their arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<Command>,
    /// Commands left out for their number.
    #[serde(skip_serializing_if = "is_zero")]
    more_commands: u32,
    /// Grants left out for their length.
    #[serde(skip_serializing_if = "is_zero")]
    more_grants: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct Grant {
    rule: String,
    allow: Vec<String>,
    profile: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Permission {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lift: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Command {
    usage: String,
    summary: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    effect: Effect,
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What may I do?
    All,
    /// Which commands have these words?
    Query,
    /// May I run this program or command?
    One,
}

/// Returns the answer with its first `count` grants and commands, grants before commands: these can be searched for.
pub fn answer(report: &AccessReport, question: Question, count: usize) -> AccessAnswer {
    let grants = match question {
        Question::All => &report.grants[..],
        Question::Query | Question::One => &[],
    };
    let shown_grants = grants.get(..count).unwrap_or(grants);
    let left = count.saturating_sub(grants.len());
    // A single command is the one that the caller asked about by name.
    let commands = match question {
        Question::One if report.commands.len() > 1 => &[],
        _ => &report.commands[..],
    };
    let shown_commands = commands.get(..left).unwrap_or(commands);
    let is_open = question == Question::All;
    let of = |effect| match is_open {
        true => families(shown_commands.iter().filter(|one| one.effect == effect)),
        false => Vec::new(),
    };
    let listed = if is_open { &[] } else { shown_commands };
    let profiles = report.profiles.iter().filter(|_| is_open);
    AccessAnswer {
        user: report.user.clone(),
        uid: report.uid,
        grants: shown_grants.iter().map(Grant::from).collect(),
        asked: report.asked.as_ref().map(Permission::from),
        profiles: profiles
            .map(|profile| (profile.name.clone(), profile.summary.clone()))
            .collect(),
        run: of(Effect::Read),
        change: of(Effect::Change),
        commands: listed.iter().map(Command::from).collect(),
        more_commands: report
            .more_commands
            .saturating_add(number(commands.len() - shown_commands.len())),
        more_grants: report
            .more_grants
            .saturating_add(number(grants.len() - shown_grants.len())),
        note: note(report, question),
    }
}

fn note(report: &AccessReport, question: Question) -> Option<&'static str> {
    match question {
        Question::Query if report.commands.is_empty() => Some(
            "no command that you may use has one of these words: access without arguments lists all",
        ),
        Question::All if report.grants.is_empty() => Some("nothing is granted to you here"),
        _ => None,
    }
}

/// Names by the part before their first dot, in the order of the first of each family.
fn families<'a>(commands: impl Iterator<Item = &'a CommandView>) -> Vec<String> {
    let mut families: Vec<(&str, Vec<&str>)> = Vec::new();
    for command in commands {
        let name = command.name();
        let (family, word) = name.split_once('.').unwrap_or((name, ""));
        match families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, words)) => words.push(word),
            None => families.push((family, vec![word])),
        }
    }
    let line = |(family, words): (&str, Vec<&str>)| match words.as_slice() {
        [""] => family.to_owned(),
        [word] => format!("{family}.{word}"),
        words if words.contains(&"") => {
            let dotted: Vec<String> = words
                .iter()
                .filter(|word| !word.is_empty())
                .map(|word| format!(".{word}"))
                .collect();
            format!("{family}{{,{}}}", dotted.join(","))
        }
        words => format!("{family}.{{{}}}", words.join(",")),
    };
    families.into_iter().map(line).collect()
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl From<&GrantView> for Grant {
    fn from(grant: &GrantView) -> Self {
        let mut allow: Vec<String> = grant.allow.iter().take(ALLOW).cloned().collect();
        if grant.allow.len() > ALLOW {
            allow.push(format!("{} more", grant.allow.len() - ALLOW));
        }
        Self {
            rule: grant.rule.clone(),
            allow,
            profile: grant.profile.clone(),
            env: grant.env.clone(),
            approval: grant.approval.clone(),
            left: grant.left.clone(),
        }
    }
}

impl From<&remit_wire::Asked> for Permission {
    fn from(asked: &remit_wire::Asked) -> Self {
        Self {
            allowed: asked.allowed,
            rule: asked.rule.clone(),
            why: asked.why.clone(),
            lift: asked.lift.clone(),
            approval: asked.approval.clone(),
        }
    }
}

impl From<&CommandView> for Command {
    fn from(command: &CommandView) -> Self {
        Self {
            usage: command.usage.clone(),
            summary: command.summary.clone(),
            args: command.args.clone(),
            effect: command.effect,
            profile: command.profile.clone(),
            approval: command.approval.clone(),
        }
    }
}
