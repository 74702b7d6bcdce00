//! Publication: every document that verifiers fetch, signed, checked, held ready to serve, and put
//! at every target.

pub mod document;
pub mod edition;
pub mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use edgepass_verify::UnixMillis;
use serde_json::json;

use self::document::{AGGREGATION, Document, JWK_SET, LISTS, METADATA};
use self::edition::{BadEdition, LIST_LIFETIME, Said};
use self::target::{Target, TargetError, Version};
use crate::entropy::{Entropy, NoEntropy};
use crate::issue::Issuer;
use crate::key_change::{self, KeyChangeError};
use crate::keys::OpenError;
use crate::signing_key::{KeyUse, SigningFailed};
use crate::status_act::finish;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListState, Store, StoreError};

/// Builds documents, holds the current one of each, and puts it at the targets.
pub struct Publisher<S> {
    issuer: Arc<Issuer<S>>,
    metadata: Document,
    /// By path.
    documents: RwLock<HashMap<String, Arc<Document>>>,
    lists: RwLock<HashMap<String, Arc<PublishedList>>>,
    targets: Vec<Placed>,
    /// Served since somebody last looked, the oldest first.
    unseen: Mutex<Vec<Arc<Document>>>,
}

/// A list edition that is being served.
#[derive(Clone)]
struct PublishedList {
    said: Said,
    /// The changes it covers.
    changes: u64,
    /// Whether every target has it.
    is_confirmed: bool,
    /// The key that signed it.
    key_id: String,
    /// In seconds: sign a new edition from here on.
    renew_at: u64,
}

/// A target, and what it was seen to hold, by path: its version and the document's entity tag.
struct Placed {
    target: Box<dyn Target>,
    seen: Mutex<HashMap<String, (Version, String)>>,
}

