//! The verifier: its issuers, its held documents, and the next step of a check.

pub mod config;
mod steps;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use edgepass_crypto::prepared::PreparedKeys;

use self::steps::Next;
use crate::checks::dpop::nonce::NonceRule;
use crate::checks::dpop::replay::ProofUse;
use crate::checks::remembered::{self, VerifiedTokens};
use crate::checks::token::UnverifiedToken;
use crate::checks::{Check, Requirements, RequirementsError, Stage};
use crate::documents::fetch::{Answer, AnsweredBy, DocumentKind, FetchOrder};
use crate::documents::head::{HeadHolder, PendingHead, ReceivedHead, WatchStep};
pub use crate::documents::jwk_set::{JwksUri, KeySource};
use crate::documents::jwk_set::{KeyHolder, ReceivedSet};
use crate::documents::refused::{Refused, RefusedCounts};
pub use crate::documents::status_list::DEFAULT_BYTES as DEFAULT_LIST_BYTES;
use crate::documents::status_list::{ListHolder, PendingList, ReceivedList, Taken};
use crate::error::VerifyError;
use crate::host_ed25519::HostEd25519;
use crate::policy::freshness::KeyFreshness;
use crate::policy::{IssuerIndex, MAX_ISSUERS, Policy, PolicyError, is_issuer_url};
use crate::sender::{Request, Sender};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::verdict::{Validity, Verdict};

/// The verifier of the tokens of one or more issuers, shared by all requests of an isolate or
/// process.
pub struct Verifier {
    issuers: Issuers,
    nonces: NonceRule,
    prepared: PreparedKeys,
    verified: VerifiedTokens,
    /// The fault count of the tables at the last [`Verifier::begin`].
    faults: u64,
    /// Signatures that tables accepted and that the reference path is to check too.
    rechecks: Vec<SignatureRequest>,
    host_ed25519: HostEd25519,
    refused: RefusedCounts,
    stale: u64,
}

/// Counters and sizes of a verifier, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// The number of checks that did not verify the signature, because the same key had verified
    /// the same token before.
    pub remembered: u64,
    /// The number of times that the reference path disagreed with the tables of a key. Report any
    /// value but 0: it shows a fault of this software or of the machine.
    pub faults: u64,
    /// The size of the tables, in bytes, with those of verifiers that share them.
    pub table_bytes: usize,
    /// The number of held status lists.
    pub lists: usize,
    /// The size of the statuses in the held lists, in bytes.
    pub list_bytes: usize,
    /// The number of verdicts, accepted or refused, whose check used a stale copy.
    pub stale: u64,
    /// The number of answers of sources that confirmed a status list or JWK Set past half of its
    /// lifetime. An Edgepass issuer renews both earlier, so a cache or a source replays old ones.
    pub aged: u64,
    /// The number of status heads that were signed later than now by more than `clock_skew`. Any value
    /// but 0 shows that the clock of the verifier is behind that of an issuer.
    pub clock: u64,
    /// The number of live watches: requests that wait for the next status head.
    pub watches: usize,
    /// The number of refused answers of sources, by reason. Answers of a shared cache of the host
    /// are not counted.
    pub refused: RefusedCounts,
}

/// The confirmation times of the oldest held documents, among those of all issuers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Confirmed {
    /// The confirmation time of the oldest fetched JWK Set. `None` if none is held.
    pub keys: Option<UnixMillis>,
    /// The confirmation time of the oldest status list that has not expired. `None` if none is
    /// held.
    pub lists: Option<UnixMillis>,
    /// The time at which the oldest status head was signed, or received if that was earlier. `None` if
    /// none is held.
    pub heads: Option<UnixMillis>,
}

/// The times of a held copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeldTimes {
    /// The confirmation time.
    pub confirmed_at: UnixMillis,
    /// The freshness lifetime from then on. `None` unless HTTP decides about it.
    pub fresh_for: Option<Duration>,
}

/// The shortest time before an accepted request is judged again, unless its token ends earlier.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of waiting rechecks; further ones are dropped.
const MAX_RECHECKS: usize = 4;

/// One issuer: its policy and its held documents, which no other issuer uses.
struct Issuer {
    policy: Policy,
    keys: KeyHolder,
    lists: ListHolder,
    head: HeadHolder,
    /// The issuer that publishes the lists of this one's tokens: usually itself.
    list_issuer: IssuerIndex,
}

