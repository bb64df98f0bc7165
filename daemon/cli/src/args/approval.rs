//! Arguments of the verbs about changes that wait for an approval.

use clap::Args;
use remit_common::names;

#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Go on, and print each new request as it comes, and what became of it
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID", value_parser = request)]
    pub id: String,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID", value_parser = request)]
    pub id: String,

    /// What you approve, all 64 digits: nothing is asked then
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub digest: Option<[u8; 32]>,

    /// Do not wait for the end of what was approved
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID", value_parser = request)]
    pub id: String,

    /// Why; who asked for it reads it
    #[arg(short, long, value_name = "WHY")]
    pub message: String,
}

/// How an id begins, as the daemon takes it.
fn request(text: &str) -> Result<String, &'static str> {
    names::id_prefix(text)
        .ok_or("it is no id: 4 to 32 hexadecimal digits, with hyphens wherever you like")
}

/// A whole SHA-256; spaces, colons and hyphens between its digits do not count.
fn digest(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "it is no digest: 64 hexadecimal digits, all of them";
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
    fn an_id_may_be_written_as_it_is_read_out() {
        for text in [
            "7f3a",
            "7F3A-91C2",
            "7f3a-91c2-0000-0000-0000-0000-0000-0000",
        ] {
            assert!(request(text).is_ok(), "{text}");
        }
        assert_eq!(request("7F3A-91c2").as_deref(), Ok("7f3a91c2"));
        for text in [
            "",
            "7f3",
            "7f3-",
            "7f3g",
            "7f 3a",
            "--json",
            &"0".repeat(33),
        ] {
            assert!(request(text).is_err(), "{text}");
        }
    }

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
