//! Bytes as hexadecimal digits: hashes, ids. It must not take two forms of one value, so digits are lower case alone.

/// Returns the bytes as lower-case digits, two for each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    // Each audit record has several; formatting each byte takes many times longer.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?'));
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Returns the 32 bytes of exactly 64 lower-case digits, and of nothing else.
#[must_use]
pub fn unhex(digits: impl AsRef<[u8]>) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_ref().as_chunks::<2>() else {
        return None;
    };
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_two_digits_and_is_read_back() {
        assert_eq!(hex(&[]), "");
        for byte in 0..=u8::MAX {
            let digits = hex(&[byte]);
            assert_eq!(digits, format!("{byte:02x}"));
            assert_eq!(unhex(digits.repeat(32)), Some([byte; 32]));
        }
        let mut bytes = [0; 32];
        bytes[0] = 0x1f;
        bytes[31] = 0xe0;
        assert_eq!(unhex(hex(&bytes)), Some(bytes));
    }

    #[test]
    fn other_than_64_lower_case_digits_is_nothing() {
        let whole = "0123456789abcdef".repeat(4);
        assert!(unhex(&whole).is_some());
        for other in [
            String::new(),
            whole[..62].to_owned(),
            whole[..63].to_owned(),
            format!("{whole}0"),
            format!("{whole}00"),
            whole.to_uppercase(),
            whole.replace("0123", "0x23"),
            whole.replacen('0', " ", 1),
            whole.replacen('0', "+", 1),
            whole.replacen('0', "g", 1),
            whole.replacen('0', "/", 1),
            whole.replacen('0', ":", 1),
            whole.replacen('0', "`", 1),
            whole.replacen("01", "é", 1),
        ] {
            assert_eq!(unhex(&other), None, "{other:?}");
        }
    }
}
