//! One client's connection: hello, calls, end.
//!
//! Descriptors sent by a client are never received: they end the session, and the thread that serves neither reads past
//! them nor closes the socket in which they lie ([`ForeignSocket`]). A client that closes its
//! writing side ends the session; calls are dropped, jobs go on.

mod frames;
mod inflight;
mod outbox;
mod reader;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{FromClient, Hello, PROTOCOL, ToClient};
use remit_common::{RELEASE, frame};
use remit_link::{ForeignSocket, Owner, ToWarden};
use tokio::sync::oneshot;
use tokio::task::coop;
use tokio::time::{sleep, timeout};

use crate::account::Account;
use crate::broker::Broker;
use crate::bucket::Bucket;
use crate::session::frames::Frames;
use crate::session::inflight::Inflight;
pub use crate::session::outbox::Outbox;
use crate::session::reader::Reader;
use crate::watch::Socket;

/// Refusals of the broker's own that the audit gets from one session: so many a second, so many at once.
const TOLD: (u32, u32) = (2, 5);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Rest after each call refused for its rate, so that refusing stays cheap.
const REST: Duration = Duration::from_millis(1);

/// A connected client, as its calls see it.
#[derive(Debug)]
pub struct Client {
    /// The session's number.
    pub session: u64,
    /// Who the kernel says it is.
    pub owner: Owner,
    /// What it calls itself, printable.
    pub name: String,
    /// Where answers go.
    pub outbox: Rc<Outbox>,
    /// What its uid uses.
    pub account: Rc<Account>,
    told: RefCell<Bucket>,
}

/// Why a session ended.
enum End {
    /// It closed, or its connection broke.
    Closed,
    /// It is told why, and sent away.
    Refused(Refusal),
}

/// Serves one client until it is gone.
pub async fn serve(
    broker: &Rc<Broker>,
    session: u64,
    owner: Owner,
    socket: ForeignSocket,
    gone: oneshot::Receiver<()>,
) {
    // Nothing here waits in read(2) or write(2): each call says so itself.
    let socket = match Socket::new(socket) {
        Ok(socket) => Rc::new(socket),
        Err(error) => return tracing::warn!(session, %error, "cannot watch a client"),
    };
    let uid = owner.uid;
    let account = broker.accounts.of(uid);
    let outbox = Rc::new(Outbox::new(Rc::clone(&socket), Rc::clone(&account)));
    let frames = Frames::new(Reader(socket), account);
    let mut calls = Inflight::default();
    let end = tokio::select! {
        end = requests(broker, session, owner, &outbox, frames, &mut calls) => end,
        () = outbox.run() => End::Closed,
        () = outbox.overflowed() => {
            tracing::info!(session, uid, "dropped a client that does not read");
            End::Closed
        }
        // Told, or dropped by the broker: both mean that the client's process has ended.
        _ = gone => End::Closed,
    };
    drop(calls);
    if let End::Refused(refusal) = end {
        tracing::debug!(
            session,
            uid,
            code = refusal.code.as_str(),
            "sent a client away"
        );
        outbox.send(&ToClient::Goodbye(refusal.clone()));
        broker.warden.tell(&ToWarden::Refused { session, refusal });
        // A client that does not read it has lost nothing it wanted.
        let _ = timeout(GOODBYE, outbox.flush()).await;
    }
}

/// Reads requests until the client goes or must go.
async fn requests(
    broker: &Rc<Broker>,
    session: u64,
    owner: Owner,
    outbox: &Rc<Outbox>,
    mut frames: Frames,
    calls: &mut Inflight,
) -> End {
    let deadline = Duration::from_millis(caps::FRAME_DEADLINE_MS);
    let name = match timeout(deadline, frames.next()).await {
        Ok(Ok(first)) => match hello(&first.bytes) {
            Ok(name) => name,
            Err(refusal) => return End::Refused(refusal),
        },
        Ok(Err(end)) => return end,
        Err(_) => return End::Refused(Refusal::new(Code::InvalidArgs, "no hello came in time")),
    };
    let told = RefCell::new(Bucket::new(TOLD.0, TOLD.1, Instant::now()));
    let client = Rc::new(Client {
        session,
        owner,
        name,
        outbox: Rc::clone(outbox),
        account: Rc::clone(frames.account()),
        told,
    });
    outbox.send(&ToClient::Welcome {
        protocol: PROTOCOL,
        release: RELEASE.to_owned(),
    });
    loop {
        let frame = match frames.next().await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        if let Err(wait) = frames.account().pay(frame.bytes.len()) {
            match called(&frame.bytes) {
                Some(id) => {
                    client.refuse(broker, id, rate_limited(wait));
                    sleep(REST).await;
                    continue;
                }
                None => sleep(wait).await,
            }
        }
        match frame::decode(&frame.bytes) {
            Ok(FromClient::Call { id, request }) => {
                if calls.has(id) {
                    return End::Refused(
                        Refusal::new(Code::InvalidArgs, "a call with this id is still in flight")
                            .object(id.to_string()),
                    );
                }
                if calls.count() >= caps::CALLS_PER_SESSION {
                    client.refuse(broker, id, too_many_calls());
                } else {
                    calls.start(broker, &client, id, request, frame.room);
                }
            }
            Ok(FromClient::Forget { id }) => calls.forget(id),
            Ok(FromClient::Hello(_)) => {
                return End::Refused(Refusal::new(Code::InvalidArgs, "hello is said once, first"));
            }
            Err(_) => return End::Refused(malformed()),
        }
        coop::consume_budget().await;
    }
}

