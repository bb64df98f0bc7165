//! Commands that take a plan: those of remit-commit, and checks, which see its files.

use remit_common::inspect::{EXTRACT, EXTRACTED_JOB};
use remit_common::wire::Effect;

use crate::model::command::{
    ACTS, CONTENTS_WORD, Command, CommitUse, Param, ParamKind, Part, Stdin, THEN, THEN_WORD, Word,
};
use crate::model::profile::{Base, Eyes, Network};

impl Command {
    /// Returns true if it sees the files of a plan, and commits nothing.
    #[must_use]
    pub fn checks_plans(&self) -> bool {
        self.stdin == Stdin::Plan && !self.is_commit()
    }

    /// Returns true if a plan decides what it runs: in a copy of the machine, the plan may replace its program. So a grant of it is
    /// one of any program in its profile.
    #[must_use]
    pub fn runs_any_program(&self) -> bool {
        self.checks_plans() && self.profile.base == Base::Plan
    }

    /// Returns true for a check of plans that can show what is in every file, as a plan decides what it runs. No rule permits it
    /// without an approval.
    #[must_use]
    pub fn shows_any_file(&self) -> bool {
        self.runs_any_program() && self.profile.eyes == Eyes::Root
    }

    /// Returns true if its program commits changes of files. Only the whole name of such a command grants it.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        self.argv.first().is_some_and(Part::is_committer)
    }

    /// Returns what it does with a plan, if its program is remit-commit.
    #[must_use]
    pub fn commit_use(&self) -> Option<CommitUse> {
        let word = |at: usize| match self.argv.get(at) {
            Some(Part::Word(Word::Literal(text))) => Some(text.as_str()),
            _ => None,
        };
        let fixed = self.argv.len() - usize::from(self.takes_acts());
        match (word(1), fixed) {
            _ if !self.is_commit() => None,
            (Some("commit"), 3) => Some(CommitUse::Commit),
            (Some("undo"), 4) => Some(CommitUse::Undo),
            (Some("undo"), 5) if self.is_contents(self.argv.get(4)) => Some(CommitUse::Undo),
            (Some("recover"), 3) => Some(CommitUse::Recover),
            _ => None,
        }
    }

    /// Returns the argument of an undo that has the id of the commit.
    #[must_use]
    pub fn undone(&self) -> Option<&Param> {
        match self.argv.get(3) {
            Some(Part::Word(Word::Value(at))) => self.params.get(*at),
            _ => None,
        }
    }

    /// Returns the id of the commit that a call with these arguments undoes. `None` if it has not exactly one.
    #[must_use]
    pub fn undone_by<'a>(&self, args: &'a [(String, String)]) -> Option<&'a str> {
        let is_undo = self.commit_use() == Some(CommitUse::Undo);
        let param = self.undone().filter(|_| is_undo)?;
        let mut ids = args.iter().filter(|(name, _)| *name == param.name);
        let (_, id) = ids.next()?;
        ids.next().is_none().then_some(id.as_str())
    }

    /// Returns true for the argument of an undo that takes new directories away with all that is in them.
    fn is_contents(&self, part: Option<&Part>) -> bool {
        let Some(Part::Word(Word::Value(at))) = part else {
            return false;
        };
        let kind = self.params.get(*at).map(|param| &param.kind);
        matches!(kind, Some(ParamKind::Flag(word)) if word == CONTENTS_WORD)
    }

    /// Returns the directory with the journals of its commits.
    #[must_use]
    pub fn commit_directory(&self) -> Option<&str> {
        match self.argv.get(2) {
            Some(Part::Word(Word::Literal(directory))) if self.is_commit() => Some(directory),
            _ => None,
        }
    }

    /// Returns why this command cannot be as it is, if it commits changes of files or takes a plan.
    pub fn commits(&self) -> Result<(), String> {
        let is_plan = self.stdin == Stdin::Plan;
        let what = match self.is_commit() {
            true => "a command of remit-commit",
            false if is_plan => return self.can_check(),
            false => return Ok(()),
        };
        let Some(used) = self.commit_use() else {
            return Err(format!(
                "{what} has the words commit DIRECTORY, undo DIRECTORY {{ID}}, or recover DIRECTORY; an undo maybe a bool with flag = \"{CONTENTS_WORD}\", and a commit and an undo maybe [\"{THEN_WORD}\", \"{{{THEN}}}\"] after them"
            ));
        };
        if is_plan != (used == CommitUse::Commit) {
            return Err(format!(
                "{what} has stdin = \"plan\" if its word is commit, and only then"
            ));
        }
        if self.effect != Effect::Change || self.profile.base != Base::Host {
            return Err(format!(
                "{what} has effect \"change\" and a profile of base host"
            ));
        }
        let takes_acts = self.takes_acts();
        let (then, others): (Vec<&Param>, Vec<&Param>) = self
            .params
            .iter()
            .partition(|param| takes_acts && param.name == THEN);
        let is_then = |param: &&Param| {
            let is_text = matches!(param.kind, ParamKind::Text { .. });
            is_text && param.optional && param.default.is_none() && param.most <= ACTS
        };
        let is_flag = |param: &Param| matches!(param.kind, ParamKind::Flag(_));
        let has_params = match others.as_slice() {
            [] => used != CommitUse::Undo,
            [id] => used == CommitUse::Undo && !id.optional && id.most == 1 && !is_flag(id),
            [a, b] => {
                let ids = [a, b].into_iter().filter(|param| !is_flag(param));
                let mut ids = ids.map(|id| !id.optional && id.most == 1);
                used == CommitUse::Undo && ids.next() == Some(true) && ids.next().is_none()
            }
            _ => false,
        };
        let has_params =
            has_params && then.iter().all(is_then) && !(takes_acts && used == CommitUse::Recover);
        match has_params && self.env.is_empty() && self.profile.env.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{what} takes the id of an undo and maybe its flag, up to {ACTS} texts '{THEN}' that may be absent, and nothing else, and sets no variables"
            )),
        }
    }

    /// Returns why this command cannot be as it is, if it is of base `extract`.
    pub fn extracts(&self) -> Result<(), String> {
        if self.profile.base != Base::Extract {
            return Ok(());
        }
        let is_job = |param: &Param| {
            let is_text = matches!(param.kind, ParamKind::Text { .. });
            param.name == EXTRACTED_JOB && is_text && !param.optional && param.most == 1
        };
        let has_job = self.params.len() == 1 && self.params.iter().all(is_job);
        let is_own = matches!(self.argv.first(), Some(Part::Word(Word::Literal(program))) if program == EXTRACT);
        let sets_nothing = self.env.is_empty() && self.profile.env.is_empty();
        match is_own
            && sets_nothing
            && has_job
            && self.effect == Effect::Read
            && self.stdin == Stdin::None
        {
            true => Ok(()),
            false => Err(format!(
                "a command of base extract runs {EXTRACT}, with effect \"read\", no standard input, no variables, and one argument: \
                 the text '{EXTRACTED_JOB}'"
            )),
        }
    }

    /// The program reads what the caller wrote, before anybody has approved that: so it can look, and do nothing else.
    fn can_check(&self) -> Result<(), String> {
        let profile = &self.profile;
        let reaches_nothing = match profile.base {
            Base::Strict => profile.reaches_nothing(),
            Base::Plan => profile.network == Network::None,
            Base::Read | Base::Host | Base::Extract => false,
        };
        match self.effect == Effect::Read && reaches_nothing {
            true => Ok(()),
            false => Err(
                "stdin = \"plan\" is for remit-commit, and for commands of effect \"read\" in a profile of base strict \
                 without write, sockets, devices, and a network beyond itself, or in one of base plan without network"
                    .to_owned(),
            ),
        }
    }
}
