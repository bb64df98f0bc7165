//! The program of `make demo`. An unprivileged agent asks for one change over a real MCP session, and another person
//! approves it. Then the agent inspects this machine, and attacks it without effect. Each attack runs first without a
//! sandbox, as the future uid of the job, then through remit. The exit status is 0 only if all checks pass. Prints at most
//! 80 columns, and colors only on a terminal.

// A demonstration stops at the first unexpected error.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod change;

use std::fs;
use std::io::IsTerminal;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::ExitCode;

use remit_tests::attack::{self, Attack, Expect};
use remit_tests::control::{Outcome, Seen, perform};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::Identity;
use remit_tests::scene::arrange;
use remit_tests::session::Session;
use serde_json::{Value, json};

const ADM: u32 = 4;

#[rustfmt::skip] // a list, by kind
const ATTACKS: &[&str] = &[
    "write", "append", "truncate", "unlink", "rename", "chmod", "utimes", "mkdir-sticky", "fifo",
    "host-shm", "host-tmp", "kill", "tcp-connect", "udp-send", "unix-stream", "unix-pair",
    "shmget", "mq-open", "flock", "fcntl-lock", "userns-mount", "unshare-user", "proc-root", "io-uring",
    #[cfg(target_arch = "x86_64")]
    "int80",
    #[cfg(target_arch = "aarch64")]
    "arm32",
];

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!(
            "usage: remit-demo, as root and without arguments: it attacks this machine, through remit"
        );
        return ExitCode::from(64);
    }
    let mut screen = Screen::new();
    change::show(&mut screen);
    let mut demo = Demo::start(screen);
    demo.look();
    demo.explain();
    demo.attack();
    demo.audit_log();
    demo.end()
}

struct Demo {
    daemon: Daemon,
    session: Session,
    /// A job has a separate uid. With one job at a time two uids alternate.
    next_uid: u32,
    landlock: bool,
    /// The job ids that the audit log must have.
    calls: Vec<String>,
    screen: Screen,
}

impl Demo {
    fn start(mut screen: Screen) -> Self {
        let daemon = Daemon::start(Options {
            jobs: 1,
            ..Options::default()
        });
        let user = user_a();
        let session = daemon.session(&user);
        let mut demo = Self {
            next_uid: daemon.first_job_uid(),
            daemon,
            session,
            landlock: true,
            calls: Vec::new(),
            screen: Screen::new(),
        };
        let access = demo.session.tool("access", &json!({}));
        screen.check(
            access["structuredContent"]["uid"] == user.uid,
            "the daemon knows from the kernel who asks",
        );
        demo.screen = screen;
        demo
    }

    /// Runs a job and computes the uid of the next one.
    fn run(&mut self, arguments: &Value) -> Value {
        let result = self.session.run(arguments);
        let first = self.daemon.first_job_uid();
        self.next_uid = if self.next_uid == first {
            first + 1
        } else {
            first
        };
        self.calls
            .push(result["job_id"].as_str().unwrap_or_default().to_owned());
        result
    }

