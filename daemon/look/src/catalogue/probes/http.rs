//! One request to a web server: status, times, sizes and some headers. Only a status page is shown itself.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use remit_common::text;
use serde::Serialize;

use super::tls::Tls;
use super::{Deadline, connect, first_lines, no_answer, read_until, server, shown};
use crate::text::{lines, print};

const HEAD: usize = 32 << 10;
/// Of what follows the headers, as much is read.
const BODY: usize = 1 << 20;
/// Interim answers that are skipped.
const INTERIM: usize = 8;

#[derive(Debug, Serialize)]
struct Answer {
    status: u16,
    version: String,
    connected_ms: f64,
    first_byte_ms: f64,
    total_ms: f64,
    body_bytes: u64,
    /// The body is longer than what was read, or did not end in time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    body_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_not_followed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify: Option<String>,
    headers: Vec<Header>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Header {
    name: String,
    value: String,
}

/// Headers that are shown. Others can be secrets, as cookies are.
const HEADERS_SHOWN: [&str; 14] = [
    "age",
    "allow",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "strict-transport-security",
    "via",
    "www-authenticate",
];

#[derive(Debug, PartialEq, Eq)]
struct Head {
    version: String,
    status: u16,
    headers: Vec<Header>,
    length: Option<u64>,
    is_chunked: bool,
    end: usize,
}

/// Parses status line and headers. `None`: they are not HTTP, or do not end.
fn head(bytes: &[u8]) -> Option<Head> {
    let end = end_of_head(bytes)?;
    let mut lines = bytes
        .get(..end)?
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii);
    let first = lines.next()?;
    let mut words = first.split(|byte| *byte == b' ');
    let version = words
        .next()
        .filter(|version| version.starts_with(b"HTTP/"))?;
    let status = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let mut found = Head {
        version: shown(version),
        status,
        headers: Vec::new(),
        length: None,
        is_chunked: false,
        end,
    };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name == "content-length" {
            found.length = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
        }
        if name == "transfer-encoding" {
            found.is_chunked = value.to_ascii_lowercase().ends_with(b"chunked");
        }
        if HEADERS_SHOWN.contains(&name.as_str()) && found.headers.len() < HEADERS_SHOWN.len() {
            let value = shown(value);
            found.headers.push(Header { name, value });
        }
    }
    Some(found)
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let most = bytes.get(..HEAD).unwrap_or(bytes);
    let end = most.windows(4).position(|text| text == b"\r\n\r\n");
    end.map(|end| end + 4)
}

/// Skips the heads of interim answers, as `103 Early Hints`.
fn final_answer(mut bytes: &[u8]) -> &[u8] {
    for _ in 0..INTERIM {
        match head(bytes) {
            Some(head) if matches!(head.status, 100 | 102..=199) => {
                bytes = bytes.get(head.end..).unwrap_or_default();
            }
            _ => break,
        }
    }
    bytes
}

/// Returns the content of chunks (RFC 9112, 7.1), and true if the last one is there.
fn unchunked(mut chunks: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = chunks.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = chunks.split_at(end + 1);
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let length = std::str::from_utf8(digits.trim_ascii())
            .ok()
            .and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let Some((content, rest)) = length.map(|length| rest.split_at(length.min(rest.len())))
        else {
            break;
        };
        if length == Some(0) {
            return (body, true);
        }
        body.extend(content);
        match rest.strip_prefix(b"\r\n") {
            Some(rest) => chunks = rest,
            None => break,
        }
    }
    (body, false)
}

pub struct Page<'a> {
    pub address: &'a str,
    pub port: &'a str,
    pub path: &'a str,
    pub name: &'a str,
    pub scheme: &'a str,
    pub seconds: &'a str,
}

