//! Publication: signs and checks every document that verifiers fetch, keeps it ready to serve, and
//! writes it to every target.

mod audit_log;
mod distribute;
pub mod document;
pub mod edition;
pub mod error;
pub mod follow;
pub mod head;
pub(crate) mod key_set;
mod same_database;
pub mod target;
mod target_state;

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use edgepass_verify::UnixMillis;
use rayon::prelude::*;
use serde_json::json;

use self::document::Document;
use self::edition::{BadEdition, Chosen, EditionClaims};
use self::error::PublishError;
use self::follow::Followed;
use self::head::Heads;
use self::target::Target;
use self::target_state::{SignedSince, TargetState};
use crate::entropy::Entropy;
use crate::issue::Issuer;
use crate::key_change;
use crate::paths::{AGGREGATION, JWK_SET, LISTS, METADATA, STATUS_HEAD};
use crate::replacement;
use crate::signing_key::KeyState;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListEdition, ListState, Store};

/// Builds documents, keeps the current version of each, and writes them to the targets.
pub struct Publisher<S> {
    issuer: Arc<Issuer<S>>,
    metadata: RwLock<String>,
    /// The served documents, by path.
    documents: RwLock<HashMap<String, Arc<Document>>>,
    lists: RwLock<HashMap<String, Arc<PublishedList>>>,
    /// What another process has published. `None`: this one publishes.
    followed: RwLock<Option<Followed>>,
    /// Paths of the lists that have not retired, with or without an edition.
    current: RwLock<HashSet<String>>,
    /// The key that signed all lists served by the issuer's own endpoint, and since when.
    signed: Mutex<SignedSince>,
    targets: Vec<TargetState>,
    heads: Mutex<Heads>,
    /// `exp` of the served JWK Set, in seconds. 0: it has none.
    set_expires: AtomicU64,
    /// Documents served since the last call of [`Publisher::take_unseen`], the newest of each path,
    /// oldest first.
    unseen: Mutex<Vec<Arc<Document>>>,
    /// Whether a target holds documents that were not made from this database. If so, nothing is
    /// served.
    is_of_other_database: AtomicBool,
}

/// A future that writes one document, or checks one document or one target.
type Pending<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// A list edition that the issuer's own endpoint serves.
#[derive(Clone)]
struct PublishedList {
    claims: EditionClaims,
    /// Number of changes that the edition covers.
    changes: u64,
    /// Number of changes that the storage is known to record as published.
    published: u64,
    /// Whether [`Publisher::confirm`] found the edition at every target.
    is_confirmed: bool,
    /// `kid` of the key that signed the edition.
    key_id: String,
    /// Time from which a new edition is signed, in seconds.
    renew_at: u64,
    /// How the edition is compressed.
    chosen: Chosen,
}

impl<S: Store> Publisher<S> {
    /// Creates a publisher that serves nothing yet. `metadata` is the issuer's metadata document
    /// (RFC 8414).
    pub fn new(issuer: Arc<Issuer<S>>, metadata: String, targets: Vec<Box<dyn Target>>) -> Self {
        Self {
            issuer,
            metadata: RwLock::new(metadata),
            documents: RwLock::default(),
            lists: RwLock::default(),
            followed: RwLock::default(),
            current: RwLock::default(),
            signed: Mutex::default(),
            targets: targets.into_iter().map(TargetState::new).collect(),
            heads: Mutex::default(),
            set_expires: AtomicU64::new(0),
            unseen: Mutex::default(),
            is_of_other_database: AtomicBool::new(false),
        }
    }

    /// Replaces the issuer's metadata document. [`Publisher::sync`] then serves it.
    pub fn set_metadata(&self, metadata: String) {
        *self.metadata.write().unwrap_or_else(PoisonError::into_inner) = metadata;
    }

    /// The storage that documents are made from.
    pub fn store(&self) -> &S {
        self.issuer.store()
    }

    /// The served document at `path`. `None`: none is served there.
    pub fn document(&self, path: &str) -> Option<Arc<Document>> {
        read(&self.documents).get(path).cloned()
    }

