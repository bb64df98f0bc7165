//! The broker's side of the link: a queue out, tickets that wait for answers.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::socket::Packed;
use remit_link::{Answer, Link, LinkError, ToBroker, ToWarden};
use tokio::sync::{Notify, oneshot};

use crate::call::Refused;
use crate::job::Job;
use crate::notes::About;
use crate::watch::Socket;

/// What the warden answered to a request.
#[derive(Debug)]
pub enum Granted {
    /// A job has started.
    Started(Rc<Job>),
    /// Nothing had to be started.
    Answer(Answer),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Waiting {
    /// Who waits.
    pub answer: oneshot::Sender<Result<Granted, Refusal>>,
    /// What is known of the job, if one starts.
    pub about: About,
}

/// Messages on their way to the warden, and requests under way.
#[derive(Debug, Default)]
pub struct Warden {
    link: OnceCell<Rc<Watched>>,
    queue: RefCell<VecDeque<Packed>>,
    more: Notify,
    tickets: RefCell<HashMap<u64, Waiting>>,
    last: Cell<u64>,
}

/// Forgets the request when whoever asked no longer waits.
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
    /// Sends by this link from now on. Once.
    pub fn connect(&self, link: Rc<Watched>) {
        // A second one would be a defect: then the first stays.
        let _ = self.link.set(link);
    }

    /// Tells a fact. Facts are few: each job and session has a handful.
    pub fn tell(&self, message: &ToWarden) {
        match Packed::new(message) {
            Ok(packed) => self.push(packed),
            Err(error) => tracing::error!(%error, "cannot tell the warden"),
        }
    }

    /// Makes a request and waits for its answer. `message` gets the ticket, and gives the contents that go with it.
    ///
    /// # Errors
    /// What the warden refuses, or `message`; busy when the link is full.
    pub async fn ask(
        &self,
        about: About,
        message: impl FnOnce(u64) -> Result<(ToWarden, Vec<Vec<u8>>), Refusal>,
    ) -> Result<Granted, Refused> {
        if self.queue.borrow().len() >= caps::LINK_QUEUE {
            let refusal = Refusal::new(Code::Busy, "the daemon has too many requests waiting");
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
            Ok(answer) => answer.map_err(Refused::ByWarden),
            // The sender goes only with the whole broker.
            Err(_) => Err(Refusal::new(Code::DaemonUnavailable, "the daemon is stopping").into()),
        }
    }

    /// The request that a message answers, if somebody still waits.
    pub fn take(&self, ticket: u64) -> Option<Waiting> {
        self.tickets.borrow_mut().remove(&ticket)
    }

    /// Sends at once what the link takes; the rest is [`Self::transmit`]'s.
    fn push(&self, packed: Packed) {
        let mut queue = self.queue.borrow_mut();
        let link = self.link.get().filter(|_| queue.is_empty());
        if link.is_some_and(|link| link.send(&packed).is_ok()) {
            return;
        }
        queue.push_back(packed);
        self.more.notify_one();
    }

    /// Sends what is queued, for ever.
    ///
    /// # Errors
    /// When the link is lost.
    pub async fn transmit(&self, link: &Watched) -> Result<(), LinkError> {
        loop {
            // What waits to be sent stays in the queue: nothing overtakes it.
            let sent = self.queue.borrow().front().map(|packed| link.send(packed));
            match sent {
                None => self.more.notified().await,
                Some(Ok(())) => drop(self.queue.borrow_mut().pop_front()),
                Some(Err(LinkError::Full)) => {
                    link.socket.writable().await.map_err(LinkError::Io)?;
                }
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

/// The link, and the runtime's eye on it.
#[derive(Debug)]
pub struct Watched {
    link: Link,
    /// A copy of the link's descriptor, of the same open socket.
    socket: Socket,
}

impl Watched {
    /// Watches the link.
    ///
    /// # Errors
    /// What dup(2) or epoll_ctl(2) say.
    pub fn new(link: Link) -> std::io::Result<Self> {
        let socket = Socket::new(link.as_fd().try_clone_to_owned()?)?;
        Ok(Self { link, socket })
    }

    /// The next message from the warden.
    ///
    /// # Errors
    /// When the link is lost or what came is no message.
    pub async fn receive(&self) -> Result<(ToBroker, Vec<OwnedFd>), LinkError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(LinkError::Io)?;
            match self.link.recv() {
                Err(LinkError::Empty) => ready.clear_ready(),
                other => return other,
            }
        }
    }

    /// The warden receives no descriptor.
    fn send(&self, packed: &Packed) -> Result<(), LinkError> {
        self.link.send(packed, &[])
    }
}
