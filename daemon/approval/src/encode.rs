//! Encodes a request. An approver approves the SHA-256 of these bytes, and each record names it.
//!
//! # The encoding, version 3
//! The bytes begin with the line `remit approval digest 3`, followed by all
//! parts below, in this order. A part is written in one of two ways:
//!
//! ```text
//! NAME SP LENGTH LF BYTES LF        a value
//! NAME SP "x" COUNT LF ITEM …       a list of COUNT items, each with its own names and lengths
//! ```
//!
//! LENGTH and COUNT are decimal without leading zeros. BYTES are exactly LENGTH bytes of any value. Numbers are
//! decimal. Bytes of a hash or an id are 64 or 32 lower-case hexadecimal digits. An absent value is an empty list.
//!
//! | part | value |
//! |------|-------|
//! | `machine-id` | /etc/machine-id, without its line end |
//! | `job` | the job's id, 128 random bits: a digest is valid for one request |
//! | `requester-uid`, `requester-name` | the requester, by the kernel and the user database |
//! | `command` | list: `name`, if it is a named command |
//! | `effect` | `read` or `change` |
//! | `path` | list of `dir`: directories to search for a program without a slash |
//! | `argv` | list of `arg`; a secret is written as `***`, its value is in `slots` |
//! | `slots` | list of `index` (into argv, from 0), `before` (the text before it in the element), `what`; for `path` then `under`, `beneath`, `is` (`file`, `directory`, `either`), `pass` (`path`, `descriptor`, `copy`: a descriptor of a copy that was made when it was asked for); for `secret` then `keyed` |
//! | `files` | list of `what`, `held` (`checked`: compared again just before the exec, `seen`: not compared again, `copied`), `name`, `real` (links resolved), `dev`, `ino`, `ctime-ns`, `size`, `sha256` |
//! | `does` | list of `line`: what the package's own program says that the change would do |
//! | `opens` | list of `agent`, `goal`, the list `steps` of `step`, the list `closed-by` of `change`: which way to root or to another account the change opens, as `remit-prove` found when it was asked for |
//! | `opens-unknown` | list of `why`: why it may open ways that are not in `opens` |
//! | `script` | list: `sha256` |
//! | `stdin` | list: `sha256` |
//! | `secret-stdin` | list: `keyed` |
//! | `cwd` | the working directory |
//! | `env` | list of `var`, `NAME=value`, in the order of the program's environment |
//! | `profile`, `policy` | the profile's name, and the policy's digest |
//! | `rule` | the rule that asks for the approval, with its position |
//! | `limits` | `nofile`, `nproc`, `data`, `cpu-s`, `fsize`, `tmp-bytes`, `tmp-inodes`, then the lists `memory`, `tasks`, `cpu-percent` of one `n` each if there is a bound |
//! | `runtime-s` | seconds until it is ended |
//! | `reason` | list: `text`, the requester's words |
//! | `expires-ms` | end of the time to approve it, in milliseconds since 1970 |
//!
//! No two requests have the same bytes, because the encoding can be read back in one way only (`decode` of `remit-page`).
//! Only one name is possible at each position, and each length says where its value ends.
//!
//! # Secrets
//! `keyed` is the SHA-256 of 32 random bytes followed by the secret. A plain hash would be unsafe. An
//! approver knows the digest and all else of the request, even the job id, and could try short secrets. The key
//! never leaves the warden. A digest need not outlive it: waiting requests are void when the daemon ends. An
//! auditor can recompute every digest that has no secret.
//!
//! # Values that represent more than themselves
//! The policy's digest covers its text and the meaning of each name in it. So the profile's name represents the
//! whole profile: paths, uid, capabilities, addresses. `remit.toml` is read when the daemon starts.

use remit_common::hex::hex;
use remit_common::prove::OpenedPath;
use remit_policy::PathIs;

use crate::request::{ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPath};

pub const VERSION: &[u8] = b"remit approval digest 3\n";

