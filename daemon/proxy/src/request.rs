//! Reads a request of a job, strictly, and writes the one that a server gets from its parts. Who may be asked is the list's:
//! names and ports. GET and HEAD alone, without a body.

use std::fmt;

/// Bytes of a request up to its empty line.
pub const LONGEST: usize = 16 << 10;
const HEADERS: usize = 100;
/// Bytes of what a job has written that a reason repeats.
const SHOWN: usize = 120;

/// Headers that go on: what programs ask of a repository. Servers read others in their own way, some with `_` for `-`, and
/// may take a GET for something else.
pub const FORWARDED: [&str; 15] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "cookie",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
    "referer",
    "user-agent",
];

#[derive(Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Its number in the list.
    pub listed: usize,
    /// What the server gets.
    pub bytes: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct HttpRefusal {
    pub status: u16,
    pub reason: String,
}

impl HttpRefusal {
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        HttpRefusal { status, reason }
    }

    /// Returns the response. The reason is in its first line, too: apt-get(8) shows that line alone.
    pub fn response(&self) -> Vec<u8> {
        let HttpRefusal { status, reason } = self;
        let length = reason.len() + 8;
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\nremit: {reason}\n"
        )
        .into_bytes()
    }
}

impl fmt::Display for HttpRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}

fn malformed(reason: &str) -> HttpRefusal {
    HttpRefusal::new(400, reason)
}

/// Reads the request at the beginning of `bytes`. `None`: it has not ended yet.
pub fn parse(bytes: &[u8], list: &[(String, u16)]) -> Option<Result<HttpRequest, HttpRefusal>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    match end {
        Some(end) => Some(whole(bytes.get(..end).unwrap_or_default(), list)),
        None if bytes.len() >= LONGEST => Some(Err(HttpRefusal::new(
            431,
            format!("the request has over {LONGEST} bytes"),
        ))),
        None => None,
    }
}

fn whole(head: &[u8], list: &[(String, u16)]) -> Result<HttpRequest, HttpRefusal> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let text = head.split(|byte| *byte == b'\n').enumerate();
    let count = head.iter().filter(|byte| **byte == b'\n').count();
    let lines: Vec<&str> = text
        .map(|(at, line)| {
            // The last line's end is not in `head`.
            let line = match at == count {
                true => line,
                false => line.strip_suffix(b"\r")?,
            };
            let is_plain = line.iter().all(is_plain);
            str::from_utf8(line).ok().filter(|_| is_plain)
        })
        .collect::<Option<_>>()
        .ok_or_else(|| malformed("a line of the request has a character that it cannot have"))?;
    let (first, headers) = lines.split_first().ok_or_else(|| malformed("no request"))?;
    let words: Vec<&str> = first.split(' ').collect();
    let &[method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = words.as_slice() else {
        return Err(malformed("the first line is not 'METHOD URL HTTP/1.1'"));
    };
    match method {
        "GET" | "HEAD" => {}
        "CONNECT" => {
            let why = "CONNECT is not permitted: only GET and HEAD of http:// are, because a tunnel carries anything";
            return Err(HttpRefusal::new(403, why));
        }
        _ => return Err(HttpRefusal::new(405, "only GET and HEAD are permitted")),
    }
    let url = HttpUrl::parse(target)?;
    let listed = (list.iter())
        .position(|(host, port)| *host == url.host && *port == url.port)
        .ok_or_else(|| {
            let why = format!(
                "'{}' is not in the profile's network list",
                shown(&url.to_string())
            );
            HttpRefusal::new(403, why)
        })?;
    let kept = kept(headers, &url, version)?;
    let bytes = format!(
        "{method} {} {version}\r\nHost: {}\r\n{kept}Connection: close\r\n\r\n",
        url.path,
        url.authority()
    );
    let bytes = bytes.into_bytes();
    Ok(HttpRequest { listed, bytes })
}

fn shown(text: &str) -> &str {
    text.get(..SHOWN).unwrap_or(text)
}

#[derive(Debug)]
struct HttpUrl<'a> {
    host: String,
    port: u16,
    path: std::borrow::Cow<'a, str>,
}

impl fmt::Display for HttpUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl<'a> HttpUrl<'a> {
    fn parse(target: &'a str) -> Result<Self, HttpRefusal> {
        let Some(rest) = target.strip_prefix("http://") else {
            return Err(malformed("the URL does not begin with 'http://'"));
        };
        if rest.contains(['#', '\\']) || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed("the URL has a character that it cannot have"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = host_and_port(authority)
            .ok_or_else(|| malformed("the URL has no host name, or a user name"))?;
        let path = match path.starts_with('/') {
            true => path.into(),
            false => format!("/{path}").into(),
        };
        Ok(HttpUrl { host, port, path })
    }

    fn authority(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            _ => self.to_string(),
        }
    }
}

/// Reads `host`, `host:port` or `[address]:port`. The default port is 80.
fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let end = match authority.starts_with('[') {
        true => authority.find(']')? + 1,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 80,
        None => return None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0)?
        }
        Some(_) => return None,
    };
    Some((host.to_ascii_lowercase(), port))
}

