//! Why a token was refused.

use edgepass_jose::Scope;
use edgepass_jose::claims::ClaimError;

/// Why a token was refused. Variants are in the order the checks run, so the one returned is the
/// first that failed; none carries token text or key material.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// The request carries no credentials (RFC 6750 §3).
    #[error("the request carries no token")]
    TokenMissing,
    /// The request cannot be read unambiguously: two credentials, or a malformed header.
    #[error("the request cannot be read unambiguously")]
    RequestInvalid,
    /// Not a compact JWS of JSON objects within the limits (RFC 7515 §5.2, RFC 7519 §7.2).
    #[error("the token is not a compact JWS of JSON objects")]
    TokenMalformed,
    /// `typ` is not the one expected (RFC 9068 §4, RFC 8725 §3.11).
    #[error("the token's typ is not accepted")]
    TypNotAccepted,
    /// `alg` is not on the policy's list (RFC 8725 §3.1).
    #[error("the token's alg is not allowed")]
    AlgNotAllowed,
    /// `iss` is not a configured issuer (RFC 9068 §4).
    #[error("the token's issuer is not accepted")]
    IssuerMismatch,
    /// No key of the issuer fits `kid` and `alg` (RFC 7517 §4).
    #[error("no key of the issuer fits the token")]
    KeyNotFound,
    /// There is no usable JWK Set now, or an unknown `kid` cannot be looked up now.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
    /// The signature does not verify (RFC 7515 §5.2).
    #[error("the signature does not verify")]
    SignatureInvalid,
    /// A required claim is absent; holds its registered name.
    #[error("the claim {0} is missing")]
    ClaimMissing(&'static str),
    /// A claim has the wrong type or form; holds its registered name.
    #[error("the claim {0} is malformed")]
    ClaimInvalid(&'static str),
    /// `now` is at or past `exp` plus leeway (RFC 7519 §4.1.4).
    #[error("the token has expired")]
    TokenExpired,
    /// `now` plus leeway is before `nbf` or `iat` (RFC 7519 §4.1.5).
    #[error("the token is not valid yet")]
    TokenNotYetValid,
    /// `exp - iat` is more than the policy allows.
    #[error("the token lives longer than accepted")]
    LifetimeExceeded,
    /// `aud` does not name this resource server (RFC 9068 §4).
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// A sender-constrained token presented without its proof, or the reverse (RFC 9449 §7.2).
    #[error("the token is bound to a sender and was not presented by it")]
    BindingMismatch,
    /// The token lacks scope; holds what is missing (RFC 6750 §3.1).
    #[error("the token lacks the scope {0}")]
    ScopeInsufficient(Scope),
    /// There is no usable status list now.
    #[error("the token's status is not available")]
    StatusUnavailable,
    /// The list does not cover the token's index, or holds a value without meaning here.
    #[error("the token's status has no meaning")]
    StatusInvalid,
    /// The status is INVALID (draft-ietf-oauth-status-list §7.1).
    #[error("the token is revoked")]
    TokenRevoked,
    /// The status is SUSPENDED (draft-ietf-oauth-status-list §7.1).
    #[error("the token is suspended")]
    TokenSuspended,
}

impl VerifyError {
    /// Stable identifier for logs, metrics, bodies and the JavaScript binding. Never reworded.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::RequestInvalid => "request_invalid",
            Self::TokenMalformed => "token_malformed",
            Self::TypNotAccepted => "typ_not_accepted",
            Self::AlgNotAllowed => "alg_not_allowed",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::KeyNotFound => "key_not_found",
            Self::KeysUnavailable => "keys_unavailable",
            Self::SignatureInvalid => "signature_invalid",
            Self::ClaimMissing(_) => "claim_missing",
            Self::ClaimInvalid(_) => "claim_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::LifetimeExceeded => "lifetime_exceeded",
            Self::AudienceMismatch => "audience_mismatch",
            Self::BindingMismatch => "binding_mismatch",
            Self::ScopeInsufficient(_) => "scope_insufficient",
            Self::StatusUnavailable => "status_unavailable",
            Self::StatusInvalid => "status_invalid",
            Self::TokenRevoked => "token_revoked",
            Self::TokenSuspended => "token_suspended",
        }
    }

    /// The check that failed. `iss` absent is refused at [`Step::Policy`], like a wrong one.
    pub fn step(&self) -> Step {
        match self {
            Self::TokenMissing | Self::RequestInvalid | Self::TokenMalformed => Step::Parse,
            Self::TypNotAccepted
            | Self::AlgNotAllowed
            | Self::IssuerMismatch
            | Self::ClaimMissing("iss")
            | Self::ClaimInvalid("iss") => Step::Policy,
            Self::KeyNotFound | Self::KeysUnavailable => Step::Key,
            Self::SignatureInvalid => Step::Signature,
            Self::ClaimMissing(_)
            | Self::ClaimInvalid(_)
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::LifetimeExceeded
            | Self::AudienceMismatch => Step::Claims,
            Self::BindingMismatch => Step::Binding,
            Self::ScopeInsufficient(_) => Step::Scopes,
            Self::StatusUnavailable
            | Self::StatusInvalid
            | Self::TokenRevoked
            | Self::TokenSuspended => Step::Status,
        }
    }

    /// Whether the refusal says nothing about the token: a later attempt may succeed.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::StatusUnavailable)
    }
}

impl From<ClaimError> for VerifyError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Missing(name) => Self::ClaimMissing(name),
            ClaimError::Invalid(name) => Self::ClaimInvalid(name),
        }
    }
}

/// The checks, in the order they run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Compact JWS, strict JSON, size and depth.
    Parse,
    /// `typ`, `alg`, `iss`.
    Policy,
    /// A key of the issuer, bound to `alg`.
    Key,
    /// The signature.
    Signature,
    /// Required claims, times, lifetime, audience.
    Claims,
    /// Sender constraint.
    Binding,
    /// Scope.
    Scopes,
    /// Revocation.
    Status,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 8] = [
        Self::Parse,
        Self::Policy,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Binding,
        Self::Scopes,
        Self::Status,
    ];

    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Policy => "policy",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Binding => "binding",
            Self::Scopes => "scopes",
            Self::Status => "status",
        }
    }
}
