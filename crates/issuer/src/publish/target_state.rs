//! The state of a target, as far as this process has observed it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use edgepass_jose::{Algorithm, JwkSet};
use edgepass_log::TileId;
use edgepass_verify::UnixMillis;

use super::document::Document;
use super::edition::BadEdition;
use super::error::PublishError;
use super::target::{Target, TargetError, Version};
use crate::paths::{JWK_SET, LISTS};

/// A target, and its observed state.
pub(super) struct TargetState {
    target: Box<dyn Target>,
    seen: Mutex<Observed>,
    signed: Mutex<SignedSince>,
}

#[derive(Default)]
struct Observed {
    /// Version and entity tag of the document at each path. `None`: read the target before the next
    /// write.
    documents: HashMap<String, Option<(Version, String)>>,
    /// `kid` of each key of the JWK Set that this process wrote. `None`: it wrote none yet.
    key_ids: Option<Vec<String>>,
    /// Entity tag of each document when the target was last seen to hold it.
    held: HashMap<String, String>,
    /// What the head names that this process wrote last, and when.
    head: Option<(String, UnixMillis)>,
    /// The documents that other processes can serve, by path.
    shared: HashMap<String, Arc<Document>>,
    /// Time at which all entries of `documents` were last set to `None`, in seconds.
    since: u64,
    /// Whether the target did not answer in the last round.
    is_away: bool,
    /// Whether the documents that the target held at the start were compared with the database.
    is_checked: bool,
    /// The audit log that the target holds. `None`: not read yet.
    log: Option<HeldLog>,
    /// Whether the lists that retired while no issuer ran were removed.
    has_removed_retired: bool,
}

/// The audit log that a target holds.
struct HeldLog {
    /// Its origin and size.
    origin: String,
    size: u64,
    /// The time at which the target was asked, in seconds.
    seen_at: u64,
    /// The partial tiles that this process wrote. A log serves them until the full tile is there.
    partial: Vec<TileId>,
}

/// Whether the tile in the place of a partial one is full in a log of `size` entries.
fn is_full(tile: TileId, size: u64) -> bool {
    let hashes = size.checked_shr(u32::from(tile.level()).saturating_mul(8)).unwrap_or_default();
    hashes / 256 > tile.number()
}

/// The key that signed all lists of an endpoint or target, and since when.
#[derive(Default)]
pub(super) struct SignedSince(Option<(String, UnixMillis)>);

impl SignedSince {
    /// Records that this key has signed all lists by now. If it had before, the earlier time stays.
    pub(super) fn by(&mut self, key_id: &str, now: UnixMillis) {
        // A time in the future means that the clock was set back.
        if self.0.as_ref().is_none_or(|(held, since)| held != key_id || *since > now) {
            self.0 = Some((key_id.to_owned(), now));
        }
    }

    /// Time for which this key has signed all lists. `None` if it has not, or the clock was set
    /// back.
    pub(super) fn since(&self, key_id: &str, now: UnixMillis) -> Option<Duration> {
        let (held, since) = self.0.as_ref()?;
        now.since(*since).filter(|_| held == key_id)
    }
}

/// Time for which an observed document is relied on, in seconds. Another program may change it
/// meanwhile.
const OBSERVED_FOR: u64 = 60;

impl TargetState {
    pub(super) fn new(target: Box<dyn Target>) -> Self {
        Self { target, seen: Mutex::default(), signed: Mutex::default() }
    }

    /// Forgets all documents every [`OBSERVED_FOR`] seconds, so that they are read again before the
    /// next write. `now` is in seconds.
    pub(super) fn forget_outdated(&self, now: u64) {
        let mut seen = self.seen();
        if now.abs_diff(seen.since) >= OBSERVED_FOR {
            seen.documents.values_mut().for_each(|document| *document = None);
            seen.since = now;
        }
    }

    /// The key that signed all lists at the target, and since when.
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

    /// Paths of the lists that this process has written or tried to write.
    pub(super) fn lists(&self) -> Vec<String> {
        let seen = self.seen();
        seen.documents.keys().filter(|path| path.starts_with(LISTS)).cloned().collect()
    }

    /// Whether the target is known to hold exactly this document.
    pub(super) fn holds(&self, document: &Document) -> bool {
        let seen = self.seen();
        let known = seen.documents.get(&document.path).and_then(Option::as_ref);
        known.is_some_and(|(_, etag)| *etag == document.etag)
    }

    /// Whether the target held exactly this document when it was last read or written.
    pub(super) fn held_lately(&self, document: &Document) -> bool {
        self.seen().held.get(&document.path).is_some_and(|etag| *etag == document.etag)
    }

