//! `probe.*` and others ask a server of this host by TCP, through the relay on port 1080 of the job's loopback, which
//! reaches this host's addresses only. Looks no name up, follows no redirect. Answers have a bound and a deadline.

pub mod http;
pub mod lookup;
pub mod services;
pub mod tls;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use remit_common::text;
use serde::Serialize;

use crate::text::{lines, number};

const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1080);
/// Of a page or an answer that is shown.
const PAGE: usize = 32 << 10;
/// Of one value that is shown.
const SHOWN: usize = 512;

#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    span: Duration,
}

impl Deadline {
    pub fn of_seconds(seconds: &str) -> Result<Self, String> {
        Ok(Deadline {
            started: Instant::now(),
            span: Duration::from_secs(number(seconds)?),
        })
    }

    /// Fails if no time is left: a timeout of zero would be none.
    fn left(self) -> io::Result<Duration> {
        let left = self.span.saturating_sub(self.started.elapsed());
        match left.is_zero() {
            true => Err(ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }

    fn milliseconds(self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
    }
}

fn shown(bytes: &[u8]) -> String {
    text::line(bytes.trim_ascii(), SHOWN)
}

pub fn server(address: &str, port: &str) -> Result<SocketAddr, String> {
    let ip = match address {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address.parse().map_err(|_| {
            format!("'{address}' is not an address of this host: names are not looked up here")
        })?,
    };
    Ok(SocketAddr::new(ip, number(port)?))
}

/// Connects to `to` by the relay: SOCKS version 5, RFC 1928.
pub fn connect(to: SocketAddr, deadline: Deadline) -> Result<TcpStream, String> {
    let failed = |error: io::Error| no_answer(to, "connection", deadline, &error);
    let mut relay = TcpStream::connect(RELAY).map_err(|error| format!("no relay: {error}"))?;
    let mut request = vec![5, 1, 0, 5, 1, 0];
    match to.ip() {
        IpAddr::V4(ip) => request.extend([&[1][..], &ip.octets()].concat()),
        IpAddr::V6(ip) => request.extend([&[4][..], &ip.octets()].concat()),
    }
    request.extend(to.port().to_be_bytes());
    relay.write_all(&request).map_err(failed)?;
    let mut answer = [0; 12];
    relay
        .set_read_timeout(Some(deadline.left().map_err(failed)?))
        .and_then(|()| relay.read_exact(&mut answer))
        .map_err(failed)?;
    let (ip, port) = (to.ip(), to.port());
    match answer.get(3) {
        Some(0) => Ok(relay),
        Some(2) => Err(format!(
            "{ip} is not an address of this host, and others are not reached: see network.interfaces"
        )),
        Some(3) => Err(format!(
            "ip_nonlocal_bind is set on this host, which hides whose {ip} is: only loopback addresses are reached"
        )),
        Some(5) => Err(format!(
            "connection refused: nothing listens on {ip} port {port}: see network.port port={port}"
        )),
        _ => Err(format!("{ip} port {port} cannot be reached")),
    }
}

fn no_answer(to: SocketAddr, what: &str, deadline: Deadline, error: &io::Error) -> String {
    let (ip, port) = (to.ip(), to.port());
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            let seconds = deadline.span.as_secs();
            format!("no {what} from {ip} port {port} within {seconds} s")
        }
        _ => format!("no {what} from {ip} port {port}: {error}"),
    }
}

/// Reads until the end, `most` bytes, `enough` or the deadline. The error that ended it, if one did, is beside the bytes.
fn read_until(
    mut from: &TcpStream,
    most: usize,
    deadline: Deadline,
    mut enough: impl FnMut(&[u8]) -> bool,
) -> (Vec<u8>, Option<io::Error>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    while bytes.len() < most && !enough(&bytes) {
        let read = deadline
            .left()
            .and_then(|left| from.set_read_timeout(Some(left)))
            .and_then(|()| from.read(&mut chunk));
        match read {
            Ok(0) => break,
            Ok(count) => bytes.extend(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

/// Returns as many whole lines as are shown.
fn first_lines(body: &[u8]) -> &[u8] {
    let Some(page) = body.get(..PAGE).filter(|page| page.len() < body.len()) else {
        return body;
    };
    let end = page.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|end| page.get(..=end)).unwrap_or(page)
}

#[derive(Debug, Serialize)]
struct Opened {
    address: String,
    port: u16,
    connected_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    banner: Option<String>,
}

/// `tcp ADDRESS PORT SECONDS`: whether a connection is accepted.
pub fn tcp(address: &str, port: &str, seconds: &str) -> Result<ExitCode, String> {
    let (to, deadline) = (server(address, port)?, Deadline::of_seconds(seconds)?);
    let mut connection = connect(to, deadline)?;
    let connected_ms = deadline.milliseconds();
    // Who speaks first does so at once.
    let patience = Duration::from_secs(1).min(deadline.span);
    let mut said = [0; 256];
    let banner = connection
        .set_read_timeout(Some(patience))
        .and_then(|()| connection.read(&mut said))
        .ok()
        .and_then(|count| said.get(..count))
        .filter(|said| !said.is_empty())
        .map(shown);
    lines([Opened {
        address: to.ip().to_string(),
        port: to.port(),
        connected_ms,
        banner,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_cut_between_lines() {
        let line = "a: 1\n";
        let lines = line.repeat(PAGE);
        let whole = PAGE / line.len() * line.len();
        for (body, shown) in [
            (line, line.len()),
            (&lines[..PAGE], PAGE),
            (&lines[..=PAGE], whole),
            (&"x".repeat(PAGE + 1), PAGE),
        ] {
            assert_eq!(first_lines(body.as_bytes()).len(), shown);
        }
    }
}
