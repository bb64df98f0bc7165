#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-walk-XXXXXX")).unwrap();
        // Some walks are another user's.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// A copy of the program that each user can start.
    fn look(&self) -> PathBuf {
        let program = self.0.join("remit-look");
        fs::copy(env!("CARGO_BIN_EXE_remit-look"), &program).unwrap();
        program
    }

    /// A shell can create paths longer than PATH_MAX.
    fn make(&self, script: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(&self.0);
        assert!(shell.status().unwrap().success());
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

/// Runs as a user whom file modes restrict.
fn look(words: &[&str]) -> Output {
    let home = TestDir::new();
    as_user(&home, Command::new(home.look()).args(words))
}

fn as_user(home: &TestDir, command: &mut Command) -> Output {
    if fs::metadata(&home.0).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    command.output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_cannot_be_looked_at_is_named() {
    let test_dir = TestDir::new();
    // `listed` can be listed, but its files have no metadata. `closed` cannot be listed.
    test_dir.make("mkdir listed closed; touch listed/a listed/b closed/c; chmod 444 listed; chmod 0 closed; chmod 755 .");
    for words in [
        &["largest-files", test_dir.text(), "9"][..],
        &["largest-directories", test_dir.text(), "9"],
        &["recent-files", test_dir.text(), "9", "9"],
        &["certificates", test_dir.text(), "9"],
    ] {
        let output = look(words);
        let said = String::from_utf8(output.stderr).unwrap();
        let last = said.lines().last().unwrap();
        let named = last.strip_prefix("remit-look: cannot look at ").unwrap();
        let mut named: Vec<&str> = named.trim_end().split(", ").collect();
        named.sort_unstable();
        let expect =
            ["closed", "listed/a", "listed/b"].map(|name| format!("{}/{name}", test_dir.text()));
        assert_eq!(named, expect, "{words:?}");
    }
    test_dir.make("mkdir whole; head -c 100000 /dev/zero >whole/file; chmod -R a+rX whole");
    let found = lines(&look(&["largest-directories", test_dir.text(), "9"]));
    let incomplete = |name: &str| {
        let path = format!("{}{name}", test_dir.text());
        let directory = found.iter().find(|one| one["path"] == path.as_str());
        directory.unwrap()["incomplete"] == true
    };
    assert!(
        incomplete("") && incomplete("/closed") && incomplete("/listed"),
        "{found:?}"
    );
    assert!(!incomplete("/whole"), "{found:?}");
    let _ = Command::new("chmod")
        .arg("-R")
        .arg("700")
        .arg(&test_dir.0)
        .status();
}

/// Without `xino` a file of an overlay has the device and inode number of its layer, and a directory those of the overlay.
#[test]
fn files_of_all_layers_of_an_overlay_are_found() {
    let test_dir = TestDir::new();
    let script = "mount -t tmpfs none \"$1\"; cd \"$1\"; mkdir a b m; mount -t tmpfs none a; mount -t tmpfs none b
        mkdir b/u a/u; rmdir a/u; for layer in a b/u; do head -c 100000 /dev/zero >$layer/f-${layer#*/}; ln $layer/f* $layer/g-${layer#*/}; done
        mkdir b/w m/other; mount -t overlay none -o lowerdir=a,upperdir=b/u,workdir=b/w,xino=off m
        mkdir m/other; mount -t tmpfs none m/other; head -c 100000 /dev/zero >m/other/h
        for below in m b; do >$below/bound; mount --bind m/other/h $below/bound; done
        shift; for what in largest-files largest-directories; do \"$0\" $what \"$1/m\" 9; done; \"$0\" recent-files \"$1/m\" 9 9
        \"$0\" largest-files \"$1/b\" 9";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--map-root-user", "sh", "-ec", script]);
    shell.args([
        env!("CARGO_BIN_EXE_remit-look"),
        test_dir.text(),
        test_dir.text(),
    ]);
    let found = lines(&shell.output().unwrap());
    let mut names: Vec<&str> = found
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .map(|path| path.strip_prefix(test_dir.text()).unwrap())
        .collect();
    names.sort_unstable();
    // Not the file of another file system that is bound to one of each.
    let files = ["/m/f-a", "/m/f-u", "/m/g-a", "/m/g-u"];
    let expect: Vec<&str> = ["/b/u/bound", "/b/u/f-u", "/b/u/g-u", "/m"]
        .into_iter()
        .chain(files.into_iter().flat_map(|name| [name, name]))
        .collect();
    assert_eq!(names, expect, "{found:?}");
    // Each of the two files once, though both have the same inode number.
    let whole = found
        .iter()
        .find(|one| one["path"].as_str().unwrap().ends_with("/m"))
        .unwrap();
    let bytes = whole["bytes"].as_u64().unwrap();
    assert!((200_000..300_000).contains(&bytes), "{found:?}");
}

#[test]
fn directory_that_the_sandbox_covers_is_named() {
    let script = "mount -t tmpfs none /dev; mkdir /dev/shm /dev/other; mount -t tmpfs none /dev/shm
        mount -t tmpfs none /dev/other; exec 3</dev; \"$0\" largest-directories /dev 9; \"$0\" explain-disk /proc/self/fd/3 9
        \"$0\" largest-files /dev/shm 9; mount -t tmpfs none /dev/shm; \"$0\" largest-directories /dev 9";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--map-root-user", "sh", "-ec", script]);
    let output = shell
        .arg(env!("CARGO_BIN_EXE_remit-look"))
        .output()
        .unwrap();
    let (said, text) = (output.stderr.as_slice(), output.stdout.as_slice());
    let [said, text] = [said, text].map(String::from_utf8_lossy);
    let covered = "/dev/shm of the host, because this command has its own";
    assert_eq!(
        said,
        format!("remit-look: cannot look at {covered}\n").repeat(3)
    );
    let [directory, explained, why, of_other] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    for line in [directory, explained] {
        let found: Value = serde_json::from_str(line).unwrap();
        assert!(
            found["path"] == "/dev" && found["incomplete"] == true,
            "{line}"
        );
    }
    assert!(
        why.contains(&format!(": {covered}; other directories and subvolumes,")),
        "{why}"
    );
    let found: Value = serde_json::from_str(of_other).unwrap();
    assert!(
        found["path"] == "/dev" && found.get("incomplete").is_none(),
        "the host's own is another file system: {of_other}"
    );
}

/// A file system whose program answers nothing, as that of a server that is down.
#[test]
fn mount_that_never_answers_is_not_asked() {
    let is_needed = std::env::var_os("REMIT_TESTS_MUST_RUN").is_some();
    if !is_needed && fs::File::open("/dev/fuse").is_err() {
        eprintln!("left out: /dev/fuse is missing");
        return;
    }
    let test_dir = TestDir::new();
    test_dir.make("mkdir dead; echo x >file");
    let script = "mount -t proc -o subset=pid none /proc; exec 3<>/dev/fuse 4<\"$1\"
        mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none \"$1/dead\"
        for what in 'disk-usage' 'largest-directories /proc/self/fd/4 9' 'explain-disk /proc/self/fd/4 9' 'list-directory /proc/self/fd/4 9'; do
        timeout -s KILL 60 \"$0\" $what; done";
    let mut shell = Command::new("unshare");
    shell.args([
        "--mount",
        "--pid",
        "--fork",
        "--map-root-user",
        "sh",
        "-ec",
        script,
    ]);
    let output = shell
        .args([env!("CARGO_BIN_EXE_remit-look"), test_dir.text()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let found = String::from_utf8(output.stdout).unwrap();
    let listed = found.lines().rev().take(2).collect::<Vec<_>>().join(" ");
    assert!(
        listed.contains(r#""name":"dead","kind":"directory""#) && listed.contains(r#""file""#),
        "{found}"
    );
    assert!(
        found.contains("below ") && !found.contains("incomplete"),
        "{found}"
    );
    let dead = format!("may never answer (FUSE): {}/dead\n", test_dir.text());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&dead), "{said}");
}

/// As lxcfs does it in containers.
#[test]
fn age_of_a_process_is_no_question_to_proc_uptime() {
    let test_dir = TestDir::new();
    test_dir.make("echo 1000000000.00 1.00 >uptime");
    let script = "mount --bind \"$1\"/uptime /proc/uptime; \"$0\" processes-by-cpu 1000";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--map-root-user", "sh", "-ec", script]);
    let output = shell
        .args([env!("CARGO_BIN_EXE_remit-look"), test_dir.text()])
        .output()
        .unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && found.lines().count() > 1,
        "{found}"
    );
    assert!(!found.contains(" 11574 d "), "{found}");
}

#[test]
fn processes_that_proc_hides_are_no_none() {
    // The first shell has capabilities, so what has none may not look at it.
    let script = "mount -t proc -o subset=pid,hidepid=$1 none /proc
        for what in 'stuck-processes 9' 'processes-named no-such-name' 'processes-by-cpu 9' disk-usage; do
        setpriv --bounding-set=-all --inh-caps=-all \"$0\" $what || echo failed; done; :";
    for (hidden, is_said) in [("0", false), ("1", true), ("2", true)] {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--pid", "--fork", "--map-root-user"]);
        let home = TestDir::new();
        let shell = shell.args(["sh", "-ec", script]);
        // Its group must be another than root's, from which nothing is hidden.
        let output = as_user(&home, shell.arg(home.look()).arg(hidden));
        let said = String::from_utf8(output.stderr).unwrap();
        let why = said.matches("its mount option hidepid").count();
        assert_eq!(why, if is_said { 4 } else { 0 }, "{hidden}: {said}");
        let found = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            found.contains("failed"),
            is_said,
            "{hidden}: {found} {said}"
        );
    }
}

#[test]
fn file_with_an_old_time_of_writing_is_recent() {
    let test_dir = TestDir::new();
    test_dir.make("touch -d 2001-02-03 old; cp -p old new; touch written");
    let found = lines(&look(&["recent-files", test_dir.text(), "60", "9"]));
    assert_eq!(found.len(), 3, "{found:?}");
    let is_now = |file: &Value| !file["changed"].as_str().unwrap().starts_with("2001");
    assert!(found.iter().all(is_now), "{found:?}");
}

#[test]
fn file_with_a_time_to_come_is_as_recent_as_its_change() {
    let test_dir = TestDir::new();
    test_dir.make("touch -d 2099-02-03 future; sleep 0.1; touch a b");
    let output = look(&["recent-files", test_dir.text(), "60", "2"]);
    let found = lines(&output);
    let name = |file: &Value| {
        file["path"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    };
    let mut names: Vec<String> = found.iter().map(name).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"], "{found:?}");
    assert_eq!(output.stderr, b"remit-look: the newest 2 of 3 files\n");
    let found = lines(&look(&["recent-files", test_dir.text(), "60", "3"]));
    assert!(
        name(&found[2]) == "future" && !found[2].to_string().contains("2099"),
        "{found:?}"
    );
}

#[test]
fn file_below_path_max_is_counted_hiding_none() {
    let test_dir = TestDir::new();
    test_dir.make(
        "n=$(printf %0200d 0); echo small >plain; \
         while [ $(pwd | wc -c) -lt 3880 ]; do mkdir $n; cd $n; done; \
         head -c 100000 /dev/zero >$(printf %0250d 1); head -c 100000 /dev/zero >$(printf %0250d 2); cd /",
    );
    let found = lines(&look(&["largest-files", test_dir.text(), "2"]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|file| file["length"] == 100_000));
}

#[test]
fn many_directories_with_long_paths_need_little_memory() {
    let test_dir = TestDir::new();
    test_dir.make(
        "n=$(printf %0200d 0); while [ $(pwd | wc -c) -lt 3600 ]; do mkdir $n; cd $n; done; \
         seq 5000 | xargs mkdir; cd /",
    );
    for words in [
        &["largest-files", test_dir.text(), "1"][..],
        &["largest-directories", test_dir.text(), "1"],
    ] {
        let script = "ulimit -v 24000; exec \"$0\" \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_remit-look")]);
        let output = shell.args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn directory_counts_everything_below_once() {
    let test_dir = TestDir::new();
    test_dir.make("mkdir -p a/b/c a/empty d; head -c 65536 /dev/zero >a/b/c/f; head -c 16384 /dev/zero >a/g; ln a/b/c/f d/again; ln a/b/c/f d/more");
    let own = |path: &str| {
        let found = fs::symlink_metadata(Path::new(test_dir.text()).join(path)).unwrap();
        found.blocks() * 512
    };
    let found = lines(&look(&["largest-directories", test_dir.text(), "99"]));
    let bytes = |path: &str| {
        let path = Path::new(test_dir.text()).join(path);
        let path = path.to_str().unwrap().trim_end_matches('/');
        let one = found.iter().find(|one| one["path"] == path);
        one.unwrap()["bytes"].as_u64().unwrap()
    };
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(bytes("a/empty"), own("a/empty"));
    let a = ["a", "a/b", "a/b/c", "a/empty", "a/g"]
        .map(own)
        .iter()
        .sum();
    // A file with several names counts in the first directory that the walk visits.
    let shared = own("a/b/c/f");
    assert_eq!(
        bytes("a/b/c") - own("a/b/c") + bytes("d") - own("d"),
        shared
    );
    assert!([a, a + shared].contains(&bytes("a")));
    assert_eq!(bytes(""), a + own("d") + shared);
    let all: Vec<u64> = found
        .iter()
        .map(|one| one["bytes"].as_u64().unwrap())
        .collect();
    assert!(all.is_sorted_by(|first, then| first >= then), "{all:?}");
}

/// Its alternative name has a line feed, followed by a line that looks like output of openssl-x509(1).
const FORGING: &str = "\
-----BEGIN CERTIFICATE-----
MIIBujCCAV+gAwIBAgIUN6fE46shvjA9t/gp7jpYDMfSyzQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyMjAxNTUxNVoYDzIxMjYxMDI5
MDE1NTE1WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASfX+o5KB1XARxGc0o30IS3qEk9mBMOd/I+hYNKkwuk8mcWs2dsN0pC
gOQbKpMMTyQn9lUfd4T5b5QEjz5j5dH9o4GMMIGJMB0GA1UdDgQWBBSJsLoC361l
v5PqlJLIT40ktsvewjAfBgNVHSMEGDAWgBSJsLoC361lv5PqlJLIT40ktsvewjAP
BgNVHRMBAf8EBTADAQH/MDYGA1UdEQQvMC2CK2EuZXhhbXBsZQpub3RBZnRlcj1K
YW4gIDEgMDA6MDA6MDAgMjA5OSBHTVQwCgYIKoZIzj0EAwIDSQAwRgIhAMDex05X
XUWdKklbGCFWaczrmbJVuIFiwA4rkaqtqC9+AiEA1UY50GTsH1g0K8HANbgZbZT9
kXVOgAckqqU8s6TAuV8=
-----END CERTIFICATE-----
";

#[test]
fn c17_a_name_in_a_certificate_begins_no_line() {
    let test_dir = TestDir::new();
    let path = test_dir.0.join("c.pem");
    fs::write(&path, FORGING).unwrap();
    let found = lines(&look(&["certificate", path.to_str().unwrap()]));
    assert_eq!(found.len(), 1, "{found:?}");
    let names = found[0]["names"].to_string();
    assert!(names.contains("a.example\\nnotAfter=Jan  1"), "{names}");
    assert_eq!(found[0]["valid_until"], "2126-10-29 01:55:15 UTC");
    assert_eq!(found[0]["valid_from"], "2026-11-22 01:55:15 UTC");
    let serial = found[0]["serial"].as_str().unwrap();
    assert!(serial.starts_with("37:a7:c4"), "{serial}");
    assert_eq!(found[0]["path"], path.to_str().unwrap());
    let descriptor = Command::new(env!("CARGO_BIN_EXE_remit-look"))
        .args(["certificate", "/proc/self/fd/0"])
        .stdin(fs::File::open(&path).unwrap())
        .output();
    assert_eq!(lines(&descriptor.unwrap()), found);
    fs::write(&path, "no certificate").unwrap();
    assert!(
        !look(&["certificate", path.to_str().unwrap()])
            .status
            .success()
    );
    assert!(!look(&["certificate", test_dir.text()]).status.success());
}

#[test]
fn a_directory_without_certificates_is_named() {
    let test_dir = TestDir::new();
    fs::write(test_dir.0.join("plain"), "x").unwrap();
    let output = look(&["certificates", test_dir.text(), "9"]);
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(lines(&output).is_empty(), "{output:?}");
    let expect = format!("no certificate was found in '{}'", test_dir.text());
    assert!(
        said.contains(&expect) && said.contains("directory=") && !said.contains("link"),
        "{said}"
    );
    // As those of certbot in live/, which lead to archive/.
    let archive = TestDir::new();
    fs::write(archive.0.join("c.pem"), FORGING).unwrap();
    for (name, expect) in [
        ("a.pem", "1 link was not followed"),
        ("b.pem", "2 links were not followed"),
    ] {
        std::os::unix::fs::symlink(archive.0.join("c.pem"), test_dir.0.join(name)).unwrap();
        let output = look(&["certificates", test_dir.text(), "9"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expect), "{said}");
    }
    fs::write(test_dir.0.join("c.pem"), FORGING).unwrap();
    let output = look(&["certificates", test_dir.text(), "9"]);
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn c17_a_path_of_a_socket_begins_no_line() {
    let test_dir = TestDir::new();
    let forged = "u_str LISTEN 0 4096 /run/forged.sock 9 * 0";
    let odd = test_dir.0.join(format!("a\n{}", forged.replace('/', ".")));
    let plain = test_dir.0.join("plain");
    let _odd = UnixListener::bind(&odd).unwrap();
    let _plain = UnixListener::bind(&plain).unwrap();
    let _other = UnixDatagram::bind(test_dir.0.join("datagram")).unwrap();
    let found = lines(&look(&["unix-sockets"]));
    let has = |path: &str| {
        found
            .iter()
            .any(|one| one["path"] == path && one["kind"] == "stream")
    };
    assert!(has(plain.to_str().unwrap()), "{found:?}");
    assert!(
        has(&odd.to_str().unwrap().replace('\n', "\\n")),
        "{found:?}"
    );
    // Each line is one socket, and a socket that does not listen is absent.
    assert!(found.iter().all(|one| one["path"].is_string()));
    let all = serde_json::to_string(&found).unwrap();
    assert!(!all.contains("/datagram\""), "{all}");
}
