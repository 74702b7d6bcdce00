//! The status list itself: a packed array of small integers, zlib-compressed on the wire.

use edgepass_jose::base64url;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// How many bits one status takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bits {
    /// Valid or revoked.
    One,
    /// Also suspended.
    Two,
    /// 16 status types.
    Four,
    /// 256 status types.
    Eight,
}

impl Bits {
    /// From the member `bits`.
    pub fn from_number(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    /// As the member `bits` writes it.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// How many statuses a byte holds, as a power of two.
    fn per_byte_log2(self) -> u32 {
        match self {
            Self::One => 3,
            Self::Two => 2,
            Self::Four => 1,
            Self::Eight => 0,
        }
    }

    /// A status' bits, all set.
    fn mask(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 3,
            Self::Four => 15,
            Self::Eight => 255,
        }
    }
}

/// What a status value means (draft section 7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusType {
    /// 0x00: the token is valid.
    Valid,
    /// 0x01: the token is revoked, for good.
    Invalid,
    /// 0x02: the token is suspended.
    Suspended,
    /// A value this version knows no meaning for; it never passes.
    Unknown(u8),
}

impl From<u8> for StatusType {
    fn from(value: u8) -> Self {
        match value {
            0 => Self::Valid,
            1 => Self::Invalid,
            2 => Self::Suspended,
            other => Self::Unknown(other),
        }
    }
}

impl StatusType {
    /// The value in a list.
    pub fn number(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Suspended => 2,
            Self::Unknown(value) => value,
        }
    }
}

/// A decompressed status list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusList {
    bits: Bits,
    bytes: Vec<u8>,
}

/// Why `lst` is not a status list.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListError {
    /// Not canonical base64url.
    #[error("lst is not base64url without padding")]
    NotBase64url,
    /// Not one whole zlib stream: header, checksum or length is wrong, or something follows it.
    #[error("lst is not a zlib stream")]
    NotZlib,
    /// It would inflate to more than the policy allows.
    #[error("the list is larger than allowed")]
    TooLarge,
}

impl StatusList {
    /// Decode `lst`. At most `max_bytes` are inflated, whatever the input promises.
    ///
    /// CMF, FLG and Adler-32 are checked; a preset dictionary and trailing bytes are refused.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §4.1 and §4.2, RFC 1950 §2.3.
    pub fn decode(bits: Bits, lst: &str, max_bytes: usize) -> Result<Self, ListError> {
        let compressed = base64url::decode(lst).ok_or(ListError::NotBase64url)?;
        let bytes = inflate(&compressed, max_bytes)?;
        Ok(Self { bits, bytes })
    }

    /// A list of `entries` statuses, all valid, rounded up to whole bytes.
    #[cfg(feature = "encoder")]
    pub fn all_valid(bits: Bits, entries: u32) -> Self {
        let bytes = u64::from(entries).div_ceil(1 << bits.per_byte_log2());
        Self { bits, bytes: vec![0; bytes as usize] }
    }

    /// Set the status at `index`; false when it is out of range or does not fit the width.
    #[cfg(feature = "encoder")]
    pub fn set(&mut self, index: u64, value: u8) -> bool {
        let Some((byte, shift, mask)) = self.locate(index) else { return false };
        if value & !mask != 0 {
            return false;
        }
        let Some(slot) = self.bytes.get_mut(byte) else { return false };
        *slot = (*slot & !(mask << shift)) | (value << shift);
        true
    }

    /// The status at `index`, or `None` when the list does not cover it.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §4.1: least significant bits first.
    pub fn status(&self, index: u64) -> Option<StatusType> {
        let (byte, shift, mask) = self.locate(index)?;
        Some(StatusType::from(self.bytes.get(byte)?.checked_shr(shift)? & mask))
    }

