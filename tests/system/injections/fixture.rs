//! Test setup: files, a repository, the attacker's tools, and traces that prove a success.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::table::Injection;

pub const MARK: &str = "the canary ran";

pub struct InjectionFixture {
    dir: PathBuf,
}

/// Makes everything except the traces. `$1` is the directory.
const SET: &str = r#"
base=$1 work=$1/work
mkdir -p "$work"/{tree,hooks,bin,template,project,repo,home,lists/partial,cache/archives/partial} "$base"/{tools,out,notes}
chmod 755 "$work" "$base"/{tools,notes}
canary=$base/tools/canary
printf '#!/bin/sh\necho the canary ran\necho ran >>%s/out/executed\n' "$base" >"$canary"
chmod 755 "$canary"
echo 'a text' >"$work/tree/file"
seq 1 60000 >"$work/large"
cp "$canary" "$work/hooks/post-checkout"
cp "$canary" "$work/bin/git-canary"
echo x >"$work/template/description"
echo "w $base/out/written" >"$work/script.sed"
echo "BEGIN { system(\"$canary\") }" >"$work/script.awk"
echo "!$canary" >"$work/script.vim"
printf 'Host *\n  ProxyCommand %s\n' "$canary" >"$work/ssh_config"
echo "output = $base/out/written" >"$work/curlrc"
echo "APT::Update::Pre-Invoke { \"$canary\"; };" >"$work/apt.conf"
printf 'all:\n\t@echo made\n' >"$work/project/Makefile"
printf 'all:\n\t@%s\n' "$canary" >"$work/evil.mk"
tar -C "$work" -cf "$work/good.tar" tree
echo evil >"$base/out/written"
tar -P -cf "$work/evil.tar" "$base/out/written"
mkdir -p "$work"/root/var/lib/dpkg/{info,updates,triggers,parts,alternatives}
touch "$work"/root/var/lib/dpkg/{status,available}
mkdir -p "$work/root/var/log"
cd "$work/repo"
git init --quiet --initial-branch=main
echo one text >file && git add file && git commit --quiet --message=one
echo two text >file && git commit --quiet --all --message=two
echo kept >"$base/notes/a"
chmod 666 "$base/notes/a"
"#;

const CLEAN: &str = r#"rm -rf "$1/out" && mkdir -m 777 "$1/out" && echo a >"$1/out/victim" && chmod 666 "$1/out/victim""#;

fn bash(script: &str, dir: &Path) {
    let mut command = Command::new("bash");
    command
        .args(["-euc", script, "bash"])
        .arg(dir)
        .envs(GIT)
        .env("HOME", dir.join("work/home"));
    let made = command.output().expect("bash starts");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

/// Excludes git settings of the user and the system.
const GIT: [(&str, &str); 6] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_AUTHOR_NAME", "nobody"),
    ("GIT_AUTHOR_EMAIL", "nobody@invalid"),
    ("GIT_COMMITTER_NAME", "nobody"),
    ("GIT_COMMITTER_EMAIL", "nobody@invalid"),
];

impl InjectionFixture {
    pub fn new(dir: &Path) -> Self {
        bash(SET, dir);
        let fixture = Self {
            dir: dir.to_owned(),
        };
        fixture.clean();
        fixture
    }

    pub fn clean(&self) {
        bash(CLEAN, &self.dir);
    }

    pub fn fill(&self, text: &str) -> String {
        let path = |name: &str| self.dir.join(name).display().to_string();
        text.replace("@C", &path("tools/canary"))
            .replace("@W", &path("out/written"))
            .replace("@V", &path("out/victim"))
            .replace("@R", &path("work/repo"))
            .replace("@D", &path("work"))
            .replace("@P", &self.dir.display().to_string())
    }

    pub fn traces(&self) -> Vec<&'static str> {
        let out = self.dir.join("out");
        let victim = fs::read_to_string(out.join("victim"));
        let mut traces = Vec::new();
        if out.join("executed").exists() {
            traces.push("executed");
        }
        if out.join("written").exists() {
            traces.push("written");
        }
        if victim.ok().as_deref() != Some("a\n") {
            traces.push("changed");
        }
        traces
    }

    pub fn alone(&self, injection: &Injection) -> String {
        let parts = [injection.before, injection.hostile, injection.after];
        let words: Vec<String> = parts
            .iter()
            .flat_map(|words| words.iter().map(|word| self.fill(word)))
            .collect();
        let mut command = Command::new("timeout");
        command
            .args(["20", injection.tool])
            .args(&words)
            .current_dir(self.dir.join("work"))
            .envs(GIT)
            .env("HOME", self.dir.join("work/home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("timeout starts");
        {
            use std::io::Write;
            let mut stdin = child.stdin.take().expect("it is a pipe");
            // A tool that has already exited does not read it.
            let _ = stdin.write_all(injection.stdin.as_bytes());
        }
        let output = child.wait_with_output().expect("timeout ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }
}

pub fn installed(tool: &str) -> bool {
    fs::metadata(Path::new("/usr/bin").join(tool))
        .is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}
