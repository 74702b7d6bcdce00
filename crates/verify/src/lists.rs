//! Step 8: the status lists, held and refreshed.

use std::collections::HashMap;
use std::time::Duration;

use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{CompactJws, Jwk, JwkSet};
use edgepass_status_list::claims::STATUS_LIST_TYPE;
use edgepass_status_list::{StatusListClaims, StatusReference, StatusType};

use crate::error::VerifyError;
use crate::fetch::{Answer, AnsweredBy, Content, Document, FetchOrder};
use crate::freshness::Terms;
use crate::holder::{Held, Patience, Replaced, Supply};
use crate::policy::Policy;
use crate::signature::{self, Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::url;

/// The most lists held; the least recently used makes room.
const MAX_LISTS: usize = 64;
/// What the lists of one issuer may take together.
const MAX_BYTES: usize = 16 << 20;
/// In seconds. Nothing in the draft bounds the age of a list without `exp`.
const LIFETIME_WITHOUT_EXPIRATION: u64 = 24 * 60 * 60;
/// How far a list may be redirected, inside the configured prefixes.
const MAX_REDIRECTS: u8 = 3;

pub(crate) struct ListHolder {
    /// Position among the verifier's issuers.
    issuer: usize,
    lists: HashMap<String, Entry>,
    uses: u64,
}

struct Entry {
    held: Held<HeldList>,
    used: u64,
}

struct HeldList {
    claims: StatusListClaims,
    /// The key that signed it; a list whose key was withdrawn is worth nothing.
    key: Jwk,
    /// Where it came from; another URL than its own after a redirect.
    url: String,
}

pub(crate) enum StatusLookup {
    Known { status: StatusType, confirmed_at: UnixMillis, stale: bool, refresh: Option<FetchOrder> },
    Fetch(FetchOrder),
    Wait,
    Refuse(VerifyError),
}

/// A fetched list that waits for its signature to be checked by the host.
pub struct PendingList {
    order: FetchOrder,
    answered: (AnsweredBy, UnixMillis, Option<String>),
    jws: CompactJws,
    key: Jwk,
}

impl PendingList {
    /// Position of its issuer among the verifier's.
    pub(crate) fn issuer(&self) -> usize {
        self.order.issuer
    }
}

pub(crate) enum LandedList {
    /// It was taken in, or refused.
    Settled {
        taken: bool,
    },
    Follow(FetchOrder),
    Signature(SignatureRequest, Box<PendingList>),
}

impl ListHolder {
    pub(crate) fn new(issuer: usize) -> Self {
        Self { issuer, lists: HashMap::new(), uses: 0 }
    }

    /// Look a status up, or say what must happen first.
    pub(crate) fn look_up(
        &mut self,
        reference: &StatusReference,
        policy: &Policy,
        patience: &mut Patience,
        stale_if_error: Option<Duration>,
        now: UnixMillis,
    ) -> StatusLookup {
        let issuer = self.issuer;
        let held = self.held(&reference.uri);
        if held.content().is_some_and(|list| has_expired(&list.claims, now)) {
            held.drop_copy();
        }
        let terms = terms(held, policy, stale_if_error);
        let order =
            |held: &Held<HeldList>, lease| order(held, &reference.uri, policy, issuer, lease);
        let (stale, refresh) = match held.supply(now, &terms, patience) {
            Supply::Fresh { refresh } => (false, refresh),
            Supply::Stale => (true, false),
            Supply::Fetch => {
                let lease = held.begin_fetch(now, terms.fetch_timeout);
                return StatusLookup::Fetch(order(held, lease));
            }
            Supply::Wait => return StatusLookup::Wait,
            Supply::Unavailable => return StatusLookup::Refuse(VerifyError::StatusUnavailable),
        };
        let (Some(list), Some(confirmed_at)) = (held.content(), held.confirmed_at()) else {
            return StatusLookup::Refuse(VerifyError::StatusUnavailable);
        };
        let Some(status) = list.claims.list.status(reference.index) else {
            return StatusLookup::Refuse(VerifyError::StatusInvalid);
        };
        let refresh = refresh.then(|| {
            let lease = held.begin_refresh(now, terms.fetch_timeout);
            order(held, lease)
        });
        StatusLookup::Known { status, confirmed_at, stale, refresh }
    }

    pub(crate) fn confirmed_at(&self, uri: &str) -> Option<UnixMillis> {
        self.lists.get(uri)?.held.confirmed_at()
    }

    pub(crate) fn is_fresh(&self, uri: &str, policy: &Policy, now: UnixMillis) -> bool {
        let held = self.lists.get(uri).map(|entry| &entry.held);
        held.is_some_and(|held| held.is_fresh(now, &terms(held, policy, None)))
    }

    pub(crate) fn release(&mut self, order: &FetchOrder) {
        self.held(&order.uri).end_fetch(order.lease);
    }

    /// Take in a status list token; its signature may be the host's to check.
    pub(crate) fn land(
        &mut self,
        order: FetchOrder,
        answer: Answer,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> LandedList {
        let held = self.held(&order.uri);
        let (from, confirmed_at) = (answer.from, order.confirmed_at(answer.confirmed_at));
        if let Content::Redirect { location } = &answer.content
            && order.redirects < MAX_REDIRECTS
            && let Some(url) = url::resolve(location, &order.url)
            && policy.allows_status_uri(&url)
        {
            let etag = etag_from(held, &url);
            return LandedList::Follow(order.redirected(url, etag, confirmed_at));
        }
        if from == AnsweredBy::Source {
            held.end_fetch(order.lease);
        }
        let parsed = match answer.content {
            Content::NotModified => {
                let taken = held.confirm(order.etag.as_deref(), confirmed_at, now);
                if !taken {
                    held.failed(from, now);
                }
                return LandedList::Settled { taken };
            }
            Content::Body { bytes, media_type, etag } => {
                open(&bytes, media_type.as_deref(), keys, policy).map(|(jws, key)| (jws, key, etag))
            }
            Content::Redirect { .. } | Content::Failed => None,
        };
        let Some((jws, key, etag)) = parsed else {
            held.failed(from, now);
            return LandedList::Settled { taken: false };
        };
        let checked = signature::check(&key, &jws);
        let pending = PendingList { order, answered: (from, confirmed_at, etag), jws, key };
        match checked {
            Checked::ByHost(request) => LandedList::Signature(request, Box::new(pending)),
            Checked::Here(valid) => {
                let taken = self.signature_checked(pending, valid, keys, policy, now);
                LandedList::Settled { taken }
            }
        }
    }

    /// The signature of a fetched list was checked: hold the list or refuse it. True when it is held.
    pub(crate) fn signature_checked(
        &mut self,
        pending: PendingList,
        valid: bool,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> bool {
        let (from, confirmed_at, etag) = pending.answered;
        // The key may have been withdrawn while the host was checking.
        let valid = valid && keys.is_some_and(|keys| keys.keys().contains(&pending.key));
        let claims = valid.then(|| read(&pending.jws, &pending.order.uri, policy, now)).flatten();
        let held = self.held(&pending.order.uri);
        let replaced = claims.map_or(Replaced::Older, |claims| {
            let list = HeldList { claims, key: pending.key, url: pending.order.url.clone() };
            held.replace(list, etag, confirmed_at, now, |new, old| new.claims.order_of(&old.claims))
        });
        if replaced == Replaced::Older {
            held.failed(from, now);
        }
        self.make_room(&pending.order.uri);
        replaced == Replaced::Taken
    }

    /// The JWK Set changed: lists signed by a key that left it are dropped and fetched again.
    pub(crate) fn keep_signed_by(&mut self, keys: &JwkSet) {
        for entry in self.lists.values_mut() {
            if entry.held.content().is_some_and(|list| !keys.keys().contains(&list.key)) {
                entry.held.drop_copy();
            }
        }
    }

    /// How much the lists take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let sizes = self.lists.values().filter_map(|entry| entry.held.content());
        sizes.map(|list| list.claims.list.bytes().len()).sum()
    }

    /// Too many bytes: the least recently used lists go, but not `kept`.
    fn make_room(&mut self, kept: &str) {
        while self.bytes() > MAX_BYTES && self.lists.len() > 1 {
            let others = self.lists.iter().filter(|(uri, _)| *uri != kept);
            let oldest = others.min_by_key(|(_, entry)| entry.used).map(|(uri, _)| uri.clone());
            if oldest.and_then(|oldest| self.lists.remove(&oldest)).is_none() {
                return;
            }
        }
    }

    fn held(&mut self, uri: &str) -> &mut Held<HeldList> {
        self.uses = self.uses.wrapping_add(1);
        let used = self.uses;
        if !self.lists.contains_key(uri) && self.lists.len() >= MAX_LISTS {
            let oldest = self.lists.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(uri, _)| uri.clone()) {
                self.lists.remove(&oldest);
            }
        }
        let entry =
            self.lists.entry(uri.to_owned()).or_insert_with(|| Entry { held: Held::new(), used });
        entry.used = used;
        &mut entry.held
    }
}

/// Parse a list and find its key, without trusting its content.
///
/// Source: draft-ietf-oauth-status-list-20 §8.3, steps before the signature.
fn open(
    bytes: &[u8],
    media_type: Option<&str>,
    keys: Option<&JwkSet>,
    policy: &Policy,
) -> Option<(CompactJws, Jwk)> {
    if media_type != Some(Document::StatusList.accept()) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let jws = CompactJws::parse(text, policy.max_response_bytes).ok()?;
    if !jws.header().has_type(STATUS_LIST_TYPE) {
        return None;
    }
    let algorithm = policy.allowed_algorithm(&jws)?;
    match keys?.find(jws.header().key_id(), algorithm) {
        KeyMatch::One(key) => Some((jws, key.clone())),
        KeyMatch::Unfit | KeyMatch::None => None,
    }
}

/// Read the claims of a list whose signature verified.
fn read(jws: &CompactJws, uri: &str, policy: &Policy, now: UnixMillis) -> Option<StatusListClaims> {
    let claims = jws.claims().ok()?;
    let claims = StatusListClaims::from_claims(&claims, policy.max_list_bytes).ok()?;
    (claims.subject == uri && !has_expired(&claims, now)).then_some(claims)
}

/// Without leeway: from the second of `exp` on, a list says nothing. One without `exp` is relied on
/// for [`LIFETIME_WITHOUT_EXPIRATION`].
fn has_expired(claims: &StatusListClaims, now: UnixMillis) -> bool {
    let by_age = || claims.issued_at.plus(LIFETIME_WITHOUT_EXPIRATION);
    now.numeric_date() >= claims.expiration.unwrap_or_else(by_age)
}

fn terms(held: &Held<HeldList>, policy: &Policy, stale_if_error: Option<Duration>) -> Terms {
    let ttl = held.content().and_then(|list| list.claims.ttl).map(Duration::from_secs);
    policy.schedule.terms(ttl, stale_if_error)
}

/// The entity tag of the held copy, if the copy came from `url`.
fn etag_from(held: &Held<HeldList>, url: &str) -> Option<String> {
    held.content().filter(|list| list.url == url)?;
    held.etag().map(str::to_owned)
}

fn order(
    held: &Held<HeldList>,
    uri: &str,
    policy: &Policy,
    issuer: usize,
    lease: u64,
) -> FetchOrder {
    FetchOrder {
        document: Document::StatusList,
        uri: uri.to_owned(),
        url: uri.to_owned(),
        etag: etag_from(held, uri),
        max_bytes: policy.max_response_bytes,
        timeout: policy.schedule.fetch_timeout,
        may_read_cache: held.content().is_none(),
        issuer,
        lease,
        redirects: 0,
        asked_at: None,
    }
}
