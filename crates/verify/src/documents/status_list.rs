//! Step 8: the issuer's status lists, held and refreshed, in which a token's status is looked up.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use edgepass_jose::{Jwk, JwkSet, NumericDate};
use edgepass_status_list::claims::STATUS_LIST_TYPE;
use edgepass_status_list::{StatusListClaims, StatusReference, StatusType, Statuses};

use crate::documents::fetch::{Answer, AnsweredBy, Content, DocumentKind, FetchOrder};
use crate::documents::head::HeadHolder;
use crate::documents::held::{Attempt, Availability, Held, Replaced};
use crate::documents::jwk_set::is_too_old;
use crate::documents::prefetch::{NextFetch, Prefetch};
use crate::documents::refused::{Cause, Refused};
use crate::documents::signed::SignedDocument;
use crate::documents::status_head::{Digest, NamedList, StatusHead};
use crate::documents::status_list_token::{aggregation, expiration, list_claims, own_expiration};
use crate::error::VerifyError;
use crate::policy::freshness::TimeLimits;
use crate::policy::{IssuerIndex, Policy};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;

/// The maximum number of known lists of one issuer, held or being fetched. Beyond it the least
/// recently used list is dropped.
const MAX_LISTS: usize = 1024;
/// The default memory limit for all lists of one issuer: 16 MiB.
pub const DEFAULT_BYTES: usize = 16 << 20;

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
    /// The edition that the held status head names, if the held one is older.
    newer: Option<NamedList>,
    /// Whether a token was looked up in the list since it was last fetched.
    is_in_use: bool,
}

struct HeldList {
    statuses: Statuses,
    number: Option<u64>,
    issued_at: NumericDate,
    /// The last time at which the list was signed, or a head that names its statuses.
    signed_at: NumericDate,
    /// The second from which on the list is not used, by itself.
    expiration: NumericDate,
    /// The longest time since [`HeldList::signed_at`], in seconds.
    max_age: Option<u64>,
    ttl: Option<Duration>,
    /// Whether a status head confirms the list, and nothing else does.
    is_headed: bool,
    /// The digest of `lst`.
    digest: Digest,
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
pub(crate) struct PendingList {
    order: FetchOrder,
    answered: (AnsweredBy, UnixMillis, Option<String>),
    token: SignedDocument,
}

impl PendingList {
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
    /// request's fetch, or to refuse the token. If `awaits_head` is true, a head is fetched first, although
    /// the list may be new enough by itself.
    pub(crate) fn look_up(
        &mut self,
        reference: &StatusReference,
        policy: &Policy,
        (attempt, head_attempt): (&mut Attempt, &mut Attempt),
        (head, awaits_head): (&mut HeadHolder, bool),
        stale_if_error: Option<Duration>,
        now: UnixMillis,
    ) -> StatusLookup {
        let issuer = self.issuer;
        let entry = self.entry(&reference.uri);
        entry.is_in_use = true;
        // Of a list that is not held, the edition that the head names, past all caches.
        let named = || head.current().and_then(|head| head.list(&reference.uri));
        let newer = if entry.held.content().is_some() { entry.newer } else { named() };
        let held = &mut entry.held;
        if held.content().is_some_and(|list| now.numeric_date() >= list.expiration()) {
            held.drop_copy(HeldList::strip);
        }
        let limits = limits(held, policy, stale_if_error);
        let order = |held: &Held<HeldList>, lease| {
            order(held, &reference.uri, newer, policy, issuer, lease)
        };
        let is_headed = head.is_published() && held.content().is_some_and(|list| list.is_headed);
        let mut limits = limits;
        if is_headed && (awaits_head || !held.is_fresh(now, &limits)) {
            // Only a head can confirm the list. If a fresh one does not, the list has changed.
            match head.availability(policy, stale_if_error, head_attempt, now) {
                Availability::Fresh { .. } => {}
                Availability::Fetch => {
                    attempt.yields();
                    let order = head.order(policy, now);
                    return order.map_or(REFUSED, StatusLookup::Fetch);
                }
                Availability::Wait => {
                    attempt.yields();
                    return StatusLookup::Wait;
                }
                // The source may have a later list all the same.
                Availability::Stale | Availability::Unavailable => {
                    let usable_for = head.limits(policy, stale_if_error).map(|it| it.usable_for);
                    limits.usable_for = usable_for.unwrap_or_default();
                }
            }
        }
        let (stale, refresh) = match held.availability(now, &limits, attempt) {
            Availability::Fresh { .. } if is_headed => {
                let is_old = held.content().is_some_and(|list| list.is_old(now));
                let is_due = newer.is_some() || (is_old && !held.refreshed_lately(now, &limits));
                let refresh = match is_due && held.may_refetch(now, &limits) {
                    true => {
                        let lease = held.begin_refresh(now, limits.fetch_timeout);
                        Some(order(held, lease))
                    }
                    false => head.refresh(policy, now),
                };
                return known(held, reference, false, refresh);
            }
            Availability::Fresh { refresh } => (false, refresh),
            Availability::Stale => (true, false),
            Availability::Fetch => {
                let lease = held.begin_fetch(now, limits.fetch_timeout);
                return StatusLookup::Fetch(order(held, lease));
            }
            Availability::Wait => return StatusLookup::Wait,
            Availability::Unavailable => return REFUSED,
        };
        let refresh = refresh.then(|| {
            let lease = held.begin_refresh(now, limits.fetch_timeout);
            order(held, lease)
        });
        known(held, reference, stale, refresh)
    }

