//! `remit top` on a terminal, with the real daemon: it approves, denies and stops, and gives the terminal back.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminCall, AdminReply};
use remit_common::hex::hex;
use remit_common::names::{JobId, Runtime};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, argv, at_once, change, stdout};
use remit_tests::daemon::{Daemon, Options, admin, stranger, user_a};
use remit_tests::process::Identity;
use remit_tests::terminal_screen::{Left, Size, TerminalScreen};
use remit_tests::test_dir::{TestDir, built};
use remit_wire::outcome::State;
use remit_wire::{Purpose, Run};

const POLICY: &str = r##"
[[command]]
name = "site.switch"
summary = "switches"
argv = ["/usr/bin/printf", "[%s]", "{to}"]
effect = "change"
profile = "strict"
args.to = { type = "string", pattern = "[a-z ]+", summary = "to what" }

[[grant]]
name = "asks"
to = ["#64001"]
allow = ["site.*", "change"]
effect = "change"
approval = { by = ["#64005"], expires = "10min" }

[[grant]]
name = "looks"
to = ["#64001"]
allow = ["run"]
run_profile = "strict"
approval = "none"
"##;

/// A question ignores keys until none came for 0.2 s; this is longer.
const QUIET: Duration = Duration::from_millis(400);

/// Begins a color.
const COLOR: &str = "\x1b[38;";

fn started() -> Daemon {
    Daemon::start(Options {
        policy: POLICY.to_owned(),
        waiting: 200,
        ..Options::default()
    })
}

fn name(job: JobId) -> String {
    let short = job.short();
    format!("{}-{}", &short[..4], &short[4..])
}

fn top(program: &Path, runtime: &Path, user: &Identity, size: Size) -> TerminalScreen {
    let mut command = Command::new(program);
    command.arg("--runtime").arg(runtime).arg("top");
    TerminalScreen::start(&command, user, size)
}

fn top_of(daemon: &Daemon, user: &Identity, size: Size) -> TerminalScreen {
    let runtime = daemon.runtime();
    top(&daemon.program("remit"), runtime.dir(), user, size)
}

fn asks(caller: &mut Caller, to: &str) -> JobId {
    let report = caller
        .run(at_once(change("site.switch", &[("to", to)])))
        .expect("it may be asked for");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    report.job
}

fn sleeps(seconds: &str) -> Run {
    Run {
        profile: Some("strict".to_owned()),
        ..argv(&["/usr/bin/sleep", seconds])
    }
}

fn answers(screen: &mut TerminalScreen, question: &str, keys: &str) {
    screen.until(question);
    thread::sleep(QUIET);
    screen.types(keys);
}

fn assert_restored(left: &Left) {
    assert!(left.is_restored, "{left:?}");
    for end in ["\x1b[?1049l", "\x1b[?25h", "\x1b[?2004l"] {
        assert!(left.written.contains(end), "{end:?} {left:?}");
    }
}

fn reads_to_its_end(screen: &mut TerminalScreen) {
    while !screen.has("all was shown") {
        let before = screen.rows();
        screen.types(" ");
        screen.until_so("next lines", |screen| screen.rows() != before);
    }
}

#[test]
fn request_is_approved_denied_and_job_stopped() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let first = asks(&mut caller, "blue");
    let mut screen = top_of(&daemon, &admin(), (80, 24));
    screen.until("== Waiting for approval: 1 =");
    screen.until(&name(first));
    screen.until("| a test");

    // The page is as 'remit show' prints it, and a wrong digest approves nothing.
    screen.types("\r");
    screen.until(&format!("request {}", name(first)));
    let shown = daemon.remit(&admin(), &["show", &first.to_string()]);
    let page = String::from_utf8_lossy(&shown.stdout).into_owned();
    let is_until = |line: &&str| line.contains("until");
    for line in page.lines().take(5).filter(|line| !is_until(line)) {
        screen.until(line);
    }
    reads_to_its_end(&mut screen);
    screen.types("a");
    answers(
        &mut screen,
        "the first 8 digits of the digest: ",
        "01234567\r",
    );
    screen.until("That is not the digest.");
    let digest = daemon.shows(first).pending.digest;
    let digits = hex(&digest[..4]);
    screen.types(&format!("{digits}\r"));
    let end = caller.end_of(first);
    assert_eq!(
        (end.state, stdout(&end).as_str()),
        (State::Exited, "[blue]")
    );
    screen.until("exited by itself with status 0");
    screen.until("== Waiting for approval: 0 =");
    let approved = &daemon.records("approved")[0];
    assert_eq!(approved["REMIT_APPROVER_UID"], "64005");

    // A request that comes now appears by itself.
    let second = asks(&mut caller, "red");
    screen.until(&name(second));
    screen.types("d");
    answers(&mut screen, "The requester reads it: ", "not today\r");
    let end = caller.end_of(second);
    assert_eq!(end.state, State::Denied, "{end:?}");
    let cause = end.ending.expect("it has ended").cause;
    assert!(cause.contains("not today"), "{cause}");
    screen.until("== Waiting for approval: 0 =");

    let run = caller.run(at_once(sleeps("60")));
    let job = run.expect("it may run").job;
    screen.until(&name(job));
    screen.types("\t");
    screen.until("== Jobs that run or are queued: 1 =");
    screen.types("s");
    answers(&mut screen, &format!("Stop {}, ", name(job)), "y");
    let end = caller.end_of(job);
    assert_eq!(end.state, State::Cancelled, "{end:?}");
    screen.until(&format!("! {} ended: ", name(job)));
    screen.types("q");
    let left = screen.end();
    assert_eq!(left.status.code(), Some(0), "{left:?}");
    assert_restored(&left);
    daemon.stop();
}

