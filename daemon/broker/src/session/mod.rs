//! One connection of a client: hello, calls, end. File descriptors from a client are never received: they end the
//! session. The serving thread neither reads past them nor closes the socket that contains them ([`ForeignSocket`]).
//! If a client closes its writing side, the session ends, its calls are dropped and its jobs continue.

pub(crate) mod frames;
mod own_refusals;
pub(crate) mod usage;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_common::{RELEASE, caps, frame, text};
use remit_link::{ForeignSocket, Owner, ToWarden};
use remit_wire::{FromClient, Hello, PROTOCOL, Request, ToClient, other_protocol};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet, coop, yield_now};
use tokio::time::{sleep, timeout};

use crate::call::{Call, CallRefusal};
use crate::runtime::async_fd::{Reader, Socket};
use crate::session::frames::Frames;
use crate::session::own_refusals::OwnRefusals;
use crate::session::usage::{Account, Buffered};
use crate::state::Broker;

pub use crate::session::frames::Outbox;

const GOODBYE: Duration = Duration::from_secs(1);
/// Pause after each rate-limited call, so that refusals stay cheap.
const REST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct Client {
    pub session: u64,
    pub owner: Owner,
    pub name: String,
    pub outbox: Rc<Outbox>,
    pub account: Rc<Account>,
    own_refusals: Rc<OwnRefusals>,
}

pub(crate) enum SessionEnd {
    Closed,
    /// Ended by the broker; the client gets the reason.
    Refused(Refusal),
}

pub async fn serve(
    broker: &Rc<Broker>,
    session: u64,
    owner: Owner,
    socket: ForeignSocket,
    gone: oneshot::Receiver<()>,
) {
    // No call here blocks in read(2) or write(2): each uses MSG_DONTWAIT.
    let socket = match Socket::new(socket) {
        Ok(socket) => Rc::new(socket),
        Err(error) => {
            return tracing::warn!(session, "session {session}: cannot watch a client: {error}");
        }
    };
    let uid = owner.uid;
    let account = broker.accounts.of(uid);
    let outbox = Rc::new(Outbox::new(Rc::clone(&socket), Rc::clone(&account)));
    let frames = Frames::new(Reader(socket), account);
    let mut calls = Inflight::default();
    let own_refusals = Rc::new(OwnRefusals::new(session));
    let client = |name, account| Client {
        session,
        owner,
        name,
        outbox: Rc::clone(&outbox),
        account,
        own_refusals: Rc::clone(&own_refusals),
    };
    let end = tokio::select! {
        end = requests(broker, client, &outbox, frames, &mut calls) => end,
        () = outbox.run() => SessionEnd::Closed,
        () = own_refusals.report_counts(&broker.warden) => SessionEnd::Closed,
        () = outbox.overflowed() => {
            tracing::info!(session, uid, "uid {uid}: dropped a client that does not read");
            SessionEnd::Closed
        }
        // A message and a dropped sender both mean that the client's process has ended.
        _ = gone => SessionEnd::Closed,
    };
    drop(calls);
    own_refusals.flush(&broker.warden);
    if let SessionEnd::Refused(refusal) = end {
        tracing::debug!(
            session,
            uid,
            code = refusal.code.as_str(),
            "refused a client"
        );
        outbox.send(&ToClient::Goodbye(refusal.clone()));
        broker.warden.tell(&ToWarden::Refused { session, refusal });
        // A timeout does no harm: the client does not read.
        let _ = timeout(GOODBYE, outbox.flush()).await;
    }
}

async fn requests(
    broker: &Rc<Broker>,
    client: impl FnOnce(String, Rc<Account>) -> Client,
    outbox: &Outbox,
    mut frames: Frames,
    calls: &mut Inflight,
) -> SessionEnd {
    let deadline = Duration::from_millis(caps::FRAME_DEADLINE_MS);
    let name = match timeout(deadline, frames.next()).await {
        Ok(Ok(first)) => match hello(&first.bytes) {
            Ok(name) => name,
            Err(refusal) => return SessionEnd::Refused(refusal),
        },
        Ok(Err(end)) => return end,
        Err(_) => {
            return SessionEnd::Refused(Refusal::new(Code::InvalidArgs, "no hello came in time"));
        }
    };
    let client = Rc::new(client(name, Rc::clone(frames.account())));
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
                    return SessionEnd::Refused(
                        Refusal::new(Code::InvalidArgs, "a call with this id is still in flight")
                            .object(id.to_string()),
                    );
                }
                if calls.count() >= caps::CALLS_PER_SESSION {
                    client.refuse(broker, id, too_many_calls());
                } else {
                    calls.start(broker, &client, id, request, frame.reservation);
                }
            }
            Ok(FromClient::Forget { id }) => calls.forget(id),
            Ok(FromClient::Hello(_)) => {
                return SessionEnd::Refused(Refusal::new(
                    Code::InvalidArgs,
                    "hello must be sent once, first",
                ));
            }
            Err(_) => return SessionEnd::Refused(malformed()),
        }
        coop::consume_budget().await;
    }
}

