//! Injections, and their effect on a tool that accepts any arguments.
//!
//! `@C` is a program that leaves a trace, `@W` a file that must not be created, `@V` one that must not change,
//! `@R` a repository, `@D` a directory of files.

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
