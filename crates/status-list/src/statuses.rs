//! The statuses of a list in a form that takes little memory.

use crate::list::{StatusList, StatusType};

/// The statuses of a list, for lookup. If few statuses are other than valid, only those are stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Statuses {
    /// All statuses, packed as in the list.
    Packed(StatusList),
    /// Only the statuses that are not valid.
    Sparse {
        /// The number of statuses that the list covers.
        entries: u64,
        /// The index in the upper 24 bits, the status in the lowest 8 bits. Sorted by index.
        set: Box<[u32]>,
    },
}

/// The maximum number of statuses in a sparse list: an item of `set` has 24 bits for the index.
const MAX_ENTRIES: u64 = 1 << 24;
const VALUE_BITS: u32 = 8;
/// A list is stored sparse if it has at most one item of 4 bytes for this many packed bytes. It
/// then takes at most half the memory, which makes up for the slower lookup.
const BYTES_PER_ITEM: usize = 8;

impl From<StatusList> for Statuses {
    fn from(list: StatusList) -> Self {
        let items = list.bytes().len().div_euclid(BYTES_PER_ITEM);
        // A lower bound: a byte that is not zero holds at least one item.
        let least = list.bytes().iter().filter(|byte| **byte != 0).take(items.saturating_add(1));
        if list.entries() > MAX_ENTRIES || least.count() > items {
            return Self::Packed(list);
        }
        let mut set = Vec::new();
        for (position, byte) in (0_u64..).zip(list.bytes()) {
            if *byte == 0 {
                continue;
            }
            let per_byte = 8_u64.div_euclid(u64::from(list.bits().number()).max(1));
            for index in position.saturating_mul(per_byte)
                ..position.saturating_add(1).saturating_mul(per_byte)
            {
                let value = list.status(index).map_or(0, StatusType::number);
                if value != 0 {
                    // `MAX_ENTRIES` keeps the index below 2^24.
                    let index = u32::try_from(index).unwrap_or(u32::MAX);
                    set.push(index.wrapping_shl(VALUE_BITS) | u32::from(value));
                }
            }
        }
        if set.len() > items {
            return Self::Packed(list);
        }
        Self::Sparse { entries: list.entries(), set: set.into() }
    }
}

impl Statuses {
    /// Returns the status at `index`, or `None` when the list does not cover that index.
    pub fn status(&self, index: u64) -> Option<StatusType> {
        let (entries, set) = match self {
            Self::Packed(list) => return list.status(index),
            Self::Sparse { entries, set } => (*entries, set),
        };
        if index >= entries {
            return None;
        }
        let wanted = u32::try_from(index).ok()?;
        let found = set.binary_search_by_key(&wanted, |item| item >> VALUE_BITS);
        let item = found.ok().and_then(|at| set.get(at));
        Some(item.map_or(StatusType::Valid, |item| StatusType::from((item & 0xff) as u8)))
    }

    /// Returns the statuses of an empty list, which covers no index.
    pub fn empty() -> Self {
        Self::Sparse { entries: 0, set: Box::default() }
    }

    /// The memory allocated for the statuses, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Packed(list) => list.bytes().len(),
            Self::Sparse { set, .. } => size_of_val::<[u32]>(set),
        }
    }
}

#[cfg(all(test, feature = "encoder"))]
mod tests {
    use super::*;
    use crate::list::Bits;

    #[test]
    fn both_forms_say_what_the_list_says() {
        for (bits, value) in [(Bits::One, 1), (Bits::Two, 2), (Bits::Four, 9), (Bits::Eight, 255)] {
            for step in [1_u64, 7, 40, 200, 5_000] {
                let mut list = StatusList::all_valid(bits, 10_000);
                for index in (3..list.entries()).step_by(step as usize) {
                    list.set(index, value);
                }
                let statuses = Statuses::from(list.clone());
                assert!(statuses.bytes() <= list.bytes().len());
                if step >= 200 {
                    assert!(matches!(statuses, Statuses::Sparse { .. }), "{bits:?} {step}");
                }
                for index in 0..list.entries() + 9 {
                    assert_eq!(
                        statuses.status(index),
                        list.status(index),
                        "{bits:?} {step} {index}"
                    );
                }
                assert_eq!(statuses.status(u64::MAX), None);
            }
        }
    }

    #[test]
    fn what_is_dense_or_too_long_stays_packed() {
        let mut dense = StatusList::all_valid(Bits::One, 1 << 10);
        (0..1 << 10).for_each(|index| assert!(dense.set(index, 1)));
        assert!(matches!(Statuses::from(dense), Statuses::Packed(_)));
        let long = StatusList::all_valid(Bits::One, (1 << 24) + 8);
        assert!(matches!(Statuses::from(long), Statuses::Packed(_)));
        let empty = StatusList::all_valid(Bits::One, 1 << 17);
        assert_eq!(Statuses::from(empty).bytes(), 0);
    }
}
