//! The examples that notify people: each in the real sandbox, against a stand-in of its service on loopback, which keeps
//! what it gets. Each is used as it is packaged, but for what its comments tell people to write: host, account, secret.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use remit_tests::caller::{Caller, change};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_wire::{Bytes, Run};
use serde_json::{Value, json};

use crate::approvals::scene::{POLICY, asked, options};

const WITHIN: Duration = Duration::from_secs(30);
/// What a service got.
#[derive(Debug)]
struct Got {
    /// The request line, or what SMTP said before the mail.
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Got {
    fn has(&self, header: &str) -> bool {
        self.headers
            .iter()
            .any(|one| one.eq_ignore_ascii_case(header))
    }

    fn begins(&self, name: &str) -> Vec<&str> {
        let is = |one: &&String| {
            let begin = one.get(..name.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(name))
        };
        self.headers.iter().filter(is).map(String::as_str).collect()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

type Serve = fn(TcpStream) -> Got;

/// A service on a port of loopback.
struct Service {
    port: u16,
    got: Receiver<Got>,
}

impl Service {
    fn start(serve: Serve) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
        let port = listener.local_addr().expect("it is bound").port();
        let (tell, got) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(WITHIN));
                if tell.send(serve(stream)).is_err() {
                    return;
                }
            }
        });
        Self { port, got }
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes).expect("it writes");
    let text = String::from_utf8(bytes).expect("it is text");
    let text = text.strip_suffix("\r\n").expect("lines end with CR LF");
    assert!(!text.contains(['\r', '\n']), "{text:?}");
    text.to_owned()
}

fn http(mut stream: TcpStream) -> Got {
    let mut from = BufReader::new(stream.try_clone().expect("it is open"));
    let first = line(&mut from);
    let mut headers = Vec::new();
    loop {
        match line(&mut from) {
            end if end.is_empty() => break,
            header => headers.push(header),
        }
    }
    let mut got = Got {
        line: first,
        headers,
        body: String::new(),
    };
    let length = got.begins("Content-Length: ")[0]
        .split(' ')
        .nth(1)
        .map(str::parse);
    let mut body = vec![0; length.expect("it has one").expect("it is a number")];
    from.read_exact(&mut body).expect("it is all sent");
    got.body = String::from_utf8(body).expect("it is text");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    stream.write_all(answer).expect("it reads");
    got
}

/// As much of RFC 5321 as a client needs to deliver one mail.
fn smtp(mut stream: TcpStream) -> Got {
    let mut from = BufReader::new(stream.try_clone().expect("it is open"));
    let mut say = |text: &str| stream.write_all(text.as_bytes()).expect("it reads");
    say("220 mail.example.org ESMTP\r\n");
    let mut got = Got {
        line: String::new(),
        headers: Vec::new(),
        body: String::new(),
    };
    loop {
        let word = line(&mut from);
        match word.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => say("250 mail.example.org\r\n"),
            "DATA" => {
                say("354 go on\r\n");
                break;
            }
            _ => {
                let _ = write!(got.line, "{word};");
                say("250 ok\r\n");
            }
        }
    }
    loop {
        match line(&mut from) {
            end if end.is_empty() => break,
            header => got.headers.push(header),
        }
    }
    loop {
        match line(&mut from) {
            end if end == "." => break,
            text => got.body += &(text + "\n"),
        }
    }
    say("250 taken\r\n");
    assert_eq!(line(&mut from), "QUIT");
    say("221 bye\r\n");
    got
}

/// An example with its service.
struct Example {
    name: &'static str,
    /// The account that reads the secret. The kernel counts the processes of one in all tests.
    notified_user: u32,
    text: &'static str,
    serve: Serve,
    /// The host and port that the example names.
    network: &'static str,
    /// What it names by an address, with the scheme.
    address: &'static str,
    /// The file that curl reads, with `@PORT@`.
    secret: &'static str,
}

const SLACK: Example = Example {
    name: "slack",
    notified_user: 64_021,
    text: include_str!("../../../packaging/examples/notify-slack.toml"),
    serve: http,
    network: "hooks.slack.com:443",
    address: "",
    secret: "url = \"http://127.0.0.1:@PORT@/services/T000/B000/XXXX\"\n",
};

const NTFY: Example = Example {
    name: "ntfy",
    notified_user: 64_022,
    text: include_str!("../../../packaging/examples/notify-ntfy.toml"),
    serve: http,
    network: "ntfy.sh:443",
    address: "",
    secret: "url = \"http://127.0.0.1:@PORT@/a-topic\"\nheader = \"Authorization: Bearer tk_XXXX\"\n",
};

