//! What lies at a target, as far as it was seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::document::Document;
use super::edition::BadEdition;
use super::error::PublishError;
use super::target::{Target, TargetError, Version};

/// A target, and what it was seen to hold.
pub(super) struct Placed {
    target: Box<dyn Target>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// By path: its version, and the document's entity tag.
    documents: HashMap<String, (Version, String)>,
    /// The keys of the set that was put there last.
    key_ids: Vec<String>,
    /// When everything was looked at anew, in seconds.
    since: u64,
}

/// What was seen is believed for so many seconds: somebody else may change it.
const BELIEVED: u64 = 60;

impl Placed {
    pub(super) fn new(target: Box<dyn Target>) -> Self {
        Self { target, seen: Mutex::default() }
    }

    /// Look at everything anew, now and then.
    pub(super) fn look_anew(&self, now: u64) {
        let mut seen = self.seen();
        if now.abs_diff(seen.since) >= BELIEVED {
            seen.documents.clear();
            seen.since = now;
        }
    }

    /// Whether it holds this document.
    pub(super) fn holds(&self, document: &Document) -> bool {
        let seen = self.seen();
        seen.documents.get(&document.path).is_some_and(|(_, etag)| *etag == document.etag)
    }

    /// Whether its verifiers know a key.
    pub(super) fn knows(&self, key_id: &str) -> bool {
        self.seen().key_ids.iter().any(|known| known == key_id)
    }

    /// The set that it holds has these keys.
    pub(super) fn has_keys(&self, key_ids: Vec<String>) {
        self.seen().key_ids = key_ids;
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
                seen.documents.insert(document.path.clone(), known);
                Ok(())
            }
            Err(error) => {
                // The write may have been done all the same: look before the next.
                seen.documents.remove(&document.path);
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
        let known = self.seen().documents.get(&document.path).cloned();
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

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // A panic while the lock is held leaves whole maps.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
