//! The verifier: its issuers, the documents that it holds, and the next step of any check.

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
use crate::checks::{Check, Requirements, Stage};
use crate::documents::fetch::{Answer, AnsweredBy, DocumentKind, FetchOrder};
pub use crate::documents::jwk_set::{JwksUri, KeySource};
use crate::documents::jwk_set::{KeyHolder, ReceivedSet};
use crate::documents::refused::{Refused, RefusedCounts};
pub use crate::documents::status_list::{DEFAULT_BYTES as DEFAULT_LIST_BYTES, PendingList};
use crate::documents::status_list::{ListHolder, ReceivedList, Taken};
use crate::error::VerifyError;
use crate::policy::{IssuerIndex, MAX_ISSUERS, Policy, PolicyError, is_issuer_url};
use crate::sender::{Request, Sender};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::verdict::{Accepted, Verdict};

/// The verifier of the tokens of one or more issuers, shared by all requests of an isolate or
/// process.
pub struct Verifier {
    issuers: Issuers,
    nonces: NonceRule,
    prepared: PreparedKeys,
    verified: VerifiedTokens,
    /// The fault count when a verified token was last looked up.
    faults: u64,
    /// Signatures that tables accepted, to be checked again by the reference path.
    rechecks: Vec<SignatureRequest>,
    refused: RefusedCounts,
    stale: u64,
}

/// Counters and sizes of a verifier, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// The number of tokens whose signature had been verified before with the same key.
    pub remembered: u64,
    /// The number of times that the reference path disagreed with the tables of a key. Report any
    /// value but 0: it shows a fault of this software or of the machine.
    pub faults: u64,
    /// The size of the tables, in bytes.
    pub table_bytes: usize,
    /// The number of held status lists.
    pub lists: usize,
    /// The size of the held status lists, in bytes.
    pub list_bytes: usize,
    /// The number of verdicts that used a stale copy.
    pub stale: u64,
    /// The number of confirmations of status lists and JWK Sets that were past half of their usable
    /// time. An issuer renews them earlier, so old copies are being replayed to this verifier.
    pub aged: u64,
    /// The number of refused answers of sources, by reason.
    pub refused: RefusedCounts,
}

/// The confirmation times of the oldest held documents of all issuers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Confirmed {
    /// The confirmation time of the oldest JWK Set.
    pub keys: Option<UnixMillis>,
    /// The confirmation time of the oldest usable status list.
    pub lists: Option<UnixMillis>,
}

/// The shortest time before an accepted request is judged again.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of waiting rechecks; further ones are dropped.
const MAX_RECHECKS: usize = 4;

/// One issuer: its policy and its held documents. Nothing is shared between issuers.
struct Issuer {
    policy: Policy,
    keys: KeyHolder,
    lists: ListHolder,
}

/// The issuers of a verifier, in the order given.
struct Issuers(Vec<Issuer>);

impl Issuers {
    /// The issuer at `index`. Every index comes from this verifier, so the error never occurs.
    fn get(&self, index: IssuerIndex) -> Result<&Issuer, VerifyError> {
        self.0.get(index.0).ok_or(VerifyError::IssuerMismatch)
    }

    fn get_mut(&mut self, index: IssuerIndex) -> Result<&mut Issuer, VerifyError> {
        self.0.get_mut(index.0).ok_or(VerifyError::IssuerMismatch)
    }

    fn iter(&self) -> std::slice::Iter<'_, Issuer> {
        self.0.iter()
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
    /// Ask the host's store whether this proof was used before, pass its answer to
    /// [`Check::replay_checked`], and advance again.
    CheckReplay(ProofUse),
    /// Another request is fetching a document that this check needs: sleep for this time, and
    /// advance again. The sleep does not await anything of the other request.
    Wait(Duration),
}

/// The result of [`Verifier::receive`].
pub enum Received {
    /// The answer was accepted or refused. In both cases, advance the checks that wait for it.
    Settled {
        /// Whether the held copy is now the received one, or was confirmed.
        taken: bool,
    },
    /// The answer is a redirect: fetch this, and pass that answer to [`Verifier::receive`].
    Fetch(FetchOrder),
    /// The host must check a list's signature, and pass the result to
    /// [`Verifier::list_signature_checked`].
    CheckSignature(SignatureRequest, Box<PendingList>),
}

impl Verifier {
    /// Creates a verifier of one issuer, which holds no fetched documents yet. Does no I/O.
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

