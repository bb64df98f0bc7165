//! Parses the header of a job's method call (D-Bus Specification, "Message Protocol"). It is total: any bytes are a call or
//! an error, which ends the connection. It refuses more than a bus does: only what is understood is forwarded.

use crate::names;

/// Bytes of the fixed part of a header, with the length of the fields.
pub const FIXED: usize = 16;
/// Bytes of a header with its padding.
pub const HEADER: usize = 4096;
/// Bytes of a message from a job.
pub const MESSAGE: usize = 64 << 10;

const CALL: u8 = 1;
const NO_REPLY: u8 = 1;
const VERSION: u8 = 1;

/// Why bytes are no permitted message. The job's connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    pub serial: u32,
    pub wants_reply: bool,
    pub path: &'a str,
    /// Empty if absent.
    pub interface: &'a str,
    pub member: &'a str,
    pub destination: &'a str,
    pub signature: &'a str,
    pub body: &'a [u8],
}

impl Call<'_> {
    #[must_use]
    pub fn name(&self) -> String {
        match self.interface {
            "" => self.member.to_owned(),
            interface => format!("{interface}.{}", self.member),
        }
    }
}

pub fn length(fixed: &[u8; FIXED]) -> Result<usize, Malformed> {
    let [order, _, _, version, body @ ..] = *fixed;
    if order != b'l' {
        return Err(Malformed("it is not little-endian"));
    }
    if version != VERSION {
        return Err(Malformed("it has another protocol version"));
    }
    let [b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = body;
    let body = size(u32::from_le_bytes([b0, b1, b2, b3]));
    let fields = size(u32::from_le_bytes([f0, f1, f2, f3]));
    let header = padded(fields).saturating_add(FIXED);
    match header.saturating_add(body) {
        _ if header > HEADER => Err(Malformed("its header is too long")),
        all if all > MESSAGE => Err(Malformed("it is too long")),
        all => Ok(all),
    }
}

const fn size(length: u32) -> usize {
    length as usize
}

pub(crate) const fn padded(fields: usize) -> usize {
    fields.saturating_add(7) & !7
}

pub fn parse(bytes: &[u8]) -> Result<Call<'_>, Malformed> {
    let short = Malformed("it is cut short");
    let fixed = bytes.first_chunk::<FIXED>().ok_or(short)?;
    if length(fixed)? != bytes.len() {
        return Err(short);
    }
    let [
        _,
        kind,
        flags,
        _,
        _,
        _,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        f0,
        f1,
        f2,
        f3,
    ] = *fixed;
    if kind != CALL {
        return Err(Malformed("it is not a method call"));
    }
    let serial = u32::from_le_bytes([s0, s1, s2, s3]);
    if serial == 0 {
        return Err(Malformed("its serial number is zero"));
    }
    let end = FIXED.saturating_add(size(u32::from_le_bytes([f0, f1, f2, f3])));
    let fields = bytes.get(FIXED..end).ok_or(short)?;
    let body_start = padded(end);
    let padding = bytes.get(end..body_start).ok_or(short)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Malformed("its padding is not zero"));
    }
    let body = bytes.get(body_start..).ok_or(short)?;
    let fields = Fields::parse(fields)?;
    let required = |field: Option<_>, why| field.ok_or(Malformed(why));
    let signature = fields.signature.unwrap_or_default();
    if signature.is_empty() != body.is_empty() {
        return Err(Malformed("its signature does not describe its body"));
    }
    Ok(Call {
        serial,
        wants_reply: flags & NO_REPLY == 0,
        path: required(fields.path, "it has no path")?,
        interface: fields.interface.unwrap_or_default(),
        member: required(fields.member, "it has no member")?,
        destination: required(fields.destination, "it has no destination")?,
        signature,
        body,
    })
}

