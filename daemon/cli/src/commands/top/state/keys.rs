//! Keys: what each means in a list, on a page and below a question.

use remit_common::admin::RecentRefusal;
use remit_common::names::JobId;

use super::{Action, Key, Pane, TopOutcome, TopState};
use crate::commands::top::page::{Approvable, OpenPage};
use crate::commands::top::prompt::{Prompt, PromptAnswer};
use crate::error::Exit;
use crate::render::units;
use crate::render::untrusted_columns::Page;

impl TopState {
    pub(super) fn on_key(&mut self, key: Key, actions: &mut Vec<Action>) {
        self.message = None;
        if self.is_too_small() && key != Key::Char('q') {
            return;
        }
        if self.prompt.is_some() {
            return self.on_prompt_key(key, actions);
        }
        match key {
            Key::Char('q') => self.end = Some(TopOutcome::Exit(Exit::OK)),
            Key::Char('a') => self.on_approve(actions),
            Key::Char('d') => self.on_deny(),
            Key::Char('s') => self.on_stop(),
            key if self.page.is_some() => self.on_page_key(key),
            key => self.on_list_key(key, actions),
        }
    }

    fn on_prompt_key(&mut self, key: Key, actions: &mut Vec<Action>) {
        let now = self.now;
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        if !prompt.is_ready(now) {
            return;
        }
        match key {
            Key::Escape => {
                self.prompt = None;
                self.says("nothing was done");
            }
            Key::Backspace => prompt.erases(),
            Key::Enter => {
                let answer = prompt.enters();
                self.on_answer(answer, actions);
            }
            Key::Char(c) => self.on_text(c.encode_utf8(&mut [0; 4]), actions),
            // Its reader may look at the page again before the answer.
            key => self.on_page_key(key),
        }
    }

    pub(super) fn on_text(&mut self, text: &str, actions: &mut Vec<Action>) {
        let now = self.now;
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        let answer = match prompt.is_ready(now) {
            true => prompt.types(text),
            false => None,
        };
        if let Some(answer) = answer {
            self.on_answer(answer, actions);
        }
    }

    fn on_answer(&mut self, answer: PromptAnswer, actions: &mut Vec<Action>) {
        let (busy, action) = match answer {
            PromptAnswer::Again(said) => {
                self.message = Some(said);
                return;
            }
            PromptAnswer::Ended(said) => {
                self.prompt = None;
                self.message = Some(said);
                return;
            }
            PromptAnswer::Approve(what) => ("approving …", Action::Approve(what)),
            PromptAnswer::Deny(job, why) => ("denying …", Action::Deny(job, why)),
            PromptAnswer::Stop(job) => ("stopping …", Action::Stop(job)),
        };
        (self.prompt, self.page) = (None, None);
        self.begin(busy, action, actions);
    }

    /// Asks the daemon for one thing at a time: a second answer would hide the first.
    fn begin(&mut self, busy: &'static str, action: Action, actions: &mut Vec<Action>) -> bool {
        if let Some(busy) = self.busy {
            self.message = Some(format!("wait: {busy}"));
            return false;
        }
        self.busy = Some(busy);
        actions.push(action);
        true
    }

    fn on_page_key(&mut self, key: Key) {
        let Some(page) = &mut self.page else {
            return;
        };
        match key {
            Key::Up | Key::Char('k') => page.scroll(-1),
            Key::Down | Key::Char('j') => page.scroll(1),
            Key::PageUp | Key::Char('b') => page.scroll(-page.screenful()),
            Key::PageDown | Key::Char(' ') => page.scroll(page.screenful()),
            Key::Home | Key::Char('g') => page.scroll(isize::MIN),
            Key::End | Key::Char('G') => page.scroll(isize::MAX),
            Key::Escape | Key::Enter | Key::Backspace => self.page = None,
            _ => {}
        }
    }

    fn on_list_key(&mut self, key: Key, actions: &mut Vec<Action>) {
        let by = match key {
            Key::Up | Key::Char('k') => -1,
            Key::Down | Key::Char('j') => 1,
            Key::PageUp => -10,
            Key::PageDown => 10,
            Key::Home | Key::Char('g') => isize::MIN,
            Key::End | Key::Char('G') => isize::MAX,
            Key::Tab => {
                self.pane = self.pane.next();
                return;
            }
            Key::BackTab => {
                self.pane = self.pane.next().next();
                return;
            }
            Key::Enter => return self.on_open(actions),
            _ => return,
        };
        match self.pane {
            Pane::Waiting => {
                let ids = self.pending.iter().map(|one| one.job);
                self.selected_request.moves(by, ids);
            }
            Pane::Jobs => self
                .selected_job
                .moves(by, self.jobs.iter().map(|one| one.job)),
            Pane::Refused => self.selected_refusal.moves(by, 0..self.refusals().len()),
        }
    }