impl<'a> Page<'a> {
    pub fn from_words(words: &[&'a str]) -> Result<Self, String> {
        let [scheme, address, port, path, name, seconds] = *words else {
            return Err("expected scheme, address, port, path, name and seconds".to_owned());
        };
        Ok(Page {
            address,
            port,
            path,
            name,
            scheme,
            seconds,
        })
    }
}

struct Fetched {
    answer: Answer,
    body: Vec<u8>,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, name) = (self.path, self.name);
        write!(
            f,
            "GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: remit-look\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
    }
}

fn fetch(page: &Page<'_>) -> Result<Fetched, String> {
    let to = server(page.address, page.port)?;
    let deadline = Deadline::of_seconds(page.seconds)?;
    let request = page.to_string().into_bytes();
    let most = HEAD + BODY;
    let (bytes, first_ms, connected_ms, verify, is_late) = match page.scheme {
        "https" => {
            let client = Tls::start(to, page.name, &["-quiet"], deadline)?;
            let connected_ms = deadline.milliseconds();
            let said = client.said(&request, most, deadline);
            if said.out.is_empty() {
                return Err(said.failure(to, deadline));
            }
            let verify = Some(said.verify_result());
            (said.out, said.first_ms, connected_ms, verify, said.is_late)
        }
        _ => {
            let mut connection = connect(to, deadline)?;
            let connected_ms = deadline.milliseconds();
            let sent = connection.write_all(&request);
            sent.map_err(|error| no_answer(to, "answer", deadline, &error))?;
            let mut first_ms = None;
            let (bytes, error) = read_until(&connection, most, deadline, |bytes| {
                if !bytes.is_empty() {
                    first_ms.get_or_insert_with(|| deadline.milliseconds());
                }
                is_whole(bytes)
            });
            match error {
                Some(error) if bytes.is_empty() => {
                    return Err(no_answer(to, "answer", deadline, &error));
                }
                error => (bytes, first_ms, connected_ms, None, error.is_some()),
            }
        }
    };
    let is_full = bytes.len() >= most;
    let bytes = final_answer(&bytes);
    let Some(head) = head(bytes) else {
        return Err(match bytes.len() {
            0 => format!(
                "{} port {} closes the connection without an answer",
                to.ip(),
                to.port()
            ),
            HEAD.. => "the headers of the answer are longer than 32 KiB".to_owned(),
            _ => format!("the answer is not HTTP: {}", text::line(bytes, 80)),
        });
    };
    let body = bytes.get(head.end..).unwrap_or_default();
    let (body, is_cut) = match head.length {
        _ if head.is_chunked => {
            let (body, is_whole) = unchunked(body);
            (body, !is_whole)
        }
        Some(length) => (body.to_vec(), (body.len() as u64) < length),
        None => (body.to_vec(), is_late || is_full),
    };
    let location = head.headers.iter().find(|header| header.name == "location");
    Ok(Fetched {
        answer: Answer {
            body_cut: is_cut,
            redirect_not_followed: location.map(|header| header.value.clone()),
            status: head.status,
            version: head.version,
            connected_ms,
            first_byte_ms: first_ms.unwrap_or_default(),
            total_ms: deadline.milliseconds(),
            body_bytes: body.len() as u64,
            verify,
            headers: head.headers,
        },
        body,
    })
}

/// Returns true once the head and all of a body of known length are there, or no head can come any more.
fn is_whole(bytes: &[u8]) -> bool {
    let bytes = final_answer(bytes);
    match head(bytes) {
        None => bytes.len() >= HEAD || end_of_head(bytes).is_some(),
        // The last chunk ends so. To look at all chunks after each read would take long.
        Some(head) if head.is_chunked => {
            bytes.ends_with(b"\r\n\r\n") && unchunked(bytes.get(head.end..).unwrap_or_default()).1
        }
        Some(head) => head
            .length
            .is_some_and(|length| bytes.len().saturating_sub(head.end) as u64 >= length),
    }
}

pub fn show(page: Page<'_>) -> Result<ExitCode, String> {
    lines([fetch(&page)?.answer])
}

