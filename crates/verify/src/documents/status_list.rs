//! Step 8: the status lists, held and refreshed.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use edgepass_jose::{Jwk, JwkSet, NumericDate};
use edgepass_status_list::{StatusListClaims, StatusReference, StatusType, Statuses};

use crate::documents::fetch::{Answer, AnsweredBy, Content, DocumentKind, FetchOrder};
use crate::documents::held::{Attempt, Availability, Held, Replaced};
use crate::documents::prefetch::{NextFetch, Prefetch};
use crate::documents::refused::Refused;
use crate::documents::status_list_token::{StatusListToken, aggregation, expiration};
use crate::error::VerifyError;
use crate::policy::freshness::TimeLimits;
use crate::policy::{IssuerIndex, Policy};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::url;

/// The most lists known of one issuer; the least recently used makes room.
const MAX_LISTS: usize = 1024;
/// What the lists of one issuer may take together, in bytes, if nothing else is said.
pub const DEFAULT_BYTES: usize = 16 << 20;
/// How far a list may be redirected, inside the configured prefixes.
const MAX_REDIRECTS: u8 = 3;

pub(crate) struct ListHolder {
    issuer: IssuerIndex,
    lists: HashMap<String, Entry>,
    uses: u64,
    max_bytes: usize,
    prefetch: Prefetch,
    /// Confirmations of lists that were past half of the time that they may be used.
    aged: u64,
    /// Stands in for a list that was put there a moment ago and is gone, which cannot be.
    nowhere: Held<HeldList>,
}

struct Entry {
    held: Held<HeldList>,
    used: u64,
}

struct HeldList {
    statuses: Statuses,
    number: Option<u64>,
    issued_at: NumericDate,
    /// From this second on it says nothing.
    expiration: NumericDate,
    ttl: Option<Duration>,
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
    token: StatusListToken,
}

impl PendingList {
    /// Its issuer.
    pub(crate) fn issuer(&self) -> IssuerIndex {
        self.order.issuer
    }

    /// Who answered.
    pub(crate) fn from(&self) -> AnsweredBy {
        self.answered.0
    }
}

/// What became of an answer that is in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// It is held, or what is held was confirmed.
    Held,
    /// It says nothing new, and was asked for before what is held.
    Outdated,
}

pub(crate) enum ReceivedList {
    /// It was taken in, or refused.
    Settled(Result<Taken, Refused>),
    Follow(FetchOrder),
    Signature(SignatureRequest, Box<PendingList>),
}

impl ListHolder {
    pub(crate) fn new(issuer: IssuerIndex) -> Self {
        Self {
            issuer,
            lists: HashMap::new(),
            uses: 0,
            max_bytes: DEFAULT_BYTES,
            prefetch: Prefetch::default(),
            aged: 0,
            nowhere: Held::new(),
        }
    }

    pub(crate) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Look a status up, or say what must happen first.
    pub(crate) fn look_up(
        &mut self,
        reference: &StatusReference,
        policy: &Policy,
        attempt: &mut Attempt,
        stale_if_error: Option<Duration>,
        now: UnixMillis,
    ) -> StatusLookup {
        let issuer = self.issuer;
        let held = self.held(&reference.uri);
        if held.content().is_some_and(|list| now.numeric_date() >= list.expiration) {
            held.drop_copy(HeldList::strip);
        }
        let limits = limits(held, policy, stale_if_error);
        let order =
            |held: &Held<HeldList>, lease| order(held, &reference.uri, policy, issuer, lease);
        let (stale, refresh) = match held.availability(now, &limits, attempt) {
            Availability::Fresh { refresh } => (false, refresh),
            Availability::Stale => (true, false),
            Availability::Fetch => {
                let lease = held.begin_fetch(now, limits.fetch_timeout);
                return StatusLookup::Fetch(order(held, lease));
            }
            Availability::Wait => return StatusLookup::Wait,
            Availability::Unavailable => {
                return StatusLookup::Refuse(VerifyError::StatusUnavailable);
            }
        };
        let (Some(list), Some(confirmed_at)) = (held.content(), held.confirmed_at()) else {
            return StatusLookup::Refuse(VerifyError::StatusUnavailable);
        };
        let Some(status) = list.statuses.status(reference.index) else {
            return StatusLookup::Refuse(VerifyError::StatusInvalid);
        };
        let refresh = refresh.then(|| {
            let lease = held.begin_refresh(now, limits.fetch_timeout);
            order(held, lease)
        });
        StatusLookup::Known { status, confirmed_at, stale, refresh }
    }

