//! What came of a check.

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_status_list::StatusType;

use crate::documents::fetch::FetchOrder;
use crate::error::VerifyError;
use crate::sender::Presentation;
use crate::time::UnixMillis;

/// Whether a token is accepted, and why not.
#[derive(Debug)]
pub struct Verdict {
    /// The claims of an accepted token, or why it was refused.
    pub outcome: Result<ClaimsSet, VerifyError>,
    /// What an accepted token grants, wherever the policy says that its scope is.
    pub granted: Scope,
    /// The status that was looked up, if it came to that.
    pub status: Option<StatusReport>,
    /// Whether a held copy served beyond its freshness window because its source is unreachable.
    pub stale: bool,
    /// Documents whose revalidation is due. The host fetches them behind the response; an order
    /// that is dropped expires by itself.
    pub refresh: Vec<FetchOrder>,
    /// What a refusal tells the client.
    pub challenge: Challenge,
    /// When an accepted token ends: its `exp`, or for one that leeway alone lets through, that much later.
    pub until: Option<UnixMillis>,
}

/// What a refusal tells the client, so that its next request may pass.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Challenge {
    /// The scheme that was used.
    pub presented_as: Presentation,
    /// `algs` (RFC 9449 §7.1): algorithms for proofs, separated by spaces. `None` where no proof can
    /// be checked.
    pub dpop_algorithms: Option<String>,
    /// The nonce that proofs need, where they need one (RFC 9449 §9).
    pub dpop_nonce: Option<String>,
}

/// The status of a token, and how fresh the list was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusReport {
    /// The value at the token's index.
    pub status: StatusType,
    /// When the list was last confirmed at its source.
    pub confirmed_at: UnixMillis,
    /// Whether the list served beyond its freshness window.
    pub stale: bool,
}

/// For how long an accepted token says anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// When it ends: [`Verdict::until`].
    pub until: UnixMillis,
    /// When its status list was last confirmed at its source.
    pub confirmed_at: Option<UnixMillis>,
}

impl Verdict {
    /// For how long this says anything, if the token is accepted.
    pub fn holds(&self) -> Option<Accepted> {
        Some(Accepted {
            until: self.until?,
            confirmed_at: self.status.map(|status| status.confirmed_at),
        })
    }

    /// Whether the token is accepted.
    pub fn accepted(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Why it was refused.
    pub fn error(&self) -> Option<&VerifyError> {
        self.outcome.as_ref().err()
    }
}
