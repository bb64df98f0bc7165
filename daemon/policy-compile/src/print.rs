//! Prints a policy as one file, in one form and order. Loading it makes the same policy, but for positions of rules.

use std::collections::BTreeMap;
use std::fmt::Write;

use remit_common::text::is_plain;

use crate::load::destination;
use crate::load::limits;
use crate::load::template;
use remit_plan::PlanPath;
use remit_policy::model::accepted::AcceptedPath;
use remit_policy::model::approval::{Approval, Count};
use remit_policy::model::capabilities;
use remit_policy::model::command::{Command, Param, ParamKind, Part, PassAs, PathIs, Stdin};
use remit_policy::model::policy::Policy;
use remit_policy::model::profile::{Base, Eyes, Listed, Network, Profile, User};
use remit_policy::model::rule::{DenyRule, GrantRule};
use remit_policy::model::scope::Scope;

/// Returns the policy as the text of one file. Examples and tests are left out: they are only checks of a load.
pub fn print(policy: &Policy) -> String {
    let built_in = ["read", "strict", "host"];
    let profiles = policy
        .profiles()
        .filter(|one| !built_in.contains(&one.name.as_str()));
    let profiles = profiles.map(|one| (profile_header(&one.name), profile_lines(one)));
    let header = |header: &str| header.to_owned();
    let commands = policy
        .commands()
        .map(|one| (header("[[command]]"), command_lines(one)));
    let grants = policy
        .grants
        .iter()
        .map(|one| (header("[[grant]]"), grant(one)));
    let denies = policy
        .denies
        .iter()
        .map(|one| (header("[[deny]]"), deny(one)));
    let accepts = policy
        .accepts
        .iter()
        .map(|one| (header("[[accept]]"), accept(one)));
    let rules = grants.chain(denies).chain(accepts);
    let tables = profiles.chain(commands).chain(rules);
    let tables = tables.map(|(header, lines)| format!("{header}\n{}\n", lines.join("\n")));
    tables.collect::<Vec<_>>().join("\n")
}

/// Returns a command, its profile and the ids of the profile's user as text. A change ends the command's temporary grants.
pub(crate) fn definition(command: &Command) -> String {
    let user = match command.profile.user {
        User::Fixed { uid, gid, .. } => format!("{uid}:{gid}"),
        User::Own => String::new(),
    };
    let lines = [
        command_lines(command),
        profile_lines(&command.profile),
        vec![user],
    ];
    lines.concat().join("\n")
}

#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn raw(&mut self, key: &str, value: &str) {
        self.0.push(format!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &quote(value));
    }

    fn some(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        if !values.is_empty() {
            self.raw(key, &list(values));
        }
    }

    fn yes(&mut self, key: &str, value: bool) {
        if value {
            self.raw(key, "true");
        }
    }

    fn variables(&mut self, env: &BTreeMap<String, String>) {
        if !env.is_empty() {
            let items: Vec<String> = env
                .iter()
                .map(|(name, value)| format!("{name} = {}", quote(value)))
                .collect();
            self.raw("env", &format!("{{ {} }}", items.join(", ")));
        }
    }

    fn limits(&mut self, bounds: &remit_policy::model::profile::ProfileLimits) {
        self.0.extend(limits::print(bounds));
    }
}

fn list(values: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = values
        .into_iter()
        .map(|value| quote(value.as_ref()))
        .collect();
    format!("[{}]", quoted.join(", "))
}

/// Quotes a basic string of TOML in which nothing is hidden.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if is_plain(char) => out.push(char),
            _ => {
                let _ = write!(out, "\\U{:08X}", u32::from(char));
            }
        }
    }
    out.push('"');
    out
}

fn profile_header(name: &str) -> String {
    match name.contains('.') {
        true => format!("[profile.{}]", quote(name)),
        false => format!("[profile.{name}]"),
    }
}

