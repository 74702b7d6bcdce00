//! Publication: every document that verifiers fetch, signed, checked, held ready to serve, and put
//! at every target.

mod distribute;
pub mod document;
pub mod edition;
pub mod error;
mod key_set;
mod same_database;
pub mod target;
mod target_state;

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use edgepass_verify::UnixMillis;
use serde_json::json;

use self::document::Document;
use self::edition::{BadEdition, EditionClaims};
use self::error::PublishError;
use self::target::Target;
use self::target_state::{SignedSince, TargetState};
use crate::entropy::Entropy;
use crate::issue::Issuer;
use crate::key_change;
use crate::paths::{AGGREGATION, JWK_SET, LISTS, METADATA};
use crate::signing_key::KeyState;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListState, Store};

/// Builds documents, holds the current one of each, and puts it at the targets.
pub struct Publisher<S> {
    issuer: Arc<Issuer<S>>,
    metadata: String,
    /// By path.
    documents: RwLock<HashMap<String, Arc<Document>>>,
    lists: RwLock<HashMap<String, Arc<PublishedList>>>,
    /// Lists that have not retired, by path, whether they could be made or not.
    current: RwLock<HashSet<String>>,
    /// Since when every list that is served is signed by the key that signs.
    signed: Mutex<SignedSince>,
    targets: Vec<TargetState>,
    /// `exp` of the JWK Set that is served, in seconds.
    set_expires: AtomicU64,
    /// Served since somebody last looked, the oldest first.
    unseen: Mutex<Vec<Arc<Document>>>,
    /// What lies at a target was not made from this database.
    is_of_other_database: AtomicBool,
}

