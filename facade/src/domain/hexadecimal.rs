//! Bytes as hexadecimal digits, two for each, and back. Pure.

/// The digits of the bytes, in lower case.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of the digits; `None` when there is something else among them, or a digit too many.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |start| u8::from_str_radix(&text[start..start + 2], 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(encode(&[0, 0xA5, 255]), "00a5ff");
        assert_eq!(decode("00a5ff"), Some(vec![0, 0xA5, 255]));
        assert_eq!(decode(""), Some(Vec::new()));
        for bad in ["0", "0g", "+1", "ää"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
