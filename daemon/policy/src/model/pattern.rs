//! Matches argument values with regular expressions: over bytes, without Unicode classes, as a whole, in linear time.
//! The steps of an automaton come compiled. They may come from a process that is not trusted, so each is checked.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The default pattern of a string, without characters that mean something to some automaton, such as spaces and
/// wildcards. Nor may it begin with one: `@` reads a file, `+` is an editor's command, `.` and `/` begin a path.
pub const PLAIN: &str = "[A-Za-z0-9_][A-Za-z0-9._:@/+-]*";

/// Maximum number of bytes of a pattern's text.
pub const MOST_TEXT: usize = 1024;
/// Maximum number of bytes of a compiled pattern. It bounds the time for each byte of a value.
pub const MOST_COMPILED: usize = 64 << 10;
/// Maximum work of one value, in steps and their parts: about 5 ms. No value that would need more matches.
pub const MOST_WORK: usize = 512 << 10;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Automaton", into = "Automaton")]
pub struct Pattern(Arc<Automaton>);

/// An automaton: it begins at one step and may be at several at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Automaton {
    pub text: String,
    pub start: u32,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Byte(ByteRange),
    /// Reads a byte of one of these.
    OneOf(Vec<ByteRange>),
    /// Goes on only where this holds.
    At(Assertion, u32),
    /// Goes on at each of these.
    Split(Vec<u32>),
    Match,
}

/// The bytes from `first` to `last`, and the step after one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    pub first: u8,
    pub last: u8,
    pub next: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assertion {
    Start,
    End,
    LineStart,
    LineEnd,
    CrlfStart,
    CrlfEnd,
    WordBoundary,
    NoWordBoundary,
    WordStart,
    WordEnd,
    WordStartHalf,
    WordEndHalf,
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Returns true if it matches the whole value, within [`MOST_WORK`].
    pub fn matches(&self, value: &[u8]) -> bool {
        let Automaton { start, steps, .. } = &*self.0;
        let (mut now, mut then) = (Positions::new(steps), Positions::new(steps));
        now.enter(*start, |assertion| assertion.holds(value, 0));
        let mut work = now.work;
        for (at, byte) in value.iter().enumerate() {
            then.clear();
            for next in now.reading.iter().flat_map(|step| step.after(*byte)) {
                then.enter(next, |assertion| assertion.holds(value, at + 1));
            }
            work += then.work;
            if work > MOST_WORK || then.reading.is_empty() && at + 1 < value.len() {
                return false;
            }
            std::mem::swap(&mut now, &mut then);
        }
        now.reading.iter().any(|step| matches!(step, Step::Match))
    }

    /// Returns the most work that a value of this many bytes can be: as if each byte were every byte.
    /// Errors: it is over [`MOST_WORK`]: the number of bytes that a value can have.
    pub fn work(&self, length: usize) -> Result<usize, usize> {
        let Automaton { start, steps, .. } = &*self.0;
        let (mut now, mut then) = (Positions::new(steps), Positions::new(steps));
        now.enter(*start, |_| true);
        let mut work = now.work;
        for at in 0..length {
            then.clear();
            for range in now.reading.iter().flat_map(|step| step.ranges()) {
                then.enter(range.next, |_| true);
            }
            let is_like_before = then.is_entered == now.is_entered;
            let bytes = if is_like_before { length - at } else { 1 };
            let fit = (MOST_WORK - work).checked_div(then.work).unwrap_or(bytes);
            if fit < bytes {
                return Err(at + fit);
            }
            work += then.work * bytes;
            if is_like_before {
                break;
            }
            std::mem::swap(&mut now, &mut then);
        }
        Ok(work)
    }
}

/// The steps at which an automaton is before a byte.
struct Positions<'a> {
    steps: &'a [Step],
    is_entered: Vec<bool>,
    entered: Vec<u32>,
    /// Those that read a byte or end.
    reading: Vec<&'a Step>,
    to_enter: Vec<u32>,
    /// Those entered, and what they lead to.
    work: usize,
}

