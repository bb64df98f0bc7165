//! SHA-256 of everything that will run: what an approver approves, and each record about it names. Pure.
//!
//! # The encoding, version 2
//! The digest is taken over these bytes. They begin with the line `remit approval digest 2`; then
//! follow the parts below, all of them, in this order. A part is written in one of two ways:
//!
//! ```text
//! NAME SP LENGTH LF BYTES LF        a value
//! NAME SP "x" COUNT LF ITEM …       a list of COUNT items, each with its own names and lengths
//! ```
//!
//! LENGTH and COUNT are decimal without leading zeros; BYTES are exactly LENGTH of any bytes. Numbers
//! are decimal, bytes of a hash or an id are 64 or 32 lower-case hexadecimal digits. What may be
//! absent is a list of none or one.
//!
//! | part | value |
//! |------|-------|
//! | `machine-id` | /etc/machine-id, without its line end |
//! | `job` | the job's id, 128 random bits: a digest is good for one request |
//! | `requester-uid`, `requester-name` | who asks, by the kernel and the user database |
//! | `command` | list: `name`, where it is a named command |
//! | `effect` | `read` or `change` |
//! | `path` | list of `dir`: where a program without a slash is looked up |
//! | `argv` | list of `arg`; a secret stands as `***`, what it is see `slots` |
//! | `slots` | list of `index` (into argv, from 0), `before` (what stands before it in the element), `what`; for `path` then `under`, `beneath`, `is` (`file`, `directory`, `either`), `pass` (`path`, `descriptor`, `copy`: a descriptor of a copy that was made when it was asked for); for `secret` then `keyed` |
//! | `files` | list of `what`, `held` (`checked`: compared once more just before the exec, `seen`: not so, `copied`), `name`, `real` (links resolved), `dev`, `ino`, `ctime-ns`, `size`, `sha256` |
//! | `does` | list of `line`: what the package's own program says that the change would do |
//! | `script` | list: `sha256` |
//! | `stdin` | list: `sha256` |
//! | `secret-stdin` | list: `keyed` |
//! | `cwd` | the working directory |
//! | `env` | list of `var`, `NAME=value`, in the order of the program's environment |
//! | `profile`, `policy` | the profile's name, and the policy's digest |
//! | `rule` | the rule that asks for the approval, with its place |
//! | `limits` | `nofile`, `nproc`, `data`, `cpu-s`, `fsize`, `tmp-bytes`, `tmp-inodes`, then the lists `memory`, `tasks`, `cpu-percent` of one `n` each where there is a bound |
//! | `runtime-s` | seconds until it is ended |
//! | `reason` | list: `text`, the requester's words |
//! | `expires-ms` | until when it can be approved, in milliseconds since 1970 |
//!
//! No two requests have the same bytes: from the front, each name is the only one that can stand
//! there, and each length says where its value ends, so the bytes can be read back in one way alone.
//!
//! # Secrets
//! `keyed` is the SHA-256 of 32 random bytes ([`Key`]) followed by the secret. The plain hash of a
//! secret would not do: whoever has the digest and knows all else of the request, as its approver
//! does (the job's id too: it is in every answer and record), could try short secrets until the
//! digest comes out. The key never leaves the process, and a digest need not outlive it: requests that wait are void
//! when the daemon ends. An auditor can take any digest again but those over a secret.
//!
//! # What stands for more than itself
//! The policy's digest covers its text and what each name in it stood for, so the profile's name
//! stands for all of the profile: paths, uid, capabilities, addresses. `remit.toml` is read when the daemon starts.

use std::fmt;

use remit_confine::{Limits, Measured, PathIs};
use sha2::{Digest, Sha256};

use crate::approval::measure::FileFound;
use crate::audit::chain::hex;
use crate::plan::{Bound, Draft, Passed, Slot, SlotWhat, Whole};

const VERSION: &[u8] = b"remit approval digest 2\n";

/// 256 random bits that no one but this process has, drawn at its start. With it the digest covers
/// secrets without helping to guess them.
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What a digest is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// /etc/machine-id, without its line end.
    pub machine_id: &'a str,
    /// See [`Key`].
    pub key: &'a Key,
    /// What will run.
    pub draft: &'a Draft,
    /// Its files as they are.
    pub files: &'a [FileFound],
    /// What it would do.
    pub does: &'a [String],
    /// The rule that asks for the approval.
    pub rule: &'a str,
    /// Until when, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// The digest.
