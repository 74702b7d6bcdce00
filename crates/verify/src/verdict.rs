//! The result of a check.

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_status_list::StatusType;

use crate::documents::fetch::FetchOrder;
use crate::documents::refused::Cause;
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
    /// The token's status, if the check read it from a status list.
    pub status: Option<StatusReport>,
    /// Whether the check used a stale JWK Set or status list, because it could not get a fresh one.
    pub stale: bool,
    /// The refreshes that are due. The host carries them out after the response. An order that is
    /// dropped expires by itself.
    pub refresh: Vec<FetchOrder>,
    /// Information for the client of a refused token. The default value if the token is accepted.
    pub challenge: Challenge,
    /// Why keys or status are not available, for a refusal with [`VerifyError::KeysUnavailable`] or
    /// [`VerifyError::StatusUnavailable`]: the issuer's last refused document of that kind. `None`
    /// if no answer was refused, such as while another request fetches.
    pub cause: Option<Cause>,
    /// The end of an accepted token: its `exp`, or `exp` plus leeway if `exp` has passed. `None`
    /// for a refusal.
    pub until: Option<UnixMillis>,
    /// The claims, if the signature is valid.
    pub(crate) signed: Option<ClaimsSet>,
}

/// What identifies a token: for counts of its use, not for decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenName<'v> {
    /// The claim `iss`.
    pub issuer: &'v str,
    /// The claim `jti`.
    pub jwt_id: &'v str,
    /// The claim `client_id`. Empty if there is none.
    pub client_id: &'v str,
    /// The claim `scope`. Empty if there is none.
    pub scope: &'v str,
}

/// Information for the client of a refused token, so that its next request may pass.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Challenge {
    /// The scheme with which the client presented the token. Bearer if the request was refused
    /// before a token was read.
    pub presented_as: Presentation,
    /// `algs` (RFC 9449 §7.1): the algorithms for proofs, separated by spaces, by the policy of the
    /// token's issuer or else of the first issuer. `None` if the policy allows none or the request
    /// has no usable URL.
    pub dpop_algorithms: Option<String>,
    /// A nonce for the next proof (RFC 9449 §9). `None` if the verifier issues no nonces or the
    /// request has no usable URL.
    pub dpop_nonce: Option<String>,
    /// Everything that the requirements ask for, so that a client can obtain it at once.
    pub scope: Scope,
    /// The URL of the protected resource's metadata (RFC 9728 §5.1), if the requirements have one.
    pub resource_metadata: Option<String>,
}

/// The status of a token, and the freshness of the list that it was read from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusReport {
    /// The value at the token's index in the list.
    pub status: StatusType,
    /// The time at which the list was last confirmed.
    pub confirmed_at: UnixMillis,
    /// Whether the list was stale.
    pub stale: bool,
}

/// The times from which [`Verifier::judge_again_after`](crate::Verifier::judge_again_after)
/// computes when an accepted token must be judged again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// The end of the token: [`Verdict::until`].
    pub until: UnixMillis,
    /// The time at which its status list was last confirmed. `None` if the check used no list.
    pub confirmed_at: Option<UnixMillis>,
}

impl Verdict {
    /// Returns the validity of an accepted token, or `None` for a refusal.
    pub fn validity(&self) -> Option<Validity> {
        Some(Validity {
            until: self.until?,
            confirmed_at: self.status.map(|status| status.confirmed_at),
        })
    }

    /// Returns the claims of a token, accepted or refused, that a key of its issuer has signed: for counts of
    /// its use, not for decisions.
    pub fn signed_claims(&self) -> Option<&ClaimsSet> {
        self.signed.as_ref()
    }

    /// Returns what identifies the token, accepted or refused. `None` if no key of its issuer is known
    /// to have signed it, or if it has no `jti`.
    pub fn token_name(&self) -> Option<TokenName<'_>> {
        let claims = self.signed.as_ref()?;
        let text = |name: &str| claims.string(name).ok().flatten();
        Some(TokenName {
            issuer: text("iss")?,
            jwt_id: text("jti")?,
            client_id: text("client_id").unwrap_or_default(),
            scope: text("scope").unwrap_or_default(),
        })
    }

    /// Returns whether the token is accepted.
    pub fn accepted(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Returns the reason for a refusal, or `None` if the token is accepted.
    pub fn error(&self) -> Option<&VerifyError> {
        self.outcome.as_ref().err()
    }
}
