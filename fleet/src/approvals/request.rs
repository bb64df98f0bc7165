//! Requests as hosts list and show them, in strict form. Pure.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::hex::hex;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::{JobId, SetId};
use remit_common::text;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::host_name::HostName;

/// Requests of one host. More are counted.
const LISTED: usize = 100;
/// Bytes of the name of a state.
const STATE: usize = 40;
/// Digits by which a set is named.
const SET_DIGITS: usize = 8;

/// SHA-256 as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

#[derive(Clone, Debug, PartialEq)]
pub struct HostRequest {
    pub host: HostName,
    pub job: JobId,
    pub digest: Digest,
    pub set: Option<SetId>,
    pub is_yours: bool,
    /// This person has approved it there, and others still have to.
    pub is_approved: bool,
    pub left_ms: u64,
    /// Everything else that the host says of it.
    pub facts: Map<String, Value>,
}

/// Of facts: those that differ for each request. The line of the host has some of them.
const OWN: [&str; 7] = [
    "job_id", "digest", "set", "yours", "asked_ms", "left_ms", "login",
];

/// Key of a plan's digest that does not count the inode numbers and times of the old files.
const CONTENT: &str = "content_sha256";
/// How the line of standard input that is a shown plan ends.
const PLAN: &str = ": a plan, shown above";

/// Takes away what differs for each host though the plan and its old files are the same: the digest of the content, which stays,
/// has all that these cover.
fn drop_own_of_plan(facts: &mut Map<String, Value>) {
    let Some(Value::Object(plan)) = facts.get_mut("plan") else {
        return;
    };
    let content = plan.get(CONTENT).and_then(Value::as_str);
    if content.and_then(Digest::parse).is_none() {
        return;
    }
    plan.remove("commit_id");
    let stdin = facts.get("stdin").and_then(Value::as_str);
    if stdin.is_some_and(|stdin| stdin.ends_with(PLAN)) {
        facts.remove("stdin");
    }
}

impl Digest {
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// Reads what a person typed, as `remit approve --digest` does: capitals, and spaces, colons and hyphens between digits.
    pub fn typed(text: &str) -> Result<Self, &'static str> {
        let digits = text.chars().filter(|c| !" :-".contains(*c));
        let digits: String = digits.map(|c| c.to_ascii_lowercase()).collect();
        Self::parse(&digits).ok_or("not a digest: expected all 64 hex digits")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a request of `remit show --json`, or one of `remit pending --json`.
pub fn request(host: &HostName, mut facts: Map<String, Value>) -> Result<HostRequest, String> {
    let of = |key: &str| facts.get(key).and_then(Value::as_str);
    let job = of("job_id").and_then(|job| job.parse().ok());
    let digest = of("digest").and_then(Digest::parse);
    let (Some(job), Some(digest)) = (job, digest) else {
        return Err(match (facts.get("digest"), of("state")) {
            // `remit show` of a job that is over, or that another approver has started.
            (None, Some(state)) => {
                let state = text::line(state.as_bytes(), STATE);
                format!("the request waits no longer, its job is {state}")
            }
            _ => "it sent a request without a job_id and a digest".to_owned(),
        });
    };
    let set = of("set").and_then(|set| set.parse().ok());
    let is_yours = facts.get("yours") == Some(&Value::Bool(true));
    let left_ms = facts.get("left_ms").and_then(Value::as_u64).unwrap_or(0);
    OWN.iter().for_each(|key| drop(facts.remove(*key)));
    drop_own_of_plan(&mut facts);
    Ok(HostRequest {
        host: host.clone(),
        job,
        digest,
        set,
        is_yours,
        is_approved: false,
        left_ms,
        facts,
    })
}

impl HostRequest {
    /// Returns true if an account of this name has approved it, and cannot do so again.
    pub fn has_approval_of(&self, user: &str) -> bool {
        let by = self.facts.get("approved_by").and_then(Value::as_array);
        !self.is_yours && by.is_some_and(|by| by.iter().any(|name| name == user))
    }

