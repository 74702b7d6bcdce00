//! The steps of a check, one function each.

use std::time::Duration;

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_status_list::{StatusReference, StatusType};

use super::{Issuer, MAX_RECHECKS, Progress, Verifier};
use crate::checks::binding::{Bound, Confirmation};
use crate::checks::claims::{self, Found};
use crate::checks::dpop::nonce::NonceRule;
use crate::checks::dpop::{self, Proof};
use crate::checks::token::{SignatureCheck, SignedToken, UnverifiedToken, Verified};
use crate::checks::{Check, Claimed, KeyFetches, Requirements, Stage};
use crate::checks::{networks, purpose};
use crate::documents::fetch::{DocumentKind, FetchOrder};
use crate::documents::head::HeadHolder;
use crate::documents::held::{Attempt, Availability};
use crate::documents::jwk_set::{KeyLookup, SetLookup};
use crate::documents::status_list::StatusLookup;
use crate::error::VerifyError;
use crate::signature::Checked;
use crate::time::UnixMillis;
use crate::url;
use crate::verdict::{Challenge, StatusReport, Verdict};

/// The result of a step.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for each signature that the host checks"
)]
pub(super) enum Next {
    To(Stage),
    /// The host must do something first.
    Halt(Stage, Progress),
    /// The check is over, with the outcome and the status that was found.
    Decide(Result<ClaimsSet, VerifyError>, Option<StatusReport>),
}

impl Verifier {
    /// Step 3, and the start of step 4.
    pub(super) fn find_key(
        &mut self,
        check: &mut Check,
        token: UnverifiedToken,
        now: UnixMillis,
    ) -> Result<Next, VerifyError> {
        let Issuer { policy, keys, head, .. } = self.issuers.get_mut(token.issuer())?;
        if !token.is_of(&policy.issuer) {
            return Err(VerifyError::IssuerMismatch);
        }
        let stale_if_error = check.requirements.stale_if_error;
        let (sought, other) = ((token.key_id(), token.algorithm()), check.uses_other_key);
        let found =
            keys.look_up(sought, other, (policy, head), stale_if_error, &mut check.keys, now);
        match found {
            KeyLookup::Use { key, has_other, stale, refresh } => {
                check.is_key_headed = keys.is_headed();
                check.has_other_key = has_other;
                check.stale |= stale;
                check.refresh.extend(refresh);
                if policy.issuer.is_template()
                    && !policy.issuer.owns(key.issuer(), token.named_issuer())
                {
                    // The other key may be of the token's tenant.
                    if has_other {
                        check.uses_other_key = true;
                        return Ok(Next::To(Stage::Parsed(token)));
                    }
                    return Err(VerifyError::KeyNotFound);
                }
                if has_other && token.is_known_by_another_than(&key) {
                    check.uses_other_key = true;
                    return Ok(Next::To(Stage::Parsed(token)));
                }
                match token.check_signature(&key, &self.prepared, &mut self.host_ed25519, now) {
                    SignatureCheck::Done(signed) => {
                        if signed.was_found() {
                            self.verified.hit();
                        }
                        Ok(Next::To(Stage::Signed(signed)))
                    }
                    SignatureCheck::Recheck(signed, request) => {
                        if self.rechecks.len() < MAX_RECHECKS {
                            self.rechecks.push(request);
                        }
                        Ok(Next::To(Stage::Signed(signed)))
                    }
                    SignatureCheck::Invalid(token) => Ok(Next::To(Stage::SignatureInvalid(token))),
                    SignatureCheck::Host(request, pending) => Ok(Next::Halt(
                        Stage::SignaturePending(pending),
                        Progress::CheckSignature(request),
                    )),
                }
            }
            KeyLookup::Fetch(order) => {
                if !check.keys.may_fetch(&order) {
                    keys.release(&order);
                    check.cause = keys.refused();
                    return Err(VerifyError::KeysUnavailable);
                }
                Ok(Next::Halt(Stage::Parsed(token), Progress::Fetch(order)))
            }
            KeyLookup::Wait => {
                // Nor for its own refresh of the keys, which was ordered before they were needed.
                for order in check.refresh.extract_if(.., |it| it.document == DocumentKind::JwkSet)
                {
                    keys.release(&order);
                }
                let (refresh, fetches) = (&mut check.refresh, &mut check.keys);
                Ok(Next::Halt(Stage::Parsed(token), wait(refresh, fetches, head)))
            }
            KeyLookup::Refuse(error) => {
                check.cause = keys.refused();
                Err(error)
            }
        }
    }

