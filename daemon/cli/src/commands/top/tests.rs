//! Tables of keys and screens, drawn by ratatui's test backend.

use ratatui_core::backend::TestBackend;
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;
use remit_common::admin::{AnyJob, PendingView, RecentRefusal, Status, Totals};
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_common::signed::Signed;
use remit_wire::outcome::State as JobState;

use super::page::Approvable;
use super::screen::paint;
use super::state::{Action, Event, Key, Pane, Shown, Size, TopOutcome, TopState};
use super::view;
use crate::commands::pending::List;
use crate::error::Exit;
use crate::render::untrusted_columns::Page;

const DIGEST: [u8; 32] = [0xab; 32];
/// Later than any key that is ignored after a question.
const LATER: u64 = 1000;
const SIZES: [(u16, u16); 5] = [(40, 12), (80, 24), (200, 50), (40, 10), (79, 19)];

fn id(number: u8) -> JobId {
    JobId([number; 16])
}

pub(crate) fn request(number: u8) -> PendingView {
    PendingView {
        job: id(number),
        user: "agent".into(),
        uid: 1001,
        command: format!("service.restart unit=site-{number}.service"),
        reason: "certificate renewed".into(),
        by: vec!["%sre".into()],
        approved_by: Vec::new(),
        missing: 1,
        signed: None,
        yours: true,
        asked_ms: 0,
        left_ms: 599_000,
        digest: DIGEST,
        set: None,
        behalf: None,
    }
}

fn job(number: u8, state: JobState) -> AnyJob {
    AnyJob {
        then: Vec::new(),
        job: id(number),
        user: "agent".into(),
        uid: 1001,
        command: format!("sleep {number}"),
        state,
        exit: None,
        cause: None,
        unconfirmed: None,
        started_ms: 0,
        runtime_ms: 2450,
        kill_verified: None,
    }
}

fn status() -> Box<Status> {
    Box::new(Status {
        release: "9.9".into(),
        kernel: "6.1.0".into(),
        uptime_ms: 14_520_000,
        policy: "sha256:ab".into(),
        policy_texts: "cd".into(),
        rules: 3,
        policy_error: None,
        policy_warnings: Vec::new(),
        shadow: None,
        needs_restart: Vec::new(),
        locked: None,
        locked_by: None,
        locked_ms: None,
        floor: Vec::new(),
        paused: Vec::new(),
        unconfirmed: Vec::new(),
        jobs: 1,
        max_jobs: 64,
        queued: 2,
        stuck: 0,
        sessions: 3,
        limits: Vec::new(),
        audit: "journald".into(),
        audit_error: None,
        landlock: 6,
        cgroup: None,
        controllers: Vec::new(),
        broker_restarts: 0,
        refused: Vec::new(),
        missing: Vec::new(),
        refusals: vec![RecentRefusal {
            at_ms: 951_782_399_500,
            user: Some("alice".into()),
            code: Code::DeniedRule,
            message: "no rule allows it".into(),
        }],
        pending: 2,
        grants: 1,
        totals: Totals::default(),
    })
}

fn list(requests: Vec<PendingView>) -> Event {
    Event::Pending(List {
        state: 1,
        requests,
        omitted: 0,
    })
}

fn jobs(jobs: Vec<AnyJob>) -> Event {
    Event::Jobs { jobs, omitted: 0 }
}

fn at(columns: u16, rows: u16) -> TopState {
    let mut state = TopState::new(Size { columns, rows }, false);
    state.on_event(Event::Status(status()), 0);
    state.on_event(list(vec![request(1), request(2)]), 0);
    let all = vec![
        job(12, JobState::Queued),
        job(11, JobState::Queued),
        job(10, JobState::Running),
        job(9, JobState::Exited),
    ];
    state.on_event(jobs(all), 0);
    state
}