    fn on_open(&mut self, actions: &mut Vec<Action>) {
        match self.pane {
            Pane::Waiting | Pane::Jobs => match self.selected_id() {
                Some(job) => {
                    self.begin("asking for its page …", Action::Show(job), actions);
                }
                None => self.says("nothing is selected"),
            },
            Pane::Refused => {
                let refusal = self.refusals().get(self.selected_refusal.index);
                let page = refusal.map(refusal_page);
                self.page = page.map(|page| OpenPage::new("refusal".to_owned(), page, None));
            }
        }
    }

    fn selected_id(&self) -> Option<JobId> {
        match self.pane {
            Pane::Waiting => self.selected_request.id,
            Pane::Jobs => self.selected_job.id,
            Pane::Refused => None,
        }
    }

    /// Returns the request that a key is about: that of the page, or the selected one.
    fn request(&self) -> Option<JobId> {
        match &self.page {
            Some(page) => page.approvable.map(|what| what.job),
            None => (self.pane == Pane::Waiting)
                .then_some(self.selected_request.id)
                .flatten(),
        }
    }

    fn on_approve(&mut self, actions: &mut Vec<Action>) {
        match (self.request(), self.page.is_some()) {
            (Some(_), true) => self.ask_approval(),
            (Some(job), false) => {
                let action = Action::Show(job);
                self.asks_after_page = self.begin("asking for its page …", action, actions);
            }
            (None, _) => self.says("only a request that waits can be approved"),
        }
    }

    /// Asks at once if the whole page is on the screen together with the question.
    pub(super) fn ask_beside_page(&mut self) {
        let Some(what) = self.page.as_ref().and_then(|page| page.approvable) else {
            return self.says("it does not wait for an approval any more");
        };
        if let Some(why) = not_here(what) {
            self.message = Some(why);
            return;
        }
        self.prompt = Some(Prompt::approve(what, self.now));
        self.fit_page();
        if !self.page.as_ref().is_some_and(OpenPage::is_whole) {
            self.prompt = None;
            self.says_unshown();
        }
    }

    fn ask_approval(&mut self) {
        let Some(page) = &mut self.page else {
            return;
        };
        let Some(what) = page.approvable else {
            return self.says("it does not wait for an approval any more");
        };
        if let Some(why) = not_here(what) {
            self.message = Some(why);
            return;
        }
        if let Some(busy) = self.busy {
            self.message = Some(format!("wait: {busy}"));
            return;
        }
        if !page.is_shown() {
            page.scroll_to_unshown();
            self.says_unshown();
            return;
        }
        // The digest is at the end.
        page.scroll(isize::MAX);
        self.prompt = Some(Prompt::approve(what, self.now));
    }

    fn says_unshown(&mut self) {
        let rows = self.page.as_ref().map_or(0, OpenPage::unshown) as u64;
        self.message = Some(format!(
            "read it to its end (space), then press a; {} to read",
            units::count(rows, "line")
        ));
    }

    fn on_deny(&mut self) {
        match self.request() {
            Some(job) => {
                self.prompt = Some(Prompt::deny(job, self.now));
            }
            None => self.says("only a request that waits can be denied"),
        }
    }

    fn on_stop(&mut self) {
        let selected = self.selected_job.id;
        let job = (self.pane == Pane::Jobs && self.page.is_none())
            .then(|| self.jobs.iter().find(|one| Some(one.job) == selected))
            .flatten();
        match job {
            Some(job) => {
                let what = format!("'{}' of {}", job.command, job.user);
                self.prompt = Some(Prompt::stop(job.job, what, self.now));
            }
            None => self.says("only a job in the list of jobs can be stopped"),
        }
    }
}

/// Says why this program does not approve by the page.
fn not_here(what: Approvable) -> Option<String> {
    if what.is_withheld {
        let text = "its plan, or its copied files, are only for its approvers";
        return Some(text.to_owned());
    }
    let (asked, name) = (what.signed?.asked(), units::name(what.job));
    Some(format!(
        "not here, but by 'remit approve {name} --signed': its rule asks for {asked}"
    ))
}

fn refusal_page(refusal: &RecentRefusal) -> Page {
    let mut page = Page::default();
    page.own_text("refused", &units::time(refusal.at_ms / 1000));
    page.value("who", refusal.user.as_deref().unwrap_or("somebody"));
    page.value("why", &refusal.message);
    page.own_text("code", refusal.code.as_str());
    page
}
