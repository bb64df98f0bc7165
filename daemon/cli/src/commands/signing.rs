//! Signs the text of a request with a key of the approver, by ssh-keygen(1): it asks for the passphrase, the PIN and the
//! touch. Reads signatures that were made elsewhere. The daemon alone judges them.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remit_common::refusal::{Code, Refusal};
use remit_common::signed::{NAMESPACE, SIGNATURE, Signed};

use super::enroll::host;
use crate::error::Failure;

const PROGRAM: &str = "ssh-keygen";
/// Keys that are looked for without `--key`, below `~/.ssh`: security keys first.
const KEYS: [&str; 4] = ["id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa"];
const SECURITY_KEYS: [&str; 2] = [KEYS[0], KEYS[1]];

/// Returns this key, or the first of the usual ones that can sign as asked. `lift`: what helps without one.
pub fn key(
    key: Option<&Path>,
    asked: Option<Signed>,
    lift: Option<String>,
) -> Result<PathBuf, Failure> {
    let home = env::var_os("HOME").unwrap_or_default();
    match key {
        Some(key) => Ok(key.to_owned()),
        None => usual_key(&Path::new(&home).join(".ssh"), asked, lift).map_err(Failure::Input),
    }
}

/// Signs with this key.
pub fn sign(text: &str, key: &Path) -> Result<String, Failure> {
    let failed = |why: String| {
        let text = format!("nothing was approved: '{PROGRAM}' {why}");
        Failure::Machine(
            Refusal::new(Code::NotStarted, text).next("check the key: ssh-keygen -l -f KEY"),
        )
    };
    let start = |error: io::Error| failed(format!("cannot be run: {error}"));
    let mut child = Command::new(PROGRAM)
        .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut input) = child.stdin.take() {
        // It may end without reading.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    if !output.status.success() {
        return Err(failed(format!(
            "did not sign with '{}' ({})",
            key.display(),
            output.status
        )));
    }
    checked(output.stdout).map_err(failed)
}

fn usual_key(dir: &Path, asked: Option<Signed>, lift: Option<String>) -> Result<PathBuf, Refusal> {
    let names: &[&str] = match asked {
        Some(Signed::Touch | Signed::Verify) => &SECURITY_KEYS,
        Some(Signed::Key) | None => &KEYS,
    };
    let keys = names.iter().map(|name| dir.join(name));
    // Of a key in an agent there may be the public part alone.
    let mut found = keys.filter(|key| key.exists() || public(key).exists());
    found.next().ok_or_else(|| {
        let text = format!("there is none of the keys {} in ~/.ssh", names.join(", "));
        let refusal = Refusal::new(Code::InvalidArgs, text).next("name the key: --key FILE");
        match lift {
            Some(lift) => refusal.lift(lift),
            None => refusal,
        }
    })
}

fn public(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Reads a signature from a file; `-` is standard input.
pub fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(SIGNATURE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = match path.as_os_str() == OsStr::new("-") {
        true => io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    let shown = path.display();
    let wrong = |why: String| {
        let text = format!("cannot use the signature of '{shown}': {why}");
        Failure::Input(Refusal::new(Code::InvalidArgs, text))
    };
    read.map_err(|error| wrong(error.to_string()))?;
    checked(bytes).map_err(wrong)
}

fn checked(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > SIGNATURE {
        return Err(format!(
            "gave over {SIGNATURE} bytes; use an ed25519, ECDSA P-256 or security key"
        ));
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| {
            text.trim_start()
                .starts_with("-----BEGIN SSH SIGNATURE-----")
        })
        .ok_or_else(|| "gave no signature of ssh-keygen -Y sign".to_owned())
}

/// Returns what to type where the key is. `id`: as a person types it.
pub fn afar(id: &str) -> String {
    format!("on your own computer: remit approve --on {} {id}", host())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn missing_key_names_what_helps() {
        for lift in [None, Some("on your own computer: x".to_owned())] {
            let refusal = usual_key(Path::new("/nonexistent"), None, lift.clone()).unwrap_err();
            assert_eq!(refusal.next.as_deref(), Some("name the key: --key FILE"));
            assert_eq!(refusal.lift, lift);
        }
    }

    #[test]
    fn usual_key_can_sign_as_asked() {
        let dir = env::temp_dir().join(format!("remit-keys-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let found = |asked| usual_key(&dir, asked, None).ok();
        let plain = dir.join("id_ed25519");
        File::create(&plain).unwrap();
        for (asked, expect) in [
            (None, Some(&plain)),
            (Some(Signed::Key), Some(&plain)),
            (Some(Signed::Touch), None),
            (Some(Signed::Verify), None),
        ] {
            assert_eq!(found(asked).as_ref(), expect, "{asked:?}");
        }
        let security = dir.join("id_ecdsa_sk");
        File::create(public(&security)).unwrap();
        for asked in Signed::ALL {
            assert_eq!(found(Some(asked)).as_ref(), Some(&security), "{asked}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