fn key(state: &mut TopState, key: Key) -> Vec<Action> {
    let now = state.now + LATER;
    let mut actions = state.on_event(Event::Key(key), now);
    state.on_drawn();
    actions.retain(|action| !matches!(action, Action::PollJobs | Action::PollStatus));
    actions
}

fn types(state: &mut TopState, text: &str) -> Vec<Action> {
    let all = text.chars().map(|c| key(state, Key::Char(c)));
    all.collect::<Vec<_>>().concat()
}

fn show(state: &mut TopState, lines: usize, approvable: bool) {
    let what = Approvable {
        job: id(1),
        digest: DIGEST,
        signed: None,
        is_withheld: false,
    };
    show_of(state, lines, approvable.then_some(what));
}

fn show_of(state: &mut TopState, lines: usize, approvable: Option<Approvable>) {
    let mut page = Page::default();
    for line in 0..lines {
        page.value(&format!("line {line}"), "text of the page");
    }
    let shown = Shown {
        title: "request 0101-0101".into(),
        page,
        approvable,
    };
    let now = state.now;
    state.on_event(Event::Shown(Ok(shown)), now);
    state.on_drawn();
}

fn resize(state: &mut TopState, columns: u16, rows: u16) {
    state.size = Size { columns, rows };
    let now = state.now;
    state.on_event(Event::Tick, now);
    state.on_drawn();
}

fn terminal(state: &TopState) -> Terminal<TestBackend> {
    let backend = TestBackend::new(state.size.columns, state.size.rows);
    let mut terminal = Terminal::new(backend).unwrap();
    terminal
        .draw(|frame| paint(frame.buffer_mut(), &view::lines(state), state.is_coloured))
        .unwrap();
    terminal
}

fn drawn(state: &TopState) -> Vec<String> {
    let terminal = terminal(state);
    let buffer = terminal.backend().buffer();
    let row = |y| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..buffer.area.height).map(row).collect()
}

fn has(state: &TopState, text: &str) -> bool {
    drawn(state).iter().any(|line| line.contains(text))
}

#[test]
fn narrow_screen_has_the_focused_list() {
    let mut state = at(40, 12);
    let expect = "\
remitd 9.9: good
jobs 1 of 64, queued 2, waiting 2, gra…
== Waiting for approval: 2 =============
  REQUEST          LEFT COMMAND
> 0101-0101  9 min 59 s service.restar…
  agent 0 of 1 yes | certificate renewed
  0202-0202  9 min 59 s service.restar…
  agent 0 of 1 yes | certificate renewed



Tab Enter a approve d deny s stop q quit";
    assert_eq!(drawn(&state).join("\n"), expect);
    key(&mut state, Key::Tab);
    for text in [
        "== Jobs that run or are queued: 3 ======",
        "> 0a0a-0a0a       2.4 s sleep 10",
        "  0b0b-0b0b    1st of 2 sleep 11",
        "  0c0c-0c0c    2nd of 2 sleep 12",
    ] {
        assert!(has(&state, text), "{text}: {:#?}", drawn(&state));
    }
    key(&mut state, Key::Tab);
    assert!(has(&state, "> 23:59:59 alice no rule allows it"));
    key(&mut state, Key::Tab);
    assert_eq!(state.pane, Pane::Waiting);
    key(&mut state, Key::BackTab);
    assert_eq!(state.pane, Pane::Refused);
}

