//! Ranges of indices that this process has reserved in status lists, so that most tokens get theirs without
//! a statement. A process that ends leaves the rest of its ranges unused.

use std::collections::HashMap;

use edgepass_issuer::storage::{NewList, StoreError};
use sqlx::SqliteConnection;

use super::issue::{self, Range, Taken};

/// Most indices that are reserved at once. A process that issues one token reserves one.
const MOST: usize = 256;

/// The reserved ranges, by the end of the window and the bits of a list.
#[derive(Default)]
pub(super) struct Ranges(HashMap<(u64, u8), Reserved>);

struct Reserved {
    range: Range,
    /// How many indices it had.
    size: usize,
}

impl Ranges {
    /// Takes an index for a token. If none is reserved, reserves at least `wanted`, as far as a list has
    /// so many, and twice as many as before.
    pub(super) async fn take(
        &mut self,
        connection: &mut SqliteConnection,
        list: &NewList,
        wanted: usize,
    ) -> Result<Taken, StoreError> {
        let name = (list.window.end, list.bits.number());
        let reserved = self.0.get_mut(&name);
        let before = reserved.as_ref().map_or(0, |reserved| reserved.size);
        if let Some(taken) = reserved.and_then(|reserved| reserved.range.next()) {
            return Ok(taken);
        }
        // Of windows that ended before this one nobody needs an index any more.
        self.0.retain(|(end, _), _| *end >= name.0);
        let size = before.saturating_mul(2).clamp(wanted.min(MOST), MOST);
        let mut range = issue::take(connection, list, size).await?;
        let taken = range.next();
        self.0.insert(name, Reserved { range, size });
        taken.ok_or_else(|| super::corrupt(crate::rows::BadRow("status_lists")))
    }

    /// Forgets all ranges: the transaction that reserved one of them has failed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
