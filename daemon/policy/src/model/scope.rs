//! Decides which calls of a command a rule is about, by the values that named arguments will have.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use remit_common::builtin::{self, Builtin};
use remit_common::text::line;
use serde::{Deserialize, Serialize};

use crate::model::command::{Command, Param, ParamKind};
use crate::model::glob::Glob;
use crate::model::policy::Named;

const SHOWN: usize = 8;
const WIDE: usize = 64;

/// For each of these arguments, the patterns of which its value must match one. Without any it is about every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Vec<Glob>>")]
pub struct Scope(BTreeMap<String, Vec<Glob>>);

impl From<BTreeMap<String, Vec<Glob>>> for Scope {
    fn from(mut args: BTreeMap<String, Vec<Glob>>) -> Self {
        for globs in args.values_mut() {
            globs.sort();
            globs.dedup();
        }
        Self(args)
    }
}

impl Scope {
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    pub fn args(&self) -> impl Iterator<Item = (&str, &[Glob])> {
        let args = self.0.iter();
        args.map(|(name, globs)| (name.as_str(), globs.as_slice()))
    }

    pub fn globs(&self, name: &str) -> Option<&[Glob]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Returns the part that is about these arguments. Calls that have them, and maybe more, match it or not the whole.
    #[must_use]
    pub fn part(&self, args: &[(String, String)]) -> Self {
        let own = self.0.iter();
        let own = own.filter(|(name, _)| args.iter().any(|(arg, _)| arg == *name));
        Self(
            own.map(|(name, globs)| (name.clone(), globs.clone()))
                .collect(),
        )
    }

    /// Returns true if it can be about calls of this command: the command has all these arguments.
    pub fn suits(&self, named: Named<'_>) -> bool {
        let mut names = self.0.keys();
        names.all(|name| match named {
            Named::Builtin(builtin) => has_unit(builtin, name),
            Named::Command(command) => param(command, name).is_some(),
        })
    }

    /// Returns true if one call of this command can be in both. An argument with several values, or with several spellings of
    /// one, can always be.
    pub fn meets(&self, other: &Self, named: Named<'_>) -> bool {
        let Named::Command(command) = named else {
            return true;
        };
        self.0.iter().all(|(name, globs)| {
            let is_one = param(command, name).is_some_and(|param| param.most == 1);
            let others = other.globs(name);
            let others = others.filter(|_| is_one && !has_spellings(named, name));
            let meets = |one: &Glob| others.is_none_or(|all| all.iter().any(|it| one.meets(it)));
            globs.iter().any(meets)
        })
    }

    /// Returns true if it is about all calls that the other one is about, as far as that is known.
    pub fn includes(&self, other: &Self) -> bool {
        self.0.iter().all(|(name, globs)| {
            let mut others = other.globs(name).into_iter().flatten().peekable();
            let includes = |one: &Glob| globs.iter().any(|glob| is_part(one, glob));
            others.peek().is_some() && others.all(includes)
        })
    }

    /// Returns true if a permission for these calls is one for this call: each argument has a value, and all its
    /// values match. No star matches an `@`. The text after it in the name of a unit goes from the caller to the
    /// programs of the unit, so a permission must name it. It must also name the kind of a unit that shows others.
    pub fn covers(&self, named: Named<'_>, args: &[(String, String)]) -> bool {
        self.0.iter().all(|(name, globs)| {
            let values = values(named, name, args);
            let is_text = match named {
                Named::Builtin(_) => true,
                Named::Command(command) => param(command, name).is_some_and(|param| {
                    matches!(param.kind, ParamKind::Unit { .. } | ParamKind::Text { .. })
                }),
            };
            let fits = |glob: &Glob, value: &str| match is_text {
                true => glob.matches_within(value, '@') && names_kind(named, glob, value),
                false => glob.matches(value),
            };
            let is_one_of = |value: &Cow<'_, str>| globs.iter().any(|glob| fits(glob, value));
            !values.is_empty() && values.iter().all(is_one_of)
        })
    }