#[test]
fn screen_of_24_rows_has_all_lists() {
    let mut state = at(80, 24);
    let expect = "\
remitd 9.9: good
jobs 1 of 64, queued 2, waiting 2, grants 1; audit journald
== Waiting for approval: 2 =====================================================
  REQUEST    YOURS  USER                 LEFT  APPROVED  COMMAND
> 0101-0101  yes    agent          9 min 59 s  0 of 1    service.restart unit=…
             | certificate renewed
  0202-0202  yes    agent          9 min 59 s  0 of 1    service.restart unit=…
             | certificate renewed

-- Jobs that run or are queued: 3 ----------------------------------------------
  JOB        USER          STATE                 RUNTIME  COMMAND
  0a0a-0a0a  agent         running                 2.4 s  sleep 10
  0b0b-0b0b  agent         queued, 1st of 2               sleep 11
  0c0c-0c0c  agent         queued, 2nd of 2               sleep 12";
    let lines = drawn(&state);
    assert_eq!(lines[..14].join("\n"), expect);
    assert!(has(&state, "-- Refused last: 1 --"), "{lines:#?}");
    assert!(has(
        &state,
        "  2000-02-28 23:59:59 UTC  alice         no rule allows it (denied_rule)"
    ));
    assert!(lines[23].starts_with("Tab next list"), "{lines:#?}");
    // The time runs without an answer of the daemon, and the approvals that are given are named.
    let mut one = request(1);
    (one.approved_by, one.missing) = (vec!["ann".into()], 2);
    state.on_event(list(vec![one]), 0);
    state.on_event(Event::Tick, 10_000);
    assert!(
        has(&state, "9 min 49 s  1 of 3    service"),
        "{:#?}",
        drawn(&state)
    );
    assert!(has(&state, "approved by ann | certificate renewed"));
}

#[test]
fn selection_stays_with_its_request() {
    let mut state = at(80, 24);
    key(&mut state, Key::Down);
    let selected = |state: &mut TopState| key(state, Key::Enter);
    state.on_event(list(vec![request(7), request(1), request(2)]), 0);
    assert_eq!(selected(&mut state), [Action::Show(id(2))]);
    state.busy = None;
    state.on_event(list(vec![request(7)]), 0);
    assert_eq!(selected(&mut state), [Action::Show(id(7))]);
    state.busy = None;
    state.on_event(list(Vec::new()), 0);
    assert_eq!(selected(&mut state), []);
    assert!(has(&state, "nothing is selected") && has(&state, "  none"));
}

#[test]
fn approval_needs_page_and_digits() {
    for (columns, rows) in [(80, 24), (40, 12), (200, 50)] {
        let mut state = at(columns, rows);
        assert_eq!(key(&mut state, Key::Char('a')), [Action::Show(id(1))]);
        show(&mut state, 100, true);
        assert!(state.prompt.is_none(), "its end was not on the screen");
        assert!(
            has(&state, "line 0 ") && has(&state, "read it to its end"),
            "{:#?}",
            drawn(&state)
        );
        key(&mut state, Key::End);
        assert_eq!(key(&mut state, Key::Char('a')), []);
        assert!(state.prompt.is_none(), "its middle was not on the screen");
        for _ in 0..100 {
            key(&mut state, Key::Char(' '));
        }
        key(&mut state, Key::Char('a'));
        assert!(
            has(&state, "To approve exactly this"),
            "{:#?}",
            drawn(&state)
        );
        assert_eq!(types(&mut state, "abababa"), []);
        assert_eq!(key(&mut state, Key::Enter), []);
        assert!(
            has(&state, "That is not the digest"),
            "{:#?}",
            drawn(&state)
        );
        assert_eq!(types(&mut state, "abab abab"), []);
        let approve = Action::Approve(Approvable {
            job: id(1),
            digest: DIGEST,
            signed: None,
            is_withheld: false,
        });
        assert_eq!(key(&mut state, Key::Enter), [approve]);
        assert!(state.page.is_none() && state.prompt.is_none());
        state.on_event(Event::Done("it has started".into()), 0);
        assert!(has(&state, "it has started"));
    }
}

