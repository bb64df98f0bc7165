//! Names that other programs rely on: job ids and socket paths.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub mod id_prefix {
    //! The rule for ids that people type: any unambiguous beginning of at least 4 digits. The caller lists the jobs.

    use std::fmt;
    use std::str::FromStr;

    use crate::names::JobId;
    use crate::refusal::{Code, Refusal};
    use crate::text;

    /// Maximum number of candidates in the refusal of an ambiguous id.
    const CANDIDATES: usize = 8;

    /// Beginning of the id of a job or request: 4 to 32 hexadecimal digits, in lower case and without hyphens.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct IdPrefix(String);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NotAnId;

    impl fmt::Display for NotAnId {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("not an id: expected 4 to 32 hex digits (hyphens are ignored)")
        }
    }

    impl std::error::Error for NotAnId {}

    impl From<NotAnId> for Refusal {
        fn from(error: NotAnId) -> Self {
            Self::new(Code::InvalidArgs, error.to_string()).object("id")
        }
    }

    impl FromStr for IdPrefix {
        type Err = NotAnId;

        fn from_str(text: &str) -> Result<Self, NotAnId> {
            let digits: String = text.chars().filter(|c| *c != '-').collect();
            let is_id =
                (4..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            match is_id {
                true => Ok(Self(digits.to_ascii_lowercase())),
                false => Err(NotAnId),
            }
        }
    }

    impl fmt::Display for IdPrefix {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl From<IdPrefix> for String {
        fn from(prefix: IdPrefix) -> Self {
            prefix.0
        }
    }

    impl IdPrefix {
        /// Returns the id if all its digits are given.
        #[must_use]
        pub fn whole(&self) -> Option<JobId> {
            self.0.parse().ok()
        }

        #[must_use]
        pub fn begins(&self, job: JobId) -> bool {
            job.to_string().starts_with(&self.0)
        }

        /// Returns the one candidate with this id, which `id_of` gives, or `None`. Fails if there are more, and lists them.
        pub fn choose<T>(
            &self,
            candidates: impl IntoIterator<Item = T>,
            id_of: impl Fn(&T) -> JobId,
        ) -> Result<Option<T>, Refusal> {
            let candidates = candidates.into_iter();
            let mut found: Vec<T> = candidates.filter(|one| self.begins(id_of(one))).collect();
            match found.len() {
                0 | 1 => Ok(found.pop()),
                _ => Err(self.ambiguous(found.iter().map(id_of).collect())),
            }
        }

        fn ambiguous(&self, mut jobs: Vec<JobId>) -> Refusal {
            jobs.sort();
            // Ids that begin with the same 8 digits are shown whole.
            let has_twin = jobs.windows(2).any(|pair| match pair {
                [one, other] => one.short() == other.short(),
                _ => false,
            });
            let shown = jobs.iter().map(|job| match has_twin {
                true => job.to_string(),
                false => job.short(),
            });
            let list = text::first_of(shown, CANDIDATES);
            let message = format!("{} ids begin with '{self}': {list}", jobs.len());
            Refusal::new(Code::InvalidArgs, message)
                .object(self.to_string())
                .next("type more digits of the id")
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn id(text: &str) -> IdPrefix {
            text.parse().unwrap()
        }

        #[test]
        fn hyphens_and_case_are_ignored() {
            for (text, expect) in [
                ("7f3a", "7f3a"),
                ("7F3A-91C2", "7f3a91c2"),
                ("7f3a-91c2-0000-0000-0000-0000-0000-0000", &{
                    format!("7f3a91c2{}", "0".repeat(24))
                }),
            ] {
                assert_eq!(id(text).to_string(), expect, "{text}");
            }
            for text in [
                "",
                "7f3",
                "7f3-",
                "7f3g",
                "7f 3a",
                "--json",
                &"0".repeat(33),
            ] {
                assert_eq!(text.parse::<IdPrefix>(), Err(NotAnId), "{text}");
            }
            assert_eq!(id(&"ab".repeat(16)).whole(), Some(JobId([0xab; 16])));
            assert_eq!(id("abababab").whole(), None);
        }

        #[test]
        fn prefix_chooses_the_only_candidate() {
            let job = |text: &str| text.parse::<JobId>().unwrap();
            let one = job(&format!("97447f9f{}", "0".repeat(24)));
            let other = job(&format!("97441c2d{}", "0".repeat(24)));
            let twin = job(&format!("97447f9f{}1", "0".repeat(23)));
            let choose = |text: &str, jobs: &[JobId]| id(text).choose(jobs.to_vec(), |job| *job);
            assert_eq!(choose("9744-7", &[one, other]), Ok(Some(one)));
            assert_eq!(choose("9745", &[one, other]), Ok(None));
            assert_eq!(choose("9744", &[]), Ok(None));
            assert_eq!(choose(&one.to_string(), &[one, twin]), Ok(Some(one)));
            let refusal = choose("9744", &[one, other]).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidArgs);
            assert_eq!(
                refusal.message,
                "2 ids begin with '9744': 97441c2d, 97447f9f"
            );
            let refusal = choose("97447f9f", &[one, twin]).unwrap_err();
            assert!(refusal.message.contains(&twin.to_string()), "{refusal}");
            let many: Vec<JobId> = (0..9)
                .map(|digit| job(&format!("9744{digit}{}", "0".repeat(27))))
                .collect();
            let refusal = choose("9744", &many).unwrap_err();
            assert!(
                refusal.message.ends_with("97447000 and 1 more"),
                "{refusal}"
            );
        }
    }
}

/// Number of digits of a short id.
pub const SHORT_ID: usize = 8;

/// Job id: 128 random bits, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// Returns the first [`SHORT_ID`] digits, for display. An [`crate::id_prefix::IdPrefix`] accepts them.
    #[must_use]
    pub fn short(self) -> String {
        let mut digits = self.to_string();
        digits.truncate(SHORT_ID);
        digits
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct NotAJobId;

impl fmt::Display for NotAJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job id is 32 hexadecimal digits")
    }
}

