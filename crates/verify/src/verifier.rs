//! The verifier: what is trusted, the documents it holds, and the next step of any check.

use std::time::Duration;

use edgepass_jose::ClaimsSet;
use edgepass_status_list::{StatusReference, StatusType};

use crate::binding::{Bound, Confirmation};
use crate::check::{Check, Claimed, Demand, Stage};
use crate::claims;
use crate::dpop::nonce::NonceRule;
use crate::dpop::replay::ProofUse;
use crate::dpop::{self, Proof};
use crate::error::VerifyError;
use crate::fetch::{Answer, Document, FetchOrder};
use crate::holder::Patience;
pub use crate::keys::{JwksUri, KeySource};
use crate::keys::{KeyHolder, KeyLookup, LandedSet};
pub use crate::lists::PendingList;
use crate::lists::{LandedList, ListHolder, StatusLookup};
use crate::policy::{Policy, PolicyError, is_issuer_url};
use crate::sender::{Request, Sender};
use crate::signature::{Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::token::{SignatureCheck, SignedToken, UnverifiedToken, Verified};
use crate::url;
use crate::verdict::{Challenge, StatusReport, Verdict};

/// A verifier of one or more issuers' tokens, shared by all requests of an isolate or process.
pub struct Verifier {
    issuers: Vec<Issuer>,
    nonces: NonceRule,
}

/// The most issuers one verifier trusts.
pub const MAX_ISSUERS: usize = 64;

/// One issuer: what is expected of its tokens, and what is held of it. Nothing is shared between
/// issuers.
struct Issuer {
    policy: Policy,
    keys: KeyHolder,
    lists: ListHolder,
}

/// What must happen next for a check.
pub enum Progress {
    /// The verdict.
    Decided(Verdict),
    /// Fetch this, [`Verifier::land`] the answer, and advance again.
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
pub enum Landed {
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

/// Where a check goes from one stage.
enum Next {
    To(Stage),
    Halt(Stage, Progress),
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
                keys: KeyHolder::new(keys, position),
                lists: ListHolder::new(position),
            });
        }
        Ok(Self { issuers: own, nonces: NonceRule::NotAsked })
    }

    /// The same verifier under another policy and other keys of its one issuer. Lists that it holds
    /// stay, unless the key that signed them is gone.
    ///
    /// # Errors
    ///
    /// As [`Verifier::of_issuers`].
    pub(crate) fn with_trust(self, trust: (Policy, KeySource)) -> Result<Self, PolicyError> {
        let mut changed = Self::of_issuers(vec![trust])?;
        for (new, old) in changed.issuers.iter_mut().zip(self.issuers) {
            new.lists = old.lists;
            if let Some(keys) = new.keys.current() {
                new.lists.keep_signed_by(keys);
            }
        }
        Ok(changed)
    }

    /// Ask for nonces in DPoP proofs.
    #[must_use]
    pub fn with_nonces(self, nonces: NonceRule) -> Self {
        Self { nonces, ..self }
    }

    /// Begin with a token and who presents it; steps 1 and 2 run at once.
    pub fn begin(&self, token: &str, sender: Sender, demand: Demand) -> Check {
        let policies: Vec<&Policy> = self.issuers.iter().map(|issuer| &issuer.policy).collect();
        match UnverifiedToken::parse(token, &policies) {
            Ok(token) => {
                let issuer = Some(token.issuer());
                Check { issuer, ..Check::at(Stage::Parsed(token), sender, demand) }
            }
            Err(error) => Check::at(Stage::Refused(error), sender, demand),
        }
    }

    /// Begin with a request.
    pub fn begin_request(&self, request: Request, demand: Demand) -> Check {
        let target = request.target.clone();
        match request.into_parts() {
            Ok((token, sender)) => self.begin(&token, sender, demand),
            Err(error) => {
                Check::at(Stage::Refused(error), Sender { target, ..Sender::default() }, demand)
            }
        }
    }

    /// Take `check` as far as it goes at `now`.
    ///
    /// After [`Progress::Decided`] the check is used up; advancing it again refuses.
    pub fn advance(&mut self, check: &mut Check, now: UnixMillis) -> Progress {
        loop {
            let next = match std::mem::replace(&mut check.stage, Stage::Ended) {
                Stage::Parsed(token) => self.find_key(check, token, now),
                Stage::Signed(signed) => self.check_claims(check, signed, now),
                Stage::ProofSigned(claimed, proof) => self.check_proof(claimed, &proof, now),
                Stage::Bound(claimed) => self.check_scope(check, claimed),
                Stage::Verified(verified, None) => {
                    return self.decided(check, Ok(verified.into_claims()), None, now);
                }
                Stage::Verified(verified, Some(reference)) => {
                    match self.check_status(check, verified, reference, now) {
                        Ok(next) => next,
                        Err((outcome, report)) => {
                            return self.decided(check, outcome, Some(report), now);
                        }
                    }
                }
                Stage::Refused(error) => return self.decided(check, Err(error), None, now),
                // Advanced without the host's answer, or after the verdict: fail closed.
                Stage::SignaturePending(_)
                | Stage::ProofPending(..)
                | Stage::ReplayPending(_)
                | Stage::Ended => {
                    return self.decided(check, Err(VerifyError::SignatureInvalid), None, now);
                }
            };
            match next {
                Next::To(stage) => check.stage = stage,
                Next::Halt(stage, progress) => {
                    check.stage = stage;
                    return progress;
                }
            }
        }
    }

    /// Take in what came of `order`. A bad answer never replaces a good copy.
    pub fn land(&mut self, order: FetchOrder, answer: Answer, now: UnixMillis) -> Landed {
        let Some(Issuer { policy, keys, lists }) = self.issuers.get_mut(order.issuer) else {
            return Landed::Settled { taken: false };
        };
        match order.document {
            Document::Metadata => {
                Landed::Settled { taken: keys.land_metadata(&order, answer, policy, now) }
            }
            Document::JwkSet => {
                let landed = keys.land_set(&order, answer, policy, now);
                if let (LandedSet::Replaced, Some(keys)) = (landed, keys.current()) {
                    lists.keep_signed_by(keys);
                }
                Landed::Settled { taken: landed != LandedSet::Refused }
            }
            Document::StatusList => match lists.land(order, answer, keys.current(), policy, now) {
                LandedList::Settled { taken } => Landed::Settled { taken },
                LandedList::Follow(order) => Landed::Fetch(order),
                LandedList::Signature(request, pending) => Landed::CheckSignature(request, pending),
            },
        }
    }

    /// The host's answer to [`Landed::CheckSignature`]. True when the list is held now.
    pub fn list_signature_checked(
        &mut self,
        pending: Box<PendingList>,
        valid: bool,
        now: UnixMillis,
    ) -> bool {
        self.issuers.get_mut(pending.issuer()).is_some_and(|issuer| {
            let keys = issuer.keys.current();
            issuer.lists.signature_checked(*pending, valid, keys, &issuer.policy, now)
        })
    }

    /// When the held copy of what `order` names was last confirmed at its source.
    pub fn confirmed_at(&self, order: &FetchOrder) -> Option<UnixMillis> {
        let issuer = self.issuers.get(order.issuer)?;
        match order.document {
            Document::Metadata => None,
            Document::JwkSet => issuer.keys.confirmed_at(),
            Document::StatusList => issuer.lists.confirmed_at(&order.uri),
        }
    }

    /// Give `order` back without fetching, if a cache read has made it unnecessary: the held copy
    /// is fresh. False when the source must be asked all the same.
    pub fn release_if_fresh(&mut self, order: &FetchOrder, now: UnixMillis) -> bool {
        let Some(Issuer { policy, keys, lists }) = self.issuers.get_mut(order.issuer) else {
            return false;
        };
        let fresh = match order.document {
            Document::Metadata => false,
            Document::JwkSet => keys.is_fresh(now, &policy.schedule.key_terms(None)),
            Document::StatusList => lists.is_fresh(&order.uri, policy, now),
        };
        match order.document {
            Document::JwkSet if fresh => keys.release(order),
            Document::StatusList if fresh => lists.release(order),
            Document::Metadata | Document::JwkSet | Document::StatusList => {}
        }
        fresh
    }

    /// Step 3, and the beginning of step 4.
    fn find_key(&mut self, check: &mut Check, token: UnverifiedToken, now: UnixMillis) -> Next {
        let Some(Issuer { policy, keys, .. }) = self.issuers.get_mut(token.issuer()) else {
            return Next::To(Stage::Refused(VerifyError::IssuerMismatch));
        };
        let terms = policy.schedule.key_terms(check.demand.stale_if_error);
        let (id, algorithm) = (token.key_id(), token.algorithm());
        match keys.look_up(id, algorithm, policy, &terms, &mut check.key_patience, now) {
            KeyLookup::Use { key, stale, refresh } => {
                check.stale |= stale;
                check.refresh.extend(refresh);
                match token.check_signature(&key) {
                    SignatureCheck::Done(Ok(signed)) => Next::To(Stage::Signed(signed)),
                    SignatureCheck::Done(Err(error)) => Next::To(Stage::Refused(error)),
                    SignatureCheck::Host(request, pending) => Next::Halt(
                        Stage::SignaturePending(pending),
                        Progress::CheckSignature(request),
                    ),
                }
            }
            KeyLookup::Fetch(order) => {
                check.key_patience.fetched = order.document == Document::JwkSet;
                Next::Halt(Stage::Parsed(token), Progress::Fetch(order))
            }
            KeyLookup::Wait => Next::Halt(Stage::Parsed(token), Progress::Wait(POLL)),
            KeyLookup::Refuse(error) => Next::To(Stage::Refused(error)),
        }
    }

    /// Step 5, and the beginning of step 6.
    fn check_claims(&self, check: &Check, token: SignedToken, now: UnixMillis) -> Next {
        let Some(Issuer { policy, .. }) = self.issuers.get(token.issuer()) else {
            return Next::To(Stage::Refused(VerifyError::IssuerMismatch));
        };
        let checked = Confirmation::of(token.claims()).map_err(VerifyError::from).and_then(|cnf| {
            let date = now.numeric_date();
            let status = claims::check_claims(token.claims(), policy, &check.demand, date)?;
            Ok((status, cnf.check(&check.sender)?))
        });
        let (status, bound) = match checked {
            Ok(checked) => checked,
            Err(error) => return Next::To(Stage::Refused(error)),
        };
        let Bound::ToKey(thumbprint) = bound else {
            return Next::To(Stage::Bound(Claimed { token, status, thumbprint: String::new() }));
        };
        let claimed = Claimed { token, status, thumbprint };
        if check.proved {
            return Next::To(Stage::Bound(claimed));
        }
        match Proof::open(&check.sender, policy).map(Box::new) {
            Ok(proof) => match proof.check_signature() {
                Checked::Here(true) => Next::To(Stage::ProofSigned(claimed, proof)),
                Checked::Here(false) => Next::To(Stage::Refused(VerifyError::DpopProofInvalid)),
                Checked::ByHost(request) => Next::Halt(
                    Stage::ProofPending(claimed, proof),
                    Progress::CheckSignature(request),
                ),
            },
            Err(error) => Next::To(Stage::Refused(error)),
        }
    }

    /// The rest of step 6, up to the store of used proofs.
    fn check_proof(&self, claimed: Claimed, proof: &Proof, now: UnixMillis) -> Next {
        let Some(Issuer { policy, .. }) = self.issuers.get(claimed.token.issuer()) else {
            return Next::To(Stage::Refused(VerifyError::IssuerMismatch));
        };
        let (text, thumbprint) = (claimed.token.text(), &claimed.thumbprint);
        match proof.check_claims(text, thumbprint, policy, &self.nonces, now) {
            Ok(used) => Next::Halt(Stage::ReplayPending(claimed), Progress::CheckReplay(used)),
            Err(error) => Next::To(Stage::Refused(error)),
        }
    }

    /// Step 7.
    fn check_scope(&self, check: &Check, claimed: Claimed) -> Next {
        let Claimed { token, status, .. } = claimed;
        let Some(Issuer { policy, .. }) = self.issuers.get(token.issuer()) else {
            return Next::To(Stage::Refused(VerifyError::IssuerMismatch));
        };
        Next::To(match claims::check_scope(token.claims(), policy, &check.demand) {
            Ok(()) => Stage::Verified(token.assert_checked(), status),
            Err(error) => Stage::Refused(error),
        })
    }

    /// Step 8. `Err` is a verdict, with the status that was found.
    fn check_status(
        &mut self,
        check: &mut Check,
        verified: Verified,
        reference: StatusReference,
        now: UnixMillis,
    ) -> Result<Next, (Result<ClaimsSet, VerifyError>, StatusReport)> {
        let Some(Issuer { policy, lists, .. }) = self.issuers.get_mut(verified.issuer()) else {
            return Ok(Next::To(Stage::Refused(VerifyError::IssuerMismatch)));
        };
        let stale_if_error = check.demand.stale_if_error;
        match lists.look_up(&reference, policy, &mut check.list_patience, stale_if_error, now) {
            StatusLookup::Known { status, confirmed_at, stale, refresh } => {
                check.refresh.extend(refresh);
                if std::mem::take(&mut check.waited_for_list) {
                    // Time has passed: the key may be withdrawn, the token expired.
                    check.key_patience = Patience::default();
                    return Ok(Next::To(Stage::Parsed(verified.into_unverified())));
                }
                check.stale |= stale;
                let report = StatusReport { status, confirmed_at, stale };
                Err((judge(status).map(|()| verified.into_claims()), report))
            }
            StatusLookup::Fetch(order) => {
                check.list_patience.fetched = true;
                check.waited_for_list = true;
                Ok(Next::Halt(Stage::Verified(verified, Some(reference)), Progress::Fetch(order)))
            }
            StatusLookup::Wait => {
                check.waited_for_list = true;
                Ok(Next::Halt(Stage::Verified(verified, Some(reference)), Progress::Wait(POLL)))
            }
            StatusLookup::Refuse(error) => Ok(Next::To(Stage::Refused(error))),
        }
    }

    fn decided(
        &self,
        check: &mut Check,
        outcome: Result<ClaimsSet, VerifyError>,
        status: Option<StatusReport>,
        now: UnixMillis,
    ) -> Progress {
        let challenge =
            if outcome.is_err() { self.challenge(check, now) } else { Challenge::default() };
        Progress::Decided(Verdict {
            outcome,
            status,
            stale: check.stale,
            refresh: std::mem::take(&mut check.refresh),
            challenge,
        })
    }

    /// What a refusal tells the client, so that its next request may pass.
    fn challenge(&self, check: &Check, now: UnixMillis) -> Challenge {
        let judging = check.issuer.and_then(|issuer| self.issuers.get(issuer));
        let policy = judging.or(self.issuers.first()).map(|issuer| &issuer.policy);
        let origin = check.sender.target.as_ref().and_then(|target| url::origin(&target.url));
        Challenge {
            presented_as: check.sender.presented_as,
            dpop_algorithms: policy
                .filter(|policy| origin.is_some() && !policy.dpop.algorithms.is_empty())
                .map(dpop::algorithm_names),
            dpop_nonce: match (&self.nonces, origin) {
                (NonceRule::Signed(secrets), Some(origin)) => Some(secrets.issue(&origin, now)),
                _ => None,
            },
        }
    }
}

/// Only VALID passes.
fn judge(status: StatusType) -> Result<(), VerifyError> {
    match status {
        StatusType::Valid => Ok(()),
        StatusType::Invalid => Err(VerifyError::TokenRevoked),
        StatusType::Suspended => Err(VerifyError::TokenSuspended),
        StatusType::Unknown(_) => Err(VerifyError::StatusInvalid),
    }
}

/// How long a request sleeps before it looks again for what another one fetches.
const POLL: Duration = Duration::from_millis(20);
