//! Step 8: the issuer's status lists, held and refreshed, in which a token's status is looked up.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use edgepass_jose::{Jwk, JwkSet, NumericDate};
use edgepass_status_list::{StatusListClaims, StatusReference, StatusType, Statuses};

use crate::documents::fetch::{Answer, AnsweredBy, Content, DocumentKind, FetchOrder};
use crate::documents::held::{Attempt, Availability, Held, Replaced};
use crate::documents::jwk_set::is_too_old;
use crate::documents::prefetch::{NextFetch, Prefetch};
use crate::documents::refused::{Cause, Refused};
use crate::documents::status_list_token::{StatusListToken, aggregation, expiration};
use crate::error::VerifyError;
use crate::policy::freshness::TimeLimits;
use crate::policy::{IssuerIndex, Policy};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::url;

/// The maximum number of known lists of one issuer, held or being fetched. Beyond it the least
/// recently used list is dropped.
const MAX_LISTS: usize = 1024;
/// The default memory limit for all lists of one issuer: 16 MiB.
pub const DEFAULT_BYTES: usize = 16 << 20;
/// The maximum number of redirects in turn that are followed, all inside the configured prefixes.
const MAX_REDIRECTS: u8 = 3;

pub(crate) struct ListHolder {
    issuer: IssuerIndex,
    lists: HashMap<String, Box<Entry>>,
    /// The number of uses of all lists, as a clock for [`Entry::used`].
    uses: u64,
    max_bytes: usize,
    prefetch: Prefetch,
    /// The number of answers of the source that confirmed an aged list: see [`HeldList::is_aged`].
    aged: u64,
}

struct Entry {
    held: Held<HeldList>,
    /// The value of [`ListHolder::uses`] at the last use.
    used: u64,
}

struct HeldList {
    statuses: Statuses,
    number: Option<u64>,
    issued_at: NumericDate,
    /// The second from which on the list is not used: see [`expiration`].
    expiration: NumericDate,
    ttl: Option<Duration>,
    /// The key that signed the list. When the key is withdrawn, the list is dropped.
    key: Jwk,
    /// The URL that the list came from; after a redirect not the list's URI.
    url: String,
}

pub(crate) enum StatusLookup {
    Known { status: StatusType, confirmed_at: UnixMillis, stale: bool, refresh: Option<FetchOrder> },
    Fetch(FetchOrder),
    Wait,
    Refuse(VerifyError),
}

/// A received list whose signature the host is to check.
pub struct PendingList {
    order: FetchOrder,
    answered: (AnsweredBy, UnixMillis, Option<String>),
    token: StatusListToken,
}

impl PendingList {
    /// The issuer of the list.
    pub(crate) fn issuer(&self) -> IssuerIndex {
        self.order.issuer
    }

    /// Whether the source or the host's shared cache answered.
    pub(crate) fn from(&self) -> AnsweredBy {
        self.answered.0
    }
}

fn cause(refused: Refused) -> Cause {
    Cause { document: DocumentKind::StatusList, refused }
}

/// The effect of an answer that is not refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// The list is held now, or the held list was confirmed.
    Held,
    /// The held list stays, because it is as new and was confirmed later.
    Outdated,
}

