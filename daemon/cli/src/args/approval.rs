//! Arguments of `remit pending`, `show`, `approve` and `deny`.

use clap::Args;
use remit_common::id_prefix::IdPrefix;

#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Print each new request, and how each was decided, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// Show also what is the same for most requests: environment, sandbox, limits, rule, client
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// All 64 digits of the digest to approve, instead of a question
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub digest: Option<[u8; 32]>,

    /// Return at once, without waiting for the end of the job
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// The reason, which the requester reads
    #[arg(short, long, value_name = "WHY")]
    pub message: String,
}

/// A whole SHA-256; spaces, colons and hyphens between its digits do not count.
fn digest(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "not a digest: expected all 64 hex digits";
    let digits = text.chars().filter(|c| !" :-".contains(*c));
    let nibbles: Option<Vec<u32>> = digits.map(|c| c.to_digit(16)).collect();
    let bytes: Vec<u8> = nibbles
        .filter(|nibbles| nibbles.len() == 64)
        .ok_or(WRONG)?
        .chunks(2)
        .filter_map(|pair| u8::try_from(pair.iter().fold(0, |byte, half| byte * 16 + half)).ok())
        .collect();
    bytes.try_into().map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_whole_or_none() {
        let text = "0123456789abcdef".repeat(4);
        let bytes = digest(&text).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[31]), (0x01, 0x23, 0xef));
        let grouped = "01234567 89ABCDEF ".repeat(4);
        assert_eq!(digest(&grouped), Ok(bytes));
        for wrong in [
            "",
            "01234567",
            &text[1..],
            &format!("{text}0"),
            &text.replace('f', "g"),
        ] {
            assert!(digest(wrong).is_err(), "{wrong}");
        }
    }
}
