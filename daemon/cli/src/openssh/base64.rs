//! Decodes base64 (RFC 4648) of key files. Pure.

/// Returns `None` if `text` is not padded base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let body = text.strip_suffix(b"=").unwrap_or(text);
    let body = body.strip_suffix(b"=").unwrap_or(body);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for digit in body {
        bits = bits << 6 | value(*digit)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // Unused bits must be zero, so that each key has exactly one spelling.
    (bits == 0).then_some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let index = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==", b"foob"),
            (b"Zm9vYmE=", b"fooba"),
            (b"+/+/", b"\xfb\xff\xbf"),
        ];
        for (text, bytes) in cases {
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            &b""[..],
            b"Zg",
            b"Zg=",
            b"Zh==",
            b"Zm9=",
            b"Z===",
            b"Zm 9",
            b"Zm-_",
            b"====",
            b"Zg==Zg==",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