    /// Returns true if an approval for these calls covers this call: as [`Scope::covers`], a package or a user in any
    /// spelling.
    pub fn asks(&self, named: Named<'_>, args: &[(String, String)]) -> bool {
        let is_one = |name: &str| {
            let globs = self.globs(name).unwrap_or_default();
            let (kind, values) = (kind(named, name), values(named, name, args));
            let is_about =
                |value: &Cow<'_, str>| globs.iter().any(|glob| is_about(kind, glob, value));
            !values.is_empty() && values.iter().all(is_about)
        };
        let (spelled, others): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|(name, _)| has_spellings(named, name));
        let others = others
            .into_iter()
            .map(|(name, globs)| (name.clone(), globs.clone()));
        Self(others.collect()).covers(named, args)
            && spelled.into_iter().all(|(name, _)| is_one(name))
    }

    /// Returns true if a denial of these calls denies this call, or an approval for these is needed for this one: of each
    /// argument one value matches, a package or a user in any spelling. A built-in command that shows several units may show
    /// these.
    pub fn touches(&self, named: Named<'_>, args: &[(String, String)]) -> bool {
        self.0.iter().all(|(name, globs)| {
            let (kind, values) = (kind(named, name), values(named, name, args));
            let is_one =
                |value: &Cow<'_, str>| globs.iter().any(|glob| is_about(kind, glob, value));
            shows_others(named, &values) || values.iter().any(is_one)
        })
    }
}

/// `unit: nginx.service, php*.service; verb: start`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, globs)) in self.args().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(f, "{before}{name}: ")?;
            for (at, glob) in globs.iter().take(SHOWN).enumerate() {
                let comma = if at == 0 { "" } else { ", " };
                write!(f, "{comma}{}", line(glob.as_str().as_bytes(), WIDE))?;
            }
            if globs.len() > SHOWN {
                write!(f, " and {} more", globs.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// The argument of built-in commands that rules know.
pub const UNIT: &str = "unit";

pub fn has_unit(builtin: &builtin::Command, name: &str) -> bool {
    name == UNIT && builtin.args.iter().any(|arg| arg.name == name)
}

/// Returns true if a built-in command shows more units than the one that it names: all without a unit, those below a
/// slice (journalctl(1), `--unit`), and all of which the manager itself writes.
fn shows_others(named: Named<'_>, values: &[Cow<'_, str>]) -> bool {
    matches!(named, Named::Builtin(_)) && values.iter().all(|unit| is_of_many(unit))
}

fn is_of_many(unit: &str) -> bool {
    unit.ends_with(".slice") || unit == "init.scope"
}

fn names_kind(named: Named<'_>, glob: &Glob, unit: &str) -> bool {
    let is_named = glob.literal().is_some() || glob.as_str().ends_with(".slice");
    is_named || !matches!(named, Named::Builtin(_)) || !is_of_many(unit)
}

/// Returns true if programs take several values of this argument for one package or one user.
fn has_spellings(named: Named<'_>, name: &str) -> bool {
    let kind = kind(named, name);
    kind.is_some_and(|kind| matches!(kind, ParamKind::Package | ParamKind::User))
}

/// Returns true if a pattern is about all values of the other one, in any spelling that either kind of rule is about. Of
/// patterns with a star only the same is known to be.
fn is_part(one: &Glob, whole: &Glob) -> bool {
    let is_one = |value: &str| {
        whole.matches_within(value, '@') && package_name(value) == value && !is_of_many(value)
    };
    match whole.literal() {
        Some(_) => one == whole,
        None => one == whole || one.literal().is_some_and(is_one),
    }
}

/// Returns true if a pattern of a denial, or of a rule that asks, is about this value.
fn is_about(kind: Option<&ParamKind>, glob: &Glob, value: &str) -> bool {
    match kind {
        Some(ParamKind::Package) => is_about_package(glob, value),
        Some(ParamKind::User) => is_about_user(glob, value),
        _ => glob.matches(value),
    }
}

fn kind<'a>(named: Named<'a>, name: &str) -> Option<&'a ParamKind> {
    match named {
        Named::Builtin(_) => None,
        Named::Command(command) => param(command, name).map(|param| &param.kind),
    }
}

