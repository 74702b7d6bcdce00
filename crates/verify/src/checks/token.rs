//! The states of a token as types: unverified, signed, verified.
//!
//! Only this module makes values of these types, since their fields are private. So a token of such
//! a type is in that state.

use std::borrow::Borrow;

use edgepass_crypto::prepared::PreparedKeys;
use edgepass_jose::claims::ClaimError;
use edgepass_jose::{Algorithm, ClaimsSet, CompactJws, Jwk};

use crate::error::VerifyError;
use crate::host_ed25519::HostEd25519;
use crate::policy::{IssuerIndex, IssuerName, Policy};
use crate::signature::{self, SignatureRequest, TableCheck, TableReport};
use crate::time::UnixMillis;

/// A well-formed token whose `typ`, `alg` and `iss` fit a policy. Its signature is not verified.
pub struct UnverifiedToken {
    parsed: Parsed,
    /// The key that verified the same text before, if any.
    verified_by: Option<Jwk>,
    /// Whether the token was found among the remembered ones.
    found: bool,
}

/// The parsed parts of a token. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Parsed {
    jws: CompactJws,
    claims: ClaimsSet,
    algorithm: Algorithm,
    issuer: IssuerIndex,
}

/// A token whose signature was verified with a key of its issuer.
///
/// ```compile_fail
/// let forged = edgepass_verify::checks::token::SignedToken(todo!()); // private field
/// ```
pub struct SignedToken {
    parsed: Parsed,
    key: Jwk,
    /// Whether the same key verified the same text before.
    remembered: bool,
    /// Whether it was found among the remembered tokens, with the same key.
    found: bool,
}

/// A token that passed steps 1 to 7: all but its status.
///
/// ```compile_fail
/// let forged = edgepass_verify::checks::token::Verified(todo!()); // private field
/// ```
pub struct Verified(SignedToken);

/// The result of a signature check, or the request to the host.
pub(crate) enum SignatureCheck {
    /// Valid: checked by this crate, or checked before with the same key.
    Done(SignedToken),
    /// Not valid with this key.
    Invalid(UnverifiedToken),
    /// Accepted with tables. The reference path is to check the request too, after the response.
    Recheck(SignedToken, SignatureRequest),
    /// To be checked by the host's crypto. Its answer goes to [`Pending::signature_checked`].
    Host(SignatureRequest, Pending),
}

/// A token that waits for the host to check its signature.
pub(crate) struct Pending {
    parsed: Parsed,
    key: Jwk,
    report: TableReport,
}

impl UnverifiedToken {
    /// Steps 1 and 2: parses the token, then checks `typ`, `alg` and `iss` by the policy of the
    /// issuer that the token names. No other issuer's policy is tried.
    ///
    /// # Errors
    ///
    /// [`VerifyError::TokenMalformed`], [`VerifyError::TokenPadded`], [`VerifyError::TypNotAccepted`],
    /// [`VerifyError::AlgNotAllowed`], and for `iss` [`VerifyError::ClaimMissing`],
    /// [`VerifyError::ClaimInvalid`] or [`VerifyError::IssuerMismatch`].
    pub(crate) fn parse<P: Borrow<Policy>>(
        text: &str,
        policies: &[P],
    ) -> Result<Self, VerifyError> {
        const MALFORMED: VerifyError = VerifyError::TokenMalformed;
        if text.trim_ascii().len() != text.len() {
            return Err(VerifyError::TokenPadded);
        }
        let longest = policies.iter().map(|policy| policy.borrow().max_token_bytes).max();
        let mut jws =
            CompactJws::parse(text, longest.unwrap_or_default()).map_err(|_| MALFORMED)?;
        let claims = jws.take_claims().map_err(|_| MALFORMED)?;
        let named = claims.string("iss").ok().flatten();
        let of = |is_template: bool| {
            policies.iter().position(|policy| {
                let issuer = &policy.borrow().issuer;
                issuer.is_template() == is_template
                    && named.is_some_and(|named| issuer.is(named, &claims))
            })
        };
        // A policy for one tenant goes before one for a template.
        let issuer = of(false).or_else(|| of(true));
        // For an unknown issuer any policy may accept `typ`, and any may allow `alg`. Then `iss` is
        // refused.
        let judging = match issuer.and_then(|issuer| policies.get(issuer..=issuer)) {
            Some([own]) if text.len() > own.borrow().max_token_bytes => return Err(MALFORMED),
            Some(own) => own,
            None => policies,
        };
        if !judging.iter().any(|policy| policy.borrow().accepts_type(&jws)) {
            return Err(VerifyError::TypNotAccepted);
        }
        let algorithm = judging.iter().find_map(|policy| policy.borrow().allowed_algorithm(&jws));
        let algorithm = algorithm.ok_or(VerifyError::AlgNotAllowed)?;
        claims.string("iss")?.ok_or_else(|| ClaimError::missing("iss"))?;
        let issuer = issuer.map(IssuerIndex).ok_or(VerifyError::IssuerMismatch)?;
        Ok(Self::unknown(Parsed { jws, claims, algorithm, issuer }))
    }

