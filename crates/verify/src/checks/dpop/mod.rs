//! DPoP: proof that the sender holds the key that the token is bound to.
//!
//! Source: [RFC 9449](https://www.rfc-editor.org/rfc/rfc9449).

pub mod nonce;
pub mod replay;

use edgepass_crypto::is_sound;
use edgepass_jose::{ClaimsSet, CompactJws, Jwk, base64url};
use sha2::{Digest, Sha256};

use self::nonce::NonceRule;
use self::replay::ProofUse;
use crate::error::VerifyError;
use crate::policy::Policy;
use crate::sender::{Endpoint, Sender};
use crate::signature::{self, Checked, SignatureRequest};
use crate::time::UnixMillis;
use crate::url;

/// A proof whose form, method and URL are correct. Its signature is checked next.
pub(crate) struct Proof {
    jws: CompactJws,
    claims: ClaimsSet,
    key: Jwk,
    /// `cnf.jkt` of the token.
    thumbprint: String,
    /// The URL of the request, in normal form without query and fragment.
    endpoint: String,
    origin: String,
}

/// The media subtype in a proof's `typ`.
const PROOF_TYPE: &str = "dpop+jwt";
/// The longest accepted proof, in bytes. An RSA key of 8192 bits and its signature take 3 KiB.
const MAX_PROOF_BYTES: usize = 8 * 1024;

impl Proof {
    /// Runs checks 1 to 5 and 7 to 9 of RFC 9449 §4.3, which need neither time nor token.
    ///
    /// # Errors
    ///
    /// [`VerifyError::DpopProofMissing`], [`VerifyError::DpopProofInvalid`].
    /// [`VerifyError::BindingMismatch`] if the host gave no method and URL, so that no proof can
    /// be checked.
    pub(crate) fn open(
        sender: &Sender,
        thumbprint: String,
        policy: &Policy,
    ) -> Result<Self, VerifyError> {
        let text = sender.proof.as_deref().ok_or(VerifyError::DpopProofMissing)?;
        let endpoint = sender.endpoint.as_ref().ok_or(VerifyError::BindingMismatch)?;
        Self::read(text, thumbprint, endpoint, policy).ok_or(VerifyError::DpopProofInvalid)
    }

    fn read(text: &str, thumbprint: String, requested: &Endpoint, policy: &Policy) -> Option<Self> {
        // 1 and 2: one field with one JWT. Several fields are joined by a comma, which no JWT has.
        let jws = CompactJws::parse(text, MAX_PROOF_BYTES).ok()?;
        let claims = jws.claims().ok()?;
        if !jws.header().has_type(PROOF_TYPE) {
            return None; // 4
        }
        // 5 and 7. A key that is malformed, not sound or not public is refused.
        let algorithm = edgepass_jose::Algorithm::from_name(jws.header().algorithm())
            .filter(|algorithm| policy.dpop.algorithms.contains(algorithm))?;
        let key = Jwk::from_value(jws.header().members().get("jwk")?, &[algorithm]).ok()?;
        if !is_sound(key.key()) {
            return None;
        }
        // 3, 8 and 9.
        claims.required_string("jti").ok()?;
        claims.issued_at().ok()??;
        if claims.required_string("htm").ok()? != requested.method {
            return None;
        }
        let endpoint = url::target_uri(&requested.url)?;
        if url::target_uri(claims.required_string("htu").ok()?)? != endpoint {
            return None;
        }
        let origin = url::origin(&requested.url)?;
        Some(Self { jws, claims, key, thumbprint, endpoint, origin })
    }

    /// Runs check 6: the proof's signature.
    pub(crate) fn check_signature(&self) -> Checked {
        signature::check(&self.key, &self.jws)
    }

