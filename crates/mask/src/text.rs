//! Strings of JSON, octet by octet: whether they are valid, and what they say.

/// Where a string is. It is valid so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    /// Between characters.
    #[default]
    Plain,
    /// Within a character of UTF-8: octets that are left, and the bounds of the next one.
    Utf8(u8, u8, u8),
    /// After a backslash.
    Escape,
    /// Within `\uXXXX`: digits that are left, and the number so far.
    Hex(u8, u16),
}

/// What an octet does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Read {
    /// The string goes on.
    On,
    /// The string has ended.
    End,
    /// It is no string of JSON.
    Invalid,
}

/// Reads a string, after its first quote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    at: At,
    /// The first half of a pair of surrogates.
    high: Option<u16>,
    /// The decoded text, if it is wanted.
    pub(crate) decoded: Vec<u8>,
    is_wanted: bool,
}

impl Text {
    /// Begins a string.
    pub(crate) fn begin(&mut self, is_wanted: bool) {
        (self.at, self.high, self.is_wanted) = (At::Plain, None, is_wanted);
        self.decoded.clear();
    }

    /// Whether a quote ends the string here, and nothing else is to be done.
    pub(crate) fn is_plain(&self) -> bool {
        self.at == At::Plain && self.high.is_none()
    }

    /// The number of octets at the start of `input` that need no look: plain ASCII within the string.
    pub(crate) fn plain(&mut self, input: &[u8]) -> usize {
        if !self.is_plain() {
            return 0;
        }
        let length = plain_length(input);
        if self.is_wanted {
            self.decoded.extend_from_slice(input.get(..length).unwrap_or_default());
        }
        length
    }

    /// Takes one octet.
    pub(crate) fn take(&mut self, byte: u8) -> Read {
        match self.at {
            At::Plain => match byte {
                b'"' => {
                    self.lone();
                    return Read::End;
                }
                b'\\' => self.at = At::Escape,
                0..=0x1f => return Read::Invalid,
                0x20..=0x7f => self.keep(&[byte]),
                // RFC 3629 §4
                0xc2..=0xdf => self.lead(byte, 1, 0x80, 0xbf),
                0xe0 => self.lead(byte, 2, 0xa0, 0xbf),
                0xed => self.lead(byte, 2, 0x80, 0x9f),
                0xe1..=0xef => self.lead(byte, 2, 0x80, 0xbf),
                0xf0 => self.lead(byte, 3, 0x90, 0xbf),
                0xf1..=0xf3 => self.lead(byte, 3, 0x80, 0xbf),
                0xf4 => self.lead(byte, 3, 0x80, 0x8f),
                _ => return Read::Invalid,
            },
            At::Utf8(left, low, high) => {
                if !(low..=high).contains(&byte) {
                    return Read::Invalid;
                }
                self.keep_raw(byte);
                self.at = match left {
                    1 => At::Plain,
                    left => At::Utf8(left.saturating_sub(1), 0x80, 0xbf),
                };
            }
            At::Escape => {
                self.at = At::Plain;
                match byte {
                    b'"' | b'\\' | b'/' => self.keep(&[byte]),
                    b'b' => self.keep(&[8]),
                    b'f' => self.keep(&[12]),
                    b'n' => self.keep(b"\n"),
                    b'r' => self.keep(b"\r"),
                    b't' => self.keep(b"\t"),
                    b'u' => self.at = At::Hex(4, 0),
                    _ => return Read::Invalid,
                }
            }
            At::Hex(left, number) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return Read::Invalid };
                let number = number << 4 | digit as u16;
                self.at = match left {
                    1 => {
                        self.unit(number);
                        At::Plain
                    }
                    left => At::Hex(left.saturating_sub(1), number),
                };
            }
        }
        Read::On
    }

    fn lead(&mut self, byte: u8, left: u8, low: u8, high: u8) {
        self.lone();
        self.keep_raw(byte);
        self.at = At::Utf8(left, low, high);
    }

    /// A code unit of UTF-16.
    fn unit(&mut self, unit: u16) {
        let pair = self.high.take().map(|high| char::decode_utf16([high, unit]).next());
        match pair {
            Some(Some(Ok(sign))) => return self.keep_char(sign),
            Some(_) => self.keep_char(char::REPLACEMENT_CHARACTER),
            None => {}
        }
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            unit => {
                let sign = char::from_u32(unit.into());
                self.keep_char(sign.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    /// Half of a pair without the other half.
    fn lone(&mut self) {
        if self.high.take().is_some() {
            self.keep_char(char::REPLACEMENT_CHARACTER);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.lone();
        if self.is_wanted {
            self.decoded.extend_from_slice(bytes);
        }
    }

    fn keep_raw(&mut self, byte: u8) {
        if self.is_wanted {
            self.decoded.push(byte);
        }
    }

    fn keep_char(&mut self, sign: char) {
        if self.is_wanted {
            self.decoded.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// The number of octets before the first that is a quote, a backslash, a control character or not ASCII. Looks at
/// eight at once.
pub(crate) fn plain_length(input: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The lowest high bit that is set marks the first octet that is below `bound`.
    let below = |octets: u64, bound: u64| octets.wrapping_sub(ONES.wrapping_mul(bound)) & !octets;
    let equal = |octets: u64, sought: u8| below(octets ^ ONES.wrapping_mul(u64::from(sought)), 1);
    let (chunks, rest) = input.as_chunks::<8>();
    let mut length: usize = 0;
    for chunk in chunks {
        let octets = u64::from_le_bytes(*chunk);
        let special = octets | below(octets, 0x20) | equal(octets, b'"') | equal(octets, b'\\');
        if special & HIGH != 0 {
            let bits = (special & HIGH).trailing_zeros();
            return length.saturating_add(bits as usize / 8);
        }
        length = length.saturating_add(8);
    }
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7f) && *byte != b'"' && *byte != b'\\';
    length.saturating_add(rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len()))
}

/// Appends texts, together as one string of JSON.
pub(crate) fn write(texts: &[&str], out: &mut Vec<u8>) {
    out.push(b'"');
    for text in texts {
        let (plain, rest) =
            text.split_at_checked(plain_length(text.as_bytes())).unwrap_or((text, ""));
        out.extend_from_slice(plain.as_bytes());
        for byte in rest.bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0..=0x1f => {
                    let low = byte & 0xf;
                    let low = low.wrapping_add(if low < 10 { b'0' } else { b'a' - 10 });
                    out.extend_from_slice(b"\\u00");
                    out.extend_from_slice(&[b'0' | byte >> 4, low]);
                }
                byte => out.push(byte),
            }
        }
    }
    out.push(b'"');
}
