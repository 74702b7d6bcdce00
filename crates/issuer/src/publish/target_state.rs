//! What lies at a target, as far as it was seen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use edgepass_jose::{Algorithm, JwkSet};
use edgepass_verify::UnixMillis;

use super::document::Document;
use super::edition::BadEdition;
use super::error::PublishError;
use super::target::{Target, TargetError, Version};
use crate::paths::{JWK_SET, LISTS};

/// A target, and what it was seen to hold.
pub(super) struct TargetState {
    target: Box<dyn Target>,
    seen: Mutex<Observed>,
    signed: Mutex<SignedSince>,
}

#[derive(Default)]
struct Observed {
    /// By path: its version, and the document's entity tag. `None`: something lay there.
    documents: HashMap<String, Option<(Version, String)>>,
    /// The keys of the set that lies there; `None`: nobody has looked.
    key_ids: Option<Vec<String>>,
    /// When everything was looked at anew, in seconds.
    since: u64,
    /// It did not answer when it was last asked.
    is_away: bool,
    /// What lay there when this process started was looked at.
    is_checked: bool,
    /// What retired while nobody served was taken away.
    has_removed_retired: bool,
}

/// Since when all lists of a place have been signed by one key.
#[derive(Default)]
pub(super) struct SignedSince(Option<(String, UnixMillis)>);

impl SignedSince {
    /// All are, now.
    pub(super) fn by(&mut self, key_id: &str, now: UnixMillis) {
        // A time that lies ahead says only that the clock was set back since.
        if self.0.as_ref().is_none_or(|(held, since)| held != key_id || *since > now) {
            self.0 = Some((key_id.to_owned(), now));
        }
    }

    /// For how long they have been signed by this key.
    pub(super) fn since(&self, key_id: &str, now: UnixMillis) -> Option<Duration> {
        let (held, since) = self.0.as_ref()?;
        now.since(*since).filter(|_| held == key_id)
    }
}

/// What was seen is believed for so many seconds: somebody else may change it.
const OBSERVED_FOR: u64 = 60;

impl TargetState {
    pub(super) fn new(target: Box<dyn Target>) -> Self {
        Self { target, seen: Mutex::default(), signed: Mutex::default() }
    }

    /// Look at everything anew, now and then.
    pub(super) fn forget_outdated(&self, now: u64) {
        let mut seen = self.seen();
        if now.abs_diff(seen.since) >= OBSERVED_FOR {
            seen.documents.values_mut().for_each(|document| *document = None);
            seen.since = now;
        }
    }

    /// Since when its lists have been signed by one key.
    pub(super) fn signed(&self) -> MutexGuard<'_, SignedSince> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_away(&self) -> bool {
        self.seen().is_away
    }

    pub(super) fn set_away(&self, is_away: bool) {
        self.seen().is_away = is_away;
    }

    pub(super) fn has_removed_retired(&self) -> bool {
        self.seen().has_removed_retired
    }

    pub(super) fn set_removed_retired(&self) {
        self.seen().has_removed_retired = true;
    }

    /// The lists that were put there.
    pub(super) fn lists(&self) -> Vec<String> {
        let seen = self.seen();
        seen.documents.keys().filter(|path| path.starts_with(LISTS)).cloned().collect()
    }

    /// Whether it holds this document.
    pub(super) fn holds(&self, document: &Document) -> bool {
        let seen = self.seen();
        let known = seen.documents.get(&document.path).and_then(Option::as_ref);
        known.is_some_and(|(_, etag)| *etag == document.etag)
    }

    pub(super) fn name(&self) -> &str {
        self.target.name()
    }

    /// What lies at a path.
    pub(super) async fn read(&self, path: &str) -> Result<Option<Bytes>, PublishError> {
        let live = self.target.read(path).await.map_err(|source| self.failed(source))?;
        Ok(live.map(|live| live.body))
    }

    pub(super) fn is_checked(&self) -> bool {
        self.seen().is_checked
    }

    pub(super) fn set_checked(&self) {
        self.seen().is_checked = true;
    }

    /// `kid` of each key of the set that lies there: its verifiers know these.
    pub(super) async fn key_ids(&self) -> Result<Vec<String>, PublishError> {
        if let Some(key_ids) = &self.seen().key_ids {
            return Ok(key_ids.clone());
        }
        let live = self.read(JWK_SET).await?;
        let set = live
            .and_then(|live| JwkSet::parse(&live, &Algorithm::ALL, edgepass_crypto::is_sound).ok());
        let keys = set.iter().flat_map(JwkSet::keys);
        Ok(keys.filter_map(|key| key.key_id().map(str::to_owned)).collect())
    }

    /// The set that it holds has these keys.
    pub(super) fn has_keys(&self, key_ids: Vec<String>) {
        self.seen().key_ids = Some(key_ids);
    }

    /// Put a document there, unless it is there. `check` says whether it may replace what was not
    /// seen before.
    pub(super) async fn put(
        &self,
        document: &Document,
        check: impl Fn(&[u8]) -> Result<(), BadEdition>,
    ) -> Result<(), PublishError> {
        if self.holds(document) {
            return Ok(());
        }
        let outcome = self.replace(document, check).await;
        let mut seen = self.seen();
        match outcome {
            Ok(version) => {
                let known = (version, document.etag.clone());
                seen.documents.insert(document.path.clone(), Some(known));
                Ok(())
            }
            Err(error) => {
                // The write may have been done all the same: look before the next.
                seen.documents.insert(document.path.clone(), None);
                Err(error)
            }
        }
    }

    async fn replace(
        &self,
        document: &Document,
        check: impl Fn(&[u8]) -> Result<(), BadEdition>,
    ) -> Result<Version, PublishError> {
        let failed = |source| self.failed(source);
        let known = self.seen().documents.get(&document.path).cloned().flatten();
        let over = match known {
            Some((version, _)) => Some(version),
            None => match self.target.read(&document.path).await.map_err(failed)? {
                None => None,
                Some(live) if live.body == document.body => return Ok(live.version),
                Some(live) => {
                    check(&live.body)?;
                    Some(live.version)
                }
            },
        };
        self.target.write(document, over.as_ref()).await.map_err(failed)
    }

    /// Take away what lies at a path.
    pub(super) async fn remove(&self, path: &str) -> Result<(), PublishError> {
        self.target.remove(path).await.map_err(|source| self.failed(source))?;
        self.seen().documents.remove(path);
        Ok(())
    }

    fn failed(&self, source: TargetError) -> PublishError {
        PublishError::Target { name: self.target.name().to_owned(), source }
    }

    fn seen(&self) -> MutexGuard<'_, Observed> {
        // A panic while the lock is held leaves whole maps.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