    /// Whether other processes serve what the target holds.
    pub(super) fn is_shared(&self) -> bool {
        self.target.is_shared()
    }

    /// The document at a path that other processes can serve.
    pub(super) fn shared(&self, path: &str) -> Option<Arc<Document>> {
        self.seen().shared.get(path).cloned()
    }

    pub(super) fn name(&self) -> &str {
        self.target.name()
    }

    /// Reads the document at a path.
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

    /// `kid` of each key in the target's JWK Set, as this process wrote it or, before that, as the
    /// target holds it. Verifiers that use the target know these keys. Empty without a readable
    /// set.
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

    /// Records the keys of the JWK Set that this process wrote to the target.
    pub(super) fn has_keys(&self, key_ids: Vec<String>) {
        self.seen().key_ids = Some(key_ids);
    }

    /// Writes a document, unless the target is known to hold it. If the content at its path is
    /// unknown, reads it; `check` then decides whether the document may replace it.
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
                if self.target.is_shared() {
                    let served = Arc::new(document.clone());
                    seen.shared.insert(document.path.clone(), served);
                }
                seen.held.insert(document.path.clone(), document.etag.clone());
                let known = (version, document.etag.clone());
                seen.documents.insert(document.path.clone(), Some(known));
                Ok(())
            }
            Err(error) => {
                // The write may have succeeded nevertheless: read the target before the next one.
                seen.documents.insert(document.path.clone(), None);
                seen.held.remove(&document.path);
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

    /// Writes a document whose path determines its content. It is remembered nowhere.
    pub(super) async fn put_new(&self, document: &Document) -> Result<(), PublishError> {
        match self.target.write(document, None).await {
            Ok(_) => Ok(()),
            // An attempt before this one wrote it, or another process.
            Err(TargetError::Conflict) => match self.read(&document.path).await? {
                Some(live) if live == document.body => Ok(()),
                _ => Err(BadEdition::OtherLog.into()),
            },
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Whether the target needs another head: the last one names something else, or is as old as
    /// `interval`.
    pub(super) fn wants_head(&self, name: &str, interval: Duration, now: UnixMillis) -> bool {
        let seen = self.seen();
        !seen.head.as_ref().is_some_and(|(held, at)| {
            held == name && now.since(*at).is_some_and(|age| age < interval)
        })
    }

    /// Records the head that is written next.
    pub(super) fn has_head(&self, name: String, now: UnixMillis) {
        self.seen().head = Some((name, now));
    }

    /// Records that the last head may not have been written.
    pub(super) fn lacks_head(&self) {
        self.seen().head = None;
    }

    /// Removes the document at a path.
    pub(super) async fn remove(&self, path: &str) -> Result<(), PublishError> {
        self.target.remove(path).await.map_err(|source| self.failed(source))?;
        let mut seen = self.seen();
        seen.documents.remove(path);
        seen.held.remove(path);
        seen.shared.remove(path);
        Ok(())
    }

    /// The size of the log of this origin that the target held less than [`OBSERVED_FOR`] ago.
    pub(super) fn log_size(&self, origin: &str, now: UnixMillis) -> Option<u64> {
        let seen = self.seen();
        let held = seen.log.as_ref().filter(|held| held.origin == origin)?;
        let age = now.numeric_date().seconds().abs_diff(held.seen_at);
        (age < OBSERVED_FOR).then_some(held.size)
    }

    /// Records the size of the log that the target was seen to hold.
    pub(super) fn saw_log(&self, origin: &str, size: u64, now: UnixMillis) {
        let mut seen = self.seen();
        let partial = seen.log.take().filter(|held| held.origin == origin);
        let partial = partial.map(|held| held.partial).unwrap_or_default();
        let (origin, seen_at) = (origin.to_owned(), now.numeric_date().seconds());
        seen.log = Some(HeldLog { origin, size, seen_at, partial });
    }

    /// Records the size of the log that this process wrote, and its partial tiles. Returns the partial tiles
    /// of before that the target holds as full ones now.
    pub(super) fn has_log(&self, origin: &str, size: u64, partial: Vec<TileId>) -> Vec<TileId> {
        let mut seen = self.seen();
        let Some(held) = seen.log.as_mut().filter(|held| held.origin == origin) else {
            return Vec::new();
        };
        held.size = size;
        for tile in partial {
            if !held.partial.contains(&tile) {
                held.partial.push(tile);
            }
        }
        held.partial.extract_if(.., |tile| is_full(*tile, size)).collect()
    }

    fn failed(&self, source: TargetError) -> PublishError {
        PublishError::Target { name: self.target.name().to_owned(), source }
    }

    fn seen(&self) -> MutexGuard<'_, Observed> {
        // A panic while the lock is held leaves the maps consistent.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
