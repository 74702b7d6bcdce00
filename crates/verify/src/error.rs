//! The reasons for which a token is refused.

use edgepass_jose::Scope;
use edgepass_jose::claims::ClaimError;
pub use edgepass_jose::claims::ClaimName;

/// The reason for a refusal: the first failure of the check. The variants are in the order of the
/// steps ([`Step`]). None carries token text or key material.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// The request carries no Bearer or DPoP token (RFC 6750 §3).
    #[error("the request carries no token")]
    TokenMissing,
    /// The token is in a cookie, and a page of another origin may have made the browser send it:
    /// see [`TokenPlace::Cookie`](crate::token_place::TokenPlace::Cookie).
    #[error("the request may come from a page of another site")]
    CrossSiteRequest,
    /// The request is ambiguous: it has several credentials, or a comma or white space in the
    /// token. The guard also refuses other ambiguous requests with this error, for example by path.
    #[error("the request cannot be read unambiguously")]
    RequestInvalid,
    /// The token is not a compact JWS of JSON objects within the limits (RFC 7515 §5.2, RFC 7519
    /// §7.2).
    #[error(
        "the token is not a compact JWS of JSON objects, is too long, or uses crit or encryption"
    )]
    TokenMalformed,
    /// The token begins or ends in white space, such as the line break of the file that it was read
    /// from.
    #[error("the token begins or ends in white space")]
    TokenPadded,
    /// `typ` is not the media type that the policy expects (RFC 9068 §4, RFC 8725 §3.11).
    #[error("the token's typ is not accepted")]
    TypNotAccepted,
    /// `alg` is not on the policy's list (RFC 8725 §3.1).
    #[error("the token's alg is not allowed")]
    AlgNotAllowed,
    /// `iss` is not a configured issuer (RFC 9068 §4), or the requirements exclude it.
    #[error("the token's issuer is not accepted")]
    IssuerMismatch,
    /// No key of the issuer fits `kid` and `alg` (RFC 7517 §4), or without `kid` several keys do.
    #[error("no key of the issuer fits the token")]
    KeyNotFound,
    /// No usable JWK Set is available, or the held one lacks the `kid` and cannot be fetched again
    /// at this time.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
    /// The signature is not valid (RFC 7515 §5.2). Also the verdict of a check that is advanced out
    /// of turn: see [`Verifier::advance`](crate::Verifier::advance).
    #[error("the signature does not verify")]
    SignatureInvalid,
    /// A required claim is absent. Holds its name, which comes from a standard or from the policy.
    #[error("the claim {0} is missing")]
    ClaimMissing(ClaimName),
    /// A claim has the wrong type, form or value. Holds its name, which comes from a standard or
    /// from the policy.
    #[error("the claim {0} is not acceptable")]
    ClaimInvalid(ClaimName),
    /// `now` is at or past `exp` plus leeway (RFC 7519 §4.1.4).
    #[error("the token has expired")]
    TokenExpired,
    /// `now` plus leeway is before `nbf` or `iat` (RFC 7519 §4.1.5).
    #[error("the token is not valid yet")]
    TokenNotYetValid,
    /// `exp - iat`, or without `iat` the remaining lifetime, is more than the policy allows.
    #[error("the token lives longer than accepted")]
    LifetimeExceeded,
    /// The audience claim (`aud`, or as the policy says) names no accepted audience (RFC 9068 §4).
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// The presentation does not fit the claim `cnf`: the scheme, the key or the certificate is
    /// another one (RFC 9449 §7.1, RFC 8705 §3), `cnf` has no known member, or the host gave no
    /// method and URL for the proof.
    #[error("the token is not presented by the sender it is bound to")]
    BindingMismatch,
    /// The token names networks (`edgepass_networks`), or its agreement regions, and the request comes from
    /// none of them, or the host does not tell.
    #[error("the token may not be used from this network")]
    NetworkNotAllowed,
    /// A token with `cnf.jkt` was presented without a proof (RFC 9449 §7.1).
    #[error("the DPoP proof is missing")]
    DpopProofMissing,
    /// The proof breaks a rule or was used before (RFC 9449 §4.3, §11.1).
    #[error("the DPoP proof is not valid")]
    DpopProofInvalid,
    /// The proof lacks a current nonce of this verifier (RFC 9449 §9).
    #[error("the DPoP proof needs a nonce of this server")]
    DpopNonceRequired,
    /// The store of used proofs does not answer.
    #[error("the store of used DPoP proofs is not available")]
    ReplayUnavailable,
    /// The token lacks scope (RFC 6750 §3.1). Holds the missing scope tokens; for `any_of`, all of
    /// its tokens.
    #[error("the token lacks {}", lacking(.0))]
    ScopeInsufficient(Scope),
    /// The agreement of the token has none of the required purposes, or lacks data (`authorization_details`,
    /// RFC 9396). Holds the purposes, or the missing categories of data.
    #[error("the agreement of the token does not allow {}", disallowed(.0))]
    PurposeNotAllowed(Scope),
    /// No usable copy of the token's status list is available.
    #[error("the token's status is not available")]
    StatusUnavailable,
    /// The list does not cover the token's index, or its value there is not VALID, INVALID or
    /// SUSPENDED.
    #[error("the token's status has no meaning")]
    StatusInvalid,
    /// The status is INVALID (draft-ietf-oauth-status-list §7.1).
    #[error("the token is revoked")]
    TokenRevoked,
    /// The status is SUSPENDED (draft-ietf-oauth-status-list §7.1).
    #[error("the token is suspended")]
    TokenSuspended,
}

