//! remit-engine: queries a container engine, Docker or Podman, over its socket. Access to that socket equals root, so
//! requests consist only of [`named`] parts and fixed texts. remit-look and remit-act choose which exist.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// Sockets of Docker and of Podman, which answers the same requests.
pub const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
/// Read timeout. A container that does not end by itself is stopped only after ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
// Bytes of an answer.
const MOST: u64 = 16 << 20;
const FIELDS: usize = 64;
// Bytes of a name.
const NAME: usize = 128;

/// Checks a container name or id, which becomes a part of a request path.
pub fn named(name: &str) -> Result<&str, String> {
    let mut bytes = name.bytes();
    let begins = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if begins && goes_on && name.len() <= NAME {
        Ok(name)
    } else {
        Err(format!("'{name}' is no name of a container"))
    }
}

#[derive(Debug)]
pub struct Container {
    pub id: String,
    /// The whole description of the engine, including values of environment variables.
    pub description: Value,
}

/// The engine that all requests of a command go to, by its socket.
#[derive(Clone, Copy, Debug)]
pub struct Engine(&'static str);

impl Engine {
    /// Chooses the first engine that answers, for requests that only read.
    pub fn for_looks() -> Result<Self, String> {
        chosen(&SOCKETS, |_| true).map(Self)
    }

    /// Chooses the first engine that has a socket. If it does not answer, the next one has other containers of these names.
    pub fn for_changes() -> Result<Self, String> {
        chosen(&SOCKETS, is_missing).map(Self)
    }

    pub fn socket(self) -> &'static str {
        self.0
    }

    /// Finds a container by name. An id would bypass a denial of the name, and a grant of `db*` would cover one that begins so.
    pub fn by_name(self, name: &str) -> Result<Container, String> {
        let description = self.get_json(&format!("/containers/{}/json", named(name)?))?;
        let id = id_by_name(&description, name)?;
        Ok(Container { id, description })
    }

    pub fn get(self, path: &str) -> Result<Vec<u8>, String> {
        self.ask("GET", path)
    }

    pub fn get_json(self, path: &str) -> Result<Value, String> {
        parsed(&self.get(path)?)
    }

    /// Returns a list, and a note if another engine is there that was not asked: what that has is not in the list.
    pub fn get_list(self, path: &str) -> Result<(Value, Option<String>), String> {
        let Self(at) = self;
        let note = unasked(at, &SOCKETS)
            .map(|other| format!("the answer is that of {at}: {other} was not asked"));
        Ok((self.get_json(path)?, note))
    }

    /// Sends a request that changes something. Errors are those of [`Self::get`].
    pub fn post(self, path: &str) -> Result<(), String> {
        self.ask("POST", path).map(drop)
    }

    /// Uses HTTP/1.0: the answer is in one piece and ends with the connection.
    fn ask(self, method: &str, path: &str) -> Result<Vec<u8>, String> {
        let Self(at) = self;
        let cannot = |error: io::Error| format!("cannot ask the container engine at {at}: {error}");
        let mut socket = UnixStream::connect(at).map_err(cannot)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
        let request =
            format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(request.as_bytes()).map_err(cannot)?;
        let answer = whole(socket).map_err(cannot)?;
        body(&answer).map_err(|why| format!("the container engine at {at} {why}"))
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Chooses the first socket that answers. After an error, the next one is tried only if `goes_on`.
fn chosen<'a>(sockets: &[&'a str], goes_on: fn(&io::Error) -> bool) -> Result<&'a str, String> {
    let mut why = Vec::new();
    for at in sockets {
        let Err(error) = UnixStream::connect(at) else {
            return Ok(at);
        };
        why.push(format!("{at}: {error}"));
        if !goes_on(&error) {
            why.push("start it, or remove its socket if it is no longer in use".to_owned());
            break;
        }
    }
    Err(format!("no container engine answers ({})", why.join("; ")))
}

fn id_by_name(all: &Value, name: &str) -> Result<String, String> {
    let id = all.get("Id").and_then(Value::as_str).unwrap_or_default();
    match name_of(all) {
        called if called == name => named(id).map(str::to_owned),
        called if id.starts_with(name) && named(called).is_ok() => Err(format!(
            "'{name}' is an id: the container is called '{called}', ask for it by that name"
        )),
        _ => Err(format!("there is no container of the name '{name}'")),
    }
}

fn name_of(all: &Value) -> &str {
    let called = all.get("Name").and_then(Value::as_str).unwrap_or_default();
    called.strip_prefix('/').unwrap_or(called)
}

/// Finds another engine. The package podman-docker makes the socket of Docker a link to that of Podman.
fn unasked<'a>(asked: &str, sockets: &[&'a str]) -> Option<&'a str> {
    let inode = |socket: &str| {
        let metadata = fs::metadata(socket).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    // Those before it were asked and did not answer.
    let mut later = sockets.iter().copied().skip_while(|one| *one != asked);
    let asked = inode(asked);
    later.find(|other| inode(other).is_some_and(|other| Some(other) != asked))
}

pub fn parsed(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("the container engine's answer is not JSON: {error}"))
}

/// Reads the whole answer. A truncated one is an error, because it would look complete.
fn whole(from: impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    match from.take(MOST + 1).read_to_end(&mut answer)? {
        read if read as u64 > MOST => Err(io::Error::other("its answer is longer than 16 MiB")),
        _ => Ok(answer),
    }
}

