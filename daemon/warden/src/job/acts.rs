//! Commands that follow a commit or an undo of files, in the same approval. They start one after another, each as a job
//! of its own, once the one before has ended with exit 0; the first that has not ends the rest. None of them starts by itself
//! after a restart of remitd. The end of the commit is reported once all of them are over.

use std::collections::BTreeSet;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::outcome::{Ending, FollowUp, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Effect, Purpose};
use remit_link::{JobMeta, ToBroker};
use remit_policy::{Act, Basis, CommitUse};

use crate::approval::approver::lost_approver;
use crate::event_loop::timers::Timer;
use crate::identity::accounts::People;
use crate::identity::peer::Subject;
use crate::job::commits::NEEDS_RECOVERY;
use crate::job::context::JobCx;
use crate::request::{ApprovedBy, Plan};

const TEXT: usize = 600;
const SKIPPED: &str = "not started: the one before it did not end with exit 0";
/// In the ledger until all are over.
const UNFINISHED: &str = "remitd ended before it had recorded the ends of the commands that follow: see 'remit jobs', and \
                          ask by itself for each that has not run";

/// What becomes of the files, and of the command, after the undo of a commit that is not confirmed.
const UNCONFIRMED: &str = "the files stay undone; if it has followed the commit, remitd itself starts it until it works or \
                           somebody confirms the commit";

/// Commits that have ended well, and whose commands are not all over.
#[derive(Debug, Default)]
pub struct Acts(pub Vec<FollowedCommit>);

#[derive(Debug)]
pub struct FollowedCommit {
    pub commit: JobId,
    /// The id of a commit, which an undo names. `None` of an undo.
    pub id: Option<String>,
    /// Its command.
    pub name: String,
    pub requester: Subject,
    pub session: u64,
    pub basis: Basis,
    pub policy: String,
    pub reason: String,
    /// The approval of the commit.
    pub approved: Option<ApprovedBy>,
    /// Why no further command starts: an account that they rest on has changed.
    pub lost: Option<Refusal>,
    /// What becomes of the files if one of them fails.
    pub files: String,
    pub acts: Vec<Act>,
    pub then: Vec<FollowUp>,
    pub report: Option<(ToBroker, JobMeta)>,
}

/// Returns how a commit ended for the ledger: with a note if commands follow that are not over.
pub fn unfinished(plan: &Plan, meta: &JobMeta) -> JobMeta {
    let mut meta = meta.clone();
    let is_followed = !plan.bound.acts.is_empty();
    if let Some(ending) = meta
        .ending
        .as_mut()
        .filter(|ending| ending.has_succeeded() && is_followed)
    {
        let note = ending.next.take().map(|note| format!("; {note}"));
        ending.next = Some(UNFINISHED.to_owned() + note.as_deref().unwrap_or_default());
    }
    meta
}

/// Returns the text of a command that follows as all lists show it.
pub fn shown(text: &str) -> String {
    text::line(text.as_bytes(), TEXT)
}

fn queued(act: &Act) -> FollowUp {
    FollowUp {
        command: shown(&act.text()),
        job: None,
        state: State::Queued,
        exit: None,
        cause: String::new(),
    }
}

impl FollowedCommit {
    fn new(plan: &Plan, is_unconfirmed: bool) -> Self {
        let acts = plan.bound.acts.iter();
        let acts: Vec<Act> = acts.map(|bound| bound.act.clone()).collect();
        let id = plan.committed();
        let files = match &id {
            Some(id) => format!("the files stay changed; to undo that: remit undo {id} -m WHY"),
            None if is_unconfirmed => UNCONFIRMED.to_owned(),
            None => "the files stay undone".to_owned(),
        };
        Self {
            commit: plan.job,
            id,
            name: plan.call().name_in_rules().to_owned(),
            requester: plan.requester.subject.clone(),
            session: plan.requester.session,
            basis: plan.basis().clone(),
            policy: plan.policy().to_owned(),
            reason: plan.asked().reason().unwrap_or_default().to_owned(),
            approved: plan.approved.as_ref().map(|approved| approved.by.clone()),
            lost: None,
            files,
            then: acts.iter().map(queued).collect(),
            acts,
            report: None,
        }
    }