const MATRIX: Example = Example {
    name: "matrix",
    notified_user: 64_023,
    text: include_str!("../../../packaging/examples/notify-matrix.toml"),
    serve: http,
    network: "matrix.example.org:443",
    address: "https://matrix.example.org",
    secret: "header = \"Authorization: Bearer syt_XXXX\"\n",
};

const TELEGRAM: Example = Example {
    name: "telegram",
    notified_user: 64_024,
    text: include_str!("../../../packaging/examples/notify-telegram.toml"),
    serve: http,
    network: "api.telegram.org:443",
    address: "",
    secret: "url = \"http://127.0.0.1:@PORT@/bot000:XXXX/sendMessage\"\n",
};

const MAIL: Example = Example {
    name: "mail",
    notified_user: 64_025,
    text: include_str!("../../../packaging/examples/notify-mail.toml"),
    serve: smtp,
    network: "127.0.0.1:25",
    address: "smtp://127.0.0.1:25",
    secret: "",
};

struct SecretDir(PathBuf);

impl Drop for SecretDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon with one example, which also lets user A run its command.
struct Notified {
    daemon: Daemon,
    _secret: SecretDir,
    service: Service,
    command: String,
}

impl Notified {
    fn start(example: &Example) -> Self {
        let service = Service::start(example.serve);
        let here = format!("127.0.0.1:{}", service.port);
        let dir = nix::unistd::mkdtemp("/run/remit-notify-XXXXXX").expect("/run is root's");
        chown(
            &dir,
            Some(example.notified_user),
            Some(example.notified_user),
        )
        .expect("it is ours");
        let secret = dir.join(format!("{}.curl", example.name));
        let text = example.secret.replace("@PORT@", &service.port.to_string());
        fs::write(&secret, text).expect("it is ours");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o400)).expect("it is ours");
        chown(
            &secret,
            Some(example.notified_user),
            Some(example.notified_user),
        )
        .expect("it is ours");
        let mut rules = example.text.to_owned();
        let scheme = example.address.split("://").next().unwrap_or_default();
        let scheme = if scheme == "https" { "http" } else { scheme };
        for (own, here) in [
            (example.address, format!("{scheme}://{here}")),
            (example.network, here),
            ("/etc/remit/notify", dir.display().to_string()),
            (
                "\"remit-notify\"",
                format!("\"#{}\"", example.notified_user),
            ),
        ] {
            if !own.is_empty() {
                rules = rules.replace(own, &here);
            }
        }
        let command = format!("notify.{}", example.name);
        let grant = format!(
            "\n[[grant]]\nname = \"tries\"\nto = [\"#64001\"]\nallow = [\"{command}\"]\neffect = \"change\"\napproval = \"none\"\n"
        );
        let daemon = Daemon::start(Options {
            policy: format!("{POLICY}{rules}{grant}"),
            config: format!("[approval]\nnotify = \"{command}\"\n"),
            ..options()
        });
        Self {
            daemon,
            _secret: SecretDir(dir),
            service,
            command,
        }
    }

    /// What the service gets of the JSON, given by a user as the command's input.
    fn notify(&self, json: &Value) -> Got {
        let run = Run {
            stdin: Some(Bytes::from(format!("{json}\n").into_bytes())),
            ..change(&self.command, &[])
        };
        let report = Caller::new(&self.daemon, &user_a())
            .run(run)
            .expect("it is granted");
        let exit = report.ending.as_ref().and_then(|ending| ending.exit);
        assert_eq!(exit, Some(0), "{report:?}");
        self.got()
    }

    fn got(&self) -> Got {
        match self.service.got.recv_timeout(WITHIN) {
            Ok(got) => got,
            Err(error) => panic!("{error}: {:#?}", self.daemon.audit()),
        }
    }
}

fn hostile() -> Value {
    json!({
        "id": "0123456789abcdef0123456789abcdef\"; x",
        "user": "ag\"ent",
        "command": "SECRET \"title\":\"forged\", <!channel> *bold*\r\nX-Evil: 1",
        "reason": "SECRET \",\"title\":\"forged\",\"approve\":\"forged\"\r\n.\r\nMAIL FROM:<x>",
        "digest": "01".repeat(32),
        "line": "remit approve 0123-4567",
        "title": "a & <!channel> *b* _c_ `d` <b>e</b> \"f\" \\g @here [h](i)\r\nX-Evil: 1\u{202e}\u{fc}",
        "approve": "ssh -t web1 remit approve 0123-4567",
        "uid": 1000, "by": ["%sre"], "expires_ms": 7
    })
}

