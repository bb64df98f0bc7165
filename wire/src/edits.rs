//! Edits of files as clients write them: JSON of a tool call or a file, or [patches](split_patch); as the edits of
//! `remit-edit`. And calls of commands that check a plan. Pure: names of accounts are asked of the caller.

use std::str::FromStr;

use remit_common::{call_text, text};
use remit_edit::{Action, Edit, Edits, Replacement};
use remit_plan::{PlanPath, Upload};
use serde::{Deserialize, Serialize};

use crate::What;
pub use crate::patches::split_patch;
use crate::whole::whole;

/// The commands that plan, the second for files that the caller may not read, the third for what a job changed in a copy of
/// the machine, and the ones that make and undo a plan.
pub const PLAN: &str = "plan.make";
pub const PLAN_PRIVATE: &str = "plan.private";
pub const EXTRACT: &str = "plan.extract";
pub const COMMIT: &str = "plan.commit";
pub const UNDO: &str = "plan.undo";
/// Their argument with a command that follows.
pub const THEN: &str = "then";
/// The argument of an undo that takes new directories away with all that is in them.
pub const CONTENTS: &str = "contents";
/// The profile of jobs that get a copy of the machine, unless the caller names another one.
pub const COPY_PROFILE: &str = "plan";
/// Checks of one plan at most.
pub const CHECKS: usize = 4;

/// A call of a named command as text: `nginx.test config=/etc/nginx/nginx.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallText {
    pub text: String,
    pub what: What,
}

impl FromStr for CallText {
    type Err = String;

    /// Errors: a sentence that quotes the text.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, args) = call_text::split(text).map_err(|why| {
            let shown = text::line(text.as_bytes(), 64);
            format!(
                "'{shown}' is no call of a command: {why}; write it as 'nginx.test config=/etc/nginx/nginx.conf'"
            )
        })?;
        Ok(Self {
            text: text.to_owned(),
            what: What::Named { name, args },
        })
    }
}

/// A change of one path. One of `write`, `write_base64`, `upload`, `replace`, `patch`, `remove`, `mkdir` and `link`; or
/// only a mode or an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EditText {
    pub path: String,
    /// Content.
    pub write: Option<String>,
    pub write_base64: Option<String>,
    /// From remit put.
    pub upload: Option<String>,
    pub replace: Option<Vec<ReplacementText>>,
    /// Unified diff.
    pub patch: Option<String>,
    pub remove: Option<bool>,
    pub mkdir: Option<bool>,
    /// Target.
    pub link: Option<String>,
    /// As 0644.
    pub mode: Option<String>,
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub owner: Option<OwnerName>,
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub group: Option<OwnerName>,
    pub base_sha256: Option<String>,
    pub create_only: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReplacementText {
    pub old: String,
    pub new: String,
    /// Times old is there.
    #[serde(default, deserialize_with = "whole")]
    pub count: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OwnerName {
    Number(u32),
    Name(String),
}

/// Finds the number of an account, of a user or of a group.
pub trait Accounts {
    fn uid(&self, name: &str) -> Option<u32>;
    fn gid(&self, name: &str) -> Option<u32>;
}

impl OwnerName {
    /// Errors: a sentence that names the account or group.
    pub fn uid(&self, accounts: &impl Accounts) -> Result<u32, String> {
        self.number("user", |name| accounts.uid(name))
    }

    pub fn gid(&self, accounts: &impl Accounts) -> Result<u32, String> {
        self.number("group", |name| accounts.gid(name))
    }

    fn number(&self, what: &str, find: impl Fn(&str) -> Option<u32>) -> Result<u32, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => match name.parse() {
                Ok(number) => Ok(number),
                Err(_) => find(name).ok_or_else(|| format!("there is no {what} '{name}'")),
            },
        }
    }
}

