//! Checks one value against the type of its argument. It checks only text; whoever opens a path checks what is there.

use std::fmt::Write;

use remit_common::builtin::UnitName;
use remit_common::caps;

use crate::model::command::{ParamKind, PathIs};
use crate::model::diagnostic::quoted;
use crate::model::paths::{beneath, not_plain};
use crate::model::pattern::PLAIN;

impl ParamKind {
    /// Returns why `value` is not of this type, as a part of a sentence that never repeats the value.
    pub fn refuses(&self, value: &str) -> Option<String> {
        if value.len() > caps::NAMED_VALUE {
            return Some(format!(
                "has {} bytes, the most is {}",
                value.len(),
                caps::NAMED_VALUE
            ));
        }
        if let Some(at) = value.bytes().position(|byte| byte == 0) {
            return Some(format!("has a NUL at byte {at}"));
        }
        match self {
            Self::Text { pattern, max, dash } => {
                if value.len() > *max {
                    return Some(format!("has {} bytes, the most is {max}", value.len()));
                }
                if !dash && value.starts_with('-') {
                    return Some("begins with '-'".into());
                }
                let fits = pattern.matches(value.as_bytes());
                let plain = match pattern.as_str() {
                    PLAIN => " (what a string is unless its definition has a 'pattern')",
                    _ => "",
                };
                (!fits).then(|| format!("does not match {}{plain}", quoted(pattern.as_str())))
            }
            Self::Int { min, max } => int(value, *min, *max),
            Self::Enum(values) => {
                let listed = values.iter().any(|listed| listed == value);
                (!listed).then(|| format!("is not one of: {}", values.join(", ")))
            }
            Self::Flag(_) => {
                (!["true", "false"].contains(&value)).then(|| "is neither true nor false".into())
            }
            Self::Unit { instances } => unit(value, *instances),
            Self::User => {
                (!is_user(value)).then(|| "is not the name of a user (useradd(8))".into())
            }
            Self::Package => package(value),
            Self::Path { under, is, .. } => path(value, under, *is),
            Self::Secret { max } => secret(value, *max),
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Text { pattern, max, .. } => {
                format!(
                    "text that matches {}, at most {max} bytes",
                    quoted(pattern.as_str())
                )
            }
            Self::Int { min, max } => format!("a number from {min} to {max}"),
            Self::Enum(values) => format!("one of: {}", values.join(", ")),
            Self::Flag(word) => format!("true or false; true adds {}", quoted(word)),
            Self::Unit { instances: true } => {
                "the whole name of a unit, as nginx.service or getty@tty1.service".into()
            }
            Self::Unit { instances: false } => {
                "the whole name of a unit, as nginx.service; no instance of a template, as a@b.service".into()
            }
            Self::User => "the name of a user".into(),
            Self::Package => "the name of a package".into(),
            Self::Path { under, is, .. } => {
                let mut text = match is {
                    PathIs::File => "the absolute path of a file".to_owned(),
                    PathIs::Directory => "the absolute path of a directory".to_owned(),
                    PathIs::Either => "the absolute path of a file or directory".to_owned(),
                };
                let _ = write!(text, " beneath {under}, without symbolic links");
                text
            }
            Self::Secret { max } => {
                let least = caps::SECRET_LEAST;
                format!("a secret of {least} to {max} bytes; no record shows it")
            }
        }
    }
}

/// Checks a decimal number in its canonical form: no sign but `-`, no leading zero, no digits of other scripts.
fn int(value: &str, min: i64, max: i64) -> Option<String> {
    let number = value.parse::<i64>().ok();
    let canonical = number.filter(|number| number.to_string() == value);
    match canonical {
        Some(number) if (min..=max).contains(&number) => None,
        Some(_) => Some(format!("is not from {min} to {max}")),
        None => Some(format!("is not a plain decimal number from {min} to {max}")),
    }
}

/// Requires the whole name: a suffix that the program adds was not checked.
fn unit(value: &str, instances: bool) -> Option<String> {
    match value.parse::<UnitName>() {
        Err(why) => Some(why.to_owned()),
        Ok(name) if name.as_str() != value => {
            Some("lacks the kind of the unit: write it whole, as nginx.service".into())
        }
        Ok(name) if name.is_instance() && !instances => Some(
            "is an instance of a template: the text behind its '@' is given to the programs of that unit, \
             and this argument takes none (instances = true in its definition permits them)"
                .into(),
        ),
        Ok(_) => None,
    }
}

/// Accepts a name that useradd(8) takes and that no program reads as a uid (all digits) or as owner and group (`:`).
fn is_user(value: &str) -> bool {
    const MOST: usize = 32;
    let stem = value.strip_suffix('$').unwrap_or(value);
    value.len() <= MOST
        && stem.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && stem
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Accepts a name of Debian (deb-control(5), with an architecture after `:`) or RPM. apt-get(8) takes a final `-` for
/// "remove" and a final `+` for "install". So of names with a final `+` only those with two pass, as `g++`.
fn package(value: &str) -> Option<String> {
    const MOST: usize = 128;
    let (name, architecture) = match value.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (value, None),
    };
    let named = value.len() <= MOST
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte));
    let built = architecture.is_none_or(|text| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !text.is_empty() && text.bytes().all(plain)
    });
    if !named || !built {
        return Some("is not the name of a package".into());
    }
    let single = name.ends_with('+') && !name.ends_with("++");
    (name.ends_with('-') || single)
        .then(|| "ends with a sign that apt takes for an order to remove or install".into())
}

fn path(value: &str, under: &str, is: PathIs) -> Option<String> {
    if let Some(why) = not_plain(value) {
        return Some(why.to_owned());
    }
    match beneath(value, under) {
        None => Some(format!("is not beneath {under}")),
        Some("") if is == PathIs::File => Some(format!("is {under} itself, which is no file")),
        Some(_) => None,
    }
}

fn secret(value: &str, max: usize) -> Option<String> {
    if value.is_empty() {
        Some("is empty".into())
    } else if value.len() < caps::SECRET_LEAST {
        let least = caps::SECRET_LEAST;
        Some(format!(
            "has fewer than {least} bytes: what is so short cannot be kept out of the output"
        ))
    } else if value.len() > max {
        Some(format!("has {} bytes, the most is {max}", value.len()))
    } else {
        None
    }
}
