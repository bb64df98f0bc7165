//! Checks the bytes of each request against limits that no policy can lift ([`remit_common::caps`]).

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};

/// Checks an argument vector as execve(2) will see it: one to [`caps::ARGV_COUNT`] elements, the first not empty, no NUL.
/// Each with its final NUL has at most [`caps::ARGV_ELEMENT`] bytes, all together [`caps::ARGV`].
/// Errors: `invalid_args` or `too_large`, about the first element that is wrong. The other checks here use the same codes.
pub fn check_argv(argv: &[impl AsRef<[u8]>]) -> Result<(), Refusal> {
    let Some(program) = argv.first() else {
        return Err(malformed(
            "argv",
            "argv is empty: it needs at least a program",
        ));
    };
    if program.as_ref().is_empty() {
        return Err(malformed(
            "argv[0]",
            "argv[0] is empty: it must name a program",
        ));
    }
    within("argv", argv.len(), caps::ARGV_COUNT, "elements")?;
    let mut total = 0;
    for (at, element) in argv.iter().enumerate() {
        let element = element.as_ref();
        let object = format!("argv[{at}]");
        no_nul(&object, element)?;
        within(
            &object,
            element.len() + 1,
            caps::ARGV_ELEMENT,
            "bytes with its final NUL",
        )?;
        total += element.len() + 1;
        within("argv", total, caps::ARGV, "bytes with final NULs")?;
    }
    Ok(())
}

/// Checks a working directory: absolute, no NUL, with its final NUL at most [`caps::PATH`] bytes.
pub fn check_cwd(cwd: &[u8]) -> Result<(), Refusal> {
    within("cwd", cwd.len() + 1, caps::PATH, "bytes with its final NUL")?;
    no_nul("cwd", cwd)?;
    if cwd.starts_with(b"/") {
        Ok(())
    } else {
        Err(malformed("cwd", "cwd must be an absolute path"))
    }
}

/// Checks the number of a caller's variables before a verdict, which looks at each: at most [`caps::ENV_COUNT`].
pub fn check_env_count(count: usize) -> Result<(), Refusal> {
    within("env", count, caps::ENV_COUNT, "variables")
}

/// Checks a script: not empty, at most [`caps::SCRIPT`] bytes, of any value.
pub fn check_script(script: &[u8]) -> Result<(), Refusal> {
    if script.is_empty() {
        return Err(malformed("script", "the script is empty"));
    }
    within("script", script.len(), caps::SCRIPT, "bytes")
}

pub fn check_stdin_size(size: usize) -> Result<(), Refusal> {
    within("stdin", size, caps::STDIN, "bytes")
}

pub(crate) fn malformed(object: impl Into<String>, message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgs, message).object(object)
}

pub(crate) fn no_nul(object: &str, bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.iter().position(|byte| *byte == 0) {
        None => Ok(()),
        Some(at) => Err(malformed(
            object,
            format!("{object} has a NUL at byte {at}"),
        )),
    }
}

pub(crate) fn within(object: &str, size: usize, cap: usize, unit: &str) -> Result<(), Refusal> {
    if size <= cap {
        return Ok(());
    }
    let message = format!("{object} has {size} {unit}, the most is {cap}");
    Err(Refusal::new(Code::TooLarge, message).object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (&'a str, Result<(), Refusal>, Option<Code>);

    fn check(cases: &[Case<'_>]) {
        for (name, found, expect) in cases {
            let code = found.as_ref().err().map(|refusal| refusal.code);
            assert_eq!(code, *expect, "{name}: {found:?}");
        }
    }

    #[test]
    fn argv_is_checked_at_its_bounds() {
        let element = caps::ARGV_ELEMENT - 1;
        let full = vec![vec![b'a'; element]; caps::ARGV / caps::ARGV_ELEMENT];
        let over = [full.clone(), vec![Vec::new()]].concat();
        check(&[
            ("none", check_argv(&[] as &[&[u8]]), Some(Code::InvalidArgs)),
            (
                "no program",
                check_argv(&["", "a"]),
                Some(Code::InvalidArgs),
            ),
            ("one", check_argv(&["a"]), None),
            ("empty later", check_argv(&["a", ""]), None),
            ("no UTF-8", check_argv(&[b"\xff"]), None),
            ("NUL", check_argv(&["a", "b\0c"]), Some(Code::InvalidArgs)),
            (
                "NUL in the program",
                check_argv(&["\0"]),
                Some(Code::InvalidArgs),
            ),
            ("element at cap", check_argv(&[vec![b'a'; element]]), None),
            (
                "element over",
                check_argv(&[vec![b'a'; element + 1]]),
                Some(Code::TooLarge),
            ),
            ("all at cap", check_argv(&full), None),
            ("all over", check_argv(&over), Some(Code::TooLarge)),
            (
                "count at cap",
                check_argv(&vec!["a"; caps::ARGV_COUNT]),
                None,
            ),
            (
                "count over",
                check_argv(&vec!["a"; caps::ARGV_COUNT + 1]),
                Some(Code::TooLarge),
            ),
        ]);
    }

    #[test]
    fn cwd_is_absolute_and_bounded() {
        let path = |length: usize| [b"/".to_vec(), b"a".repeat(length - 1)].concat();
        check(&[
            ("root", check_cwd(b"/"), None),
            ("dots are the kernel's", check_cwd(b"/a/../b"), None),
            ("empty", check_cwd(b""), Some(Code::InvalidArgs)),
            ("relative", check_cwd(b"a"), Some(Code::InvalidArgs)),
            ("NUL", check_cwd(b"/a\0"), Some(Code::InvalidArgs)),
            ("at cap", check_cwd(&path(caps::PATH - 1)), None),
            ("over", check_cwd(&path(caps::PATH)), Some(Code::TooLarge)),
        ]);
    }

    #[test]
    fn script_stdin_and_variables_are_bounded() {
        check(&[
            ("no script", check_script(b""), Some(Code::InvalidArgs)),
            ("script with NUL", check_script(b"\0"), None),
            (
                "script at cap",
                check_script(&vec![b'a'; caps::SCRIPT]),
                None,
            ),
            (
                "script over",
                check_script(&vec![b'a'; caps::SCRIPT + 1]),
                Some(Code::TooLarge),
            ),
            ("variables at cap", check_env_count(caps::ENV_COUNT), None),
            (
                "variables over",
                check_env_count(caps::ENV_COUNT + 1),
                Some(Code::TooLarge),
            ),
            ("no stdin", check_stdin_size(0), None),
            ("stdin at cap", check_stdin_size(caps::STDIN), None),
            (
                "stdin over",
                check_stdin_size(caps::STDIN + 1),
                Some(Code::TooLarge),
            ),
        ]);
    }
}