impl Client {
    /// Returns the refusal of a call when its answer is due: a user with many refusals is answered late.
    async fn denied(&self, broker: &Broker, refused: CallRefusal) -> Refusal {
        let denials = &self.account.denials;
        let (refusal, pause) = match refused {
            CallRefusal::ByWarden(refusal) => {
                let refusal = refusal.with_next();
                denials.borrow_mut().count(refusal, Instant::now())
            }
            CallRefusal::Here(refusal) => {
                let refusal = refusal.with_next();
                // First, because the client can leave during the pause.
                self.own_refusals.report(&broker.warden, &refusal);
                let pause = denials.borrow_mut().count_any(refusal.code, Instant::now());
                (refusal, pause)
            }
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
        refusal
    }

    /// Refuses a call at once: an overload is no reason to keep it longer.
    pub fn refuse(&self, broker: &Broker, id: u32, refusal: Refusal) {
        self.own_refusals.report(&broker.warden, &refusal);
        self.outbox.send(&ToClient::Reply {
            id,
            reply: Err(refusal),
        });
    }
}

fn hello(bytes: &[u8]) -> Result<String, Refusal> {
    // The version is the first field, so a hello of another version is recognized.
    if let Ok(((0, protocol), _)) = postcard::take_from_bytes::<(u32, u16)>(bytes)
        && protocol != PROTOCOL
    {
        return Err(other_protocol(protocol));
    }
    match frame::decode(bytes) {
        Ok(FromClient::Hello(Hello { client, .. })) if client.len() <= caps::CLIENT_NAME => {
            Ok(text::line(client.as_bytes(), caps::CLIENT_NAME))
        }
        Ok(FromClient::Hello(_)) => Err(Refusal::new(
            Code::TooLarge,
            format!("the client's name is at most {} bytes", caps::CLIENT_NAME),
        )),
        Ok(_) => Err(Refusal::new(Code::InvalidArgs, "hello must come first")),
        Err(_) => Err(malformed()),
    }
}

fn called(bytes: &[u8]) -> Option<u32> {
    match postcard::take_from_bytes::<(u32, u32)>(bytes) {
        Ok(((1, id), _)) => Some(id),
        Ok(_) | Err(_) => None,
    }
}

fn malformed() -> Refusal {
    Refusal::new(
        Code::InvalidArgs,
        "the frame is not a message of this protocol",
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

#[derive(Default)]
pub struct Inflight {
    ids: Rc<RefCell<HashMap<u32, AbortHandle>>>,
    tasks: JoinSet<()>,
}

impl Inflight {
    pub fn has(&self, id: u32) -> bool {
        self.ids.borrow().contains_key(&id)
    }

    pub fn count(&self) -> usize {
        self.ids.borrow().len()
    }

    /// Starts a call, which sends its own answer. `reservation` is the buffer reservation of its frame.
    pub fn start(
        &mut self,
        broker: &Rc<Broker>,
        client: &Rc<Client>,
        id: u32,
        request: Request,
        reservation: Option<Buffered>,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let call = Call {
            broker: Rc::clone(broker),
            client: Rc::clone(client),
            id,
            reservation: Cell::new(reservation),
            turn: Cell::new(None),
        };
        let ids = Rc::clone(&self.ids);
        let handle = self.tasks.spawn_local(async move {
            let answer = call.answer(request).await;
            let reply = match answer {
                Ok(reply) => Ok(reply),
                Err(refused) => {
                    // A late answer holds up no other call of its user.
                    drop((call.reservation.take(), call.turn.take()));
                    Err(call.client.denied(&call.broker, refused).await)
                }
            };
            ids.borrow_mut().remove(&id);
            call.client.outbox.send(&ToClient::Reply { id, reply });
            // Keep the turn of this uid across the yield: other clients are served before its next answer.
            yield_now().await;
        });
        self.ids.borrow_mut().insert(id, handle);
    }

    pub fn forget(&mut self, id: u32) {
        if let Some(call) = self.ids.borrow_mut().remove(&id) {
            call.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(say(protocol, "x"), Err(other_protocol(protocol)));
        }
        let jobs = bytes(&FromClient::Call {
            id: 1,
            request: Request::Jobs { limit: 1 },
        });
        assert_eq!(hello(&jobs).unwrap_err().message, "hello must come first");
        assert!(hello(b"\xff").is_err() && hello(b"").is_err());
    }

    #[test]
    fn call_id_is_decoded_alone() {
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