/// A requester's text of 64 KiB that tries to control the terminal and to imitate remit.
#[test]
fn hostile_request_is_shown_whole_and_escaped() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let evil = "\x1b[2J\x1b]0;x\x07\u{9b}31m\u{202e}\r\n  digest      : 00000000\n<b>\u{6f22}";
    let text: String = evil.chars().cycle().take(40_000).collect();
    let run = Run {
        purpose: Purpose::Change {
            reason: evil.chars().cycle().take(500).collect(),
        },
        ..argv(&["/usr/bin/printf", &text, "the last word"])
    };
    let job = caller.run(at_once(run)).expect("it may be asked for").job;
    let mut screen = top_of(&daemon, &admin(), (200, 50));
    screen.until(&name(job));
    screen.types("a");
    screen.until("read it to its end");
    screen.types("a");
    screen.until_so("no question", |screen| {
        screen.has("read it to its end") && !screen.has("first 8 digits")
    });
    reads_to_its_end(&mut screen);
    screen.until("the last word");
    screen.types("a");
    screen.until("the first 8 digits of the digest: ");
    // Its marks are in their column, whatever the text says.
    let is_marked = |row: &&String| row.chars().nth(14).is_some_and(|mark| "|+:".contains(mark));
    let rows = screen.rows();
    assert!(rows.iter().filter(is_marked).count() > 20, "{rows:#?}");
    let forged = rows
        .iter()
        .filter(|row| row.starts_with("  digest      : 0000"));
    assert_eq!(forged.count(), 0, "{rows:#?}");
    screen.signal(Signal::SIGTERM);
    let left = screen.end();
    assert_restored(&left);
    let controls = left.written.split("\x1b[").skip(1);
    let own_row = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '?');
    let (mut all, mut foreign) = (0, Vec::new());
    for text in controls {
        all += 1;
        // The cursor, attributes, modes, and one erasing of the screen at the begin.
        let end = text.find(|c: char| c.is_ascii_alphabetic());
        let sign = end.and_then(|end| text[end..].chars().next());
        if !(own_row(text) && sign.is_some_and(|sign| "HmhlJ".contains(sign))) {
            foreign.push(&text[..text.len().min(20)]);
        }
    }
    assert!(left.written.contains(COLOR));
    assert!(all > 100 && foreign.is_empty(), "{foreign:?}");
    assert_eq!(left.written.matches("\x1b[2J").count(), 1);
    for c in ['\u{9b}', '\u{202e}', '\x07'] {
        assert!(!left.written.contains(c), "{c:?}");
    }
    let osc = left.written.matches("\x1b]").count();
    assert_eq!(osc, 0);
    daemon.stop();
}

#[test]
fn screen_follows_its_size() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let job = asks(&mut caller, "blue");
    let mut command = Command::new(daemon.program("remit"));
    command.arg("--runtime").arg(daemon.runtime().dir());
    command.arg("top").env("NO_COLOR", "1");
    let mut screen = TerminalScreen::start(&command, &admin(), (80, 24));
    screen.until("-- Jobs that run or are queued: 0 -");
    screen.resize((40, 12));
    screen.until("Tab Enter a approve d deny s stop q quit");
    screen.until(&name(job));
    assert!(!screen.has("Jobs that run"));
    screen.resize((30, 5));
    screen.until("too small");
    screen.resize((200, 50));
    screen.until("Tab next list");
    screen.until("COMMAND");
    screen.types("q");
    let left = screen.end();
    assert_restored(&left);
    assert!(!left.written.contains(COLOR), "NO_COLOR: {left:?}");
    daemon.stop();
}

