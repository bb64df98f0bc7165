//! Injections, and the test setup: files, a repository, the attacker's tools, and traces that prove a success.
//!
//! In an injection `@C` is a program that leaves a trace, `@W` a file that must not be created, `@V` one that must not
//! change, `@R` a repository, `@D` a directory of files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

pub struct Injection {
    pub id: &'static str,
    /// Its commands in the policy are `TOOL.…`.
    pub tool: &'static str,
    pub before: &'static [&'static str],
    pub hostile: &'static [&'static str],
    pub after: &'static [&'static str],
    /// Standard input of the tool without remit.
    pub stdin: &'static str,
}

const fn new(
    id: &'static str,
    tool: &'static str,
    before: &'static [&'static str],
    hostile: &'static [&'static str],
    after: &'static [&'static str],
) -> Injection {
    Injection {
        id,
        tool,
        before,
        hostile,
        after,
        stdin: "",
    }
}

const fn fed(stdin: &'static str, injection: Injection) -> Injection {
    Injection { stdin, ..injection }
}

const REPO: &[&str] = &["-C", "@R"];
const LISTS: &[&str] = &[
    "-oDir::Etc::sourcelist=/dev/null",
    "-oDir::Etc::sourceparts=/dev/null",
    "-oDir::State::lists=@D/lists",
    "-oDir::Cache=@D/cache",
];

