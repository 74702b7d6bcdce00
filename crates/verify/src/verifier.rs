//! The verifier: a policy, the documents it holds, and the next step of any check.

use std::time::Duration;

use edgepass_status_list::StatusType;

use crate::check::{Check, Stage};
use crate::claims;
use crate::error::VerifyError;
use crate::fetch::{Answer, Document, FetchOrder};
use crate::holder::Patience;
pub use crate::keys::{JwksUri, KeySource};
use crate::keys::{KeyHolder, KeyLookup};
pub use crate::lists::PendingList;
use crate::lists::{LandedList, ListHolder, StatusLookup};
use crate::policy::Policy;
use crate::time::UnixMillis;
use crate::token::{SignatureCheck, SignatureRequest};
use crate::verdict::{StatusReport, Verdict};

/// One issuer's verifier, shared by all requests of an isolate or process.
pub struct Verifier {
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
    /// Another request is fetching what this one needs: sleep this long, and advance again. The
    /// sleep is this request's own; it awaits nothing of the other's.
    Wait(Duration),
}

/// What became of an answer.
pub enum Landed {
    /// It was taken in or refused; either way, advance the checks that wait.
    Settled,
    /// A list's signature is the host's to check; then [`Verifier::list_signature_checked`].
    CheckSignature(SignatureRequest, Box<PendingList>),
}

