//! A temporary grant that opens a way to root, or to another account, is refused, unless its giver or the policy accepts that.

use std::time::Duration;

use remit_common::admin::{Grantee, NewGrant};
use remit_common::escape::words;
use remit_common::prove::{Compared, KnownAccount, Opened, OpenedPath, PermittedWhat};
use remit_common::refusal::{Code, Refusal};
use remit_policy::Policy;
use serde::{Deserialize, Serialize};

use super::{LOOK_MS, Opens};
use crate::approval::grants::{Covered, permitted};
use crate::audit::Record;
use crate::identity::accounts::{AccountState, People};
use crate::identity::lookups::AskedBeside;
use crate::identity::user_names::{self, Login};
use crate::service::prover::{Prover, ProverAnswer, Situation};

/// Bytes of the paths in a refusal: the frame of an answer has them all.
const REFUSED: usize = 8 << 10;
/// Members of a group that are looked up.
const MEMBERS: usize = 64;

/// A grant that is to be given.
#[derive(Debug)]
pub struct GrantQuestion<'a> {
    pub situation: Situation<'a>,
    pub new: &'a NewGrant,
    pub giver: &'a str,
}

/// What it opens.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct GrantAnswer {
    opens: Opens,
    /// The paths that the policy does not accept.
    refused: Option<String>,
    /// Why it may open others: a bound, accounts that are not judged, or an answer that is missing.
    unknown: Option<String>,
}

impl GrantQuestion<'_> {
    /// Time for the program, besides that of look-ups.
    pub const PATIENCE: Duration = Duration::from_millis(LOOK_MS + 3_000);

    /// Starts the program that looks. `covered` returns the commands that can start by the grant. The answer is for
    /// [`GrantAnswer::decode`].
    pub fn begin<'b>(
        &'b self,
        covered: &'b dyn Fn(&People) -> Result<Vec<Covered>, Refusal>,
    ) -> AskedBeside<'b> {
        let prover = Prover::start(Self::compared(Vec::new()).patience());
        Box::new(move |people| {
            // The grant that has none will be refused.
            let answer = match covered(people) {
                Ok(covered) => self.ask(prover, people, &covered),
                Err(refusal) => GrantAnswer::of(Err(refusal.message), self.situation.policy),
            };
            postcard::to_extend(&answer, Vec::new()).unwrap_or_default()
        })
    }

    const fn compared(permitted: Vec<PermittedWhat>) -> Compared {
        Compared {
            before: None,
            changes: Vec::new(),
            permitted,
            milliseconds: LOOK_MS,
        }
    }

    /// Blocks until the answer is there, or the time is over.
    fn ask(&self, prover: Prover, people: &People, covered: &[Covered]) -> GrantAnswer {
        let grant = permitted(self.new, covered, self.giver);
        let compared = Self::compared(vec![PermittedWhat::Grant(grant)]);
        let known = self.known(people);
        let asked = known.and_then(|known| prover.ask(self.situation, known, compared));
        GrantAnswer::of(asked.and_then(ProverAnswer::take), self.situation.policy)
    }

    /// The tables of the machine may lack them.
    fn known(&self, people: &People) -> Result<Vec<KnownAccount>, String> {
        let known = |uid: u32, login: &Login| KnownAccount {
            name: login.name.clone(),
            uid,
            gids: login.groups.clone(),
        };
        match &self.new.to {
            Grantee::User { name, uid } => Ok(match people.account(*uid, name) {
                Some(AccountState::Is(login)) => vec![known(*uid, login)],
                Some(AccountState::NoAccount | AccountState::Unknown(_)) | None => Vec::new(),
            }),
            Grantee::Group { gid, .. } => {
                let members = user_names::members(*gid, MEMBERS);
                let members = members.map_err(|errno| {
                    format!("cannot look up the members of group {gid}: {errno}")
                })?;
                Ok(members
                    .iter()
                    .map(|(uid, login)| known(*uid, login))
                    .collect())
            }
        }
    }
}

impl GrantAnswer {
    pub fn decode(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).unwrap_or_else(|_| Self {
            unknown: Some("the child that asks for them died".to_owned()),
            ..Self::default()
        })
    }

    fn of(answer: Result<Opened, String>, policy: &Policy) -> Self {
        let unknown = match &answer {
            Ok(opened) => opened.incomplete.clone(),
            Err(why) => Some(why.clone()),
        };
        // Of all paths, before some are left out.
        let paths = answer.iter().flat_map(|opened| &opened.paths);
        let refused = paths.filter(|path| policy.accepted(&path.agent, &path.goal).is_none());
        let refused: Vec<String> = refused.map(OpenedPath::in_words).collect();
        let refused = words(&refused.join("; and "), REFUSED);
        Self {
            opens: Opens::of(answer),
            refused: Some(refused).filter(|refused| !refused.is_empty()),
            unknown,
        }
    }

    /// Fails if it opens a path that the policy does not accept, or if that is not known.
    pub fn check_accepted(&self) -> Result<(), Refusal> {
        let (text, next) = match (&self.refused, &self.unknown) {
            (Some(paths), _) => (
                format!("this grant opens a path: {paths}"),
                "close it; or add --accept-paths, for as long as the grant lasts",
            ),
            (None, Some(why)) => (
                format!("the ways to root that this grant opens are not known: {why}"),
                "mend that; or add --accept-paths",
            ),
            (None, None) => return Ok(()),
        };
        Err(Refusal::new(Code::DeniedRule, text).next(next))
    }

    pub fn on_record(&self, record: Record) -> Record {
        record
            .maybe("OPENS", self.opens.in_short())
            .maybe("OPENS_UNKNOWN", self.opens.why_unknown())
    }
}
