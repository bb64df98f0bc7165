//! Modules that pam(8) loads into programs of root, programs that pam_exec(8) runs, and variables that pam_env(8) sets.

use std::collections::BTreeSet;

use super::execution::Execution;
use super::variables::{libraries, search_path};
use crate::facts::{Permit, Source, When};
use crate::lines::{joined, lines};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

const DIRECTORIES: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];
const ENVIRONMENT: [&str; 2] = ["/etc/environment", "/etc/security/pam_env.conf"];
const MODULES: [&str; 6] = [
    "/lib/x86_64-linux-gnu/security",
    "/usr/lib/x86_64-linux-gnu/security",
    "/lib/aarch64-linux-gnu/security",
    "/usr/lib/aarch64-linux-gnu/security",
    "/usr/lib64/security",
    "/lib/security",
];

pub fn look(look: &mut Look<'_>) {
    for path in ENVIRONMENT.map(FilePath::fixed) {
        environment(look, &path);
    }
    for directory in DIRECTORIES.map(FilePath::fixed) {
        for name in look.machine.list(&directory) {
            let Some(path) = directory.join(&name) else {
                continue;
            };
            look.obeys(
                0,
                path.clone(),
                RuleId::SystemTable,
                &When::ByItself,
                &Source::whole(&path),
            );
            let content = look.machine.read(&path).unwrap_or_default();
            let plain = lines(&content).map(without_comment);
            // A pair of backslashes takes the next line, too.
            for (number, line) in joined(plain, |_, _| true) {
                if let Some(module) = module(&line) {
                    let source = Source::line(&path, number, &line);
                    trusts(look, &name, &module, &source);
                    loads(look, module.file, &module.args, source);
                }
            }
        }
    }
}

/// Variables of each session of root, at a login and in cron: pam_env.conf(5).
fn environment(look: &mut Look<'_>, path: &FilePath) {
    let content = look.machine.read(path).unwrap_or_default();
    for (number, line) in lines(&content) {
        let is_quote = |byte: &u8| b"'\"".contains(byte);
        let text: Vec<u8> = line
            .iter()
            .copied()
            .filter(|byte| !is_quote(byte))
            .collect();
        let text = text.trim_ascii();
        let Some((name, values)) = word(text.strip_prefix(b"export ").unwrap_or(text)) else {
            continue;
        };
        let values = values.split(u8::is_ascii_whitespace).filter_map(|value| {
            let set = [&b"DEFAULT="[..], b"OVERRIDE="];
            let value = set.iter().find_map(|set| value.strip_prefix(*set))?;
            Some([name, b"=", value].concat())
        });
        let source = Source::line(path, number, line);
        for variable in std::iter::once(name.to_vec()).chain(values) {
            libraries(look, 0, &variable, &When::ByItself, &source);
            for directory in search_path(look, path, &variable, &[])
                .into_iter()
                .flatten()
            {
                if look.exists(&directory) {
                    let rule = RuleId::SearchPath;
                    look.obeys(0, directory, rule, &When::ByItself, &source);
                }
            }
        }
    }
}

fn loads(look: &mut Look<'_>, module: &[u8], args: &[&[u8]], source: Source) {
    let directories = MODULES.map(FilePath::fixed);
    let found = match FilePath::new(module) {
        Some(path) => Some(path),
        None => {
            let mut paths = directories
                .iter()
                .filter_map(|directory| directory.join(module));
            paths.find(|path| look.machine.entry(path).is_some())
        }
    };
    if let Some(path) = found {
        look.obeys(0, path, RuleId::PamModule, &When::ByItself, &source);
    }
    if module.ends_with(b"pam_exec.so")
        && let Some(program) = args.iter().find(|arg| arg.first() == Some(&b'/'))
    {
        let by = Execution::new(0, RuleId::PamProgram, When::ByItself, source);
        look.executes(&by, &[program.to_vec()]);
    }
}

/// Modules that ask for a password or a key of the account that is called, or that refuse, or that let root alone pass.
const ASKING: [&[u8]; 15] = [
    b"pam_cap.so",
    b"pam_deny.so",
    b"pam_faildelay.so",
    b"pam_faillock.so",
    b"pam_fprintd.so",
    b"pam_gnome_keyring.so",
    b"pam_google_authenticator.so",
    b"pam_krb5.so",
    b"pam_ldap.so",
    b"pam_rootok.so",
    b"pam_sss.so",
    b"pam_systemd_home.so",
    b"pam_u2f.so",
    b"pam_unix.so",
    b"pam_winbind.so",
];