    /// Creates a verifier of several issuers, each with its own policy, keys and lists. A token is
    /// judged by the policy and keys of the issuer that it names, and by no other's.
    ///
    /// # Errors
    ///
    /// [`PolicyError::IssuerCount`], [`PolicyError::IssuerTwice`]. [`PolicyError::IssuerInvalid`]
    /// if the keys are to be discovered from an issuer identifier that is no URL.
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
        let mut own: Vec<Issuer> = Vec::with_capacity(issuers.len());
        for (position, (policy, keys)) in issuers.into_iter().enumerate() {
            if own.iter().any(|other| other.policy.issuer == policy.issuer) {
                return Err(PolicyError::IssuerTwice);
            }
            if matches!(keys, KeySource::Discover) && !is_issuer_url(&policy.issuer) {
                return Err(PolicyError::IssuerInvalid);
            }
            own.push(Issuer {
                policy,
                keys: KeyHolder::new(keys, IssuerIndex(position)),
                lists: ListHolder::new(IssuerIndex(position)),
            });
        }
        Ok(Self {
            issuers: Issuers(own),
            nonces: NonceRule::NotRequired,
            prepared: PreparedKeys::default(),
            verified: VerifiedTokens::new(remembered::DEFAULT_BYTES),
            faults: 0,
            rechecks: Vec::new(),
            refused: RefusedCounts::default(),
            stale: 0,
        })
    }

    /// Returns this verifier of one issuer with another policy and other keys. Held lists stay,
    /// unless the key that signed them is gone. Held keys stay, if the other keys are older.
    ///
    /// # Errors
    ///
    /// As [`Verifier::of_issuers`].
    pub(crate) fn with_trust(self, trust: (Policy, KeySource)) -> Result<Self, PolicyError> {
        let mut changed = Self::of_issuers(vec![trust])?.with_prepared(self.prepared);
        for (new, old) in changed.issuers.0.iter_mut().zip(self.issuers.0) {
            new.lists = old.lists;
            new.keys.keep_newer(old.keys);
            if let Some(keys) = new.keys.current() {
                new.lists.keep_signed_by(keys);
            }
        }
        Ok(changed)
    }

    /// The size of the held lists, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.issuers.iter().map(|issuer| issuer.lists.bytes()).sum()
    }

    /// Sets the rule for nonces in DPoP proofs. Default: none is required.
    #[must_use]
    pub fn with_nonces(self, nonces: NonceRule) -> Self {
        Self { nonces, ..self }
    }

    /// Shares the tables of keys with other verifiers.
    #[must_use]
    pub fn with_prepared(self, prepared: PreparedKeys) -> Self {
        Self { prepared, ..self }
    }

    /// Sets the memory limit for verified tokens, in bytes. Default 4 MiB; 0 remembers none.
    #[must_use]
    pub fn with_verified_bytes(self, max_bytes: usize) -> Self {
        Self { verified: VerifiedTokens::new(max_bytes), ..self }
    }

    /// Returns the highest `max_token_bytes` of all policies.
    pub fn max_token_bytes(&self) -> usize {
        self.issuers.iter().map(|issuer| issuer.policy.max_token_bytes).max().unwrap_or_default()
    }

    /// Returns the counters and sizes as of now.
    pub fn counters(&self) -> Counters {
        Counters {
            remembered: self.verified.hits(),
            faults: self.prepared.faults(),
            table_bytes: self.prepared.bytes(),
            lists: self.issuers.iter().map(|issuer| issuer.lists.count()).sum(),
            list_bytes: self.bytes(),
            stale: self.stale,
            aged: self.issuers.iter().flat_map(|one| [one.lists.aged(), one.keys.aged()]).sum(),
            refused: self.refused,
        }
    }

    /// Returns the confirmation times of the oldest JWK Set and the oldest usable status list.
    pub fn confirmed(&self, now: UnixMillis) -> Confirmed {
        Confirmed {
            keys: self.keys_confirmed_at(),
            lists: self.issuers.iter().filter_map(|issuer| issuer.lists.oldest(now)).min(),
        }
    }

    /// Returns the confirmation time of the oldest fetched JWK Set.
    pub fn keys_confirmed_at(&self) -> Option<UnixMillis> {
        self.issuers.iter().filter_map(|issuer| issuer.keys.confirmed_at()).min()
    }

    /// Returns the number of refused answers of sources, by reason.
    pub fn refused(&self) -> RefusedCounts {
        self.refused
    }

    /// Sets the memory limit for the status lists of each issuer, in bytes. Default
    /// [`DEFAULT_LIST_BYTES`]. The least recently used lists are dropped.
    #[must_use]
    pub fn with_list_bytes(mut self, max_bytes: usize) -> Self {
        for issuer in &mut self.issuers.0 {
            issuer.lists.set_max_bytes(max_bytes);
        }
        self
    }

    /// Returns whether [`Verifier::prefetch`] has a document to fetch before a token needs it.
    pub fn wants_prefetch(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.lists.wants_prefetch())
    }

    /// Returns the next document to prefetch. After a response, fetch it, pass the answer to
    /// [`Verifier::receive`], and repeat until `None`. The first few lists of an issuer are
    /// prefetched once, as soon as one list has named the aggregation.
    pub fn prefetch(&mut self, now: UnixMillis) -> Option<FetchOrder> {
        self.issuers.0.iter_mut().find_map(|issuer| issuer.lists.prefetch(&issuer.policy, now))
    }

    /// Returns whether [`Verifier::work`] has work to do after a response.
    pub fn has_work(&self, now: UnixMillis) -> bool {
        !self.rechecks.is_empty() || self.prepared.has_work(now.0)
    }

    /// Does a short slice of background work. If it returns a request, check it with the host's
    /// crypto and pass the result to [`Verifier::rechecked`].
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

    /// Takes the host's answer to a request of [`Verifier::work`].
    pub fn rechecked(&mut self, request: &SignatureRequest, valid: bool) {
        if !valid {
            self.prepared.disagree(request.key.key());
        }
    }

    /// Begins the check of a token and its sender. Steps 1 and 2 run at once.
    pub fn begin(
        &mut self,
        token: &str,
        sender: Sender,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        let requirements = requirements.into();
        // After a fault of tables, every token is verified again.
        let faults = self.prepared.faults();
        if std::mem::replace(&mut self.faults, faults) != faults {
            self.verified.clear();
        }
        let parsed = match self.verified.find(token) {
            Some(token) => Ok(token),
            None => UnverifiedToken::parse(token, &self.issuers.0),
        };
        match parsed {
            Ok(token) => {
                let issuer = Some(token.issuer());
                let asked = requirements.issuers.as_ref();
                let stage = match asked.map(|names| names.iter().any(|name| token.names(name))) {
                    None | Some(true) => Stage::Parsed(token),
                    Some(false) => Stage::Refused(VerifyError::IssuerMismatch),
                };
                Check { issuer, ..Check::at(stage, sender, requirements) }
            }
            Err(error) => Check::at(Stage::Refused(error), sender, requirements),
        }
    }

    /// Begins the check of a request.
    pub fn begin_request(
        &mut self,
        request: Request,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        let requirements = requirements.into();
        let endpoint = request.endpoint.clone();
        match request.into_parts() {
            Ok((token, sender)) => self.begin(&token, sender, requirements),
            Err(error) => Check::at(
                Stage::Refused(error),
                Sender { endpoint, ..Sender::default() },
                requirements,
            ),
        }
    }

    /// Begins another check of an accepted request that is still served, such as a socket or a long
    /// response. Everything is judged as of now, except the DPoP proof: it was used in the first
    /// check.
    pub fn begin_again(
        &mut self,
        request: Request,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        Check { proved: true, ..self.begin_request(request, requirements) }
    }

    /// Returns the time after which to judge an accepted request again ([`Verifier::begin_again`]):
    /// one refresh interval after the last confirmation of its list, but not before one second from
    /// now, and not after the end of the token. `None` if the token has ended.
    pub fn judge_again_after(&self, accepted: &Accepted, now: UnixMillis) -> Option<Duration> {
        let left = accepted.until.since(now).filter(|left| !left.is_zero())?;
        let intervals = self.issuers.iter().map(|issuer| issuer.policy.schedule.interval());
        let interval = intervals.min().unwrap_or_default();
        let age = accepted.confirmed_at.and_then(|at| now.since(at)).unwrap_or_default();
        Some(interval.saturating_sub(age).max(SHORTEST_INTERVAL).min(left))
    }

    /// Advances `check` as far as possible at `now`.
    ///
    /// After [`Progress::Decided`] the check is over. To advance it again gives a refusal.
    pub fn advance(&mut self, check: &mut Check, now: UnixMillis) -> Progress {
        loop {
            let step = match std::mem::replace(&mut check.stage, Stage::Ended) {
                Stage::Parsed(token) => self.find_key(check, token, now),
                Stage::Signed(signed) => self.check_claims(check, signed, now),
                Stage::ProofSigned(claimed, proof) => self.check_proof(claimed, &proof, now),
                Stage::Bound(claimed) => self.check_scope(check, claimed),
                Stage::Verified(verified, None) => {
                    Ok(Next::Decide(Ok(verified.into_claims()), None))
                }
                Stage::Verified(verified, Some(reference)) => {
                    self.check_status(check, verified, reference, now)
                }
                Stage::Refused(error) => Err(error),
                // Advanced without the host's answer, or after the verdict: refused.
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

    /// Receives the answer to `order`. A refused answer never replaces the held copy.
    pub fn receive(&mut self, order: FetchOrder, answer: Answer, now: UnixMillis) -> Received {
        let Ok(Issuer { policy, keys, lists }) = self.issuers.get_mut(order.issuer) else {
            return Received::Settled { taken: false };
        };
        let from = answer.from;
        let settled = match order.document {
            DocumentKind::Metadata => {
                keys.receive_metadata(&order, answer, policy, now).map(|()| true)
            }
            DocumentKind::JwkSet => {
                let received = keys.receive_set(&order, answer, policy, now);
                if let (ReceivedSet::Replaced { withdraws: true }, Some(keys)) =
                    (received, keys.current())
                {
                    lists.keep_signed_by(keys);
                }
                match received {
                    ReceivedSet::Replaced { .. } | ReceivedSet::Confirmed => Ok(true),
                    ReceivedSet::Ignored => Ok(false),
                    ReceivedSet::Refused(refused) => Err(refused),
                }
            }
            DocumentKind::Aggregation => lists.receive_aggregation(answer, policy).map(|()| true),
            DocumentKind::StatusList => {
                match lists.receive(order, answer, keys.current(), policy, now) {
                    ReceivedList::Settled(settled) => settled.map(|taken| taken == Taken::Held),
                    ReceivedList::Follow(order) => return Received::Fetch(order),
                    ReceivedList::Signature(request, pending) => {
                        return Received::CheckSignature(request, pending);
                    }
                }
            }
        };
        Received::Settled { taken: self.count(from, settled) }
    }

    /// Takes the host's answer to [`Received::CheckSignature`]. Returns whether the list is held
    /// now.
    pub fn list_signature_checked(
        &mut self,
        pending: PendingList,
        valid: bool,
        now: UnixMillis,
    ) -> bool {
        let Ok(issuer) = self.issuers.get_mut(pending.issuer()) else { return false };
        let (from, keys) = (pending.from(), issuer.keys.current());
        let settled = issuer.lists.signature_checked(pending, valid, keys, &issuer.policy, now);
        self.count(from, settled.map(|taken| taken == Taken::Held))
    }

    /// Counts a refused answer of the source. Refused answers of a cache are not counted.
    fn count(&mut self, from: AnsweredBy, settled: Result<bool, Refused>) -> bool {
        match settled {
            Ok(taken) => taken,
            Err(refused) => {
                if from == AnsweredBy::Source {
                    self.refused.count(refused);
                }
                false
            }
        }
    }

    /// Returns the confirmation time of the held copy of the document that `order` names.
    pub fn confirmed_at(&self, order: &FetchOrder) -> Option<UnixMillis> {
        let issuer = self.issuers.get(order.issuer).ok()?;
        match order.document {
            DocumentKind::Metadata | DocumentKind::Aggregation => None,
            DocumentKind::JwkSet => issuer.keys.confirmed_at(),
            DocumentKind::StatusList => issuer.lists.confirmed_at(&order.uri),
        }
    }

    /// Ends `order` without a fetch if the held copy is fresh after a cache read. Returns `false`
    /// if the source must still be asked.
    pub fn release_if_fresh(&mut self, order: &FetchOrder, now: UnixMillis) -> bool {
        let Ok(Issuer { policy, keys, lists }) = self.issuers.get_mut(order.issuer) else {
            return false;
        };
        let fresh = match order.document {
            DocumentKind::Metadata | DocumentKind::Aggregation => false,
            DocumentKind::JwkSet => keys.is_fresh(now, &policy.schedule.key_limits(None)),
            DocumentKind::StatusList => lists.is_fresh(&order.uri, policy, now),
        };
        match order.document {
            DocumentKind::JwkSet if fresh => keys.release(order),
            DocumentKind::StatusList if fresh => lists.release(order),
            _ => {}
        }
        fresh
    }
}
