//! One token on its way through the checks.

pub(crate) mod binding;
pub(crate) mod claims;
pub mod dpop;
pub(crate) mod remembered;
mod requirements;
pub mod token;

use std::sync::Arc;

use edgepass_jose::Scope;
use edgepass_status_list::StatusReference;

pub use self::claims::judge_unsigned;
pub use self::requirements::{Requirements, RequirementsConfig, RequirementsError};
use crate::checks::dpop::Proof;
use crate::checks::dpop::replay::Replay;
use crate::checks::token::{Pending, SignedToken, UnverifiedToken, Verified};
use crate::documents::fetch::FetchOrder;
use crate::documents::held::Attempt;
use crate::error::VerifyError;
use crate::policy::IssuerIndex;
use crate::sender::Sender;

/// One token on its way through the checks; advanced by [`Verifier`](crate::Verifier).
///
/// It owns what it needs, so that a host may keep it across awaits.
pub struct Check {
    pub(crate) stage: Stage,
    pub(crate) requirements: Arc<Requirements>,
    pub(crate) sender: Sender,
    pub(crate) key_patience: Attempt,
    pub(crate) list_patience: Attempt,
    pub(crate) metadata_fetched: bool,
    /// Whether the proof was checked and counted as used: that happens once.
    pub(crate) proved: bool,
    /// Whether time passed between the key's check and the status.
    pub(crate) waited_for_list: bool,
    pub(crate) stale: bool,
    /// What the token grants, once its claims passed.
    pub(crate) granted: Scope,
    pub(crate) refresh: Vec<FetchOrder>,
    /// The issuer that judges it, once that is known.
    pub(crate) issuer: Option<IssuerIndex>,
}

/// How far it has come.
pub(crate) enum Stage {
    /// Steps 1 and 2 are done.
    Parsed(UnverifiedToken),
    /// Step 4 is with the host.
    SignaturePending(Pending),
    /// Step 4 is done.
    Signed(SignedToken),
    /// Step 5 is done, and the proof's signature is with the host.
    ProofPending(Claimed, Box<Proof>),
    /// The proof's signature is good; the rest of it is to be checked.
    ProofSigned(Claimed, Box<Proof>),
    /// Whether the proof was used before is for the host to say.
    ReplayPending(Claimed),
    /// Step 6 is done.
    Bound(Claimed),
    /// Steps 5 to 7 are done; the status remains, unless the policy ignores it.
    Verified(Verified, Option<StatusReference>),
    /// A step refused.
    Refused(VerifyError),
    /// The verdict was given.
    Ended,
}

/// A token whose claims passed.
pub(crate) struct Claimed {
    pub(crate) token: SignedToken,
    pub(crate) status: Option<StatusReference>,
}

impl Check {
    /// The host's answer to [`Progress::CheckSignature`](crate::Progress::CheckSignature).
    pub fn signature_checked(&mut self, valid: bool) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::SignaturePending(pending) => match pending.signature_checked(valid) {
                Ok(signed) => Stage::Signed(signed),
                Err(error) => Stage::Refused(error),
            },
            Stage::ProofPending(claimed, proof) if valid => Stage::ProofSigned(claimed, proof),
            Stage::ProofPending(..) => Stage::Refused(VerifyError::DpopProofInvalid),
            other => other,
        };
    }

    /// The host's answer to [`Progress::CheckReplay`](crate::Progress::CheckReplay).
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
            key_patience: Attempt::default(),
            list_patience: Attempt::default(),
            metadata_fetched: false,
            proved: false,
            waited_for_list: false,
            stale: false,
            granted: Scope::default(),
            refresh: Vec::new(),
            issuer: None,
        }
    }
}