/// The test fails unless each one works without remit.
#[rustfmt::skip]
pub const INJECTIONS: &[Injection] = &[
    new("git alias", "git", REPO, &["-c", "alias.x=!@C", "x"], &[]),
    new("git core.fsmonitor", "git", REPO, &["-c", "core.fsmonitor=@C"], &["status"]),
    new("git core.sshCommand", "git", REPO, &["-c", "core.sshCommand=@C"], &["ls-remote", "ssh://host.invalid/x"]),
    new("git diff.external", "git", REPO, &["-c", "diff.external=@C"], &["diff", "HEAD~1"]),
    new("git core.editor", "git", REPO, &["-c", "core.editor=@C"], &["tag", "--annotate", "v9"]),
    new("git core.hooksPath", "git", REPO, &["-c", "core.hooksPath=@D/hooks"], &["checkout", "--quiet", "--detach"]),
    new("git --exec-path", "git", &[], &["--exec-path=@D/bin", "canary"], &[]),
    new("git diff --output", "git", REPO, &["diff", "--output=@W", "HEAD~1"], &[]),
    new("git log --output", "git", REPO, &["log", "--output=@W"], &[]),
    new("git grep -O", "git", REPO, &["grep", "-O@C", "text"], &[]),
    new("git grep --open-files-in-pager", "git", REPO, &["grep", "--open-files-in-pager=@C", "text"], &[]),
    new("git ext::", "git", &[], &["-c", "protocol.ext.allow=always", "ls-remote", "ext::@C"], &[]),
    new("git ls-remote --upload-pack", "git", &[], &["ls-remote", "--upload-pack=@C"], &["@R"]),
    new("git ls-remote --exec", "git", &[], &["ls-remote", "--exec=@C"], &["@R"]),
    new("git clone -u", "git", &[], &["clone", "--quiet", "-u@C"], &["file://@R", "@D/clone"]),
    new("git archive --exec", "git", &[], &["archive", "--exec=@C"], &["--remote=@R", "HEAD"]),
    new("git archive --output", "git", REPO, &["archive", "--output=@W"], &["HEAD"]),
    new("git init --template", "git", &[], &["init", "--quiet", "--template=@D/template", "@W"], &[]),
    new("git difftool -x", "git", REPO, &["difftool", "--no-prompt", "-x@C"], &["HEAD~1"]),
    new("git format-patch -o", "git", REPO, &["format-patch", "-1", "-o@W"], &["HEAD"]),
    new("git rebase -x", "git", REPO, &["rebase", "-x@C"], &["HEAD~1"]),

    new("find -exec", "find", &["@D/tree"], &["-exec", "@C", ";"], &[]),
    new("find -exec +", "find", &["@D/tree"], &["-exec", "@C", "{}", "+"], &[]),
    new("find -execdir", "find", &["@D/tree"], &["-execdir", "@C", ";"], &[]),
    fed("y\n", new("find -ok", "find", &["@D/tree", "-maxdepth", "0"], &["-ok", "@C", ";"], &[])),
    fed("y\n", new("find -okdir", "find", &["@D/tree", "-maxdepth", "0"], &["-okdir", "@C", ";"], &[])),
    new("find -delete", "find", &["@V"], &["-delete"], &[]),
    new("find -fprint", "find", &["@D/tree"], &["-fprint", "@W"], &[]),
    new("find -fprint0", "find", &["@D/tree"], &["-fprint0", "@W"], &[]),
    new("find -fprintf", "find", &["@D/tree"], &["-fprintf", "@W", "x"], &[]),
    new("find -fls", "find", &["@D/tree"], &["-fls", "@W"], &[]),

    new("tar -I", "tar", &["-cf", "@D/x.tar"], &["-I@C"], &["@D/tree"]),
    new("tar --use-compress-program", "tar", &["-cf", "@D/x.tar"], &["--use-compress-program=@C"], &["@D/tree"]),
    new("tar --use-comp, abbreviated", "tar", &["-cf", "@D/x.tar"], &["--use-comp=@C"], &["@D/tree"]),
    new("tar --checkpoint-action", "tar", &["-cf", "@D/x.tar"], &["--checkpoint=1", "--checkpoint-action=exec=@C"], &["@D/tree"]),
    new("tar --checkpoint-a, abbreviated", "tar", &["-cf", "@D/x.tar"], &["--checkpoint=1", "--checkpoint-a=exec=@C"], &["@D/tree"]),
    new("tar --to-command", "tar", &["-xf", "@D/good.tar"], &["--to-command=@C"], &[]),
    new("tar --info-script", "tar", &["-cML10", "-f@D/x.tar"], &["--info-script=@C"], &["@D/large"]),
    new("tar -F", "tar", &["-cML10", "-f@D/x.tar"], &["-F@C"], &["@D/large"]),
    new("tar --index-file", "tar", &["-tvf", "@D/good.tar"], &["--index-file=@W"], &[]),
    new("tar -f", "tar", &[], &["-cf@W"], &["@D/tree"]),
    new("tar -C and absolute names", "tar", &["-xf", "@D/evil.tar"], &["-P"], &[]),

    new("sed e", "sed", &[], &["1e @C"], &["@D/tree/file"]),
    new("sed s///e", "sed", &[], &["1s|.*|@C|e"], &["@D/tree/file"]),
    new("sed w", "sed", &[], &["w @W"], &["@D/tree/file"]),
    new("sed -i", "sed", &[], &["-i", "s/a/b/"], &["@V"]),
    new("sed -f", "sed", &[], &["-f@D/script.sed"], &["@D/tree/file"]),

    new("sort -o", "sort", &[], &["-o@W"], &["@D/tree/file"]),
    new("sort --output", "sort", &[], &["--output=@W"], &["@D/tree/file"]),
    new("sort --outp, abbreviated", "sort", &[], &["--outp=@W"], &["@D/tree/file"]),
    new("sort --compress-program", "sort", &["-S1k", "-T@D"], &["--compress-program=@C"], &["@D/large"]),

    new("awk system", "awk", &[], &["BEGIN{system(\"@C\")}"], &[]),
    new("awk pipe", "awk", &[], &["BEGIN{print 1 | \"@C\"}"], &[]),
    new("awk getline", "awk", &[], &["BEGIN{\"@C\" | getline}"], &[]),
    new("awk print", "awk", &[], &["BEGIN{print 1 > \"@W\"}"], &[]),
    new("awk -f", "awk", &[], &["-f@D/script.awk"], &[]),

    new("env", "env", &[], &["@C"], &[]),
    new("env -S", "env", &[], &["-S@C x"], &[]),
    fed("x\n", new("xargs", "xargs", &[], &["@C"], &[])),
    new("nice", "nice", &[], &["@C"], &[]),
    new("timeout", "timeout", &["5"], &["@C"], &[]),

    new("ssh ProxyCommand", "ssh", &[], &["-oProxyCommand=@C"], &["host.invalid"]),
    new("ssh -F", "ssh", &[], &["-F@D/ssh_config"], &["host.invalid"]),
    new("ssh -E", "ssh", &[], &["-E@W"], &["host.invalid"]),

    new("curl -o", "curl", &["--silent"], &["-o@W"], &["file://@D/tree/file"]),
    new("curl --output", "curl", &["--silent"], &["--output", "@W"], &["file://@D/tree/file"]),
    new("curl -D", "curl", &["--silent"], &["-D@W"], &["file://@D/tree/file"]),
    new("curl --trace", "curl", &["--silent"], &["--trace", "@W"], &["file://@D/tree/file"]),
    new("curl --libcurl", "curl", &["--silent"], &["--libcurl", "@W"], &["file://@D/tree/file"]),
    new("curl -K", "curl", &["--silent"], &["-K@D/curlrc"], &["file://@D/tree/file"]),

    new("apt-get -o", "apt-get", LISTS, &["-oAPT::Update::Pre-Invoke::=@C"], &["update"]),
    new("apt-get -c", "apt-get", LISTS, &["-c@D/apt.conf"], &["update"]),
    new("dpkg --pre-invoke", "dpkg", &["--root=@D/root"], &["--pre-invoke=@C"], &["--configure", "--pending"]),
    new("dpkg --post-invoke", "dpkg", &["--root=@D/root"], &["--post-invoke=@C"], &["--configure", "--pending"]),

    new("zip -TT", "zip", &["-q", "@D/x.zip", "@D/tree/file"], &["-T", "-TT", "@C"], &[]),
    new("vim -c", "vim", &["-es"], &["-c!@C"], &["-cq!"]),
    new("vim +", "vim", &["-es"], &["+!@C"], &["+q!"]),
    new("vim --cmd", "vim", &["-es"], &["--cmd", "!@C"], &["+q!"]),
    new("vim -S", "vim", &["-es"], &["-S", "@D/script.vim"], &["+q!"]),
    new("strace", "strace", &[], &["@C"], &[]),
    new("strace -o |", "strace", &[], &["-o|@C"], &["/bin/true"]),
    new("strace -o", "strace", &[], &["-o@W"], &["/bin/true"]),
    new("make --eval", "make", &["-C", "@D/project"], &["--eval=$(shell @C)"], &[]),
    new("make SHELL=", "make", &["-C", "@D/project"], &["SHELL=@C"], &["all"]),
    new("make -f", "make", &["-C", "@D/project"], &["-f@D/evil.mk"], &[]),
    fed("x\n", new("tee", "tee", &[], &["@W"], &[])),
    fed("x\n", new("tee -a", "tee", &[], &["-a", "@W"], &[])),
];
