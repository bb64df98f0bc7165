//! Opens and closes connections of administrators.

use std::os::fd::OwnedFd;

use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;

use super::{Admin, Admins, connections};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::peer::Subject;
use crate::state::Warden;

impl Admins {
    pub const fn group(&self) -> u32 {
        self.group
    }

    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.numbered().map(|(_, subject)| subject)
    }

    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Subject)> {
        let live = self.live.iter();
        live.map(|(number, admin)| (*number, &admin.subject))
    }

    pub fn close(&mut self, number: u64, reactor: &Reactor) {
        if let Some(old) = self.live.remove(&number) {
            self.forget(number);
            reactor.remove(&old.stream);
        }
    }
}

impl Warden {
    pub fn let_admin_in(&mut self, stream: ForeignSocket, subject: Subject, pidfd: OwnedFd) {
        if !self.admins.include(&subject) {
            let text = "admin.sock is for root and its group";
            let refusal = Refusal::new(Code::DeniedRule, text);
            self.record_refusal(Some(&subject), None, &refusal, None);
            return;
        }
        if self
            .admins
            .connections_to_end(subject.uid())
            .map_or(true, |ended| !ended.is_empty())
        {
            // Removes connections first whose end is not read yet.
            let own = self.admins.of_user(subject.uid());
            own.into_iter()
                .for_each(|number| self.on_admin_event(number));
        }
        match self.admins.connections_to_end(subject.uid()) {
            Ok(ended) => ended.into_iter().for_each(|number| self.end_admin(number)),
            Err(refusal) => {
                self.record_refusal(Some(&subject), None, &refusal, None);
                connections::refuse(&stream, refusal);
                return;
            }
        }
        self.admins.next += 1;
        let number = self.admins.next;
        if self
            .reactor
            .add(&stream, Token::Admin(number), Interest::Read)
            .is_ok()
        {
            let admin = Admin::new(stream, subject, pidfd);
            self.admins.live.insert(number, admin);
            self.on_admin_event(number);
        }
    }
}
