//! Sends a policy to another process, and checks what came from one: all that decisions, arguments or sandboxes rely on.

pub(crate) mod by_name;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::caps;
use serde::{Deserialize, Serialize};

use crate::call::bind::param_position;
use crate::call::variables::never_permitted;
use crate::model::accepted::AcceptedPath;
use crate::model::approval::Approval;
use crate::model::bounds::{self, Checked};
use crate::model::capabilities;
use crate::model::command::{Command, Param, ParamKind, Part, Stdin, Word};
use crate::model::glob::Glob;
use crate::model::names;
use crate::model::paths::not_plain;
use crate::model::policy::{CHANGE, Parts, Policy, RUN};
use crate::model::profile::{Base, Eyes, Network, Profile, User};
use crate::model::rule::{DenyRule, GrantRule, Grantees, builtin, refused_id};
use crate::model::scope::Scope;

#[derive(Serialize)]
struct Sent<'a> {
    grants: &'a [GrantRule],
    denies: &'a [DenyRule],
    accepts: &'a [AcceptedPath],
    commands: Vec<&'a Command>,
    profiles: Vec<&'a Profile>,
    digest: &'a str,
    texts: &'a str,
}

#[derive(Deserialize)]
struct Received {
    grants: Vec<GrantRule>,
    denies: Vec<DenyRule>,
    accepts: Vec<AcceptedPath>,
    commands: Vec<Command>,
    /// Those of files.
    profiles: Vec<Profile>,
    digest: String,
    texts: String,
}

impl Policy {
    pub fn encode(&self) -> Vec<u8> {
        let own = |profile: &&Profile| !Profile::is_built_in(&profile.name);
        let sent = Sent {
            grants: &self.grants,
            denies: &self.denies,
            accepts: &self.accepts,
            commands: self.commands().map(|one| &**one).collect(),
            profiles: self.profiles().map(|one| &**one).filter(own).collect(),
            digest: self.digest(),
            texts: self.texts(),
        };
        // A serializer of these types has no error, and no bytes are refused by the decoder.
        postcard::to_extend(&sent, Vec::new()).unwrap_or_default()
    }

    /// Makes the policy of [`Policy::encode`] again. Fails with a part of a sentence.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (received, rest) = postcard::take_from_bytes::<Received>(bytes)
            .map_err(|error| format!("its bytes cannot be decoded: {error}"))?;
        match rest.is_empty() {
            true => received.checked().map(Self::new),
            false => Err(format!("{} bytes follow it", rest.len())),
        }
    }
}

impl Received {
    fn checked(self) -> Result<Parts, String> {
        let Self {
            mut grants,
            denies,
            accepts,
            commands,
            profiles,
            digest,
            texts,
        } = self;
        let counts = [
            (
                "rules",
                grants.len().saturating_add(denies.len()),
                caps::POLICY_RULES,
            ),
            ("accepted paths", accepts.len(), caps::POLICY_RULES),
            ("commands", commands.len(), caps::POLICY_COMMANDS),
            ("profiles", profiles.len(), caps::POLICY_PROFILES),
        ];
        for (what, count, most) in counts {
            holds(count <= most, || {
                format!("it has {count} {what}, over {most}")
            })?;
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_digest = |text: &String| text.len() == 64 && text.bytes().all(is_hex);
        holds([&digest, &texts].into_iter().all(is_digest), || {
            "its digest is none".to_owned()
        })?;

        let mut all = Profile::built_in();
        for profile in profiles {
            let name = profile.name.clone();
            profile
                .check()
                .map_err(|why| format!("profile '{}' {why}", name.escape_default()))?;
            let is_new = all.insert(name.clone(), Arc::new(profile)).is_none();
            holds(is_new, || {
                format!("profile '{}' is there twice", name.escape_default())
            })?;
        }
        let mut named = BTreeMap::new();
        for mut command in commands {
            let name = command.name.clone();
            command.profile = known(&all, &command.profile)?;
            command
                .check()
                .map_err(|why| format!("command '{}' {why}", name.escape_default()))?;
            let is_new = named.insert(name.clone(), Arc::new(command)).is_none();
            holds(is_new, || {
                format!("command '{}' is there twice", name.escape_default())
            })?;
        }
        for rule in &mut grants {
            rule.profile = known(&all, &rule.profile)?;
            rule.check()
                .and_then(|()| rule.check_commits(&named))
                .map_err(|why| format!("grant {} {why}", rule.id.line))?;
        }
        for rule in &denies {
            rule.check()
                .map_err(|why| format!("denial {} {why}", rule.id.line))?;
        }
        accepts.iter().try_for_each(|one| {
            let fault = one.fault();
            fault.map_or(Ok(()), |why| {
                Err(format!("[[accept]] {} {why}", one.id.line))
            })
        })?;
        Ok(Parts {
            grants,
            denies,
            accepts,
            commands: named,
            profiles: all,
            digest,
            texts,
        })
    }
}

fn known(all: &BTreeMap<String, Arc<Profile>>, sent: &Profile) -> Result<Arc<Profile>, String> {
    let found = all.get(&sent.name).cloned();
    found.ok_or_else(|| format!("there is no profile '{}'", sent.name.escape_default()))
}

fn holds(it_does: bool, why: impl FnOnce() -> String) -> Checked {
    if it_does { Ok(()) } else { Err(why()) }
}

fn is_plain(path: &str, what: &str) -> Checked {
    match not_plain(path) {
        None => Ok(()),
        Some(why) => Err(format!("has a {what} that {why}")),
    }
}

/// Environment, words and paths end at a NUL in the kernel.
fn has_no_nul<'a>(mut texts: impl Iterator<Item = &'a String>) -> Checked {
    holds(!texts.any(|text| text.contains('\0')), || {
        "has a NUL in a text".to_owned()
    })
}

