//! What is known about a token, as types: unverified, signed, verified.
//!
//! Each type is made in exactly one place and its field is private, so holding one is proof.

use edgepass_crypto::ed25519;
use edgepass_jose::PublicKey;
use edgepass_jose::{Algorithm, ClaimsSet, CompactJws, Jwk};

use crate::error::VerifyError;
use crate::policy::{ExpectedType, Policy};

/// A token that is well formed and claims to be what the policy expects. Nothing is verified.
pub struct UnverifiedToken {
    jws: CompactJws,
    claims: ClaimsSet,
    algorithm: Algorithm,
}

/// A token whose signature verified under a key of its issuer.
///
/// ```compile_fail
/// let forged = edgepass_verify::token::SignedToken(todo!()); // private field
/// ```
pub struct SignedToken(UnverifiedToken);

/// A token that passed every check up to its status.
///
/// ```compile_fail
/// let forged = edgepass_verify::token::Verified(todo!()); // private field
/// ```
pub struct Verified(SignedToken);

/// How a signature gets checked.
pub enum SignatureCheck {
    /// Checked here, in Rust.
    Done(Result<SignedToken, VerifyError>),
    /// The host's crypto does this algorithm: check the request, then answer [`Pending`].
    Host(SignatureRequest, Pending),
}

/// A token that waits for the host's word on its signature.
pub struct Pending(UnverifiedToken);

/// What the host's crypto is to check.
#[derive(Clone)]
pub struct SignatureRequest {
    /// The key, and through it the algorithm.
    pub key: Jwk,
    /// The signed bytes.
    pub signing_input: Vec<u8>,
    /// The signature, as JWS carries it: R‖S for ECDSA.
    pub signature: Vec<u8>,
}

impl UnverifiedToken {
    /// Steps 1 and 2: parse, then `typ`, `alg` and `iss`.
    ///
    /// # Errors
    ///
    /// [`VerifyError::TokenMalformed`], [`VerifyError::TypNotAccepted`],
    /// [`VerifyError::AlgNotAllowed`], and for `iss` [`VerifyError::ClaimMissing`],
    /// [`VerifyError::ClaimInvalid`] or [`VerifyError::IssuerMismatch`].
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, VerifyError> {
        let jws = CompactJws::parse(text, policy.max_token_bytes)
            .map_err(|_| VerifyError::TokenMalformed)?;
        let claims = ClaimsSet::new(jws.payload_object().map_err(|_| VerifyError::TokenMalformed)?);
        match &policy.typ {
            ExpectedType::Exactly(subtype) if !jws.header().has_type(subtype) => {
                return Err(VerifyError::TypNotAccepted);
            }
            ExpectedType::Exactly(_) | ExpectedType::Any => {}
        }
        let algorithm = allowed_algorithm(&jws, policy)?;
        // Code points, never normalised (RFC 7519 §2, StringOrURI).
        if claims.required_string("iss")? != policy.issuer {
            return Err(VerifyError::IssuerMismatch);
        }
        Ok(Self { jws, claims, algorithm })
    }

    /// The algorithm, allowed by the policy.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.jws.header().key_id()
    }

    /// Step 4: check the signature here, or ask the host to.
    pub fn check_signature(self, key: &Jwk) -> SignatureCheck {
        match check_signature(&self.jws, key) {
            Checked::Here(true) => SignatureCheck::Done(Ok(SignedToken(self))),
            Checked::Here(false) => SignatureCheck::Done(Err(VerifyError::SignatureInvalid)),
            Checked::ByHost(request) => SignatureCheck::Host(request, Pending(self)),
        }
    }
}

impl Pending {
    /// The host's answer. `false` is a refusal, never an error to retry.
    ///
    /// # Errors
    ///
    /// [`VerifyError::SignatureInvalid`].
    pub fn signature_checked(self, valid: bool) -> Result<SignedToken, VerifyError> {
        if valid { Ok(SignedToken(self.0)) } else { Err(VerifyError::SignatureInvalid) }
    }
}

impl SignedToken {
    /// The claims, signed by the issuer.
    pub fn claims(&self) -> &ClaimsSet {
        &self.0.claims
    }

    /// Steps 5 to 7 passed; only the check pipeline says so.
    pub(crate) fn assert_checked(self) -> Verified {
        Verified(self)
    }
}

impl Verified {
    /// The claims.
    pub fn claims(&self) -> &ClaimsSet {
        self.0.claims()
    }

    /// Back to the beginning: what was checked a while ago is checked again.
    pub(crate) fn into_unverified(self) -> UnverifiedToken {
        self.0.0
    }

    /// The claims, taken.
    pub(crate) fn into_claims(self) -> ClaimsSet {
        self.0.0.claims
    }
}

/// Where a signature was checked.
pub(crate) enum Checked {
    Here(bool),
    ByHost(SignatureRequest),
}

/// Check any JWS under a key that was found for it.
pub(crate) fn check_signature(jws: &CompactJws, key: &Jwk) -> Checked {
    match key.key() {
        PublicKey::Ed25519 { x } => {
            Checked::Here(ed25519::verify(x, jws.signing_input(), jws.signature()))
        }
        // RFC 7518 §3.4: exactly R‖S, 32 octets each. Hosts differ on other lengths.
        PublicKey::P256 { .. } if jws.signature().len() != 64 => Checked::Here(false),
        PublicKey::Rsa { n, .. } if jws.signature().len() != n.len() => Checked::Here(false),
        _ => Checked::ByHost(SignatureRequest {
            key: key.clone(),
            signing_input: jws.signing_input().to_vec(),
            signature: jws.signature().to_vec(),
        }),
    }
}

/// The header's algorithm, if the policy allows it.
pub(crate) fn allowed_algorithm(
    jws: &CompactJws,
    policy: &Policy,
) -> Result<Algorithm, VerifyError> {
    Algorithm::from_name(jws.header().algorithm())
        .filter(|algorithm| policy.algorithms.contains(algorithm))
        .ok_or(VerifyError::AlgNotAllowed)
}
