//! Names in a request whose content is not bound, and sentences about them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const NAMED: usize = 6;

/// A name in a request whose content is not bound. If there is none, the content of each named file is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Loose {
    /// The working directory, because others than root can change it.
    Cwd,
    /// A name in this element of argv.
    Argument(usize, Unbound),
}

/// Reason why the content of a name is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unbound {
    Directory,
    /// Others than root can change it, or it cannot be read.
    Changeable,
    /// A device, a FIFO or a socket.
    Special,
    /// Generated when it is read, or another file for each process.
    ProcessSpecific,
    Unseen,
    Absent,
    /// More names than are looked up.
    More,
}

impl Unbound {
    const ALL: [Self; 7] = [
        Self::Directory,
        Self::Changeable,
        Self::Special,
        Self::ProcessSpecific,
        Self::Unseen,
        Self::Absent,
        Self::More,
    ];
}

/// Returns one sentence per reason, for any number of arguments.
#[must_use]
pub fn sentences(loose: &BTreeSet<Loose>) -> Vec<String> {
    let cwd = loose.get(&Loose::Cwd).map(sentence);
    let of = |why: Unbound| {
        let at = loose.iter().filter_map(|one| match one {
            Loose::Argument(at, other) if *other == why => Some(*at),
            Loose::Argument(..) | Loose::Cwd => None,
        });
        about(&at.collect::<Vec<_>>(), why)
    };
    Unbound::ALL.into_iter().filter_map(of).chain(cwd).collect()
}

#[must_use]
pub fn sentence(loose: &Loose) -> String {
    let cwd = "users other than root can change the working directory, or the way to it: which files relative names \
               mean there is not part of what is approved";
    match loose {
        Loose::Cwd => cwd.to_owned(),
        Loose::Argument(at, why) => about(&[*at], *why).unwrap_or_default(),
    }
}

fn about(at: &[usize], why: Unbound) -> Option<String> {
    let (one, many) = match why {
        Unbound::Directory => (
            "is a directory: what is in it is not part of what is approved",
            "are directories: what is in them is not part of what is approved",
        ),
        Unbound::Changeable => (
            "names a file whose content is not part of what is approved: users other than root can change it, or it \
             cannot be read",
            "name files whose content is not part of what is approved: users other than root can change them, or they \
             cannot be read",
        ),
        Unbound::Special => (
            "names a device, a FIFO or a socket: what is read from it is not part of what is approved",
            "name devices, FIFOs or sockets: what is read from them is not part of what is approved",
        ),
        Unbound::ProcessSpecific => (
            "names what is made when it is read, or is another file for each process, as in /proc: its content is \
             not part of what is approved",
            "name what is made when it is read, or is another file for each process, as in /proc: their content is \
             not part of what is approved",
        ),
        Unbound::Unseen => (
            "may name a file that could not be looked at: its content is not part of what is approved",
            "may name files that could not be looked at: their content is not part of what is approved",
        ),
        Unbound::Absent => (
            "may name a file that is not there now: what is there when it runs is not part of what is approved",
            "may name files that are not there now: what is there when it runs is not part of what is approved",
        ),
        Unbound::More => (
            "may name more files than are looked at: their content is not part of what is approved",
            "may name more files than are looked at: their content is not part of what is approved",
        ),
    };
    arguments_sentence(at, one, many)
}

/// Returns a sentence about arguments by their numbers; 0 is the program. `None` if there are none.
#[must_use]
pub fn arguments_sentence(at: &[usize], one: &str, many: &str) -> Option<String> {
    let numbers = at.iter().take(NAMED).map(ToString::to_string);
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    Some(match (at, at.len().saturating_sub(NAMED)) {
        ([], _) => return None,
        ([0], _) => format!("the program's name {one}"),
        ([_], _) => format!("argument {numbers} {one}"),
        (_, 0) => format!("arguments {numbers} {many}"),
        (_, more) => format!("arguments {numbers} and {more} more {many}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_arguments_share_one_sentence_per_reason() {
        let mut all: BTreeSet<Loose> = (1..5000)
            .map(|at| Loose::Argument(at, Unbound::Absent))
            .collect();
        all.insert(Loose::Cwd);
        all.insert(Loose::Argument(7, Unbound::Directory));
        let said = sentences(&all);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("argument 7 is a directory"), "{said:?}");
        assert!(
            said[1].starts_with("arguments 1, 2, 3, 4, 5, 6 and 4993 more may name"),
            "{said:?}"
        );
        assert!(said[2].contains("the working directory"), "{said:?}");
        assert!(sentences(&BTreeSet::new()).is_empty());
    }
}
