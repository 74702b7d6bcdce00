//! Publication: every document that verifiers fetch, signed, checked, held ready to serve, and put
//! at every target.

pub mod document;
pub mod edition;
pub mod error;
mod placed;
pub mod target;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use edgepass_verify::UnixMillis;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use self::document::{AGGREGATION, Document, JWK_SET, LISTS, METADATA};
use self::edition::{BadEdition, LIST_LIFETIME, Said};
use self::error::PublishError;
use self::placed::Placed;
use self::target::Target;
use crate::entropy::Entropy;
use crate::issue::Issuer;
use crate::key_change;
use crate::keys::Keys;
use crate::signing_key::KeyUse;
use crate::status_act::finish;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListState, Store};

/// Builds documents, holds the current one of each, and puts it at the targets.
pub struct Publisher<S> {
    issuer: Arc<Issuer<S>>,
    metadata: String,
    /// By path.
    documents: RwLock<HashMap<String, Arc<Document>>>,
    lists: RwLock<HashMap<String, Arc<PublishedList>>>,
    targets: Vec<Placed>,
    /// Served since somebody last looked, the oldest first.
    unseen: Mutex<Vec<Arc<Document>>>,
    /// What retired while nobody served was taken away.
    is_swept: AtomicBool,
}

/// Documents on their way to a target.
type Placing<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

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