    /// Runs checks 10 to 12 on a proof whose signature is valid. Returns this use of the proof, for
    /// the store of used proofs.
    ///
    /// # Errors
    ///
    /// [`VerifyError::DpopNonceRequired`] comes before the check of `iat`: a client with a wrong
    /// clock then learns the nonce, and with a nonce `iat` is not checked. Then
    /// [`VerifyError::DpopProofInvalid`], and last [`VerifyError::BindingMismatch`] for a proof by
    /// another key.
    pub(crate) fn check_claims(
        &self,
        token: &str,
        policy: &Policy,
        nonces: &NonceRule,
        now: UnixMillis,
    ) -> Result<ProofUse, VerifyError> {
        const INVALID: VerifyError = VerifyError::DpopProofInvalid;
        let until = self.check_time(policy, nonces, now)?;
        let hash = base64url::encode(&Sha256::digest(token.as_bytes()));
        if self.claims.required_string("ath").map_err(|_| INVALID)? != hash {
            return Err(INVALID);
        }
        if self.key.thumbprint() != self.thumbprint {
            return Err(VerifyError::BindingMismatch);
        }
        self.used(until)
    }

    /// Runs checks 10 and 11. Returns the time from which on the proof is no longer accepted.
    fn check_time(
        &self,
        policy: &Policy,
        nonces: &NonceRule,
        now: UnixMillis,
    ) -> Result<UnixMillis, VerifyError> {
        const INVALID: VerifyError = VerifyError::DpopProofInvalid;
        let nonce = self.claims.string("nonce").map_err(|_| INVALID)?;
        let date = now.numeric_date();
        let window = match nonces.check(nonce, &self.origin, now) {
            nonce::NonceCheck::Required => return Err(VerifyError::DpopNonceRequired),
            nonce::NonceCheck::Current { usable_for } => usable_for,
            nonce::NonceCheck::NotRequired => {
                let issued_at = self.claims.issued_at().map_err(|_| INVALID)?.ok_or(INVALID)?;
                let early = issued_at > date.plus(policy.leeway);
                if early || date.since(issued_at) > policy.dpop.max_age {
                    return Err(INVALID);
                }
                policy.dpop.max_age
            }
        };
        // The proof is accepted until the end of the second `last`.
        let last = date.plus(window).plus(policy.leeway);
        Ok(UnixMillis::from_seconds(last.plus(1).seconds()))
    }

    fn used(&self, until: UnixMillis) -> Result<ProofUse, VerifyError> {
        let jwt_id = self.claims.required_string("jti");
        let jwt_id = jwt_id.map_err(|_| VerifyError::DpopProofInvalid)?;
        Ok(ProofUse::new(jwt_id, &self.endpoint, &self.thumbprint, until))
    }
}

/// Checks the proof of a token request, to whose key the token is to be bound. `is_valid` checks
/// signatures that this crate does not. Returns the use of the proof, with the key's thumbprint.
///
/// # Errors
///
/// [`VerifyError::DpopProofInvalid`], [`VerifyError::DpopNonceRequired`].
///
/// Source: [RFC 9449 §5](https://www.rfc-editor.org/rfc/rfc9449#section-5).
pub fn token_request(
    proof: &str,
    endpoint: &Endpoint,
    policy: &Policy,
    nonces: &NonceRule,
    now: UnixMillis,
    is_valid: impl Fn(&SignatureRequest) -> bool,
) -> Result<ProofUse, VerifyError> {
    const INVALID: VerifyError = VerifyError::DpopProofInvalid;
    let mut proof = Proof::read(proof, String::new(), endpoint, policy).ok_or(INVALID)?;
    proof.thumbprint = proof.key.thumbprint();
    let signed = match proof.check_signature() {
        Checked::Here(valid) => valid,
        Checked::ByHost(request) => is_valid(&request),
    };
    if !signed {
        return Err(INVALID);
    }
    let until = proof.check_time(policy, nonces, now)?;
    proof.used(until)
}

/// The names of the algorithms for proofs, separated by spaces, for challenges.
pub(crate) fn algorithm_names(policy: &Policy) -> String {
    let mut names: Vec<&str> = Vec::new();
    for algorithm in &policy.dpop.algorithms {
        names.push(algorithm.name());
        // Both names of this algorithm: many clients know only the older one, `EdDSA`.
        if algorithm.name() == "Ed25519" {
            names.push("EdDSA");
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{OneOrMany, PolicyConfig};

    #[test]
    fn clients_are_told_every_name_of_an_algorithm() {
        let mut config = PolicyConfig::new("https://i.example".into(), OneOrMany::One("a".into()));
        config.dpop.algorithms.push("Ed25519".into());
        let policy = Policy::try_from(config).unwrap();
        assert_eq!(algorithm_names(&policy), "Ed25519 EdDSA ES256 RS256");
    }
}