/// `status-page`: the body, too. For pages of fixed paths, on which a web server reports its own state.
pub fn status_page(page: Page<'_>) -> Result<ExitCode, String> {
    let Fetched { answer, body } = fetch(&page)?;
    if answer.status != 200 {
        return Err(format!(
            "{} port {}: {} has status {}: the server's settings have to permit this page for local clients",
            page.address, page.port, page.path, answer.status
        ));
    }
    let lines = first_lines(&body);
    print(&text::show(lines).text)?;
    if answer.body_cut || lines.len() < body.len() {
        eprintln!(
            "remit-look: the page is longer: its first {} bytes are shown",
            lines.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::super::SHOWN;
    use super::*;

    #[test]
    fn head_has_status_and_listed_headers() {
        let bytes = b"HTTP/1.1 301 Moved\r\nServer: x\r\nSet-Cookie: geheim\r\nLOCATION:https://a.example/\r\nContent-Length: 3\r\n\r\nabc";
        let head = head(bytes).unwrap();
        assert_eq!((head.status, head.length), (301, Some(3)));
        let names: Vec<&str> = head
            .headers
            .iter()
            .map(|header| header.name.as_str())
            .collect();
        assert_eq!(names, ["server", "location", "content-length"]);
        assert_eq!(head.headers[1].value, "https://a.example/");
        assert!(is_whole(bytes) && !is_whole(&bytes[..bytes.len() - 1]));
    }

    #[test]
    fn interim_answers_are_skipped() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
        let last = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
        for (interim, status) in [(0, 204), (1, 204), (INTERIM, 204), (INTERIM + 1, 103)] {
            let bytes = hints.repeat(interim) + last;
            let head = head(final_answer(bytes.as_bytes())).unwrap();
            assert_eq!(head.status, status, "{interim}");
            assert_eq!(is_whole(bytes.as_bytes()), status == 204, "{interim}");
        }
        assert!(!is_whole(hints.as_bytes()));
    }

    #[test]
    fn chunks_are_put_together() {
        let head =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n";
        for (chunks, body, is_all) in [
            ("3\r\nabc\r\n2;x=y\r\nd\n\r\n0\r\n\r\n", "abcd\n", true),
            (
                "A\r\n0123456789\r\n0\r\nDate: x\r\n\r\n",
                "0123456789",
                true,
            ),
            ("0\r\n\r\n", "", true),
            ("3\r\nabc\r\n", "abc", false),
            ("5\r\nabc", "abc", false),
            ("3\r\nabcd\r\n0\r\n\r\n", "abc", false),
            ("ffffffffffffffff\r\nabc\r\n\r\n", "abc\r\n\r\n", false),
            ("x\r\nabc\r\n0\r\n\r\n", "", false),
            ("", "", false),
        ] {
            let expect = (body.as_bytes().to_vec(), is_all);
            assert_eq!(unchunked(chunks.as_bytes()), expect, "{chunks:?}");
            let answer = head.to_owned() + chunks;
            assert_eq!(is_whole(answer.as_bytes()), is_all, "{chunks:?}");
        }
    }

    #[test]
    fn hostile_heads_are_escaped_and_bounded() {
        let mut bytes = b"HTTP/1.1 200 OK\r\nServer: a\x1b[31m\rb\r\n".to_vec();
        for _ in 0..20 {
            bytes.extend(b"Via: ".iter().chain(&[b'x'; 1500]).chain(b"\r\n"));
        }
        bytes.extend(b"\r\n");
        let head = head(&bytes).unwrap();
        assert_eq!(head.headers.len(), HEADERS_SHOWN.len());
        assert!(
            head.headers
                .iter()
                .all(|header| header.value.len() <= SHOWN + 16)
        );
        assert!(!head.headers[0].value.contains(['\x1b', '\r']));
        for odd in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 99999999 x\r\n\r\n",
            b"HTTP/1.1 -1 x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            assert_eq!(super::head(odd), None, "{odd:?}");
        }
    }
}
