//! The encoder of status lists, for issuers.

use edgepass_jose::base64url;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output,
    create_comp_flags_from_zip_params,
};

use crate::list::StatusList;

/// Encodes a list as the member `lst`: zlib, then base64url.
///
/// Compresses at the highest level, as the draft recommends. The best strategy depends on the share
/// of statuses that are set, so three are tried and the shortest result is kept.
///
/// Source: draft-ietf-oauth-status-list-20 §4.1 and §4.2.
///
/// # Example
///
/// ```
/// use edgepass_status_list::{Bits, StatusList, encoder};
///
/// let mut list = StatusList::all_valid(Bits::One, 1 << 17);
/// assert!(list.set(7, 1));
/// let lst = encoder::encode(&list);
/// assert_eq!(StatusList::decode(Bits::One, &lst, 1 << 20), Ok(list));
/// ```
pub fn encode(list: &StatusList) -> String {
    encode_best(list).0
}

/// A strategy of the compression.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Strategy(CompressionStrategy);

/// As [`encode`]. Returns the strategy as well, for [`encode_with`].
pub fn encode_best(list: &StatusList) -> (String, Strategy) {
    let strategies =
        [CompressionStrategy::Default, CompressionStrategy::RLE, CompressionStrategy::HuffmanOnly];
    let zipped = strategies.into_iter().filter_map(|strategy| {
        let zipped = zip(list.bytes(), strategy)?;
        Some((zipped, Strategy(strategy)))
    });
    let best = zipped.min_by_key(|(zipped, _)| zipped.len());
    let (zipped, strategy) =
        best.unwrap_or_else(|| (Vec::new(), Strategy(CompressionStrategy::Default)));
    (base64url::encode(&zipped), strategy)
}

/// Encodes with one strategy: a third of the work or less, for a list that differs little from the one
/// that the strategy was best for.
pub fn encode_with(list: &StatusList, Strategy(strategy): Strategy) -> String {
    base64url::encode(&zip(list.bytes(), strategy).unwrap_or_default())
}

fn zip(bytes: &[u8], strategy: CompressionStrategy) -> Option<Vec<u8>> {
    const HIGHEST: i32 = 9;
    /// A window of 2^15 bytes. A positive value also requests a zlib header.
    const WINDOW_BITS: i32 = 15;
    let flags = create_comp_flags_from_zip_params(HIGHEST, WINDOW_BITS, strategy as i32);
    let mut zipped = Vec::new();
    let mut take = |part: &[u8]| {
        zipped.extend_from_slice(part);
        true
    };
    let mut compressor = CompressorOxide::new(flags);
    let (status, _) = compress_to_output(&mut compressor, bytes, TDEFLFlush::Finish, &mut take);
    // Always `Done`: writing to memory does not fail.
    (status == TDEFLStatus::Done).then_some(zipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Bits;

    /// The length of the zlib stream is at most 1.8 times the entropy of the statuses if 0.1 % of
    /// them are set, and 1.5 times if it is 1 % or more.
    #[test]
    fn a_list_takes_little_more_than_what_it_says() {
        for (share, most) in [(0.001_f64, 1.8), (0.01, 1.5), (0.05, 1.5), (0.3, 1.5)] {
            let entries = 1_u32 << 17;
            let mut list = StatusList::all_valid(Bits::One, entries);
            let mut drawn = 1_u64;
            let mut set = 0.0;
            while set < share * f64::from(entries) {
                // Knuth's MMIX generator.
                drawn = drawn.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let index = drawn >> 47;
                if list.status(index) == Some(crate::StatusType::Valid) {
                    list.set(index, 1);
                    set += 1.0;
                }
            }
            let entropy = -(share * share.log2() + (1.0 - share) * (1.0 - share).log2());
            let bound = f64::from(entries) * entropy / 8.0;
            let (encoded, strategy) = encode_best(&list);
            assert_eq!((encode(&list), encode_with(&list, strategy)), (encoded.clone(), encoded));
            let zipped = base64url::decode(&encode(&list)).unwrap().len() as f64;
            // Its strategy is good for a list that differs a little, too.
            list.set(1, 1);
            let near = base64url::decode(&encode_with(&list, strategy)).unwrap().len() as f64;
            assert!(near <= 1.02 * zipped, "{near} {zipped}");
            assert!(zipped <= most * bound, "{share}: {:.2} times", zipped / bound);
        }
    }
}