    /// A token that no key is known to have verified.
    fn unknown(parsed: Parsed) -> Self {
        Self { parsed, verified_by: None, found: false }
    }

    /// The algorithm of the token. The policy allows it.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.parsed.algorithm
    }

    /// The position of the token's issuer in the verifier.
    pub(crate) fn issuer(&self) -> IssuerIndex {
        self.parsed.issuer
    }

    /// Whether `iss` equals `issuer`.
    pub(crate) fn names(&self, issuer: &str) -> bool {
        self.named_issuer() == Some(issuer)
    }

    /// Whether `iss` is this issuer.
    pub(crate) fn is_of(&self, issuer: &IssuerName) -> bool {
        self.named_issuer().is_some_and(|named| issuer.is(named, &self.parsed.claims))
    }

    /// The claim `iss`, if it is a string.
    pub(crate) fn named_issuer(&self) -> Option<&str> {
        self.parsed.claims.string("iss").ok().flatten()
    }

    /// Whether the token is known to have the signature of another key.
    pub(crate) fn is_known_by_another_than(&self, key: &Jwk) -> bool {
        self.verified_by.as_ref().is_some_and(|by| by != key)
    }

    /// The header parameter `kid`.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.parsed.jws.header().key_id()
    }

    /// Step 4: checks the signature, or returns a request to the host. A signature that the same
    /// key verified before is not checked again.
    pub(crate) fn check_signature(
        self,
        key: &Jwk,
        prepared: &PreparedKeys,
        host: &mut HostEd25519,
        now: UnixMillis,
    ) -> SignatureCheck {
        let Self { parsed, verified_by, found } = self;
        let remembered = verified_by.is_some_and(|by| by == *key);
        let signed = |parsed, remembered| SignedToken {
            parsed,
            key: key.clone(),
            remembered,
            found: remembered && found,
        };
        if remembered {
            return SignatureCheck::Done(signed(parsed, true));
        }
        if key.algorithm() == Algorithm::Ed25519 {
            host.needed();
        }
        match signature::check_with_tables(&parsed.jws, key, prepared, *host, now) {
            TableCheck::Here { valid: false, .. } => {
                SignatureCheck::Invalid(UnverifiedToken::unknown(parsed))
            }
            TableCheck::Here { recheck: None, .. } => SignatureCheck::Done(signed(parsed, false)),
            TableCheck::Here { recheck: Some(request), .. } => {
                SignatureCheck::Recheck(signed(parsed, false), request)
            }
            TableCheck::ByHost(request, report) => {
                SignatureCheck::Host(request, Pending { parsed, key: key.clone(), report })
            }
        }
    }
}

impl Pending {
    /// Takes the host's answer. If the signature is not valid with this key, gives the token back.
    pub(crate) fn signature_checked(self, valid: bool) -> Result<SignedToken, UnverifiedToken> {
        self.report.record(valid);
        if valid {
            Ok(SignedToken { parsed: self.parsed, key: self.key, remembered: false, found: false })
        } else {
            Err(UnverifiedToken::unknown(self.parsed))
        }
    }
}

impl SignedToken {
    /// The claims that the issuer signed.
    pub(crate) fn claims(&self) -> &ClaimsSet {
        &self.parsed.claims
    }

    /// See [`UnverifiedToken::issuer`].
    pub(crate) fn issuer(&self) -> IssuerIndex {
        self.parsed.issuer
    }

    /// The text of the token.
    pub(crate) fn text(&self) -> &str {
        self.parsed.jws.text()
    }

    /// Marks steps 5 to 7 as passed. Only the end of step 7 may call this.
    pub(crate) fn assert_checked(self) -> Verified {
        Verified(self)
    }

    /// Whether the token was found among the remembered ones and its key is still the same.
    pub(crate) fn was_found(&self) -> bool {
        self.found
    }

