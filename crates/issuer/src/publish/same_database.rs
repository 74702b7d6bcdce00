//! Heeding what lies at a target: was it made from this database?

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use super::edition;
use super::error::PublishError;
use super::target_state::TargetState;
use super::{AT_ONCE, BadEdition, Pending, Publisher, key_set, list_path, write};
use crate::config::LIST_CAPACITIES;
use crate::paths::{AGGREGATION, JWK_SET, LISTS};
use crate::storage::Store;

impl<S: Store> Publisher<S> {
    /// Look at what lies at the targets before anything is served, so far as they answer: was it made from
    /// this database? It may have been replaced by an old copy. A target that does not answer now is looked
    /// at before anything is put there.
    pub async fn check_targets(&self) {
        let mut looks: Vec<Pending<'_>> = Vec::new();
        for target in &self.targets {
            looks.push(Box::pin(self.check_target(target)));
        }
        join_all(looks).await;
    }

    /// Look once. What was not made from this database stops everything, until it is started anew.
    pub(super) async fn check_target(&self, target: &TargetState) -> Result<(), PublishError> {
        if self.is_of_other_database.load(Ordering::Relaxed) {
            return Err(BadEdition::OtherDatabase.into());
        }
        if target.is_checked() {
            return Ok(());
        }
        let outcome = self.check_documents(target).await;
        match &outcome {
            Ok(()) => target.set_checked(),
            Err(PublishError::Check(bad)) => {
                tracing::error!(target = target.name(), error = %bad, "nothing is published");
                self.is_of_other_database.store(true, Ordering::Relaxed);
                write(&self.documents).clear();
                write(&self.lists).clear();
            }
            Err(_) => {}
        }
        outcome
    }

    /// The JWK Set, and the lists that the target names.
    async fn check_documents(&self, target: &TargetState) -> Result<(), PublishError> {
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
        let named = named["status_lists"].as_array().into_iter().flatten();
        let named = named.filter_map(|uri| uri.as_str()?.strip_prefix(&base).map(str::to_owned));
        let named = named.filter(|path| path.starts_with(LISTS));
        let paths: HashSet<String> = named.take(NAMED).collect();
        let mut looks: Vec<Pending<'_>> = Vec::new();
        for path in &paths {
            let number = known.get(path).copied().unwrap_or_default();
            looks.push(Box::pin(self.check_list(target, path, number)));
        }
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        // What was found weighs more than what could not be read.
        let (found, failed): (Vec<_>, Vec<_>) =
            looks.into_iter().partition(|look| matches!(look, Err(PublishError::Check(_))));
        found.into_iter().chain(failed).collect()
    }

    /// A list may have been made from a database whose newest edition of it has this number.
    async fn check_list(
        &self,
        target: &TargetState,
        path: &str,
        number: u64,
    ) -> Result<(), PublishError> {
        let Some(live) = target.read(path).await? else { return Ok(()) };
        let (uri, keys) = (self.issuer.public_uri(path), self.issuer.keys());
        let live = std::str::from_utf8(&live).unwrap_or_default();
        // What no key of ours signed says nothing.
        match edition::read(live, &uri, keys.known(), MAX_BYTES) {
            Ok(live) if live.number > number => Err(BadEdition::OtherDatabase.into()),
            _ => Ok(()),
        }
    }
}

/// More lists than verifiers know of an issuer.
const NAMED: usize = 4096;
/// What the largest list takes: two bits for each token.
const MAX_BYTES: usize = *LIST_CAPACITIES.end() as usize / 4;