impl<'a> Positions<'a> {
    fn new(steps: &'a [Step]) -> Self {
        Self {
            steps,
            is_entered: vec![false; steps.len()],
            entered: Vec::new(),
            reading: Vec::new(),
            to_enter: Vec::new(),
            work: 0,
        }
    }

    fn clear(&mut self) {
        for step in self.entered.drain(..) {
            if let Some(is_entered) = self.is_entered.get_mut(step as usize) {
                *is_entered = false;
            }
        }
        self.reading.clear();
        self.work = 0;
    }

    /// Enters a step, and those after it that can be reached without a byte.
    fn enter(&mut self, first: u32, holds: impl Fn(Assertion) -> bool) {
        self.to_enter.push(first);
        while let Some(number) = self.to_enter.pop() {
            let Some(step) = self.steps.get(number as usize) else {
                continue;
            };
            let is_entered = self.is_entered.get_mut(number as usize);
            if is_entered.is_none_or(|is_entered| std::mem::replace(is_entered, true)) {
                continue;
            }
            self.entered.push(number);
            self.work += 1 + step.parts();
            match step {
                Step::Byte(_) | Step::OneOf(_) | Step::Match => self.reading.push(step),
                Step::At(assertion, next) if holds(*assertion) => self.to_enter.push(*next),
                Step::At(..) => {}
                Step::Split(next) => self.to_enter.extend(next),
            }
        }
    }
}

impl Step {
    fn ranges(&self) -> &[ByteRange] {
        match self {
            Self::Byte(range) => std::slice::from_ref(range),
            Self::OneOf(ranges) => ranges,
            Self::At(..) | Self::Split(_) | Self::Match => &[],
        }
    }

    fn parts(&self) -> usize {
        match self {
            Self::Split(next) => next.len(),
            Self::At(..) => 1,
            Self::Byte(_) | Self::OneOf(_) | Self::Match => self.ranges().len(),
        }
    }

    fn after(&self, byte: u8) -> impl Iterator<Item = u32> {
        let ranges = self.ranges().iter();
        let reading = ranges.filter(move |range| (range.first..=range.last).contains(&byte));
        reading.map(|range| range.next)
    }

    fn next(&self) -> Vec<u32> {
        match self {
            Self::Byte(_) | Self::OneOf(_) | Self::Match => {
                self.ranges().iter().map(|range| range.next).collect()
            }
            Self::At(_, next) => vec![*next],
            Self::Split(next) => next.clone(),
        }
    }
}

impl Assertion {
    fn holds(self, value: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| value.get(before));
        let after = value.get(at);
        let is_word = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        let (word_before, word_after) = (is_word(before), is_word(after));
        match self {
            Self::Start => before.is_none(),
            Self::End => after.is_none(),
            Self::LineStart => matches!(before, None | Some(b'\n')),
            Self::LineEnd => matches!(after, None | Some(b'\n')),
            Self::CrlfStart => match before {
                None | Some(b'\n') => true,
                Some(b'\r') => after != Some(&b'\n'),
                Some(_) => false,
            },
            Self::CrlfEnd => match after {
                None | Some(b'\r') => true,
                Some(b'\n') => before != Some(&b'\r'),
                Some(_) => false,
            },
            Self::WordBoundary => word_before != word_after,
            Self::NoWordBoundary => word_before == word_after,
            Self::WordStart => !word_before && word_after,
            Self::WordEnd => word_before && !word_after,
            Self::WordStartHalf => !word_before,
            Self::WordEndHalf => !word_after,
        }
    }
}

impl Automaton {
    fn size(&self) -> usize {
        let parts = |step: &Step| match step {
            Step::OneOf(ranges) => size_of_val(ranges.as_slice()),
            Step::Split(next) => size_of_val(next.as_slice()),
            Step::Byte(_) | Step::At(..) | Step::Match => 0,
        };
        size_of_val(self.steps.as_slice()) + self.steps.iter().map(parts).sum::<usize>()
    }
}

/// Refuses a step that does not exist, and an automaton over the bounds. The error is a part of a sentence.
impl TryFrom<Automaton> for Pattern {
    type Error = String;