fn is_environment(env: &BTreeMap<String, String>) -> Checked {
    let is_name = |name: &String| !name.is_empty() && !name.contains('=');
    holds(env.keys().all(is_name), || {
        "sets a variable without a name".to_owned()
    })?;
    has_no_nul(env.keys().chain(env.values()))
}

impl Profile {
    fn check(&self) -> Checked {
        bounds::profile(self)?;
        let lists = [
            &self.read,
            &self.write,
            &self.exec,
            &self.devices,
            &self.sockets,
        ];
        for list in lists {
            let most = caps::PROFILE_PATHS;
            holds(list.len() <= most, || format!("lists over {most} paths"))?;
            list.iter()
                .try_for_each(|listed| is_plain(&listed.path, "path"))?;
        }
        self.scratch
            .iter()
            .try_for_each(|path| is_plain(path, "path"))?;
        is_environment(&self.env)?;
        let names = self.capability_names();
        let bit = |name: &String| capabilities::bit(name, self.base, &self.network);
        let bits = names.iter().map(bit);
        let allowed = bits
            .collect::<Result<Vec<u64>, _>>()?
            .into_iter()
            .sum::<u64>();
        holds(allowed == self.capabilities, || {
            "has unknown capabilities".to_owned()
        })?;
        if let User::Fixed { uid, gid, .. } = self.user {
            let has_users = matches!(self.base, Base::Strict | Base::Host);
            holds(has_users, || "has a user that its base lacks".to_owned())?;
            let refused = refused_id(uid).or_else(|| refused_id(gid));
            holds(refused.is_none(), || {
                "has a user that nobody can be".to_owned()
            })?;
        }
        let is_listed = !matches!(
            (self.base, &self.network),
            (
                Base::Read | Base::Host,
                Network::Connect(_) | Network::Loopback | Network::ThisHost
            )
        );
        holds(is_listed, || "has a network that its base lacks".to_owned())?;
        names::check(self)?;
        let has_a_right = self.capabilities != 0 || !self.groups.is_empty();
        let is_more = self.base != Base::Read || !self.changes_nothing() || has_a_right;
        holds(self.inspect.is_none() || !is_more, || {
            "inspects, and has another base or right".to_owned()
        })?;
        let lists_nothing = lists.iter().all(|list| list.is_empty()) && self.scratch.is_empty();
        let may_list = matches!(self.base, Base::Read | Base::Strict);
        let has_network = !matches!(self.network, Network::None | Network::Names(_));
        let has_more = has_network || has_a_right || self.inspect.is_some();
        let fits = (may_list || lists_nothing) && !(self.base.is_fixed() && has_more);
        holds(fits, || "has what its base lacks".to_owned())?;
        let is_usual = self.space.is_none() && self.eyes == Eyes::Operator;
        holds(is_usual || self.base == Base::Plan, || {
            "has space or eyes, and its base is not plan".to_owned()
        })
    }
}

impl Command {
    fn check(&self) -> Checked {
        bounds::command(self)?;
        let is_own = builtin(&self.name).is_none() && ![RUN, CHANGE].contains(&self.name.as_str());
        holds(is_own && !self.name.is_empty(), || {
            "has a name of remit's own".to_owned()
        })?;
        let Some(Part::Word(Word::Literal(program))) = self.argv.first() else {
            return Err("has no program".to_owned());
        };
        is_plain(program, "program")?;
        holds(self.inspects().is_ok(), || {
            "inspects by other words than remit's own".to_owned()
        })?;
        holds(self.commits().is_ok(), || {
            "commits by other words than remit's own".to_owned()
        })?;
        self.extracts()?;
        is_plain(&self.cwd, "directory")?;
        is_environment(&self.env)?;
        let most = caps::NAMED_ARGS;
        holds(self.params.len() <= most, || {
            format!("has over {most} arguments")
        })?;
        let names: BTreeSet<&str> = self
            .params
            .iter()
            .map(|param| param.name.as_str())
            .collect();
        holds(names.len() == self.params.len(), || {
            "has an argument twice".to_owned()
        })?;
        self.params
            .iter()
            .try_for_each(|param| self.check_param(param))?;
        self.argv
            .iter()
            .try_for_each(|part| self.check_part(part))?;
        if let Stdin::Secret(at) = self.stdin {
            let kind = self.params.get(at).map(|param| &param.kind);
            let is_secret = matches!(kind, Some(ParamKind::Secret { .. }));
            holds(is_secret, || "reads a secret that it lacks".to_owned())?;
        }
        Ok(())
    }