    /// Whether this key signed the held list.
    pub(crate) fn is_signed_by(&mut self, uri: &str, key: &Jwk) -> bool {
        self.entry(uri).held.content().is_some_and(|list| list.key == *key)
    }

    /// Takes a status head that was accepted: it confirms the lists whose statuses it names, and says
    /// which have changed. Returns the digest of a list that is newer than the head.
    pub(crate) fn named_by(
        &mut self,
        head: &StatusHead,
        confirmed_at: UnixMillis,
        now: UnixMillis,
    ) -> Option<Digest> {
        let mut later = None;
        for (uri, Entry { held, newer, .. }) in
            self.lists.iter_mut().map(|(uri, entry)| (uri, entry.as_mut()))
        {
            let Some(list) = held.content().filter(|list| list.is_headed) else { continue };
            let Some(named) = head.list(uri) else { continue };
            if named.digest == list.digest {
                *newer = None;
                held.confirm_copy(confirmed_at, now);
                let signed_at = head.issued_at.numeric_date();
                held.change(|list| list.signed_at = list.signed_at.max(signed_at));
            } else if Some(named.number) > list.number {
                if *newer != Some(named) {
                    // Every request may fetch the list once more.
                    held.start_generation();
                }
                *newer = Some(named);
            } else {
                (*newer, later) = (None, Some(list.digest));
                if list.number > Some(named.number) {
                    // It came after the head, so it was current when the head was signed.
                    held.confirm_copy(confirmed_at, now);
                }
            }
        }
        later
    }

    /// An order for a list in use of which the head names a newer edition, if nothing fetches it yet:
    /// for the last used one first.
    pub(crate) fn changed(&mut self, policy: &Policy, now: UnixMillis) -> Option<FetchOrder> {
        let issuer = self.issuer;
        let entries = self.lists.iter_mut().map(|(uri, entry)| (uri, entry.as_mut()));
        let changed = entries.filter(|(_, Entry { held, newer, is_in_use, .. })| {
            let is_wanted = newer.is_some() && *is_in_use;
            is_wanted && held.may_refetch(now, &limits(held, policy, None))
        });
        let (uri, Entry { held, newer, .. }) = changed.max_by_key(|(_, entry)| entry.used)?;
        let lease = held.begin_refresh(now, policy.schedule.fetch_timeout);
        Some(order(held, uri, *newer, policy, issuer, lease))
    }

    /// Why the last answer for a list was refused, unless an answer was used since.
    pub(crate) fn refused(&self, uri: &str) -> Option<Cause> {
        self.lists.get(uri)?.held.refused()
    }

