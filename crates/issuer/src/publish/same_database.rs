//! The check that the documents at a target were made from this database.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use edgepass_status_list::{StatusList, StatusType};
use edgepass_verify::UnixMillis;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use super::edition;
use super::error::PublishError;
use super::target_state::TargetState;
use super::{AT_ONCE, BadEdition, Pending, Publisher, key_set, list_path, write};
use crate::config::LIST_CAPACITIES;
use crate::list_id::window_end;
use crate::paths::{AGGREGATION, JWK_SET, LISTS};
use crate::status_index::RETIRE_AFTER;
use crate::storage::Store;

impl<S: Store> Publisher<S> {
    /// Compares the documents at the targets with this database. Call it before the first
    /// [`Publisher::sync`]: an old copy of the database may have been put back. A target that
    /// does not answer is checked later, before anything is written to it.
    pub async fn check_targets(&self, now: UnixMillis) {
        let mut looks: Vec<Pending<'_>> = Vec::new();
        for target in &self.targets {
            looks.push(Box::pin(self.check_target(target, now)));
        }
        join_all(looks).await;
    }

    /// Checks a target until one check succeeds, then no more. A mismatch with the database at any
    /// target stops all publication until a restart.
    pub(super) async fn check_target(
        &self,
        target: &TargetState,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        if self.is_of_other_database.load(Ordering::Relaxed) {
            return Err(BadEdition::OtherDatabase.into());
        }
        if target.is_checked() {
            return Ok(());
        }
        let outcome = self.check_documents(target, now).await;
        match &outcome {
            Ok(()) => target.set_checked(),
            Err(PublishError::Check(bad)) => self.stop(target, bad),
            Err(_) => {}
        }
        outcome
    }

    /// Stops all publication until a restart.
    pub(super) fn stop(&self, target: &TargetState, bad: &BadEdition) {
        tracing::error!(
            target = target.name(),
            error = %bad,
            "publication stopped until a restart; {REMEDY}"
        );
        self.is_of_other_database.store(true, Ordering::Relaxed);
        write(&self.documents).clear();
        write(&self.lists).clear();
    }

    /// Checks the JWK Set and the audit log at the target, and the lists that the target's aggregation
    /// names, except those that have retired.
    async fn check_documents(
        &self,
        target: &TargetState,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        self.check_log(target, now).await?;
        let keys = self.issuer.keys();
        if let Some(live) = target.read(JWK_SET).await? {
            key_set::may_replace(&keys, &live)?;
        }
        let known = self.store().lists(0).await?;
        let known: HashMap<String, u64> =
            known.into_iter().map(|list| (list_path(&list.id), list.number)).collect();
        let named = target.read(AGGREGATION).await?.unwrap_or_default();
        let named: serde_json::Value = serde_json::from_slice(&named).unwrap_or_default();
        let base = self.issuer.public_uri("");
        let named = named.get("status_lists").and_then(|lists| lists.as_array());
        let named = named.into_iter().flatten();
        let named = named.filter_map(|uri| uri.as_str()?.strip_prefix(&base).map(str::to_owned));
        let now = now.numeric_date().seconds();
        let is_live = |path: &String| {
            let end = path.strip_prefix(LISTS).map(window_end);
            end.is_some_and(|end| end.is_none_or(|end| end.saturating_add(RETIRE_AFTER) > now))
        };
        let paths: HashSet<String> = named.filter(is_live).take(MAX_NAMED_LISTS).collect();
        let mut looks: Vec<Pending<'_>> = Vec::new();
        for path in &paths {
            let number = known.get(path).copied().unwrap_or_default();
            looks.push(Box::pin(self.check_list(target, path, number)));
        }
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        // A mismatch takes precedence over a failed read.
        let (found, failed): (Vec<_>, Vec<_>) =
            looks.into_iter().partition(|look| matches!(look, Err(PublishError::Check(_))));
        found.into_iter().chain(failed).collect()
    }

    /// Checks that the target's list is no newer than `number`, the list's newest edition in this
    /// database, or 0 if the database has no such list; and that this database has every revocation
    /// that the list shows.
    async fn check_list(
        &self,
        target: &TargetState,
        path: &str,
        number: u64,
    ) -> Result<(), PublishError> {
        let Some(live) = target.read(path).await? else { return Ok(()) };
        let (uri, keys) = (self.issuer.public_uri(path), self.issuer.keys());
        let live = std::str::from_utf8(&live).unwrap_or_default();
        // A list that this issuer cannot read, such as one signed by another key, is ignored.
        let Ok(live) = edition::read(live, &uri, keys.known(), MAX_BYTES) else { return Ok(()) };
        if live.number > number {
            return Err(BadEdition::OtherDatabase.into());
        }
        if live.list.count_not_valid() == 0 {
            return Ok(());
        }
        let list_id = path.strip_prefix(LISTS).unwrap_or_default();
        let mut missing = live.list;
        for (index, status) in self.store().statuses(list_id).await? {
            if status == StatusType::Invalid {
                missing.set(index.into(), StatusType::Valid.number());
            }
        }
        if has_revoked(&missing) { Err(BadEdition::OtherDatabase.into()) } else { Ok(()) }
    }
}

fn has_revoked(list: &StatusList) -> bool {
    let none =
        StatusList::all_valid(list.bits(), u32::try_from(list.entries()).unwrap_or(u32::MAX));
    list.may_differ(&none).any(|index| list.status(index) == Some(StatusType::Invalid))
}

/// What an operator does about it, as the log says.
const REMEDY: &str = "if a copy of the database was put back, stop `edgepass serve`, move the database \
                      out of data_dir, and run `edgepass restore FILE` with it, which takes over what \
                      was published since";

/// Maximum number of lists that are checked. A verifier knows at most 1024 lists of an issuer.
const MAX_NAMED_LISTS: usize = 4096;
/// Inflated size of the largest list, in bytes: two bits for each index.
const MAX_BYTES: usize = *LIST_CAPACITIES.end() as usize / 4;