/// Returns the headers that a server gets.
fn kept(headers: &[&str], url: &HttpUrl<'_>, version: &str) -> Result<String, HttpRefusal> {
    let headers: Vec<(String, &str)> = headers
        .iter()
        .map(|line| header(line))
        .collect::<Option<_>>()
        .ok_or_else(|| malformed("a header is not 'Name: value' on one line"))?;
    if headers.len() > HEADERS {
        return Err(HttpRefusal::new(431, format!("over {HEADERS} headers")));
    }
    let all = |wanted: &str| -> Vec<&str> {
        let same = headers.iter().filter(|(name, _)| name == wanted);
        same.map(|(_, value)| *value).collect()
    };
    match all("host").as_slice() {
        [] if version == "HTTP/1.0" => {}
        [host]
            if host_and_port(host)
                .is_some_and(|(host, port)| host == url.host && port == url.port) => {}
        _ => return Err(malformed("the header Host is not that of the URL, once")),
    }
    if !all("transfer-encoding").is_empty() || all("content-length").iter().any(|n| *n != "0") {
        return Err(malformed("a request with a body is not permitted"));
    }
    if !all("expect").is_empty() {
        return Err(HttpRefusal::new(417, "the header Expect is not permitted"));
    }
    let of_connection: Vec<String> = all("connection")
        .iter()
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let goes_on =
        |name: &String| FORWARDED.contains(&name.as_str()) && !of_connection.contains(name);
    let kept = headers.iter().filter(|(name, _)| goes_on(name));
    Ok(kept
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect())
}