    /// Returns whether they follow the undo of a commit that nobody confirmed.
    pub fn is_undo(&self) -> bool {
        self.basis == Basis::Unconfirmed
    }

    fn due(&self) -> Option<usize> {
        let first = self.then.iter().position(|one| !one.is_over())?;
        let is_started = self.then.get(first).is_some_and(|one| one.job.is_some());
        (!is_started).then_some(first)
    }

    fn is_over(&self) -> bool {
        self.then.iter().all(FollowUp::is_over)
    }

    pub fn on_started(&mut self, at: usize, job: JobId) {
        if let Some(one) = self.then.get_mut(at) {
            (one.job, one.state) = (Some(job), State::Running);
        }
    }

    /// Takes the end of one of them, and ends the rest if it has failed.
    pub fn on_over(&mut self, at: usize, state: State, exit: Option<i32>, cause: &str) {
        let is_undo = self.is_undo();
        let mut rest = self.then.iter_mut().skip(at);
        let Some(one) = rest.next() else {
            return;
        };
        (one.state, one.exit) = (state, exit);
        if one.has_succeeded() {
            one.cause = cause.to_owned();
            return;
        }
        one.cause = format!("{cause}; {}", self.files);
        // After an undo by itself each is needed: sshd has to read the old file whatever another service did.
        if is_undo {
            return;
        }
        for one in rest.filter(|one| !one.is_over()) {
            one.state = State::NotStarted;
            one.cause = SKIPPED.to_owned();
        }
    }

    /// Ends those that have not started.
    fn stop(&mut self, cause: &str) {
        let is_next = |one: &FollowUp| !one.is_over() && one.job.is_none();
        if let Some(next) = self.then.iter().position(is_next) {
            let cause = format!("{cause}; it never ran");
            self.on_over(next, State::Cancelled, None, &cause);
        }
    }

    fn subjects(&self) -> impl Iterator<Item = &Subject> {
        let approved = self.approved.as_ref();
        let approvers = approved.into_iter().flat_map(|by| &by.people);
        approvers.chain([&self.requester])
    }

    fn loses(&self, people: &People, named: &BTreeSet<u32>, admin_group: u32) -> Option<Refusal> {
        if let Some(why) = people.has_lost(&self.requester, named) {
            return Some(Refusal::new(Code::DeniedRule, why));
        }
        let approved = self.approved.as_ref()?;
        // Of a commit that ended during the load, none was looked up.
        let is_known = |by: &&Subject| people.account(by.uid(), by.user()).is_some();
        let by = approved.people.iter().filter(is_known);
        let why = lost_approver(by, &approved.asked, people, admin_group)?;
        Some(Refusal::new(Code::ApprovalVoid, why))
    }

    fn on_ended(&mut self, job: JobId, ending: &Ending) -> bool {
        let at = self.then.iter().position(|one| one.job == Some(job));
        if let Some(at) = at {
            self.on_over(at, ending.state, ending.exit, &ending.cause);
        }
        at.is_some()
    }

    pub fn purpose(&self, effect: Effect) -> Purpose {
        match effect {
            Effect::Read => Purpose::Use,
            Effect::Change => {
                let mut reason = format!("after job {}: {}", self.commit.short(), self.reason);
                reason.truncate(reason.floor_char_boundary(remit_common::caps::REASON));
                Purpose::Change { reason }
            }
        }
    }
}

impl Acts {
    /// Sets what the requester of a commit has to know whose report is held. Returns false if no report is.
    pub fn set_note(&mut self, commit: JobId, note: impl FnOnce(Option<&str>) -> String) -> bool {
        let held = self.0.iter_mut().find(|chain| chain.commit == commit);
        let held = held.and_then(|chain| chain.report.as_mut());
        let Some((_, JobMeta { ending, .. })) = held else {
            return false;
        };
        if let Some(ending) = ending {
            ending.next = Some(note(ending.next.as_deref()));
        }
        true
    }

