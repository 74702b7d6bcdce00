//! The tokens in which an issuer publishes statuses: parsing, the key, the signature.

use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{Algorithm, ClaimsSet, CompactJws, Jwk, JwkSet};

use crate::documents::refused::Refused;
use crate::signature::{self, Checked, SignatureRequest};

/// The rules for accepting a published token.
#[derive(Clone, Copy, Debug)]
pub struct ListRules<'a> {
    /// The algorithms that are allowed in `alg`.
    pub algorithms: &'a [Algorithm],
    /// The longest accepted token, in bytes.
    pub max_token_bytes: usize,
    /// The largest accepted list after inflation, in bytes.
    pub max_list_bytes: usize,
    /// The maximum age of a list by its `iat`, in seconds. `None`: only `exp` bounds the age.
    pub max_age: Option<u64>,
}

/// A published token whose key was found. Its signature may not have been checked.
pub struct SignedDocument {
    jws: CompactJws,
    key: Jwk,
}

impl SignedDocument {
    /// Parses a token of this `typ` and finds its key in `keys`, by `kid` and `alg`.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §8.3, the steps before the signature.
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`], also for a token that is too long; [`Refused::Type`];
    /// [`Refused::Key`] for an unknown key or an algorithm that is not allowed.
    pub fn parse(
        bytes: &[u8],
        typ: &str,
        keys: &JwkSet,
        rules: &ListRules<'_>,
    ) -> Result<Self, Refused> {
        // A document that was written to a file may end in a line break.
        let text = std::str::from_utf8(bytes.trim_ascii_end());
        let text = text.map_err(|_| Refused::Malformed)?;
        let jws = CompactJws::parse(text, rules.max_token_bytes);
        let jws = jws.map_err(|_| Refused::Malformed)?;
        if !jws.header().has_type(typ) {
            return Err(Refused::Type);
        }
        let algorithm = Algorithm::from_name(jws.header().algorithm());
        let algorithm = algorithm.filter(|own| rules.algorithms.contains(own));
        match keys.find(jws.header().key_id(), algorithm.ok_or(Refused::Key)?) {
            KeyMatch::One(key) => Ok(Self { key: key.clone(), jws }),
            // One key, published for several tenants.
            KeyMatch::Two(key, other) if key.key() == other.key() => {
                Ok(Self { key: key.clone(), jws })
            }
            // A document is not tried with several keys.
            KeyMatch::Two(..) | KeyMatch::Unfit | KeyMatch::None => Err(Refused::Key),
        }
    }

    /// Returns the key that was found for the token's header.
    pub fn key(&self) -> &Jwk {
        &self.key
    }

    /// Checks the token's signature, or returns the request to the host.
    pub fn check_signature(&self) -> Checked {
        signature::check(&self.key, &self.jws)
    }

    /// Returns the claims of the token. Use them only after its signature was found valid.
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`].
    pub(crate) fn claims(&self) -> Result<ClaimsSet, Refused> {
        self.jws.claims().map_err(|_| Refused::Malformed)
    }

    /// Parses a token of this `typ` and returns its claims if its signature is valid, by the host's crypto
    /// if need be.
    ///
    /// # Errors
    ///
    /// As [`SignedDocument::parse`]. [`Refused::Signature`].
    pub(crate) fn read(
        bytes: &[u8],
        typ: &str,
        keys: &JwkSet,
        rules: &ListRules<'_>,
        host: impl FnOnce(&SignatureRequest) -> bool,
    ) -> Result<ClaimsSet, Refused> {
        let token = Self::parse(bytes, typ, keys, rules)?;
        let is_valid = match token.check_signature() {
            Checked::Here(valid) => valid,
            Checked::ByHost(request) => host(&request),
        };
        if is_valid { token.claims() } else { Err(Refused::Signature) }
    }
}
