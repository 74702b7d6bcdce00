//! One token on its way through the checks.

use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_status_list::StatusReference;

use crate::credentials::Presentation;
use crate::error::VerifyError;
use crate::fetch::FetchOrder;
use crate::holder::Patience;
use crate::policy::Policy;
use crate::token::{Pending, SignedToken, UnverifiedToken, Verified};

/// What one request asks of a token, beyond the policy.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// Every one of these scope tokens.
    pub all_of: Scope,
    /// At least one of these, unless empty.
    pub any_of: Scope,
    /// Instead of the policy's audience.
    pub audience: Option<Vec<String>>,
    /// Less than the policy's `stale_if_error`; more is cut to it.
    pub stale_if_error: Option<Duration>,
    /// How the token was presented.
    pub presented_as: Presentation,
}

/// One token on its way through the checks; advanced by [`Verifier`](crate::Verifier).
///
/// It owns what it needs, so that a host may keep it across awaits.
pub struct Check {
    pub(crate) stage: Stage,
    pub(crate) demand: Demand,
    pub(crate) key_patience: Patience,
    pub(crate) list_patience: Patience,
    /// Whether time passed between the key's check and the status.
    pub(crate) waited_for_list: bool,
    pub(crate) stale: bool,
    pub(crate) refresh: Vec<FetchOrder>,
}

/// How far it has come.
pub(crate) enum Stage {
    /// Steps 1 and 2 are done.
    Parsed(UnverifiedToken),
    /// Step 4 is with the host.
    SignaturePending(Pending),
    /// Step 4 is done.
    Signed(SignedToken),
    /// Steps 5 to 7 are done; the status remains, unless the policy ignores it.
    Verified(Verified, Option<StatusReference>),
    /// A step refused.
    Refused(VerifyError),
    /// The verdict was given.
    Ended,
}

impl Check {
    /// Begin with a token; steps 1 and 2 run at once.
    pub fn begin(token: &str, policy: &Policy, demand: Demand) -> Self {
        let stage = match UnverifiedToken::parse(token, policy) {
            Ok(token) => Stage::Parsed(token),
            Err(error) => Stage::Refused(error),
        };
        Self::at(stage, demand)
    }

    /// Begin with an `Authorization` header.
    pub fn begin_request(authorization: Option<&str>, policy: &Policy, demand: Demand) -> Self {
        match crate::credentials::from_authorization(authorization) {
            Ok((presented_as, token)) => {
                Self::begin(token, policy, Demand { presented_as, ..demand })
            }
            Err(error) => Self::at(Stage::Refused(error), demand),
        }
    }

    /// The host's answer to [`Progress::CheckSignature`](crate::Progress::CheckSignature).
    pub fn signature_checked(&mut self, valid: bool) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::SignaturePending(pending) => match pending.signature_checked(valid) {
                Ok(signed) => Stage::Signed(signed),
                Err(error) => Stage::Refused(error),
            },
            other => other,
        };
    }

    fn at(stage: Stage, demand: Demand) -> Self {
        Self {
            stage,
            demand,
            key_patience: Patience::default(),
            list_patience: Patience::default(),
            waited_for_list: false,
            stale: false,
            refresh: Vec::new(),
        }
    }
}