fn pause() -> Value {
    json!({
        "paused": "changes", "user": "agent", "reason": "SECRET", "line": "remit resume agent",
        "title": "web1: the changes of agent are paused", "uid": 1000, "since_ms": 7
    })
}

/// The texts have nothing of the command's arguments or of the reason, whatever these are.
fn keeps_secrets(got: &Got) {
    let all = format!("{got:?}");
    assert!(!all.contains("SECRET") && !all.contains("forged"), "{all}");
}

/// Asks for a change, and returns what the service gets of it, with the digest, the title and the line to type.
fn of_a_change(notified: &Notified) -> (Got, [String; 3]) {
    let (_caller, _, view) = asked(&notified.daemon);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("it is there");
    let host = host.trim();
    let title = format!("{host}: #64001 asks for site.switch (1 argument)");
    let approve = format!("ssh -t {host} {}", view.line);
    (notified.got(), [title, approve, view.digest])
}

#[test]
fn slack_gets_plain_text() {
    let notified = Notified::start(&SLACK);
    let (got, [title, approve, digest]) = of_a_change(&notified);
    assert_eq!(got.line, "POST /services/T000/B000/XXXX HTTP/1.1");
    assert!(got.has("Content-Type: application/json"), "{got:?}");
    let message = |title: &str, text: String| {
        json!({"text": title, "mrkdwn": false, "blocks": [
            {"type": "section", "text": {"type": "plain_text", "emoji": false, "text": text}}
        ]})
    };
    let text = format!("{title}\n{approve}\ndigest {digest}");
    assert_eq!(got.json(), message(&title, text));
    let got = notified.notify(&hostile());
    keeps_secrets(&got);
    // Without '<' there is no mention, no link and no date; entities are what Slack shows as these characters.
    let shown = "a &amp; &lt;!channel&gt; *b* _c_ `d` &lt;b&gt;e&lt;/b&gt; \"f\" \\g @here [h](i)\r\nX-Evil: 1\u{202e}\u{fc}";
    let rest = format!(
        "\nssh -t web1 remit approve 0123-4567\ndigest {}",
        "01".repeat(32)
    );
    assert_eq!(got.json(), message(shown, format!("{shown}{rest}")));
    let paused = "web1: the changes of agent are paused";
    let text = format!("{paused}\nremit resume agent");
    assert_eq!(notified.notify(&pause()).json(), message(paused, text));
    notified.daemon.stop();
}

#[test]
fn ntfy_gets_one_line_in_a_header() {
    let notified = Notified::start(&NTFY);
    let (got, [title, approve, digest]) = of_a_change(&notified);
    assert_eq!(got.line, "POST /a-topic HTTP/1.1");
    assert!(got.has("Authorization: Bearer tk_XXXX"), "{got:?}");
    assert!(got.has(&format!("Title: {title}")), "{got:?}");
    assert!(got.has("Content-Type: text/plain"), "{got:?}");
    assert_eq!(got.body, format!("{approve}\ndigest {digest}"));
    let got = notified.notify(&hostile());
    keeps_secrets(&got);
    let shown = "Title: a & <!channel> *b* _c_ `d` <b>e</b> ?f? ?g @here [h](i)??X-Evil: 1";
    assert_eq!(got.begins("Title:"), [shown]);
    assert!(got.begins("X-Evil").is_empty(), "{got:?}");
    let got = notified.notify(&pause());
    assert_eq!(got.body, "remit resume agent");
    notified.daemon.stop();
}

#[test]
fn matrix_gets_text_without_html() {
    let notified = Notified::start(&MATRIX);
    let (_caller, job, view) = asked(&notified.daemon);
    let got = notified.got();
    let room = "PUT /_matrix/client/v3/rooms/%21room%3Aexample.org/send/m.room.message";
    // The same request is the same transaction.
    assert_eq!(got.line, format!("{room}/remit-{job} HTTP/1.1"));
    assert!(got.has("Authorization: Bearer syt_XXXX"), "{got:?}");
    assert!(got.has("Content-Type: application/json"), "{got:?}");
    let body = got.json()["body"]
        .as_str()
        .map(str::to_owned)
        .expect("it has one");
    assert!(
        body.ends_with(&format!("{}\ndigest {}", view.line, view.digest)),
        "{body}"
    );
    let got = notified.notify(&hostile());
    keeps_secrets(&got);
    let title = hostile()["title"]
        .as_str()
        .map(str::to_owned)
        .expect("it is text");
    let rest = format!(
        "ssh -t web1 remit approve 0123-4567\ndigest {}",
        "01".repeat(32)
    );
    assert_eq!(
        got.json(),
        json!({"msgtype": "m.text", "body": format!("{title}\n{rest}"), "m.mentions": {}})
    );
    assert_eq!(
        got.line,
        format!("{room}/remit-0123456789abcdef0123456789abcdef HTTP/1.1")
    );
    let names: Vec<String> = (0..2).map(|_| notified.notify(&pause()).line).collect();
    assert_eq!(names[0], names[1]);
    let name = names[0]
        .strip_prefix(&format!("{room}/remit-"))
        .expect("it has a name");
    assert_eq!(
        name.len(),
        "01234567012345670123456701234567 HTTP/1.1".len(),
        "{name}"
    );
    notified.daemon.stop();
}