/// The issuers of a verifier: those of tokens, in the order given, and then those that only publish
/// lists for them.
struct Issuers {
    all: Vec<Issuer>,
    /// The number of issuers of tokens.
    of_tokens: usize,
}

impl Issuers {
    /// The issuers of tokens.
    fn of_tokens(&self) -> &[Issuer] {
        self.all.get(..self.of_tokens).unwrap_or_default()
    }

    /// The issuer at `index`. The verifier made every index itself, so the error never occurs.
    fn get(&self, index: IssuerIndex) -> Result<&Issuer, VerifyError> {
        self.all.get(index.0).ok_or(VerifyError::IssuerMismatch)
    }

    fn get_mut(&mut self, index: IssuerIndex) -> Result<&mut Issuer, VerifyError> {
        self.all.get_mut(index.0).ok_or(VerifyError::IssuerMismatch)
    }

    fn iter(&self) -> std::slice::Iter<'_, Issuer> {
        self.all.iter()
    }
}

impl Issuer {
    fn new(index: IssuerIndex, policy: Policy, keys: KeySource) -> Self {
        let (keys, lists) = (KeyHolder::new(keys, index), ListHolder::new(index));
        Self { policy, keys, lists, head: HeadHolder::new(index), list_issuer: index }
    }
}

impl Borrow<Policy> for Issuer {
    fn borrow(&self) -> &Policy {
        &self.policy
    }
}

/// The next action for a check.
pub enum Progress {
    /// The check is over, with this verdict.
    Decided(Verdict),
    /// Fetch this document, pass the answer to [`Verifier::receive`], and advance again.
    Fetch(FetchOrder),
    /// Check this signature with the host's crypto, pass the result to
    /// [`Check::signature_checked`], and advance again.
    CheckSignature(SignatureRequest),
    /// Record this use of a proof in the host's store, pass the store's answer to
    /// [`Check::replay_checked`], and advance again.
    CheckReplay(ProofUse),
    /// Another request is fetching a document that this check needs: sleep for this time, and
    /// advance again. Await only the time, not the other request, which may be cancelled.
    Wait(Duration),
}

/// The result of [`Verifier::receive`].
pub enum Received {
    /// The answer was accepted or refused. In both cases, advance the checks that wait for it.
    Settled {
        /// Whether the answer was used: its document is held now, it confirmed the held copy, or
        /// it was metadata or an aggregation.
        taken: bool,
        /// The reason why it was refused, if it was.
        refused: Option<Refused>,
    },
    /// The answer is a redirect: carry out this order, and pass its answer to
    /// [`Verifier::receive`].
    Fetch(FetchOrder),
    /// The host must check a document's signature, and pass the result to
    /// [`Verifier::document_signature_checked`].
    CheckSignature(SignatureRequest, PendingDocument),
}

/// A received status list or head whose signature the host is to check.
pub struct PendingDocument {
    issuer: IssuerIndex,
    content: PendingContent,
}

enum PendingContent {
    List(Box<PendingList>),
    Head(Box<PendingHead>),
}

/// A watch of one issuer: the task of a host that waits for its status heads, one request after the
/// other.
pub struct Watch {
    issuer: IssuerIndex,
    number: u64,
    ends_at: UnixMillis,
}

/// The next step of a [`Watch`].
pub enum Watching {
    /// Fetch this document, and pass the answer to [`Verifier::receive`].
    Fetch(FetchOrder),
    /// Sleep for this time.
    Pause(Duration),
    /// The watch is over.
    Ended,
}