    /// Has these commands follow `job`, the undo of a commit that nobody confirmed. `reason`: for their records.
    pub fn follow_undo(&mut self, job: JobId, reason: &str, acts: Vec<Act>) {
        self.0.push(FollowedCommit {
            commit: job,
            id: None,
            name: "plan.undo".to_owned(),
            requester: Subject::daemon(),
            session: 0,
            basis: Basis::Unconfirmed,
            policy: String::new(),
            reason: reason.to_owned(),
            approved: None,
            lost: None,
            files: "the files stay undone".to_owned(),
            then: acts.iter().map(queued).collect(),
            acts,
            report: None,
        });
    }

    /// Takes the recorded end of a commit or an undo. Returns the commands that follow it, and how they are.
    /// `is_unconfirmed`: it has undone a commit that is not confirmed. `stopped`: why none of them starts, if somebody stopped
    /// it between its exit and this.
    pub fn begin(
        &mut self,
        plan: &Plan,
        ending: Option<&Ending>,
        is_unconfirmed: bool,
        stopped: Option<&str>,
    ) -> Vec<FollowUp> {
        if plan.bound.acts.is_empty() {
            return Vec::new();
        }
        let mut chain = FollowedCommit::new(plan, is_unconfirmed);
        if !ending.is_some_and(Ending::has_succeeded) {
            let files = match ending.and_then(|ending| ending.exit) {
                Some(NEEDS_RECOVERY) if plan.commit_use() == Some(CommitUse::Commit) => {
                    "; its files are changed: look at them, and start this by itself"
                }
                _ => "",
            };
            let cause = format!(
                "not started: '{}' did not end with exit 0{files}",
                chain.name
            );
            for one in &mut chain.then {
                (one.state, one.cause) = (State::NotStarted, cause.clone());
            }
            return chain.then;
        }
        if let Some(cause) = stopped {
            chain.stop(cause);
        }
        let then = chain.then.clone();
        self.0.push(chain);
        then
    }

    /// Keeps the report of a commit until its commands are over. Returns it if it has none.
    pub fn hold(&mut self, message: ToBroker, meta: &JobMeta) -> Option<ToBroker> {
        match self.0.iter_mut().find(|chain| chain.commit == meta.job) {
            None => Some(message),
            Some(chain) => {
                chain.report = Some((message, meta.clone()));
                None
            }
        }
    }

    fn on_ended(&mut self, job: JobId, ending: &Ending) -> bool {
        let mut chains = self.0.iter_mut();
        chains.any(|chain| chain.on_ended(job, ending))
    }

    /// Returns whether a command that follows an automatic undo is the next one to start.
    pub fn has_due_after_undo(&self) -> bool {
        self.undos().any(|chain| chain.due().is_some())
    }

    /// Ends commands that follow an undo and whose job is not known: one that waited for its record without effect has no
    /// end. Jobs that follow a commit are queued, so each has one.
    pub fn on_lost(&mut self, is_known: impl Fn(JobId) -> bool) {
        for chain in self.0.iter_mut().filter(|chain| chain.is_undo()) {
            let is_lost =
                |one: &FollowUp| !one.is_over() && one.job.is_some_and(|job| !is_known(job));
            if let Some(at) = chain.then.iter().position(is_lost) {
                chain.on_over(at, State::NotStarted, None, "its job did not start");
            }
        }
    }

    /// Returns whether commands that were asked for with it follow this commit or undo.
    pub fn is_followed(&self, job: JobId) -> bool {
        let mut chains = self.0.iter().filter(|chain| !chain.is_undo());
        chains.any(|chain| chain.commit == job)
    }

    /// Ends the commands that were asked for with this commit or undo and have not started. Returns the job of the one that
    /// has, which is still to be stopped.
    pub fn stop(&mut self, job: JobId, cause: &str) -> Option<JobId> {
        let mut chains = self.0.iter_mut().filter(|chain| !chain.is_undo());
        let chain = chains.find(|chain| chain.commit == job)?;
        chain.stop(cause);
        chain.then.iter().find(|one| !one.is_over())?.job
    }

    /// Returns the job of the commit of this id, if commands follow it.
    pub fn followed_commit(&self, id: &str) -> Option<JobId> {
        let mut chains = self.0.iter();
        let chain = chains.find(|chain| chain.id.as_deref() == Some(id));
        chain.map(|chain| chain.commit)
    }