#[must_use]
pub fn encode(request: &ApprovalRequest) -> Vec<u8> {
    let ApprovalRequest {
        machine_id,
        job,
        requester_uid,
        requester_name,
        command,
        effect,
        path,
        argv,
        slots,
        files,
        does,
        opens,
        opens_unknown,
        script,
        stdin,
        secret_stdin,
        cwd,
        env,
        profile,
        policy,
        rule,
        limits,
        runtime_s,
        reason,
        expires_ms,
    } = request;
    let mut out = Encoder(VERSION.to_vec());
    out.value("machine-id", machine_id);
    out.value("job", job.to_string());
    out.value("requester-uid", requester_uid.to_string());
    out.value("requester-name", requester_name);
    out.list("command", command, |out, name| out.value("name", name));
    out.value("effect", effect.name());
    out.list("path", path, |out, dir| out.value("dir", dir.as_bytes()));
    out.list("argv", argv, |out, arg| out.value("arg", arg.as_bytes()));
    out.list("slots", slots, Encoder::slot);
    out.list("files", files, Encoder::file);
    out.list("does", does, |out, line| out.value("line", line));
    out.list("opens", opens, Encoder::opened);
    out.list("opens-unknown", opens_unknown, |out, why| {
        out.value("why", why);
    });
    let sha256 = |out: &mut Encoder, sha256: &[u8; 32]| out.value("sha256", hex(sha256));
    out.list("script", script, sha256);
    out.list("stdin", stdin, sha256);
    out.list("secret-stdin", secret_stdin, |out, keyed| {
        out.value("keyed", hex(keyed));
    });
    out.value("cwd", cwd.as_bytes());
    out.list("env", env, |out, var| out.value("var", var.as_bytes()));
    out.value("profile", profile);
    out.value("policy", policy);
    out.value("rule", rule);
    out.limits(limits);
    out.value("runtime-s", runtime_s.to_string());
    out.list("reason", reason, |out, text| out.value("text", text));
    out.value("expires-ms", expires_ms.to_string());
    out.0
}

#[must_use]
pub const fn kind_name(is: PathIs) -> &'static str {
    match is {
        PathIs::File => "file",
        PathIs::Directory => "directory",
        PathIs::Either => "either",
    }
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn value(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let head = format!("{name} {}\n", bytes.len());
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.push(b'\n');
    }

    fn list<I>(&mut self, name: &str, items: I, mut each: impl FnMut(&mut Self, I::Item))
    where
        I: IntoIterator,
    {
        let items: Vec<_> = items.into_iter().collect();
        let head = format!("{name} x{}\n", items.len());
        self.0.extend_from_slice(head.as_bytes());
        items.into_iter().for_each(|item| each(self, item));
    }

    fn slot(&mut self, slot: &BoundArgument) {
        match slot {
            BoundArgument::Path(BoundPath {
                index,
                before,
                under,
                beneath,
                is,
                pass,
            }) => {
                self.value("index", index.to_string());
                self.value("before", before);
                self.value("what", "path");
                self.value("under", under.as_bytes());
                self.value("beneath", beneath.as_bytes());
                self.value("is", kind_name(*is));
                self.value("pass", pass.name());
            }
            BoundArgument::Secret {
                index,
                before,
                keyed,
            } => {
                self.value("index", index.to_string());
                self.value("before", before);
                self.value("what", "secret");
                self.value("keyed", hex(keyed));
            }
        }
    }

    fn file(&mut self, file: &BoundFile) {
        let BoundFile {
            what,
            held,
            name,
            real,
            dev,
            ino,
            ctime_ns,
            size,
            sha256,
        } = file;
        self.value("what", what);
        self.value("held", held.name());
        self.value("name", name.as_bytes());
        self.value("real", real.as_bytes());
        self.value("dev", dev.to_string());
        self.value("ino", ino.to_string());
        self.value("ctime-ns", ctime_ns.to_string());
        self.value("size", size.to_string());
        self.value("sha256", hex(sha256));
    }

    fn opened(&mut self, path: &OpenedPath) {
        let OpenedPath {
            agent,
            goal,
            steps,
            closed_by,
        } = path;
        self.value("agent", agent);
        self.value("goal", goal);
        self.list("steps", steps, |out, step| out.value("step", step));
        self.list("closed-by", closed_by, |out, change| {
            out.value("change", change);
        });
    }

    fn limits(&mut self, limits: &BoundLimits) {
        let BoundLimits {
            nofile,
            nproc,
            data,
            cpu_s,
            fsize,
            tmp_bytes,
            tmp_inodes,
            memory,
            tasks,
            cpu_percent,
        } = limits;
        for (name, bound) in [
            ("nofile", nofile),
            ("nproc", nproc),
            ("data", data),
            ("cpu-s", cpu_s),
            ("fsize", fsize),
            ("tmp-bytes", tmp_bytes),
            ("tmp-inodes", tmp_inodes),
        ] {
            self.value(name, bound.to_string());
        }
        for (name, bound) in [
            ("memory", *memory),
            ("tasks", *tasks),
            ("cpu-percent", cpu_percent.map(u64::from)),
        ] {
            self.list(name, bound, |out, bound| out.value("n", bound.to_string()));
        }
    }
}