    pub(crate) fn confirmed_at(&self, uri: &str) -> Option<UnixMillis> {
        self.lists.get(uri)?.held.confirmed_at()
    }

    /// Whether a list needs no fetch. One that a head confirms does not need one by itself.
    pub(crate) fn is_fresh(&self, uri: &str, policy: &Policy, now: UnixMillis) -> bool {
        let Some(Entry { held, newer, .. }) = self.lists.get(uri).map(Box::as_ref) else {
            return false;
        };
        match held.content().is_some_and(|list| list.is_headed) {
            true => newer.is_none(),
            false => held.is_fresh(now, &limits(held, policy, None)),
        }
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
        (keys, head): (Option<&JwkSet>, &mut HeadHolder),
        policy: &Policy,
        now: UnixMillis,
    ) -> ReceivedList {
        let held = self.held(&order.uri);
        if let Some(url) = order.redirect(&answer.content, policy) {
            let etag = etag_from(held, &url);
            let confirmed_at = order.confirmed_at(answer.confirmed_at);
            return ReceivedList::Follow(order.redirected(url, etag, confirmed_at));
        }
        let (from, confirmed_at) = (answer.from, order.confirmed_at(held.confirmed_by(&answer)));
        if from == AnsweredBy::Source {
            held.end_fetch(order.lease);
        }
        let is_headed = held.content().is_some_and(|list| list.is_headed);
        if !is_headed && is_too_old(&answer.content, confirmed_at, &limits(held, policy, None), now)
        {
            held.failed(order.lease, from, cause(Refused::TooOld), now);
            return ReceivedList::Settled(Err(Refused::TooOld));
        }
        let parsed = match answer.content {
            Content::NotModified => {
                let taken = !is_headed && held.confirm(order.etag.as_deref(), confirmed_at, now);
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
            Checked::Here(valid) => ReceivedList::Settled(self.signature_checked(
                pending,
                valid,
                (keys, head),
                policy,
                now,
            )),
        }
    }

    /// Holds or refuses a received list, once it is known whether its signature is `valid`.
    pub(crate) fn signature_checked(
        &mut self,
        pending: PendingList,
        valid: bool,
        (keys, head): (Option<&JwkSet>, &mut HeadHolder),
        policy: &Policy,
        now: UnixMillis,
    ) -> Result<Taken, Refused> {
        let (from, mut confirmed_at, etag) = pending.answered;
        let (uri, lease) = (pending.order.uri.clone(), pending.order.lease);
        let (url, is_direct) = (pending.order.url.clone(), pending.order.redirects == 0);
        // The key may have been withdrawn while the host checked the signature.
        let known = keys.is_some_and(|keys| keys.keys().contains(pending.token.key()));
        let claims = match (known, valid) {
            (false, _) => Err(Refused::Key),
            (true, false) => Err(Refused::Signature),
            (true, true) => read(&pending.token, &uri, policy, now),
        };
        let taken = claims.and_then(|claims| {
            let (claims, digest) = claims;
            self.prefetch.learn(claims.aggregation_uri.as_deref(), policy);
            // One that is older than the held list will be refused.
            let held = self.entry(&uri).held.content().and_then(|held| held.number);
            let head_uri = claims.head_uri.as_deref().filter(|_| claims.number >= held);
            let is_headed = head.learn(head_uri, policy, now);
            let ends = claims.head_uri.is_none() && head.is_published();
            let key = pending.token.key().clone();
            let mut list = HeldList {
                is_headed,
                ..HeldList::new(claims, digest, key, pending.order.url, policy)
            };
            let is_aged = from == AnsweredBy::Source && !is_headed && list.is_aged(now);
            let entry = self.entry(&uri);
            if is_headed {
                let named = head.current().and_then(|head| head.list(&uri));
                let is_same = named.is_some_and(|named| named.digest == digest);
                let newer = named.filter(|named| !is_same && Some(named.number) > list.number);
                if newer.is_some() && from == AnsweredBy::Source && list.number <= held {
                    return Err(Refused::Older);
                }
                // The list was current when it was signed. If a head names it, or an edition before
                // it, it was current when the head was signed.
                let is_later =
                    !is_same && named.is_none_or(|named| list.number > Some(named.number));
                let signed_at = UnixMillis::from_seconds(list.issued_at.seconds());
                let is_past = signed_at <= now.plus(policy.schedule.clock_skew);
                let by_itself = Some(signed_at.min(confirmed_at)).filter(|_| is_past);
                let by_head =
                    head.confirmed_at().filter(|_| named.is_some() && (is_same || is_later));
                confirmed_at = by_itself.max(by_head).unwrap_or_default().min(now);
                if let (true, Some(head)) = (is_same, head.current()) {
                    list.signed_at = list.signed_at.max(head.issued_at.numeric_date());
                }
                if is_later && head.is_in_use() {
                    head.is_older_than(digest);
                }
                entry.newer = newer;
                entry.is_in_use = false;
            }
            let is_known = is_headed && held.is_some() && list.number == held;
            match entry.held.replace(list, etag, confirmed_at, now, HeldList::order_of) {
                Replaced::Taken => {
                    if is_known && !entry.held.is_fresh(now, &limits(&entry.held, policy, None)) {
                        // Nothing new, and no head confirms it: not asked for again at once.
                        entry.held.failed(lease, from, cause(Refused::Older), now);
                    }
                    self.aged = self.aged.saturating_add(is_aged.into());
                    if ends && from == AnsweredBy::Source {
                        head.end();
                    }
                    Ok(Taken::Held)
                }
                Replaced::Outdated => Ok(Taken::Outdated),
                Replaced::Older => Err(Refused::Older),
            }
        });
        let Entry { held, newer, .. } = self.entry(&uri);
        if let Err(refused) = taken {
            held.failed(lease, from, cause(refused), now);
        }
        // The answer may be an older edition: a cache has it under the plain URL, or it was sent before the head
        // was signed. Under the URL with the digest of the newer one no cache has it: every request may fetch
        // the list once more.
        if is_direct && newer.is_some_and(|newer| newer.digest.in_query_of(&uri) != url) {
            held.start_generation();
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
            list.is_some_and(|list| now.numeric_date() < list.expiration())
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
                Some(FetchOrder { document, ..order(&Held::new(), &uri, None, policy, issuer, 0) })
            }
            NextFetch::List(uri) => {
                let held = self.held(&uri);
                let lease = held.begin_refresh(now, timeout);
                Some(order(held, &uri, None, policy, issuer, lease))
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
        &mut self.entry(uri).held
    }

    fn entry(&mut self, uri: &str) -> &mut Entry {
        // Runs for every token with a status. For a known list it allocates nothing, because the
        // map gives the key back.
        let (uri, mut entry) = match self.lists.remove_entry(uri) {
            Some(known) => known,
            None => {
                self.make_room_for_one();
                let (held, newer) = (Held::new(), None);
                (uri.to_owned(), Box::new(Entry { held, used: 0, newer, is_in_use: false }))
            }
        };
        self.uses = self.uses.wrapping_add(1);
        entry.used = self.uses;
        self.lists.entry(uri).or_insert(entry)
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
    fn new(
        claims: StatusListClaims,
        digest: Digest,
        key: Jwk,
        url: String,
        policy: &Policy,
    ) -> Self {
        Self {
            expiration: own_expiration(&claims),
            signed_at: claims.issued_at,
            max_age: policy.max_list_age,
            is_headed: false,
            digest,
            statuses: claims.list.into(),
            number: claims.number,
            issued_at: claims.issued_at,
            ttl: claims.ttl.map(Duration::from_secs),
            key,
            url,
        }
    }

    /// The second from which on the list is not used: its `exp`, or the maximum age since it was
    /// signed or last named by a head.
    fn expiration(&self) -> NumericDate {
        let by_age = self.max_age.map(|age| self.signed_at.plus(age));
        by_age.map_or(self.expiration, |by_age| by_age.min(self.expiration))
    }

    /// Whether more than half of the list's lifetime is over. An Edgepass issuer signs a new
    /// edition before that.
    fn is_aged(&self, now: UnixMillis) -> bool {
        let life = self.expiration().since(self.issued_at);
        now.numeric_date().since(self.issued_at) > life / 2
    }

    /// Whether more than three quarters of the time until `exp` are over.
    fn is_old(&self, now: UnixMillis) -> bool {
        let life = self.expiration.since(self.issued_at);
        now.numeric_date().since(self.issued_at) > life.saturating_sub(life / 4)
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

/// No list that may be used.
const REFUSED: StatusLookup = StatusLookup::Refuse(VerifyError::StatusUnavailable);

/// The status in a held list.
fn known(
    held: &Held<HeldList>,
    reference: &StatusReference,
    stale: bool,
    refresh: Option<FetchOrder>,
) -> StatusLookup {
    let (Some(list), Some(confirmed_at)) = (held.content(), held.confirmed_at()) else {
        return REFUSED;
    };
    match list.statuses.status(reference.index) {
        Some(status) => StatusLookup::Known { status, confirmed_at, stale, refresh },
        None => StatusLookup::Refuse(VerifyError::StatusInvalid),
    }
}

/// The limits of a list: those of what a head confirms, or by its `ttl` if it is held.
fn limits(held: &Held<HeldList>, policy: &Policy, stale_if_error: Option<Duration>) -> TimeLimits {
    let list = held.content();
    if list.is_some_and(|list| list.is_headed)
        && let Some(limits) = policy.schedule.signed_limits(stale_if_error)
    {
        return held.signed_limits(limits);
    }
    policy.schedule.limits(list.and_then(|list| list.ttl), stale_if_error)
}

/// The validator of the held copy, if the copy came from `url`. A list that a status head confirms has none:
/// no status 304 may confirm it.
fn etag_from(held: &Held<HeldList>, url: &str) -> Option<String> {
    held.content().filter(|list| list.url == url && !list.is_headed)?;
    held.etag().map(str::to_owned)
}

/// The order to fetch a list under `lease`: the edition that a head names, if there is one. No cache
/// has it under another URL.
fn order(
    held: &Held<HeldList>,
    uri: &str,
    newer: Option<NamedList>,
    policy: &Policy,
    issuer: IssuerIndex,
    lease: u64,
) -> FetchOrder {
    FetchOrder {
        document: DocumentKind::StatusList,
        uri: uri.to_owned(),
        url: newer.map_or_else(|| uri.to_owned(), |newer| newer.digest.in_query_of(uri)),
        etag: etag_from(held, uri),
        wait: None,
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
) -> Result<SignedDocument, Refused> {
    if media_type != Some(DocumentKind::StatusList.accept()) {
        return Err(Refused::MediaType);
    }
    // Without keys, no list has a known key.
    let none = JwkSet::default();
    SignedDocument::parse(bytes, STATUS_LIST_TYPE, keys.unwrap_or(&none), &policy.list_rules())
}

/// Reads the claims of a list whose signature is valid. Refuses one that has expired, and one that
/// is not valid yet, for which the leeway of tokens applies.
fn read(
    token: &SignedDocument,
    uri: &str,
    policy: &Policy,
    now: UnixMillis,
) -> Result<(StatusListClaims, Digest), Refused> {
    let (rules, claims) = (policy.list_rules(), token.claims()?);
    let lst = claims.get("status_list").and_then(|list| list.get("lst")?.as_str());
    let digest = Digest::of(lst.unwrap_or_default().as_bytes());
    let claims = list_claims(&claims, uri, &rules)?;
    let now = now.numeric_date();
    if claims.not_before.is_some_and(|date| date > now.plus(policy.leeway)) {
        return Err(Refused::NotYetValid);
    }
    if now < expiration(&claims, &rules) { Ok((claims, digest)) } else { Err(Refused::Expired) }
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
            signed_at: NumericDate::from_seconds(issued_at),
            expiration: NumericDate::from_seconds(issued_at + 10),
            max_age: None,
            ttl: None,
            is_headed: false,
            digest: Digest::of(b""),
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