    /// Returns whether `job` is one of them.
    pub fn follows_undo(&self, job: JobId) -> bool {
        let mut all = self.undos().flat_map(|chain| &chain.then);
        all.any(|one| one.job == Some(job))
    }

    /// The people that commands after commits rest on. The daemon rests on no account.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        let of_users = self.0.iter().filter(|chain| !chain.is_undo());
        of_users.flat_map(FollowedCommit::subjects)
    }

    /// Takes the accounts as a load of the policy has found them. What has lost a right by them does not go on, also if it
    /// comes back. `named`: groups that count.
    pub fn on_accounts(&mut self, people: &People, named: &BTreeSet<u32>, admin_group: u32) {
        for chain in self.0.iter_mut().filter(|chain| chain.lost.is_none()) {
            chain.lost = chain.loses(people, named, admin_group);
        }
    }

    fn undos(&self) -> impl Iterator<Item = &FollowedCommit> {
        self.0.iter().filter(|chain| chain.is_undo())
    }

    /// `ends_jobs`: a stop ends all jobs, so what follows an undo is left to the next start.
    pub fn due(&self, ends_jobs: bool) -> Option<(usize, usize)> {
        let all = self.0.iter().enumerate();
        let mut chains = all.filter(|(_, chain)| !(ends_jobs && chain.is_undo()));
        chains.find_map(|(chain, held)| Some((chain, held.due()?)))
    }

    pub fn take_over(&mut self) -> Vec<FollowedCommit> {
        self.0.extract_if(.., |chain| chain.is_over()).collect()
    }
}

/// Returns the first command that has failed, and why, as the next step of its commit begins.
pub fn failure(then: &[FollowUp]) -> Option<String> {
    let failed = then.iter().find(|one| !one.has_succeeded())?;
    Some(format!("'{}': {}", failed.command, failed.cause))
}