    fn try_from(automaton: Automaton) -> Result<Self, String> {
        let exists = |step: &u32| (*step as usize) < automaton.steps.len();
        let mut all = automaton.steps.iter().flat_map(Step::next);
        if automaton.text.len() > MOST_TEXT {
            let bytes = automaton.text.len();
            return Err(format!("it has {bytes} bytes, over {MOST_TEXT}"));
        }
        // Twice, because a step may be larger here than in the compiler's own automaton.
        if automaton.size() > 2 * MOST_COMPILED {
            return Err(format!(
                "it needs more than {MOST_COMPILED} bytes once compiled"
            ));
        }
        if !exists(&automaton.start) || !all.all(|step| exists(&step)) {
            return Err("it has a step that leads nowhere".to_owned());
        }
        Ok(Self(Arc::new(automaton)))
    }
}

impl From<Pattern> for Automaton {
    fn from(pattern: Pattern) -> Self {
        Arc::unwrap_or_clone(pattern.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.0.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn automaton(start: u32, steps: &[Step]) -> Result<Pattern, String> {
        Pattern::try_from(Automaton {
            text: "x".to_owned(),
            start,
            steps: steps.to_vec(),
        })
    }

    fn byte(next: u32) -> Step {
        let (first, last) = (b'a', b'b');
        Step::Byte(ByteRange { first, last, next })
    }

    #[test]
    fn a_step_that_leads_nowhere_is_refused() {
        assert!(automaton(0, &[byte(1), Step::Match]).is_ok());
        for (start, steps) in [
            (0, vec![]),
            (2, vec![byte(1), Step::Match]),
            (0, vec![byte(2), Step::Match]),
            (
                0,
                vec![Step::OneOf(vec![ByteRange {
                    first: 0,
                    last: 1,
                    next: 1,
                }])],
            ),
            (0, vec![Step::At(Assertion::End, 1)]),
            (0, vec![Step::Split(vec![0, 1])]),
            (u32::MAX, vec![Step::Match]),
        ] {
            let found = automaton(start, &steps);
            assert_eq!(
                found,
                Err("it has a step that leads nowhere".into()),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn a_large_automaton_is_refused() {
        let steps = vec![Step::Split(vec![0]); 10_000];
        assert!(automaton(0, &steps).unwrap_err().contains("once compiled"));
        let text = "a".repeat(MOST_TEXT + 1);
        let long = Automaton {
            text,
            start: 0,
            steps: vec![Step::Match],
        };
        assert!(Pattern::try_from(long).unwrap_err().contains("over 1024"));
    }

    /// A byte at one step has a work of 2, the end one of 1.
    #[test]
    fn work_is_bounded_at_the_load_and_at_the_match() {
        let loops = automaton(0, &[byte(0)]).unwrap();
        assert_eq!(
            [0, 1, 1000].map(|length| loops.work(length)),
            [Ok(2), Ok(4), Ok(2002)]
        );
        let most = MOST_WORK / 2 - 1;
        assert_eq!(loops.work(most), Ok(MOST_WORK));
        assert_eq!(loops.work(most + 1), Err(most));
        // A value ends it, although the step could be entered for ever.
        let ends = automaton(0, &[byte(1), byte(2), Step::Match]).unwrap();
        assert_eq!(ends.work(usize::MAX), Ok(5));

        let twice = Step::Split(vec![1, 2]);
        let any = automaton(0, &[twice, byte(0), Step::Match]).unwrap();
        let Err(most) = any.work(usize::MAX) else {
            panic!("it is endless");
        };
        assert!(any.work(most).is_ok() && any.matches(&vec![b'a'; most]));
        assert!(any.work(most + 1).is_err() && !any.matches(&vec![b'a'; most + 1]));
    }

    #[test]
    fn a_circle_without_a_byte_ends() {
        let circle = [
            Step::Split(vec![1, 0, 2]),
            Step::Split(vec![0]),
            Step::Match,
        ];
        let pattern = automaton(0, &circle).unwrap();
        assert!(pattern.matches(b"") && !pattern.matches(b"a"));
    }
}