pub(crate) fn profile_lines(profile: &Profile) -> Vec<String> {
    let mut table = Table::default();
    table.text("summary", &profile.summary);
    table.text("base", profile.base.name());
    if let User::Fixed { name, .. } = &profile.user {
        table.text("user", name);
    }
    table.some("groups", profile.groups.iter().map(|gid| format!("#{gid}")));
    table.some("capabilities", capabilities::names(profile.capabilities));
    let paths = |listed: &[Listed]| -> Vec<String> {
        let hyphen = |optional| if optional { "-" } else { "" };
        let written = |one: &Listed| format!("{}{}", hyphen(one.optional), one.path);
        listed.iter().map(written).collect()
    };
    table.some("read", paths(&profile.read));
    table.some("write", paths(&profile.write));
    table.some("exec", paths(&profile.exec));
    table.some("scratch", profile.scratch.iter().cloned());
    table.some("devices", paths(&profile.devices));
    table.some("sockets", paths(&profile.sockets));
    table.yes("write_and_exec", profile.write_and_exec);
    table.yes("leads_to_root", profile.leads_to_root);
    match &profile.network {
        Network::None => {}
        Network::Loopback => table.text("network", "loopback"),
        Network::ThisHost => table.text("network", "this-host"),
        Network::Host if profile.base == Base::Host => {}
        Network::Host => table.text("network", "host"),
        Network::Connect(to) => table.raw("network", &list(to.iter().map(destination::print))),
        Network::Names(names) => {
            let names = names.iter().map(|(host, port)| format!("{host}:{port}"));
            table.raw("network", &list(names));
        }
    }
    if let Some(space) = profile.space {
        table.raw("space", &limits::print_bytes(space));
    }
    if profile.eyes == Eyes::Root {
        table.text("eyes", "root");
    }
    if let Some(inspect) = profile.inspect {
        table.text("inspect", inspect.name());
    }
    table.variables(&profile.env);
    table.limits(&profile.limits);
    table.0
}

pub(crate) fn command_lines(command: &Command) -> Vec<String> {
    let mut table = Table::default();
    table.text("name", &command.name);
    table.text("summary", &command.summary);
    let part = |part: &Part| {
        let mut words = part
            .words()
            .iter()
            .map(|word| template::print(word, &command.params));
        match part {
            Part::Word(_) => quote(&words.next().unwrap_or_default()),
            Part::Group(_) => list(words),
        }
    };
    let argv: Vec<String> = command.argv.iter().map(part).collect();
    table.raw("argv", &format!("[{}]", argv.join(", ")));
    table.text("effect", command.effect.name());
    table.text("profile", &command.profile.name);
    if command.cwd != "/" {
        table.text("cwd", &command.cwd);
    }
    match command.stdin {
        Stdin::None => {}
        Stdin::Caller => table.text("stdin", "caller"),
        Stdin::Plan => table.text("stdin", "plan"),
        Stdin::Secret(at) => {
            let name = command
                .params
                .get(at)
                .map_or("", |param| param.name.as_str());
            table.text("stdin", &format!("{{{name}}}"));
        }
    }
    table.variables(&command.env);
    table.limits(&command.limits);
    for one in &command.params {
        table.raw(&format!("args.{}", one.name), &param(one));
    }
    table.0
}

fn param(param: &Param) -> String {
    let mut items = kind(&param.kind);
    if !param.summary.is_empty() {
        items.push(format!("summary = {}", quote(&param.summary)));
    }
    if param.optional {
        items.push("optional = true".into());
    }
    if let Some(default) = &param.default {
        items.push(format!("default = {}", quote(default)));
    }
    if param.most > 1 {
        items.push(format!("repeat = {}", param.most));
    }
    format!("{{ {} }}", items.join(", "))
}

