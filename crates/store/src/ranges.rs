//! Ranges of indices that this process has reserved in status lists, so that most tokens get theirs without
//! a statement. A process that ends leaves the rest of its ranges unused.

use std::collections::HashMap;

use edgepass_issuer::status_index::permute;
use edgepass_issuer::storage::{NewList, StatusSlot};

use crate::rows::{self, BadRow, Columns};

/// Indices that are reserved at once, at most. A process that issues one token reserves one.
const MOST_INDICES: usize = 256;

/// An index that was taken for a token.
pub(crate) struct Taken {
    pub(crate) slot: StatusSlot,
    /// Its place in the order of the list.
    pub(crate) counter: u32,
}

/// Indices of a list that were taken together.
#[derive(Clone)]
pub(crate) struct Range {
    list_id: String,
    secret: [u8; 32],
    capacity: u32,
    counters: std::ops::Range<u32>,
}

impl Range {
    /// The last `count` indices that a list has given. The row has the columns `id`, `secret`, `capacity` and
    /// `next_counter`.
    pub(crate) fn last(row: &impl Columns, count: u32) -> Result<Self, sqlx::Error> {
        let bad = || sqlx::Error::Decode(Box::new(BadRow("status_lists")));
        let end: u32 = rows::unsigned(row, "next_counter")?;
        Ok(Self {
            list_id: rows::text(row, "id")?,
            secret: row.bytes("secret")?.try_into().map_err(|_| bad())?,
            capacity: rows::unsigned(row, "capacity")?,
            counters: end.checked_sub(count).ok_or_else(bad)?..end,
        })
    }
}

impl Iterator for Range {
    type Item = Taken;

    fn next(&mut self) -> Option<Taken> {
        let counter = self.counters.next()?;
        let index = u64::from(permute(&self.secret, counter, self.capacity));
        Some(Taken { slot: StatusSlot { list_id: self.list_id.clone(), index }, counter })
    }
}

/// The reserved ranges, by the end of the window and the bits of a list.
#[derive(Clone, Default)]
pub(crate) struct Ranges(HashMap<(u64, u8), Reserved>);

/// The end of the window and the bits of a list.
fn key(list: &NewList) -> (u64, u8) {
    (list.window.end, list.bits.number())
}

#[derive(Clone)]
struct Reserved {
    range: Range,
    /// How many indices it had.
    size: usize,
}

impl Ranges {
    /// Takes a reserved index for a token. `None`: none is left.
    pub(crate) fn next(&mut self, list: &NewList) -> Option<Taken> {
        self.0.get_mut(&key(list))?.range.next()
    }

    /// How many indices to reserve when none is left: at least `wanted`, as far as a list has so many, and
    /// twice as many as before.
    pub(crate) fn size(&self, list: &NewList, wanted: usize) -> usize {
        let before = self.0.get(&key(list)).map_or(0, |reserved| reserved.size);
        before.saturating_mul(2).clamp(wanted.min(MOST_INDICES), MOST_INDICES)
    }

    /// Keeps a range that was reserved when `size` indices were asked for.
    pub(crate) fn keep(&mut self, list: &NewList, range: Range, size: usize) {
        self.0.insert(key(list), Reserved { range, size });
    }

    /// Ends the ranges of windows that have passed. `now` is in seconds.
    pub(crate) fn end(&mut self, now: u64) {
        self.0.retain(|(end, _), _| *end >= now);
    }

    /// Forgets all ranges: the transaction that reserved one of them has failed.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