#[derive(Default)]
struct Fields<'a> {
    path: Option<&'a str>,
    interface: Option<&'a str>,
    member: Option<&'a str>,
    destination: Option<&'a str>,
    sender: Option<&'a str>,
    signature: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Parses the array of fields, which begins at a multiple of 8 of the message.
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Self::default();
        let mut cursor = Cursor { bytes, at: 0 };
        while cursor.at < bytes.len() {
            cursor.align(8)?;
            let [code, one, kind, end] = *cursor.chunk::<4>()?;
            if one != 1 || end != 0 {
                return Err(Malformed("a header field has a type of several parts"));
            }
            let (slot, is_valid): (_, fn(&str) -> bool) = match (code, kind) {
                (1, b'o') => (&mut fields.path, names::is_path),
                (2, b's') => (&mut fields.interface, names::is_interface),
                (3, b's') => (&mut fields.member, names::is_member),
                (6, b's') => (&mut fields.destination, names::is_bus_name),
                // A bus overwrites it, so a client's own is not forwarded.
                (7, b's') => (&mut fields.sender, names::is_bus_name),
                (8, b'g') => (&mut fields.signature, names::is_signature),
                _ => return Err(Malformed("a call has no such header field")),
            };
            let text = match kind {
                b'g' => cursor.signature()?,
                _ => cursor.string()?,
            };
            if !is_valid(text) {
                return Err(Malformed("a header field is not valid"));
            }
            if slot.replace(text).is_some() {
                return Err(Malformed("a header field is there twice"));
            }
        }
        Ok(fields)
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.saturating_add(count);
        let taken = self.bytes.get(self.at..end);
        self.at = end;
        taken.ok_or(Malformed("a header field is cut short"))
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let taken = self.take(N)?;
        taken
            .first_chunk()
            .ok_or(Malformed("a header field is cut short"))
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let padding = self.take(self.at.next_multiple_of(to) - self.at)?;
        match padding.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(Malformed("its padding is not zero")),
        }
    }

    fn string(&mut self) -> Result<&'a str, Malformed> {
        self.align(4)?;
        let length = size(u32::from_le_bytes(*self.chunk()?));
        self.text(length)
    }

    fn signature(&mut self) -> Result<&'a str, Malformed> {
        let [length] = *self.chunk()?;
        self.text(length.into())
    }

    fn text(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let text = self.take(length)?;
        if *self.chunk()? != [0] {
            return Err(Malformed("a string has no end"));
        }
        std::str::from_utf8(text).map_err(|_| Malformed("a string is not text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header;

    const CALL: Call<'_> = Call {
        serial: 7,
        wants_reply: true,
        path: "/a/b",
        interface: "org.example.Foo",
        member: "Get",
        destination: "org.example",
        signature: "s",
        body: b"\x01\0\0\0x\0",
    };

    fn written(call: &Call<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        header::forward(&mut bytes, call, true);
        bytes
    }

    /// Returns the message with these header fields, each aligned, and no body.
    fn with_fields(fields: &[&[u8]]) -> Vec<u8> {
        let mut array = Vec::new();
        for field in fields {
            array.resize(array.len().next_multiple_of(8), 0);
            array.extend(*field);
        }
        let mut bytes = b"l\x01\0\x01\0\0\0\0\x07\0\0\0".to_vec();
        bytes.extend(u32::try_from(array.len()).unwrap().to_le_bytes());
        array.resize(array.len().next_multiple_of(8), 0);
        bytes.extend(array);
        bytes
    }

    const PATH: &[u8] = b"\x01\x01o\0\x01\0\0\0/\0";
    const MEMBER: &[u8] = b"\x03\x01s\0\x01\0\0\0M\0";
    const DESTINATION: &[u8] = b"\x06\x01s\0\x03\0\0\0a.b\0";

    #[test]
    fn written_call_is_read_back() {
        for call in [
            CALL,
            Call {
                interface: "",
                signature: "",
                body: b"",
                wants_reply: false,
                serial: u32::MAX,
                ..CALL
            },
        ] {
            let bytes = written(&call);
            let fixed = bytes.first_chunk().unwrap();
            assert_eq!(length(fixed), Ok(bytes.len()));
            assert_eq!(parse(&bytes), Ok(call));
        }
        let fields = [PATH, MEMBER, DESTINATION];
        assert_eq!(parse(&with_fields(&fields)).unwrap().name(), "M");
        let sender = b"\x07\x01s\0\x04\0\0\0:1.9\0";
        let [path, member, destination] = fields;
        assert!(parse(&with_fields(&[destination, sender, member, path])).is_ok());
    }

    #[test]
    fn fields_must_be_known_valid_and_there_once() {
        for (field, why) in [
            (MEMBER, "twice"),
            (b"\x05\x01u\0\x01\0\0\0", "no such"),
            (b"\x09\x01u\0\x01\0\0\0", "no such"),
            (b"\x04\x01s\0\x03\0\0\0a.b\0", "no such"),
            (b"\x0a\x01s\0\x01\0\0\0x\0", "no such"),
            (b"\0\x01s\0\x01\0\0\0x\0", "no such"),
            (b"\x02\x01o\0\x03\0\0\0a.b\0", "no such"),
            (b"\x02\x02s\0\x03\0\0\0a.b\0", "several parts"),
            (b"\x02\x01s\x01\x03\0\0\0a.b\0", "several parts"),
            (b"\x02\x01s\0\x03\0\0\0a.b\x01", "no end"),
            (b"\x02\x01s\0\x03\0\0\0a\0b\0", "not valid"),
            (b"\x02\x01s\0\x03\0\0\0a.\xff\0", "not text"),
            (b"\x02\x01s\0\x04\0\0\0a.b\0", "cut short"),
            (b"\x02\x01s\0\xff\xff\xff\xffa.b\0", "cut short"),
            (b"\x02\x01s\0\0\0\0\0\0", "not valid"),
            (b"\x02\x01s", "cut short"),
            (b"\x08\x01g\0\x02s", "cut short"),
            (b"\x08\x01g\0\x01h\0", "not valid"),
            (b"\x08\x01g\0\x01s\0", "describe"),
        ] {
            let bytes = with_fields(&[PATH, MEMBER, DESTINATION, field]);
            let found = parse(&bytes).unwrap_err().0;
            assert!(found.contains(why), "{field:?}: {found}");
        }
        for missing in 0..3 {
            let mut fields = vec![PATH, MEMBER, DESTINATION];
            fields.remove(missing);
            assert!(
                parse(&with_fields(&fields))
                    .unwrap_err()
                    .0
                    .contains("it has no")
            );
        }
    }

    #[test]
    fn other_messages_are_refused() {
        let good = written(&CALL);
        let body = good.len() - CALL.body.len();
        let padding = good[..body].len() - 1;
        assert_eq!(good[padding], 0);
        for (at, bytes, why) in [
            (0, &b"B"[..], "little-endian"),
            (0, b"x", "little-endian"),
            (1, b"\x02", "not a method call"),
            (1, b"\x03", "not a method call"),
            (1, b"\x04", "not a method call"),
            (1, b"\0", "not a method call"),
            (3, b"\x02", "version"),
            (8, b"\0\0\0\0", "serial"),
            (4, b"\xff\xff\xff\xff", "too long"),
            (4, b"\0\0\x01\0", "too long"),
            (12, b"\xff\xff\xff\xff", "too long"),
            (12, b"\0\x10\0\0", "too long"),
            (4, b"\x07\0\0\0", "cut short"),
            (padding, b"\x01", ""),
        ] {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            let found = parse(&bad).unwrap_err().0;
            assert!(found.contains(why), "{at} {bytes:?}: {found}");
        }
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err(), "{cut}");
        }
        assert!(parse(&[&good[..], b"\0"].concat()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_one_call_or_an_error(at in 0_usize..120, bytes: Vec<u8>) {
            let mut message = written(&CALL);
            let end = message.len().min(at + bytes.len());
            if at < end {
                message[at..end].copy_from_slice(&bytes[..end - at]);
            }
            if let Ok(call) = parse(&message) {
                assert_eq!(parse(&written(&call)), Ok(call));
            }
            let _ = parse(&bytes);
        }
    }
}
