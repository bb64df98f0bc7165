//! Reads the bytes of a request back. Every input is one request or an error that names the part, and no two inputs
//! are the same request: names, numbers and hashes have one spelling, and nothing follows the last part.

use std::ffi::CString;
use std::fmt::{self, Display};
use std::str::FromStr;

use remit_approval::{
    ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass, BoundPath, FileBinding,
    VERSION, kind_name,
};
use remit_common::hex::unhex;
use remit_common::names::JobId;
use remit_common::prove::OpenedPath;
use remit_common::wire::Effect;
use remit_policy::PathIs;

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    pub part: &'static str,
    why: &'static str,
}

impl Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' {}", self.part, self.why)
    }
}

impl std::error::Error for Undecodable {}

/// Returns the request that `bytes` encode, if they are exactly those of one request.
pub fn decode(bytes: &[u8]) -> Result<ApprovalRequest, Undecodable> {
    let rest = bytes
        .strip_prefix(VERSION)
        .ok_or_else(|| bad("version", "is not the one that this program reads"))?;
    let mut input = Decoder { rest };
    let request = ApprovalRequest {
        machine_id: input.text("machine-id")?,
        job: input.spelled::<JobId>("job")?,
        requester_uid: input.spelled("requester-uid")?,
        requester_name: input.text("requester-name")?,
        command: input.option("command", |input| input.text("name"))?,
        effect: input.one_of("effect", [Effect::Read, Effect::Change], Effect::name)?,
        path: input.list("path", |input| input.c_text("dir"))?,
        argv: input.list("argv", |input| input.c_text("arg"))?,
        slots: input.list("slots", Decoder::slot)?,
        files: input.list("files", Decoder::file)?,
        does: input.list("does", |input| input.text("line"))?,
        opens: input.list("opens", Decoder::opened)?,
        opens_unknown: input.list("opens-unknown", |input| input.text("why"))?,
        script: input.option("script", |input| input.hash("sha256"))?,
        stdin: input.option("stdin", |input| input.hash("sha256"))?,
        secret_stdin: input.option("secret-stdin", |input| input.hash("keyed"))?,
        cwd: input.c_text("cwd")?,
        env: input.list("env", |input| input.c_text("var"))?,
        profile: input.text("profile")?,
        policy: input.text("policy")?,
        rule: input.text("rule")?,
        limits: input.limits()?,
        runtime_s: input.spelled("runtime-s")?,
        reason: input.option("reason", |input| input.text("text"))?,
        expires_ms: input.spelled("expires-ms")?,
    };
    match input.rest.is_empty() {
        true => Ok(request),
        false => Err(bad("expires-ms", "is not the end")),
    }
}

const fn bad(part: &'static str, why: &'static str) -> Undecodable {
    Undecodable { part, why }
}

struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Takes `NAME SP … LF`, and returns what is between.
    fn head(&mut self, name: &'static str) -> Result<&'a str, Undecodable> {
        let missing = bad(name, "is missing");
        let rest = self.rest.strip_prefix(name.as_bytes()).ok_or(missing)?;
        let rest = rest.strip_prefix(b" ").ok_or(missing)?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(missing)?;
        let (head, rest) = rest.split_at_checked(end).ok_or(missing)?;
        self.rest = rest.get(1..).unwrap_or_default();
        std::str::from_utf8(head).map_err(|_| missing)
    }

    fn value(&mut self, name: &'static str) -> Result<&'a [u8], Undecodable> {
        let length = self.head(name)?;
        let length = spelled(length).ok_or(bad(name, "has no length"))?;
        let cut = bad(name, "is cut or longer than its length");
        let (value, rest) = self.rest.split_at_checked(length).ok_or(cut)?;
        self.rest = rest.strip_prefix(b"\n").ok_or(cut)?;
        Ok(value)
    }

    fn list<T>(
        &mut self,
        name: &'static str,
        mut each: impl FnMut(&mut Self) -> Result<T, Undecodable>,
    ) -> Result<Vec<T>, Undecodable> {
        let count = self.head(name)?.strip_prefix('x').and_then(spelled);
        let count: usize = count.ok_or(bad(name, "has no count"))?;
        // Collecting reserves nothing for a false count: it stops at the first item that is missing.
        (0..count).map(|_| each(self)).collect()
    }

    fn option<T>(
        &mut self,
        name: &'static str,
        each: impl FnMut(&mut Self) -> Result<T, Undecodable>,
    ) -> Result<Option<T>, Undecodable> {
        let mut all = self.list(name, each)?.into_iter();
        match (all.next(), all.next()) {
            (only, None) => Ok(only),
            (_, Some(_)) => Err(bad(name, "has more than one item")),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<String, Undecodable> {
        let value = self.value(name)?.to_vec();
        String::from_utf8(value).map_err(|_| bad(name, "is not UTF-8"))
    }

    fn c_text(&mut self, name: &'static str) -> Result<CString, Undecodable> {
        CString::new(self.value(name)?).map_err(|_| bad(name, "has a NUL byte"))
    }

    fn spelled<T: FromStr + Display>(&mut self, name: &'static str) -> Result<T, Undecodable> {
        let value = std::str::from_utf8(self.value(name)?).ok();
        let value = value.and_then(spelled);
        value.ok_or(bad(name, "is not written as it must be"))
    }

    fn hash(&mut self, name: &'static str) -> Result<[u8; 32], Undecodable> {
        let hash = unhex(self.value(name)?);
        hash.ok_or(bad(name, "is not 64 lower-case hexadecimal digits"))
    }

    fn one_of<T: Copy, const N: usize>(
        &mut self,
        part: &'static str,
        all: [T; N],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T, Undecodable> {
        let value = self.value(part)?;
        let mut all = all.into_iter();
        let found = all.find(|one| name(*one).as_bytes() == value);
        found.ok_or(bad(part, "has an unknown value"))
    }

    fn slot(&mut self) -> Result<BoundArgument, Undecodable> {
        let index = self.spelled("index")?;
        let before = self.value("before")?.to_vec();
        match self.value("what")? {
            b"path" => Ok(BoundArgument::Path(BoundPath {
                index,
                before,
                under: self.c_text("under")?,
                beneath: self.c_text("beneath")?,
                is: {
                    let all = [PathIs::File, PathIs::Directory, PathIs::Either];
                    self.one_of("is", all, kind_name)?
                },
                pass: {
                    let all = [BoundPass::Path, BoundPass::Descriptor, BoundPass::Copy];
                    self.one_of("pass", all, BoundPass::name)?
                },
            })),
            b"secret" => Ok(BoundArgument::Secret {
                index,
                before,
                keyed: self.hash("keyed")?,
            }),
            _ => Err(bad("what", "has an unknown value")),
        }
    }

    fn file(&mut self) -> Result<BoundFile, Undecodable> {
        let held = [FileBinding::Checked, FileBinding::Seen, FileBinding::Copied];
        Ok(BoundFile {
            what: self.text("what")?,
            held: self.one_of("held", held, FileBinding::name)?,
            name: self.c_text("name")?,
            real: self.c_text("real")?,
            dev: self.spelled("dev")?,
            ino: self.spelled("ino")?,
            ctime_ns: self.spelled("ctime-ns")?,
            size: self.spelled("size")?,
            sha256: self.hash("sha256")?,
        })
    }

    fn opened(&mut self) -> Result<OpenedPath, Undecodable> {
        Ok(OpenedPath {
            agent: self.text("agent")?,
            goal: self.text("goal")?,
            steps: self.list("steps", |input| input.text("step"))?,
            closed_by: self.list("closed-by", |input| input.text("change"))?,
        })
    }

    fn limits(&mut self) -> Result<BoundLimits, Undecodable> {
        Ok(BoundLimits {
            nofile: self.spelled("nofile")?,
            nproc: self.spelled("nproc")?,
            data: self.spelled("data")?,
            cpu_s: self.spelled("cpu-s")?,
            fsize: self.spelled("fsize")?,
            tmp_bytes: self.spelled("tmp-bytes")?,
            tmp_inodes: self.spelled("tmp-inodes")?,
            memory: self.option("memory", |input| input.spelled("n"))?,
            tasks: self.option("tasks", |input| input.spelled("n"))?,
            cpu_percent: self.option("cpu-percent", |input| input.spelled("n"))?,
        })
    }
}

/// Returns the value only if `text` is exactly how it is written.
fn spelled<T: FromStr + Display>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}
