//! What `make demo` shows: an unprivileged user's agent, over a real MCP session, looks at this machine and
//! changes nothing on it, but for one change that another person approves.
//!
//! Each attack is first performed as the very uid that the job will have, without a sandbox; then through
//! remit. Exits 0 only when everything held.

// A demonstration stops at the first surprise.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod change;
mod trail;

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

/// Command lines of other processes can be very long.
const WIDTH: usize = 110;
/// Group adm, which may read logs.
const ADM: u32 = 4;

#[rustfmt::skip] // a list, by kind
const ATTACKS: &[&str] = &[
    "write", "append", "truncate", "unlink", "rename", "chmod", "utimes", "mkdir-sticky", "fifo",
    "host-shm", "host-tmp", "kill", "tcp-connect", "udp-send", "unix-stream", "unix-pair",
    "shmget", "mq-open", "flock", "fcntl-lock", "userns-mount", "unshare-user", "proc-root", "io-uring",
    #[cfg(target_arch = "x86_64")]
    "int80",
];

fn main() -> ExitCode {
    let mut demo = Demo::start();
    demo.look();
    demo.explain();
    demo.attack();
    demo.trail();
    demo.verify();
    demo.change();
    demo.end()
}

struct Demo {
    daemon: Daemon,
    session: Session,
    /// The job's uid is its own alone: with one job at a time there are two, by turns.
    next_uid: u32,
    landlock: bool,
    /// What was called, as the audit trail must have it.
    calls: Vec<String>,
    wrong: Vec<String>,
    colour: bool,
}

impl Demo {
    fn start() -> Self {
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
            wrong: Vec::new(),
            colour: std::io::stdout().is_terminal(),
        };
        demo.title(&format!(
            "remitd runs; uid {}, in the agent's place, speaks MCP with mcp-shim",
            user.uid
        ));
        let access = demo.session.tool("access", &json!({}));
        demo.check(
            access["structuredContent"]["uid"] == user.uid,
            "the kernel told the daemon who is asking",
        );
        demo
    }

    /// Runs something and keeps count of whose turn it is.
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
        self.title("It may look");
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
        fs::write(&log, "a line that only group adm may read\n").expect("the place is ours");
        chown(&log, Some(0), Some(ADM)).expect("the demo runs as root");
        fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).expect("the file is ours");
        let log = log.display().to_string();
        let lines = self.run(&json!({ "argv": ["cat", log] }));
        self.show(&format!("cat {log}   (root:adm, 0640)"), &lines, |text| {
            text.contains("only group adm")
        });
    }

    /// What is refused says by what, and what to do instead.
    fn explain(&mut self) {
        self.title("What it may not, it is told");
        for argv in [
            &["touch", "/etc/motd"][..],
            &["cat", "/etc/shadow"],
            &["systemctl", "restart", "ssh"],
        ] {
            let result = self.run(&json!({ "argv": argv }));
            println!("{}", self.paint("36", &format!("$ {}", argv.join(" "))));
            print!("{}", result["stderr"].as_str().unwrap_or_default());
            let denial = &result["denials"][0];
            let part = |name: &str| denial[name].as_str().unwrap_or("-");
            println!("layer {}: {}", part("layer"), part("rule"));
            println!("next: {}", part("next"));
            self.check(denial.is_object(), "the result names what refused it");
        }
    }

    fn attack(&mut self) {
        self.title(
            "It may not touch: each first without a sandbox, as the same uid, then through remit",
        );
        println!(
            "{:13} {:56} {:10} through remit: the answer, and the wall that gave it",
            "", "", "without"
        );
        for attack in ATTACKS.iter().filter_map(|id| attack::named(id)) {
            let mut ground = self.daemon.ground(Identity::new(self.next_uid, &[ADM]));
            let control = perform(attack, &ground);
            ground.job = Identity::new(self.next_uid, &[ADM]);
            let scene = arrange(attack.id, &ground);
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
            println!(
                "This kernel has no Landlock: what it alone refuses was let through, as SECURITY.md says."
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
        let shown = match (&control.outcome, control.meets(Expect::Done)) {
            (_, true) => "done",
            // Not remit's doing: the kernel lacks it, or its administrator has forbidden it to everybody.
            (Outcome::Refused(_), false) => "never here",
            _ => "?",
        };
        let answer = match expect {
            Expect::NoEffect => "no effect on the host".to_owned(),
            _ => inside.outcome.word(),
        };
        let line = format!(
            "{:13} {:56} {shown:10} {answer}, {}",
            attack.id, attack.what, attack.wall
        );
        if held && shown != "?" {
            println!("{}", self.paint("32", &line));
        } else {
            println!("{}", self.paint("31", &line));
            self.wrong.push(format!(
                "{}: without {control:?}, in read {inside:?}",
                attack.id
            ));
        }
    }

    fn end(mut self) -> ExitCode {
        self.title("It leaves nothing behind");
        let status = self.session.close();
        if status != Some(0) {
            self.wrong.push(format!("mcp-shim ended with {status:?}"));
        }
        self.daemon.stop();
        println!("no process, no mount, no file");
        if self.wrong.is_empty() {
            println!("\nEverything held.");
            return ExitCode::SUCCESS;
        }
        println!("\nNot everything held:");
        self.wrong.iter().for_each(|wrong| println!("  {wrong}"));
        ExitCode::FAILURE
    }

    fn title(&self, text: &str) {
        println!("\n{}", self.paint("1", &format!("== {text}")));
    }

    fn show(&mut self, command: &str, result: &Value, right: impl Fn(&str) -> bool) {
        let stdout = result["stdout"].as_str().unwrap_or_default();
        println!("{}", self.paint("36", &format!("$ {command}")));
        for line in stdout.lines() {
            let mut shown: String = line.chars().take(WIDTH).collect();
            if shown.len() < line.len() {
                shown.push('…');
            }
            println!("{shown}");
        }
        self.check(
            result["exit"] == 0 && right(stdout),
            &format!("'{command}' told the truth"),
        );
    }

    fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("{}", self.paint("31", &format!("not so: {what}")));
            self.wrong.push(what.to_owned());
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
