//! Publication: every list that may still matter, signed, checked, and held ready to serve.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use edgepass_jose::{CompactJws, PublicKey, base64url, json::JsonObject};
use edgepass_status_list::{StatusList, StatusListClaims, StatusType, encoder};
use edgepass_verify::UnixMillis;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::issue::Issuer;
use crate::signing_key::SigningFailed;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListEdition, ListState, Store, StoreError};

/// Builds list editions and holds the current one of each list.
pub struct Publisher<S> {
    issuer: Arc<Issuer<S>>,
    lists: RwLock<HashMap<String, Arc<PublishedList>>>,
}

/// A list edition that is being served.
#[derive(Clone, Debug)]
pub struct PublishedList {
    /// The status list token.
    pub body: String,
    /// Its entity tag, quoted.
    pub etag: String,
    /// Its `number`.
    pub number: u64,
    /// The changes it covers.
    pub changes: u64,
    /// What it says, for the check of the next.
    list: StatusList,
    resumes: u64,
    /// In seconds: sign a new edition from here on.
    renew_at: u64,
}

/// `exp - iat` of a list, in seconds; a new edition is signed at half of it.
pub const LIST_LIFETIME: u64 = 60 * 60;
/// `ttl` of a list, in seconds.
pub const LIST_TTL: u64 = 5;

