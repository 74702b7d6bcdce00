//! DPoP proofs of token requests.

use edgepass_verify::checks::dpop::nonce::{NonceRule, NonceSecrets, SecretTooShort};
use edgepass_verify::checks::dpop::token_request;
use edgepass_verify::native::check_signature;
use edgepass_verify::sender::Endpoint;
use edgepass_verify::{UnixMillis, VerifyError};

use crate::issue::Issuer;
use crate::seal::MasterKey;
use crate::used_id::{IdKind, UsedId};

/// The rules for proofs.
pub struct Proofs(NonceRule);

/// A proof of possession of a key.
pub struct Proven {
    /// The thumbprint of the key (RFC 7638).
    pub thumbprint: String,
    /// The use of the proof, which must be the first.
    pub used: UsedId,
}

impl Proofs {
    /// The rules of an issuer. With `nonce`, a proof must contain a nonce that the issuer gave out in
    /// the last ten minutes. All processes with the same master key accept it.
    pub(crate) fn new(master: &MasterKey, nonce: bool) -> Result<Self, SecretTooShort> {
        if !nonce {
            return Ok(Self(NonceRule::NotRequired));
        }
        let secrets = NonceSecrets::new(master.derive("edgepass dpop nonce"), None)?;
        Ok(Self(NonceRule::Signed(secrets)))
    }
}

impl<S> Issuer<S> {
    /// Checks the proof of a request to `url`.
    ///
    /// # Errors
    ///
    /// [`VerifyError::DpopProofInvalid`]; [`VerifyError::DpopNonceRequired`]: send
    /// [`Issuer::nonce`].
    pub fn proven(
        &self,
        proof: &str,
        method: &str,
        url: &str,
        now: UnixMillis,
    ) -> Result<Proven, VerifyError> {
        let policy = self.own_policy(self.issuer()).map_err(|_| VerifyError::DpopProofInvalid)?;
        let endpoint = Endpoint { method: method.to_owned(), url: url.to_owned() };
        let Proofs(rule) = self.proofs();
        let used = token_request(proof, &endpoint, &policy, rule, now, check_signature)?;
        let until = used.until.numeric_date().seconds();
        let id = UsedId { kind: IdKind::Proof, digest: used.id, until };
        Ok(Proven { thumbprint: used.key_thumbprint, used: id })
    }

    /// The nonce for proofs of requests to `url`. `None`: none is required.
    pub fn nonce(&self, url: &str, now: UnixMillis) -> Option<String> {
        match &self.proofs().0 {
            NonceRule::Signed(secrets) => {
                Some(secrets.issue(&edgepass_verify::url::origin(url)?, now))
            }
            NonceRule::NotRequired | NonceRule::Exactly(_) => None,
        }
    }
}
