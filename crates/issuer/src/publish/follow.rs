//! Serves documents that another process has made from the same database.

use std::collections::HashMap;

use edgepass_verify::UnixMillis;

use super::error::PublishError;
use super::{Publisher, list_path, lock, read, write};
use crate::paths::{AGGREGATION, JWK_SET, LISTS, METADATA, STATUS_HEAD};
use crate::status_index::RETIRE_AFTER;
use crate::storage::Store;

/// The number of changes of each list that are published everywhere, by path.
pub(super) type Followed = HashMap<String, u64>;

impl<S: Store> Publisher<S> {
    /// The state of the lists before the documents are read: call it first, then [`Publisher::follow`].
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`].
    pub async fn look(&self, now: u64) -> Result<Look, PublishError> {
        self.issuer.reload_keys().await?;
        let states = self.store().lists(now.saturating_sub(RETIRE_AFTER)).await?;
        Ok(Look(states.into_iter().map(|state| (list_path(&state.id), state.published)).collect()))
    }

    /// Serves documents, by path, that another process has written since. Drops lists that have retired.
    pub fn follow(&self, look: Look, documents: Vec<(String, String)>, now: UnixMillis) {
        let Look(published) = look;
        for (path, body) in documents {
            if path == STATUS_HEAD {
                lock(&self.heads).follows(&body);
            } else if let Some(media_type) = media_type(&path) {
                self.serve(&path, media_type, body);
            }
        }
        // They are fetched back by the process that made them.
        drop(self.take_unseen());
        self.retire_all_but(published.keys().cloned().collect());
        let is_first = read(&self.followed).is_none();
        if is_first {
            // From now on this process serves what it has read, not what it has written.
            *write(&self.followed) = Some(Followed::new());
        }
        self.renew_head(now);
        *write(&self.followed) = Some(published);
    }

    /// Makes the documents from now on, instead of following. Serves nothing until then: the process that led
    /// may have published more than this one knows.
    pub fn lead(&self) {
        write(&self.documents).clear();
        lock(&self.heads).clear();
        *write(&self.followed) = None;
    }

    /// As [`Publisher::covers`], while another process publishes. `None`: this one does.
    pub(super) fn follows(&self, path: &str, change: u64) -> Option<bool> {
        let followed = read(&self.followed);
        let published = followed.as_ref()?.get(path).is_some_and(|published| *published >= change);
        Some(published && self.document(path).is_some())
    }
}

/// The lists that have not retired, and what of them is published everywhere.
pub struct Look(Followed);

fn media_type(path: &str) -> Option<&'static str> {
    match path {
        METADATA | AGGREGATION => Some("application/json"),
        JWK_SET => Some("application/jwk-set+json"),
        path if path.starts_with(LISTS) => Some("application/statuslist+jwt"),
        _ => None,
    }
}