    /// The end of step 4 if the signature is not valid. If another key has the same `kid` and
    /// algorithm, the check goes back to step 3, once, and uses that key.
    pub(super) fn try_other_key(
        check: &mut Check,
        token: UnverifiedToken,
    ) -> Result<Next, VerifyError> {
        if !check.has_other_key || check.uses_other_key {
            return Err(VerifyError::SignatureInvalid);
        }
        check.uses_other_key = true;
        Ok(Next::To(Stage::Parsed(token)))
    }

    /// Step 5, and step 6 up to the signature of the proof. Reads `cnf` first, for its form.
    pub(super) fn check_claims(
        &mut self,
        check: &mut Check,
        token: SignedToken,
        now: UnixMillis,
    ) -> Result<Next, VerifyError> {
        let Issuer { policy, .. } = self.issuers.get(token.issuer())?;
        let checked = Confirmation::of(token.claims()).map_err(VerifyError::from).and_then(|cnf| {
            let date = now.numeric_date();
            let found = claims::check_claims(token.claims(), policy, &check.requirements, date)?;
            let bound = cnf.check(&check.sender)?;
            networks::check(token.claims(), &check.sender.network)?;
            purpose::check_regions(token.claims(), &check.sender.network)?;
            Ok((found, bound))
        });
        let (status, bound) = match checked {
            Ok((Found { status, granted }, bound)) => {
                check.granted = granted;
                (status, bound)
            }
            Err(error) => {
                if error == VerifyError::TokenExpired {
                    self.verified.forget(token.text());
                }
                return Err(error);
            }
        };
        let claimed = Claimed { token, status };
        let thumbprint = match bound {
            Bound::ToKey(thumbprint) if !check.proved => thumbprint,
            Bound::ToKey(_) | Bound::Settled => return Ok(Next::To(Stage::Bound(claimed))),
        };
        let proof = Box::new(Proof::open(&check.sender, thumbprint, policy)?);
        match proof.check_signature() {
            Checked::Here(true) => Ok(Next::To(Stage::ProofSigned(claimed, proof))),
            Checked::Here(false) => Err(VerifyError::DpopProofInvalid),
            Checked::ByHost(request) => Ok(Next::Halt(
                Stage::ProofPending(claimed, proof),
                Progress::CheckSignature(request),
            )),
        }
    }

    /// The rest of step 6, up to the request to the store of used proofs.
    pub(super) fn check_proof(
        &self,
        claimed: Claimed,
        proof: &Proof,
        now: UnixMillis,
    ) -> Result<Next, VerifyError> {
        let Issuer { policy, .. } = self.issuers.get(claimed.token.issuer())?;
        let used = proof.check_claims(claimed.token.text(), policy, &self.nonces, now)?;
        Ok(Next::Halt(Stage::ReplayPending(claimed), Progress::CheckReplay(used)))
    }

    /// Step 7. Remembers a token that passes.
    pub(super) fn check_scope(
        &mut self,
        check: &Check,
        claimed: Claimed,
    ) -> Result<Next, VerifyError> {
        let Claimed { token, status } = claimed;
        claims::check_scope(&check.granted, &check.requirements)?;
        purpose::check(token.claims(), &check.requirements)?;
        if let Some(token) = token.to_remember() {
            self.verified.keep(token);
        }
        Ok(Next::To(Stage::Verified(token.assert_checked(), status)))
    }

