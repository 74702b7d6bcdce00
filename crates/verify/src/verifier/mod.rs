//! The verifier: what is trusted, the documents it holds, and the next step of any check.

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

/// A verifier of one or more issuers' tokens, shared by all requests of an isolate or process.
pub struct Verifier {
    issuers: Issuers,
    nonces: NonceRule,
    prepared: PreparedKeys,
    verified: VerifiedTokens,
    /// As counted when tokens were last looked for among those verified.
    faults: u64,
    /// Signatures that tables accepted, for the reference path to see.
    rechecks: Vec<SignatureRequest>,
    refused: RefusedCounts,
    stale: u64,
}

/// What a verifier has done and holds, for metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Tokens that were found among those verified before.
    pub remembered: u64,
    /// How often the reference path disagreed with the tables of a key. Anything but 0 is a fault of
    /// this software or of the machine, and to be reported.
    pub faults: u64,
    /// What tables take, in bytes.
    pub table_bytes: usize,
    /// How many status lists are held.
    pub lists: usize,
    /// What they take, in bytes.
    pub list_bytes: usize,
    /// Verdicts for which a copy served beyond its freshness window.
    pub stale: u64,
    /// Confirmations of lists that were past half of the time that they may be used. An issuer signs anew
    /// before: somebody repeats what it once said.
    pub aged: u64,
    /// Fetched documents that were not taken in.
    pub refused: RefusedCounts,
}

/// When held documents were last confirmed at their source: of all issuers, the one that was
/// confirmed longest ago.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Confirmed {
    /// A JWK Set.
    pub keys: Option<UnixMillis>,
    /// A status list.
    pub lists: Option<UnixMillis>,
}

/// What is judged again is not judged more often than this.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// Rechecks that wait at most; further ones are dropped.
const MAX_RECHECKS: usize = 4;

/// One issuer: what is expected of its tokens, and what is held of it. Nothing is shared between
/// issuers.
struct Issuer {
    policy: Policy,
    keys: KeyHolder,
    lists: ListHolder,
}

/// The issuers of a verifier, in the order given.
struct Issuers(Vec<Issuer>);

impl Issuers {
    /// The issuer of this place. Every place comes from this verifier: there is no other case.
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

/// What must happen next for a check.
pub enum Progress {
    /// The verdict.
    Decided(Verdict),
    /// Fetch this, [`Verifier::receive`] the answer, and advance again.
    Fetch(FetchOrder),
    /// Check this signature with the host's crypto, tell [`Check::signature_checked`], and advance
    /// again.
    CheckSignature(SignatureRequest),
    /// Ask the host's store whether this proof was used before, tell [`Check::replay_checked`], and
    /// advance again.
    CheckReplay(ProofUse),
    /// Another request is fetching what this one needs: sleep this long, and advance again. The
    /// sleep is this request's own; it awaits nothing of the other's.
    Wait(Duration),
}

/// What became of an answer.
pub enum Received {
    /// It was taken in, or refused; either way, advance the checks that wait.
    Settled {
        /// Whether the held copy is now the one received, or was confirmed.
        taken: bool,
    },
    /// It leads elsewhere: fetch this, and land its answer.
    Fetch(FetchOrder),
    /// A list's signature is the host's to check; then [`Verifier::list_signature_checked`].
    CheckSignature(SignatureRequest, Box<PendingList>),
}

impl Verifier {
    /// A verifier that holds nothing yet, of one issuer. Does no I/O.
    ///
    /// # Errors
    ///
    /// As [`Verifier::of_issuers`].
    pub fn new(policy: Policy, keys: KeySource) -> Result<Self, PolicyError> {
        Self::of_issuers(vec![(policy, keys)])
    }