/// What is asked of a target.
type Pending<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// A list edition that is being served.
#[derive(Clone)]
struct PublishedList {
    claims: EditionClaims,
    /// The changes it covers.
    changes: u64,
    /// The changes that the store knows to be published.
    published: u64,
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
            current: RwLock::default(),
            signed: Mutex::default(),
            targets: targets.into_iter().map(TargetState::new).collect(),
            set_expires: AtomicU64::new(0),
            unseen: Mutex::default(),
            is_of_other_database: AtomicBool::new(false),
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
        let list = lists.get(&list_path(list_id));
        list.is_some_and(|list| list.is_confirmed && list.changes >= change)
    }

    /// How many lists are served.
    pub fn list_count(&self) -> usize {
        read(&self.lists).len()
    }

    /// How many targets there are, besides the issuer's own endpoint.
    pub fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// Serve what is missing or outdated at the issuer's own endpoint, sign and date anew what
    /// has had a third of its time, drop
    /// what has retired. False: come again soon, an act is under way or a key on its way out. One
    /// caller at a time; the targets follow with [`Publisher::place`].
    ///
    /// # Errors
    ///
    /// The first [`PublishError`]; whatever else can be published is.
    pub async fn sync(
        &self,
        entropy: &mut impl Entropy,
        clock: fn() -> UnixMillis,
    ) -> Result<bool, PublishError> {
        if self.is_of_other_database.load(Ordering::Relaxed) {
            return Err(BadEdition::OtherDatabase.into());
        }
        let now = clock();
        let seconds = now.numeric_date().seconds();
        let store = self.store();
        // A step at a time: nothing else waits until a million tokens are revoked.
        let is_under_way = store.continue_acts().await?;
        self.issuer.reload_keys().await?;
        let changed = key_change::carry_out_due(&self.issuer, entropy, now).await;
        for list in self.issuer.lists_ahead(entropy, seconds)? {
            store.open_list(&list, list.capacity / ROOM).await?;
        }
        let states = store.lists(seconds.saturating_sub(RETIRE_AFTER)).await?;
        self.retire_all_but(&states);
        // A key is published before it signs: the set comes before the lists.
        self.date_keys(seconds);
        self.serve_keys();
        let made = self.make_editions(&states, seconds).await;
        self.serve(METADATA, "application/json", self.metadata.clone());
        self.serve(AGGREGATION, "application/json", self.aggregation(&states, seconds));
        if made.is_ok() {
            lock(&self.signed).by(self.issuer.keys().signing_key_id(), clock());
            self.withdraw_if_ready(entropy, clock()).await?;
        }
        changed?;
        made.map(|()| !is_under_way && !self.issuer.keys().has(KeyState::Compromised))
    }

    /// Take a compromised key out of the set once nothing needs it any more: every list is signed by
    /// another, everywhere but at targets that are away, and no cache on the way has one from before.
    async fn withdraw_if_ready(
        &self,
        entropy: &mut impl Entropy,
        now: UnixMillis,
    ) -> Result<(), PublishError> {
        let keys = self.issuer.keys();
        let is_settled = |signed: &SignedSince| self.is_settled(signed, now);
        let is_ready = keys.has(KeyState::Compromised)
            && is_settled(&lock(&self.signed))
            && self.targets.iter().all(|target| target.is_away() || is_settled(&target.signed()));
        if is_ready {
            key_change::withdraw_compromised(&self.issuer, entropy, now).await?;
            self.serve_keys();
        }
        Ok(())
    }

    /// Whether the key that signs has signed all lists of a place, for so long that caches on the way
    /// to it know.
    fn is_settled(&self, signed: &SignedSince, now: UnixMillis) -> bool {
        let caches = self.issuer.key_schedule().caches;
        signed.since(self.issuer.keys().signing_key_id(), now).is_some_and(|age| age >= caches)
    }

    fn serve_keys(&self) {
        let set = self.key_set();
        self.serve(JWK_SET, "application/jwk-set+json", set);
    }

    /// The JWK Set as it is to be served.
    fn key_set(&self) -> String {
        let expires = self.set_expires.load(Ordering::Relaxed);
        self.issuer.keys().jwk_set((expires > 0).then_some(expires))
    }

    /// Let the JWK Set hold for longer, in time: verifiers take no set that has expired.
    fn date_keys(&self, now: u64) {
        let terms = self.issuer.list_schedule();
        let Some(age) = terms.max_age else { return };
        let dated = self.set_expires.load(Ordering::Relaxed).saturating_sub(age);
        // A clock that was set back dates anew as well.
        if now >= dated.saturating_add(terms.renew_after()) || now < dated {
            self.set_expires.store(now.saturating_add(age), Ordering::Relaxed);
        }
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

    /// Sign and serve every list whose edition is missing, outdated, due to be signed anew or signed by a key
    /// that signs no more.
    async fn make_editions(&self, states: &[ListState], now: u64) -> Result<(), PublishError> {
        let signing = self.issuer.keys().signing_key_id().to_owned();
        let mut outcome = Ok(());
        for state in states {
            let held = read(&self.lists).get(&list_path(&state.id)).cloned();
            let is_current = |list: &PublishedList| {
                list.changes >= state.changes && now < list.renew_at && list.key_id == signing
            };
            if held.as_deref().is_some_and(is_current) {
                continue;
            }
            if let Err(error) = self.make_edition(state, held.as_deref(), now).await {
                tracing::error!(list = state.id, error = %error, "no edition of a list");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    /// Record as published what every target holds.
    ///
    /// # Errors
    ///
    /// [`StoreError`](crate::storage::StoreError).
    pub async fn confirm(&self, clock: fn() -> UnixMillis) -> Result<(), PublishError> {
        let is_everywhere =
            |document: &Document| self.targets.iter().all(|target| target.holds(document));
        for (path, list) in self.unconfirmed() {
            if !self.document(&path).is_some_and(|document| is_everywhere(&document)) {
                continue;
            }
            if list.published < list.changes {
                let list_id = path.strip_prefix(LISTS).unwrap_or_default();
                self.store().mark_published(list_id, list.changes).await?;
            }
            let published = list.published.max(list.changes);
            let confirmed =
                Arc::new(PublishedList { is_confirmed: true, published, ..(*list).clone() });
            // Unless another edition took its place meanwhile.
            if let Some(held) = write(&self.lists).get_mut(&path)
                && Arc::ptr_eq(held, &list)
            {
                *held = confirmed;
            }
        }
        let keys = self.issuer.keys();
        if keys.has_unpublished()
            && let Some(set) = self.document(JWK_SET)
            && set.body == self.key_set().as_bytes()
            && is_everywhere(&set)
        {
            // Not a moment before: a key signs when verifiers have had it for long enough.
            let at = clock().0.div_ceil(1000);
            self.store().mark_keys_published(keys.changed_at(), at).await?;
        }
        Ok(())
    }

    /// By path, what is not known to be everywhere.
    fn unconfirmed(&self) -> Vec<(String, Arc<PublishedList>)> {
        let lists = read(&self.lists);
        let open = lists.iter().filter(|(_, list)| !list.is_confirmed);
        open.map(|(path, list)| (path.clone(), Arc::clone(list))).collect()
    }

    /// Sign a new edition and serve it. A bad one never replaces a good one.
    async fn make_edition(
        &self,
        state: &ListState,
        live: Option<&PublishedList>,
        now: u64,
    ) -> Result<(), PublishError> {
        let edition = self.store().next_edition(&state.id, now).await?;
        let (uri, keys) = (self.issuer.list_uri(&state.id), self.issuer.keys());
        let payload = edition::payload(&uri, &self.issuer.public_uri(AGGREGATION), &edition);
        let body = keys.sign_list(&payload)?;
        let claims = edition::check(&body, &uri, keys.own(), &edition)?;
        let path = list_path(&state.id);
        if let Some(live) = live {
            claims.may_replace(&live.claims)?;
        }
        let list = PublishedList {
            claims,
            changes: edition.changes,
            published: state.published,
            is_confirmed: false,
            key_id: keys.signing_key_id().to_owned(),
            renew_at: edition.issued_at + self.issuer.list_schedule().renew_after(),
        };
        self.serve(&path, "application/statuslist+jwt", body);
        write(&self.lists).insert(path, Arc::new(list));
        Ok(())
    }

    /// Serve a document, unless it is served.
    fn serve(&self, path: &str, media_type: &'static str, body: String) {
        if self.document(path).is_some_and(|live| live.body == body.as_bytes()) {
            return;
        }
        let document = Arc::new(Document::new(path, media_type, body));
        let mut documents = write(&self.documents);
        // Looked at under the lock: nothing is served after they were cleared.
        if self.is_of_other_database.load(Ordering::Relaxed) {
            return;
        }
        documents.insert(document.path.clone(), Arc::clone(&document));
        drop(documents);
        let mut unseen = lock(&self.unseen);
        unseen.retain(|other| other.path != document.path);
        unseen.push(document);
    }

    /// What was published since the last call, to be fetched back by its public URI.
    pub fn take_unseen(&self) -> Vec<Arc<Document>> {
        std::mem::take(&mut lock(&self.unseen))
    }

    /// Where a document is found by the public.
    pub fn public_uri(&self, document: &Document) -> String {
        match document.path.as_str() {
            METADATA => edgepass_verify::documents::metadata::metadata_url(self.issuer.issuer()),
            path => self.issuer.public_uri(path),
        }
    }

    /// Stop serving what has retired.
    fn retire_all_but(&self, states: &[ListState]) {
        let current: HashSet<String> = states.iter().map(|state| list_path(&state.id)).collect();
        write(&self.lists).retain(|path, _| current.contains(path));
        write(&self.documents).retain(|path, _| !path.starts_with(LISTS) || current.contains(path));
        *write(&self.current) = current;
    }
}

fn list_path(list_id: &str) -> String {
    format!("{LISTS}{list_id}")
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

/// Documents read or written at once, at each target.
const AT_ONCE: usize = 16;
/// Another list of a window is opened when less than this part of one is free.
const ROOM: u32 = 8;