/// Why an edition was not published. The one before stays.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Signing failed.
    #[error(transparent)]
    Signing(#[from] SigningFailed),
    /// The edition does not say what the database says, or may not replace the one before.
    #[error("a new list edition failed its check before publication: {0}")]
    Check(&'static str),
}

impl<S: Store> Publisher<S> {
    /// A publisher that serves nothing yet.
    pub fn new(issuer: Arc<Issuer<S>>) -> Self {
        Self { issuer, lists: RwLock::default() }
    }

    /// The storage that lists are made from.
    pub fn store(&self) -> &S {
        self.issuer.store()
    }

    /// The edition of a list to serve.
    pub fn list(&self, list_id: &str) -> Option<Arc<PublishedList>> {
        self.held().get(list_id).cloned()
    }

    /// Whether the edition being served covers a change.
    pub fn covers(&self, list_id: &str, change: u64) -> bool {
        self.list(list_id).is_some_and(|list| list.changes >= change)
    }

    /// The lists that are served, in the order in which their windows end.
    pub fn list_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.held().keys().cloned().collect();
        ids.sort_by_cached_key(|id| (id.len(), id.clone()));
        ids
    }

    /// Publish every list whose edition is missing, outdated or half-expired; drop retired ones.
    /// One caller at a time.
    ///
    /// # Errors
    ///
    /// The first [`PublishError`]; the other lists are published all the same.
    pub async fn sync(&self, now: UnixMillis) -> Result<(), PublishError> {
        let seconds = now.numeric_date().seconds();
        let states = self.issuer.store().lists(seconds.saturating_sub(RETIRE_AFTER)).await?;
        self.retire_all_but(&states);
        let mut outcome = Ok(());
        for state in states {
            if self.is_current(&state, seconds) {
                continue;
            }
            if let Err(error) = self.publish(&state.id, seconds).await {
                tracing::error!(list = state.id, error = %error, "list not published");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    async fn publish(&self, list_id: &str, now: u64) -> Result<(), PublishError> {
        let store = self.issuer.store();
        let edition = store.next_edition(list_id, now).await?;
        let body = self.issuer.sign_list(&payload(&self.issuer.list_uri(list_id), &edition))?;
        let list = self.check(&body, &edition)?;
        let list = PublishedList {
            etag: entity_tag(&body),
            body,
            list,
            resumes: edition.resumes,
            number: edition.number,
            changes: edition.changes,
            renew_at: edition.issued_at + LIST_LIFETIME / 2,
        };
        self.held_mut().insert(list_id.to_owned(), Arc::new(list));
        store.mark_published(list_id, edition.changes).await?;
        Ok(())
    }

    /// A bad list never replaces a good one: read the edition back as a verifier would and hold
    /// every index against the database and against the edition being served.
    fn check(&self, body: &str, edition: &ListEdition) -> Result<StatusList, PublishError> {
        const NO: fn(&'static str) -> PublishError = PublishError::Check;
        let jws = CompactJws::parse(body, usize::MAX).map_err(|_| NO("not a JWS"))?;
        let signed = self.issuer.own_keys().keys().iter().any(|key| match key.key() {
            PublicKey::Ed25519 { x } => {
                key.key_id() == jws.header().key_id()
                    && edgepass_crypto::ed25519::verify(x, jws.signing_input(), jws.signature())
            }
            _ => false,
        });
        if !signed {
            return Err(NO("not signed by a published key"));
        }
        let claims = jws.claims().map_err(|_| NO("not JSON"))?;
        let claims = StatusListClaims::from_claims(&claims, max_bytes(edition))
            .map_err(|_| NO("not a status list"))?;
        if claims.subject != self.issuer.list_uri(&edition.id) {
            return Err(NO("sub is not its URI"));
        }
        if let Some(live) = self.list(&edition.id) {
            if live.number >= edition.number {
                return Err(NO("number does not increase"));
            }
            let may_resume = edition.resumes > live.resumes;
            if !keeps(&claims.list, &live.list, edition.capacity, may_resume) {
                return Err(NO("a status that was published is taken back"));
            }
        }
        let mut statuses = edition.statuses.clone();
        statuses.sort_unstable_by_key(|(index, _)| *index);
        let mut others = statuses.iter().peekable();
        let equal = (0..edition.capacity).all(|index| {
            let other = others.next_if(|(other, _)| *other == index);
            let expected = other.map_or(StatusType::Valid, |(_, status)| *status);
            claims.list.status(u64::from(index)) == Some(expected)
        });
        if equal && others.next().is_none() {
            Ok(claims.list)
        } else {
            Err(NO("a status differs from the database"))
        }
    }

    fn is_current(&self, state: &ListState, now: u64) -> bool {
        self.list(&state.id).is_some_and(|list| {
            list.changes >= state.changes && state.published >= state.changes && now < list.renew_at
        })
    }

    fn retire_all_but(&self, states: &[ListState]) {
        self.held_mut().retain(|id, _| states.iter().any(|state| state.id == *id));
    }

    fn held(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<PublishedList>>> {
        // A panic while the lock is held leaves a whole map: every change is one insert or retain.
        self.lists.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn held_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<PublishedList>>> {
        self.lists.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether nothing that a list said is taken back: revoked stays revoked, and suspended becomes valid
/// only where somebody resumed a token.
fn keeps(new: &StatusList, live: &StatusList, capacity: u32, may_resume: bool) -> bool {
    (0..u64::from(capacity)).all(|index| match (live.status(index), new.status(index)) {
        (Some(StatusType::Invalid), new) => new == Some(StatusType::Invalid),
        (Some(StatusType::Suspended), Some(StatusType::Valid)) => may_resume,
        _ => true,
    })
}

/// What an edition inflates to.
fn max_bytes(edition: &ListEdition) -> usize {
    (edition.capacity as usize).saturating_mul(edition.bits.number().into()).div_ceil(8)
}

/// A strong entity tag for a published document (RFC 9110 §8.8.3): a hash of its bytes.
pub fn entity_tag(body: &str) -> String {
    format!("\"{}\"", base64url::encode(&Sha256::digest(body.as_bytes())))
}

/// The claims of a status list token, with the private claim `number`.
///
/// Source: draft-ietf-oauth-status-list-20 §5.1.
fn payload(uri: &str, edition: &ListEdition) -> JsonObject {
    let mut list = StatusList::all_valid(edition.bits, edition.capacity);
    for (index, status) in &edition.statuses {
        list.set(u64::from(*index), status.number());
    }
    let claims = json!({
        "sub": uri,
        "iat": edition.issued_at,
        "exp": edition.issued_at + LIST_LIFETIME,
        "ttl": LIST_TTL,
        "number": edition.number,
        "status_list": { "bits": list.bits().number(), "lst": encoder::encode(&list) },
    });
    match claims {
        Value::Object(claims) => claims,
        _ => JsonObject::new(),
    }
}