impl std::error::Error for NotAJobId {}

impl FromStr for JobId {
    type Err = NotAJobId;

    fn from_str(text: &str) -> Result<Self, NotAJobId> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAJobId);
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| NotAJobId)
    }
}

/// Name of a set: the requests of one call for many hosts. 128 bits, written as 32 lower-case hexadecimal digits. The
/// requester chooses it, so it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetId(pub [u8; 16]);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        JobId(self.0).fmt(f)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct NotASetId;

impl fmt::Display for NotASetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a set is 32 lower-case hexadecimal digits")
    }
}

impl std::error::Error for NotASetId {}

impl FromStr for SetId {
    type Err = NotASetId;

    fn from_str(text: &str) -> Result<Self, NotASetId> {
        let JobId(bytes) = text.parse().map_err(|_| NotASetId)?;
        let set = Self(bytes);
        // One set has one form.
        (set.to_string() == text).then_some(set).ok_or(NotASetId)
    }
}

#[derive(Clone, Debug)]
pub struct Runtime(PathBuf);

impl Runtime {
    pub const DEFAULT: &str = "/run/remit";

    #[must_use]
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self(dir.as_ref().to_path_buf())
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("remit.sock")
    }

    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_has_one_form() {
        let set = SetId([0xab; 16]);
        assert_eq!(set.to_string().parse(), Ok(set));
        for text in ["", "ab", &"AB".repeat(16), &"g".repeat(32), &"a".repeat(33)] {
            assert_eq!(text.parse::<SetId>(), Err(NotASetId), "{text:?}");
        }
    }

    #[test]
    fn only_job_id_is_parsed() {
        let id = JobId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short(), "abababab");
        for text in [
            "",
            "ab",
            "+bababababababababababababababab",
            &"g".repeat(32),
            &"a".repeat(33),
        ] {
            assert_eq!(text.parse::<JobId>(), Err(NotAJobId), "{text:?}");
        }
    }
}