/// Returns the body of a successful answer. An error says that it is not HTTP, incomplete or a refusal.
pub fn body(answer: &[u8]) -> Result<Vec<u8>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err("has not answered in full".into()),
        Err(error) => return Err(format!("does not speak HTTP: {error}")),
    };
    let body = answer.get(length..).unwrap_or_default();
    match head.code {
        // 204 has no content; 304 means that nothing had to be changed.
        Some(200 | 204 | 304) => Ok(body.to_vec()),
        code => {
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            let said = said
                .pointer("/message")
                .and_then(Value::as_str)
                .or(head.reason)
                .unwrap_or("nothing");
            Err(format!("says {}: {said}", code.unwrap_or(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path() {
        for good in ["web", "db-1", "a.b_c", "0123456789ab"] {
            assert_eq!(named(good), Ok(good));
        }
        let long = "a".repeat(129);
        for bad in [
            "",
            "-a",
            "../json",
            "a/b",
            "a?b",
            "a b",
            "a\r\nX: y",
            "ä",
            &long,
        ] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn c07_container_is_found_only_by_its_name() {
        let id = "3dcd0568f299abcdef";
        let all = serde_json::json!({ "Id": id, "Name": "/db" });
        assert_eq!(id_by_name(&all, "db"), Ok(id.to_owned()));
        let without_slash = serde_json::json!({ "Id": id, "Name": "db" });
        assert_eq!(id_by_name(&without_slash, "db"), Ok(id.to_owned()));
        for by_id in [id, "3dcd0568f299", "3dcd0568"] {
            let why = id_by_name(&all, by_id).unwrap_err();
            assert!(why.contains("is called 'db'"), "{why}");
        }
        assert!(id_by_name(&all, "web").is_err());
        assert!(id_by_name(&serde_json::json!({ "Id": "db00", "Name": "/x" }), "db").is_err());
        assert!(id_by_name(&Value::Null, "db").is_err());
    }

    #[test]
    fn changes_go_to_the_next_engine_only_without_a_socket() {
        use std::os::unix::net::UnixListener;
        let dir = std::env::temp_dir().join(format!("remit-engine-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let [docker, podman, silent, missing] = ["docker", "podman", "silent", "missing"].map(at);
        let _answers = [&docker, &podman].map(|at| UnixListener::bind(at).unwrap());
        drop(UnixListener::bind(&silent).unwrap());
        let refused = format!("{silent}: Connection refused");
        for (sockets, for_looks, for_changes) in [
            ([&docker, &podman], Ok(&docker), Ok(&docker)),
            ([&missing, &podman], Ok(&podman), Ok(&podman)),
            ([&silent, &podman], Ok(&podman), Err(&refused)),
            ([&missing, &silent], Err(&refused), Err(&refused)),
            ([&missing, &missing], Err(&missing), Err(&missing)),
        ] {
            let sockets = sockets.map(String::as_str);
            for (goes_on, expect) in [
                ((|_| true) as fn(&io::Error) -> bool, for_looks),
                (is_missing, for_changes),
            ] {
                match (chosen(&sockets, goes_on), expect) {
                    (Ok(found), Ok(expect)) => assert_eq!(found, expect),
                    (Err(found), Err(part)) => assert!(found.contains(part.as_str()), "{found}"),
                    (found, _) => panic!("{sockets:?}: {found:?}, not {expect:?}"),
                }
            }
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn second_engine_is_named_unless_it_is_the_same() {
        let [docker, podman, link, missing] =
            ["/dev/null", "/dev/zero", "/dev/../dev/zero", "/x/x"];
        for (sockets, asked, expect) in [
            ([docker, podman], docker, Some(podman)),
            ([docker, podman], podman, None),
            ([docker, missing], docker, None),
            ([link, podman], link, None),
            ([missing, podman], podman, None),
        ] {
            assert_eq!(unasked(asked, &sockets), expect, "{sockets:?}");
        }
    }

    #[test]
    fn oversized_answer_is_an_error() {
        for (length, whole_of) in [
            (0, true),
            (MOST, true),
            (MOST + 1, false),
            (u64::MAX, false),
        ] {
            let answer = whole(io::repeat(b'x').take(length));
            assert_eq!(answer.is_ok_and(|all| all.len() as u64 == length), whole_of);
        }
    }

    #[test]
    fn answer_is_body_or_error_sentence() {
        let said = |answer: &str| body(answer.as_bytes());
        assert_eq!(
            said("HTTP/1.0 200 OK\r\nServer: x\r\n\r\n[1]"),
            Ok(b"[1]".to_vec())
        );
        for (answer, why) in [
            (
                "HTTP/1.1 404 Not Found\r\n\r\n{\"message\": \"No such container: x\"}",
                "says 404: No such container: x",
            ),
            ("HTTP/1.0 500 Oops\r\n\r\n<html>", "says 500: Oops"),
            ("HTTP/1.0 200 OK\r\nServ", "has not answered in full"),
            ("", "has not answered in full"),
        ] {
            assert_eq!(said(answer), Err(why.to_owned()));
        }
        assert!(said("SSH-2.0-x\r\n").is_err_and(|why| why.starts_with("does not speak HTTP")));
    }
}