/// Returns the next step of a commit without the failure that `then` has as well. `None` if that is all.
pub fn without_failure(next: &str, then: &[FollowUp]) -> Option<String> {
    let rest = failure(then).and_then(|failure| next.strip_prefix(failure.as_str()));
    let rest = rest.map_or(next, |rest| rest.trim_start_matches("; "));
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// Takes the recorded end of any job. The next turn of the loop goes on.
pub fn on_recorded(cx: &mut JobCx<'_>, job: JobId, ending: &Ending) {
    if cx.acts.on_ended(job, ending) {
        go_on_soon(cx);
    }
}

/// Has the next turn of the loop start what is due, and report what is over.
pub fn go_on_soon(cx: &mut JobCx<'_>) {
    if !cx.reactor.timers.has(Timer::Begin) {
        cx.reactor.timers.add(Duration::ZERO, Timer::Begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::fixture::Scene;
    use crate::identity::accounts::AccountState;
    use crate::identity::user_names::Login;
    use crate::job::confirmation::view::with_note;

    const UNDO: JobId = JobId([1; 16]);
    const COMMAND: JobId = JobId([2; 16]);

    /// Two commands follow an undo; the first has this job.
    fn chain(job: Option<JobId>) -> Acts {
        let mut acts = Acts::default();
        acts.follow_undo(UNDO, "why", Vec::new());
        let one = FollowUp {
            command: "service.reload".to_owned(),
            job: None,
            state: State::Queued,
            exit: None,
            cause: String::new(),
        };
        acts.0[0].then = vec![one.clone(), one];
        if let Some(job) = job {
            acts.0[0].on_started(0, job);
        }
        acts
    }

    #[test]
    fn lost_command_after_an_undo_is_over_and_the_next_is_due() {
        for (job, is_known, due) in [
            (None, false, Some((0, 0))),
            (Some(COMMAND), true, None),
            (Some(COMMAND), false, Some((0, 1))),
        ] {
            let mut acts = chain(job);
            acts.on_lost(|_| is_known);
            assert_eq!(acts.due(false), due, "{job:?} {is_known}");
            assert_eq!(acts.has_due_after_undo(), due.is_some());
            assert_eq!(acts.due(true), None, "a stop ends all jobs");
        }
        let mut acts = chain(Some(COMMAND));
        acts.on_lost(|_| false);
        assert_eq!(acts.0[0].then[0].state, State::NotStarted);
        acts.0[0].on_started(1, COMMAND);
        acts.on_lost(|_| false);
        let [over] = &acts.take_over()[..] else {
            panic!("none of them has a job");
        };
        assert!(over.then.iter().all(|one| !one.has_succeeded()));
    }

    #[test]
    fn command_after_a_commit_is_not_ended_by_a_job_that_is_not_known() {
        let mut acts = chain(Some(COMMAND));
        acts.0[0].basis = Basis::Notification;
        acts.on_lost(|_| false);
        assert_eq!(acts.0[0].then[0].state, State::Running);
        assert!(!acts.has_due_after_undo());
    }

    #[test]
    fn chain_ends_with_the_accounts_that_it_rests_on() {
        const ADMINS: u32 = 64_200;
        let login = |name: &str, groups: &[u32]| {
            AccountState::Is(Login {
                name: name.to_owned(),
                groups: groups.to_vec(),
            })
        };
        let (agent, ann) = (64_001, 64_002);
        let (gone, other) = (AccountState::NoAccount, login("eve", &[agent]));
        for (uid, name, account, why) in [
            (agent, "agent", login("agent", &[agent]), None),
            (agent, "agent", gone.clone(), Some("no longer exists")),
            (agent, "agent", other, Some("'eve' now")),
            (agent, "agent", login("agent", &[]), Some("lost a group")),
            (ann, "ann", login("ann", &[ADMINS]), None),
            (ann, "ann", gone, Some("no longer exists")),
            (ann, "ann", login("ann", &[]), Some("group of admin.sock")),
        ] {
            let mut acts = chain(None);
            let people = People::fake(uid, name, account);
            acts.on_accounts(&people, &[agent].into(), ADMINS);
            assert!(acts.0[0].lost.is_none(), "the daemon has no account");
            assert_eq!(acts.subjects().count(), 0);

            let request = Scene::new().approved_before(Subject::fake(ann, "ann", None));
            acts.0[0].basis = Basis::Notification;
            acts.0[0].requester = request.draft.requester.subject.clone();
            acts.0[0].approved = Some(ApprovedBy {
                people: request.approvers().cloned().collect(),
                signed: Vec::new(),
                asked: request.pending.approval().clone(),
            });
            let asked: Vec<u32> = acts.subjects().map(Subject::uid).collect();
            assert_eq!(asked, [ann, agent]);
            acts.on_accounts(&people, &[agent].into(), ADMINS);
            // It does not go on with the next load, either.
            acts.on_accounts(&People::default(), &[agent].into(), ADMINS);
            let lost = acts.0[0].lost.take().map(|refusal| refusal.message);
            let is_expected = match (&lost, why) {
                (Some(lost), Some(why)) => lost.contains(why),
                (None, None) => true,
                _ => false,
            };
            assert!(is_expected, "{name}: {lost:?}, not {why:?}");
        }
    }

    #[test]
    fn commit_with_commands_that_are_not_over_is_found_by_its_id() {
        let mut acts = chain(Some(COMMAND));
        assert_eq!(acts.followed_commit("ab"), None, "those of an undo");
        acts.0[0].basis = Basis::Notification;
        acts.0[0].id = Some("ab".to_owned());
        assert_eq!(acts.followed_commit("ab"), Some(UNDO));
        assert_eq!(acts.followed_commit("cd"), None);
        acts.0[0].on_over(0, State::Exited, Some(1), "exited with status 1");
        acts.take_over();
        assert_eq!(acts.followed_commit("ab"), None);
    }

    #[test]
    fn stop_of_a_commit_ends_the_commands_that_follow_it() {
        for (job, running) in [(None, None), (Some(COMMAND), Some(COMMAND))] {
            let mut acts = chain(job);
            assert!(!acts.is_followed(UNDO));
            assert_eq!(acts.stop(UNDO, "stopped"), None, "the daemon started it");
            acts.0[0].basis = Basis::Notification;
            acts.0[0].files = "the files stay changed".to_owned();
            assert!(acts.is_followed(UNDO));
            assert_eq!(acts.stop(COMMAND, "stopped"), None);
            assert_eq!(acts.stop(UNDO, "stopped by ann"), running);
            // Whatever becomes of the one that runs, no other starts.
            assert_eq!(acts.due(false), None);
            if let Some(job) = running {
                acts.0[0].on_over(0, State::Exited, Some(0), "");
                assert_eq!(acts.stop(UNDO, "stopped again"), None);
                assert_eq!(acts.0[0].then[0].job, Some(job));
            }
            let over = acts.take_over().remove(0);
            let ended = over.then.iter().find(|one| one.state == State::Cancelled);
            let cause = &ended.expect("it is stopped").cause;
            assert_eq!(
                cause,
                "stopped by ann; it never ran; the files stay changed"
            );
        }
    }

    #[test]
    fn stop_between_the_exit_and_its_record_ends_what_follows() {
        let then = ["site.reload unit=a", "site.reload unit=b"];
        let plan = Scene::undoes().undo(&"ab".repeat(16), &then);
        let stop = Some("stopped by ann");
        for (exit, stopped, states) in [
            (0, None, [State::Queued; 2]),
            (0, stop, [State::Cancelled, State::NotStarted]),
            (1, stop, [State::NotStarted; 2]),
        ] {
            let ending = Ending {
                exit: Some(exit),
                ..Ending::unmeasured(State::Exited, String::new(), true)
            };
            for (is_unconfirmed, files) in [(false, "the files stay undone"), (true, UNCONFIRMED)] {
                let mut acts = Acts::default();
                let then = acts.begin(&plan, Some(&ending), is_unconfirmed, stopped);
                let found: Vec<State> = then.iter().map(|one| one.state).collect();
                assert_eq!(found, states);
                assert_eq!(acts.due(false).is_some(), states[0] == State::Queued);
                if states[0] == State::Cancelled {
                    let cause = format!("stopped by ann; it never ran; {files}");
                    assert_eq!(then[0].cause, cause);
                    assert_eq!(acts.take_over()[0].then, then);
                }
            }
        }
    }

    #[test]
    fn note_about_unfinished_commands_keeps_that_about_the_confirmation() {
        let followed = Scene::undoes().undo(&"ab".repeat(16), &["site.reload unit=a"]);
        let alone = Scene::undoes().undo(&"ab".repeat(16), &[]);
        let window = "undone at 12:00 unless somebody confirms it: log in; an agent does not";
        let both = format!("{UNFINISHED}; {window}");
        for (plan, exit, next, expect) in [
            (&followed, 0, None, Some(UNFINISHED)),
            (&followed, 0, Some(window), Some(both.as_str())),
            (&followed, 1, Some(window), Some(window)),
            (&alone, 0, Some(window), Some(window)),
        ] {
            let mut meta = plan.meta(0, std::time::Instant::now());
            meta.ending = Some(Ending {
                exit: Some(exit),
                next: next.map(str::to_owned),
                ..Ending::unmeasured(State::Exited, String::new(), true)
            });
            let ending = unfinished(plan, &meta).ending.unwrap();
            assert_eq!(ending.next.as_deref(), expect);
        }
        // The next daemon replaces the rest.
        let confirmed = with_note(Some(&both), "confirmed by ann");
        assert_eq!(confirmed, format!("{UNFINISHED}; confirmed by ann"));
    }

    #[test]
    fn a_failure_is_left_out_of_what_becomes_of_the_commit() {
        let mut chain = chain(Some(COMMAND));
        chain.0[0].on_over(0, State::Exited, Some(1), "exited with status 1");
        let then = &chain.0[0].then;
        let failed = failure(then).unwrap();
        assert!(failed.contains("exited with status 1"), "{failed}");
        let window = "undone at 12:00 unless somebody confirms it";
        for (next, expect) in [
            (failed.clone(), None),
            (format!("{failed}; {window}"), Some(window)),
            (window.to_owned(), Some(window)),
        ] {
            assert_eq!(without_failure(&next, then).as_deref(), expect, "{next}");
        }
        assert_eq!(without_failure(window, &[]).as_deref(), Some(window));
    }
}