impl Verifier {
    /// Creates a verifier of one issuer. It holds no fetched documents yet. Does no I/O.
    ///
    /// # Errors
    ///
    /// As [`Verifier::of_issuers`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_verify::policy::OneOrMany;
    /// use edgepass_verify::verifier::KeySource;
    /// use edgepass_verify::{
    ///     Policy, PolicyConfig, Progress, Requirements, Sender, UnixMillis, Verifier,
    /// };
    ///
    /// let audience = OneOrMany::One("https://api.example".into());
    /// let config = PolicyConfig::new("https://issuer.example".into(), audience);
    /// let policy = Policy::try_from(config)?;
    /// let mut verifier = Verifier::new(policy, KeySource::Discover)?;
    ///
    /// let mut check = verifier.begin("no token", Sender::default(), Requirements::default());
    /// match verifier.advance(&mut check, UnixMillis::from_seconds(1_800_000_000)) {
    ///     Progress::Decided(verdict) => {
    ///         assert_eq!(verdict.error().map(|error| error.code()), Some("token_malformed"));
    ///     }
    ///     _ => panic!("nothing is fetched for a text that is no token"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(policy: Policy, keys: KeySource) -> Result<Self, PolicyError> {
        Self::of_issuers(vec![(policy, keys)])
    }

    /// Creates a verifier of several issuers, each with its own policy, keys and lists. The policy,
    /// keys and lists of the issuer that a token names decide about it, and no others.
    ///
    /// # Errors
    ///
    /// [`PolicyError::IssuerCount`], [`PolicyError::IssuerTwice`]. [`PolicyError::IssuerInvalid`]
    /// for [`KeySource::Discover`] with an issuer identifier that [`is_issuer_url`] refuses.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_verify::policy::{OneOrMany, PolicyError};
    /// use edgepass_verify::verifier::{JwksUri, KeySource};
    /// use edgepass_verify::{Policy, PolicyConfig, Verifier};
    ///
    /// let policy = |issuer: &str| {
    ///     let audience = OneOrMany::One("https://api.example".into());
    ///     Policy::try_from(PolicyConfig::new(issuer.into(), audience))
    /// };
    /// let jwks = KeySource::Url(JwksUri::parse("https://b.example/jwks")?);
    /// let a = (policy("https://a.example")?, KeySource::Discover);
    /// let b = (policy("https://b.example")?, jwks);
    /// assert!(Verifier::of_issuers(vec![a.clone(), b]).is_ok());
    ///
    /// let twice = Verifier::of_issuers(vec![a.clone(), a]);
    /// assert_eq!(twice.err(), Some(PolicyError::IssuerTwice));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_issuers(issuers: Vec<(Policy, KeySource)>) -> Result<Self, PolicyError> {
        if !(1..=MAX_ISSUERS).contains(&issuers.len()) {
            return Err(PolicyError::IssuerCount);
        }
        let of_tokens = issuers.len();
        let mut all: Vec<Issuer> = Vec::with_capacity(of_tokens);
        let mut list_issuers = Vec::new();
        for (position, (policy, keys)) in issuers.into_iter().enumerate() {
            if all.iter().any(|other| other.policy.issuer.as_str() == policy.issuer.as_str()) {
                return Err(PolicyError::IssuerTwice);
            }
            let is_found = is_issuer_url(policy.issuer.as_str()) && !policy.issuer.is_template();
            if matches!(keys, KeySource::Discover) && !is_found {
                return Err(PolicyError::IssuerInvalid);
            }
            let mut issuer = Issuer::new(IssuerIndex(position), policy, keys);
            if let Some(policy) = issuer.policy.list_issuer.take() {
                let index = IssuerIndex(of_tokens.saturating_add(list_issuers.len()));
                list_issuers.push(Issuer::new(index, *policy, KeySource::Discover));
                issuer.list_issuer = index;
            }
            all.push(issuer);
        }
        all.append(&mut list_issuers);
        Ok(Self {
            issuers: Issuers { all, of_tokens },
            nonces: NonceRule::NotRequired,
            prepared: PreparedKeys::default(),
            verified: VerifiedTokens::new(remembered::DEFAULT_BYTES),
            faults: 0,
            rechecks: Vec::new(),
            host_ed25519: HostEd25519::default(),
            refused: RefusedCounts::default(),
            stale: 0,
        })
    }

    /// Returns a verifier of one issuer with this policy and these keys. It keeps the tables, the
    /// held lists except those whose key is gone, and of two given JWK Sets the one with the later
    /// `iat`. Of an issuer that only publishes lists it keeps the fetched keys, too. It starts without remembered tokens and without a rule for nonces.
    ///
    /// # Errors
    ///
    /// As [`Verifier::of_issuers`].
    pub(crate) fn with_trust(self, trust: (Policy, KeySource)) -> Result<Self, PolicyError> {
        let mut changed = Self::of_issuers(vec![trust])?.with_prepared(self.prepared);
        let of_tokens = changed.issuers.of_tokens;
        let pairs = changed.issuers.all.iter_mut().zip(self.issuers.all);
        for (index, (new, old)) in pairs.enumerate() {
            if index >= of_tokens {
                // Its keys are fetched: they belong to its lists, and both stay if it is the same issuer.
                if new.policy.issuer.as_str() == old.policy.issuer.as_str() {
                    (new.keys, new.lists) = (old.keys, old.lists);
                }
                continue;
            }
            new.lists = old.lists;
            new.keys.keep_newer(old.keys);
            if let Some(keys) = new.keys.current() {
                new.lists.keep_signed_by(keys);
            }
        }
        Ok(changed)
    }

    /// The size of the statuses in the held lists, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.issuers.iter().map(|issuer| issuer.lists.bytes()).sum()
    }

    /// Sets the rule for nonces in DPoP proofs. Default: none is required.
    #[must_use]
    pub fn with_nonces(self, nonces: NonceRule) -> Self {
        Self { nonces, ..self }
    }

    /// Uses the tables in `prepared`. Verifiers with clones of it share them. Default: own tables.
    #[must_use]
    pub fn with_prepared(self, prepared: PreparedKeys) -> Self {
        Self { prepared, ..self }
    }

    /// Sets the memory limit for remembered tokens, in bytes. Default 4 MiB; 0 remembers none.
    #[must_use]
    pub fn with_verified_bytes(self, max_bytes: usize) -> Self {
        Self { verified: VerifiedTokens::new(max_bytes), ..self }
    }

    /// Lets watches begin with the first status list, for hosts whose processes are kept for long. Default:
    /// after a refresh interval.
    #[must_use]
    pub fn with_watch_at_once(mut self) -> Self {
        self.issuers.all.iter_mut().for_each(|issuer| issuer.head.watch_at_once());
        self
    }

    /// Returns the highest `max_token_bytes` of all policies.
    pub fn max_token_bytes(&self) -> usize {
        self.issuers
            .of_tokens()
            .iter()
            .map(|issuer| issuer.policy.max_token_bytes)
            .max()
            .unwrap_or_default()
    }

    /// Returns the identifiers of the issuers, as the policies write them.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.of_tokens().iter().map(|issuer| issuer.policy.issuer.as_str())
    }

    /// Checks that tokens can meet these requirements: they name issuers of the verifier, and a name
    /// that is no scope token is granted only from an array.
    ///
    /// # Errors
    ///
    /// [`RequirementsError::UnknownIssuer`], [`RequirementsError::NotGrantable`].
    pub fn check_requirements(&self, requirements: &Requirements) -> Result<(), RequirementsError> {
        let of_tokens = requirements.all_of.is_of_tokens() && requirements.any_of.is_of_tokens();
        let names = requirements.issuers.as_deref();
        let is_named = |issuer: &&Issuer| {
            names.is_none_or(|names| names.iter().any(|name| issuer.policy.issuer.may_be(name)))
        };
        for name in names.into_iter().flatten() {
            if !self.issuers.of_tokens().iter().any(|issuer| issuer.policy.issuer.may_be(name)) {
                return Err(RequirementsError::UnknownIssuer);
            }
        }
        let issuers = self.issuers.of_tokens().iter().filter(is_named);
        let mut rules = issuers.flat_map(|issuer| &issuer.policy.scope);
        if of_tokens || rules.any(|rule| rule.may_be_array) {
            Ok(())
        } else {
            Err(RequirementsError::NotGrantable)
        }
    }

    /// Returns the counters so far, and the present sizes.
    pub fn counters(&self) -> Counters {
        Counters {
            remembered: self.verified.hits(),
            faults: self.prepared.faults(),
            table_bytes: self.prepared.bytes(),
            lists: self.issuers.iter().map(|issuer| issuer.lists.count()).sum(),
            list_bytes: self.bytes(),
            stale: self.stale,
            aged: self.issuers.iter().flat_map(|one| [one.lists.aged(), one.keys.aged()]).sum(),
            clock: self.issuers.iter().map(|one| one.head.future_heads()).sum(),
            watches: self.issuers.iter().filter(|one| one.head.is_watched()).count(),
            refused: self.refused,
        }
    }

    /// Returns the confirmation times of the oldest JWK Set and status list.
    pub fn confirmed(&self, now: UnixMillis) -> Confirmed {
        Confirmed {
            keys: self.issuers.iter().filter_map(|issuer| issuer.keys.confirmed_at()).min(),
            lists: self.issuers.iter().filter_map(|issuer| issuer.lists.oldest(now)).min(),
            heads: self.issuers.iter().filter_map(|issuer| issuer.head.confirmed_at()).min(),
        }
    }

    /// Sets the memory limit for the status lists of each issuer, in bytes. Default
    /// [`DEFAULT_LIST_BYTES`]. Beyond it the least recently used lists are dropped, but never the
    /// one just received.
    #[must_use]
    pub fn with_list_bytes(mut self, max_bytes: usize) -> Self {
        for issuer in &mut self.issuers.all {
            issuer.lists.set_max_bytes(max_bytes);
        }
        self
    }

    /// Returns whether [`Verifier::prefetch`] would return an order.
    pub fn wants_prefetch(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.lists.wants_prefetch())
    }

    /// Returns an order for the next document to prefetch: to fetch before a token needs it. Carry
    /// it out after a response, pass the answer to [`Verifier::receive`], and repeat until `None`.
    ///
    /// The first accepted list that names an aggregation makes the verifier prefetch it, and then
    /// the lists among the first six in it that are not held. This happens once for each issuer.
    pub fn prefetch(&mut self, now: UnixMillis) -> Option<FetchOrder> {
        self.issuers.all.iter_mut().find_map(|issuer| issuer.lists.prefetch(&issuer.policy, now))
    }

    /// Returns whether [`Verifier::watch`] would begin a watch.
    pub fn wants_watch(&self, now: UnixMillis) -> bool {
        self.issuers.iter().any(|issuer| issuer.head.wants_watch(&issuer.policy, now))
    }

    /// Begins a watch that ends after `limit`, if an issuer's source holds requests for its status
    /// head and no watch of the issuer lives. Repeat until `None`: there is one for each issuer. A
    /// source that does not bear a watch is tried again after a refresh interval.
    ///
    /// A watch makes copies newer earlier, and nothing else: while it waits, copies age as they do
    /// without it. It begins once the verifier has been used for a refresh interval, and ends when no
    /// token was checked since its last request.
    pub fn watch(&mut self, limit: Duration, now: UnixMillis) -> Option<Watch> {
        let mut issuers = self.issuers.all.iter_mut().enumerate();
        issuers.find_map(|(index, Issuer { policy, head, .. })| {
            let number = head.begin_watch(policy, now)?;
            Some(Watch { issuer: IssuerIndex(index), number, ends_at: now.plus(limit) })
        })
    }

    /// Returns the next step of a watch: the changed documents that the last head names are fetched
    /// first, then the next head.
    pub fn watch_step(&mut self, watch: &Watch, now: UnixMillis) -> Watching {
        let Ok(Issuer { policy, keys, lists, head, .. }) = self.issuers.get_mut(watch.issuer)
        else {
            return Watching::Ended;
        };
        let changed = keys.changed(policy, now).or_else(|| lists.changed(policy, now));
        if let Some(order) = changed {
            return Watching::Fetch(order);
        }
        match head.watch_step(watch.number, watch.ends_at, policy, now) {
            WatchStep::Fetch(order) => Watching::Fetch(order),
            WatchStep::Pause(time) => Watching::Pause(time),
            WatchStep::End => Watching::Ended,
        }
    }

    /// Returns whether there is background work, for which [`Verifier::work`] is to be called.
    pub fn has_work(&self, now: UnixMillis) -> bool {
        !self.rechecks.is_empty() || self.prepared.has_work(now.0)
    }

    /// Does a short slice of background work: rechecks one signature, or computes a part of a
    /// table. Call it after a response. If it returns a request, check it with the host's crypto
    /// and pass the result to [`Verifier::rechecked`].
    pub fn work(&mut self, now: UnixMillis) -> Option<SignatureRequest> {
        let Some(request) = self.rechecks.pop() else {
            self.prepared.work(now.0);
            return None;
        };
        match request.check() {
            Checked::Here(valid) => {
                self.rechecked(&request, valid);
                None
            }
            Checked::ByHost(request) => Some(request),
        }
    }

    /// Takes the host's answer to a request of [`Verifier::work`]. `false` counts as a fault, and
    /// the tables of this key are no longer used.
    pub fn rechecked(&mut self, request: &SignatureRequest, valid: bool) {
        if !valid {
            self.prepared.disagree(request.key.key());
        }
    }

    /// Whether it would help to know how the host checks Ed25519: then put
    /// [`questions`](crate::host_ed25519::questions) to it. A host that never does so is not asked about
    /// signatures of Ed25519.
    pub fn asks_about_ed25519(&self) -> bool {
        self.host_ed25519 == HostEd25519::Unknown
    }

    /// Takes the answer: `agrees` if the host gave the expected one to every question. It then checks the
    /// signatures of keys without tables.
    pub fn ed25519_answered(&mut self, agrees: bool) {
        self.host_ed25519 = if agrees { HostEd25519::Agrees } else { HostEd25519::Differs };
    }

    /// Begins the check of a token and its sender. Steps 1 and 2 run at once.
    pub fn begin(
        &mut self,
        token: &str,
        sender: Sender,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        let requirements = requirements.into();
        // After a fault of tables, all remembered tokens are forgotten and verified again.
        let faults = self.prepared.faults();
        if std::mem::replace(&mut self.faults, faults) != faults {
            self.verified.clear();
        }
        let parsed = match self.verified.find(token) {
            Some(token) => Ok(token),
            None => UnverifiedToken::parse(token, self.issuers.of_tokens()),
        };
        match parsed {
            Ok(token) => {
                let issuer = Some(token.issuer());
                let asked = requirements.issuers.as_ref();
                // Named by its `iss`, or as its policy names it: by a template.
                let policy = self.issuers.get(token.issuer()).map(|own| own.policy.issuer.as_str());
                let is_it = |name: &String| token.names(name) || policy == Ok(name.as_str());
                let stage = match asked.map(|names| names.iter().any(is_it)) {
                    None | Some(true) => Stage::Parsed(token),
                    Some(false) => Stage::Refused(VerifyError::IssuerMismatch),
                };
                Check { issuer, ..Check::at(stage, sender, requirements) }
            }
            Err(error) => Check::at(Stage::Refused(error), sender, requirements),
        }
    }

    /// Begins the check of the token that a request carries. Steps 1 and 2 run at once.
    pub fn begin_request(
        &mut self,
        request: Request,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        let requirements = requirements.into();
        let endpoint = request.endpoint.clone();
        match request.into_parts(requirements.places()) {
            Ok((token, sender)) => self.begin(&token, sender, requirements),
            Err(error) => Check::at(
                Stage::Refused(error),
                Sender { endpoint, ..Sender::default() },
                requirements,
            ),
        }
    }

    /// Begins another check of an accepted request that is still served, such as a socket or a long
    /// response. All steps run again, but the DPoP proof is not checked: the first check did so and
    /// recorded it as used.
    pub fn begin_again(
        &mut self,
        request: Request,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        Check { proved: true, ..self.begin_request(request, requirements) }
    }

    /// Returns the time from `now` after which to judge an accepted request again
    /// ([`Verifier::begin_again`]). Returns `None` if the token has ended.
    ///
    /// The time ends one refresh interval after the last confirmation of the token's list, or after
    /// `now` if the check used no list. The interval is the shortest of all issuers. The time is at
    /// least one second, but ends with the token.
    pub fn judge_again_after(&self, accepted: &Validity, now: UnixMillis) -> Option<Duration> {
        let left = accepted.until.since(now).filter(|left| !left.is_zero())?;
        let intervals = self.issuers.iter().map(|issuer| issuer.policy.schedule.interval());
        let interval = intervals.min().unwrap_or_default();
        let age = accepted.confirmed_at.and_then(|at| now.since(at)).unwrap_or_default();
        Some(interval.saturating_sub(age).max(SHORTEST_INTERVAL).min(left))
    }

    /// Advances `check` as far as possible at `now`.
    ///
    /// After [`Progress::Decided`] the check is over. Advancing it again gives the refusal
    /// [`VerifyError::SignatureInvalid`]. So does advancing a check whose
    /// [`Progress::CheckSignature`] or [`Progress::CheckReplay`] has no answer yet.
    pub fn advance(&mut self, check: &mut Check, now: UnixMillis) -> Progress {
        loop {
            let step = match std::mem::replace(&mut check.stage, Stage::Ended) {
                Stage::Parsed(token) => {
                    check.signed = None;
                    self.find_key(check, token, now)
                }
                Stage::SignatureInvalid(token) => Self::try_other_key(check, token),
                Stage::Signed(signed) => {
                    check.signed = Some(signed.claims().clone());
                    self.check_claims(check, signed, now)
                }
                Stage::ProofSigned(claimed, proof) => self.check_proof(claimed, &proof, now),
                Stage::Bound(claimed) => self.check_scope(check, claimed),
                Stage::Verified(verified, None) => self.check_no_status(check, verified, now),
                Stage::Verified(verified, Some(reference)) => {
                    self.check_status(check, verified, reference, now)
                }
                Stage::Refused(error) => Err(error),
                // Advanced before the host's answer, or after the verdict.
                Stage::SignaturePending(_)
                | Stage::ProofPending(..)
                | Stage::ReplayPending(_)
                | Stage::Ended => Err(VerifyError::SignatureInvalid),
            };
            match step.unwrap_or_else(|error| Next::Decide(Err(error), None)) {
                Next::To(stage) => check.stage = stage,
                Next::Halt(stage, progress) => {
                    check.stage = stage;
                    return progress;
                }
                Next::Decide(outcome, status) => return self.decided(check, outcome, status, now),
            }
        }
    }

    /// Takes the answer to `order`. A refused answer leaves the held copy as it is.
    pub fn receive(&mut self, order: FetchOrder, answer: Answer, now: UnixMillis) -> Received {
        let index = order.issuer;
        let Ok(Issuer { policy, keys, lists, head, .. }) = self.issuers.get_mut(index) else {
            return Received::Settled { taken: false, refused: None };
        };
        let (from, document) = (answer.from, order.document);
        let may_lack_age = matches!(order.document, DocumentKind::JwkSet | DocumentKind::Metadata)
            && policy.keys.freshness == KeyFreshness::Http;
        // The age of a head is what its issuer signed.
        let may_lack_age = may_lack_age || document == DocumentKind::StatusHead;
        let answer = if may_lack_age { answer } else { answer.of_known_age() };
        let settled = match document {
            DocumentKind::Metadata => keys.receive_metadata(&order, answer, policy, now),
            DocumentKind::JwkSet => {
                let received = keys.receive_set(&order, answer, (policy, head), now);
                if let (ReceivedSet::Replaced { withdraws }, Some(keys)) =
                    (received, keys.current())
                {
                    head.keys_changed(keys);
                    if withdraws {
                        lists.keep_signed_by(keys);
                    }
                }
                match received {
                    ReceivedSet::Replaced { .. } | ReceivedSet::Confirmed => Ok(true),
                    ReceivedSet::Ignored => Ok(false),
                    ReceivedSet::Refused(refused) => Err(refused),
                }
            }
            DocumentKind::Aggregation => lists.receive_aggregation(answer, policy).map(|()| true),
            DocumentKind::StatusList => {
                match lists.receive(order, answer, (keys.current(), head), policy, now) {
                    ReceivedList::Settled(settled) => settled.map(|taken| taken == Taken::Held),
                    ReceivedList::Follow(order) => return Received::Fetch(order),
                    ReceivedList::Signature(request, pending) => {
                        let content = PendingContent::List(pending);
                        let pending = PendingDocument { issuer: index, content };
                        return Received::CheckSignature(request, pending);
                    }
                }
            }
            DocumentKind::StatusHead => {
                match head.receive(order, answer, keys.current(), policy, now) {
                    ReceivedHead::Settled(settled) => settled.map(|()| self.name(index, now)),
                    ReceivedHead::Follow(order) => return Received::Fetch(order),
                    ReceivedHead::Signature(request, pending) => {
                        let content = PendingContent::Head(pending);
                        let pending = PendingDocument { issuer: index, content };
                        return Received::CheckSignature(request, pending);
                    }
                }
            }
        };
        self.settle(from, settled)
    }

    /// Takes the host's answer to [`Received::CheckSignature`]. Returns [`Received::Settled`].
    pub fn document_signature_checked(
        &mut self,
        pending: PendingDocument,
        valid: bool,
        now: UnixMillis,
    ) -> Received {
        let PendingDocument { issuer: index, content } = pending;
        let Ok(Issuer { policy, keys, lists, head, .. }) = self.issuers.get_mut(index) else {
            return Received::Settled { taken: false, refused: None };
        };
        let keys = keys.current();
        let (from, settled) = match content {
            PendingContent::List(pending) => {
                let from = pending.from();
                let settled = lists.signature_checked(*pending, valid, (keys, head), policy, now);
                (from, settled.map(|taken| taken == Taken::Held))
            }
            PendingContent::Head(pending) => {
                let from = pending.from();
                let settled = head.signature_checked(*pending, valid, keys, policy, now);
                (from, settled.map(|()| self.name(index, now)))
            }
        };
        self.settle(from, settled)
    }

    /// Lets the held head of an issuer confirm what it names. Returns `true`.
    fn name(&mut self, issuer: IssuerIndex, now: UnixMillis) -> bool {
        if let Ok(Issuer { policy, keys, lists, head, .. }) = self.issuers.get_mut(issuer)
            && let (Some(named), Some(confirmed_at)) = (head.current(), head.confirmed_at())
        {
            let list = lists.named_by(named, confirmed_at, now);
            let set = keys.named_by(named, confirmed_at, policy, now);
            if let Some(newer) = set.or(list) {
                head.is_older_than(newer);
            }
        }
        true
    }

    /// Counts a refused answer, if the source gave it.
    fn settle(&mut self, from: AnsweredBy, settled: Result<bool, Refused>) -> Received {
        let refused = settled.err();
        if let (AnsweredBy::Source, Some(refused)) = (from, refused) {
            self.refused.count(refused);
        }
        Received::Settled { taken: settled == Ok(true), refused }
    }

    /// Returns orders for the JWK Sets, or the metadata, that are not fresh and that nothing fetches
    /// yet: one for each issuer at most. Carry them out, and repeat once for the JWK Sets that
    /// metadata names. Then the first tokens need not wait for keys.
    pub fn warm(&mut self, now: UnixMillis) -> Vec<FetchOrder> {
        let issuers = self.issuers.all.iter_mut();
        issuers.filter_map(|Issuer { policy, keys, .. }| keys.warm(policy, now)).collect()
    }

    /// Returns whether a JWK Set, or the metadata that name it, are being fetched while the held
    /// set, if any, is not fresh.
    pub fn is_warming(&self, now: UnixMillis) -> bool {
        self.issuers.iter().any(|Issuer { policy, keys, .. }| keys.is_warming(policy, now))
    }

    /// Returns whether a JWK Set of every issuer is held.
    pub fn has_keys(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.keys.current().is_some())
    }

    /// Returns the times of the held copy of the document that `order` names, for an entry in a
    /// shared cache. Returns `None` if no copy is held, and for metadata and aggregations.
    pub fn held_times(&self, order: &FetchOrder) -> Option<HeldTimes> {
        let Issuer { policy, keys, lists, head, .. } = self.issuers.get(order.issuer).ok()?;
        let (confirmed_at, fresh_for) = match order.document {
            DocumentKind::Metadata | DocumentKind::Aggregation => (None, None),
            DocumentKind::JwkSet => (keys.confirmed_at(), keys.fresh_for(policy)),
            DocumentKind::StatusList => (lists.confirmed_at(&order.uri), None),
            DocumentKind::StatusHead => (head.confirmed_at(), None),
        };
        Some(HeldTimes { confirmed_at: confirmed_at?, fresh_for })
    }

    /// Ends `order` without a fetch if the held copy is fresh. Call it after [`Verifier::receive`]
    /// took the copy of a shared cache. Returns `false` if the host must still fetch the document.
    pub fn release_if_fresh(&mut self, order: &FetchOrder, now: UnixMillis) -> bool {
        let Ok(Issuer { policy, keys, lists, head, .. }) = self.issuers.get_mut(order.issuer)
        else {
            return false;
        };
        let fresh = match order.document {
            DocumentKind::Metadata | DocumentKind::Aggregation => false,
            DocumentKind::JwkSet => keys.is_fresh(policy, now),
            DocumentKind::StatusList => lists.is_fresh(&order.uri, policy, now),
            DocumentKind::StatusHead => head.is_fresh(policy, now),
        };
        match order.document {
            DocumentKind::JwkSet if fresh => keys.release(order),
            DocumentKind::StatusList if fresh => lists.release(order),
            DocumentKind::StatusHead if fresh => head.release(order),
            _ => {}
        }
        fresh
    }
}
