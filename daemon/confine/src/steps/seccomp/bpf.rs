//! Assembles a classic BPF program from sorted rules (seccomp_filter.rst and `linux/bpf_common.h` of the kernel).

use super::rule::{Check, Rule, Want};

pub(crate) type Instruction = libc::sock_filter;

#[derive(Clone, Debug)]
pub(crate) struct Program(Vec<Instruction>);

impl Program {
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    pub(super) fn without(&self, answer: impl Fn(u32) -> bool) -> Program {
        let each = self.0.iter().map(|instruction| match instruction {
            i if i.code == RET && answer(i.k) => op(RET, libc::SECCOMP_RET_ALLOW),
            other => *other,
        });
        Program(each.collect())
    }
}

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const JA: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`; an argument's low word comes first (little endian).
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
pub(super) const ARGS: u32 = 16;

fn load(arg: u8) -> Instruction {
    op(LOAD, ARGS + 8 * u32::from(arg))
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// `rules` must be sorted by number, without doubles; `unknown` is for all others. Another architecture kills the process.
/// `likely` numbers get the shorter paths: the kernel runs them at installation, or they are most frequent later.
pub(super) fn assemble(
    arch: u32,
    rules: &[(u32, Rule)],
    unknown: Rule,
    likely: impl Fn(u32) -> bool,
) -> Program {
    let mut code = Backward::default();
    let number = code.search(&pieces(&runs(rules, unknown), likely));
    let number = code.then(op(LOAD, NUMBER), number);
    let foreign = code.push(op(RET, libc::SECCOMP_RET_KILL_PROCESS));
    let check = code.branch(JEQ, arch, number, foreign);
    code.then(op(LOAD, ARCH), check);
    code.code.reverse();
    Program(code.code)
}

fn runs(rules: &[(u32, Rule)], unknown: Rule) -> Vec<(u32, Rule)> {
    let mut runs: Vec<(u32, Rule)> = Vec::new();
    let mut push = |first: u32, rule: Rule| {
        if runs.last().is_none_or(|(_, last)| *last != rule) {
            runs.push((first, rule));
        }
    };
    let mut next = 0;
    for (number, rule) in rules {
        if *number > next {
            push(next, unknown);
        }
        push(*number, *rule);
        next = number.saturating_add(1);
    }
    push(next, unknown);
    runs
}

/// A range of numbers of one rule, with at most one exception: its first number.
#[derive(Clone, Copy)]
struct Piece {
    first: u32,
    exception: Option<Rule>,
    rule: Rule,
    weight: usize,
}

const NUMBERS: u32 = 1024;

/// Merges one number between two runs of the same rule: it costs one comparison instead of two.
fn pieces(runs: &[(u32, Rule)], likely: impl Fn(u32) -> bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = runs;
    let mut before = None;
    while let [(first, rule), after @ ..] = rest {
        let (exception, rule, after) = match after {
            [(second, other), after @ ..]
                if before == Some(*other) && first.checked_add(1) == Some(*second) =>
            {
                (Some(*rule), *other, after)
            }
            _ => (None, *rule, after),
        };
        let end = after.first().map_or(NUMBERS, |(next, _)| *next);
        pieces.push(Piece {
            first: *first,
            exception,
            rule,
            weight: (*first..end.min(NUMBERS)).filter(|n| likely(*n)).count(),
        });
        before = Some(rule);
        rest = after;
    }
    pieces
}

type Position = usize;

/// A program under construction, last instruction first: jumps only go forward, so every target exists before its
/// jump, and equal answers nearby are shared. It must be short, because the kernel compiles it for every job.
#[derive(Default)]
struct Backward {
    code: Vec<Instruction>,
    leaves: Vec<(Rule, Position)>,
}

const CHAIN: usize = 3;

fn middle(pieces: &[Piece]) -> usize {
    let total: usize = pieces.iter().map(|piece| piece.weight).sum();
    let mut below = 0;
    let imbalance = pieces.iter().enumerate().map(|(at, piece)| {
        let imbalance = total.abs_diff(2 * below);
        below += piece.weight;
        (imbalance, at)
    });
    let half = pieces.len() / 2;
    let inner = imbalance.filter(|(_, at)| *at > 0);
    let best = inner.min_by_key(|(imbalance, at)| (*imbalance, at.abs_diff(half)));
    best.map_or(half, |(_, at)| at)
}

const REACH: usize = 255;

impl Backward {
    fn push(&mut self, instruction: Instruction) -> Position {
        self.code.push(instruction);
        self.code.len() - 1
    }

    fn distance(&self, target: Position) -> usize {
        self.code.len() - target - 1
    }

    fn near(&mut self, target: Position) -> Position {
        // One less: the other branch may need its own jump before this one is made.
        if self.distance(target) < REACH {
            return target;
        }
        let far = self.distance(target) as u32;
        self.push(op(JA, far))
    }

    fn branch(&mut self, code: u16, k: u32, yes: Position, no: Position) -> Position {
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Instruction { code, jt, jf, k })
    }

    fn then(&mut self, instruction: Instruction, next: Position) -> Position {
        let distance = self.distance(next) as u32;
        if distance > 0 {
            self.push(op(JA, distance));
        }
        self.push(instruction)
    }

    fn answer(&mut self, value: u32) -> Position {
        let near = self.code.iter().enumerate().rev().take(REACH / 2);
        let same = near
            .clone()
            .find(|(_, i)| i.code == RET && i.k == value)
            .map(|(position, _)| position);
        same.unwrap_or_else(|| self.push(op(RET, value)))
    }

    /// Splits where both sides are equally likely. A few pieces that differ only in exceptions are tried one by one.
    fn search(&mut self, pieces: &[Piece]) -> Position {
        let Some((first, rest)) = pieces.split_first() else {
            // Not reached: there is at least one.
            return self.answer(libc::SECCOMP_RET_KILL_PROCESS);
        };
        let alike = |piece: &Piece| piece.rule == first.rule && piece.exception.is_some();
        if rest.len() < CHAIN && rest.iter().all(alike) {
            let rule = self.leaf(first.rule);
            return pieces.iter().rev().fold(rule, |next, piece| {
                piece.exception.map_or(next, |exception| {
                    let found = self.leaf(exception);
                    self.branch(JEQ, piece.first, found, next)
                })
            });
        }
        let (below, above) = pieces.split_at(middle(pieces));
        let pivot = above.first().map_or(u32::MAX, |piece| piece.first);
        let above = self.search(above);
        let below = self.search(below);
        self.branch(JGE, pivot, above, below)
    }

    fn leaf(&mut self, rule: Rule) -> Position {
        let known = self.leaves.iter().rev().find(|(known, _)| *known == rule);
        match known {
            Some((_, position)) if self.distance(*position) < REACH / 2 => *position,
            _ => {
                let position = self.new_leaf(rule);
                self.leaves.push((rule, position));
                position
            }
        }
    }

    fn new_leaf(&mut self, rule: Rule) -> Position {
        match rule {
            Rule::Allow => self.answer(libc::SECCOMP_RET_ALLOW),
            Rule::Answer(errno) => self.errno(errno),
            Rule::Notify(arg, values) => {
                let notify = self.answer(libc::SECCOMP_RET_USER_NOTIF);
                let allow = self.answer(libc::SECCOMP_RET_ALLOW);
                let among = self.among(values, notify, allow);
                self.then(load(arg), among)
            }
            Rule::Checked(checks) => self.checks(checks),
        }
    }

    fn checks(&mut self, checks: &[Check]) -> Position {
        let allow = self.answer(libc::SECCOMP_RET_ALLOW);
        checks
            .iter()
            .rev()
            .fold(allow, |next, check| self.check(check, next))
    }

    fn errno(&mut self, errno: u16) -> Position {
        self.answer(libc::SECCOMP_RET_ERRNO | u32::from(errno))
    }

    fn among(&mut self, values: &[u32], found: Position, not_found: Position) -> Position {
        values.iter().rev().fold(not_found, |otherwise, value| {
            self.branch(JEQ, *value, found, otherwise)
        })
    }

    fn check(&mut self, check: &Check, next: Position) -> Position {
        let refuse = self.errno(check.errno);
        let (values, found, not_found) = match check.want {
            Want::OneOf(values) | Want::OneOfIf { values, .. } | Want::OneOfKind { values, .. } => {
                (values, next, refuse)
            }
            Want::NoneOf(values)
            | Want::NoneOfIf { values, .. }
            | Want::NoneOfIfSet { values, .. } => (values, refuse, next),
        };
        let first = self.among(values, found, not_found);
        let masked = match check.mask {
            u32::MAX => first,
            mask => self.then(op(AND, mask), first),
        };
        let asked = self.then(load(check.arg), masked);
        match check.want {
            Want::OneOf(_) | Want::NoneOf(_) => asked,
            Want::OneOfKind { mask, kinds, .. } => {
                let kind = self.among(kinds, asked, next);
                let kind = self.then(op(AND, mask), kind);
                self.then(load(check.arg), kind)
            }
            Want::OneOfIf { arg, is, .. } | Want::NoneOfIf { arg, is, .. } => {
                let condition = self.branch(JEQ, is, asked, next);
                self.then(load(arg), condition)
            }
            Want::NoneOfIfSet { pointer, .. } => {
                let low = ARGS + 8 * u32::from(pointer);
                let upper = self.branch(JEQ, 0, next, asked);
                let upper = self.then(op(LOAD, low + 4), upper);
                let lower = self.branch(JEQ, 0, upper, asked);
                self.then(op(LOAD, low), lower)
            }
        }
    }
}
