//! TLS by `openssl s_client`, which gets the relayed connection through a listener on the job's own loopback.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use serde::Serialize;

use super::{Deadline, connect, no_answer, server, shown};
use crate::catalogue::certificates::{self, Certificate};
use crate::text::lines;

const OPENSSL: &str = "/usr/bin/openssl";
/// Certificates with their texts, as openssl prints them.
const SESSION: usize = 256 << 10;

pub struct Tls {
    child: Child,
    is_ssh: Arc<AtomicBool>,
}

impl Tls {
    pub fn start(
        to: SocketAddr,
        name: &str,
        options: &[&str],
        deadline: Deadline,
    ) -> Result<Tls, String> {
        let far = connect(to, deadline)?;
        let cannot = |error: io::Error| format!("cannot start {OPENSSL}: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot)?;
        let near = listener.local_addr().map_err(cannot)?;
        let mut command = Command::new(OPENSSL);
        command.args(["s_client", "-connect", &near.to_string()]);
        match name.parse::<IpAddr>() {
            Ok(_) => command.args(["-noservername", "-verify_ip", name]),
            Err(_) => command.args(["-servername", name, "-verify_hostname", name]),
        };
        let child = command
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let is_ssh = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&is_ssh);
        thread::spawn(move || {
            let Ok((near, _)) = listener.accept() else {
                return;
            };
            let (Ok(from_near), Ok(to_far)) = (near.try_clone(), far.try_clone()) else {
                return;
            };
            thread::spawn(move || forward(from_near, to_far));
            // sshd drops logins of others while many connections without one are open: MaxStartups in sshd_config(5).
            if greets_as_ssh(&far) {
                found.store(true, Ordering::Release);
                let _ = far.shutdown(Shutdown::Both);
                let _ = near.shutdown(Shutdown::Both);
                return;
            }
            forward(far, near);
        });
        Ok(Tls { child, is_ssh })
    }

    /// Reads both outputs until their ends or the deadline. Ends the child.
    pub fn said(mut self, request: &[u8], most: usize, deadline: Deadline) -> Said {
        if let Some(mut input) = self.child.stdin.take() {
            let request = request.to_vec();
            thread::spawn(move || {
                let _ = input.write_all(&request);
                // The input stays open until the deadline: its end would end the session before the answer.
                thread::sleep(deadline.left().unwrap_or_default());
            });
        }
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let (send, chunks) = mpsc::sync_channel(4);
        for (is_error, pipe) in [
            (
                false,
                out.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            ),
            (true, err.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>)),
        ] {
            let (send, mut pipe) = (send.clone(), pipe);
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Some(Ok(count @ 1..)) = pipe.as_mut().map(|pipe| pipe.read(&mut chunk)) {
                    let bytes = chunk.get(..count).unwrap_or_default().to_vec();
                    if send.send((is_error, bytes)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let mut said = Said::default();
        loop {
            let chunk = deadline.left().map(|left| chunks.recv_timeout(left));
            let (is_error, bytes) = match chunk {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(RecvTimeoutError::Disconnected)) => break,
                Ok(Err(_)) | Err(_) => {
                    said.is_late = true;
                    break;
                }
            };
            if !is_error && said.first_ms.is_none() {
                said.first_ms = Some(deadline.milliseconds());
            }
            let (to, most) = match is_error {
                true => (&mut said.err, SESSION),
                false => (&mut said.out, most),
            };
            to.extend(bytes);
            if to.len() >= most {
                break;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        said.is_ssh = self.is_ssh.load(Ordering::Acquire);
        said
    }
}

#[derive(Debug, Default)]
pub struct Said {
    pub out: Vec<u8>,
    err: Vec<u8>,
    pub first_ms: Option<f64>,
    pub is_late: bool,
    is_ssh: bool,
}

impl Said {
    /// The first fault that openssl reports. A certificate's texts can add faults, never take one away.
    pub fn verify_result(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        let fault = text
            .lines()
            .find_map(|line| line.strip_prefix("verify error:num="));
        fault.map_or_else(|| "ok".to_owned(), |fault| shown(fault.as_bytes()))
    }

    pub fn failure(&self, to: SocketAddr, deadline: Deadline) -> String {
        let (ip, port) = (to.ip(), to.port());
        if self.is_ssh {
            return format!("{ip} port {port} is an ssh server, which does not speak TLS");
        }
        if self.is_late {
            return no_answer(to, "TLS answer", deadline, &ErrorKind::TimedOut.into());
        }
        let text = String::from_utf8_lossy(&self.err);
        let why = text
            .lines()
            .rev()
            .find_map(|line| line.split(":error:").nth(1));
        let why = why.map_or_else(String::new, |why| format!(": {}", shown(why.as_bytes())));
        format!("{ip} port {port} does not speak TLS, or refuses these settings{why}")
    }
}

/// Looks at what the server says first, and leaves it to be read.
fn greets_as_ssh(server: &TcpStream) -> bool {
    const GREETING: [u8; 4] = *b"SSH-";
    let mut first = [0; GREETING.len()];
    server.peek(&mut first).is_ok() && first == GREETING
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[derive(Debug, Serialize)]
struct Served {
    address: String,
    port: u16,
    name: String,
    verify: String,
    protocol: String,
    chain_length: usize,
    chain: Vec<Certificate>,
}

/// `tls ADDRESS PORT NAME STARTTLS SECONDS`: the certificates that a server presents.
pub fn show(
    address: &str,
    port: &str,
    name: &str,
    starttls: &str,
    seconds: &str,
) -> Result<ExitCode, String> {
    let (to, deadline) = (server(address, port)?, Deadline::of_seconds(seconds)?);
    let mut options = vec!["-showcerts"];
    if starttls != "none" {
        options.extend(["-starttls", starttls]);
    }
    // 'Q' at the beginning of a line ends the session.
    let said = Tls::start(to, name, &options, deadline)?.said(b"Q\n", SESSION, deadline);
    let chain = certificates::of_session(&said.out, &format!("{} port {}", to.ip(), to.port()));
    if chain.is_empty() {
        return Err(said.failure(to, deadline));
    }
    let text = String::from_utf8_lossy(&said.out);
    let protocol = text
        .lines()
        .find_map(|line| line.strip_prefix("New, "))
        .map_or_else(String::new, |line| shown(line.as_bytes()));
    lines([Served {
        address: to.ip().to_string(),
        port: to.port(),
        name: name.to_owned(),
        verify: said.verify_result(),
        protocol,
        chain_length: chain.len(),
        chain,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_server_is_known_by_its_greeting() {
        for (greeting, is_ssh) in [
            (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], true),
            (b"220 mail\r\n", false),
            (b"SSH", false),
            (b"", false),
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.write_all(greeting).unwrap();
            drop(server);
            assert_eq!(greets_as_ssh(&client), is_ssh, "{greeting:?}");
        }
    }

    #[test]
    fn faults_of_a_certificate_cannot_be_hidden_by_its_texts() {
        let said = Said {
            err: b"depth=0 CN = x\nverify error:num=18:self-signed certificate\nverify return:1\nVerify return code: 0 (ok)\n".to_vec(),
            ..Said::default()
        };
        assert_eq!(said.verify_result(), "18:self-signed certificate");
    }
}
