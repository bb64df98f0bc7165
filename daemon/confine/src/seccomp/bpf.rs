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

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn answer(errno: u16) -> Instruction {
    op(RET, libc::SECCOMP_RET_ERRNO | u32::from(errno))
}

fn allow() -> Instruction {
    op(RET, libc::SECCOMP_RET_ALLOW)
}

/// `rules` sorted by number, without doubles; `unknown` for every other number. A call of
/// another architecture kills the process.
pub(super) fn assemble(arch: u32, rules: &[(u32, Rule)], unknown: Rule) -> Program {
    let mut code = vec![
        op(LOAD, ARCH),
        jump(JEQ, arch, 1, 0),
        op(RET, libc::SECCOMP_RET_KILL_PROCESS),
        op(LOAD, NUMBER),
    ];
    code.extend(search(&runs(rules, unknown)));
    Program(code)
}

/// The whole number range as runs that share their code: `(first number, code)`.
fn runs(rules: &[(u32, Rule)], unknown: Rule) -> Vec<(u32, Vec<Instruction>)> {
    let mut runs: Vec<(u32, Vec<Instruction>)> = Vec::new();
    let mut push = |first: u32, code: Vec<Instruction>| {
        if runs.last().is_none_or(|(_, last)| !same(last, &code)) {
            runs.push((first, code));
        }
    };
    let mut next = 0;
    for (number, rule) in rules {
        if *number > next {
            push(next, leaf(unknown));
        }
        push(*number, leaf(*rule));
        next = number.saturating_add(1);
    }
    push(next, leaf(unknown));
    runs
}

fn same(a: &[Instruction], b: &[Instruction]) -> bool {
    let key = |i: &Instruction| (i.code, i.jt, i.jf, i.k);
    a.iter().map(key).eq(b.iter().map(key))
}

/// Binary search. The right half may lie further than a conditional jump reaches, so it is
/// reached by `JA`.
fn search(runs: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    let (left, right) = runs.split_at(runs.len() / 2);
    let (Some((pivot, code)), false) = (right.first(), left.is_empty()) else {
        return right
            .first()
            .map(|(_, code)| code.clone())
            .unwrap_or_default();
    };
    let _ = code;
    let below = search(left);
    let mut out = vec![jump(JGE, *pivot, 0, 1), op(JA, below.len() as u32)];
    out.extend(below);
    out.extend(search(right));
    out
}

fn leaf(rule: Rule) -> Vec<Instruction> {
    match rule {
        Rule::Allow => vec![allow()],
        Rule::Answer(errno) => vec![answer(errno)],
        Rule::Checked(checks) => {
            let mut code: Vec<Instruction> = checks.iter().flat_map(check).collect();
            code.push(allow());
            code
        }
    }
}

/// Falls through when the check holds.
fn check(check: &Check) -> Vec<Instruction> {
    let mut code = vec![op(LOAD, ARGS + 8 * u32::from(check.arg))];
    if check.mask != !0 {
        code.push(op(AND, check.mask));
    }
    match check.want {
        Want::OneOf(values) => {
            for (left, value) in (0..values.len()).rev().zip(values) {
                // Over the remaining comparisons and the answer.
                code.push(jump(JEQ, *value, left as u8 + 1, 0));
            }
            code.push(answer(check.errno));
        }
        Want::NoneOf(values) => {
            for value in values {
                code.push(jump(JEQ, *value, 0, 1));
                code.push(answer(check.errno));
            }
        }
    }
    code
}