#[test]
fn signals_give_the_terminal_back() {
    let daemon = started();
    for (signal, status) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGQUIT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let mut screen = top_of(&daemon, &admin(), (80, 24));
        screen.until("Tab next list");
        screen.signal(signal);
        let left = screen.end();
        assert_eq!(left.status.code(), Some(status), "{signal}: {left:?}");
        assert_restored(&left);
    }
    let mut screen = top_of(&daemon, &admin(), (80, 24));
    screen.until("Tab next list");
    screen.types("\x03");
    let left = screen.end();
    assert_eq!(left.status.code(), Some(130), "{left:?}");
    assert_restored(&left);
    daemon.stop();
}

#[test]
fn daemon_that_restarts_is_found_again() {
    let mut daemon = started();
    let mut screen = top_of(&daemon, &admin(), (80, 24));
    screen.until("== Waiting for approval: 0 =");
    assert!(daemon.end_alone());
    screen.until("NO ANSWER, trying again; all below is old");
    daemon.restart();
    let mut caller = Caller::new(&daemon, &user_a());
    let job = asks(&mut caller, "blue");
    screen.until(&name(job));
    screen.until_so("an answer", |screen| !screen.has("NO ANSWER"));
    screen.types("q");
    assert_restored(&screen.end());
    daemon.stop();
}

#[test]
fn a_stranger_sees_no_screen() {
    let daemon = started();
    let left = top_of(&daemon, &stranger(), (80, 24)).end();
    assert_eq!(left.status.code(), Some(77), "{left:?}");
    assert!(left.written.contains("you may not connect"), "{left:?}");
    assert!(
        left.is_restored && !left.written.contains('\x1b'),
        "{left:?}"
    );
    daemon.stop();
}

#[test]
fn daemon_of_another_protocol_is_an_error() {
    let dir = TestDir::new();
    let socket = Runtime::new(dir.path()).admin_socket();
    let listener = UnixListener::bind(socket).expect("the directory is new");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("it connects");
            let _: AdminCall = frame::read(&mut stream, caps::ADMIN_FRAME).expect("a request");
            let text = "admin protocol 12 is not supported, only 99";
            let refusal = AdminReply::Refused(Refusal::new(Code::InvalidArgs, text));
            frame::write(&mut stream, &refusal, caps::ADMIN_FRAME).expect("it reads");
        }
    });
    let root = Identity::new(0, &[]);
    let program = built().join("remit");
    let left = top(&program, dir.path(), &root, (80, 24)).end();
    assert_eq!(left.status.code(), Some(125), "{left:?}");
    assert!(left.written.contains("only 99"), "{left:?}");
    assert!(
        left.is_restored && !left.written.contains('\x1b'),
        "{left:?}"
    );
}

/// Ids, times and the release differ from run to run.
fn masked(rows: &[String]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut row = row.clone();
        for (at, _) in row.clone().match_indices('-') {
            let is_hex = |range: std::ops::Range<usize>| {
                let digits = row.get(range).unwrap_or_default();
                digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            if at >= 4 && is_hex(at - 4..at) && is_hex(at + 1..at + 5) {
                row.replace_range(at - 4..at + 5, "97e7-7f9f");
            }
        }
        if let Some(at) = row.find(" min ") {
            let end = row[at..].find(" s ").map_or(row.len(), |end| at + end);
            row.replace_range(at..end, " min 58");
        }
        if let Some(at) = row.find("running ") {
            // Its run time is 11 columns wide, after the state of 16 and two blanks.
            row.replace_range(at + 18..at + 29, "      2.4 s");
        }
        if let Some(at) = row.find(" UTC ") {
            row.replace_range(at - 19..at, "2026-11-27 14:03:21");
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// The picture of the documentation: `REMIT_DRAW=1` writes it again.
#[test]
fn picture_shows_what_the_program_draws() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    asks(&mut caller, "blue");
    asks(&mut caller, "green");
    let run = caller.run(at_once(sleeps("600")));
    run.expect("it may run");
    caller
        .run(at_once(change(
            "service.restart",
            &[("unit", "nginx.service")],
        )))
        .expect_err("no rule allows it");
    let mut screen = top_of(&daemon, &admin(), (100, 30));
    screen.until("== Waiting for approval: 2 =");
    screen.until("sleep 600");
    screen.until("-- Refused last: 1 -");
    let drawn = masked(&screen.rows());
    screen.types("q");
    assert_restored(&screen.end());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures/top.txt");
    if std::env::var_os("REMIT_DRAW").is_some() {
        fs::write(&path, &drawn).expect("the repository can be written");
    }
    let picture = fs::read_to_string(&path).expect("the picture is there");
    assert_eq!(drawn, picture, "REMIT_DRAW=1 draws it again");
    daemon.stop();
}