fn kind(kind: &ParamKind) -> Vec<String> {
    let one = |name: &str| vec![format!("type = {}", quote(name))];
    match kind {
        ParamKind::Text { pattern, max, dash } => {
            let mut items = one("string");
            items.push(format!("pattern = {}", quote(pattern.as_str())));
            items.push(format!("max = {max}"));
            if *dash {
                items.push("dash = true".into());
            }
            items
        }
        ParamKind::Int { min, max } => {
            let bounds = [format!("min = {min}"), format!("max = {max}")];
            one("int").into_iter().chain(bounds).collect()
        }
        ParamKind::Enum(values) => {
            let values = format!("values = {}", list(values));
            one("enum").into_iter().chain([values]).collect()
        }
        ParamKind::Flag(word) => {
            let word = format!("flag = {}", quote(word));
            one("bool").into_iter().chain([word]).collect()
        }
        ParamKind::Unit { instances } => {
            let mut items = one("unit");
            if *instances {
                items.push("instances = true".into());
            }
            items
        }
        ParamKind::User => one("user"),
        ParamKind::Package => one("package"),
        ParamKind::Path { under, is, pass } => {
            let is = match is {
                PathIs::File => "file",
                PathIs::Directory => "directory",
                PathIs::Either => "either",
            };
            let pass = match pass {
                PassAs::Path => "path",
                PassAs::Descriptor => "descriptor",
            };
            let keys = [("under", under.as_str()), ("is", is), ("pass", pass)];
            let keys = keys.map(|(key, value)| format!("{key} = {}", quote(value)));
            one("path").into_iter().chain(keys).collect()
        }
        ParamKind::Secret { max } => {
            let max = format!("max = {max}");
            one("secret").into_iter().chain([max]).collect()
        }
    }
}

fn grant(rule: &GrantRule) -> Vec<String> {
    let mut table = Table::default();
    if let Some(name) = &rule.id.name {
        table.text("name", name);
    }
    table.raw("to", &list(&rule.to.words));
    table.raw("allow", &list(rule.allow.iter().map(|glob| glob.as_str())));
    if let Some(effect) = rule.effect {
        table.text("effect", effect.name());
    }
    scope(&mut table, &rule.scope);
    if rule.profile.name != "read" {
        table.text("run_profile", &rule.profile.name);
    }
    table.some("env", rule.env.iter().cloned());
    if let Some(approval) = &rule.approval {
        table.raw("approval", &self::approval(approval));
    }
    table.yes("unconfined", rule.unconfined);
    let path = |path: &PlanPath| String::from_utf8_lossy(path.as_bytes()).into_owned();
    table.some("paths", rule.paths.iter().map(path));
    if let Some(seconds) = rule.confirm_s {
        table.text("confirm", &limits::print_seconds(seconds));
    }
    table.some("acts", rule.acts.iter().cloned());
    table.0
}

fn approval(approval: &Approval) -> String {
    let expires = limits::print_seconds(approval.expires_s());
    let count = match approval.count() {
        Count::One => String::new(),
        count => format!("count = {}, ", count.get()),
    };
    let signed = match approval.signed() {
        None => String::new(),
        Some(signed) => format!("signed = {}, ", quote(signed.as_str())),
    };
    format!(
        "{{ by = {}, {count}{signed}expires = {} }}",
        // A rule of a file has one list.
        list(approval.words()),
        quote(&expires)
    )
}

fn deny(rule: &DenyRule) -> Vec<String> {
    let mut table = Table::default();
    if let Some(name) = &rule.id.name {
        table.text("name", name);
    }
    table.raw("to", &list(&rule.to.words));
    table.raw("deny", &list(rule.deny.iter().map(|glob| glob.as_str())));
    scope(&mut table, &rule.scope);
    table.0
}

fn accept(accepted: &AcceptedPath) -> Vec<String> {
    let mut table = Table::default();
    if let Some(name) = &accepted.id.name {
        table.text("name", name);
    }
    table.text("agent", &accepted.agent);
    table.text("reaches", &accepted.reaches);
    table.text("reason", &accepted.reason);
    table.0
}

fn scope(table: &mut Table, scope: &Scope) {
    let args = scope.args().map(|(name, globs)| {
        let globs = list(globs.iter().map(|glob| glob.as_str()));
        format!("{name} = {globs}")
    });
    let args: Vec<String> = args.collect();
    if !args.is_empty() {
        table.raw("args", &format!("{{ {} }}", args.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_hides_nothing() {
        assert_eq!(quote("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(
            quote("é\n\t\u{1b}\u{202e}\u{7f}"),
            "\"é\\n\\t\\U0000001B\\U0000202E\\U0000007F\""
        );
    }
}
