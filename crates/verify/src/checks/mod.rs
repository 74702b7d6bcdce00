//! The check of one token: its stages, and the host's answers to it.

pub(crate) mod binding;
pub(crate) mod claims;
pub mod dpop;
pub mod networks;
pub mod purpose;
pub(crate) mod remembered;
mod requirements;
pub mod token;

use std::sync::Arc;

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_status_list::StatusReference;

pub use self::claims::judge_unsigned;
pub use self::requirements::{Requirements, RequirementsConfig, RequirementsError};
use crate::checks::dpop::Proof;
use crate::checks::dpop::replay::Replay;
use crate::checks::token::{Pending, SignedToken, UnverifiedToken, Verified};
use crate::documents::fetch::{DocumentKind, FetchOrder};
use crate::documents::held::Attempt;
use crate::documents::refused::Cause;
use crate::error::VerifyError;
use crate::policy::IssuerIndex;
use crate::sender::Sender;

/// The check of one token in progress. [`Verifier`](crate::Verifier) advances it.
///
/// It owns its data, so that a host can hold it across awaits.
pub struct Check {
    pub(crate) stage: Stage,
    pub(crate) requirements: Arc<Requirements>,
    pub(crate) sender: Sender,
    pub(crate) keys: KeyFetches,
    /// The fetches of the keys of the lists, if they are not the token's issuer's.
    pub(crate) list_keys: KeyFetches,
    pub(crate) list_attempt: Attempt,
    /// Whether another key has the `kid` and algorithm of the key that was found.
    pub(crate) has_other_key: bool,
    /// Whether that other key is used, because the signature is not valid with the first one.
    pub(crate) uses_other_key: bool,
    /// Whether the proof was checked and recorded as used, in this check or in the request's first
    /// one. Both happen only once.
    pub(crate) proved: bool,
    /// Whether the check waited for a status list since it last looked up the key.
    pub(crate) waited_for_list: bool,
    /// Whether a status head had confirmed the set with the key when the key was looked up.
    pub(crate) is_key_headed: bool,
    pub(crate) stale: bool,
    /// The scope that the token grants. Empty until step 5 has passed.
    pub(crate) granted: Scope,
    pub(crate) refresh: Vec<FetchOrder>,
    /// Why the document that the token needs is not available.
    pub(crate) cause: Option<Cause>,
    /// The issuer whose policy applies. `None` if step 1 or 2 failed.
    pub(crate) issuer: Option<IssuerIndex>,
    /// The claims, once step 4 has passed with the key of now.
    pub(crate) signed: Option<ClaimsSet>,
}

/// The fetches of a check for the keys of one issuer.
#[derive(Default)]
pub(crate) struct KeyFetches {
    pub(crate) attempt: Attempt,
    /// The attempt to get the issuer's status head.
    pub(crate) head: Attempt,
    /// The number of fetches of metadata.
    pub(crate) metadata: u8,
}

impl KeyFetches {
    /// Records a fetch. Returns whether the check may carry it out: it fetches the metadata once, from
    /// both places where they may be. The attempt limits fetches of the keys.
    pub(crate) fn may_fetch(&mut self, order: &FetchOrder) -> bool {
        match order.document {
            DocumentKind::JwkSet => {
                self.attempt.fetches(order.lease);
                return true;
            }
            DocumentKind::StatusHead => {
                self.head.fetches(order.lease);
                return true;
            }
            _ => {}
        }
        self.metadata = self.metadata.saturating_add(1);
        self.metadata <= METADATA_PLACES
    }
}

/// The number of places where an issuer may have its metadata.
const METADATA_PLACES: u8 = 2;

/// The stage that a check has reached.
pub(crate) enum Stage {
    /// Steps 1 and 2 are done.
    Parsed(UnverifiedToken),
    /// The host checks the signature, for step 4.
    SignaturePending(Pending),
    /// The signature is not valid with the key that was found.
    SignatureInvalid(UnverifiedToken),
    /// Step 4 is done.
    Signed(SignedToken),
    /// Step 5 is done, and the host checks the proof's signature.
    ProofPending(Claimed, Box<Proof>),
    /// The proof's signature is valid; its other checks remain.
    ProofSigned(Claimed, Box<Proof>),
    /// The host looks up whether the proof was used before.
    ReplayPending(Claimed),
    /// Step 6 is done.
    Bound(Claimed),
    /// Steps 1 to 7 are done. Step 8 remains if there is a reference.
    Verified(Verified, Option<StatusReference>),
    /// A step refused the token; the verdict has not been given.
    Refused(VerifyError),
    /// The verdict was given.
    Ended,
}

/// A token that passed step 5, and the reference to its status.
pub(crate) struct Claimed {
    pub(crate) token: SignedToken,
    pub(crate) status: Option<StatusReference>,
}

impl Check {
    /// Takes the host's answer to [`Progress::CheckSignature`](crate::Progress::CheckSignature).
    /// Has no effect if the check does not wait for one.
    pub fn signature_checked(&mut self, valid: bool) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::SignaturePending(pending) => match pending.signature_checked(valid) {
                Ok(signed) => Stage::Signed(signed),
                Err(token) => Stage::SignatureInvalid(token),
            },
            Stage::ProofPending(claimed, proof) if valid => Stage::ProofSigned(claimed, proof),
            Stage::ProofPending(..) => Stage::Refused(VerifyError::DpopProofInvalid),
            other => other,
        };
    }

    /// Takes the host's answer to [`Progress::CheckReplay`](crate::Progress::CheckReplay). Has no
    /// effect if the check does not wait for one.
    pub fn replay_checked(&mut self, replay: Replay) {
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Ended), replay) {
            (Stage::ReplayPending(claimed), Replay::First) => {
                self.proved = true;
                Stage::Bound(claimed)
            }
            (Stage::ReplayPending(_), Replay::Seen) => {
                Stage::Refused(VerifyError::DpopProofInvalid)
            }
            (Stage::ReplayPending(_), Replay::Unavailable) => {
                Stage::Refused(VerifyError::ReplayUnavailable)
            }
            (other, _) => other,
        };
    }

    pub(crate) fn at(stage: Stage, sender: Sender, requirements: Arc<Requirements>) -> Self {
        Self {
            stage,
            requirements,
            sender,
            keys: KeyFetches::default(),
            list_keys: KeyFetches::default(),
            list_attempt: Attempt::default(),
            has_other_key: false,
            uses_other_key: false,
            cause: None,
            proved: false,
            waited_for_list: false,
            is_key_headed: false,
            stale: false,
            granted: Scope::default(),
            refresh: Vec::new(),
            issuer: None,
            signed: None,
        }
    }
}
