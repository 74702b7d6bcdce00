//! Step 3: the issuer's keys, held and refreshed.

use std::cmp::Ordering;
use std::time::Duration;

use edgepass_crypto::is_sound;
use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{Algorithm, Jwk, JwkSet};

use crate::error::VerifyError;
use crate::fetch::{Answer, AnsweredBy, Content, Document, FetchOrder};
use crate::freshness::{JWK_SET_HARD_STOP, UNKNOWN_KEY_COOL_DOWN};
use crate::holder::{Held, Patience, Supply};
use crate::metadata;
use crate::policy::{Policy, PolicyError, is_acceptable_url};
use crate::time::UnixMillis;

/// Where the issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Handed in; used as long as the verifier lives.
    Given(JwkSet),
    /// Fetched from this URL.
    Url(JwksUri),
    /// Fetched from `jwks_uri` of the issuer's metadata (RFC 8414).
    Discover,
}

/// The URL of a JWK Set: https, or http to the machine itself. Whoever can change what it answers
/// owns the keys.
#[derive(Clone, Debug)]
pub struct JwksUri(String);

impl JwksUri {
    /// Check the URL.
    ///
    /// # Errors
    ///
    /// [`PolicyError::JwksUriInvalid`].
    pub fn parse(url: &str) -> Result<Self, PolicyError> {
        if is_acceptable_url(url) {
            Ok(Self(url.to_owned()))
        } else {
            Err(PolicyError::JwksUriInvalid)
        }
    }
}

pub(crate) struct KeyHolder {
    source: KeySource,
    /// `jwks_uri`, once known. Forgotten when the set cannot be had there.
    jwks_uri: Option<String>,
    set: Held<JwkSet>,
    /// When an unknown `kid` last caused a fetch.
    unknown_key_at: Option<UnixMillis>,
}

pub(crate) enum KeyLookup {
    Use { key: Jwk, stale: bool, refresh: Option<FetchOrder> },
    Fetch(FetchOrder),
    Wait,
    Refuse(VerifyError),
}

impl KeyHolder {
    pub(crate) fn new(source: KeySource) -> Self {
        let jwks_uri = match &source {
            KeySource::Url(url) => Some(url.0.clone()),
            KeySource::Given(_) | KeySource::Discover => None,
        };
        Self { source, jwks_uri, set: Held::new(), unknown_key_at: None }
    }

    /// Find the key for `key_id` and `algorithm`, or say what must happen first.
    pub(crate) fn look_up(
        &mut self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        policy: &Policy,
        patience: &mut Patience,
        stale_if_error: Duration,
        now: UnixMillis,
    ) -> KeyLookup {
        if let KeySource::Given(set) = &self.source {
            return match set.find(key_id, algorithm) {
                KeyMatch::One(key) => {
                    KeyLookup::Use { key: key.clone(), stale: false, refresh: None }
                }
                KeyMatch::Unfit | KeyMatch::None => KeyLookup::Refuse(VerifyError::KeyNotFound),
            };
        }
        let stale_if_error = stale_if_error.min(JWK_SET_HARD_STOP);
        let supply = self.set.supply(now, &policy.schedule, stale_if_error, patience);
        let (stale, refresh) = match supply {
            Supply::Fresh { refresh } => (false, refresh),
            Supply::Stale => (true, false),
            Supply::Fetch => return KeyLookup::Fetch(self.order(policy, now)),
            Supply::Wait => return KeyLookup::Wait,
            Supply::Unavailable => return KeyLookup::Refuse(VerifyError::KeysUnavailable),
        };
        let found = self.set.content().map_or(KeyMatch::None, |set| set.find(key_id, algorithm));
        match found {
            KeyMatch::One(key) => {
                let key = key.clone();
                let refresh = refresh.then(|| self.refresh_order(policy, now));
                KeyLookup::Use { key, stale, refresh }
            }
            KeyMatch::Unfit => KeyLookup::Refuse(VerifyError::KeyNotFound),
            KeyMatch::None => self.look_up_unknown(policy, patience, now),
        }
    }