impl<S: Store> Publisher<S> {
    /// A publisher that serves nothing yet; `metadata` is the issuer's (RFC 8414).
    pub fn new(issuer: Arc<Issuer<S>>, metadata: String, targets: Vec<Box<dyn Target>>) -> Self {
        Self {
            issuer,
            metadata,
            documents: RwLock::default(),
            lists: RwLock::default(),
            targets: targets.into_iter().map(Placed::new).collect(),
            unseen: Mutex::default(),
            is_swept: AtomicBool::new(false),
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
        self.issuer.reload_keys().await?;
        let changed = key_change::carry_out_due(&self.issuer, entropy, now).await;
        for list in self.issuer.lists_ahead(entropy, seconds)? {
            store.open_list(&list, list.capacity / ROOM).await?;
        }
        let states = store.lists(seconds.saturating_sub(RETIRE_AFTER)).await?;
        // A key is published before it signs: the set comes before the lists.
        self.serve_keys();
        let made = self.make_editions(&states, seconds).await;
        self.serve(METADATA, "application/json", self.metadata.clone());
        self.serve(AGGREGATION, "application/json", self.aggregation(&states, seconds));
        let mut placed = self.place(&states, seconds).await;
        // Every list that is served is signed anew: nothing needs a compromised key any more.
        if made.is_ok() && self.issuer.keys().has(KeyUse::Compromised) {
            key_change::withdraw_compromised(&self.issuer, entropy, now).await?;
            self.serve_keys();
            placed = placed.and(self.place(&states, seconds).await);
        }
        self.mark_published(&states, seconds).await?;
        let retired = self.retire_all_but(&states, seconds).await;
        changed?;
        made.and(placed).and(retired)
    }

    fn serve_keys(&self) {
        let set = self.issuer.keys().jwk_set().to_owned();
        self.serve(JWK_SET, "application/jwk-set+json", set);
    }

    /// The URIs of the lists: the current window's first, then the next ones', and at the end those
    /// whose tokens live by verifiers' leeway alone. Whoever fetches a few ahead takes the first.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §9.
    fn aggregation(&self, states: &[ListState], now: u64) -> String {
        let (over, live): (Vec<_>, Vec<_>) = states.iter().partition(|list| list.window_end <= now);
        let lists = live.into_iter().chain(over);
        let uris: Vec<String> = lists.map(|list| self.issuer.list_uri(&list.id)).collect();
        json!({ "status_lists": uris }).to_string()
    }

    /// Sign and serve every list whose edition is missing, outdated, half-expired or signed by a key
    /// that signs no more.
    async fn make_editions(&self, states: &[ListState], now: u64) -> Result<(), PublishError> {
        let signing = self.issuer.keys().signing_key_id().to_owned();
        let mut outcome = Ok(());
        for state in states {
            let held = read(&self.lists).get(&state.id).cloned();
            let is_current = |list: &PublishedList| {
                list.changes >= state.changes && now < list.renew_at && list.key_id == signing
            };
            if held.as_deref().is_some_and(is_current) {
                continue;
            }
            if let Err(error) = self.make_edition(&state.id, held.as_deref(), now).await {
                tracing::error!(list = state.id, error = %error, "no edition of a list");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    /// Put everything at every target.
    async fn place(&self, states: &[ListState], now: u64) -> Result<(), PublishError> {
        let mut all: Vec<Placing<'_>> = Vec::new();
        for placed in &self.targets {
            all.push(Box::pin(self.place_at(placed, states, now)));
        }
        join_all(all).await.into_iter().collect()
    }

    /// Put everything at a target. A list comes after the key that signed it, and a set that lacks a
    /// key after the lists that another key signed.
    async fn place_at(
        &self,
        placed: &Placed,
        states: &[ListState],
        now: u64,
    ) -> Result<(), PublishError> {
        placed.look_anew(now);
        let keys = self.issuer.keys();
        let knows_signer = placed.knows(keys.signing_key_id());
        if !knows_signer {
            self.place_keys(placed, &keys).await?;
        }
        let mut lists: Vec<Placing<'_>> = Vec::new();
        for state in states {
            if let Some(list) = self.document(&format!("{LISTS}{}", state.id)) {
                lists.push(Box::pin(async move {
                    placed.put(&list, |live| self.may_overwrite(live, &list)).await
                }));
            }
        }
        let put: Vec<_> = stream::iter(lists).buffer_unordered(AT_ONCE).collect().await;
        put.into_iter().collect::<Result<(), _>>()?;
        if knows_signer {
            self.place_keys(placed, &keys).await?;
        }
        for path in [METADATA, AGGREGATION] {
            if let Some(document) = self.document(path) {
                placed.put(&document, |_| Ok(())).await?;
            }
        }
        Ok(())
    }

    async fn place_keys(&self, placed: &Placed, keys: &Keys) -> Result<(), PublishError> {
        let Some(set) = self.document(JWK_SET) else { return Ok(()) };
        placed.put(&set, |live| keys.may_replace(live)).await?;
        placed.has_keys(keys.published_key_ids());
        Ok(())
    }

    /// A list that lies at a target, put there before this process started or by somebody else, is
    /// replaced only by one that is newer and takes nothing back.
    fn may_overwrite(&self, live: &[u8], document: &Document) -> Result<(), BadEdition> {
        let list_id = document.path.strip_prefix(LISTS).unwrap_or_default();
        let Some(new) = read(&self.lists).get(list_id).cloned() else { return Ok(()) };
        let live = std::str::from_utf8(live).unwrap_or_default();
        new.said.may_overwrite(live, &self.issuer.list_uri(list_id), self.issuer.keys().known())
    }

    /// What every target holds is published.
    async fn mark_published(&self, states: &[ListState], now: u64) -> Result<(), PublishError> {
        let is_everywhere = |path: &str| {
            let document = self.document(path);
            document.is_some_and(|document| self.targets.iter().all(|t| t.holds(&document)))
        };
        for state in states {
            if is_everywhere(&format!("{LISTS}{}", state.id))
                && let Some(changes) = self.confirm(&state.id)
                && state.published < changes
            {
                self.store().mark_published(&state.id, changes).await?;
            }
        }
        let keys = self.issuer.keys();
        if keys.has_unpublished() && is_everywhere(JWK_SET) {
            self.store().mark_keys_published(keys.changed_at(), now).await?;
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
        self.serve(&path, "application/statuslist+jwt", body);
        write(&self.lists).insert(list_id.to_owned(), Arc::new(list));
        Ok(())
    }

    /// Serve a document, unless it is served.
    fn serve(&self, path: &str, media_type: &'static str, body: String) {
        if self.document(path).is_some_and(|live| live.body == body.as_bytes()) {
            return;
        }
        let document = Arc::new(Document::new(path, media_type, body));
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

    /// Stop serving what has retired, and take it away from the targets.
    async fn retire_all_but(&self, states: &[ListState], now: u64) -> Result<(), PublishError> {
        let mut retired: Vec<String> = read(&self.lists).keys().cloned().collect();
        if !self.is_swept.load(Ordering::Relaxed) && !self.targets.is_empty() {
            let lately = self.store().lists(now.saturating_sub(SWEPT)).await?;
            retired.extend(lately.into_iter().map(|list| list.id));
        }
        retired.retain(|id| states.iter().all(|state| state.id != *id));
        for id in retired {
            let path = format!("{LISTS}{id}");
            for placed in &self.targets {
                placed.remove(&path).await?;
            }
            write(&self.documents).remove(&path);
            write(&self.lists).remove(&id);
        }
        self.is_swept.store(true, Ordering::Relaxed);
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

/// Documents written at once, at each target.
const AT_ONCE: usize = 16;
/// Lists that retired this long ago while nobody served are taken away, in seconds.
const SWEPT: u64 = 24 * 60 * 60;
/// Another list of a window is opened when less than this part of one is free.
const ROOM: u32 = 8;