    /// Returns what approves it, if the host wants a signature with the approval.
    pub fn signing_command(&self) -> Option<String> {
        let signed = self
            .facts
            .get("signed")
            .is_some_and(|signed| !signed.is_null());
        signed.then(|| format!("remit approve --on {} {}", self.host, self.job.short()))
    }
}

/// Reads `remit pending --json`. Returns how many requests are not listed.
pub fn listed(
    host: &HostName,
    mut answer: Map<String, Value>,
) -> Result<(Vec<HostRequest>, u64), String> {
    let Some(Value::Array(all)) = answer.remove("requests") else {
        return Err("it sent no list of requests".to_owned());
    };
    let omitted = answer.get("omitted").and_then(Value::as_u64).unwrap_or(0);
    let left = all.len().saturating_sub(LISTED);
    let requests = all.into_iter().take(LISTED).map(|one| match one {
        Value::Object(one) => request(host, one),
        _ => Err("it sent a request that is no object".to_owned()),
    });
    Ok((
        requests.collect::<Result<_, _>>()?,
        omitted.saturating_add(u64::try_from(left).unwrap_or(u64::MAX)),
    ))
}

/// What a person approves or denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Beginning of the id of a set.
    Set(String),
    /// One request of one host.
    One(String, IdPrefix),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((host, id)) = text.rsplit_once(':') {
            let id = id.parse().map_err(|why| format!("{why}"))?;
            return Ok(Self::One(host.to_owned(), id));
        }
        let digits = text.to_ascii_lowercase();
        let is_set = (SET_DIGITS..=32).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_set {
            true => Ok(Self::Set(digits)),
            false => Err(format!(
                "neither a set, {SET_DIGITS} to 32 hexadecimal digits, nor HOST:ID"
            )),
        }
    }
}

impl Target {
    /// Returns the requests that are meant, one a host.
    pub fn choose(&self, all: Vec<HostRequest>) -> Result<Vec<HostRequest>, String> {
        let found: Vec<HostRequest> = match self {
            Self::One(host, id) => {
                let is_meant = |one: &HostRequest| one.host.as_str() == host && id.begins(one.job);
                let found: Vec<_> = all.into_iter().filter(is_meant).collect();
                if found.len() > 1 {
                    return Err(format!(
                        "{} requests of {host} begin so: type more digits",
                        found.len()
                    ));
                }
                found
            }
            Self::Set(digits) => {
                let is_meant = |one: &HostRequest| {
                    one.set
                        .is_some_and(|set| set.to_string().starts_with(digits))
                };
                let found: Vec<_> = all.into_iter().filter(is_meant).collect();
                let sets: BTreeSet<_> = found.iter().filter_map(|one| one.set).collect();
                if sets.len() > 1 {
                    let sets: Vec<String> = sets.iter().take(8).map(SetId::to_string).collect();
                    return Err(format!("several sets begin so: {}", sets.join(", ")));
                }
                found
            }
        };
        let mut count: BTreeMap<&HostName, usize> = BTreeMap::new();
        for one in &found {
            *count.entry(&one.host).or_default() += 1;
        }
        // A set has one request on a host. Which of several is meant would be guessed.
        if let Some((host, count)) = count.iter().find(|(_, count)| **count > 1) {
            return Err(format!(
                "{host} has {count} requests that say they belong to it; name each by HOST:ID, and the others with --on \
                 '* !{host}'"
            ));
        }
        match found.is_empty() {
            true => Err("no such request waits for an approval".to_owned()),
            false => Ok(found),
        }
    }
}