    /// How many bits one status takes.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// How many statuses the list covers.
    pub fn entries(&self) -> u64 {
        (self.bytes.len() as u64).saturating_mul(1 << self.bits.per_byte_log2())
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Byte, shift and mask of an entry.
    fn locate(&self, index: u64) -> Option<(usize, u32, u8)> {
        let per_byte_log2 = self.bits.per_byte_log2();
        let byte = usize::try_from(index >> per_byte_log2).ok()?;
        // The position in the byte, times the width of a status.
        let position = (index & !(u64::MAX << per_byte_log2)) as u32;
        let (shift, mask) = (position.checked_mul(self.bits.number().into())?, self.bits.mask());
        (byte < self.bytes.len()).then_some((byte, shift, mask))
    }
}

/// Inflate one zlib stream that is all of `input` and at most `max_bytes` long.
fn inflate(input: &[u8], max_bytes: usize) -> Result<Vec<u8>, ListError> {
    const FLAGS: u32 = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
        | inflate_flags::TINFL_FLAG_COMPUTE_ADLER32
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut inflator = Box::<DecompressorOxide>::default();
    let mut output = vec![0; input.len().saturating_mul(4).clamp(64, max_bytes.max(64))];
    let (mut read, mut written) = (0, 0);
    loop {
        let rest = input.get(read..).unwrap_or_default();
        let (status, consumed, produced) =
            decompress(&mut inflator, rest, &mut output, written, FLAGS);
        read = read.saturating_add(consumed);
        written = written.saturating_add(produced);
        match status {
            TINFLStatus::Done if read == input.len() && written <= max_bytes => {
                output.truncate(written);
                // What is kept is counted by its length.
                output.shrink_to_fit();
                return Ok(output);
            }
            TINFLStatus::Done if written > max_bytes => return Err(ListError::TooLarge),
            TINFLStatus::HasMoreOutput if output.len() >= max_bytes => {
                return Err(ListError::TooLarge);
            }
            TINFLStatus::HasMoreOutput => {
                output.resize(output.len().saturating_mul(2).min(max_bytes), 0);
            }
            _ => return Err(ListError::NotZlib),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn reads_the_examples_of_section_4_1() {
        // One bit: 1,0,0,1,1,1,0,1,1,1,0,0,0,1,0,1
        let list = StatusList::decode(Bits::One, "eNrbuRgAAhcBXQ", LIMIT).unwrap();
        let ones: Vec<u64> =
            (0..16).filter(|i| list.status(*i) == Some(StatusType::Invalid)).collect();
        assert_eq!(ones, [0, 3, 4, 5, 7, 8, 9, 13, 15]);
        assert_eq!((list.entries(), list.status(16)), (16, None));
        // Two bits: 1,2,0,3,0,1,0,1,1,2,3,3
        let list = StatusList::decode(Bits::Two, "eNo76fITAAPfAgc", LIMIT).unwrap();
        use StatusType::*;
        let expected = [
            Invalid,
            Suspended,
            Valid,
            Unknown(3),
            Valid,
            Invalid,
            Valid,
            Invalid,
            Invalid,
            Suspended,
            Unknown(3),
            Unknown(3),
        ];
        for (index, expected) in expected.into_iter().enumerate() {
            assert_eq!(list.status(index as u64), Some(expected), "index {index}");
        }
        assert_eq!(list.status(u64::MAX), None);
    }

    #[test]
    fn inflates_exactly_up_to_the_limit() {
        for size in [1_usize, 63, 64, 65, 4096, 100_000] {
            let zeros = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; size], 9);
            let lst = base64url::encode(&zeros);
            let decode = |limit| StatusList::decode(Bits::One, &lst, limit);
            assert_eq!(decode(size).map(|list| list.bytes.len()), Ok(size));
            assert_eq!(decode(size - 1), Err(ListError::TooLarge), "{size}");
        }
    }

    #[test]
    fn refuses_anything_but_one_whole_zlib_stream() {
        let whole = base64url::decode("eNrbuRgAAhcBXQ").unwrap();
        let mut trailing = whole.clone();
        trailing.push(0);
        let mut checksum = whole.clone();
        *checksum.last_mut().unwrap() ^= 1;
        let mut fcheck = whole.clone();
        fcheck[1] ^= 1;
        let mut dictionary = whole.clone();
        dictionary[1] = 0xf9; // FDICT set, FCHECK adjusted
        let truncated = whole[..whole.len() - 1].to_vec();
        for bytes in
            [trailing, checksum, fcheck, dictionary, truncated, vec![], whole[2..].to_vec()]
        {
            let lst = base64url::encode(&bytes);
            assert_eq!(
                StatusList::decode(Bits::One, &lst, LIMIT),
                Err(ListError::NotZlib),
                "{lst}"
            );
        }
        let padded = StatusList::decode(Bits::One, "eNrbuRgAAhcBXQ==", LIMIT);
        assert_eq!(padded, Err(ListError::NotBase64url));
    }

    #[cfg(feature = "encoder")]
    #[test]
    fn what_is_set_is_read_back_and_nothing_else_moves() {
        for (bits, max) in [(Bits::One, 1), (Bits::Two, 3), (Bits::Four, 15), (Bits::Eight, 255)] {
            let mut list = StatusList::all_valid(bits, 100);
            assert!(list.set(37, max) && !list.set(list.entries(), 1));
            assert!(bits == Bits::Eight || !list.set(36, max + 1));
            // Setting another value leaves nothing of the one before.
            assert!(list.set(37, 0) && list.status(37) == Some(StatusType::Valid));
            assert!(list.set(38, max) && list.set(37, max) && list.set(38, 0));
            let lst = crate::encoder::encode(&list);
            let read = StatusList::decode(bits, &lst, LIMIT).unwrap();
            for index in 0..list.entries() {
                let expected = StatusType::from(if index == 37 { max } else { 0 });
                assert_eq!(read.status(index), Some(expected), "{bits:?} {index}");
            }
        }
    }
}