    /// The set, whatever its age, for checking lists beside a token that was just verified.
    pub(crate) fn current(&self) -> Option<&JwkSet> {
        match &self.source {
            KeySource::Given(set) => Some(set),
            KeySource::Url(_) | KeySource::Discover => self.set.content(),
        }
    }

    pub(crate) fn confirmed_at(&self) -> Option<UnixMillis> {
        self.set.confirmed_at()
    }

    pub(crate) fn release(&mut self, order: &FetchOrder) {
        self.set.end_fetch(order.lease);
    }

    /// Take in a metadata document.
    pub(crate) fn land_metadata(
        &mut self,
        order: &FetchOrder,
        answer: Answer,
        policy: &Policy,
        now: UnixMillis,
    ) {
        self.set.end_fetch(order.lease);
        let found = match &answer.content {
            Content::Body { bytes, .. } => metadata::jwks_uri(bytes, &policy.issuer),
            Content::NotModified | Content::Failed => None,
        };
        match found {
            Some(jwks_uri) => self.jwks_uri = Some(jwks_uri),
            None => self.set.failed(answer.from, now),
        }
    }

    /// Take in a JWK Set. True when it replaced the held one.
    pub(crate) fn land_set(
        &mut self,
        order: &FetchOrder,
        answer: Answer,
        policy: &Policy,
        now: UnixMillis,
    ) -> bool {
        if answer.from == AnsweredBy::Source {
            self.set.end_fetch(order.lease);
        }
        let mut replaced = false;
        let usable = match answer.content {
            Content::NotModified => {
                self.set.confirm(order.etag.as_deref(), answer.confirmed_at, now)
            }
            Content::Body { bytes, etag, .. } => {
                match JwkSet::parse(&bytes, &policy.algorithms, is_sound) {
                    Ok(set) => {
                        replaced = self.set.replace(set, etag, answer.confirmed_at, now, order_of);
                        replaced
                    }
                    Err(_) => false,
                }
            }
            Content::Failed => false,
        };
        if !usable {
            self.set.failed(answer.from, now);
            if matches!(self.source, KeySource::Discover) {
                self.jwks_uri = None;
            }
        }
        replaced
    }

    /// A `kid` that the held set lacks: one fetch per cool-down, however many there are.
    fn look_up_unknown(
        &mut self,
        policy: &Policy,
        patience: &Patience,
        now: UnixMillis,
    ) -> KeyLookup {
        let interval = policy.schedule.refresh_interval;
        if self.set.age(now).is_some_and(|age| age < interval) {
            return KeyLookup::Refuse(VerifyError::KeyNotFound);
        }
        let cooling = self
            .unknown_key_at
            .is_some_and(|at| now.since(at).is_some_and(|passed| passed < UNKNOWN_KEY_COOL_DOWN));
        if patience.fetched || cooling {
            return KeyLookup::Refuse(VerifyError::KeysUnavailable);
        }
        self.unknown_key_at = Some(now);
        KeyLookup::Fetch(self.order(policy, now))
    }

    fn order(&mut self, policy: &Policy, now: UnixMillis) -> FetchOrder {
        let lease = self.set.begin_fetch(now, policy.schedule.fetch_timeout);
        self.order_for(policy, lease)
    }

    fn refresh_order(&mut self, policy: &Policy, now: UnixMillis) -> FetchOrder {
        let lease = self.set.begin_refresh(now, policy.schedule.fetch_timeout);
        self.order_for(policy, lease)
    }

    fn order_for(&self, policy: &Policy, lease: u64) -> FetchOrder {
        let (document, url, etag) = match &self.jwks_uri {
            Some(url) => (Document::JwkSet, url.clone(), self.set.etag().map(str::to_owned)),
            None => (Document::Metadata, metadata::metadata_url(&policy.issuer), None),
        };
        FetchOrder {
            document,
            url,
            etag,
            max_bytes: policy.max_response_bytes,
            timeout: policy.schedule.fetch_timeout,
            may_read_cache: document == Document::JwkSet && self.set.content().is_none(),
            lease,
        }
    }
}

/// Sets that say when they were made are ordered by that; one that is silent comes before any that
/// is not: a replayed set must not bring a withdrawn key back.
fn order_of(new: &JwkSet, held: &JwkSet) -> Ordering {
    new.issued_at().cmp(&held.issued_at())
}