/// What a token lacks, in words. Names that are no scope tokens are roles, and are not repeated.
fn lacking(missing: &Scope) -> String {
    match missing.to_string() {
        none if none.is_empty() => "a required role".into(),
        scope => format!("the scope {scope}"),
    }
}

/// Purposes or categories of data, in words. Those that are no scope tokens are not repeated.
fn disallowed(missing: &Scope) -> String {
    match missing.to_string() {
        none if none.is_empty() => "this use".into(),
        names => names,
    }
}

impl VerifyError {
    /// Returns the stable code for logs, metrics, response bodies and the JavaScript binding. It
    /// never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::CrossSiteRequest => "cross_site_request",
            Self::RequestInvalid => "request_invalid",
            Self::TokenMalformed | Self::TokenPadded => "token_malformed",
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
            Self::NetworkNotAllowed => "network_not_allowed",
            Self::DpopProofMissing => "dpop_proof_missing",
            Self::DpopProofInvalid => "dpop_proof_invalid",
            Self::DpopNonceRequired => "dpop_nonce_required",
            Self::ReplayUnavailable => "replay_unavailable",
            Self::ScopeInsufficient(_) => "scope_insufficient",
            Self::PurposeNotAllowed(_) => "purpose_not_allowed",
            Self::StatusUnavailable => "status_unavailable",
            Self::StatusInvalid => "status_invalid",
            Self::TokenRevoked => "token_revoked",
            Self::TokenSuspended => "token_suspended",
        }
    }

    /// Returns the step that failed. An absent or malformed `iss` fails at [`Step::Policy`], as a
    /// wrong one does.
    pub fn step(&self) -> Step {
        match self {
            Self::TokenMissing
            | Self::CrossSiteRequest
            | Self::RequestInvalid
            | Self::TokenMalformed
            | Self::TokenPadded => Step::Parse,
            Self::TypNotAccepted | Self::AlgNotAllowed | Self::IssuerMismatch => Step::Policy,
            Self::ClaimMissing(name) | Self::ClaimInvalid(name) if name == "iss" => Step::Policy,
            Self::KeyNotFound | Self::KeysUnavailable => Step::Key,
            Self::SignatureInvalid => Step::Signature,
            Self::ClaimMissing(_)
            | Self::ClaimInvalid(_)
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::LifetimeExceeded
            | Self::AudienceMismatch => Step::Claims,
            Self::BindingMismatch
            | Self::NetworkNotAllowed
            | Self::DpopProofMissing
            | Self::DpopProofInvalid
            | Self::DpopNonceRequired
            | Self::ReplayUnavailable => Step::Binding,
            Self::ScopeInsufficient(_) | Self::PurposeNotAllowed(_) => Step::Scopes,
            Self::StatusUnavailable
            | Self::StatusInvalid
            | Self::TokenRevoked
            | Self::TokenSuspended => Step::Status,
        }
    }

    /// Returns whether the verifier could not judge the token, because keys, status or used proofs
    /// were unavailable. A later attempt may succeed.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::ReplayUnavailable | Self::StatusUnavailable)
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

/// The steps of a check, in the order in which they run. Comments number them from 1 to 8.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// The credentials of the request; compact JWS, strict JSON, size and depth.
    Parse,
    /// `typ`, `alg`, `iss`.
    Policy,
    /// A key of the issuer, bound to `alg`.
    Key,
    /// The signature, with that key.
    Signature,
    /// Required claims, times, lifetime, audience.
    Claims,
    /// The key or the certificate that the token is bound to, and the networks that it names.
    Binding,
    /// The scope, the purposes and the data that the requirements demand.
    Scopes,
    /// The token's status: revocation and suspension.
    Status,
}

impl Step {
    /// All steps, in the order in which they run.
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

    /// Returns the stable name of the step.
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
