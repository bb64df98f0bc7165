//! The broker's side of the link: a send queue, and tickets of requests that wait for an answer.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::socket::Packed;
use remit_link::{Answer, Delivery, Link, LinkError, ToWarden};
use tokio::sync::{Notify, oneshot};

use crate::call::CallRefusal;
use crate::hints::notes::About;
use crate::job::Job;
use crate::runtime::async_fd::Socket;

#[derive(Debug)]
pub enum Granted {
    Started(Rc<Job>),
    Answer(Answer),
}

#[derive(Debug)]
pub struct Waiting {
    pub answer: oneshot::Sender<Result<Granted, Refusal>>,
    pub about: About,
}

#[derive(Debug, Default)]
pub struct Warden {
    link: OnceCell<Rc<Watched>>,
    queue: RefCell<VecDeque<Packed>>,
    more: Notify,
    tickets: RefCell<HashMap<u64, Waiting>>,
    last: Cell<u64>,
}

/// Removes the request when the caller stops waiting.
struct Ticket<'a> {
    warden: &'a Warden,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.warden.tickets.borrow_mut().remove(&self.number);
    }
}

impl Warden {
    pub fn connect(&self, link: Rc<Watched>) {
        // A second link would be a defect; the first one stays.
        let _ = self.link.set(link);
    }

    /// Sends a notification. They are few: a handful for each job and session.
    pub fn tell(&self, message: &ToWarden) {
        match Packed::new(message) {
            Ok(packed) => self.push(packed),
            Err(error) => tracing::error!("cannot send to the warden: {error}"),
        }
    }

    /// Makes a request and waits for its answer. `message` gets the ticket and returns the contents too.
    /// Errors: The refusal of the warden or of `message`; `Busy` if the link is full.
    pub async fn ask(
        &self,
        about: About,
        message: impl FnOnce(u64) -> Result<(ToWarden, Vec<Vec<u8>>), Refusal>,
    ) -> Result<Granted, CallRefusal> {
        if self.queue.borrow().len() >= caps::LINK_QUEUE {
            let refusal = Refusal::new(Code::Busy, "too many requests are waiting for the daemon");
            return Err(refusal.next("try again in a second").into());
        }
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        let (message, contents) = message(number)?;
        let packed = Packed::with(&message, &contents).map_err(not_packed)?;
        drop((message, contents));
        let (answer, answered) = oneshot::channel();
        self.tickets
            .borrow_mut()
            .insert(number, Waiting { answer, about });
        let _ticket = Ticket {
            warden: self,
            number,
        };
        self.push(packed);
        match answered.await {
            Ok(answer) => answer.map_err(CallRefusal::ByWarden),
            Err(_) => Err(Refusal::new(Code::DaemonUnavailable, "the daemon is stopping").into()),
        }
    }

    pub fn take(&self, ticket: u64) -> Option<Waiting> {
        self.tickets.borrow_mut().remove(&ticket)
    }

    fn push(&self, packed: Packed) {
        let mut queue = self.queue.borrow_mut();
        let link = self.link.get().filter(|_| queue.is_empty());
        if link.is_some_and(|link| link.send(&packed).is_ok()) {
            return;
        }
        queue.push_back(packed);
        self.more.notify_one();
    }

    pub async fn transmit(&self, link: &Watched) -> Result<(), LinkError> {
        loop {
            // The message stays in the queue until it is sent, so that no other overtakes it.
            let sent = self.queue.borrow().front().map(|packed| link.send(packed));
            match sent {
                None => self.more.notified().await,
                Some(Ok(())) => drop(self.queue.borrow_mut().pop_front()),
                Some(Err(LinkError::Full)) => {
                    link.socket.writable().await.map_err(LinkError::Io)?;
                }
                // The reader of the link finds the same end, behind what the warden sent last.
                Some(Err(LinkError::Closed)) => return std::future::pending().await,
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

fn not_packed(error: LinkError) -> Refusal {
    match error {
        LinkError::Malformed => {
            let cap = caps::LINK_PARTS;
            Refusal::new(
                Code::TooLarge,
                format!("the request is too large: at most {cap} bytes without script and stdin"),
            )
        }
        LinkError::Full | LinkError::Empty | LinkError::Closed | LinkError::Io(_) => Refusal::new(
            Code::Busy,
            format!("the daemon cannot pass the request on: {error}"),
        ),
    }
}

#[derive(Debug)]
pub struct Watched {
    link: Link,
    /// A dup of the link's fd: the same open socket.
    socket: Socket,
}

impl Watched {
    pub fn new(link: Link) -> std::io::Result<Self> {
        let socket = Socket::new(link.as_fd().try_clone_to_owned()?)?;
        Ok(Self { link, socket })
    }

    pub async fn receive(&self) -> Result<(Delivery, Vec<OwnedFd>), LinkError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(LinkError::Io)?;
            match self.link.recv() {
                Err(LinkError::Empty) => ready.clear_ready(),
                other => return other,
            }
        }
    }

    /// Sends a message without file descriptors: the warden accepts none.
    fn send(&self, packed: &Packed) -> Result<(), LinkError> {
        self.link.send(packed, &[])
    }
}