    /// A verifier of several issuers, each with its own policy, keys and lists. A token is judged by
    /// the policy and keys of the issuer that it names, and by no other's.
    ///
    /// # Errors
    ///
    /// [`PolicyError::IssuerCount`], [`PolicyError::IssuerTwice`]; [`PolicyError::IssuerInvalid`] when
    /// the keys are to be discovered by an issuer identifier that is no URL.
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
            nonces: NonceRule::NotAsked,
            prepared: PreparedKeys::default(),
            verified: VerifiedTokens::new(remembered::DEFAULT_BYTES),
            faults: 0,
            rechecks: Vec::new(),
            refused: RefusedCounts::default(),
            stale: 0,
        })
    }

    /// The same verifier under another policy and other keys of its one issuer. Lists that it holds
    /// stay, unless the key that signed them is gone; keys that it holds stay, if the others are older.
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

    /// How much the held lists take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.issuers.iter().map(|issuer| issuer.lists.bytes()).sum()
    }

    /// Ask for nonces in DPoP proofs.
    #[must_use]
    pub fn with_nonces(self, nonces: NonceRule) -> Self {
        Self { nonces, ..self }
    }

    /// Share the tables of keys with other verifiers.
    #[must_use]
    pub fn with_prepared(self, prepared: PreparedKeys) -> Self {
        Self { prepared, ..self }
    }

    /// Let the tokens that were verified take so many bytes; 0 remembers none.
    #[must_use]
    pub fn with_verified_bytes(self, max_bytes: usize) -> Self {
        Self { verified: VerifiedTokens::new(max_bytes), ..self }
    }

    /// The longest token that any issuer's policy reads.
    pub fn max_token_bytes(&self) -> usize {
        self.issuers.iter().map(|issuer| issuer.policy.max_token_bytes).max().unwrap_or_default()
    }

    /// What was done so far.
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

    /// How old what is held, and may be used, is.
    pub fn confirmed(&self, now: UnixMillis) -> Confirmed {
        Confirmed {
            keys: self.keys_confirmed_at(),
            lists: self.issuers.iter().filter_map(|issuer| issuer.lists.oldest(now)).min(),
        }
    }

    /// When the JWK Set was confirmed whose confirmation is longest ago.
    pub fn keys_confirmed_at(&self) -> Option<UnixMillis> {
        self.issuers.iter().filter_map(|issuer| issuer.keys.confirmed_at()).min()
    }

    /// Fetched documents that were not taken in.
    pub fn refused(&self) -> RefusedCounts {
        self.refused
    }

    /// Let the status lists of each issuer take so many bytes; the least recently used make room.
    #[must_use]
    pub fn with_list_bytes(mut self, max_bytes: usize) -> Self {
        for issuer in &mut self.issuers.0 {
            issuer.lists.set_max_bytes(max_bytes);
        }
        self
    }

    /// Whether there are status lists to fetch before a token asks for them: [`Verifier::prefetch`].
    pub fn wants_prefetch(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.lists.wants_prefetch())
    }

    /// Fetch this behind a response, land the answer, and ask again until there is nothing. Once, an
    /// issuer's first few lists are fetched as soon as one list has said where all are named.
    pub fn prefetch(&mut self, now: UnixMillis) -> Option<FetchOrder> {
        self.issuers.0.iter_mut().find_map(|issuer| issuer.lists.prefetch(&issuer.policy, now))
    }

    /// Whether there is work to do behind a response: [`Verifier::work`].
    pub fn has_work(&self, now: UnixMillis) -> bool {
        !self.rechecks.is_empty() || self.prepared.has_work(now.0)
    }

    /// Do a short slice of that work. With a request, have the host's crypto
    /// check it, and tell [`Verifier::rechecked`].
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

    /// The host's answer to what [`Verifier::work`] gave.
    pub fn rechecked(&mut self, request: &SignatureRequest, valid: bool) {
        if !valid {
            self.prepared.disagree(request.key.key());
        }
    }

    /// Begin with a token and who presents it; steps 1 and 2 run at once.
    pub fn begin(
        &mut self,
        token: &str,
        sender: Sender,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        let requirements = requirements.into();
        // Whatever faulty tables accepted is verified again.
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

    /// Begin with a request.
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

    /// Begin once more with a request that was let through, for what goes on since then: a socket, a long
    /// answer. Everything is judged as it is now, but for the DPoP proof: it was used then.
    pub fn begin_again(
        &mut self,
        request: Request,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Check {
        Check { proved: true, ..self.begin_request(request, requirements) }
    }

    /// After how long to judge again what was let through ([`Verifier::begin_again`]): one refresh interval
    /// after the last confirmation of its list, a second at least, and no later than its token ends. Nothing
    /// where the token has ended.
    pub fn judge_again_after(&self, accepted: &Accepted, now: UnixMillis) -> Option<Duration> {
        let left = accepted.until.since(now).filter(|left| !left.is_zero())?;
        let intervals = self.issuers.iter().map(|issuer| issuer.policy.schedule.interval());
        let interval = intervals.min().unwrap_or_default();
        let age = accepted.confirmed_at.and_then(|at| now.since(at)).unwrap_or_default();
        Some(interval.saturating_sub(age).max(SHORTEST_LOOK).min(left))
    }

    /// Take `check` as far as it goes at `now`.
    ///
    /// After [`Progress::Decided`] the check is used up; advancing it again refuses.
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
                // Advanced without the host's answer, or after the verdict: fail closed.
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

    /// Take in what came of `order`. A bad answer never replaces a good copy.
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
                let received = keys.land_set(&order, answer, policy, now);
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

    /// The host's answer to [`Received::CheckSignature`]. True when the list is held now.
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

    /// Count an answer that was refused; what a cache holds is its own matter.
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

    /// When the held copy of what `order` names was last confirmed at its source.
    pub fn confirmed_at(&self, order: &FetchOrder) -> Option<UnixMillis> {
        let issuer = self.issuers.get(order.issuer).ok()?;
        match order.document {
            DocumentKind::Metadata | DocumentKind::Aggregation => None,
            DocumentKind::JwkSet => issuer.keys.confirmed_at(),
            DocumentKind::StatusList => issuer.lists.confirmed_at(&order.uri),
        }
    }

    /// Give `order` back without fetching, if a cache read has made it unnecessary: the held copy
    /// is fresh. False when the source must be asked all the same.
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
