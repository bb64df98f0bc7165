//! Writes messages: the header of a forwarded call, from the fields of a [`Call`] alone, and the proxy's own replies.
//! No byte of a job's header is copied, so that the bus cannot read it differently from this process.

use crate::message::Call;

const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;
const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const NO_REPLY: u8 = 1;
const NO_AUTO_START: u8 = 2;
const DRIVER: &str = "org.freedesktop.DBus";

/// Appends the call with a new header. Of its flags it keeps only that no reply is expected.
pub fn forward(out: &mut Vec<u8>, call: &Call<'_>, may_start: bool) {
    let mut flags = NO_REPLY * u8::from(!call.wants_reply);
    if !may_start {
        flags |= NO_AUTO_START;
    }
    let fixed = Fixed {
        kind: CALL,
        flags,
        serial: call.serial,
    };
    let fields = [
        (1, b'o', call.path),
        (2, b's', call.interface),
        (3, b's', call.member),
        (6, b's', call.destination),
        (8, b'g', call.signature),
    ];
    let written = fields.iter().filter(|(_, _, text)| !text.is_empty());
    write(out, &fixed, None, written, call.body);
}

pub fn reply(out: &mut Vec<u8>, serial: u32, to: u32) {
    let fixed = Fixed {
        kind: REPLY,
        flags: NO_REPLY,
        serial,
    };
    write(out, &fixed, Some(to), [(7, b's', DRIVER)].iter(), &[]);
}

pub fn text(out: &mut Vec<u8>, serial: u32, to: u32, text: &str) {
    let fixed = Fixed {
        kind: REPLY,
        flags: NO_REPLY,
        serial,
    };
    let mut body = Vec::with_capacity(text.len() + 5);
    string(&mut body, text);
    let fields = [(7, b's', DRIVER), (8, b'g', "s")];
    write(out, &fixed, Some(to), fields.iter(), &body);
}

pub fn error(out: &mut Vec<u8>, serial: u32, to: u32, name: &str, text: &str) {
    let fixed = Fixed {
        kind: ERROR,
        flags: NO_REPLY,
        serial,
    };
    let mut body = Vec::with_capacity(text.len() + 5);
    string(&mut body, text);
    let fields = [(4, b's', name), (7, b's', DRIVER), (8, b'g', "s")];
    write(out, &fixed, Some(to), fields.iter(), &body);
}

struct Fixed {
    kind: u8,
    flags: u8,
    serial: u32,
}

fn write<'a>(
    out: &mut Vec<u8>,
    fixed: &Fixed,
    reply_to: Option<u32>,
    fields: impl Iterator<Item = &'a (u8, u8, &'a str)>,
    body: &[u8],
) {
    // It begins at a multiple of 8 of the message, so its own alignment is that of the message.
    let mut array = Vec::new();
    if let Some(serial) = reply_to {
        array.extend([5, 1, b'u', 0]);
        array.extend(serial.to_le_bytes());
    }
    for (code, kind, text) in fields {
        align(&mut array, 8);
        array.extend([*code, 1, *kind, 0]);
        match kind {
            b'g' => {
                array.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                array.extend(text.bytes().chain([0]));
            }
            _ => string(&mut array, text),
        }
    }
    out.extend([LITTLE_ENDIAN, fixed.kind, fixed.flags, VERSION]);
    out.extend(length(body.len()));
    out.extend(fixed.serial.to_le_bytes());
    out.extend(length(array.len()));
    align(&mut array, 8);
    out.extend(array);
    out.extend(body);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(length(text.len()));
    out.extend(text.bytes().chain([0]));
}

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// All lengths are far below 4 GiB.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}
