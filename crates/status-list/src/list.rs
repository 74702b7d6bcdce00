//! The status list: a packed array of small integers, compressed with zlib for transfer.

use edgepass_jose::base64url;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// The width of one status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bits {
    /// 1 bit: valid or revoked.
    One,
    /// 2 bits: valid, revoked, suspended, and 3, which has no general meaning.
    Two,
    /// 4 bits: 16 status types.
    Four,
    /// 8 bits: 256 status types.
    Eight,
}

impl Bits {
    /// Reads the member `bits`. Returns `None` unless it is 1, 2, 4 or 8.
    pub fn from_number(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    /// The width in bits, as in the member `bits`.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The base-2 logarithm of the number of statuses in a byte.
    fn per_byte_log2(self) -> u32 {
        match self {
            Self::One => 3,
            Self::Two => 2,
            Self::Four => 1,
            Self::Eight => 0,
        }
    }

    /// A status with all bits set.
    fn mask(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 3,
            Self::Four => 15,
            Self::Eight => 255,
        }
    }
}

/// The meaning of a status value (draft section 7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusType {
    /// 0x00: the token is valid.
    Valid,
    /// 0x01: the token is revoked permanently.
    Invalid,
    /// 0x02: the token is suspended.
    Suspended,
    /// Any other value. It has no meaning in this version, so the verifier refuses the token.
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
    /// The value that stores this status in a list.
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

/// The reason why `lst` is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListError {
    /// `lst` is not canonical base64url.
    #[error("lst is not base64url without padding")]
    NotBase64url,
    /// The bytes are not exactly one zlib stream: the header, the checksum or the length is wrong,
    /// or further bytes follow.
    #[error("lst is not a zlib stream")]
    NotZlib,
    /// The list would inflate to more than `max_bytes`.
    #[error("the list is larger than allowed")]
    TooLarge,
}

impl StatusList {
    /// Decodes `lst`, the base64url encoding of a zlib stream. Refuses a list that inflates to more
    /// than `max_bytes`, without inflating the rest.
    ///
    /// Checks CMF, FLG and Adler-32. Refuses a preset dictionary and trailing bytes.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §4.1 and §4.2, RFC 1950 §2.3.
    ///
    /// # Errors
    ///
    /// [`ListError`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_status_list::{Bits, StatusList, StatusType};
    ///
    /// let list = StatusList::decode(Bits::One, "eNrbuRgAAhcBXQ", 1 << 20)?; // draft section 4.1
    /// assert_eq!(list.status(0), Some(StatusType::Invalid));
    /// assert_eq!(list.status(1), Some(StatusType::Valid));
    /// assert_eq!((list.entries(), list.status(16)), (16, None));
    /// # Ok::<(), edgepass_status_list::list::ListError>(())
    /// ```
    pub fn decode(bits: Bits, lst: &str, max_bytes: usize) -> Result<Self, ListError> {
        let compressed = base64url::decode(lst).ok_or(ListError::NotBase64url)?;
        let bytes = inflate(&compressed, max_bytes)?;
        Ok(Self { bits, bytes })
    }

    /// Makes a list of `entries` statuses, rounded up to whole bytes. All statuses are valid.
    #[cfg(feature = "encoder")]
    pub fn all_valid(bits: Bits, entries: u32) -> Self {
        let bytes = u64::from(entries).div_ceil(1 << bits.per_byte_log2());
        Self { bits, bytes: vec![0; bytes as usize] }
    }

    /// Sets the status at `index`. Returns `false` when `index` is out of range or `value` does not
    /// fit the width; the list is then unchanged.
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

    /// Returns the status at `index`, or `None` when `index` is not below [`StatusList::entries`].
    ///
    /// Source: draft-ietf-oauth-status-list-20 §4.1: least significant bits first.
    pub fn status(&self, index: u64) -> Option<StatusType> {
        let (byte, shift, mask) = self.locate(index)?;
        Some(StatusType::from(self.bytes.get(byte)?.checked_shr(shift)? & mask))
    }

    /// The number of statuses that are not valid.
    pub fn count_not_valid(&self) -> u64 {
        let in_byte = |byte: &u8| -> u64 {
            match self.bits {
                Bits::One => byte.count_ones().into(),
                Bits::Two => ((byte | byte >> 1) & 0x55).count_ones().into(),
                Bits::Four => u64::from(byte & 0x0f != 0).saturating_add((byte & 0xf0 != 0).into()),
                Bits::Eight => (*byte != 0).into(),
            }
        };
        self.bytes.iter().map(in_byte).sum()
    }

    /// Indices of statuses of this list that may differ from those of `other`: all in the bytes that
    /// differ, and those that `other` lacks.
    pub fn may_differ<'l>(&'l self, other: &'l Self) -> impl Iterator<Item = u64> + 'l {
        let in_byte = 1_u64 << self.bits.per_byte_log2();
        let same = self.bits == other.bits;
        let bytes = self.bytes.iter().enumerate();
        let differ = bytes.filter(move |(at, byte)| !same || other.bytes.get(*at) != Some(byte));
        differ.flat_map(move |(at, _)| {
            let first = (at as u64).saturating_mul(in_byte);
            first..first.saturating_add(in_byte)
        })
    }

    /// The width of one status.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// The number of statuses that the list covers: a multiple of those in a byte.
    pub fn entries(&self) -> u64 {
        (self.bytes.len() as u64).saturating_mul(1 << self.bits.per_byte_log2())
    }

    /// The packed statuses, not compressed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the byte, the shift and the mask of a status, or `None` when `index` is out of
    /// range.
    fn locate(&self, index: u64) -> Option<(usize, u32, u8)> {
        let per_byte_log2 = self.bits.per_byte_log2();
        let byte = usize::try_from(index >> per_byte_log2).ok()?;
        // The position in the byte. Multiplied by the width of a status, it gives the shift.
        let position = (index & !(u64::MAX << per_byte_log2)) as u32;
        let (shift, mask) = (position.checked_mul(self.bits.number().into())?, self.bits.mask());
        (byte < self.bytes.len()).then_some((byte, shift, mask))
    }
}

/// Inflates `input`, which must be exactly one zlib stream. Refuses output of over `max_bytes`.
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
                // Memory use is counted by length, so no spare capacity may remain.
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
            // A new value overwrites all bits of the previous one.
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

    #[cfg(feature = "encoder")]
    #[test]
    fn statuses_are_counted_and_compared_as_they_are_read() {
        for bits in [Bits::One, Bits::Two, Bits::Four, Bits::Eight] {
            let mut before = StatusList::all_valid(bits, 100);
            let mut drawn = 7_u64;
            let mut draw = |below: u64| {
                drawn = drawn.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (drawn >> 33) % below
            };
            for _ in 0..300 {
                let mut after = before.clone();
                let value = draw(1 << bits.number()) as u8;
                assert!(after.set(draw(100), value));
                let all = || 0..after.entries();
                let not_valid = all().filter(|at| after.status(*at) != Some(StatusType::Valid));
                assert_eq!(after.count_not_valid(), not_valid.count() as u64);
                let may: Vec<u64> = before.may_differ(&after).collect();
                for at in all().filter(|at| before.status(*at) != after.status(*at)) {
                    assert!(may.contains(&at), "{bits:?} {at}");
                }
                assert!(may.len() <= 8, "one byte at most");
                before = after;
            }
            let short = StatusList::all_valid(bits, 8);
            assert!(before.may_differ(&short).any(|at| short.status(at).is_none()));
        }
    }
}