    fn look(&mut self) {
        self.screen
            .title("The agent may look at everything that an operator may see");
        let disks = self.run(&json!({ "argv": ["df", "-h"] }));
        self.show("df -h", &disks, |text| text.starts_with("Filesystem"));
        self.landlock = disks["enforced"]["landlock"].as_u64() != Some(0);

        let script = "ps aux --sort=-rss | head -5";
        let processes = self.run(&json!({ "script": script }));
        self.show(script, &processes, |text| text.lines().count() == 5);

        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
        let address = listener.local_addr().expect("it is bound").to_string();
        let sockets = self.run(&json!({ "argv": ["ss", "-ltn"] }));
        self.show(
            &format!("ss -ltn   (this demo listens on {address})"),
            &sockets,
            |text| text.contains(&address),
        );

        let log = self.daemon.path().join("example.log");
        fs::write(&log, "a line that only group adm may read\n")
            .expect("the directory is writable");
        chown(&log, Some(0), Some(ADM)).expect("the demo runs as root");
        fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).expect("the file is ours");
        let log = log.display().to_string();
        let lines = self.run(&json!({ "argv": ["cat", log] }));
        self.show("cat …/example.log   (root:adm, 0640)", &lines, |text| {
            text.contains("only group adm")
        });
    }

    /// Each refusal names the layer and says what to do instead.
    fn explain(&mut self) {
        self.screen
            .title("A refusal says why, and what to do instead");
        // Nothing that asks the system bus: it does not know the user of this daemon's proxy.
        for argv in [["touch", "/etc/motd"], ["cat", "/etc/shadow"]] {
            let result = self.run(&json!({ "argv": argv }));
            self.screen.command(&format!("$ {}", argv.join(" ")));
            self.screen
                .output(result["stderr"].as_str().unwrap_or_default());
            let denial = &result["denials"][0];
            let part = |name: &str| denial[name].as_str().unwrap_or("-");
            let why = format!("layer {}: {}", part("layer"), part("rule"));
            self.screen.sentence(&why);
            self.screen.sentence(&format!("next: {}", part("next")));
            self.screen
                .check(denial.is_object(), "the result names what refused it");
        }
    }

    fn attack(&mut self) {
        let title = "25 attacks: each works without the sandbox, none with it";
        debug_assert!(title.starts_with(&ATTACKS.len().to_string()));
        self.screen.title(title);
        for attack in ATTACKS.iter().filter_map(|id| attack::named(id)) {
            let mut fixture = self.daemon.fixture(Identity::new(self.next_uid, &[ADM]));
            let control = perform(attack, &fixture);
            fixture.job = Identity::new(self.next_uid, &[ADM]);
            // A job has a uid that no other process has.
            fixture.stranger = Some(Identity::new(0, &[]));
            let scene = arrange(attack.id, &fixture);
            let result = self.run(&json!({ "argv": scene.argv(attack.id) }));
            let signal = result["signal"]
                .as_i64()
                .and_then(|signal| i32::try_from(signal).ok());
            let outcome = Outcome::read(result["stdout"].as_str().unwrap_or_default(), signal);
            self.row(
                attack,
                &control,
                &Seen {
                    outcome,
                    touched: scene.touched(),
                },
            );
        }
        if !self.landlock {
            self.screen.sentence(
                "This kernel has no Landlock. What only Landlock refuses went through, as SECURITY.md says.",
            );
        }
    }

    fn row(&mut self, attack: &Attack, control: &Seen, inside: &Seen) {
        let expect = if self.landlock {
            attack.expect
        } else {
            attack.without_landlock
        };
        let held = inside.meets(expect);
        // Not possible even without remit: the kernel lacks it, or its administrator has forbidden it to all users.
        let impossible = !control.meets(Expect::Done);
        let tried = !impossible || matches!(control.outcome, Outcome::Refused(_));
        let answer = match (impossible, expect) {
            (true, _) => "not possible here".to_owned(),
            (false, Expect::NoEffect) => format!("no effect, {}", attack.layer),
            (false, _) => format!("{}, {}", inside.outcome.word(), attack.layer),
        };
        self.screen.row(attack.what, &answer, held && tried);
        self.screen.check(
            held && tried,
            &format!(
                "{} is refused: without the sandbox {control:?}, with it {inside:?}",
                attack.id
            ),
        );
    }

    fn end(mut self) -> ExitCode {
        self.screen.title("Nothing is left behind");
        let status = self.session.close();
        self.screen
            .check(status == Some(0), "mcp-shim ends with status 0");
        self.daemon.stop();
        println!("no process, no mount, no file");
        self.screen.verdict()
    }

    fn show(&mut self, command: &str, result: &Value, right: impl Fn(&str) -> bool) {
        let stdout = result["stdout"].as_str().unwrap_or_default();
        self.screen.command(&format!("$ {command}"));
        self.screen.output(stdout);
        self.screen.check(
            result["exit"] == 0 && right(stdout),
            &format!("'{command}' shows the machine as it is"),
        );
    }
}

const WIDTH: usize = 80;
/// Columns of the first part of a row. The remaining columns hold the longest answer.
const FIRST: usize = 46;

pub struct Screen {
    colour: bool,
    wrong: Vec<String>,
}

impl Screen {
    fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal(),
            wrong: Vec::new(),
        }
    }

    pub fn title(&self, text: &str) {
        println!();
        println!("{}", self.paint("1", &format!("== {text}")));
    }

    pub fn command(&self, line: &str) {
        println!("{}", self.paint("36", &cut(line, WIDTH)));
    }

    /// Prints output of a program. Truncates long lines.
    pub fn output(&self, text: &str) {
        for line in text.lines() {
            println!("{}", cut(line, WIDTH));
        }
    }

    /// Prints a sentence of remit. Wraps it between words.
    pub fn sentence(&self, text: &str) {
        for (index, line) in folded(text, WIDTH - 2).iter().enumerate() {
            println!("{}{line}", if index == 0 { "" } else { "  " });
        }
    }

    pub fn row(&self, what: &str, answer: &str, held: bool) {
        let line = format!("{:FIRST$}  {answer}", cut(what, FIRST));
        println!(
            "{}",
            self.paint(if held { "32" } else { "31" }, &cut(&line, WIDTH))
        );
    }

    pub fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("{}", self.paint("31", &format!("not so: {what}")));
            self.wrong.push(what.to_owned());
        }
    }

    /// Prints the result and returns the exit status.
    pub fn verdict(&self) -> ExitCode {
        println!();
        if self.wrong.is_empty() {
            println!("Everything held.");
            return ExitCode::SUCCESS;
        }
        println!("Not everything held:");
        self.wrong.iter().for_each(|wrong| println!("  {wrong}"));
        ExitCode::FAILURE
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Truncates `line` to `width` characters, the last one `…`.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width - 1).chain(['…']).collect()
}

/// Wraps `text` at `width` characters. Truncates longer words.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = cut(word, width);
        let last = lines.last_mut().expect("there is always one");
        if last.is_empty() {
            *last = word;
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}