pub fn param<'a>(command: &'a Command, name: &str) -> Option<&'a Param> {
    let found = command.params.iter().find(|param| param.name == name);
    found.filter(|param| !matches!(param.kind, ParamKind::Secret { .. }))
}

/// Returns the call's values or their defaults. An absent flag is false. A unit has its whole name, as it will be used.
fn values<'a>(named: Named<'a>, name: &'a str, args: &'a [(String, String)]) -> Vec<Cow<'a, str>> {
    let command = match named {
        Named::Command(command) => command,
        Named::Builtin(builtin) => {
            let parsed = Builtin::parse(builtin.name, args).ok();
            let parsed = parsed.filter(|_| has_unit(builtin, name));
            let args = parsed.iter().flat_map(Builtin::args);
            let of_name = args.filter(|(own, _)| *own == name);
            return of_name.map(|(_, value)| Cow::Owned(value)).collect();
        }
    };
    let Some(param) = param(command, name) else {
        return Vec::new();
    };
    let passed = args.iter().filter(|(passed, _)| passed == name);
    let passed: Vec<Cow<'_, str>> = passed.map(|(_, value)| Cow::Borrowed(&**value)).collect();
    if !passed.is_empty() {
        return passed;
    }
    let flag = matches!(param.kind, ParamKind::Flag(_)).then_some("false");
    let default = param.default.as_deref().or(flag);
    default.map(Cow::Borrowed).into_iter().collect()
}

/// Architectures that RPM writes after a dot (rpm(8), `rpm --showrc`).
const RPM: [&str; 18] = [
    "noarch",
    "src",
    "x86_64",
    "x86_64_v2",
    "x86_64_v3",
    "i386",
    "i486",
    "i586",
    "i686",
    "athlon",
    "aarch64",
    "armv7hl",
    "armv7l",
    "ppc64",
    "ppc64le",
    "s390x",
    "riscv64",
    "loongarch64",
];

/// Strips the architecture: `openssl` of `openssl:amd64` and of `openssl.x86_64`.
fn package_name(text: &str) -> &str {
    let text = text.split_once(':').map_or(text, |(name, _)| name);
    match text.rsplit_once('.') {
        Some((name, arch)) if RPM.contains(&arch) => name,
        _ => text,
    }
}

/// Returns the name, and what it can be without a version: `openssl` of `openssl-3.2.2` and `openssl-3.2.2-6.el9_5`.
fn unversioned(name: &str) -> impl Iterator<Item = &str> {
    let is_digit = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let last = name.rsplit_once('-');
    let before = last.and_then(|(before, _)| before.rsplit_once('-'));
    // A version of RPM can begin with a letter, before a release.
    let has_digit = last.is_some_and(|(_, last)| is_digit(last));
    let last = last.filter(|_| has_digit);
    let before = before.filter(|(_, version)| has_digit || is_digit(version));
    let versioned = [last, before].into_iter().flatten();
    std::iter::once(name).chain(versioned.map(|(name, _)| name))
}

/// Returns true if a pattern is about a package in any spelling that apt-get(8) and dnf(8) accept, with or without
/// version and architecture: a rule that denies or asks for an approval is about all of them. A pattern with an
/// architecture includes the package without one, which may be of that architecture.
fn is_about_package(glob: &Glob, value: &str) -> bool {
    let plain = package_name(value);
    let arch = value.strip_prefix(plain).unwrap_or_default();
    let pattern = package_name(glob.as_str());
    let is_native = arch.is_empty() && pattern != glob.as_str();
    unversioned(plain).any(|name| {
        glob.matches(name)
            || glob.matches(&format!("{name}{arch}"))
            || (is_native && Glob::new(pattern).matches(name))
    })
}

