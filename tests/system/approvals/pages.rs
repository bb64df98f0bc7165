//! What an approver reads of five requests, word for word: `pages.txt` is what `remit show` prints.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_tests::daemon::{admin, user_a};
use remit_tests::process::Identity;
use serde_json::Value;

use crate::plans::{GRANTS, PlanFixture};

/// Directories of this test's own, so that the pages have paths as on a real machine.
const DIRS: [&str; 3] = ["/etc/sudoers.d", "/home", "/srv"];
const SUDOERS: &str = "/etc/sudoers.d/pages";
const KEYS: &str = "/home/carl/.ssh/authorized_keys";
const SITE: &str = "/srv/pages/site.conf";
const TOOL: &str = "/srv/pages/tool";

const ONE_OFF: &str = r##"
[[grant]]
name = "one-off"
to = ["#64001"]
allow = ["change"]
approval = { by = ["#64005"], expires = "10min" }
"##;

fn put(path: &str, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).expect("its directory is this test's");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is this test's");
}

/// Lays the files that the requests change, in a mount namespace of this test's.
fn files() {
    unshare(CloneFlags::CLONE_NEWNS).expect("we are root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("we are root");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for dir in DIRS {
        let size = Some("size=4m,mode=755");
        mount(Some("none"), dir, Some("tmpfs"), flags, size).expect("it is there");
    }
    for dir in ["/home/carl/.ssh", "/srv/pages"] {
        fs::create_dir_all(dir).expect("it is in a directory of this test's");
    }
    put(
        SUDOERS,
        b"carl ALL=(root) /usr/bin/systemctl restart nginx\n",
        0o440,
    );
    put(KEYS, b"ssh-ed25519 AAAAone carl@home\n", 0o600);
    fs::set_permissions("/home/carl/.ssh", Permissions::from_mode(0o700)).expect("it is new");
    put(SITE, b"# site\nport 80\nuser www\n", 0o644);
    put(TOOL, &program(3000), 0o755);
}

/// Returns bytes that look like a program's.
fn program(size: usize) -> Vec<u8> {
    let code = (0..=255).cycle();
    b"\x7fELF\x02\x01\x01\0"
        .iter()
        .copied()
        .chain(code)
        .take(size)
        .collect()
}

/// What this thread starts belongs to a login of this user. Without one the page has a risk more.
fn log_in(user: &Identity) {
    // Only root can unset it, and then anybody can set it once.
    for uid in [u32::MAX, user.uid] {
        fs::write("/proc/thread-self/loginuid", uid.to_string()).expect("we are root");
    }
}

struct Scene(PlanFixture);

impl Scene {
    fn lay() -> Self {
        files();
        let mut fixture = PlanFixture::lay();
        let grants = GRANTS.replace("[\"plan.make\"]", "[\"plan.make\", \"plan.private\"]");
        let policy = format!("{grants}{ONE_OFF}");
        fixture
            .daemon
            .set_file("config/policy.d/10-test.toml", &policy);
        fixture.daemon.restart_cleanly();
        Self(fixture)
    }

    /// Returns the page of the request that these words make, with its title.
    fn page(&self, title: &str, words: &[&str]) -> String {
        let words = [&["change", "-m", "ticket-11", "--no-wait"], words].concat();
        log_in(&user_a());
        let id = self.0.asks(&words).to_string();
        log_in(&admin());
        let shown = self.0.daemon.remit(&admin(), &["show", &id]);
        let page = String::from_utf8(shown.stdout).expect("it is text");
        let wide = page.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{page}");
        let own = self.0.daemon.path().display().to_string();
        format!("== {title}\n{}", fixed(&page, &id, &own))
    }

    fn page_of_plan(&self, title: &str, edit: &[&str]) -> String {
        log_in(&user_a());
        let plan = self
            .0
            .daemon
            .remit(&user_a(), &[&["--json", "plan"], edit].concat());
        let plan: Value =
            serde_json::from_slice(&plan.stdout).unwrap_or_else(|why| panic!("{why}: {plan:?}"));
        self.page(title, &["--plan", plan["plan_id"].as_str().expect("an id")])
    }
}

/// Returns the page without what differs from one run or machine to another: `own` is the daemon's directory.
fn fixed(page: &str, id: &str, own: &str) -> String {
    let dashed = format!("{}-{}", &id[..4], &id[4..8]);
    let page = page.replace(&dashed, "ID").replace(id, "ID");
    let page = page
        .replace(&format!("{own}/bin"), "/usr/libexec/remit")
        .replace(&format!("{own}/state"), "/var/lib/remit");
    let shell = fs::canonicalize("/usr/bin/sh").expect("there is a shell");
    let page = page.replace(&format!("| {}\n", shell.display()), "| SHELL\n");
    let (mut last, mut text) = ("", String::new());
    for line in page.lines() {
        let (row, value) = line.split_at_checked(16).unwrap_or((line, ""));
        last = match row.get(..14).unwrap_or_default().trim() {
            "" => last,
            name => name,
        };
        let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
        let value = match last {
            "until" => "TIME".to_owned(),
            "digest" => value
                .split(' ')
                .map(|_| "HEX")
                .collect::<Vec<_>>()
                .join(" "),
            // Of the shell.
            "file" if value.len() == 64 => "HEX".to_owned(),
            "file" => {
                let words = value.split(' ');
                let words = words.map(|word| if is_number(&word) { "SIZE" } else { word });
                words.collect::<Vec<_>>().join(" ")
            }
            _ => value.to_owned(),
        };
        text.push_str(&format!("{row}{value}\n"));
    }
    text
}

/// `REMIT_WRITE_PAGES=1` writes the pages again.
#[test]
fn pages_of_five_requests_are_these() {
    let scene = Scene::lay();
    let file = |name: &str, bytes: &[u8]| scene.0.file(name, bytes);
    let rule = file("rule", b"carl ALL=(ALL) NOPASSWD: ALL\n");
    let key = file(
        "key",
        b"ssh-ed25519 AAAAone carl@home\nssh-ed25519 AAAAtwo carl@work\n",
    );
    let tool = file("tool", &program(4000));
    let lines = (2..=200).map(|line| format!("echo line {line} >>/var/log/pages\n"));
    let script = format!("#!/bin/sh\n{}", lines.collect::<String>());
    let script = file("script", script.as_bytes());
    let pages = [
        scene.page_of_plan("an edit of one line", &["--replace", SITE, "80", "8080"]),
        scene.page("a script of 200 lines", &["--script-file", &script]),
        scene.page_of_plan("sudoers", &["--private", "--write", SUDOERS, &rule]),
        scene.page_of_plan("authorized_keys", &["--private", "--write", KEYS, &key]),
        scene.page_of_plan("a binary file", &["--write", TOOL, &tool]),
    ];
    let is_line = |line: &&str| line.trim_start().starts_with("| echo line ");
    assert_eq!(
        pages[1].lines().filter(is_line).count(),
        199,
        "{}",
        pages[1]
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/approvals/pages.txt");
    let (old, new) = (
        fs::read_to_string(&path).unwrap_or_default(),
        pages.concat(),
    );
    if std::env::var_os("REMIT_WRITE_PAGES").is_some() {
        fs::write(&path, &new).expect("it can be written");
    }
    assert!(
        old == new,
        "REMIT_WRITE_PAGES=1 writes this page again:\n{new}"
    );
}