    /// The document at `path` for everybody: while other processes serve from the same database, the one that
    /// they can serve as well. `None`: none is served there.
    pub fn public_document(&self, path: &str) -> Option<Arc<Document>> {
        let shared = self.targets.iter().find(|target| target.is_shared());
        match shared {
            Some(target) if read(&self.followed).is_none() => {
                // What has retired, or is of another database, is not served any more.
                self.document(path).and_then(|_| target.shared(path))
            }
            _ => self.document(path),
        }
    }

    /// Whether every target holds an edition of the list that covers at least `change` changes.
    pub fn covers(&self, list_id: &str, change: u64) -> bool {
        let path = list_path(list_id);
        if let Some(covers) = self.follows(&path, change) {
            return covers;
        }
        let lists = read(&self.lists);
        let list = lists.get(&path);
        list.is_some_and(|list| list.is_confirmed && list.changes >= change)
    }

    /// Whether a target holds documents of another database, so that nothing is served or published
    /// until a restart.
    pub fn is_stopped(&self) -> bool {
        self.is_of_other_database.load(Ordering::Relaxed)
    }

    /// Number of served lists.
    pub fn list_count(&self) -> usize {
        read(&self.lists).len()
    }

    /// Number of targets, besides the issuer's own endpoint.
    pub fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// Updates the issuer's own endpoint: serves missing and outdated documents, drops retired
    /// lists, and renews lists and JWK Set when due
    /// ([`renew_after`](crate::config::ListSchedule::renew_after)). Before that, takes one step of
    /// an unfinished act, carries out due key changes and opens lists ahead. Returns `false` if it
    /// should be called again soon: an act is unfinished, or a compromised key awaits its
    /// withdrawal. Call it from one task only. [`Publisher::update_target`] then updates a target.
    ///
    /// # Errors
    ///
    /// [`PublishError`]. After an error of a list or of a due key change, the other documents are
    /// still served. Any other error ends the call.
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
        // One step per call, so that publication does not wait until a million tokens are revoked.
        let is_under_way = store.continue_acts().await?;
        let replaced = replacement::carry_out_due(store, self.issuer.policy().number(), now).await;
        self.issuer.reload_keys().await?;
        let changed = key_change::carry_out_due(&self.issuer, entropy, now).await;
        for list in self.issuer.lists_ahead(entropy, seconds)? {
            store.open_list(&list, list.capacity / ROOM_DIVISOR).await?;
        }
        let states = store.lists(seconds.saturating_sub(RETIRE_AFTER)).await?;
        self.retire_all_but(states.iter().map(|state| list_path(&state.id)).collect());
        // A key must be published before it signs, so the set is served before the lists.
        self.date_keys(seconds);
        self.serve_keys();
        let made = self.make_editions(&states, seconds).await;
        let metadata = read(&self.metadata).clone();
        self.serve(METADATA, "application/json", metadata);
        self.serve(AGGREGATION, "application/json", self.aggregation(&states, seconds));
        if made.is_ok() {
            lock(&self.signed).by(self.issuer.keys().signing_key_id(), clock());
            self.withdraw_if_ready(entropy, clock()).await?;
        }
        changed?;
        replaced?;
        made.map(|()| !is_under_way && !self.issuer.keys().has(KeyState::Compromised))
    }

    /// Removes compromised keys from the set once they are not needed: the signing key has signed
    /// every list, at the endpoint and at every target that answered in its last round, and no
    /// cache holds an earlier edition.
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

    /// Whether the signing key has signed all lists of an endpoint or target for so long that no
    /// cache holds an earlier edition.
    fn is_settled(&self, signed: &SignedSince, now: UnixMillis) -> bool {
        let caches = self.issuer.key_schedule().caches;
        signed.since(self.issuer.keys().signing_key_id(), now).is_some_and(|age| age >= caches)
    }

    fn serve_keys(&self) {
        let set = self.key_set();
        self.serve(JWK_SET, "application/jwk-set+json", set);
    }

    /// The JWK Set to serve.
    fn key_set(&self) -> String {
        let expires = self.set_expires.load(Ordering::Relaxed);
        self.issuer.keys().jwk_set((expires > 0).then_some(expires))
    }

    /// Extends the `exp` of the JWK Set when due, since verifiers refuse an expired set. Without a
    /// largest age of lists the set has no `exp`.
    fn date_keys(&self, now: u64) {
        let terms = self.issuer.list_schedule();
        let Some(age) = terms.max_age else { return };
        let dated = self.set_expires.load(Ordering::Relaxed).saturating_sub(age);
        // Also after the clock was set back.
        if now >= dated.saturating_add(terms.renew_after()) || now < dated {
            self.set_expires.store(now.saturating_add(age), Ordering::Relaxed);
        }
    }

    /// The aggregation: the URIs of the current window's lists, then of later windows' lists, and
    /// last of lists with an ended window, which verifiers need only within their leeway. A
    /// verifier that prefetches some lists takes the first.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §9.
    fn aggregation(&self, states: &[ListState], now: u64) -> String {
        let (over, live): (Vec<_>, Vec<_>) = states.iter().partition(|list| list.window_end <= now);
        let lists = live.into_iter().chain(over);
        let uris: Vec<String> = lists.map(|list| self.issuer.list_uri(&list.id)).collect();
        json!({ "status_lists": uris }).to_string()
    }

    /// Signs and serves a new edition of each list that has none, or one that is outdated, due for
    /// renewal, or signed by another key than the signing key. Returns the first error, after all
    /// lists were tried.
    async fn make_editions(&self, states: &[ListState], now: u64) -> Result<(), PublishError> {
        let signing = self.issuer.keys().signing_key_id().to_owned();
        let mut due = Vec::new();
        for state in states {
            let held = read(&self.lists).get(&list_path(&state.id)).cloned();
            let is_current = |list: &PublishedList| {
                list.changes >= state.changes && now < list.renew_at && list.key_id == signing
            };
            if !held.as_deref().is_some_and(is_current) {
                due.push((state, held));
            }
        }
        let mut outcome = Ok(());
        // As many at once as there are cores.
        for lists in due.chunks(rayon::current_num_threads().max(1)) {
            let mut editions = Vec::with_capacity(lists.len());
            for (state, held) in lists {
                let edition = self.store().next_edition(&state.id, now).await;
                editions.push((*state, held.as_deref(), edition));
            }
            let made: Vec<_> = editions
                .into_par_iter()
                .map(|(state, held, edition)| {
                    let edition = edition.map_err(PublishError::from);
                    let made = edition.and_then(|edition| self.make_edition(state, held, &edition));
                    (state, made)
                })
                .collect();
            for (state, made) in made {
                match made {
                    Ok((list, body)) => {
                        let path = list_path(&state.id);
                        self.serve(&path, "application/statuslist+jwt", body);
                        write(&self.lists).insert(path, Arc::new(list));
                    }
                    Err(error) => {
                        tracing::error!(
                            list = state.id,
                            error = %error,
                            "the list's new edition could not be made"
                        );
                        outcome = outcome.and(Err(error));
                    }
                }
            }
        }
        outcome
    }

    /// Records lists and keys as published if every target holds them. Call it after each
    /// [`Publisher::sync`] and [`Publisher::update_target`].
    ///
    /// # Errors
    ///
    /// [`PublishError::Store`].
    pub async fn confirm(&self, clock: fn() -> UnixMillis) -> Result<(), PublishError> {
        let is_everywhere =
            |document: &Document| self.targets.iter().all(|target| target.holds(document));
        let mut ready = self.unconfirmed();
        ready.retain(|(path, _)| self.document(path).is_some_and(|list| is_everywhere(&list)));
        // From now on heads name these editions, before anybody is told that they are published.
        self.renew_head(clock());
        for (path, list) in ready {
            if list.published < list.changes {
                let list_id = path.strip_prefix(LISTS).unwrap_or_default();
                self.store().mark_published(list_id, list.changes).await?;
            }
            let published = list.published.max(list.changes);
            let confirmed =
                Arc::new(PublishedList { is_confirmed: true, published, ..(*list).clone() });
            // Unless another edition has replaced it meanwhile.
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
            // Rounded up, so that the key does not sign before its settling time is over.
            let at = clock().0.div_ceil(1000);
            self.store().mark_keys_published(keys.changed_at(), at).await?;
        }
        Ok(())
    }

    /// The served lists that are not confirmed yet, by path.
    fn unconfirmed(&self) -> Vec<(String, Arc<PublishedList>)> {
        let lists = read(&self.lists);
        let open = lists.iter().filter(|(_, list)| !list.is_confirmed);
        open.map(|(path, list)| (path.clone(), Arc::clone(list))).collect()
    }

    /// Signs a new edition. If it fails its check, the previous edition stays.
    fn make_edition(
        &self,
        state: &ListState,
        live: Option<&PublishedList>,
        edition: &ListEdition,
    ) -> Result<(PublishedList, String), PublishError> {
        let (uri, keys) = (self.issuer.list_uri(&state.id), self.issuer.keys());
        let before = live.map(|live| live.chosen);
        let aggregation = self.issuer.public_uri(AGGREGATION);
        let head = self.has_head().then(|| self.issuer.public_uri(STATUS_HEAD));
        let head = head.as_deref();
        let (payload, chosen) = edition::payload(&uri, &aggregation, head, edition, before);
        let body = keys.sign_list(&payload)?;
        let claims = edition::check(&body, &uri, keys.own(), edition)?;
        if let Some(live) = live {
            claims.may_replace(&live.claims)?;
        }
        let list = PublishedList {
            claims,
            changes: edition.changes,
            published: state.published,
            is_confirmed: false,
            key_id: keys.signing_key_id().to_owned(),
            renew_at: edition.issued_at.saturating_add(self.issuer.list_schedule().renew_after()),
            chosen,
        };
        Ok((list, body))
    }

    /// Serves a document, unless the same content is served already.
    fn serve(&self, path: &str, media_type: &'static str, body: String) {
        if self.document(path).is_some_and(|live| live.body == body.as_bytes()) {
            return;
        }
        let document = Arc::new(Document::new(path, media_type, body));
        let mut documents = write(&self.documents);
        // Checked under the lock, so that nothing is served after `check_target` has cleared the
        // documents.
        if self.is_of_other_database.load(Ordering::Relaxed) {
            return;
        }
        documents.insert(document.path.clone(), Arc::clone(&document));
        drop(documents);
        if path.starts_with(LISTS) {
            lock(&self.heads).serves(path, &document.body);
        }
        let mut unseen = lock(&self.unseen);
        unseen.retain(|other| other.path != document.path);
        unseen.push(document);
    }

    /// Returns the documents served since the last call, the newest of each path. The host fetches
    /// them back by their public URIs.
    pub fn take_unseen(&self) -> Vec<Arc<Document>> {
        std::mem::take(&mut lock(&self.unseen))
    }

    /// The public URI of a document.
    pub fn public_uri(&self, document: &Document) -> String {
        match document.path.as_str() {
            METADATA => edgepass_verify::documents::metadata::metadata_url(self.issuer.issuer()),
            path => self.issuer.public_uri(path),
        }
    }

    /// Stops serving the lists whose paths are not among `current`: they have retired.
    fn retire_all_but(&self, current: HashSet<String>) {
        write(&self.lists).retain(|path, _| current.contains(path));
        write(&self.documents).retain(|path, _| !path.starts_with(LISTS) || current.contains(path));
        lock(&self.heads).keep(|path| current.contains(path));
        *write(&self.current) = current;
    }
}

fn list_path(list_id: &str) -> String {
    format!("{LISTS}{list_id}")
}

// A panic while a lock is held leaves the data consistent: each change is one call of the
// collection.

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maximum number of documents read or written at the same time, at each target.
pub(crate) const AT_ONCE: usize = 16;
/// A window gets another list when none of its lists has a free `ROOM_DIVISOR`-th of a new list's
/// capacity.
const ROOM_DIVISOR: u32 = 8;
