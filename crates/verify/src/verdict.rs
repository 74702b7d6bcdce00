//! The result of a check.

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_status_list::StatusType;

use crate::documents::fetch::FetchOrder;
use crate::error::VerifyError;
use crate::sender::Presentation;
use crate::time::UnixMillis;

/// The result of a check: accepted, or refused with a code.
#[derive(Debug)]
pub struct Verdict {
    /// The claims of an accepted token, or the reason for the refusal.
    pub outcome: Result<ClaimsSet, VerifyError>,
    /// The scope that an accepted token grants, from the claim that the policy names. Empty for a
    /// refusal.
    pub granted: Scope,
    /// The token's status, if the check found one.
    pub status: Option<StatusReport>,
    /// Whether the check used a stale copy because its source could not be reached.
    pub stale: bool,
    /// Documents whose revalidation is due. The host fetches them after the response. An order that
    /// is dropped expires by itself.
    pub refresh: Vec<FetchOrder>,
    /// Information for the client of a refused token. The default value if the token is accepted.
    pub challenge: Challenge,
    /// End of an accepted token: its `exp`, or `exp` plus leeway if only the leeway made it
    /// acceptable.
    pub until: Option<UnixMillis>,
}

/// Information for the client of a refused token, so that its next request may pass.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Challenge {
    /// The scheme with which the client presented the token.
    pub presented_as: Presentation,
    /// `algs` (RFC 9449 §7.1): algorithms for proofs, separated by spaces. `None` if no proof can
    /// be checked.
    pub dpop_algorithms: Option<String>,
    /// A nonce for the next proof (RFC 9449 §9). `None` if the verifier issues no nonces.
    pub dpop_nonce: Option<String>,
}

/// The status of a token, and the age of the list that it is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusReport {
    /// The value at the token's index in the list.
    pub status: StatusType,
    /// Time at which the list was last confirmed.
    pub confirmed_at: UnixMillis,
    /// Whether the list was stale.
    pub stale: bool,
}

/// The time for which the acceptance of a token holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// End of the token: [`Verdict::until`].
    pub until: UnixMillis,
    /// Time at which its status list was last confirmed. `None` if the check used no list.
    pub confirmed_at: Option<UnixMillis>,
}

impl Verdict {
    /// Returns how long the acceptance holds; `None` for a refusal.
    pub fn holds(&self) -> Option<Accepted> {
        Some(Accepted {
            until: self.until?,
            confirmed_at: self.status.map(|status| status.confirmed_at),
        })
    }

    /// Returns whether the token is accepted.
    pub fn accepted(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Returns the reason for a refusal.
    pub fn error(&self) -> Option<&VerifyError> {
        self.outcome.as_ref().err()
    }
}