/// Returns the digest of a list: which job with which digest on which host.
pub fn digest_of_all(requests: &[HostRequest]) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"remit approvals 1\n");
    for one in requests {
        // Names of hosts have no white space.
        hash.update(format!(
            "{} {} {}\n",
            one.host,
            one.job,
            one.digest.as_str()
        ));
    }
    Digest(hex(&hash.finalize()))
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    pub fn one(host: &str, job: u8, set: Option<u8>, command: &str) -> HostRequest {
        let facts = json!({
            "job_id": JobId([job; 16]).to_string(), "digest": format!("{job:02x}").repeat(32),
            "set": set.map(|set| SetId([set; 16]).to_string()), "yours": true, "left_ms": 60_000, "asked_ms": 1,
            "login": format!("pid {job}"), "user": "agent", "uid": 1000, "command": command, "reason": "why",
        });
        let host: HostName = host.parse().unwrap();
        request(&host, facts.as_object().unwrap().clone()).unwrap()
    }

    fn names(found: Result<Vec<HostRequest>, String>) -> String {
        let found = found.unwrap_or_else(|why| panic!("{why}"));
        let names: Vec<&str> = found.iter().map(|one| one.host.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn ids_and_digests_have_a_strict_form() {
        let host: HostName = "web1".parse().unwrap();
        let good = json!({"job_id": "ab".repeat(16), "digest": "cd".repeat(32)});
        let parsed = request(&host, good.as_object().unwrap().clone()).unwrap();
        assert_eq!(
            (parsed.set, parsed.is_yours, parsed.left_ms),
            (None, false, 0)
        );
        for (key, value) in [
            ("job_id", json!("ab".repeat(16) + "; touch /x")),
            ("job_id", json!("--help")),
            ("job_id", json!(7)),
            ("digest", json!("CD".repeat(32))),
            ("digest", json!("cd".repeat(31))),
            ("digest", json!(null)),
        ] {
            let mut wrong = good.as_object().unwrap().clone();
            wrong.insert(key.to_owned(), value);
            assert!(request(&host, wrong).is_err(), "{key}");
        }
        let over = json!({"job_id": "ab".repeat(16), "state": "cancelled\n", "exit": null});
        let why = request(&host, over.as_object().unwrap().clone()).unwrap_err();
        assert_eq!(why, "the request waits no longer, its job is cancelled\\n");
        // A set of another form is none.
        let mut odd = good.as_object().unwrap().clone();
        odd.insert("set".to_owned(), json!("x"));
        assert_eq!(request(&host, odd).unwrap().set, None);
    }

    /// A request of a plan as `remit show --json` has it, with the parts that differ for each host.
    fn of_plan(number: u8, content: &Value) -> HostRequest {
        let entry =
            json!({"path": "/etc/a", "what": "9 bytes become 10 bytes", "diff": ["-a", "+b"]});
        let facts = json!({
            "job_id": JobId([number; 16]).to_string(), "digest": format!("{number:02x}").repeat(32), "command": "plan.commit",
            "stdin": format!("{number} bytes, sha256 {}{PLAN}", format!("{number:02x}").repeat(32)),
            "plan": {"commit_id": format!("{number:02x}").repeat(16), "content_sha256": content, "entries": [entry]},
        });
        let host: HostName = format!("web{number}").parse().unwrap();
        request(&host, facts.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn plans_of_one_content_are_one_request() {
        use crate::approvals::page::{alike, page};
        let same = || json!("ab".repeat(32));
        let both = [of_plan(1, &same()), of_plan(2, &same())];
        assert_eq!(alike(&both).len(), 1);
        let page = page(&both);
        assert!(page.starts_with("== web1 web2\n"), "{page}");
        for one in &both {
            assert!(page.contains(one.digest.as_str()), "{page}");
        }
        // Without a digest of the content, as of an older host, nothing says that they are the same.
        for (one, other) in [
            (same(), json!("cd".repeat(32))),
            (same(), Value::Null),
            (Value::Null, Value::Null),
            (json!("x"), json!("x")),
        ] {
            let both = [of_plan(1, &one), of_plan(2, &other)];
            assert_eq!(alike(&both).len(), 2, "{one} {other}");
        }
        for (at, value) in [
            ("/plan/entries/0/path", json!("/etc/b")),
            (
                "/plan/entries/0/what",
                json!("9 bytes become 10 bytes, mode 0644 becomes 0600"),
            ),
            ("/plan/entries/0/diff/1", json!("+c")),
            ("/stdin", json!("9 bytes, sha256 00")),
        ] {
            let mut other = Value::Object(both[1].facts.clone());
            match at {
                "/stdin" => other["stdin"] = value,
                at => *other.pointer_mut(at).unwrap() = value,
            }
            let mut changed = both[1].clone();
            changed.facts = other.as_object().unwrap().clone();
            assert_eq!(alike(&[both[0].clone(), changed]).len(), 2, "{at}");
        }
    }

    #[test]
    fn approval_of_an_account_is_known() {
        for (is_yours, by, expect) in [
            (false, json!(["bob", "ann"]), true),
            (false, json!(["bob"]), false),
            (false, json!([]), false),
            (false, json!("ann"), false),
            (false, Value::Null, false),
            (true, json!(["ann"]), false),
        ] {
            let mut one = one("a", 1, None, "x");
            one.is_yours = is_yours;
            one.facts.insert("approved_by".to_owned(), by.clone());
            assert_eq!(one.has_approval_of("ann"), expect, "{is_yours} {by}");
        }
    }

    #[test]
    fn target_is_a_set_or_one_request() {
        let all = || {
            vec![
                one("a", 1, Some(7), "x"),
                one("b", 2, Some(7), "x"),
                one("b", 3, None, "x"),
                one("c", 4, Some(8), "x"),
            ]
        };
        let choose = |text: &str| {
            text.parse::<Target>()
                .and_then(|target| target.choose(all()))
        };
        assert_eq!(names(choose("07070707")), "a b");
        assert_eq!(names(choose(&"07".repeat(16))), "a b");
        assert_eq!(names(choose("b:0303-0303")), "b");
        for (text, expect) in [
            ("0707", "neither a set"),
            ("0707070g", "neither a set"),
            ("a:0303", "no such request"),
            ("09090909", "no such request"),
            ("-oProxyCommand=x", "neither a set"),
            ("a:x;y", "not an id"),
        ] {
            let why = choose(text).unwrap_err();
            assert!(why.starts_with(expect), "{text}: {why}");
        }
    }

    #[test]
    fn host_cannot_double_itself_or_blur_a_set() {
        let target: Target = "07070707".parse().unwrap();
        let twice = vec![
            one("a", 1, Some(7), "x"),
            one("liar", 2, Some(7), "x"),
            one("liar", 3, Some(7), "y"),
        ];
        let why = target.choose(twice).unwrap_err();
        assert!(why.starts_with("liar has 2 requests"), "{why}");
        assert!(!why.contains("approve"), "a denial says the same: {why}");
        let mut near = one("liar", 2, None, "y");
        near.set = format!("07070707{}", "0".repeat(24)).parse().ok();
        let why = target
            .choose(vec![one("a", 1, Some(7), "x"), near])
            .unwrap_err();
        assert!(why.starts_with("several sets begin so"), "{why}");
    }

    #[test]
    fn digest_of_all_covers_host_job_and_digest() {
        let usual = [one("a", 1, None, "x"), one("b", 2, None, "x")];
        let base = digest_of_all(&usual);
        for other in [
            vec![one("a", 1, None, "x")],
            vec![one("b", 2, None, "x"), one("a", 1, None, "x")],
            vec![one("a", 2, None, "x"), one("b", 1, None, "x")],
        ] {
            assert_ne!(digest_of_all(&other), base);
        }
        let mut other = usual.clone();
        other[0].digest = Digest::parse(&"ee".repeat(32)).unwrap();
        assert_ne!(digest_of_all(&other), base);
    }

    #[test]
    fn typed_digest_is_whole_in_any_spelling() {
        let text = "0123456789abcdef".repeat(4);
        let digest = Digest::parse(&text).unwrap();
        for spelling in [
            text.clone(),
            text.to_uppercase(),
            "01234567 89ABCDEF ".repeat(4),
            "0123:4567-89ab:cdef ".repeat(4),
        ] {
            assert_eq!(Digest::typed(&spelling), Ok(digest.clone()), "{spelling}");
        }
        for wrong in [
            "",
            &text[..8],
            &text[1..],
            &format!("{text}0"),
            &text.replace('f', "g"),
        ] {
            assert!(Digest::typed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn list_of_a_host_is_bounded() {
        let host: HostName = "a".parse().unwrap();
        let item = json!({"job_id": "ab".repeat(16), "digest": "cd".repeat(32)});
        let answer = json!({"requests": vec![item; LISTED + 7], "omitted": 3});
        let (requests, more) = listed(&host, answer.as_object().unwrap().clone()).unwrap();
        assert_eq!((requests.len(), more), (LISTED, 10));
        for wrong in [
            json!({}),
            json!({"requests": [7]}),
            json!({"requests": [{}]}),
        ] {
            assert!(listed(&host, wrong.as_object().unwrap().clone()).is_err());
        }
    }
}
