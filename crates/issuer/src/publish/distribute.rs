//! Writes the served documents to a target.

use edgepass_verify::UnixMillis;
use futures_util::stream::{self, StreamExt};

use super::document::Document;
use super::edition::BadEdition;
use super::error::PublishError;
use super::target_state::TargetState;
use super::{AT_ONCE, Pending, Publisher, key_set, list_path, read};
use crate::keys::Keys;
use crate::paths::{AGGREGATION, JWK_SET, METADATA};
use crate::storage::Store;

impl<S: Store> Publisher<S> {
    /// Writes the served documents to a target, counted from 0, and removes retired lists. Returns
    /// `true` once the target holds all documents served when the call began; `false`: call again
    /// soon. Call it from one task only for each target.
    ///
    /// # Errors
    ///
    /// The first [`PublishError`]. After an error of a list the other documents are still written,
    /// unless the target does not answer. Any other error ends the call.
    pub async fn update_target(
        &self,
        target: usize,
        clock: fn() -> UnixMillis,
    ) -> Result<bool, PublishError> {
        let Some(target) = self.targets.get(target) else { return Ok(true) };
        let outcome = self.update(target, clock).await;
        target.set_away(outcome.as_ref().is_err_and(PublishError::is_unavailable));
        outcome
    }

    /// Writes a status head to a target, counted from 0, if it needs one: for what it is known to hold. May
    /// be called beside [`Publisher::update_target`]. Call it from one task only for each target.
    ///
    /// # Errors
    ///
    /// [`PublishError`].
    pub async fn update_head(
        &self,
        target: usize,
        clock: fn() -> UnixMillis,
    ) -> Result<(), PublishError> {
        let Some(target) = self.targets.get(target).filter(|_| !self.is_stopped()) else {
            return Ok(());
        };
        let Some(head) = self.head_for(target, clock())? else { return Ok(()) };
        let put = target.put(&head, |_| Ok(())).await;
        if put.is_err() {
            target.lacks_head();
        }
        put
    }

    /// Whether a target is not known to hold every served document.
    pub fn lacks(&self, target: usize) -> bool {
        let Some(target) = self.targets.get(target) else { return false };
        !read(&self.documents).values().all(|document| target.holds(document))
    }

    /// Keeps the order that verifiers need. If the target's JWK Set lacks the signing key, the new
    /// set is written before the lists. Otherwise a set without a key of the target's set is
    /// written after the signing key has signed all lists for so long that no cache holds an
    /// earlier edition.
    async fn update(
        &self,
        target: &TargetState,
        clock: fn() -> UnixMillis,
    ) -> Result<bool, PublishError> {
        let now = clock();
        target.forget_outdated(now.numeric_date().seconds());
        self.check_target(target, now).await?;
        let keys = self.issuer.keys();
        let set = self.document(JWK_SET);
        // Nothing is served yet, or the keys are changing at this moment.
        let Some(set) = set.filter(|set| set.body == self.key_set().as_bytes()) else {
            return Ok(false);
        };
        let theirs = target.key_ids().await?;
        let knows_signer = theirs.iter().any(|key_id| key_id == keys.signing_key_id());
        if !knows_signer {
            self.put_keys(target, &keys, &set).await?;
        }
        // Read before the lists are written: lists that are signed meanwhile may not be written
        // yet.
        let is_signed = self.are_signed_by(keys.signing_key_id());
        // An error of a list, such as one that another program wrote, does not prevent the other
        // documents.
        let lists = self.put_lists(target).await;
        if lists.as_ref().is_err_and(PublishError::is_unavailable) {
            return lists.map(|()| false);
        }
        if is_signed {
            target.signed().by(keys.signing_key_id(), clock());
        }
        let ours = keys.published_key_ids();
        let withdraws = theirs.iter().any(|key_id| !ours.contains(key_id));
        let is_ready = !withdraws || self.is_settled(&target.signed(), clock());
        if knows_signer && is_ready {
            self.put_keys(target, &keys, &set).await?;
        }
        for path in [METADATA, AGGREGATION] {
            if let Some(document) = self.document(path) {
                target.put(&document, |_| Ok(())).await?;
            }
        }
        self.remove_retired(target, now).await?;
        lists.map(|()| is_signed && is_ready)
    }

    /// Writes the lists, [`AT_ONCE`] at a time. Stops if the target does not answer. After other
    /// errors it writes the remaining lists, then returns the first error.
    async fn put_lists(&self, target: &TargetState) -> Result<(), PublishError> {
        let mut lists: Vec<Pending<'_>> = Vec::new();
        for path in read(&self.current).iter() {
            if let Some(list) = self.document(path) {
                lists.push(Box::pin(async move {
                    target.put(&list, |live| self.may_overwrite(live, &list)).await
                }));
            }
        }
        let mut outcome = Ok(());
        let mut put = stream::iter(lists).buffer_unordered(AT_ONCE);
        while let Some(done) = put.next().await {
            if done.as_ref().is_err_and(PublishError::is_unavailable) {
                return done;
            }
            outcome = outcome.and(done);
        }
        outcome
    }

    /// Whether this key has signed every list that has not retired.
    fn are_signed_by(&self, key_id: &str) -> bool {
        let lists = read(&self.lists);
        let is_signed = |path| lists.get(path).is_some_and(|list| list.key_id == key_id);
        read(&self.current).iter().all(is_signed)
    }

    async fn put_keys(
        &self,
        target: &TargetState,
        keys: &Keys,
        set: &Document,
    ) -> Result<(), PublishError> {
        target.put(set, |live| key_set::may_replace(keys, live)).await?;
        target.has_keys(keys.published_key_ids());
        Ok(())
    }

    /// Checks that a list may replace the one that the target holds and this process did not write:
    /// it must be newer and take nothing back.
    fn may_overwrite(&self, live: &[u8], document: &Document) -> Result<(), BadEdition> {
        let Some(new) = read(&self.lists).get(&document.path).cloned() else { return Ok(()) };
        let live = std::str::from_utf8(live).unwrap_or_default();
        let uri = self.issuer.public_uri(&document.path);
        new.claims.may_overwrite(live, &uri, self.issuer.keys().known())
    }

    /// Removes retired lists from a target. Until the first success, also those that retired while
    /// no issuer ran, within [`RETIRED_WITHIN`].
    async fn remove_retired(
        &self,
        target: &TargetState,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        let mut lists = target.lists();
        let has_removed_retired = target.has_removed_retired();
        if !has_removed_retired {
            let since = now.numeric_date().seconds().saturating_sub(RETIRED_WITHIN);
            let lately = self.store().lists(since).await?;
            lists.extend(lately.iter().map(|list| list_path(&list.id)));
        }
        lists.retain(|path| !read(&self.current).contains(path));
        for path in lists {
            target.remove(&path).await?;
        }
        target.set_removed_retired();
        Ok(())
    }
}

/// Time since the end of a list's window, in seconds, within which the list is removed even if it
/// retired while no issuer ran.
const RETIRED_WITHIN: u64 = 24 * 60 * 60;