/// Returns true if a pattern is about a user, or the owner of `OWNER.GROUP`, as chown of GNU reads a name that no account
/// has.
fn is_about_user(glob: &Glob, value: &str) -> bool {
    let owner = value.split_once('.').map(|(owner, _)| owner);
    glob.matches(value) || owner.is_some_and(|owner| glob.matches(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q05_package_matches_in_every_spelling() {
        for (pattern, value, expect) in [
            ("auditd", "auditd", true),
            ("auditd", "auditd:amd64", true),
            ("auditd", "auditd.x86_64", true),
            ("audit*", "auditd.noarch", true),
            ("auditd:amd64", "auditd", true),
            ("auditd:amd64", "auditd:amd64", true),
            ("auditd.x86_64", "auditd", true),
            ("auditd:amd64", "auditd:i386", false),
            ("auditd", "auditd-plugins", false),
            ("auditd", "auditd.d", false),
            ("python3", "python3.11", false),
            ("python3.11", "python3.11:amd64", true),
            ("auditd", "auditd-3.1.5", true),
            ("auditd", "auditd-3.1.5-2.el9_5", true),
            ("auditd", "auditd-3.1.5-2.el9_5.x86_64", true),
            ("auditd", "auditd-1:3", true),
            ("auditd.x86_64", "auditd-3.1.5-2.el9_5.x86_64", true),
            ("auditd.x86_64", "auditd-3.1.5-2.el9_5.i686", false),
            ("auditd:amd64", "auditd-3", true),
            ("auditd", "auditd-plugins-3.1.5-2.el9_5.x86_64", false),
            ("python3.11", "python3-3.11", false),
        ] {
            assert_eq!(
                is_about_package(&Glob::new(pattern), value),
                expect,
                "{pattern} {value}"
            );
        }
    }

    #[test]
    fn scope_includes_what_it_is_about() {
        let scope = |args: &[(&str, &[&str])]| {
            let globs = |all: &[&str]| all.iter().map(|one| Glob::new(*one)).collect();
            let args = args
                .iter()
                .map(|(name, all)| ((*name).to_owned(), globs(all)));
            Scope::from(args.collect::<BTreeMap<String, Vec<Glob>>>())
        };
        let unit = |all: &[&str]| scope(&[("unit", all)]);
        for (one, other, expect) in [
            (scope(&[]), unit(&["a.service"]), true),
            (unit(&["a.service"]), scope(&[]), false),
            (unit(&["php*", "a.service"]), unit(&["a.service"]), true),
            (unit(&["php*", "a.service"]), unit(&["php*"]), true),
            (unit(&["php*"]), unit(&["php*", "a.service"]), false),
            (unit(&["php*"]), unit(&["php8.service"]), true),
            // No star of a permission covers these.
            (unit(&["php*"]), unit(&["php@8.service"]), false),
            (unit(&["*"]), unit(&["system.slice"]), false),
            // A rule that asks for this architecture is also about the package without one.
            (unit(&["*64"]), unit(&["ssl:amd64"]), false),
            (unit(&["a*"]), unit(&["ab*"]), false),
            (
                unit(&["a"]),
                scope(&[("unit", &["a"]), ("how", &["x"])]),
                true,
            ),
            (
                scope(&[("unit", &["a"]), ("how", &["x"])]),
                unit(&["a"]),
                false,
            ),
        ] {
            assert_eq!(one.includes(&other), expect, "{one} {other}");
        }
    }

    #[test]
    fn user_matches_with_a_group_behind_a_dot() {
        for (pattern, value, expect) in [
            ("root", "root", true),
            ("root", "root.root", true),
            ("root", "root.a.b", true),
            ("ro*", "root.adm", true),
            ("root.x", "root.x", true),
            ("root.x", "root", false),
            ("adm", "root.adm", false),
            ("root", "rooted.x", false),
        ] {
            let found = is_about_user(&Glob::new(pattern), value);
            assert_eq!(found, expect, "{pattern} {value}");
        }
    }
}
