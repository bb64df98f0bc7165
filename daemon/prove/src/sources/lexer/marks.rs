//! Marks of a shell text that are looked for before they are reached.

use crate::sources::shell::{base_name, is_name};

/// Bytes of an arithmetic expression.
const ARITHMETIC: usize = 256;
/// Bytes of a name that is shown of a substitution.
const SHOWN: usize = 40;

pub fn is_before_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b";&|(`".contains(&byte)
}

/// Returns true if a double quote is on the line, or a substitution is, which may go on behind it.
pub fn has_quote(after: &[u8]) -> bool {
    let mut bytes = after.iter().take_while(|byte| **byte != b'\n');
    let mut before = 0;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => return true,
            b'(' if before == b'$' => return true,
            _ => {}
        }
        before = *byte;
    }
    false
}

/// Returns how long an expression is with its `))`. `None` if a command is in it, or its end is not near.
pub fn arithmetic(inner: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes = inner.iter().zip(inner.iter().skip(1)).enumerate();
    let end = bytes.by_ref().take(ARITHMETIC).find_map(|(at, pair)| {
        match pair {
            (b'\n' | b'`', _) | (b'$', b'(') => return Some(None),
            (b'(', _) => depth = depth.saturating_add(1),
            (b')', next) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return Some((*next == b')').then_some(at)),
            },
            _ => {}
        }
        None
    });
    end.flatten().map(|at| at.saturating_add(2))
}

/// What is shown of the output of a program.
pub fn output(program: Option<&Vec<u8>>) -> Vec<u8> {
    let name = base_name(program.map(Vec::as_slice).unwrap_or_default());
    match is_name(name) && (1..SHOWN).contains(&name.len()) {
        true => [b"$(", name, " …)".as_bytes()].concat(),
        false => "$(…)".as_bytes().to_vec(),
    }
}