pub fn digest(parts: &Parts<'_>) -> [u8; 32] {
    Sha256::digest(encode(parts)).into()
}

fn encode(parts: &Parts<'_>) -> Vec<u8> {
    let Parts {
        machine_id,
        key,
        draft,
        files,
        does,
        rule,
        expires_ms,
    } = parts;
    let Whole {
        job,
        subject,
        path,
        bound,
        name,
        reason,
        // A name that a client gives itself.
        client: _,
        script,
        stdin,
    } = draft.whole();
    let Bound {
        argv,
        slots,
        secret_stdin,
        env,
        cwd,
        limits,
        runtime,
        compiled,
        effect,
        policy,
        // Says which elements were measured, which `files` has.
        literal: _,
        // Words about the rest.
        asked: _,
    } = bound;
    let mut out = Encoder(VERSION.to_vec());
    out.value("machine-id", machine_id);
    out.value("job", job.to_string());
    out.value("requester-uid", subject.uid().to_string());
    out.value("requester-name", subject.user());
    out.list("command", name, |out, name| out.value("name", name));
    out.value("effect", effect.name());
    out.list("path", path, |out, dir| out.value("dir", dir.as_bytes()));
    out.list("argv", argv.iter(), |out, arg| {
        out.value("arg", arg.as_bytes());
    });
    out.list("slots", slots, |out, slot| out.slot(slot, key));
    out.list("files", files.iter(), Encoder::file);
    out.list("does", does.iter(), |out, line| out.value("line", line));
    let sha256 = |out: &mut Encoder, sha256: [u8; 32]| out.value("sha256", hex(&sha256));
    out.list("script", script.map(|script| script.sha256), sha256);
    out.list("stdin", stdin.map(|stdin| stdin.sha256), sha256);
    out.list("secret-stdin", secret_stdin, |out, secret| {
        out.value("keyed", key.of(secret));
    });
    out.value("cwd", cwd.as_bytes());
    out.list("env", env, |out, var| out.value("var", var.as_bytes()));
    out.value("profile", compiled.name());
    out.value("policy", policy);
    out.value("rule", rule);
    out.limits(limits);
    out.value("runtime-s", runtime.seconds.to_string());
    out.list("reason", reason, |out, text| out.value("text", text));
    out.value("expires-ms", expires_ms.to_string());
    out.0
}

impl Key {
    fn of(&self, secret: &[u8]) -> String {
        hex(&Sha256::new_with_prefix(self.0)
            .chain_update(secret)
            .finalize())
    }
}

/// Writes parts, as the module's text says.
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

    fn slot(&mut self, slot: &Slot, key: &Key) {
        let Slot {
            index,
            before,
            what,
        } = slot;
        self.value("index", index.to_string());
        self.value("before", before);
        match what {
            SlotWhat::Path {
                under,
                beneath,
                is,
                pass,
            } => {
                self.value("what", "path");
                self.value("under", under.as_bytes());
                self.value("beneath", beneath.as_bytes());
                let is = match is {
                    PathIs::File => "file",
                    PathIs::Directory => "directory",
                    PathIs::Either => "either",
                };
                self.value("is", is);
                let pass = match pass {
                    Passed::Text => "path",
                    Passed::Descriptor => "descriptor",
                    Passed::Copy(_) => "copy",
                };
                self.value("pass", pass);
            }
            SlotWhat::Secret(secret) => {
                self.value("what", "secret");
                self.value("keyed", key.of(secret));
            }
        }
    }

    fn file(&mut self, file: &FileFound) {
        let FileFound {
            what,
            held,
            measured,
            real,
        } = file;
        let Measured {
            path,
            dev,
            ino,
            ctime_ns,
            size,
            sha256,
        } = measured;
        self.value("what", what);
        self.value("held", held.name());
        self.value("name", path.as_bytes());
        self.value("real", real.as_bytes());
        self.value("dev", dev.to_string());
        self.value("ino", ino.to_string());
        self.value("ctime-ns", ctime_ns.to_string());
        self.value("size", size.to_string());
        self.value("sha256", hex(sha256));
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits {
            nofile,
            nproc,
            // What else runs as its user when it begins.
            others: _,
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

#[cfg(test)]
mod tests;