/// Reads a header, whose name is then in lower case.
fn header(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    is_name.then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<(String, u16)> {
        vec![
            ("deb.example.org".into(), 80),
            ("pypi.example.org".into(), 8080),
        ]
    }

    fn ask(head: &str) -> Result<HttpRequest, HttpRefusal> {
        parse(format!("{head}\r\n\r\n").as_bytes(), &list()).expect("it has ended")
    }

    fn sent(head: &str) -> String {
        let request = ask(head).unwrap_or_else(|refusal| panic!("{head}: {refusal}"));
        String::from_utf8(request.bytes).unwrap()
    }

    #[test]
    fn server_gets_a_rewritten_request() {
        for (head, expect) in [
            (
                "GET http://deb.example.org/debian/x?y=z HTTP/1.1\r\nHost: deb.example.org\r\nUser-Agent: apt",
                "GET /debian/x?y=z HTTP/1.1\r\nHost: deb.example.org\r\nuser-agent: apt\r\nConnection: close\r\n\r\n",
            ),
            (
                "HEAD http://DEB.example.org:80?q HTTP/1.1\r\nhOST:\tdeb.EXAMPLE.org:80 \r\nRange:bytes=0-",
                "HEAD /?q HTTP/1.1\r\nHost: deb.example.org\r\nrange: bytes=0-\r\nConnection: close\r\n\r\n",
            ),
            (
                "GET http://pypi.example.org:8080 HTTP/1.0",
                "GET / HTTP/1.0\r\nHost: pypi.example.org:8080\r\nConnection: close\r\n\r\n",
            ),
        ] {
            assert_eq!(sent(head), expect);
        }
    }

    #[test]
    fn only_headers_for_repositories_go_on() {
        let head = "GET http://deb.example.org/ HTTP/1.1\r\nHost: deb.example.org\r\n\
                    Connection: keep-alive, Pragma\r\npragma: no-cache\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
                    Proxy-Authorization: secret\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\n\
                    Content-Length: 0\r\nX-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: PUT\r\n\
                    x-method-override: POST\r\nX_HTTP_METHOD_OVERRIDE: DELETE\r\nX_HTTP_Method_Override: DELETE\r\n\
                    Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\
                    X-Forwarded-Host: other.example.org\r\nForwarded: host=other.example.org\r\nuser_agent: x\r\nAccept: */*";
        assert_eq!(
            sent(head),
            "GET / HTTP/1.1\r\nHost: deb.example.org\r\naccept: */*\r\nConnection: close\r\n\r\n"
        );
        let all: String = (FORWARDED.iter())
            .map(|name| format!("\r\n{}: x", name.to_uppercase()))
            .collect();
        let kept: String = FORWARDED
            .iter()
            .map(|name| format!("{name}: x\r\n"))
            .collect();
        let get = "GET http://deb.example.org/ HTTP/1.1\r\nHost: deb.example.org";
        assert_eq!(
            sent(&format!("{get}{all}")),
            format!("GET / HTTP/1.1\r\nHost: deb.example.org\r\n{kept}Connection: close\r\n\r\n")
        );
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let host = "Host: deb.example.org";
        let get = "GET http://deb.example.org/ HTTP/1.1\r\nHost: deb.example.org\r\n";
        for (head, status, reason) in [
            (
                "CONNECT deb.example.org:443 HTTP/1.1".into(),
                403,
                "CONNECT",
            ),
            ("CONNECT deb.example.org:80 HTTP/1.1".into(), 403, "CONNECT"),
            (
                format!("POST http://deb.example.org/ HTTP/1.1\r\n{host}"),
                405,
                "GET and HEAD",
            ),
            (
                format!("DELETE http://deb.example.org/ HTTP/1.1\r\n{host}"),
                405,
                "GET and HEAD",
            ),
            (
                format!("get http://deb.example.org/ HTTP/1.1\r\n{host}"),
                405,
                "GET and HEAD",
            ),
            (
                "GET http://other.example.org/ HTTP/1.1\r\nHost: other.example.org".into(),
                403,
                "'other.example.org:80' is not in the profile's network list",
            ),
            (
                "GET http://deb.example.org:81/ HTTP/1.1\r\nHost: deb.example.org:81".into(),
                403,
                "'deb.example.org:81' is not in",
            ),
            (
                "GET http://[2001:db8::1]:80/ HTTP/1.1\r\nHost: [2001:db8::1]:80".into(),
                403,
                "'[2001:db8::1]:80' is not in",
            ),
            (
                "GET http://deb.example.org./ HTTP/1.1\r\nHost: x".into(),
                403,
                "'deb.example.org.:80'",
            ),
            (format!("GET / HTTP/1.1\r\n{host}"), 400, "http://"),
            (
                format!("GET https://deb.example.org/ HTTP/1.1\r\n{host}"),
                400,
                "http://",
            ),
            (
                format!("GET http://a@deb.example.org/ HTTP/1.1\r\n{host}"),
                400,
                "user name",
            ),
            (
                format!("GET http://deb.example.org:/ HTTP/1.1\r\n{host}"),
                400,
                "host name",
            ),
            (
                format!("GET http://deb.example.org:+80/ HTTP/1.1\r\n{host}"),
                400,
                "host name",
            ),
            (
                format!("GET http://deb.example.org:0/ HTTP/1.1\r\n{host}"),
                400,
                "host name",
            ),
            (
                format!("GET http:///x HTTP/1.1\r\n{host}"),
                400,
                "host name",
            ),
            (
                format!("GET http://deb.example.org/#x HTTP/1.1\r\n{host}"),
                400,
                "character",
            ),
            (
                format!("GET http://deb.example.org\\x HTTP/1.1\r\n{host}"),
                400,
                "character",
            ),
            (
                format!("GET http://deb.example.org/\u{e9} HTTP/1.1\r\n{host}"),
                400,
                "character",
            ),
            (
                format!("GET http://deb.example.org/ HTTP/2.0\r\n{host}"),
                400,
                "first line",
            ),
            (
                format!("GET  http://deb.example.org/ HTTP/1.1\r\n{host}"),
                400,
                "first line",
            ),
            (
                format!("GET http://deb.example.org/ HTTP/1.1 \r\n{host}"),
                400,
                "first line",
            ),
            ("GET http://deb.example.org/ HTTP/1.1".into(), 400, "Host"),
            (
                "GET http://deb.example.org/ HTTP/1.1\r\nHost: other.example.org".into(),
                400,
                "Host",
            ),
            (format!("{get}{host}"), 400, "Host"),
            (format!("{get}Content-Length: 5"), 400, "body"),
            (
                format!("{get}Content-Length: 0\r\nContent-Length: 5"),
                400,
                "body",
            ),
            (format!("{get}Content-Length: 00"), 400, "body"),
            (format!("{get}Transfer-Encoding: chunked"), 400, "body"),
            (format!("{get}Expect: 100-continue"), 417, "Expect"),
            (format!("{get}X: a\r\n folded"), 400, "header"),
            (format!("{get}X : a"), 400, "header"),
            (format!("{get}: a"), 400, "header"),
            (format!("{get}none"), 400, "header"),
            (format!("{get}X: a\nY: b"), 400, "character"),
            (format!("{get}X: a\rY: b"), 400, "character"),
            (format!("{get}X: a\0"), 400, "character"),
            (
                format!("{get}{}X: 1", "A: 1\r\n".repeat(HEADERS)),
                431,
                "headers",
            ),
        ] {
            let refusal = ask(&head).expect_err(&head);
            assert_eq!(refusal.status, status, "{head}: {refusal}");
            assert!(refusal.reason.contains(reason), "{head}: {refusal}");
        }
    }

    #[test]
    fn request_is_whole_refused_or_not_ended() {
        let whole = b"GET http://deb.example.org/ HTTP/1.1\r\nHost: deb.example.org\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end], &list()), None);
        }
        let more = [&whole[..], b"GET "].concat();
        assert_eq!(parse(&more, &list()), parse(whole, &list()));
        let long = vec![b'a'; LONGEST];
        assert_eq!(parse(&long[1..], &list()), None);
        let refusal = parse(&long, &list()).expect("too long").unwrap_err();
        assert_eq!(refusal.status, 431);
    }

    #[test]
    fn response_of_a_refusal_has_one_line_of_reason() {
        let long = format!("http://{}/", "a".repeat(10_000));
        let refusal = ask(&format!("GET {long} HTTP/1.1\r\nHost: x")).unwrap_err();
        let response = String::from_utf8(refusal.response()).unwrap();
        assert!(response.len() < 600, "{response}");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(head.starts_with("HTTP/1.1 403 'aaa"));
    }
}