impl Client {
    /// What the warden's refusal is to the client: held back, where it comes again and again.
    pub async fn denied(&self, refusal: Refusal) -> Refusal {
        let counted = self
            .account
            .denials
            .borrow_mut()
            .count(refusal, Instant::now());
        let (refusal, pause) = counted;
        if !pause.is_zero() {
            sleep(pause).await;
        }
        refusal
    }

    /// Refuses a call for a reason of the broker's own, and lets the audit know.
    pub fn refuse(&self, broker: &Broker, id: u32, refusal: Refusal) {
        if self.told.borrow_mut().take(1, Instant::now()).is_ok() {
            broker.warden.tell(&ToWarden::Refused {
                session: self.session,
                refusal: refusal.clone(),
            });
        }
        self.outbox.send(&ToClient::Reply {
            id,
            reply: Err(refusal),
        });
    }
}

/// The client's name, if `bytes` is a hello of our protocol.
fn hello(bytes: &[u8]) -> Result<String, Refusal> {
    // The version stands first, so that another version's hello is still told from noise.
    if let Ok(((0, protocol), _)) = postcard::take_from_bytes::<(u32, u16)>(bytes)
        && protocol != PROTOCOL
    {
        return Err(Refusal::new(
            Code::InvalidArgs,
            format!("this daemon speaks protocol {PROTOCOL}, the client speaks {protocol}"),
        )
        .next("install the same release of client and daemon"));
    }
    match frame::decode(bytes) {
        Ok(FromClient::Hello(Hello { client, .. })) if client.len() <= caps::CLIENT_NAME => {
            Ok(text::line(client.as_bytes(), caps::CLIENT_NAME))
        }
        Ok(FromClient::Hello(_)) => Err(Refusal::new(
            Code::TooLarge,
            format!("the client's name is at most {} bytes", caps::CLIENT_NAME),
        )),
        Ok(_) => Err(Refusal::new(Code::InvalidArgs, "hello comes first")),
        Err(_) => Err(malformed()),
    }
}

/// The id of a call, without decoding the rest.
fn called(bytes: &[u8]) -> Option<u32> {
    match postcard::take_from_bytes::<(u32, u32)>(bytes) {
        Ok(((1, id), _)) => Some(id),
        Ok(_) | Err(_) => None,
    }
}

fn malformed() -> Refusal {
    Refusal::new(
        Code::InvalidArgs,
        "the frame is no message of this protocol",
    )
}

fn too_many_calls() -> Refusal {
    Refusal::new(
        Code::Busy,
        format!(
            "this connection has {} calls in flight",
            caps::CALLS_PER_SESSION
        ),
    )
    .next("wait for an answer, or start runs with a short wait_ms and follow them with job")
}

fn rate_limited(wait: Duration) -> Refusal {
    Refusal::new(
        Code::RateLimited,
        format!(
            "more than {} requests a second from this user",
            caps::REQUESTS_PER_SECOND
        ),
    )
    .next(format!("try again in {} ms", wait.as_millis().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::wire::Request;

    fn bytes(message: &FromClient) -> Vec<u8> {
        frame::encode(message, caps::FRAME)
            .unwrap()
            .split_off(frame::HEADER)
    }

    #[test]
    fn only_a_hello_of_this_protocol_opens() {
        let say = |protocol, client: &str| {
            hello(&bytes(&FromClient::Hello(Hello {
                protocol,
                client: client.to_owned(),
            })))
        };
        assert_eq!(say(PROTOCOL, "shim 1\x1b"), Ok("shim 1\\x1b".to_owned()));
        assert_eq!(
            say(PROTOCOL, &"x".repeat(caps::CLIENT_NAME)),
            Ok("x".repeat(caps::CLIENT_NAME))
        );
        let long = say(PROTOCOL, &"x".repeat(caps::CLIENT_NAME + 1)).unwrap_err();
        assert_eq!(long.code, Code::TooLarge);
        for protocol in [0, PROTOCOL + 1, 999, u16::MAX] {
            assert!(
                say(protocol, "x")
                    .unwrap_err()
                    .message
                    .contains("speaks protocol"),
                "{protocol}"
            );
        }
        let jobs = bytes(&FromClient::Call {
            id: 1,
            request: Request::Jobs { limit: 1 },
        });
        assert_eq!(hello(&jobs).unwrap_err().message, "hello comes first");
        assert!(hello(b"\xff").is_err() && hello(b"").is_err());
    }

    #[test]
    fn the_id_of_a_call_is_read_without_the_rest() {
        for id in [0, 1, 127, 128, u32::MAX] {
            let jobs = bytes(&FromClient::Call {
                id,
                request: Request::Jobs { limit: 1 },
            });
            assert_eq!(called(&jobs), Some(id));
            assert_eq!(called(&bytes(&FromClient::Forget { id })), None);
        }
        assert_eq!(called(b"\x01"), None);
    }
}
