//! Protocol buffers on the wire: the few kinds of fields that TensorBoard's messages need.
//!
//! A field is a key (its number and how it is encoded) and its content. Field numbers here are below 16, so a key is one byte.

/// A field of whole numbers.
pub(super) fn put_number(bytes: &mut Vec<u8>, field: u8, value: u64) {
    bytes.push(field << 3);
    put_varint(bytes, value);
}

pub(super) fn put_double(bytes: &mut Vec<u8>, field: u8, value: f64) {
    bytes.push(field << 3 | 1);
    bytes.extend(value.to_le_bytes());
}

pub(super) fn put_float(bytes: &mut Vec<u8>, field: u8, value: f32) {
    bytes.push(field << 3 | 5);
    bytes.extend(value.to_le_bytes());
}

/// A field of bytes, a string or a message.
pub(super) fn put_bytes(bytes: &mut Vec<u8>, field: u8, content: &[u8]) {
    bytes.push(field << 3 | 2);
    put_varint(bytes, content.len() as u64);
    bytes.extend(content);
}

/// A message that has only `content` in `field`.
pub(super) fn message_of(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_bytes(&mut bytes, field, content);
    bytes
}

pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}