    fn check_part(&self, part: &Part) -> Checked {
        let (words, is_group) = match part {
            Part::Word(word) => (std::slice::from_ref(word), false),
            Part::Group(words) => (words.as_slice(), true),
        };
        let used: BTreeSet<usize> = words.iter().filter_map(param_position).collect();
        let is_one = !is_group || used.len() == 1;
        holds(is_one, || "has a group without its one argument".to_owned())?;
        let exist = used.iter().all(|at| *at < self.params.len());
        holds(exist, || "uses an argument that it lacks".to_owned())?;
        let texts = words.iter().filter_map(|word| match word {
            Word::Literal(text) | Word::Attached(text, _) => Some(text),
            Word::Value(_) => None,
        });
        has_no_nul(texts.clone())?;
        let attached = words.iter().all(|word| match word {
            Word::Attached(before, _) => before.starts_with('-') && before.ends_with('='),
            Word::Literal(_) | Word::Value(_) => true,
        });
        holds(attached, || {
            "appends a value to a word that is no option".to_owned()
        })
    }

    fn check_param(&self, param: &Param) -> Checked {
        let is_empty = || "has an argument without values".to_owned();
        holds(param.most >= 1, is_empty)?;
        match &param.kind {
            ParamKind::Int { min, max } => {
                holds(min <= max, || "has an argument without numbers".to_owned())?;
            }
            ParamKind::Enum(words) => has_no_nul(words.iter())?,
            ParamKind::Flag(word) => has_no_nul([word].into_iter())?,
            ParamKind::Path { under, .. } => is_plain(under, "directory")?,
            ParamKind::Text { .. }
            | ParamKind::Unit { .. }
            | ParamKind::User
            | ParamKind::Package
            | ParamKind::Secret { .. } => {}
        }
        let default = param.default.as_deref();
        let is_taken = default.is_none_or(|default| {
            param.kind.refuses(default).is_none() && self.protects(param, default).is_none()
        });
        holds(is_taken, || "has a default that it refuses".to_owned())
    }
}

impl GrantRule {
    fn check(&self) -> Checked {
        bounds::grant(self)?;
        self.to.check()?;
        check_globs(&self.allow, &self.scope)?;
        let permitted = self.env.iter().all(|name| never_permitted(name).is_none());
        holds(permitted, || {
            "permits a variable that nobody may set".to_owned()
        })?;
        let is_one_off = self.allow.iter().any(|glob| glob.literal() == Some(CHANGE));
        holds(self.approval.is_some() || !is_one_off, || {
            "grants one-off changes without an approval".to_owned()
        })?;
        // Without a list, each user would be in all lists.
        match self.approval.as_ref().map(Approval::lists) {
            None => Ok(()),
            Some([approvers]) => approvers.check(),
            Some(_) => Err("asks for an approval without one list of approvers".to_owned()),
        }
    }
}

impl DenyRule {
    fn check(&self) -> Checked {
        bounds::denial(self)?;
        self.to.check()?;
        check_globs(&self.deny, &self.scope)
    }
}

impl Grantees {
    fn check(&self) -> Checked {
        let refused = self.uids().chain(self.gids()).find_map(refused_id);
        holds(refused.is_none(), || {
            "names an id that nobody has".to_owned()
        })
    }
}

/// A load tries each pattern on each name, so the stars are few.
fn check_globs(names: &[Glob], scope: &Scope) -> Checked {
    let values = scope.args().flat_map(|(_, globs)| globs);
    let stars = |glob: &Glob| glob.as_str().bytes().filter(|byte| *byte == b'*').count();
    let are_few = names
        .iter()
        .chain(values)
        .all(|glob| stars(glob) <= Glob::STARS);
    holds(are_few, || {
        format!("has a pattern with over {} stars", Glob::STARS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eyes_of_root_are_for_copies_alone() {
        let with = |profile: Profile| Profile {
            eyes: Eyes::Root,
            ..profile
        };
        assert_eq!(with(Profile::plan()).check(), Ok(()));
        for other in [Profile::read(), Profile::strict(), Profile::host()] {
            assert_eq!(other.check(), Ok(()));
            assert!(with(other).check().is_err_and(|why| why.contains("eyes")));
        }
    }
}
