//! `remit-compiler`: turns the texts of a policy, or of `remit.toml`, into a model for the daemon. Its standard input and
//! output are its only way to the machine: it asks its parent about users, groups, hosts and programs.

use std::cell::RefCell;
use std::io::{self, Read, Write, stdin, stdout};
use std::process::ExitCode;

use remit_policy::exchange::{Answer, FromCompiler, Question, ToCompiler, receive, send};
use remit_policy::{HostAddress, Ids, Machine, Policy, Program, Source};
use remit_self_confine::{Limits, confine};

/// Time beyond the daemon's own patience. A policy at all its limits needs a quarter of the memory.
const LIMITS: Limits = Limits {
    cpu_s: 60,
    memory: 1 << 30,
};

fn main() -> ExitCode {
    remit_common::panics::end_process();
    let served = confine(LIMITS)
        .and_then(|()| serve(stdin().lock(), stdout().lock()).map_err(|error| error.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-compiler: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(from: impl Read, to: impl Write) -> io::Result<()> {
    let asking = Asking {
        ends: RefCell::new((from, to)),
        lost: RefCell::default(),
    };
    let request = receive(&mut asking.ends.borrow_mut().0)?;
    let answer = match request {
        ToCompiler::Policy {
            release,
            sources,
            before,
        } => {
            check_release(&release)?;
            compile(&sources, &asking, before.as_deref()).map_err(io::Error::other)?
        }
        ToCompiler::Settings {
            release,
            file,
            text,
        } => {
            check_release(&release)?;
            match remit_policy_compile::settings(&file, &text) {
                Ok(settings) => FromCompiler::Settings(settings.encode()),
                Err(found) => FromCompiler::Refused(vec![found]),
            }
        }
        ToCompiler::Answer(_) => return Err(io::Error::other("an answer came before a question")),
    };
    // An answer that was made without the machine's answers is none.
    if let Some(error) = asking.lost.take() {
        return Err(error);
    }
    let mut ends = asking.ends.borrow_mut();
    send(&mut ends.1, &answer)?;
    ends.1.flush()
}

fn check_release(release: &str) -> io::Result<()> {
    if release == remit_common::RELEASE {
        return Ok(());
    }
    let why = format!("the daemon is of release {release}; restart it: systemctl restart remitd");
    Err(io::Error::other(why))
}

fn compile(
    sources: &[Source],
    machine: &dyn Machine,
    before: Option<&[u8]>,
) -> Result<FromCompiler, String> {
    let before = before.map(Policy::decode).transpose()?;
    Ok(match remit_policy_compile::load(sources, machine) {
        Ok((policy, warnings)) => FromCompiler::Compiled {
            changes: before.map_or_else(Vec::new, |old| remit_policy_compile::diff(&old, &policy)),
            model: policy.encode(),
            warnings,
        },
        Err(found) => FromCompiler::Refused(found),
    })
}

struct Asking<R, W> {
    ends: RefCell<(R, W)>,
    lost: RefCell<Option<io::Error>>,
}

impl<R: Read, W: Write> Asking<R, W> {
    /// Returns `None` if the other end is lost or answers something else. What the compiler makes then is not sent.
    fn ask<T>(&self, question: Question, wanted: impl FnOnce(Answer) -> Option<T>) -> Option<T> {
        let mut ends = self.ends.borrow_mut();
        let (from, to) = &mut *ends;
        let asked = send(to, &FromCompiler::Asks(question)).and_then(|()| to.flush());
        let answer = asked.and_then(|()| match receive(from)? {
            ToCompiler::Answer(answer) => Ok(wanted(answer)),
            ToCompiler::Policy { .. } | ToCompiler::Settings { .. } => Ok(None),
        });
        let other = || io::Error::other("the answer is to another question");
        match answer.and_then(|answer| answer.ok_or_else(other)) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.lost.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    fn id(&self, question: Question) -> Option<u32> {
        self.ask(question, |answer| match answer {
            Answer::Id(id) => Some(id),
            _ => None,
        })
        .flatten()
    }

    fn list(&self, question: Question) -> Vec<u32> {
        let list = self.ask(question, |answer| match answer {
            Answer::List(list) => Some(list),
            _ => None,
        });
        list.unwrap_or_default()
    }
}

impl<R: Read, W: Write> Machine for Asking<R, W> {
    fn user(&self, name: &str) -> Option<Ids> {
        self.ask(Question::User(name.to_owned()), |answer| match answer {
            Answer::Ids(ids) => Some(ids),
            _ => None,
        })
        .flatten()
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.id(Question::Group(name.to_owned()))
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        self.list(Question::GroupsOf(user.to_owned()))
    }

    fn members(&self, gid: u32) -> Vec<u32> {
        self.list(Question::Members(gid))
    }

    fn last_uid(&self, user: &str) -> Option<u32> {
        self.id(Question::LastUid(user.to_owned()))
    }

    fn last_gid(&self, group: &str) -> Option<u32> {
        self.id(Question::LastGid(group.to_owned()))
    }

    fn addresses(&self, host: &str) -> Vec<HostAddress> {
        let found = self.ask(
            Question::Addresses(host.to_owned()),
            |answer| match answer {
                Answer::Addresses(addresses) => Some(addresses),
                _ => None,
            },
        );
        found.unwrap_or_default()
    }

    fn program(&self, path: &str) -> Program {
        let found = self.ask(Question::Program(path.to_owned()), |answer| match answer {
            Answer::Program(program) => Some(program),
            _ => None,
        });
        found.unwrap_or(Program::Missing)
    }

    fn protected(&self) -> Vec<String> {
        let found = self.ask(Question::Protected, |answer| match answer {
            Answer::Paths(paths) => Some(paths),
            _ => None,
        });
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use remit_policy::MachineTable;

    use super::*;

    const TEXT: &str = "[[grant]]\nto = ['ann', '%ops']\nallow = ['run']\n[[deny]]\nto = ['bot']\ndeny = ['run']\n";

    fn machine() -> MachineTable {
        let ids = |uid| Ids { uid, gid: uid };
        MachineTable {
            users: [("ann".to_owned(), ids(1000)), ("bot".to_owned(), ids(1001))].into(),
            groups: [("ops".to_owned(), 900)].into(),
            ..MachineTable::default()
        }
    }

    fn sources() -> Vec<Source> {
        let (name, text) = ("a.toml".to_owned(), TEXT.into());
        vec![Source { name, text }]
    }

    fn answered(answer: impl Fn(&Question) -> Option<ToCompiler>) -> io::Result<FromCompiler> {
        let (mut own, other) = UnixStream::pair()?;
        let reading = other.try_clone()?;
        let compiler = thread::spawn(move || serve(reading, other));
        let sources = sources();
        send(
            &mut own,
            &ToCompiler::Policy {
                release: remit_common::RELEASE.to_owned(),
                sources,
                before: None,
            },
        )?;
        let last = loop {
            match receive(&mut own) {
                Ok(FromCompiler::Asks(question)) => match answer(&question) {
                    Some(answer) => send(&mut own, &answer)?,
                    None => own.shutdown(std::net::Shutdown::Write)?,
                },
                last => break last,
            }
        };
        compiler.join().unwrap()?;
        last
    }

    #[test]
    fn policy_is_that_of_the_loader() {
        let (expect, _) = remit_policy_compile::load(&sources(), &machine()).unwrap();
        let found = answered(|question| Some(ToCompiler::Answer(question.ask(&machine()))));
        let FromCompiler::Compiled {
            model,
            warnings,
            changes,
        } = found.unwrap()
        else {
            panic!("it is refused");
        };
        assert_eq!(model, expect.encode());
        assert!(warnings.is_empty() && changes.is_empty());
    }

    #[test]
    fn settings_are_those_of_the_parser() {
        let answer = |release: &str, text: &str| {
            let mut request = Vec::new();
            let settings = ToCompiler::Settings {
                release: release.to_owned(),
                file: "/e/remit.toml".to_owned(),
                text: text.to_owned(),
            };
            send(&mut request, &settings).unwrap();
            let mut answer = Vec::new();
            serve(&request[..], &mut answer)?;
            receive::<FromCompiler>(&mut &answer[..])
        };
        let own = remit_common::RELEASE;
        let settings = remit_policy_compile::settings("", "[jobs]\nmax = 5").unwrap();
        assert_eq!(
            answer(own, "[jobs]\nmax = 5").unwrap(),
            FromCompiler::Settings(settings.encode())
        );
        let FromCompiler::Refused(found) = answer(own, "[jobs]\nmux = 5").unwrap() else {
            panic!("it is not refused");
        };
        let found = found[0].to_string();
        let expect = "/e/remit.toml:2:1: error: unknown field 'mux', expected one of ";
        assert!(found.starts_with(expect), "{found}");
        let other = answer("0.0.0", "").unwrap_err().to_string();
        assert!(other.contains("release 0.0.0"), "{other}");
    }

    #[test]
    fn nothing_is_sent_if_an_answer_is_missing_or_wrong() {
        let wrong = |_: &Question| Some(ToCompiler::Answer(Answer::Program(Program::Trusted)));
        let why = answered(wrong).unwrap_err().to_string();
        assert!(why.contains("another question"), "{why}");
        assert!(answered(|_| None).is_err());
    }
}