    pub(crate) fn confirmed_at(&self, uri: &str) -> Option<UnixMillis> {
        self.lists.get(uri)?.held.confirmed_at()
    }

    pub(crate) fn is_fresh(&self, uri: &str, policy: &Policy, now: UnixMillis) -> bool {
        let held = self.lists.get(uri).map(|entry| &entry.held);
        held.is_some_and(|held| held.is_fresh(now, &limits(held, policy, None)))
    }

    pub(crate) fn release(&mut self, order: &FetchOrder) {
        self.held(&order.uri).answered_by_cache(order.lease);
    }

    /// Take in a status list token; its signature may be the host's to check.
    pub(crate) fn receive(
        &mut self,
        order: FetchOrder,
        answer: Answer,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> ReceivedList {
        let held = self.held(&order.uri);
        if let Content::Redirect { location } = &answer.content
            && order.redirects < MAX_REDIRECTS
            && let Some(url) = url::resolve(location, &order.url)
            && policy.allows_status_uri(&url)
        {
            let etag = etag_from(held, &url);
            let confirmed_at = order.confirmed_at(answer.confirmed_at);
            return ReceivedList::Follow(order.redirected(url, etag, confirmed_at));
        }
        let (from, confirmed_at) = (answer.from, order.confirmed_at(held.confirmed_by(&answer)));
        if from == AnsweredBy::Source {
            held.end_fetch(order.lease);
        }
        let parsed = match answer.content {
            Content::NotModified => {
                let taken = held.confirm(order.etag.as_deref(), confirmed_at, now);
                if !taken {
                    held.failed(order.lease, from, now);
                } else if held.content().is_some_and(|list| list.is_aged(now)) {
                    self.aged = self.aged.saturating_add(1);
                }
                return ReceivedList::Settled(if taken {
                    Ok(Taken::Held)
                } else {
                    Err(Refused::NotHeld)
                });
            }
            Content::Body { bytes, media_type, etag } => {
                open(&bytes, media_type.as_deref(), keys, policy).map(|token| (token, etag))
            }
            other => Err(other.refused()),
        };
        let (token, etag) = match parsed {
            Ok(parsed) => parsed,
            Err(refused) => {
                held.failed(order.lease, from, now);
                return ReceivedList::Settled(Err(refused));
            }
        };
        let checked = token.check_signature();
        let pending = PendingList { order, answered: (from, confirmed_at, etag), token };
        match checked {
            Checked::ByHost(request) => ReceivedList::Signature(request, Box::new(pending)),
            Checked::Here(valid) => {
                ReceivedList::Settled(self.signature_checked(pending, valid, keys, policy, now))
            }
        }
    }

    /// The signature of a fetched list was checked: hold the list or refuse it.
    pub(crate) fn signature_checked(
        &mut self,
        pending: PendingList,
        valid: bool,
        keys: Option<&JwkSet>,
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<Taken, Refused> {
        let (from, confirmed_at, etag) = pending.answered;
        let (uri, lease) = (pending.order.uri.clone(), pending.order.lease);
        // The key may have been withdrawn while the host was checking.
        let known = keys.is_some_and(|keys| keys.keys().contains(pending.token.key()));
        let claims = match (known, valid) {
            (false, _) => Err(Refused::Key),
            (true, false) => Err(Refused::Signature),
            (true, true) => read(&pending.token, &uri, policy, now),
        };
        let taken = claims.and_then(|claims| {
            self.prefetch.learn(claims.aggregation_uri.as_deref(), policy);
            let key = pending.token.key().clone();
            let list = HeldList::new(claims, key, pending.order.url, policy);
            let is_aged = from == AnsweredBy::Source && list.is_aged(now);
            match self.held(&uri).replace(list, etag, confirmed_at, now, HeldList::order_of) {
                Replaced::Taken => {
                    self.aged = self.aged.saturating_add(is_aged.into());
                    Ok(Taken::Held)
                }
                Replaced::Outdated => Ok(Taken::Outdated),
                Replaced::Older => Err(Refused::Older),
            }
        });
        if taken.is_err() {
            self.held(&uri).failed(lease, from, now);
        }
        self.make_room(&uri);
        taken
    }

    /// A key was withdrawn: lists signed by it are forgotten, their order too, and
    /// fetched again. A list on its way may be signed by it as well, and is no failure.
    pub(crate) fn keep_signed_by(&mut self, keys: &JwkSet) {
        for entry in self.lists.values_mut() {
            entry.held.keep_if(|list| keys.keys().contains(&list.key));
        }
    }

    /// Confirmations of lists that an honest source would have signed anew.
    pub(crate) fn aged(&self) -> u64 {
        self.aged
    }

    /// How much the lists take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let sizes = self.lists.values().filter_map(|entry| entry.held.content());
        sizes.map(|list| list.statuses.bytes()).sum()
    }

    /// How many are held.
    pub(crate) fn count(&self) -> usize {
        self.lists.values().filter(|entry| entry.held.content().is_some()).count()
    }

    /// When the list was confirmed whose confirmation is longest ago, of those that may be used.
    pub(crate) fn oldest(&self, now: UnixMillis) -> Option<UnixMillis> {
        let usable = |entry: &&Entry| {
            let list = entry.held.content();
            list.is_some_and(|list| now.numeric_date() < list.expiration)
        };
        self.lists.values().filter(usable).filter_map(|entry| entry.held.confirmed_at()).min()
    }

    /// Whether there are lists to be fetched before a token asks for them.
    pub(crate) fn wants_prefetch(&self) -> bool {
        self.prefetch.is_due()
    }

    /// What to fetch for that next.
    pub(crate) fn prefetch(&mut self, policy: &Policy, now: UnixMillis) -> Option<FetchOrder> {
        let (issuer, timeout) = (self.issuer, policy.schedule.fetch_timeout);
        match self.prefetch.next()? {
            NextFetch::Aggregation(uri) => {
                let document = DocumentKind::Aggregation;
                Some(FetchOrder { document, ..order(&Held::new(), &uri, policy, issuer, 0) })
            }
            NextFetch::List(uri) => {
                let held = self.held(&uri);
                let lease = held.begin_refresh(now, timeout);
                Some(order(held, &uri, policy, issuer, lease))
            }
        }
    }

    /// Take in the names of the issuer's lists.
    pub(crate) fn receive_aggregation(
        &mut self,
        answer: Answer,
        policy: &Policy,
    ) -> Result<(), Refused> {
        let Content::Body { bytes, .. } = answer.content else {
            return Err(answer.content.refused());
        };
        let uris = aggregation(&bytes).ok_or(Refused::Malformed)?;
        let lists = &self.lists;
        let is_held = |uri: &str| lists.get(uri).is_some_and(|e| e.held.content().is_some());
        self.prefetch.named(uris, is_held, policy);
        Ok(())
    }

    /// Too many bytes: the least recently used lists go, but not `kept`.
    fn make_room(&mut self, kept: &str) {
        while self.bytes() > self.max_bytes && self.lists.len() > 1 {
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
        // Nothing is allocated for a list that is known: this is on every token's way.
        if !self.lists.contains_key(uri) {
            if self.lists.len() >= MAX_LISTS {
                let oldest = self.lists.iter().min_by_key(|(_, entry)| entry.used);
                if let Some(oldest) = oldest.map(|(uri, _)| uri.clone()) {
                    self.lists.remove(&oldest);
                }
            }
            self.lists.insert(uri.to_owned(), Entry { held: Held::new(), used });
        }
        match self.lists.get_mut(uri) {
            Some(entry) => {
                entry.used = used;
                &mut entry.held
            }
            None => &mut self.nowhere,
        }
    }
}

impl HeldList {
    fn new(claims: StatusListClaims, key: Jwk, url: String, policy: &Policy) -> Self {
        Self {
            expiration: expiration(&claims, &policy.list_rules()),
            statuses: claims.list.into(),
            number: claims.number,
            issued_at: claims.issued_at,
            ttl: claims.ttl.map(Duration::from_secs),
            key,
            url,
        }
    }

    /// Whether more than half of the time is over in which it may be used: an issuer signs anew before.
    fn is_aged(&self, now: UnixMillis) -> bool {
        let life = self.expiration.since(self.issued_at);
        now.numeric_date().since(self.issued_at) > life / 2
    }

    /// Keep what says how old it is.
    fn strip(&mut self) {
        self.statuses = Statuses::none();
    }

    /// How this list stands to `held`: `Less` means that it may not replace it.
    ///
    /// `number` decides, then `iat`. A list that stops counting cannot be placed after one that
    /// counts.
    fn order_of(&self, held: &Self) -> Ordering {
        let by_date = self.issued_at.cmp(&held.issued_at);
        match (self.number, held.number) {
            (Some(number), Some(held)) => number.cmp(&held).then(by_date),
            (None, Some(_)) => Ordering::Less,
            (Some(_) | None, None) => by_date,
        }
    }
}

fn limits(held: &Held<HeldList>, policy: &Policy, stale_if_error: Option<Duration>) -> TimeLimits {
    let ttl = held.content().and_then(|list| list.ttl);
    policy.schedule.limits(ttl, stale_if_error)
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
    issuer: IssuerIndex,
    lease: u64,
) -> FetchOrder {
    FetchOrder {
        document: DocumentKind::StatusList,
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

/// Read a list as far as its key, without trusting what it says.
fn open(
    bytes: &[u8],
    media_type: Option<&str>,
    keys: Option<&JwkSet>,
    policy: &Policy,
) -> Result<StatusListToken, Refused> {
    if media_type != Some(DocumentKind::StatusList.accept()) {
        return Err(Refused::MediaType);
    }
    // Without keys no list has one.
    let none = JwkSet::default();
    StatusListToken::parse(bytes, keys.unwrap_or(&none), &policy.list_rules())
}

/// Read a list whose signature is valid.
fn read(
    token: &StatusListToken,
    uri: &str,
    policy: &Policy,
    now: UnixMillis,
) -> Result<StatusListClaims, Refused> {
    let rules = policy.list_rules();
    let claims = token.claims(uri, &rules)?;
    if now.numeric_date() < expiration(&claims, &rules) {
        Ok(claims)
    } else {
        Err(Refused::Expired)
    }
}

#[cfg(test)]
mod tests {
    use edgepass_jose::{Algorithm, base64url};
    use edgepass_status_list::StatusList;
    use edgepass_status_list::list::Bits;
    use serde_json::json;

    use super::*;

    fn list(number: Option<u64>, issued_at: u64) -> HeldList {
        let x = base64url::encode(&[9; 32]);
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x});
        HeldList {
            statuses: StatusList::decode(Bits::One, "eNrbuRgAAhcBXQ", 100).unwrap().into(),
            number,
            issued_at: NumericDate::from_seconds(issued_at),
            expiration: NumericDate::from_seconds(issued_at + 10),
            ttl: None,
            key: Jwk::from_value(&key, &[Algorithm::Ed25519]).unwrap(),
            url: String::new(),
        }
    }

    #[test]
    fn number_decides_which_list_is_newer() {
        for (new, held, expected) in [
            (list(Some(2), 100), list(Some(1), 100), Ordering::Greater),
            (list(Some(1), 100), list(Some(1), 100), Ordering::Equal),
            (list(Some(1), 99), list(Some(1), 100), Ordering::Less),
            (list(Some(1), 101), list(Some(2), 100), Ordering::Less),
            (list(None, 101), list(Some(1), 100), Ordering::Less),
            (list(Some(1), 101), list(None, 100), Ordering::Greater),
            (list(None, 100), list(None, 100), Ordering::Equal),
            (list(None, 99), list(None, 100), Ordering::Less),
        ] {
            assert_eq!(new.order_of(&held), expected);
        }
    }
}