pub(crate) enum ReceivedList {
    /// The answer was used or refused.
    Settled(Result<Taken, Refused>),
    /// The answer is a redirect to follow with this order.
    Follow(FetchOrder),
    /// The host must check the list's signature first.
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
        }
    }

    pub(crate) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Looks up a status. If it cannot, says whether to fetch the list, to wait for another
    /// request's fetch, or to refuse the token.
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

    /// Why the last answer for a list was refused, unless an answer was used since.
    pub(crate) fn refused(&self, uri: &str) -> Option<Cause> {
        self.lists.get(uri)?.held.refused()
    }

    pub(crate) fn confirmed_at(&self, uri: &str) -> Option<UnixMillis> {
        self.lists.get(uri)?.held.confirmed_at()
    }

    pub(crate) fn is_fresh(&self, uri: &str, policy: &Policy, now: UnixMillis) -> bool {
        let held = self.lists.get(uri).map(|entry| &entry.held);
        held.is_some_and(|held| held.is_fresh(now, &limits(held, policy, None)))
    }

    /// Ends the order: the shared cache had a fresh copy.
    pub(crate) fn release(&mut self, order: &FetchOrder) {
        self.held(&order.uri).answered_by_cache(order.lease);
    }

    /// Takes the answer to an order for a list.
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
        if is_too_old(&answer.content, confirmed_at, &limits(held, policy, None), now) {
            held.failed(order.lease, from, cause(Refused::TooOld), now);
            return ReceivedList::Settled(Err(Refused::TooOld));
        }
        let parsed = match answer.content {
            Content::NotModified => {
                let taken = held.confirm(order.etag.as_deref(), confirmed_at, now);
                if !taken {
                    held.failed(order.lease, from, cause(Refused::NotHeld), now);
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
                held.failed(order.lease, from, cause(refused), now);
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

    /// Holds or refuses a received list, once it is known whether its signature is `valid`.
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
        // The key may have been withdrawn while the host checked the signature.
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
        if let Err(refused) = taken {
            self.held(&uri).failed(lease, from, cause(refused), now);
        }
        self.make_room(&uri);
        taken
    }

    /// Forgets the lists that no key of `keys` signed, also the data that orders their editions,
    /// after a key was withdrawn. The next tokens with such lists make the verifier fetch them. If
    /// a fetch of such a list is under way and fails, no cool-down follows.
    pub(crate) fn keep_signed_by(&mut self, keys: &JwkSet) {
        for entry in self.lists.values_mut() {
            entry.held.keep_if(|list| keys.keys().contains(&list.key));
        }
    }

    /// See [`Counters::aged`](crate::verifier::Counters::aged).
    pub(crate) fn aged(&self) -> u64 {
        self.aged
    }

    /// The memory that the statuses of the held lists take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let sizes = self.lists.values().filter_map(|entry| entry.held.content());
        sizes.map(|list| list.statuses.bytes()).sum()
    }

    /// The number of held lists.
    pub(crate) fn count(&self) -> usize {
        self.lists.values().filter(|entry| entry.held.content().is_some()).count()
    }

    /// The confirmation time of the oldest list that has not expired.
    pub(crate) fn oldest(&self, now: UnixMillis) -> Option<UnixMillis> {
        let usable = |entry: &&Entry| {
            let list = entry.held.content();
            list.is_some_and(|list| now.numeric_date() < list.expiration)
        };
        self.lists
            .values()
            .map(Box::as_ref)
            .filter(usable)
            .filter_map(|entry| entry.held.confirmed_at())
            .min()
    }

    /// Whether [`ListHolder::prefetch`] would return an order.
    pub(crate) fn wants_prefetch(&self) -> bool {
        self.prefetch.is_due()
    }

    /// The order for the next document to prefetch.
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

    /// Takes the answer to an order for the aggregation, which names the issuer's lists.
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

    /// Drops the least recently used lists, except `kept`, until the rest fits into the memory
    /// limit.
    fn make_room(&mut self, kept: &str) {
        while self.bytes() > self.max_bytes && self.lists.len() > 1 {
            let others = self.lists.iter().filter(|(uri, _)| *uri != kept);
            let oldest = others.min_by_key(|(_, entry)| entry.used).map(|(uri, _)| uri.clone());
            if oldest.and_then(|oldest| self.lists.remove(&oldest)).is_none() {
                return;
            }
        }
    }

    /// The list at `uri`, held or not, from now on the most recently used one.
    fn held(&mut self, uri: &str) -> &mut Held<HeldList> {
        // Runs for every token with a status. For a known list it allocates nothing, because the
        // map gives the key back.
        let (uri, mut entry) = match self.lists.remove_entry(uri) {
            Some(known) => known,
            None => {
                self.make_room_for_one();
                (uri.to_owned(), Box::new(Entry { held: Held::new(), used: 0 }))
            }
        };
        self.uses = self.uses.wrapping_add(1);
        entry.used = self.uses;
        &mut self.lists.entry(uri).or_insert(entry).held
    }

    /// Drops the least recently used list if [`MAX_LISTS`] are known.
    fn make_room_for_one(&mut self) {
        if self.lists.len() < MAX_LISTS {
            return;
        }
        let oldest = self.lists.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(oldest) = oldest.map(|(uri, _)| uri.clone()) {
            self.lists.remove(&oldest);
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

    /// Whether more than half of the list's lifetime is over. An Edgepass issuer signs a new
    /// edition before that.
    fn is_aged(&self, now: UnixMillis) -> bool {
        let life = self.expiration.since(self.issued_at);
        now.numeric_date().since(self.issued_at) > life / 2
    }

    /// Drops the statuses and keeps the data that orders editions.
    fn strip(&mut self) {
        self.statuses = Statuses::empty();
    }

    /// Compares this list with the held one. `Less`: this list is older and must not replace it.
    ///
    /// `number` decides, then `iat`. A list without `number` is older than a held one with it. If
    /// the held list has no `number`, `iat` alone decides.
    fn order_of(&self, held: &Self) -> Ordering {
        let by_date = self.issued_at.cmp(&held.issued_at);
        match (self.number, held.number) {
            (Some(number), Some(held)) => number.cmp(&held).then(by_date),
            (None, Some(_)) => Ordering::Less,
            (Some(_) | None, None) => by_date,
        }
    }
}

/// The limits of a list, by its `ttl` if it is held.
fn limits(held: &Held<HeldList>, policy: &Policy, stale_if_error: Option<Duration>) -> TimeLimits {
    let ttl = held.content().and_then(|list| list.ttl);
    policy.schedule.limits(ttl, stale_if_error)
}

/// The validator of the held copy, if the copy came from `url`.
fn etag_from(held: &Held<HeldList>, url: &str) -> Option<String> {
    held.content().filter(|list| list.url == url)?;
    held.etag().map(str::to_owned)
}

/// The order to fetch a list under `lease`.
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
        first_confirmed_at: None,
    }
}

/// Parses a list and finds its key. Does not check its signature.
fn open(
    bytes: &[u8],
    media_type: Option<&str>,
    keys: Option<&JwkSet>,
    policy: &Policy,
) -> Result<StatusListToken, Refused> {
    if media_type != Some(DocumentKind::StatusList.accept()) {
        return Err(Refused::MediaType);
    }
    // Without keys, no list has a known key.
    let none = JwkSet::default();
    StatusListToken::parse(bytes, keys.unwrap_or(&none), &policy.list_rules())
}

/// Reads the claims of a list whose signature is valid. Refuses one that has expired, and one that
/// is not valid yet, for which the leeway of tokens applies.
fn read(
    token: &StatusListToken,
    uri: &str,
    policy: &Policy,
    now: UnixMillis,
) -> Result<StatusListClaims, Refused> {
    let rules = policy.list_rules();
    let claims = token.claims(uri, &rules)?;
    let now = now.numeric_date();
    if claims.not_before.is_some_and(|date| date > now.plus(policy.leeway)) {
        return Err(Refused::NotYetValid);
    }
    if now < expiration(&claims, &rules) { Ok(claims) } else { Err(Refused::Expired) }
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
