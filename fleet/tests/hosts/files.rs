//! `get` and `put`: files come whole or not at all, from real hosts and from hosts that lie.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::daemon::Daemon;
use remit_tests::process::descendants;
use remit_tests::test_dir::install_look;
use serde_json::{Value, json};

use crate::real_ssh::Machine;
use crate::stage::{Stage, approver, daemon, plans, user};

/// More bytes than one page of a job.
const LARGE: &str = "/usr/bin/bash";

/// A directory of the user.
fn home(stage: &Stage) -> PathBuf {
    let home = stage.path().join("here");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(user().uid), Some(user().gid)).unwrap();
    home
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `SHA256-BYTES` of a file, by another program.
fn name(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let size = fs::metadata(path).unwrap().len();
    format!("{}-{size}", text.split(' ').next().unwrap())
}

#[test]
fn file_of_each_host_comes_whole_into_its_directory() {
    let daemon = daemon();
    let stage = Stage::new(&["web1", "web2", "web3"]);
    stage.set_real("web1", &daemon);
    stage.set_real("web2", &daemon);
    stage.set_host("web3", "echo 'no route' >&2; exit 255\n");
    let to = home(&stage).join("files");
    let to = to.to_str().unwrap();
    let (status, out, err) = stage.run(&["get", "--on", "*", LARGE, to]);
    assert_eq!(status, Some(1), "{out}{err}");
    assert!(
        err.starts_with("remit-fleet: web3: not fetched: no route (ssh ended with status 255)"),
        "{err}"
    );
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let upload = name(Path::new(LARGE));
    let expect = ["web1", "web2"].map(|host| format!("{upload}  {to}/{host}/bash"));
    assert_eq!(lines, expect);
    assert_eq!(names(Path::new(to)), ["web1", "web2"]);
    for host in ["web1", "web2"] {
        let dir = Path::new(to).join(host);
        assert_eq!(names(&dir), ["bash"]);
        assert!(fs::read(dir.join("bash")).unwrap() == fs::read(LARGE).unwrap());
        let mode = fs::metadata(dir.join("bash")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // The same again gets what is missing, and asks no other host.
    stage.set_real("web3", &daemon);
    let before = stage.logins().len();
    let (status, out, err) = stage.run(&["get", "--json", "--on", "*", LARGE, to]);
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |host: &str| rows.iter().find(|row| row["host"] == host).unwrap();
    assert_eq!((status, &*err, rows.len()), (Some(1), "", 3), "{out}");
    assert_eq!(of("web3")["upload"], *upload, "{out}");
    let why = of("web1")["why"].as_str().unwrap();
    assert!(
        why.ends_with("bash' is there; --force replaces it"),
        "{why}"
    );
    assert_eq!(stage.logins().len(), before + 1);
}

#[test]
fn only_host_writes_where_the_user_says() {
    let daemon = daemon();
    let stage = Stage::new(&["web1"]);
    stage.set_real("web1", &daemon);
    let home = home(&stage);
    let at = |name: &str| home.join(name).to_str().unwrap().to_owned();
    fs::create_dir(home.join("dir")).unwrap();
    chown(home.join("dir"), Some(user().uid), None).unwrap();
    symlink("dir", home.join("link")).unwrap();
    symlink("new", home.join("dangling")).unwrap();
    fs::write(home.join("mine"), "mine").unwrap();
    for (local, file) in [("new", "new"), ("dir", "dir/hostname"), ("link/b", "dir/b")] {
        let (status, out, err) = stage.run(&["get", "/etc/hostname", &at(local)]);
        assert_eq!(status, Some(0), "{out}{err}");
        let same = fs::read(home.join(file)).unwrap() == fs::read("/etc/hostname").unwrap();
        assert!(same, "{file}");
    }
    let mut command = stage.command(&["get", "/etc/hostname"]);
    assert!(command.current_dir(&home).status().unwrap().success());
    assert!(home.join("hostname").is_file());
    let before = stage.logins().len();
    for (arguments, status, expect) in [
        (&["/etc/hostname", "mine"][..], 1, "--force replaces it"),
        (
            &["--force", "/etc/hostname", "dangling"],
            1,
            "is no regular file",
        ),
        (&["/etc/hostname", "no/dir"], 1, "No such file or directory"),
        (&["/etc/hostname", "no/"], 64, "there is no directory"),
        (&["etc/hostname", "a"], 64, "give an absolute path"),
        (&["/etc/hostname", "-"], 64, "files are not printed"),
        (&["--max-mib", "0", "/etc/hostname"], 64, "0 is not in 1.."),
        (&[], 64, "required arguments"),
    ] {
        let words = ["get"].iter().chain(arguments).copied();
        let words: Vec<&str> = words.collect();
        let mut command = stage.command(&words);
        let output = command.current_dir(&home).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{err}");
        assert!(err.contains(expect), "{arguments:?}: {err}");
    }
    assert_eq!(stage.logins().len(), before, "nothing was asked");
    assert_eq!(fs::read(home.join("mine")).unwrap(), b"mine");
    let (status, ..) = stage.run(&["get", "--force", "/etc/hostname", &at("mine")]);
    assert_eq!(status, Some(0));
    assert_ne!(fs::read(home.join("mine")).unwrap(), b"mine");
    // What the host says is the reason, without a guess about mcp-shim.
    let (status, _, err) = stage.run(&["get", "/nonexistent/a b", &at("none")]);
    assert_eq!(status, Some(1));
    assert!(
        err.contains("cat: '/nonexistent/a b': No such file or directory (status 1)\n"),
        "{err}"
    );
    let hidden = names(&home)
        .into_iter()
        .filter(|name| name.starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn host_that_lies_leaves_no_file() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad-3";
    let hosts: [(&str, String, &str); 9] = [
        (
            "endless",
            "exec cat /dev/zero\n".into(),
            "it sent more than 1048576 bytes; --max-mib allows more",
        ),
        (
            "none",
            "printf abc\n".into(),
            "no receipt came: mcp-shim of remit",
        ),
        (
            "other",
            format!("printf abd; echo {abc} >&2\n"),
            "its receipt is for 3 other bytes",
        ),
        (
            "longer",
            format!("echo Welcome; printf abc; echo {abc} >&2\n"),
            "a login there that prints something spoils files",
        ),
        (
            "failed",
            format!("printf abc; echo {abc} >&2; exit 3\n"),
            "status 3",
        ),
        (
            "killed",
            format!("printf abc; echo {abc} >&2; kill -9 $$\n"),
            "ssh was killed",
        ),
        (
            "words",
            "printf 'mcp-shim: \\033[2J/etc/passwd' >&2; exit 1\n".into(),
            "\\x1b[2J/etc/passwd (status 1)",
        ),
        (
            "chatter",
            format!(
                "printf ab; head -c 300000 /dev/zero >&2; echo >&2; printf d; echo {abc} >&2\n"
            ),
            "other bytes",
        ),
        (
            "old",
            "echo \"mcp-shim: unknown argument '--get'; try 'mcp-shim --help'\" >&2; exit 64\n"
                .into(),
            "unknown argument '--get'",
        ),
    ];
    let list: Vec<&str> = hosts.iter().map(|(host, ..)| *host).collect();
    let stage = Stage::new(&list);
    for (host, script, _) in &hosts {
        stage.set_host(host, script);
    }
    let to = home(&stage);
    let arguments = [
        "get",
        "--json",
        "--max-mib",
        "1",
        "--on",
        "*",
        "/a",
        to.to_str().unwrap(),
    ];
    let (status, out, err) = stage.run(&arguments);
    assert_eq!((status, &*err), (Some(1), ""), "{out}");
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (host, _, expect) in &hosts {
        let row = rows.iter().find(|row| row["host"] == *host).unwrap();
        let why = row["why"].as_str().unwrap();
        assert!(why.contains(expect), "{host}: {why}");
    }
    assert_eq!(names(&to), [""; 0]);
    // The same bytes with a true receipt.
    stage.set_host(
        "other",
        &format!("printf abc; echo Bye >&2; echo {abc} >&2\n"),
    );
    let (status, out, err) = stage.run(&["get", "--on", "other", "/a", to.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(out, format!("{abc}  {}/a\n", to.display()));
}

#[test]
fn full_disk_leaves_no_file() {
    let daemon = daemon();
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_real("web1", &daemon);
    stage.set_real("web2", &daemon);
    let to = home(&stage);
    let fleet = stage.command_of(&approver(), &[]);
    let script = "mount -t tmpfs -o size=64k none \"$1\" || exit 99\n\
                  \"$2\" get --on '*' \"$3\" \"$1\"; status=$?; ls -A \"$1\"; exit $status\n";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]);
    command.arg(&to).arg(fleet.get_program()).arg(LARGE);
    command.env_clear();
    for (key, value) in fleet.get_envs() {
        command.env(key, value.unwrap());
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!((output.status.code(), &*out), (Some(1), ""), "{err}");
    for host in ["web1", "web2"] {
        let line =
            format!("{host}: not fetched: cannot write the file here: No space left on device");
        assert!(err.contains(&line), "{err}");
    }
}

#[test]
fn signal_in_the_middle_leaves_no_file() {
    let stage = Stage::new(&["web1", "web2"]);
    // They say so when the first half is on its way, and then wait.
    for host in ["web1", "web2"] {
        let script =
            "printf abc; echo 'mcp-shim: job ab waits for an approval' >&2; exec sleep 1000\n";
        stage.set_host(host, script);
    }
    let to = home(&stage).join("new");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let mut command = stage.command(&["get", "--on", "*", "/a", to.to_str().unwrap()]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..2 {
            let line = lines.next().unwrap().unwrap();
            assert!(line.ends_with(": job ab waits for an approval"), "{line}");
        }
        assert_eq!(names(&to), ["web1", "web2"]);
        let pid = child.id().cast_signed();
        let below = descendants(pid);
        kill(Pid::from_raw(pid), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::SIGKILL {
            // The hosts outlive it.
            for process in below {
                let _ = kill(Pid::from_raw(process.pid), signal);
            }
            let left = names(&to.join("web1"));
            assert!(left.len() == 1 && left[0].ends_with(".part"), "{left:?}");
            break;
        }
        assert_eq!(status.code(), Some(1));
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(rest.len(), 2, "{rest:?}");
        assert!(rest[0].contains("not fetched: interrupted before it was whole"));
        assert!(!to.exists(), "{signal}");
    }
}

/// As some clients end their servers.
#[test]
fn server_that_is_ended_leaves_no_part() {
    let (stage, dir) = with_files(&["web1"]);
    let asked = dir.join(".asked");
    let script = format!("printf abc; touch '{}'; exec sleep 1000\n", asked.display());
    stage.set_host("web1", &script);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut client = stage.client();
        client.start_tool("download", json!({"path": "/a", "to": "new"}));
        let start = Instant::now();
        while !asked.exists() {
            assert!(start.elapsed() < Duration::from_secs(30), "it is not asked");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(client.end_by(signal).code(), Some(0));
        fs::remove_file(&asked).unwrap();
        // Others may write into the first directory.
        assert_eq!(names(&dir.join("new")), [""; 0], "{signal}");
    }
}

#[test]
fn signal_ends_the_files_that_are_left_too() {
    let stage = Stage::new(&["web1"]);
    let script = "echo 'mcp-shim: job ab waits for an approval' >&2; exec sleep 1000\n";
    stage.set_host("web1", script);
    let home = home(&stage);
    for name in ["one", "two"] {
        fs::write(home.join(name), name).unwrap();
    }
    let mut command = stage.command(&["put", "one", "two"]);
    command.current_dir(&home).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines
            .next()
            .unwrap()
            .unwrap()
            .contains("waits for an approval")
    );
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(
        rest,
        [
            "remit-fleet: web1: not sent: one: interrupted before it was whole; the same line goes on there within ten minutes"
        ]
    );
    assert_eq!(stage.logins().len(), 1);
}

/// A daemon that takes files for plans.
pub fn planning() -> Daemon {
    plans(
        "[[grant]]\nname = \"test\"\nto = [\"#0\", \"somebody\"]\nallow = [\"plan.make\", \"run\"]\nrun_profile = \"read\"\n",
    )
}

#[test]
fn files_are_sent_to_each_host_under_one_name() {
    let daemons = [planning(), planning()];
    let refusing = daemon();
    let stage = Stage::new(&["web1", "web2", "web3", "web4"]);
    stage.set_real("web1", &daemons[0]);
    stage.set_real("web2", &daemons[1]);
    stage.set_real("web3", &refusing);
    stage.set_host("web4", "exec cat /dev/zero\n");
    let home = home(&stage);
    let large: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let (one, two) = (home.join("one"), home.join("two\u{1b}"));
    fs::write(&one, &large).unwrap();
    fs::write(&two, "two").unwrap();
    let paths = [one.to_str().unwrap(), two.to_str().unwrap()];
    let (status, out, err) = stage.run(&["put", "--on", "web1 web2", paths[0], paths[1]]);
    assert_eq!((status, &*err), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6, "{out}");
    assert_eq!(lines[2], format!("{}  {}", name(&one), paths[0]));
    assert_eq!(
        lines[5],
        format!("{}  {}/two\\x1b", name(&two), home.display())
    );
    assert!(out.contains(&format!("web2: sent {}\n", paths[0])), "{out}");
    for daemon in &daemons {
        let kept = format!("{}-{}", user().uid, name(&one));
        let kept = daemon.path().join("state/uploads").join(kept);
        assert!(fs::read(kept).unwrap() == large);
    }
    let (status, out, err) = stage.run(&["put", "--on", "web1 web3 web4", "--json", paths[0]]);
    assert_eq!((status, &*err), (Some(1), ""), "{out}");
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |host: &str| rows.iter().find(|row| row["host"] == host).unwrap();
    assert_eq!(of("web1")["upload"], *name(&one), "again, and not twice");
    let why = of("web3")["why"].as_str().unwrap();
    assert!(
        why.contains("plan.make") && why.ends_with("(status 77)"),
        "{why}"
    );
    let why = of("web4")["why"].as_str().unwrap();
    assert!(why.starts_with("it prints without end"), "{why}");
}

#[test]
fn file_that_cannot_be_sent_is_refused_before_a_login() {
    let stage = Stage::new(&["web1", "web2"]);
    let home = home(&stage);
    let at = |name: &str| home.join(name);
    fs::write(at("good"), "x").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::File::create(at("long"))
        .unwrap()
        .set_len((256 << 20) + 1)
        .unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (file, expect) in [
        ("nothing", "No such file or directory"),
        ("empty", "is empty"),
        ("long", "has more than 268435456 bytes"),
        ("fifo", "is no regular file"),
        (".", "is no regular file"),
    ] {
        let (good, file) = (at("good"), at(file));
        let words = [
            "put",
            "--on",
            "*",
            good.to_str().unwrap(),
            file.to_str().unwrap(),
        ];
        let (status, out, err) = stage.run(&words);
        assert_eq!((status, &*out), (Some(64), ""), "{err}");
        assert!(err.contains(expect), "{err}");
    }
    let good = at("good");
    let (status, _, err) = stage.run(&["put", good.to_str().unwrap()]);
    assert_eq!(status, Some(64));
    assert!(
        err.contains("'--on' is required, because there are 2 hosts"),
        "{err}"
    );
    assert_eq!(stage.logins(), [""; 0]);
}

#[test]
fn files_pass_a_real_login() {
    let daemon = planning();
    let Some(machine) = Machine::new(&daemon, "  RemoteCommand tmux attach\n") else {
        return;
    };
    let at = |name: &str| machine.path(name).to_str().unwrap().to_owned();
    let run = |words: &[&str]| {
        let output = machine.command(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let strange = machine.path("a b; $(id)'");
    fs::write(&strange, [&b"\0\xff\r\n"[..]; 100_000].concat()).unwrap();
    let sent = run(&["put", strange.to_str().unwrap()]);
    assert!(sent.contains(&name(&strange)), "{sent}");
    let fetched = run(&["get", LARGE, &at("bash")]);
    assert_eq!(
        fetched,
        format!("{}  {}\n", name(Path::new(LARGE)), at("bash"))
    );
    assert!(fs::read(at("bash")).unwrap() == fs::read(LARGE).unwrap());
    assert_eq!(machine.logins(), 1, "the second one went over the master");
}

/// A fleet whose models may have files of this directory.
fn with_files(hosts: &[&str]) -> (Stage, PathBuf) {
    let stage = Stage::new(hosts);
    let dir = home(&stage);
    stage.set_fleet(&format!(
        "[hosts]\ninclude = [\"*\"]\n[files]\ndirectory = \"{}\"\n",
        dir.display()
    ));
    (stage, dir)
}

#[test]
fn model_sends_a_file_and_plans_with_it() {
    install_look();
    let daemons = [planning(), planning()];
    let (stage, dir) = with_files(&["web1", "web2", "web3"]);
    stage.set_real("web1", &daemons[0]);
    stage.set_real("web2", &daemons[1]);
    stage.set_host("web3", "echo 'no route' >&2; exit 255\n");
    fs::write(dir.join("app"), [&b"\0\xff"[..]; 50_000].concat()).unwrap();
    let mut client = stage.client();
    let data = client.data("upload", json!({"on": "*", "path": "app"}));
    assert_eq!(data["upload"], *name(&dir.join("app")), "{data}");
    assert_eq!(data["hosts"], json!(["web1", "web2"]));
    assert_eq!(data["failed"][0]["hosts"], json!(["web3"]));
    let edits = json!([{"path": "/srv/app-of-a-test", "upload": data["upload"]}]);
    let plan = client.data("plan", json!({"on": "web1 web2", "edits": edits}));
    assert_eq!(plan["planned"], json!(["web1", "web2"]), "{plan}");
    assert_eq!(plan["groups"].as_array().unwrap().len(), 1, "{plan}");
    let refused = client.tool("upload", json!({"on": "web3", "path": "app"}));
    assert_eq!(refused["isError"], true, "{refused}");
}

#[test]
fn model_fetches_into_one_directory_only() {
    let daemon = daemon();
    let (stage, dir) = with_files(&["web1", "web2"]);
    stage.set_real("web1", &daemon);
    stage.set_host("web2", "exec cat /dev/zero\n");
    let mut client = stage.client();
    let data = client.data("download", json!({"on": "*", "path": LARGE, "to": "a/b"}));
    let upload = name(Path::new(LARGE));
    let (hash, size) = upload.split_once('-').unwrap();
    let expect = json!([{
        "host": "web1", "path": dir.join("a/b/web1/bash").to_str().unwrap(),
        "sha256": hash, "bytes": size.parse::<u64>().unwrap(),
    }]);
    assert_eq!(data["files"], expect, "{data}");
    assert!(fs::read(dir.join("a/b/web1/bash")).unwrap() == fs::read(LARGE).unwrap());
    let why = data["failed"][0]["why"].as_str().unwrap();
    assert!(
        why.starts_with("it sent more than 67108864 bytes; a person may"),
        "{why}"
    );
    assert_eq!(names(&dir.join("a/b")), ["web1"]);
    let before = stage.logins().len();
    let again = client.tool(
        "download",
        json!({"on": "web1", "path": LARGE, "to": "a/b"}),
    );
    assert_eq!(again["isError"], true);
    assert!(
        again
            .to_string()
            .contains("files are not replaced: give another 'to'"),
        "{again}"
    );
    symlink("/etc", dir.join("link")).unwrap();
    fs::write(dir.join(".env"), "secret").unwrap();
    for (tool, arguments, expect) in [
        (
            "upload",
            json!({"on": "*", "path": "/etc/passwd"}),
            "a path here is relative",
        ),
        (
            "upload",
            json!({"on": "*", "path": "../ssh"}),
            "a path here is relative",
        ),
        (
            "upload",
            json!({"on": "*", "path": ".env"}),
            "a path here is relative",
        ),
        (
            "upload",
            json!({"on": "*", "path": "link/passwd"}),
            "link' is no directory",
        ),
        (
            "upload",
            json!({"on": "*", "path": "nothing"}),
            "No such file",
        ),
        ("upload", json!({"on": "*"}), "'path' says which file"),
        ("upload", json!({"on": "*", "path": 7}), "'path' is a text"),
        (
            "upload",
            json!({"on": "*", "path": "a", "to": "b"}),
            "upload has no argument 'to'",
        ),
        (
            "upload",
            json!({"path": "a"}),
            "'on' is required, because there are 2 hosts",
        ),
        (
            "download",
            json!({"on": "*", "path": "etc/passwd"}),
            "give an absolute path",
        ),
        (
            "download",
            json!({"on": "*", "path": "/a", "to": "../x"}),
            "a path here is relative",
        ),
    ] {
        let why = client.refusal(tool, arguments);
        assert!(why.contains(expect), "{why}");
    }
    let linked = json!({"on": "*", "path": "/etc/hostname", "to": "link"});
    let linked = client.tool("download", linked);
    assert!(
        linked.to_string().contains("link' is no directory"),
        "{linked}"
    );
    assert_eq!(stage.logins().len(), before, "nothing was asked");
}

#[test]
fn without_a_directory_there_are_no_tools_for_files() {
    let stage = Stage::new(&["web1", "web2"]);
    let mut client = stage.client();
    let list = client.request("tools/list", json!({}));
    let tools = list["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 9, "{list}");
    let call = json!({"name": "upload", "arguments": {"on": "*", "path": "a"}});
    let answer = client.request("tools/call", call);
    let why = answer["error"]["message"].as_str().unwrap();
    assert!(why.starts_with("unknown tool 'upload'"), "{answer}");
    // A directory that is gone is a reason, and no end of the server.
    let (stage, dir) = with_files(&["web1"]);
    fs::remove_dir(&dir).unwrap();
    let why = stage.client().refusal("upload", json!({"path": "a"}));
    assert!(why.contains("No such file or directory"), "{why}");
}
