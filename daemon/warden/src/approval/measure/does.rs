//! What a change by the package's own program would do: its lines, asked of the program itself.
//!
//! An approver who reads `remit-act unit start x.service` knows a name. The unit's files say what that name executes, so
//! `remit-act describe` tells it, and its lines are a part of what is approved. Only that program is asked, beside ours or
//! where the package has it: it is executed as root here, as it would be in its job, and changes nothing. It is no user's
//! process, so that nobody else can trace it and put words into its mouth.

use std::ffi::{CStr, CString, OsStr};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use remit_common::text;

const NAME: &str = "remit-act";
const PACKAGED: &str = "/usr/libexec/remit/remit-act";
/// Kinds of changes that it describes.
const DESCRIBED: [&[u8]; 2] = [b"unit", b"package"];
/// Bytes of all lines, and of what it says when it refuses.
const LINES: u64 = 64 << 10;
const REFUSAL: u64 = 2 << 10;

/// The argument vector that describes what this one does; `None` where nothing does.
pub fn asking(argv: &[CString]) -> Option<Vec<CString>> {
    let (program, words) = argv.split_first()?;
    let kind = words.first()?.to_bytes();
    (is_ours(program) && DESCRIBED.contains(&kind)).then(|| {
        let describe = [program.clone(), c"describe".to_owned()];
        describe.into_iter().chain(words.iter().cloned()).collect()
    })
}

fn is_ours(program: &CStr) -> bool {
    let program = Path::new(OsStr::from_bytes(program.to_bytes()));
    let own = std::env::current_exe().ok();
    let beside = own.map(|own| own.with_file_name(NAME));
    program == Path::new(PACKAGED) || beside.as_deref() == Some(program)
}

/// Executes it, and waits for its end. For the child that measures: whoever waits for that has had enough after
/// [`super::PATIENCE`], and the program itself gives up before.
pub fn ask(argv: Option<&[CString]>) -> Result<Vec<String>, String> {
    let Some((program, words)) = argv.and_then(<[CString]>::split_first) else {
        return Ok(Vec::new());
    };
    let cannot = |why: String| format!("what it would do cannot be shown: {why}");
    let failed = |error: std::io::Error| cannot(format!("'{NAME}': {error}"));
    let os = |text: &CString| OsStr::from_bytes(text.to_bytes()).to_owned();
    let mut child = Command::new(os(program))
        .args(words.iter().map(os))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    let mut refusal = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(LINES + 1).read_to_end(&mut said).map_err(failed)?;
    }
    if let Some(out) = child.stderr.take() {
        out.take(REFUSAL)
            .read_to_end(&mut refusal)
            .map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        let why = text::line(refusal.trim_ascii(), 1000);
        let why = why.strip_prefix("remit-act: ").unwrap_or(&why);
        return Err(cannot(match why {
            "" => format!("'{NAME}' ended with {status}"),
            why => why.to_owned(),
        }));
    }
    lines(&said).ok_or_else(|| cannot(format!("'{NAME}' does not say it in lines")))
}

/// Whole lines of text.
fn lines(said: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(said).ok();
    let text = text.filter(|text| text.len() as u64 <= LINES && text.ends_with('\n'))?;
    Some(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<CString> {
        words
            .iter()
            .map(|word| CString::new(*word).unwrap())
            .collect()
    }

    #[test]
    fn only_the_packages_program_is_asked() {
        assert_eq!(
            asking(&argv(&[PACKAGED, "unit", "stop", "a.service"])),
            Some(argv(&[PACKAGED, "describe", "unit", "stop", "a.service"]))
        );
        for words in [
            &["/srv/remit-act", "unit", "stop", "a.service"][..],
            &["/usr/libexec/remit/../remit/remit-act", "unit"],
            &[PACKAGED, "reboot", "--cancel"],
            &[PACKAGED, "describe", "unit"],
            &[PACKAGED],
            &[],
        ] {
            assert_eq!(asking(&argv(words)), None, "{words:?}");
        }
    }

    #[test]
    fn lines_are_whole_and_bounded() {
        assert_eq!(
            lines(b"a\nb c\n"),
            Some(vec!["a".to_owned(), "b c".to_owned()])
        );
        let long = "x\n".repeat(usize::try_from(LINES).unwrap());
        for said in [&b""[..], b"a\nb", b"\xff\n", long.as_bytes()] {
            assert_eq!(lines(said), None);
        }
    }
}