#[test]
fn page_that_fits_is_asked_about_at_once() {
    let mut state = at(80, 24);
    key(&mut state, Key::Char('a'));
    show(&mut state, 20, true);
    let asked = state.now;
    assert!(state.prompt.is_some());
    // What is typed or pasted before the question can be read is no answer.
    for (after, c) in "abababab".chars().enumerate() {
        state.on_event(Event::Key(Key::Char(c)), asked + after as u64);
    }
    state.on_event(Event::Pasted("abababab".into()), asked + 100);
    assert_eq!(state.prompt.as_ref().unwrap().typed, "");
    key(&mut state, Key::Escape);
    assert!(state.prompt.is_none() && state.page.is_some());
    key(&mut state, Key::Escape);
    assert!(state.page.is_none());
}

#[test]
fn signature_is_asked_for_by_its_own_command() {
    let what = Approvable {
        job: id(1),
        digest: DIGEST,
        signed: Some(Signed::Touch),
        is_withheld: false,
    };
    is_only_denied(what, "remit approve 0101-0101 --signed");
}

#[test]
fn page_without_its_copies_is_only_denied() {
    let what = Approvable {
        job: id(1),
        digest: DIGEST,
        signed: None,
        is_withheld: true,
    };
    is_only_denied(what, "copied files, are only for its approvers");
}

fn is_only_denied(what: Approvable, why: &str) {
    let mut state = at(80, 24);
    key(&mut state, Key::Char('a'));
    show_of(&mut state, 3, Some(what));
    for _ in 0..2 {
        assert!(state.prompt.is_none());
        assert!(has(&state, why), "{:#?}", drawn(&state));
        key(&mut state, Key::Char('a'));
    }
    key(&mut state, Key::Char('d'));
    assert!(state.prompt.is_some(), "it can be denied");
}

#[test]
fn page_of_a_job_is_not_approved() {
    let mut state = at(80, 24);
    key(&mut state, Key::Char('a'));
    show(&mut state, 3, false);
    assert!(state.prompt.is_none() && state.page.is_some());
    for c in ['a', 'd', 's'] {
        assert_eq!(key(&mut state, Key::Char(c)), []);
        assert!(state.prompt.is_none() && state.message.is_some(), "{c}");
    }
}

#[test]
fn resized_page_must_be_shown_again_unless_it_was() {
    let mut state = at(200, 50);
    key(&mut state, Key::Enter);
    show(&mut state, 60, true);
    resize(&mut state, 40, 12);
    key(&mut state, Key::Char('a'));
    assert!(state.prompt.is_none());
    resize(&mut state, 30, 12);
    for _ in 0..100 {
        key(&mut state, Key::Char(' '));
    }
    assert!(
        has(&state, "too small: at least 40 x 10"),
        "{:#?}",
        drawn(&state)
    );
    resize(&mut state, 40, 12);
    key(&mut state, Key::Char('a'));
    assert!(state.prompt.is_none(), "nothing of it was on the screen");
}

#[test]
fn denial_and_stop_ask_first() {
    let mut state = at(80, 24);
    key(&mut state, Key::Down);
    assert_eq!(key(&mut state, Key::Char('d')), []);
    types(&mut state, "not todayX");
    key(&mut state, Key::Backspace);
    let deny = Action::Deny(id(2), "not today".into());
    assert_eq!(key(&mut state, Key::Enter), [deny]);
    // One thing at a time: the answer to the first is not hidden.
    assert_eq!(key(&mut state, Key::Enter), []);
    assert!(has(&state, "wait: denying"));
    state.on_event(Event::Done("it is denied".into()), 0);

    key(&mut state, Key::Char('s'));
    assert!(state.prompt.is_none() && has(&state, "only a job"));
    key(&mut state, Key::Tab);
    for (answer, expect) in [
        ('n', vec![]),
        ('q', vec![]),
        ('y', vec![Action::Stop(id(10))]),
    ] {
        key(&mut state, Key::Char('s'));
        assert!(
            has(&state, "Stop 0a0a-0a0a, 'sleep 10' of agent?"),
            "{:#?}",
            drawn(&state)
        );
        assert_eq!(key(&mut state, Key::Char(answer)), expect);
        assert!(state.end.is_none());
    }
}