impl Verifier {
    /// A verifier that holds nothing yet. Does no I/O.
    pub fn new(policy: Policy, keys: KeySource) -> Self {
        Self { policy, keys: KeyHolder::new(keys), lists: ListHolder::new() }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Take `check` as far as it goes at `now`.
    ///
    /// After [`Progress::Decided`] the check is used up; advancing it again refuses.
    pub fn advance(&mut self, check: &mut Check, now: UnixMillis) -> Progress {
        loop {
            check.stage = match std::mem::replace(&mut check.stage, Stage::Ended) {
                Stage::Parsed(token) => {
                    let stale_if_error = self.stale_if_error(check);
                    let found = self.keys.look_up(
                        token.key_id(),
                        token.algorithm(),
                        &self.policy,
                        &mut check.key_patience,
                        stale_if_error,
                        now,
                    );
                    match found {
                        KeyLookup::Use { key, stale, refresh } => {
                            check.stale |= stale;
                            check.refresh.extend(refresh);
                            match token.check_signature(&key) {
                                SignatureCheck::Done(Ok(signed)) => Stage::Signed(signed),
                                SignatureCheck::Done(Err(error)) => Stage::Refused(error),
                                SignatureCheck::Host(request, pending) => {
                                    check.stage = Stage::SignaturePending(pending);
                                    return Progress::CheckSignature(request);
                                }
                            }
                        }
                        KeyLookup::Fetch(order) => {
                            check.key_patience.fetched = order.document == Document::JwkSet;
                            check.stage = Stage::Parsed(token);
                            return Progress::Fetch(order);
                        }
                        KeyLookup::Wait => {
                            check.stage = Stage::Parsed(token);
                            return Progress::Wait(POLL);
                        }
                        KeyLookup::Refuse(error) => Stage::Refused(error),
                    }
                }
                Stage::Signed(signed) => {
                    let date = now.numeric_date();
                    let (claims, demand) = (signed.claims(), &check.demand);
                    let passed = claims::check_claims(claims, &self.policy, demand, date).and_then(
                        |status| {
                            claims::check_binding(claims, demand)?;
                            claims::check_scope(claims, demand)?;
                            Ok(status)
                        },
                    );
                    match passed {
                        Ok(status) => Stage::Verified(signed.assert_checked(), status),
                        Err(error) => Stage::Refused(error),
                    }
                }
                Stage::Verified(verified, None) => {
                    return decided(check, Ok(verified.into_claims()), None);
                }
                Stage::Verified(verified, Some(reference)) => {
                    let stale_if_error = self.stale_if_error(check);
                    let found = self.lists.look_up(
                        &reference,
                        &self.policy,
                        &mut check.list_patience,
                        stale_if_error,
                        now,
                    );
                    match found {
                        StatusLookup::Known { status, confirmed_at, stale, refresh } => {
                            check.refresh.extend(refresh);
                            if std::mem::take(&mut check.waited_for_list) {
                                // Time has passed: the key may be withdrawn, the token expired.
                                check.key_patience = Patience::default();
                                check.stage = Stage::Parsed(verified.into_unverified());
                                continue;
                            }
                            check.stale |= stale;
                            let report = StatusReport { status, confirmed_at, stale };
                            let outcome = judge(status).map(|()| verified.into_claims());
                            return decided(check, outcome, Some(report));
                        }
                        StatusLookup::Fetch(order) => {
                            check.list_patience.fetched = true;
                            check.waited_for_list = true;
                            check.stage = Stage::Verified(verified, Some(reference));
                            return Progress::Fetch(order);
                        }
                        StatusLookup::Wait => {
                            check.waited_for_list = true;
                            check.stage = Stage::Verified(verified, Some(reference));
                            return Progress::Wait(POLL);
                        }
                        StatusLookup::Refuse(error) => Stage::Refused(error),
                    }
                }
                Stage::Refused(error) => return decided(check, Err(error), None),
                // Advanced without the host's answer, or after the verdict: fail closed.
                Stage::SignaturePending(_) | Stage::Ended => {
                    return decided(check, Err(VerifyError::SignatureInvalid), None);
                }
            }
        }
    }

    /// Take in what came of `order`. A bad answer never replaces a good copy.
    pub fn land(&mut self, order: FetchOrder, answer: Answer, now: UnixMillis) -> Landed {
        match order.document {
            Document::Metadata => self.keys.land_metadata(&order, answer, &self.policy, now),
            Document::JwkSet => {
                let replaced = self.keys.land_set(&order, answer, &self.policy, now);
                if let (true, Some(keys)) = (replaced, self.keys.current()) {
                    self.lists.keep_signed_by(keys);
                }
            }
            Document::StatusList => {
                let keys = self.keys.current();
                match self.lists.land(order, answer, keys, &self.policy, now) {
                    LandedList::Settled => {}
                    LandedList::Signature(request, pending) => {
                        return Landed::CheckSignature(request, pending);
                    }
                }
            }
        }
        Landed::Settled
    }

    /// The host's answer to [`Landed::CheckSignature`].
    pub fn list_signature_checked(
        &mut self,
        pending: Box<PendingList>,
        valid: bool,
        now: UnixMillis,
    ) {
        self.lists.signature_checked(*pending, valid, self.keys.current(), &self.policy, now);
    }

    /// When the held copy of what `order` names was last confirmed at its source.
    pub fn confirmed_at(&self, order: &FetchOrder) -> Option<UnixMillis> {
        match order.document {
            Document::Metadata => None,
            Document::JwkSet => self.keys.confirmed_at(),
            Document::StatusList => self.lists.confirmed_at(&order.url),
        }
    }

    /// Give `order` back without fetching, if a cache read has made it unnecessary: the held copy
    /// is fresh. False when the source must be asked all the same.
    pub fn release_if_fresh(&mut self, order: &FetchOrder, now: UnixMillis) -> bool {
        let window = self.policy.schedule.freshness_window;
        let age = self.confirmed_at(order).and_then(|confirmed_at| now.since(confirmed_at));
        let fresh = age.is_some_and(|age| age < window);
        if fresh {
            match order.document {
                Document::Metadata => {}
                Document::JwkSet => self.keys.release(order),
                Document::StatusList => self.lists.release(order),
            }
        }
        fresh
    }

    fn stale_if_error(&self, check: &Check) -> Duration {
        // A route may ask for less than the policy allows, never for more: the outage bound holds.
        let longest = self.policy.schedule.stale_if_error;
        check.demand.stale_if_error.map_or(longest, |asked| asked.min(longest))
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

fn decided(
    check: &mut Check,
    outcome: Result<edgepass_jose::ClaimsSet, VerifyError>,
    status: Option<StatusReport>,
) -> Progress {
    Progress::Decided(Verdict {
        outcome,
        status,
        stale: check.stale,
        refresh: std::mem::take(&mut check.refresh),
    })
}

/// How long a request sleeps before it looks again for what another one fetches.
const POLL: Duration = Duration::from_millis(20);
