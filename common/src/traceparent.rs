//! Filter for claimed traces (W3C Trace Context, version 00). A claim proves nothing about the caller. A claim is
//! copied unchanged into records, so any other form is dropped without a message.

use crate::caps;

/// Returns `claimed` if it is a `traceparent` of version 00: lower-case hexadecimal, neither id zero.
#[must_use]
pub fn checked(claimed: Option<String>) -> Option<String> {
    claimed.filter(|text| is_traceparent(text))
}

fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |digits: usize| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let part = parts.next().unwrap_or_default();
        (part.len() == digits && part.bytes().all(hex)).then_some(part)
    };
    let is_id = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|b| b != b'0'));
    text.len() == caps::TRACEPARENT
        && next(2) == Some("00")
        && is_id(next(32))
        && is_id(next(16))
        && next(2).is_some()
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_traceparent_of_version_00_is_passed_on() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = "00f067aa0ba902b7";
        let whole = format!("00-{trace}-{parent}-01");
        assert_eq!(checked(Some(whole.clone())), Some(whole.clone()));
        assert_eq!(checked(None), None);
        for other in [
            String::new(),
            whole.replace("00-4", "01-4"),
            whole.replace("00-4", "ff-4"),
            whole.to_uppercase(),
            format!("{whole}-00"),
            format!("{whole}\n"),
            format!(" {whole}"),
            whole[..54].to_owned(),
            whole.replace('-', "_"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}{parent}--01"),
            format!("00-{trace}-{parent}-0g"),
            format!("00-{trace}-{parent}-\u{660}"),
            format!("00-{trace}-{parent}0-1"),
            "x".repeat(55),
        ] {
            assert_eq!(checked(Some(other.clone())), None, "{other:?}");
        }
    }
}
