//! What the injections find: files, a repository, tools of an attacker, and traces that tell of a success.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::table::Injection;

/// What the attacker's program prints.
pub const MARK: &str = "the canary ran";

/// Directories below one place.
pub struct Ground {
    place: PathBuf,
}

/// Makes everything but the traces. `$1` is the place.
const SET: &str = r#"
place=$1 ground=$1/ground
mkdir -p "$ground"/{tree,hooks,bin,template,project,repo,home,lists/partial,cache/archives/partial} "$place"/{tools,out,notes}
chmod 755 "$ground" "$place"/{tools,notes}
canary=$place/tools/canary
printf '#!/bin/sh\necho the canary ran\necho ran >>%s/out/executed\n' "$place" >"$canary"
chmod 755 "$canary"
echo 'a text' >"$ground/tree/file"
seq 1 60000 >"$ground/large"
cp "$canary" "$ground/hooks/post-checkout"
cp "$canary" "$ground/bin/git-canary"
echo x >"$ground/template/description"
echo "w $place/out/written" >"$ground/script.sed"
echo "BEGIN { system(\"$canary\") }" >"$ground/script.awk"
echo "!$canary" >"$ground/script.vim"
printf 'Host *\n  ProxyCommand %s\n' "$canary" >"$ground/ssh_config"
echo "output = $place/out/written" >"$ground/curlrc"
echo "APT::Update::Pre-Invoke { \"$canary\"; };" >"$ground/apt.conf"
printf 'all:\n\t@echo made\n' >"$ground/project/Makefile"
printf 'all:\n\t@%s\n' "$canary" >"$ground/evil.mk"
tar -C "$ground" -cf "$ground/good.tar" tree
echo evil >"$place/out/written"
tar -P -cf "$ground/evil.tar" "$place/out/written"
mkdir -p "$ground"/root/var/lib/dpkg/{info,updates,triggers,parts,alternatives}
touch "$ground"/root/var/lib/dpkg/{status,available}
mkdir -p "$ground/root/var/log"
cd "$ground/repo"
git init --quiet --initial-branch=main
echo one text >file && git add file && git commit --quiet --message=one
echo two text >file && git commit --quiet --all --message=two
echo kept >"$place/notes/a"
chmod 666 "$place/notes/a"
"#;

/// Makes the traces as they are before anything happened.
const CLEAN: &str = r#"rm -rf "$1/out" && mkdir -m 777 "$1/out" && echo a >"$1/out/victim" && chmod 666 "$1/out/victim""#;

fn bash(script: &str, place: &Path) {
    let mut command = Command::new("bash");
    command
        .args(["-euc", script, "bash"])
        .arg(place)
        .envs(GIT)
        .env("HOME", place.join("ground/home"));
    let made = command.output().expect("bash starts");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

/// The user's and the system's settings of git stay out of it.
const GIT: [(&str, &str); 6] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_AUTHOR_NAME", "nobody"),
    ("GIT_AUTHOR_EMAIL", "nobody@invalid"),
    ("GIT_COMMITTER_NAME", "nobody"),
    ("GIT_COMMITTER_EMAIL", "nobody@invalid"),
];

impl Ground {
    /// Makes it all in a directory.
    pub fn new(place: &Path) -> Self {
        bash(SET, place);
        let ground = Self {
            place: place.to_owned(),
        };
        ground.clean();
        ground
    }

    /// Takes every trace away.
    pub fn clean(&self) {
        bash(CLEAN, &self.place);
    }

    /// A text with its places filled in.
    pub fn fill(&self, text: &str) -> String {
        let path = |name: &str| self.place.join(name).display().to_string();
        text.replace("@C", &path("tools/canary"))
            .replace("@W", &path("out/written"))
            .replace("@V", &path("out/victim"))
            .replace("@R", &path("ground/repo"))
            .replace("@D", &path("ground"))
            .replace("@P", &self.place.display().to_string())
    }

    /// The traces of a success.
    pub fn traces(&self) -> Vec<&'static str> {
        let out = self.place.join("out");
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

    /// Does it without remit; what the tool said.
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
            .current_dir(self.place.join("ground"))
            .envs(GIT)
            .env("HOME", self.place.join("ground/home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("timeout starts");
        {
            use std::io::Write;
            let mut stdin = child.stdin.take().expect("it is a pipe");
            // A tool that ended already does not read it.
            let _ = stdin.write_all(injection.stdin.as_bytes());
        }
        let output = child.wait_with_output().expect("timeout ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }
}

/// Whether a tool is installed where commands name it.
pub fn installed(tool: &str) -> bool {
    fs::metadata(Path::new("/usr/bin").join(tool))
        .is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}