impl EditText {
    /// Errors: a sentence that names the path.
    pub fn edit(
        self,
        accounts: &impl Accounts,
        base64: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Edit, String> {
        let path = self.path.clone();
        self.checked(accounts, base64)
            .map_err(|why| format!("'{path}': {why}"))
    }

    fn checked(
        self,
        accounts: &impl Accounts,
        base64: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Edit, String> {
        let path = PlanPath::new(self.path).map_err(|error| error.to_string())?;
        let decode = |text: String| base64(&text).ok_or("'write_base64' is not base64");
        let actions = [
            self.write.map(|text| Action::Write(text.into_bytes())),
            self.write_base64
                .map(decode)
                .transpose()?
                .map(Action::Write),
            self.upload
                .map(|name| name.parse().map(Action::Upload))
                .transpose()?,
            self.replace.map(|list| {
                Action::Replace(list.into_iter().map(ReplacementText::replacement).collect())
            }),
            self.patch.map(|text| Action::Patch(text.into_bytes())),
            (self.remove == Some(true)).then_some(Action::Remove),
            (self.mkdir == Some(true)).then_some(Action::CreateDirectory),
            self.link.map(|target| Action::Link(target.into_bytes())),
        ];
        let mut actions = actions.into_iter().flatten();
        let has_metadata = self.mode.is_some() || self.owner.is_some() || self.group.is_some();
        let action = match (actions.next(), actions.next()) {
            (Some(action), None) => action,
            (None, _) if has_metadata => Action::Keep,
            (None, _) => {
                return Err(
                    "one of 'write', 'write_base64', 'upload', 'replace', 'patch', 'remove', 'mkdir', 'link', 'mode', 'owner' \
                     and 'group' is needed"
                        .to_owned(),
                );
            }
            (Some(_), Some(_)) => {
                return Err(
                    "'write', 'write_base64', 'upload', 'replace', 'patch', 'remove', 'mkdir' and 'link' exclude each other"
                        .to_owned(),
                );
            }
        };
        if matches!(&action, Action::Replace(list) if list.is_empty()) {
            return Err("'replace' is empty".to_owned());
        }
        Ok(Edit {
            path,
            action,
            mode: self.mode.as_deref().map(mode).transpose()?,
            uid: self.owner.map(|owner| owner.uid(accounts)).transpose()?,
            gid: self.group.map(|group| group.gid(accounts)).transpose()?,
            base_sha256: self.base_sha256.as_deref().map(sha256).transpose()?,
            create_only: self.create_only == Some(true),
        })
    }
}

impl ReplacementText {
    fn replacement(self) -> Replacement {
        Replacement {
            old: self.old.into_bytes(),
            new: self.new.into_bytes(),
            count: self.count.unwrap_or(1),
        }
    }
}

pub fn mode(text: &str) -> Result<u32, String> {
    let is_octal = (1..=4).contains(&text.len()) || text.len() == 5 && text.starts_with('0');
    let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    bits.filter(|bits| *bits <= 0o7777 && !text.starts_with('+'))
        .ok_or_else(|| format!("'{text}' is not an octal mode, such as 0644"))
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    Upload::hash_of(text)
        .ok_or_else(|| "'base_sha256' does not have 64 hexadecimal digits".to_owned())
}

/// Returns an edit that changes nothing yet.
#[must_use]
pub fn keep(path: PlanPath) -> Edit {
    Edit {
        path,
        action: Action::Keep,
        mode: None,
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    }
}

#[must_use]
pub fn encode(edits: Vec<Edit>) -> Vec<u8> {
    Edits { edits }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Accounts for Known {
        fn uid(&self, name: &str) -> Option<u32> {
            (name == "www-data").then_some(33)
        }

        fn gid(&self, name: &str) -> Option<u32> {
            (name == "adm").then_some(4)
        }
    }

    fn edit(json: &str) -> Result<Edit, String> {
        let text: EditText = serde_json::from_str(json).map_err(|error| error.to_string())?;
        text.edit(&Known, |text| (text == "AP8=").then(|| vec![0, 255]))
    }

    #[test]
    fn call_is_a_name_and_arguments_with_one_space_before_each() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, args) in [
            ("nginx.test", vec![]),
            (
                "nginx.test config=/etc/nginx/a=b quiet=",
                vec![pair("config", "/etc/nginx/a=b"), pair("quiet", "")],
            ),
        ] {
            let name = "nginx.test".to_owned();
            let what = What::Named { name, args };
            let text = text.to_owned();
            assert_eq!(text.parse(), Ok(CallText { text, what }));
        }
        for (text, why) in [
            ("", "begin with a name"),
            (" nginx.test", "begin with a name"),
            ("config=/a nginx.test", "begin with a name"),
            ("nginx.test /a", "NAME=VALUE"),
            ("nginx.test =/a", "NAME=VALUE"),
            ("nginx.test  a=b", "NAME=VALUE"),
            ("nginx.test a=b ", "NAME=VALUE"),
            ("nginx.test a\x1b", "'nginx.test a\\x1b' is no call"),
        ] {
            let error = text.parse::<CallText>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn each_action_is_read() {
        let plain = || keep(PlanPath::new("/a").unwrap());
        let whole = Edit {
            action: Action::Write(b"x".to_vec()),
            mode: Some(0o640),
            uid: Some(33),
            gid: Some(4),
            base_sha256: Some([0xab; 32]),
            create_only: true,
            ..plain()
        };
        let sha = "ab".repeat(32);
        let text = format!(
            r#"{{"path": "/a", "write": "x", "mode": "0640", "owner": "www-data", "group": "adm", "base_sha256": "{sha}",
                 "create_only": true}}"#
        );
        assert_eq!(edit(&text), Ok(whole));
        let named: Upload = format!("{sha}-7").parse().unwrap();
        let upload = format!(r#""upload": "{named}""#);
        for (json, action) in [
            (r#""write_base64": "AP8=""#, Action::Write(vec![0, 255])),
            (r#""patch": "x""#, Action::Patch(b"x".to_vec())),
            (r#""remove": true"#, Action::Remove),
            (r#""mkdir": true, "remove": false"#, Action::CreateDirectory),
            (r#""link": "../b""#, Action::Link(b"../b".to_vec())),
            (&upload, Action::Upload(named)),
            (
                r#""replace": [{"old": "a", "new": ""}]"#,
                Action::Replace(vec![Replacement {
                    old: b"a".to_vec(),
                    new: Vec::new(),
                    count: 1,
                }]),
            ),
        ] {
            let got = edit(&format!(r#"{{"path": "/a", {json}}}"#));
            assert_eq!(got, Ok(Edit { action, ..plain() }));
        }
        let owner = edit(r#"{"path": "/a", "owner": 7, "group": "8"}"#).unwrap();
        assert_eq!(
            (owner.action, owner.uid, owner.gid),
            (Action::Keep, Some(7), Some(8))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (json, expect) in [
            (
                r#"{"path": "a", "remove": true}"#,
                "'a': the path does not begin with '/'",
            ),
            (
                r#"{"path": "/a/../b", "remove": true}"#,
                "'/a/../b': the path has '.', '..'",
            ),
            (r#"{"path": "/a"}"#, "is needed"),
            (
                r#"{"path": "/a", "write": "", "remove": true}"#,
                "exclude each other",
            ),
            (
                r#"{"path": "/a", "link": "b", "mkdir": true}"#,
                "exclude each other",
            ),
            (r#"{"path": "/a", "replace": []}"#, "'replace' is empty"),
            (r#"{"path": "/a", "upload": "ab-1"}"#, "SHA256-BYTES"),
            (
                r#"{"path": "/a", "mode": "rw"}"#,
                "'rw' is not an octal mode",
            ),
            (
                r#"{"path": "/a", "mode": "+644"}"#,
                "'+644' is not an octal mode",
            ),
            (r#"{"path": "/a", "mode": "10000"}"#, "is not an octal mode"),
            (
                r#"{"path": "/a", "owner": "nobody7"}"#,
                "there is no user 'nobody7'",
            ),
            (
                r#"{"path": "/a", "remove": true, "base_sha256": "ab"}"#,
                "64 hexadecimal digits",
            ),
            (r#"{"path": "/a", "write_base64": "?"}"#, "is not base64"),
            (r#"{"path": "/a", "wirte": "?"}"#, "unknown field `wirte`"),
        ] {
            let error = edit(json).unwrap_err();
            assert!(error.contains(expect), "{json}: {error}");
        }
    }
}
