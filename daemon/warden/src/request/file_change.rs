//! Changes of files: what a plan may not change, whoever approves it, and what an undo puts back.
//! **Invariant:** what is checked is what `remit-commit` gets: the decoded bytes are those of the sealed standard input.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_plan::{Bundle, Journal, Phase, PlanPath, Protected, View};
use remit_policy::{Command, CommitUse, Stdin, Terms};

use crate::request::Call;

pub fn check(call: &Call, command: Option<&Command>, protected: &Protected) -> Result<(), Refusal> {
    if command.is_none_or(|command| command.stdin != Stdin::Plan) {
        return Ok(());
    }
    let wrong = |why: &str| {
        let text = format!("standard input is not a plan: {why}");
        Refusal::new(Code::InvalidArgs, text)
            .object("stdin")
            .next("give the whole output of the command plan.make")
    };
    match call.file_change() {
        None if command.is_some_and(Command::checks_plans) && call.stdin().is_none() => Ok(()),
        None => Err(wrong("there is none")),
        Some(Err(why)) => Err(wrong(why)),
        Some(Ok(bundle)) => recheck(bundle, protected),
    }
}

pub fn recheck(bundle: &Bundle, protected: &Protected) -> Result<(), Refusal> {
    check_views(bundle.views(), protected)
}

fn check_views<'a>(
    mut views: impl Iterator<Item = View<'a>>,
    protected: &Protected,
) -> Result<(), Refusal> {
    let refused = views.find_map(|view| Some((&view.entry.path, protected.refuses(&view)?)));
    refused.map_or(Ok(()), |(path, why)| Err(never(path, why)))
}

fn never(path: &PlanPath, why: &str) -> Refusal {
    let text = format!("no plan can change '{path}': {why}");
    Refusal::new(Code::DeniedRule, text)
        .object(path.to_string())
        .next("leave it out of the plan; root can change it without remit")
}

pub fn open_journal(directory: &Path, id: &str) -> io::Result<File> {
    File::open(directory.join(id).join("journal"))
}

/// The commit that a command undoes, and what decides whether it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    directory: PathBuf,
    id: String,
    /// `paths` of each rule that allows it.
    allowed: Vec<Vec<PlanPath>>,
    protected: Rc<Protected>,
}

impl Undo {
    pub fn from_argv(argv: &[CString], terms: &Terms, protected: &Rc<Protected>) -> Option<Self> {
        let used = terms.command()?.commit_use()?;
        let id = argv.get(3).filter(|_| used == CommitUse::Undo)?;
        Some(Self {
            directory: terms.command()?.commit_directory()?.into(),
            id: id.to_str().ok()?.to_owned(),
            allowed: terms.undo_paths().to_vec(),
            protected: Rc::clone(protected),
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what it puts back, by line. Reads the journal, so a child does it.
    pub fn lines(&self) -> Result<Vec<String>, String> {
        let none =
            |why: String| format!("there is no commit with this id that can be undone: {why}");
        if self.id.len() != 32 || !self.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(none("an id has 32 hexadecimal digits".to_owned()));
        }
        let mut bytes = Vec::new();
        let read = open_journal(&self.directory, &self.id);
        let read =
            read.and_then(|file| file.take(Journal::MOST as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| none(error.to_string()))?;
        let journal = Journal::decode(&bytes).map_err(|error| none(error.to_string()))?;
        match journal.phase {
            Phase::Kept => self.judge(&journal).map(|()| journal.plan.undo_lines()),
            _ => Err(none("it is not done, or not kept any more".to_owned())),
        }
    }

    /// Checks its paths. Its bytes are not here, so no file of accounts passes.
    fn judge(&self, journal: &Journal) -> Result<(), String> {
        let plan = &journal.plan;
        let mut rules = self.allowed.iter();
        if !rules.any(|paths| plan.outside(paths).is_none()) {
            return Err(
                "it changed paths that are not in 'paths' of a rule that allows the undo"
                    .to_owned(),
            );
        }
        let views = plan.entries().iter().map(|entry| View {
            entry,
            old: None,
            new: None,
        });
        check_views(views, &self.protected).map_err(|refusal| refusal.message)
    }
}