#[test]
fn ends_have_their_status() {
    for (event, expect) in [
        (Event::Key(Key::Char('q')), Exit::OK),
        (Event::Key(Key::CtrlC), Exit::INTERRUPTED),
        (Event::Signal(Exit::TERMINATED), Exit::TERMINATED),
    ] {
        let mut state = at(80, 24);
        state.on_event(event, LATER);
        assert!(matches!(state.end, Some(TopOutcome::Exit(exit)) if exit == expect));
    }
    let mut state = at(30, 5);
    key(&mut state, Key::Char('q'));
    assert!(state.end.is_some(), "also where nothing else can be done");
}

#[test]
fn polls_are_no_more_than_needed() {
    let mut state = TopState::new(
        Size {
            columns: 80,
            rows: 24,
        },
        false,
    );
    let tick = |state: &mut TopState, now| state.on_event(Event::Tick, now);
    assert_eq!(tick(&mut state, 0), [Action::PollJobs, Action::PollStatus]);
    assert_eq!(tick(&mut state, 9000), [], "the daemon has not answered");
    let answered = state.on_event(jobs(Vec::new()), 9000);
    assert_eq!(answered, [Action::PollJobs]);
    state.on_event(jobs(Vec::new()), 9002);
    assert_eq!(tick(&mut state, 9999), []);
    assert_eq!(tick(&mut state, 10_000), [Action::PollJobs]);
    let answered = state.on_event(Event::Status(status()), 10_000);
    assert_eq!(answered, [Action::PollStatus]);
    state.on_event(Event::Status(status()), 10_001);
    state.on_event(jobs(Vec::new()), 10_001);
    show(&mut state, 3, true);
    // Nobody sees the jobs behind a page.
    assert_eq!(tick(&mut state, 12_000), [Action::PollStatus]);
}

#[test]
fn daemon_that_is_gone_is_said_until_it_answers() {
    let mut state = at(80, 24);
    state.on_event(Event::Lost("lost the connection to remitd".into()), 0);
    assert!(has(
        &state,
        "NO ANSWER, trying again; all below is old: lost"
    ));
    state.on_event(list(vec![request(3)]), 0);
    assert!(!has(&state, "NO ANSWER") && has(&state, "0303-0303"));
}

#[test]
fn trouble_is_on_all_screens() {
    for (columns, rows) in SIZES {
        let mut state = at(columns, rows);
        let mut now = status();
        (now.locked, now.locked_by) = (Some("incident 7".into()), Some("root".into()));
        now.locked_ms = Some(0);
        now.paused = (0..9)
            .map(|n| format!("agent{n} (changes): 3 in a row"))
            .collect();
        now.audit_error = Some("nobody listens".into());
        state.on_event(Event::Status(now), 0);
        for text in [
            "remitd 9.9: locked, so nothing runs",
            "locked by root at 1970",
            "paused agent0",
            "and 7 more: remit status",
        ] {
            assert!(has(&state, text), "{columns}: {text} {:#?}", drawn(&state));
        }
        if columns >= 79 {
            assert!(has(&state, "audit journald FAILS"), "{:#?}", drawn(&state));
        }
        assert!(
            has(&state, "== Waiting for approval: 2 "),
            "{:#?}",
            drawn(&state)
        );
    }
}

#[test]
fn no_color_has_no_color() {
    for is_coloured in [false, true] {
        let mut state = at(80, 24);
        state.is_coloured = is_coloured;
        let terminal = terminal(&state);
        let cells = terminal.backend().buffer().content().iter();
        let coloured = cells
            .clone()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured.count() > 0, is_coloured);
        let reversed = cells.filter(|cell| cell.modifier.contains(Modifier::REVERSED));
        assert_eq!(reversed.count(), 80, "the selected row");
    }
}