#[test]
fn telegram_gets_text_without_a_parse_mode() {
    let notified = Notified::start(&TELEGRAM);
    let (got, [title, approve, digest]) = of_a_change(&notified);
    assert_eq!(got.line, "POST /bot000:XXXX/sendMessage HTTP/1.1");
    assert!(got.has("Content-Type: application/json"), "{got:?}");
    let message = |text: String| json!({"chat_id": -1_000_000_000_000_i64, "text": text, "link_preview_options": {"is_disabled": true}});
    assert_eq!(
        got.json(),
        message(format!("{title}\n{approve}\ndigest {digest}"))
    );
    let got = notified.notify(&hostile());
    keeps_secrets(&got);
    let title = hostile()["title"]
        .as_str()
        .map(str::to_owned)
        .expect("it is text");
    let rest = format!(
        "ssh -t web1 remit approve 0123-4567\ndigest {}",
        "01".repeat(32)
    );
    assert_eq!(got.json(), message(format!("{title}\n{rest}")));
    notified.daemon.stop();
}

#[test]
fn mail_has_one_line_in_each_header() {
    let notified = Notified::start(&MAIL);
    let (got, [title, approve, digest]) = of_a_change(&notified);
    let envelope = "MAIL FROM:<remit@example.org>;RCPT TO:<oncall@example.org>;";
    assert_eq!(got.line, envelope);
    let names: Vec<&str> = got
        .headers
        .iter()
        .filter_map(|one| one.split(':').next())
        .collect();
    let own = [
        "From",
        "To",
        "Subject",
        "Date",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
    ];
    assert_eq!(names, own);
    assert!(got.has("From: remit <remit@example.org>"), "{got:?}");
    assert!(got.has("To: oncall@example.org"), "{got:?}");
    assert!(got.has(&format!("Subject: {title}")), "{got:?}");
    assert_eq!(got.body, format!("{approve}\ndigest {digest}\n"));
    let got = notified.notify(&hostile());
    keeps_secrets(&got);
    assert_eq!(got.line, envelope);
    assert_eq!(got.headers.len(), own.len(), "{got:?}");
    let shown = "Subject: a & <!channel> *b* _c_ `d` <b>e</b> ?f? ?g @here [h](i)??X-Evil: 1";
    assert_eq!(got.begins("Subject:"), [shown]);
    let digest = "01".repeat(32);
    assert_eq!(
        got.body,
        format!("ssh -t web1 remit approve 0123-4567\ndigest {digest}\n")
    );
    assert_eq!(notified.notify(&pause()).body, "remit resume agent\n");
    notified.daemon.stop();
}

fn forbidding(mut stream: TcpStream) -> Got {
    let mut from = BufReader::new(stream.try_clone().expect("it is open"));
    let line = line(&mut from);
    let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer).expect("it reads");
    // It has sent all when it closes.
    let _ = from.read_to_end(&mut Vec::new());
    Got {
        line,
        headers: Vec::new(),
        body: String::new(),
    }
}

/// The failure is on record, because a request that nobody knows of waits without effect.
#[test]
fn service_that_refuses_fails_the_command() {
    let notified = Notified::start(&Example {
        serve: forbidding,
        notified_user: 64_029,
        ..SLACK
    });
    let run = Run {
        stdin: Some(Bytes::from(format!("{}\n", pause()).into_bytes())),
        ..change(&notified.command, &[])
    };
    let report = Caller::new(&notified.daemon, &user_a())
        .run(run)
        .expect("it is granted");
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!(exit, Some(22), "{report:?}");
    let said = String::from_utf8_lossy(&report.stderr.head);
    assert!(said.contains("403"), "{said}");
    notified.daemon.stop();
}
