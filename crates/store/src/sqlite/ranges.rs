//! Ranges of indices that this process has reserved in status lists, so that most tokens get theirs without
//! a statement. A process that ends leaves the rest of its ranges unused.

use std::collections::HashMap;

use edgepass_issuer::storage::{NewList, StoreError};
use sqlx::SqliteConnection;

use super::issue::{self, Range, Taken};

/// Indices that are reserved at once, at most. A process that issues one token reserves one.
const MOST_INDICES: usize = 256;

/// The reserved ranges, by the end of the window and the bits of a list.
#[derive(Clone, Default)]
pub(super) struct Ranges(HashMap<(u64, u8), Reserved>);

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
    pub(super) fn next(&mut self, list: &NewList) -> Option<Taken> {
        self.0.get_mut(&key(list))?.range.next()
    }

    /// Takes an index for a token. If none is reserved, reserves at least `wanted`, as far as a list has
    /// so many, and twice as many as before.
    pub(super) async fn take(
        &mut self,
        connection: &mut SqliteConnection,
        list: &NewList,
        wanted: usize,
    ) -> Result<Taken, StoreError> {
        if let Some(taken) = self.next(list) {
            return Ok(taken);
        }
        let key = key(list);
        let before = self.0.get(&key).map_or(0, |reserved| reserved.size);
        let size = before.saturating_mul(2).clamp(wanted.min(MOST_INDICES), MOST_INDICES);
        let mut range = issue::take(connection, list, size).await?;
        let taken = range.next();
        self.0.insert(key, Reserved { range, size });
        taken.ok_or_else(|| super::corrupt(crate::rows::BadRow("status_lists")))
    }

    /// Ends the ranges of windows that have passed. `now` is in seconds.
    pub(super) fn end(&mut self, now: u64) {
        self.0.retain(|(end, _), _| *end >= now);
    }

    /// Forgets all ranges: the transaction that reserved one of them has failed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