    /// Returns the token to remember, unless it is remembered already.
    pub(crate) fn to_remember(&self) -> Option<RememberedToken> {
        let Self { parsed, key, remembered, .. } = self;
        (!remembered).then(|| RememberedToken { parsed: parsed.clone(), key: key.clone() })
    }
}

/// A verified token, and the key that verified it.
pub(crate) struct RememberedToken {
    parsed: Parsed,
    key: Jwk,
}

impl RememberedToken {
    /// The text of the token.
    pub(crate) fn text(&self) -> &str {
        self.parsed.jws.text()
    }

    /// The approximate size of the token in bytes, without its slot in the hash map.
    pub(crate) fn bytes(&self) -> usize {
        let Parsed { jws, claims, .. } = &self.parsed;
        jws.bytes().saturating_add(claims.bytes()).saturating_add(size_of::<Self>())
    }

    /// Returns the token for a new check, which begins with step 3. Its signature is not checked
    /// again if the key is the same.
    pub(crate) fn to_unverified(&self) -> UnverifiedToken {
        let (parsed, key) = (self.parsed.clone(), self.key.clone());
        UnverifiedToken { parsed, verified_by: Some(key), found: true }
    }
}

impl Verified {
    /// See [`UnverifiedToken::issuer`].
    pub(crate) fn issuer(&self) -> IssuerIndex {
        self.0.issuer()
    }

    /// The key that verified the token.
    pub(crate) fn key(&self) -> &Jwk {
        &self.0.key
    }

    /// Returns the token for step 3, because time has passed since that step.
    pub(crate) fn into_unverified(self) -> UnverifiedToken {
        let SignedToken { parsed, key, .. } = self.0;
        UnverifiedToken { parsed, verified_by: Some(key), found: false }
    }

    pub(crate) fn into_claims(self) -> ClaimsSet {
        self.0.claims().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyConfig;
    use edgepass_jose::base64url;
    use serde_json::json;

    fn policy(issuer: &str, extra: serde_json::Value) -> Policy {
        let mut config = json!({"issuer": issuer, "audience": "api"});
        for (name, value) in extra.as_object().unwrap() {
            config[name] = value.clone();
        }
        serde_json::from_value::<PolicyConfig>(config).unwrap().try_into().unwrap()
    }

    fn token(issuer: &str, typ: &str, alg: &str) -> String {
        let encode = |value: serde_json::Value| base64url::encode(value.to_string().as_bytes());
        format!(
            "{}.{}.AAAA",
            encode(json!({"alg": alg, "typ": typ})),
            encode(json!({"iss": issuer}))
        )
    }

    #[test]
    fn a_token_is_judged_by_the_policy_of_the_issuer_it_names() {
        use VerifyError::*;
        let a = policy("https://a.example", json!({"algorithms": ["ES256"]}));
        let jwt = json!({"profile": "jwt", "typ": "JWT", "status": {"mode": "ignore"},
            "algorithms": ["RS256"]});
        let b = policy("https://b.example", jwt);
        let parse = |issuer, typ, alg| {
            UnverifiedToken::parse(&token(issuer, typ, alg), &[&a, &b]).map(|token| token.issuer())
        };
        assert_eq!(parse("https://a.example", "at+jwt", "ES256"), Ok(IssuerIndex(0)));
        assert_eq!(parse("https://b.example", "JWT", "RS256"), Ok(IssuerIndex(1)));
        assert_eq!(parse("https://a.example", "JWT", "ES256"), Err(TypNotAccepted));
        assert_eq!(parse("https://a.example", "at+jwt", "RS256"), Err(AlgNotAllowed));
        assert_eq!(parse("https://b.example", "JWT", "ES256"), Err(AlgNotAllowed));
        assert_eq!(parse("https://c.example", "JWT", "ES256"), Err(IssuerMismatch));
        assert_eq!(parse("https://c.example", "text", "ES256"), Err(TypNotAccepted));
        assert_eq!(parse("https://c.example", "JWT", "PS256"), Err(AlgNotAllowed));
    }

    #[test]
    fn each_issuer_has_its_own_cap() {
        let text = token("https://b.example", "at+jwt", "ES256");
        let a = policy("https://a.example", json!({}));
        for (cap, accepted) in [(text.len(), true), (text.len() - 1, false)] {
            let b = policy("https://b.example", json!({"max_token_bytes": cap}));
            let parsed = UnverifiedToken::parse(&text, &[&a, &b]);
            assert_eq!(parsed.err(), (!accepted).then_some(VerifyError::TokenMalformed));
        }
    }
}