/// Texts of 64 KiB, 1,000 jobs and 200 requests: nothing of them reaches the terminal as a control, and each line is one.
#[test]
fn hostile_texts_are_bounded_and_escaped() {
    let evil = "\x1b[2J\r\n\u{9b}31m\u{202e}\u{2066}> 0101-0101 yes\t\u{301}\u{6f22}\u{1f600}";
    let long: String = evil.chars().cycle().take(64 << 10).collect();
    for (columns, rows) in SIZES {
        let mut state = at(columns, rows);
        let requests = (0..200).map(|number| PendingView {
            user: long.clone(),
            command: long.clone(),
            reason: long.clone(),
            approved_by: vec![long.clone(); 3],
            ..request(number)
        });
        state.on_event(list(requests.collect()), 0);
        let all = (0..1000).map(|number: u16| AnyJob {
            job: JobId([number.to_be_bytes(); 8].concat().try_into().unwrap()),
            user: long.clone(),
            command: long.clone(),
            ..job(
                0,
                if number.is_multiple_of(2) {
                    JobState::Running
                } else {
                    JobState::Queued
                },
            )
        });
        state.on_event(jobs(all.collect()), 0);
        let mut now = status();
        now.refusals = vec![
            RecentRefusal {
                at_ms: 0,
                user: Some(long.clone()),
                code: Code::Busy,
                message: long.clone()
            };
            5
        ];
        now.paused = vec![long.clone(); 5];
        now.locked = Some(long.clone());
        now.audit_error = Some(long.clone());
        state.on_event(Event::Status(now), 0);
        state.on_event(Event::Lost(long.clone()), 0);
        state.on_event(Event::Done(long.clone()), 0);
        for pane in Pane::ALL {
            state.pane = pane;
            key(&mut state, Key::End);
            state.message = Some(long.clone());
            let lines = view::lines(&state);
            assert_eq!(lines.len(), usize::from(rows));
            for line in &lines {
                assert!(
                    line.text.chars().all(remit_common::text::is_plain),
                    "{line:?}"
                );
                assert!(
                    crate::render::untrusted_columns::columns(&line.text) <= columns.into(),
                    "{line:?}"
                );
            }
            drawn(&state);
        }
        let mut page = Page::default();
        page.value("because", &long);
        let shown = Shown {
            title: long.clone(),
            page,
            approvable: None,
        };
        state.on_event(Event::Shown(Ok(shown)), 0);
        for line in view::lines(&state) {
            assert!(
                line.text.chars().all(remit_common::text::is_plain),
                "{line:?}"
            );
        }
        // Each further row of a folded line has its mark where pages have theirs, and each row of a message its own.
        let rows = drawn(&state);
        let texts = rows[1..].iter().filter(|row| !row.is_empty());
        let unmarked = texts.filter(|row| {
            let mark = row.chars().nth(14);
            !row.starts_with("! ") && !mark.is_some_and(|mark| "|+:".contains(mark))
        });
        assert_eq!(unmarked.count(), 1, "the keys: {rows:#?}");
    }
}

/// Returns the processor time of this thread.
fn processor_s() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns: u64 = text.split(' ').next().unwrap().parse().unwrap();
    ns / 1_000_000_000
}

/// Escaping all of a text of 32 MiB would take more than ten seconds in a test.
#[test]
fn drawing_does_not_depend_on_the_length_of_texts() {
    let mut state = at(80, 24);
    let long = "\u{202e}a".repeat(8 << 20);
    let request = PendingView {
        command: long.clone(),
        reason: long.clone(),
        ..request(1)
    };
    state.on_event(list(vec![request]), 0);
    let job = AnyJob {
        command: long.clone(),
        ..job(10, JobState::Running)
    };
    state.on_event(jobs(vec![job]), 0);
    state.message = Some(long);
    let begin = processor_s();
    let lines = view::lines(&state);
    let took = processor_s() - begin;
    assert!(lines.len() == 24 && took < 8, "{took} s");
}
