//! Text of the kernel's mount tables (proc_pid_mountinfo(5)).

/// Returns a field in its plain form: the kernel writes spaces, tabs, line ends and backslashes as octal numbers, as `\040`.
#[must_use]
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        plain.push(octal.unwrap_or(*first));
        rest = match octal {
            Some(_) => tail.get(3..).unwrap_or_default(),
            None => tail,
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_octal_numbers_of_a_byte_are_escapes() {
        for (field, expect) in [
            (&br"/a\040b\134n\011"[..], &b"/a b\n\t"[..]),
            (br"\04\999\0400", br"\04\999 0"),
            (br"\777\+12\", br"\777\+12\"),
            (b"", b""),
        ] {
            assert_eq!(unescape(field), expect);
        }
    }
}