/// Notes whom su(1) and sudo(8) ask for no password: members of a group that pam_wheel(8) trusts, accounts without one, and
/// each account if pam_permit(8) is enough. Other modules that are enough are listed.
fn trusts(look: &mut Look<'_>, service: &[u8], module: &Module<'_>, source: &Source) {
    let is_shared = service.ends_with(b"-auth");
    let is_of_su = [&b"su"[..], b"su-l"].contains(&service) || is_shared;
    let is_of_sudo = [&b"sudo"[..], b"sudo-i"].contains(&service);
    let is_enough = module.control == b"sufficient" || has_success(module.control);
    let has = |arg: &[u8]| module.args.contains(&arg);
    if module.kind != b"auth" || !is_of_su && !is_of_sudo {
        return;
    }
    let name = module.file.rsplit(|byte| *byte == b'/').next();
    let name = name.unwrap_or_default();
    if name == b"pam_unix.so" && is_of_su && has(b"nullok") {
        let users = look.facts.accounts.users.values();
        let open = users.filter(|user| user.is_open);
        let open: Vec<(u32, Source)> = open.map(|user| (user.uid, source.clone())).collect();
        look.facts.open_accounts.extend(open);
    }
    if !is_enough {
        return;
    }
    let (groups, is_for_all): (BTreeSet<u32>, bool) = match name {
        b"pam_wheel.so" if is_of_su && has(b"trust") && !has(b"deny") => {
            let mut args = module.args.iter();
            let named = args.find_map(|arg| arg.strip_prefix(b"group="));
            let named = named.and_then(|name| std::str::from_utf8(name).ok());
            let gid = look.facts.accounts.gid(named.unwrap_or("wheel"));
            let gid = gid.or(named.is_none().then_some(0));
            (gid.into_iter().collect(), false)
        }
        b"pam_wheel.so" if !is_of_sudo || !has(b"trust") => return,
        b"pam_permit.so" if is_of_su && !is_shared => (BTreeSet::new(), true),
        _ if ASKING.contains(&name) => return,
        _ => {
            let shown = remit_common::text::line(name, 60);
            let why = format!(
                "whom {shown} of its line {} asks for no password is not judged",
                source.line
            );
            return look.machine.unknown(&source.file, why);
        }
    };
    look.facts.permits.push(Permit {
        rule: RuleId::PamTrust,
        users: BTreeSet::new(),
        groups,
        is_for_all,
        units: Vec::new(),
        source: source.clone(),
    });
}

/// Returns true for `[success=done]` and the like: what follows is passed over.
fn has_success(control: &[u8]) -> bool {
    let inner = control.strip_prefix(b"[").unwrap_or_default();
    let words = inner.split(|byte| byte.is_ascii_whitespace() || *byte == b']');
    let mut values = words.filter_map(|word| word.strip_prefix(b"success="));
    values.any(|value| value == b"done" || value.iter().all(u8::is_ascii_digit))
}

/// One line of pam.d(5).
#[derive(Debug, PartialEq, Eq)]
struct Module<'l> {
    kind: &'l [u8],
    control: &'l [u8],
    file: &'l [u8],
    args: Vec<&'l [u8]>,
}

/// A control in brackets has white space.
fn module(line: &[u8]) -> Option<Module<'_>> {
    let (_, line) = without_comment((0, line));
    let (kind, rest) = word(line)?;
    let kind = kind.strip_prefix(b"-").unwrap_or(kind);
    if !matches!(kind, b"auth" | b"account" | b"password" | b"session") {
        return None;
    }
    let (control, rest) = match rest.strip_prefix(b"[") {
        Some(_) => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (control, rest) = rest.split_at(end.saturating_add(1));
            (control, rest.trim_ascii_start())
        }
        None => word(rest)?,
    };
    let (file, mut rest) = word(rest)?;
    let mut args = Vec::new();
    while let Some((arg, after)) = word(rest) {
        args.push(arg);
        rest = after;
    }
    // `include` and `substack` name another file of the same directory, which is read anyway.
    file.contains(&b'.').then_some(Module {
        kind,
        control,
        file,
        args,
    })
}

fn without_comment((number, line): (usize, &[u8])) -> (usize, &[u8]) {
    let line = line.split(|byte| *byte == b'#').next();
    (number, line.unwrap_or_default().trim_ascii())
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty()).then(|| (word, rest.trim_ascii_start()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn modules_have_arguments() {
        let found = module(b"-session [success=1 default=ignore]  pam_exec.so quiet /a # x");
        let expect = Module {
            kind: b"session",
            control: b"[success=1 default=ignore]",
            file: b"pam_exec.so",
            args: vec![&b"quiet"[..], b"/a"],
        };
        assert_eq!(found, Some(expect));
        assert!(module(b"auth include common-auth").is_none());
        assert!(module(b"@include common-auth").is_none());
    }

    proptest! {
        #[test]
        fn any_line_is_read(bytes: Vec<u8>) {
            let _ = module(&bytes);
        }
    }
}
