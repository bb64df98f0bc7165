//! A security key in software: signatures as a key makes them (PROTOCOL.sshsig, PROTOCOL.u2f of OpenSSH), with any flags
//! and counter. Real ones always ask for a touch. Also plain keys, by ssh-keygen(1).

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256, Sha512};

const KIND: &str = "sk-ssh-ed25519@openssh.com";
const APPLICATION: &str = "ssh:";

#[derive(Debug)]
pub struct SecurityKey(SigningKey);

impl SecurityKey {
    /// Returns the same key for the same seed.
    #[must_use]
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    fn blob(&self) -> Vec<u8> {
        let public = self.0.verifying_key().to_bytes();
        [string(KIND), string(public), string(APPLICATION)].concat()
    }

    /// A line of allowed_signers.
    #[must_use]
    pub fn line(&self, names: &str) -> String {
        format!("{names} {KIND} {}\n", STANDARD.encode(self.blob()))
    }

    /// Returns what `ssh-keygen -l` prints of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digits = STANDARD.encode(Sha256::digest(self.blob()));
        format!("SHA256:{}", digits.trim_end_matches('='))
    }

    /// Returns what `ssh-keygen -Y sign` prints, with this report of the key.
    #[must_use]
    pub fn sign(&self, namespace: &str, text: &str, flags: u8, counter: u32) -> String {
        let hash = Sha512::digest(text.as_bytes());
        let parts = [
            string(namespace),
            string(""),
            string("sha512"),
            string(hash),
        ];
        let message = [b"SSHSIG".to_vec(), parts.concat()].concat();
        let report = [&[flags][..], &counter.to_be_bytes()].concat();
        let signed = [
            Sha256::digest(APPLICATION).to_vec(),
            report.clone(),
            Sha256::digest(message).to_vec(),
        ];
        let signature = self.0.sign(&signed.concat()).to_bytes();
        let signature = [string(KIND), string(signature), report].concat();
        let blob = [
            b"SSHSIG".to_vec(),
            1_u32.to_be_bytes().to_vec(),
            string(self.blob()),
            string(namespace),
            string(""),
            string("sha512"),
            string(signature),
        ];
        armor(&blob.concat())
    }
}

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

fn armor(blob: &[u8]) -> String {
    let text = STANDARD.encode(blob);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    )
}

/// A key in a file, made by ssh-keygen.
#[derive(Debug)]
pub struct PlainKey(PathBuf);

impl PlainKey {
    /// `kind`: arguments of ssh-keygen, as `-t ed25519`.
    ///
    /// # Panics
    /// There is no ssh-keygen, or it refuses.
    #[must_use]
    pub fn new(dir: &Path, name: &str, kind: &[&str]) -> Self {
        let path = dir.join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(kind).args(["-q", "-N", "", "-C", name, "-f"]);
        let status = command
            .arg(&path)
            .status()
            .expect("ssh-keygen is installed");
        assert!(status.success(), "{command:?}");
        Self(path)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A line of allowed_signers.
    ///
    /// # Panics
    /// The file is gone.
    #[must_use]
    pub fn line(&self, names: &str) -> String {
        let public = fs::read_to_string(self.0.with_extension("pub")).expect("it was made");
        format!("{names} {public}")
    }

    /// # Panics
    /// ssh-keygen does not sign.
    #[must_use]
    pub fn sign(&self, namespace: &str, text: &str) -> String {
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o600));
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ssh-keygen is installed");
        let mut input = child.stdin.take().expect("it is a pipe");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }
}