    /// The end of a check without a status. Keys that only a head can confirm need one here as well.
    pub(super) fn check_no_status(
        &mut self,
        check: &mut Check,
        verified: Verified,
        now: UnixMillis,
    ) -> Result<Next, VerifyError> {
        let stale_if_error = check.requirements.stale_if_error;
        let Issuer { policy, keys, head, .. } = self.issuers.get_mut(verified.issuer())?;
        if keys.is_headed() && !check.is_key_headed {
            return Ok(Next::To(Stage::Parsed(verified.into_unverified())));
        }
        if !keys.awaits_head(policy, head) {
            return Ok(Next::Decide(Ok(verified.into_claims()), None));
        }
        let progress = match head.availability(policy, stale_if_error, &mut check.keys.head, now) {
            Availability::Fetch => head
                .order(policy, now)
                .filter(|order| check.keys.may_fetch(order))
                .map(Progress::Fetch),
            Availability::Wait => Some(wait(&mut check.refresh, &mut check.keys, head)),
            Availability::Fresh { .. } | Availability::Stale | Availability::Unavailable => None,
        };
        match progress {
            Some(progress) => Ok(Next::Halt(Stage::Verified(verified, None), progress)),
            None => {
                check.cause = head.refused();
                Err(VerifyError::KeysUnavailable)
            }
        }
    }

    /// Step 8.
    pub(super) fn check_status(
        &mut self,
        check: &mut Check,
        verified: Verified,
        reference: StatusReference,
        now: UnixMillis,
    ) -> Result<Next, VerifyError> {
        let stale_if_error = check.requirements.stale_if_error;
        let list_issuer = self.issuers.get(verified.issuer())?.list_issuer;
        let Issuer { policy, keys, lists, head, .. } = self.issuers.get_mut(list_issuer)?;
        if list_issuer != verified.issuer() {
            // Step 3 fetched and refreshed the keys of the token's issuer only.
            let fetches = &mut check.list_keys;
            let progress = match keys.look_up_set((policy, head), stale_if_error, fetches, now) {
                SetLookup::Use { stale, refresh } => {
                    check.stale |= stale;
                    let order = refresh.then(|| keys.refresh_order(policy, head, now));
                    check.refresh.extend(order.flatten());
                    None
                }
                SetLookup::Fetch(order) if check.list_keys.may_fetch(&order) => {
                    Some(Progress::Fetch(order))
                }
                SetLookup::Wait => Some(wait(&mut check.refresh, &mut check.list_keys, head)),
                lookup => {
                    if let SetLookup::Fetch(order) = lookup {
                        keys.release(&order);
                    }
                    check.cause = keys.refused();
                    return Err(VerifyError::StatusUnavailable);
                }
            };
            if let Some(progress) = progress {
                check.waited_for_list = true;
                return Ok(Next::Halt(Stage::Verified(verified, Some(reference)), progress));
            }
        }
        let fetches = match list_issuer == verified.issuer() {
            true => &mut check.keys,
            false => &mut check.list_keys,
        };
        let attempts = (&mut check.list_attempt, &mut fetches.head);
        let awaits_head = keys.awaits_head(policy, head);
        let heads = (&mut *head, awaits_head);
        match lists.look_up(&reference, policy, attempts, heads, stale_if_error, now) {
            // Since the key was found, a head has come that may name another set.
            StatusLookup::Known { .. }
                if list_issuer == verified.issuer() && keys.is_headed() && !check.is_key_headed =>
            {
                check.keys.attempt = Attempt::default();
                check.stale = false;
                Ok(Next::To(Stage::Parsed(verified.into_unverified())))
            }
            // The head cannot be had. A list shows that the key that signed it was not withdrawn by then.
            StatusLookup::Known { status: StatusType::Valid, .. }
                if awaits_head
                    && list_issuer == verified.issuer()
                    && !lists.is_signed_by(&reference.uri, verified.key()) =>
            {
                check.cause = head.refused();
                Err(VerifyError::StatusUnavailable)
            }
            StatusLookup::Known { status, confirmed_at, stale, refresh } => {
                check.refresh.extend(refresh);
                if std::mem::take(&mut check.waited_for_list) {
                    // Back to step 3: meanwhile the key may have been withdrawn, or the token may
                    // have expired.
                    check.keys.attempt = Attempt::default();
                    check.stale = false;
                    return Ok(Next::To(Stage::Parsed(verified.into_unverified())));
                }
                check.stale |= stale;
                let report = StatusReport { status, confirmed_at, stale };
                let outcome = judge(status).map(|()| verified.into_claims());
                Ok(Next::Decide(outcome, Some(report)))
            }
            StatusLookup::Fetch(order) => {
                match order.document {
                    DocumentKind::StatusHead => fetches.head.fetches(order.lease),
                    _ => check.list_attempt.fetches(order.lease),
                }
                check.waited_for_list = true;
                Ok(Next::Halt(Stage::Verified(verified, Some(reference)), Progress::Fetch(order)))
            }
            StatusLookup::Wait => {
                check.waited_for_list = true;
                let progress = wait(&mut check.refresh, fetches, head);
                Ok(Next::Halt(Stage::Verified(verified, Some(reference)), progress))
            }
            StatusLookup::Refuse(error) => {
                check.cause = lists.refused(&reference.uri).or_else(|| head.refused());
                Err(error)
            }
        }
    }

