//! Signatures that were accepted: whether their keys still are. A child asks this before the job of a request starts.

use std::path::{Path, PathBuf};

use remit_approval::signers::{self, Signers};
use remit_policy_files::Owners;
use serde::{Deserialize, Serialize};

use crate::event_loop::timers;
use crate::identity::peer::Subject;

/// An account that has signed the request, and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBefore {
    pub account: String,
    pub key: String,
}

/// Signatures of a request that were accepted, and the file in which their keys have to be still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedSignatures {
    /// The directory with the file of keys.
    pub config: PathBuf,
    pub signed: Vec<SignedBefore>,
    /// Accounts of the requester and of those who have approved it: none of them has the key of another.
    pub people: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// What became of the signatures of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignaturesNow {
    /// Each would be accepted again.
    #[default]
    Accepted,
    /// Why one would not be, in a sentence.
    Lost(String),
    /// Why the file of keys cannot be read or used, in a sentence. Perhaps none is lost.
    Unread(String),
}

/// Reads the keys of approvers; may block.
pub fn read_keys(config: &Path) -> Result<Signers, String> {
    remit_policy_files::approver_keys(config, Owners::Root)?.ok_or_else(|| no_keys(config))
}

fn no_keys(config: &Path) -> String {
    let file = config.join(signers::FILE);
    format!(
        "there is no '{}' with the keys of approvers",
        file.display()
    )
}

impl AcceptedSignatures {
    pub fn new<'a>(
        config: &Path,
        requester: &'a Subject,
        approvers: impl IntoIterator<Item = &'a Subject>,
        signed: Vec<SignedBefore>,
    ) -> Self {
        let people = std::iter::once(requester).chain(approvers);
        Self {
            config: config.to_owned(),
            signed,
            people: people.map(|one| one.user().to_owned()).collect(),
            at_ms: timers::unix_ms(),
        }
    }

    /// Reads the keys, and says whether the signatures would be accepted now; may block. Without the file no key is left.
    pub fn now(&self) -> SignaturesNow {
        let Some(first) = self.signed.first() else {
            return SignaturesNow::Accepted;
        };
        match remit_policy_files::approver_keys(&self.config, Owners::Root) {
            Ok(Some(keys)) => {
                let mut signed = self.signed.iter();
                let lost = signed.find_map(|one| one.lost(&keys, &self.people, self.at_ms));
                lost.map_or(SignaturesNow::Accepted, SignaturesNow::Lost)
            }
            Ok(None) => SignaturesNow::Lost(first.sentence(&no_keys(&self.config))),
            Err(why) => SignaturesNow::Unread(first.sentence(&why)),
        }
    }
}

impl SignedBefore {
    fn lost(&self, keys: &Signers, people: &[String], at_ms: u64) -> Option<String> {
        let Self { account, key } = self;
        let used = || keys.0.iter().filter(|line| line.key == *key);
        let mut others = people.iter().filter(|person| *person != account);
        if let Some(other) = others.find(|other| used().any(|line| line.is_of(other))) {
            return Some(self.sentence(&format!("its key is one of {other}, too")));
        }
        let own = used().filter(|line| line.is_of(account));
        let refused: Option<Vec<String>> = own.map(|line| line.refuses(at_ms)).collect();
        Some(match refused?.pop() {
            Some(why) => self.sentence(&why),
            None => self.sentence(&format!("the key is no longer one of {account}")),
        })
    }

    fn sentence(&self, why: &str) -> String {
        format!("{} has signed it, and {why}", self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx";
    /// Milliseconds since 1970, in November 2026.
    const NOW: u64 = 1_795_163_148_042;

    #[test]
    fn signature_is_lost_with_its_key() {
        let one = SignedBefore {
            account: "ann".to_owned(),
            key: KEY.to_owned(),
        };
        let people = ["agent", "ann", "bob"].map(str::to_owned);
        for (file, expect) in [
            (format!("ann {KEY}"), None),
            (format!("eve,ann {KEY} comment"), None),
            (format!("ann valid-before=\"20270101Z\" {KEY}"), None),
            // One of the lines is enough.
            (
                format!("ann valid-before=\"20200101Z\" {KEY}\nann {KEY}"),
                None,
            ),
            (String::new(), Some("the key is no longer one of ann")),
            (
                format!("eve {KEY}"),
                Some("the key is no longer one of ann"),
            ),
            (
                format!("ann {KEY}x"),
                Some("the key is no longer one of ann"),
            ),
            (
                format!("ann valid-before=\"20200101Z\" {KEY}"),
                Some("was valid before 2020-01-01"),
            ),
            (
                format!("ann valid-after=\"20990101Z\" {KEY}"),
                Some("is valid after 2099-01-01"),
            ),
            (
                format!("ann namespaces=\"git\" {KEY}"),
                Some("is not for the namespace"),
            ),
            (
                format!("ann {KEY}\nagent {KEY}"),
                Some("its key is one of agent, too"),
            ),
            (format!("ann,bob {KEY}"), Some("its key is one of bob, too")),
        ] {
            let keys = Signers::parse(file.as_bytes()).unwrap();
            let lost = one.lost(&keys, &people, NOW);
            let is_expected = match (&lost, expect) {
                (Some(why), Some(expect)) => {
                    why.starts_with("ann has signed it, and ") && why.contains(expect)
                }
                (None, None) => true,
                _ => false,
            };
            assert!(is_expected, "{file}: {lost:?}");
        }
    }

    #[test]
    fn signatures_are_lost_with_the_file_but_not_while_it_cannot_be_read() {
        let mut accepted = AcceptedSignatures {
            config: PathBuf::from("/nonexistent/remit"),
            signed: Vec::new(),
            people: Vec::new(),
            at_ms: NOW,
        };
        assert_eq!(accepted.now(), SignaturesNow::Accepted);
        accepted.signed.push(SignedBefore {
            account: "ann".to_owned(),
            key: KEY.to_owned(),
        });
        let why = "ann has signed it, and there is no '/nonexistent/remit/approvers' with the keys of approvers";
        assert_eq!(accepted.now(), SignaturesNow::Lost(why.to_owned()));
        // What cannot be opened is no file that is gone.
        accepted.config = PathBuf::from("/dev/null");
        let now = accepted.now();
        assert!(
            matches!(&now, SignaturesNow::Unread(why) if why.starts_with("ann has signed it, and ")),
            "{now:?}"
        );
    }
}