/// Why something was not published. What was published before stays.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The keys could not be read.
    #[error(transparent)]
    Keys(#[from] OpenError),
    /// A withdrawn key could not be replaced.
    #[error(transparent)]
    KeyChange(#[from] KeyChangeError),
    /// Signing failed.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// The edition does not say what the database says, or may not replace what is live.
    #[error("a new list edition failed its check before publication")]
    Check(#[from] BadEdition),
    /// A target did not take it.
    #[error("target {name}")]
    Target {
        /// Its name.
        name: String,
        /// Why.
        source: TargetError,
    },
}

impl<S: Store> Publisher<S> {
    /// A publisher that serves nothing yet; `metadata` is the issuer's (RFC 8414).
    pub fn new(issuer: Arc<Issuer<S>>, metadata: String, targets: Vec<Box<dyn Target>>) -> Self {
        let placed = |target| Placed { target, seen: Mutex::default() };
        Self {
            issuer,
            metadata: Document::new(METADATA, "application/json", metadata),
            documents: RwLock::default(),
            lists: RwLock::default(),
            targets: targets.into_iter().map(placed).collect(),
            unseen: Mutex::default(),
        }
    }

    /// The storage that documents are made from.
    pub fn store(&self) -> &S {
        self.issuer.store()
    }

    /// The document to serve at `path`.
    pub fn document(&self, path: &str) -> Option<Arc<Document>> {
        read(&self.documents).get(path).cloned()
    }

    /// Whether every target has an edition that covers a change.
    pub fn covers(&self, list_id: &str, change: u64) -> bool {
        let lists = read(&self.lists);
        lists.get(list_id).is_some_and(|list| list.is_confirmed && list.changes >= change)
    }

    /// How many lists are served.
    pub fn list_count(&self) -> usize {
        read(&self.lists).len()
    }

    /// Publish what is missing or outdated everywhere, sign what is half-expired, drop what has
    /// retired. One caller at a time.
    ///
    /// # Errors
    ///
    /// The first [`PublishError`]; whatever else can be published is.
    pub async fn sync(
        &self,
        entropy: &mut impl Entropy,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        let seconds = now.numeric_date().seconds();
        let store = self.store();
        finish(store).await?;
        key_change::retire(&self.issuer, now).await?;
        key_change::rotate_if_due(&self.issuer, entropy, now).await?;
        self.issuer.reload_keys().await?;
        for list in self.issuer.lists_ahead(entropy, seconds)? {
            store.open_list(&list, list.capacity / ROOM).await?;
        }
        // A key is published before it signs: the set comes before the lists.
        let mut outcome = self.publish_keys(seconds).await;
        let states = store.lists(seconds.saturating_sub(RETIRE_AFTER)).await?;
        for state in &states {
            if let Err(error) = self.publish_list(state, seconds).await {
                tracing::error!(list = state.id, error = %error, "list not published");
                outcome = outcome.and(Err(error));
            }
        }
        outcome?;
        // Every list is signed anew by now: nothing needs a compromised key any more.
        if self.issuer.keys().has(KeyUse::Compromised) {
            key_change::withdraw_compromised(&self.issuer, entropy, now).await?;
            self.issuer.reload_keys().await?;
            self.publish_keys(seconds).await?;
        }
        self.publish(self.metadata.clone()).await?;
        self.publish(self.aggregation(&states)).await?;
        self.retire_all_but(&states).await
    }

    async fn publish_keys(&self, now: u64) -> Result<(), PublishError> {
        let keys = self.issuer.keys();
        let set = keys.jwk_set().to_owned();
        self.publish(Document::new(JWK_SET, "application/jwk-set+json", set)).await?;
        if keys.has_unpublished() {
            self.store().mark_keys_published(keys.changed_at(), now).await?;
        }
        Ok(())
    }

    /// The URIs of the lists, those that are needed longest last.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §9.
    fn aggregation(&self, states: &[ListState]) -> Document {
        let uris: Vec<String> = states.iter().map(|list| self.issuer.list_uri(&list.id)).collect();
        let body = json!({ "status_lists": uris }).to_string();
        Document::new(AGGREGATION, "application/json", body)
    }

    async fn publish_list(&self, state: &ListState, now: u64) -> Result<(), PublishError> {
        let held = read(&self.lists).get(&state.id).cloned();
        let signing = self.issuer.keys().signing_key_id().to_owned();
        let is_current = |list: &PublishedList| {
            list.changes >= state.changes && now < list.renew_at && list.key_id == signing
        };
        match held {
            Some(list) if is_current(&list) => {
                if list.is_confirmed && state.published >= state.changes {
                    return Ok(());
                }
            }
            held => self.make_edition(&state.id, held.as_deref(), now).await?,
        }
        let path = format!("{LISTS}{}", state.id);
        if let Some(document) = self.document(&path) {
            self.place(&document).await?;
        }
        if let Some(changes) = self.confirm(&state.id) {
            self.store().mark_published(&state.id, changes).await?;
        }
        Ok(())
    }

    /// Every target has the edition being served; the changes that it covers.
    fn confirm(&self, list_id: &str) -> Option<u64> {
        let mut lists = write(&self.lists);
        let list = lists.get_mut(list_id)?;
        if !list.is_confirmed {
            *list = Arc::new(PublishedList { is_confirmed: true, ..(**list).clone() });
        }
        Some(list.changes)
    }

    /// Sign a new edition and serve it. A bad one never replaces a good one.
    async fn make_edition(
        &self,
        list_id: &str,
        live: Option<&PublishedList>,
        now: u64,
    ) -> Result<(), PublishError> {
        let edition = self.store().next_edition(list_id, now).await?;
        let (uri, keys) = (self.issuer.list_uri(list_id), self.issuer.keys());
        let payload = edition::payload(&uri, &self.issuer.public_uri(AGGREGATION), &edition);
        let body = keys.sign_list(&payload)?;
        let said = edition::check(&body, &uri, keys.own(), &edition)?;
        if let Some(live) = live {
            said.may_replace(&live.said)?;
        }
        let path = format!("{LISTS}{list_id}");
        let list = PublishedList {
            said,
            changes: edition.changes,
            is_confirmed: false,
            key_id: keys.signing_key_id().to_owned(),
            renew_at: edition.issued_at + LIST_LIFETIME / 2,
        };
        self.serve(Document::new(path, "application/statuslist+jwt", body));
        write(&self.lists).insert(list_id.to_owned(), Arc::new(list));
        Ok(())
    }

    /// Serve a document and put it at every target, unless it is there.
    async fn publish(&self, document: Document) -> Result<(), PublishError> {
        if self.document(&document.path).is_none_or(|live| live.etag != document.etag) {
            self.serve(document.clone());
        }
        self.place(&document).await
    }

    fn serve(&self, document: Document) {
        let document = Arc::new(document);
        let mut unseen = lock(&self.unseen);
        unseen.retain(|other| other.path != document.path);
        unseen.push(Arc::clone(&document));
        drop(unseen);
        write(&self.documents).insert(document.path.clone(), document);
    }

    /// What was published since the last call, to be fetched back by its public URI.
    pub fn take_unseen(&self) -> Vec<Arc<Document>> {
        std::mem::take(&mut lock(&self.unseen))
    }

    /// Where a document is found by the public.
    pub fn public_uri(&self, document: &Document) -> String {
        match document.path.as_str() {
            METADATA => edgepass_verify::metadata::metadata_url(self.issuer.issuer()),
            path => self.issuer.public_uri(path),
        }
    }

    /// Put a document at every target that does not hold it; the first failure is returned.
    async fn place(&self, document: &Document) -> Result<(), PublishError> {
        let mut outcome = Ok(());
        for placed in &self.targets {
            if let Err(error) = self.place_at(placed, document).await {
                lock(&placed.seen).remove(&document.path);
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    async fn place_at(&self, placed: &Placed, document: &Document) -> Result<(), PublishError> {
        let failed = |source| PublishError::Target { name: placed.target.name().into(), source };
        let seen = lock(&placed.seen).get(&document.path).cloned();
        let over = match seen {
            Some((_, etag)) if etag == document.etag => return Ok(()),
            Some((version, _)) => Some(version),
            None => match placed.target.read(&document.path).await.map_err(failed)? {
                None => None,
                Some(live) => {
                    self.check_against(&live.body, document)?;
                    Some(live.version)
                }
            },
        };
        let version = placed.target.write(document, over.as_ref()).await.map_err(failed)?;
        let seen = (version, document.etag.clone());
        lock(&placed.seen).insert(document.path.clone(), seen);
        Ok(())
    }

    /// A list that lies at a target, put there before this process started, is replaced only by one
    /// that is newer and takes nothing back.
    fn check_against(&self, live: &[u8], document: &Document) -> Result<(), PublishError> {
        let Some(list_id) = document.path.strip_prefix(LISTS) else { return Ok(()) };
        let Some(new) = read(&self.lists).get(list_id).cloned() else { return Ok(()) };
        let uri = self.issuer.list_uri(list_id);
        let max_bytes = new.said.list.bytes().len();
        let live = std::str::from_utf8(live).unwrap_or_default();
        // What is no list of ours has nothing to be kept: a truncated upload, a key long gone.
        match edition::read(live, &uri, self.issuer.keys().own(), max_bytes) {
            Ok(live) => Ok(new.said.may_replace(&live)?),
            Err(_) => Ok(()),
        }
    }

    async fn retire_all_but(&self, states: &[ListState]) -> Result<(), PublishError> {
        let mut retired: Vec<String> = read(&self.lists).keys().cloned().collect();
        retired.retain(|id| states.iter().all(|state| state.id != *id));
        for id in retired {
            let path = format!("{LISTS}{id}");
            for placed in &self.targets {
                let removed = placed.target.remove(&path).await;
                removed.map_err(|source| PublishError::Target {
                    name: placed.target.name().into(),
                    source,
                })?;
                lock(&placed.seen).remove(&path);
            }
            write(&self.documents).remove(&path);
            write(&self.lists).remove(&id);
        }
        Ok(())
    }
}

// A panic while a lock is held leaves a whole map: every change is one insert or remove.

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Another list of a window is opened when less than this part of one is free.
const ROOM: u32 = 8;
