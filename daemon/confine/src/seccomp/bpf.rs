//! A classic BPF program from sorted rules. Knows nothing of what the numbers mean.
//!
//! See `Documentation/userspace-api/seccomp_filter.rst` and `linux/bpf_common.h`.

use super::{Check, Rule, Want};

/// One instruction, `struct sock_filter`.
pub(crate) type Instruction = libc::sock_filter;

/// A program ready for seccomp(2).
#[derive(Clone, Debug)]
pub(crate) struct Program(Vec<Instruction>);

impl Program {
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// The same program, which lets through what it answers so.
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

fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// `rules` sorted by number, without doubles; `unknown` for every other number. A call of
/// another architecture kills the process.
pub(super) fn assemble(arch: u32, rules: &[(u32, Rule)], unknown: Rule) -> Program {
    let mut code = Backward::default();
    let number = code.search(&runs(rules, unknown));
    let number = code.then(op(LOAD, NUMBER), number);
    let foreign = code.push(op(RET, libc::SECCOMP_RET_KILL_PROCESS));
    let check = code.branch(JEQ, arch, number, foreign);
    code.then(op(LOAD, ARCH), check);
    code.0.reverse();
    Program(code.0)
}

/// The whole number range as runs of one rule: `(first number, rule)`.
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

/// Where an instruction stands, counted from the program's end.
type Place = usize;

/// A program under construction, last instruction first: jumps only go forward, so every
/// target stands before its jump is made, and equal answers nearby are shared. Short programs
/// matter, since the kernel compiles this one for every job.
#[derive(Default)]
struct Backward(Vec<Instruction>);

/// Furthest that a conditional jump reaches.
const REACH: usize = 255;

impl Backward {
    fn push(&mut self, instruction: Instruction) -> Place {
        self.0.push(instruction);
        self.0.len() - 1
    }

    /// How many instructions the next one has to skip to get to `target`.
    fn distance(&self, target: Place) -> usize {
        self.0.len() - target - 1
    }

    /// A place within reach from which `target` is reached.
    fn near(&mut self, target: Place) -> Place {
        // One less: the other branch may need a jump of its own before this one is made.
        if self.distance(target) < REACH {
            return target;
        }
        let far = self.distance(target) as u32;
        self.push(op(JA, far))
    }

    fn branch(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Instruction { code, jt, jf, k })
    }

    /// `instruction`, then on at `next`.
    fn then(&mut self, instruction: Instruction, next: Place) -> Place {
        let distance = self.distance(next) as u32;
        if distance > 0 {
            self.push(op(JA, distance));
        }
        self.push(instruction)
    }

    /// A return, shared with an equal one in reach.
    fn answer(&mut self, value: u32) -> Place {
        let near = self.0.iter().enumerate().rev().take(REACH / 2);
        let same = near
            .clone()
            .find(|(_, i)| i.code == RET && i.k == value)
            .map(|(place, _)| place);
        same.unwrap_or_else(|| self.push(op(RET, value)))
    }

    fn search(&mut self, runs: &[(u32, Rule)]) -> Place {
        let (left, right) = runs.split_at(runs.len() / 2);
        match right {
            [(_, rule)] if left.is_empty() => self.leaf(*rule),
            [(pivot, _), ..] => {
                let above = self.search(right);
                let below = self.search(left);
                self.branch(JGE, *pivot, above, below)
            }
            // Not reached: `runs` has at least one.
            [] => self.answer(libc::SECCOMP_RET_KILL_PROCESS),
        }
    }

    fn leaf(&mut self, rule: Rule) -> Place {
        match rule {
            Rule::Allow => self.answer(libc::SECCOMP_RET_ALLOW),
            Rule::Answer(errno) => self.errno(errno),
            Rule::Checked(checks) => self.checks(checks),
            Rule::CheckedIfSet(pointer, checks) => {
                let checks = self.checks(checks);
                let allow = self.answer(libc::SECCOMP_RET_ALLOW);
                let low = ARGS + 8 * u32::from(pointer);
                let upper = self.branch(JEQ, 0, allow, checks);
                let upper = self.then(op(LOAD, low + 4), upper);
                let lower = self.branch(JEQ, 0, upper, checks);
                self.then(op(LOAD, low), lower)
            }
        }
    }

    fn checks(&mut self, checks: &[Check]) -> Place {
        let allow = self.answer(libc::SECCOMP_RET_ALLOW);
        checks
            .iter()
            .rev()
            .fold(allow, |next, check| self.check(check, next))
    }

    fn errno(&mut self, errno: u16) -> Place {
        self.answer(libc::SECCOMP_RET_ERRNO | u32::from(errno))
    }

    /// On at `next` when the check holds.
    fn check(&mut self, check: &Check, next: Place) -> Place {
        let refuse = self.errno(check.errno);
        let (values, found, not_found) = match check.want {
            Want::OneOf(values) => (values, next, refuse),
            Want::NoneOf(values) => (values, refuse, next),
        };
        let first = values.iter().rev().fold(not_found, |otherwise, value| {
            self.branch(JEQ, *value, found, otherwise)
        });
        let masked = match check.mask {
            u32::MAX => first,
            mask => self.then(op(AND, mask), first),
        };
        self.then(op(LOAD, ARGS + 8 * u32::from(check.arg)), masked)
    }
}
