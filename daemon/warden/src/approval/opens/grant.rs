//! A temporary grant that opens a way to root, or to another account, is refused, unless its giver or the policy accepts that.

use remit_common::admin::{Grantee, NewGrant};
use remit_common::escape::words;
use remit_common::prove::{Compared, KnownAccount, Opened, OpenedPath, Permitted};
use remit_common::refusal::{Code, Refusal};
use remit_policy::Policy;
use serde::{Deserialize, Serialize};

use super::{LOOK_MS, Opens};
use crate::approval::grants::{Covered, permitted};
use crate::audit::Record;
use crate::identity::accounts::{AccountState, People};
use crate::service::prover::{Prover, ProverAnswer, Situation};

/// Bytes of the paths in a refusal: the frame of an answer has them all.
const REFUSED: usize = 8 << 10;

/// A grant that is to be given.
#[derive(Debug)]
pub struct GrantOpens<'a> {
    situation: Situation<'a>,
    grant: Permitted,
    to: &'a Grantee,
}

/// What it opens.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct GrantOpened {
    opens: Opens,
    /// Why it may open others: a bound, or an answer that is missing.
    unknown: Option<String>,
}

impl<'a> GrantOpens<'a> {
    pub fn of(new: &'a NewGrant, giver: &str, situation: Situation<'a>) -> Self {
        let covered = Covered::by(new, situation.policy);
        Self {
            situation,
            grant: permitted(new, &covered, format!("this grant of {giver}")),
            to: &new.to,
        }
    }

    /// Starts the program that looks.
    pub fn start() -> Prover {
        Prover::start(Self::compared(Vec::new()).patience())
    }

    const fn compared(permitted: Vec<Permitted>) -> Compared {
        Compared {
            before: None,
            changes: Vec::new(),
            permitted,
            milliseconds: LOOK_MS,
        }
    }

    /// Blocks until the answer is there, or the time is over.
    pub fn ask(&self, prover: Prover, people: &People) -> GrantOpened {
        let compared = Self::compared(vec![self.grant.clone()]);
        let known = self.known(people).into_iter().collect();
        let asked = prover.ask(self.situation, known, compared);
        GrantOpened::of(asked.and_then(ProverAnswer::take))
    }

    fn known(&self, people: &People) -> Option<KnownAccount> {
        let Grantee::User { name, uid } = self.to else {
            return None;
        };
        match people.account(*uid, name) {
            Some(AccountState::Is(login)) => Some(KnownAccount {
                name: login.name.clone(),
                uid: *uid,
                gids: login.groups.clone(),
            }),
            Some(AccountState::NoAccount | AccountState::Unknown(_)) | None => None,
        }
    }
}

impl GrantOpened {
    fn of(answer: Result<Opened, String>) -> Self {
        let unknown = match &answer {
            Ok(opened) => opened.incomplete.clone(),
            Err(why) => Some(why.clone()),
        };
        let opens = Opens::of(answer);
        Self { opens, unknown }
    }

    /// Fails if it opens a path that the policy does not accept, or if that is not known.
    pub fn check_accepted(&self, policy: &Policy) -> Result<(), Refusal> {
        let refused = |text: String, next: &str| Refusal::new(Code::DeniedRule, text).next(next);
        let paths = self.opens.paths.iter();
        let opened = paths.filter(|path| policy.accepted(&path.agent, &path.goal).is_none());
        let opened: Vec<String> = opened.map(OpenedPath::in_words).collect();
        if !opened.is_empty() {
            let opened = words(&opened.join("; and "), REFUSED);
            let text = format!("this grant opens a path: {opened}");
            let next = "close it; or add --accept-paths, for as long as the grant lasts";
            return Err(refused(text, next));
        }
        self.unknown.as_ref().map_or(Ok(()), |why| {
            let text = format!("the ways to root that this grant opens are not known: {why}");
            Err(refused(text, "mend that; or add --accept-paths"))
        })
    }

    pub fn on_record(&self, record: Record) -> Record {
        record
            .maybe("OPENS", self.opens.in_short())
            .maybe("OPENS_UNKNOWN", self.opens.why_unknown())
    }
}