    /// Makes the verdict. Counts it if the check used a stale copy.
    pub(super) fn decided(
        &mut self,
        check: &mut Check,
        outcome: Result<ClaimsSet, VerifyError>,
        status: Option<StatusReport>,
        now: UnixMillis,
    ) -> Progress {
        let granted = std::mem::take(&mut check.granted);
        let challenge =
            if outcome.is_err() { self.challenge(check, now) } else { Challenge::default() };
        self.stale = self.stale.saturating_add(check.stale.into());
        let cause = check.cause.filter(|_| {
            outcome.as_ref().is_err_and(|error| {
                matches!(error, VerifyError::KeysUnavailable | VerifyError::StatusUnavailable)
            })
        });
        let until = outcome.as_ref().ok().and_then(|claims| self.end_of(claims, check, now));
        Progress::Decided(Verdict {
            granted: if outcome.is_ok() { granted } else { Scope::default() },
            outcome,
            status,
            stale: check.stale,
            refresh: std::mem::take(&mut check.refresh),
            challenge,
            cause,
            until,
            signed: check.signed.take(),
        })
    }

    /// The end of an accepted token: `exp`, or `exp` plus leeway if `exp` has passed.
    fn end_of(&self, claims: &ClaimsSet, check: &Check, now: UnixMillis) -> Option<UnixMillis> {
        let expiration = claims.expiration().ok()??;
        let end = UnixMillis::from_seconds(expiration.seconds());
        if now < end {
            return Some(end);
        }
        let leeway = self.issuers.get(check.issuer?).ok()?.policy.leeway;
        Some(UnixMillis::from_seconds(expiration.plus(leeway).seconds()))
    }

    /// The challenge by the policy of the token's issuer, or else of the first issuer.
    fn challenge(&self, check: &Check, now: UnixMillis) -> Challenge {
        let judging = check.issuer.and_then(|issuer| self.issuers.get(issuer).ok());
        let policy = judging.or_else(|| self.issuers.iter().next()).map(|issuer| &issuer.policy);
        let origin = check.sender.endpoint.as_ref().and_then(|endpoint| url::origin(&endpoint.url));
        let Requirements { all_of, any_of, resource_metadata, .. } = check.requirements.as_ref();
        Challenge {
            scope: all_of.iter().chain(any_of.iter()).collect(),
            resource_metadata: resource_metadata.clone(),
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

/// Waits for another request's fetch. If the check itself was to refresh the status head afterwards, it
/// does so now instead, since it would wait for itself. Meanwhile a document may have come that is newer than
/// the head: the order was made before that, and asks where a cache may have the head of before.
fn wait(refresh: &mut Vec<FetchOrder>, fetches: &mut KeyFetches, head: &HeadHolder) -> Progress {
    let is_own = |order: &FetchOrder| order.document == DocumentKind::StatusHead;
    match refresh.iter().position(is_own).map(|at| refresh.swap_remove(at)) {
        Some(order) if fetches.may_fetch(&order) => {
            let url = head.url().unwrap_or(order.url);
            Progress::Fetch(FetchOrder { url, ..order })
        }
        _ => Progress::Wait(POLL),
    }
}

/// Accepts the status VALID only.
fn judge(status: StatusType) -> Result<(), VerifyError> {
    match status {
        StatusType::Valid => Ok(()),
        StatusType::Invalid => Err(VerifyError::TokenRevoked),
        StatusType::Suspended => Err(VerifyError::TokenSuspended),
        StatusType::Unknown(_) => Err(VerifyError::StatusInvalid),
    }
}

/// The time for which a request sleeps before it looks again for a document that another request
/// fetches.
const POLL: Duration = Duration::from_millis(20);
