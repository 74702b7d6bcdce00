//! Step 6: whether the sender is the one that the token is bound to.

use edgepass_jose::ClaimsSet;
use edgepass_jose::claims::ClaimError;

use crate::error::VerifyError;
use crate::sender::{Presentation, Sender};

/// The binding of a token: its claim `cnf`.
///
/// Source: [RFC 7800 §3.1](https://www.rfc-editor.org/rfc/rfc7800#section-3.1). There, unknown
/// members are ignored. Here, a `cnf` without a known member is refused, because the token would
/// otherwise pass for a bearer token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Confirmation {
    /// No `cnf`: a bearer token.
    None,
    /// A `cnf` without a known member. This version cannot check it.
    NotUnderstood,
    /// The token is bound to the key and the certificate, as far as given. At least one is.
    To {
        /// `jkt`: the thumbprint of a key (RFC 9449 §6.1).
        key: Option<String>,
        /// `x5t#S256`: the thumbprint of a certificate (RFC 8705 §3.1).
        certificate: Option<String>,
    },
}

/// The proof that remains to be checked once the presentation fits the token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Bound {
    /// No proof is to be checked.
    Settled,
    /// A DPoP proof by the key with this thumbprint.
    ToKey(String),
}

impl Confirmation {
    /// Reads the claim `cnf`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] if `cnf` is no object or a known member is no string.
    pub(crate) fn of(claims: &ClaimsSet) -> Result<Self, ClaimError> {
        let invalid = || ClaimError::invalid("cnf");
        let members = match claims.get("cnf") {
            None => return Ok(Self::None),
            Some(members) if members.is_object() => members,
            Some(_) => return Err(invalid()),
        };
        let text = |name| match members.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(str::to_owned).map(Some).ok_or_else(invalid),
        };
        match (text("jkt")?, text("x5t#S256")?) {
            (None, None) => Ok(Self::NotUnderstood),
            (key, certificate) => Ok(Self::To { key, certificate }),
        }
    }

    /// Compares scheme and certificate with the binding. Does not check the proof.
    ///
    /// # Errors
    ///
    /// [`VerifyError::BindingMismatch`] if they do not fit, or `cnf` has no known member.
    pub(crate) fn check(&self, sender: &Sender) -> Result<Bound, VerifyError> {
        let (key, certificate) = match self {
            Self::None => (None, None),
            Self::NotUnderstood => return Err(VerifyError::BindingMismatch),
            Self::To { key, certificate } => (key.as_deref(), certificate.as_deref()),
        };
        let shown = sender.certificate.as_ref().map(|thumbprint| thumbprint.as_str());
        if certificate.is_some() && certificate != shown {
            return Err(VerifyError::BindingMismatch);
        }
        match (key, sender.presented_as) {
            (None, Presentation::Bearer) => Ok(Bound::Settled),
            (Some(key), Presentation::Dpop) => Ok(Bound::ToKey(key.to_owned())),
            // RFC 9449 §7.2: a key-bound token received as Bearer MUST be refused.
            (Some(_), Presentation::Bearer) | (None, Presentation::Dpop) => {
                Err(VerifyError::BindingMismatch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::CertificateThumbprint;

    fn confirmation(cnf: &str) -> Result<Confirmation, ClaimError> {
        let text = format!("{{\"cnf\":{cnf}}}");
        Confirmation::of(&ClaimsSet::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_token_is_presented_as_it_is_bound() {
        use Presentation::*;
        let certificate = CertificateThumbprint::of_der(b"der");
        let x5t = certificate.as_str();
        let (jkt, x5t, both, foreign) = (
            r#"{"jkt":"k"}"#,
            format!(r#"{{"x5t#S256":"{x5t}"}}"#),
            format!(r#"{{"jkt":"k","x5t#S256":"{x5t}","new":1}}"#),
            r#"{"x5t#S256":"other"}"#,
        );
        let to_key = Ok(Bound::ToKey("k".into()));
        let mismatch = Err(VerifyError::BindingMismatch);
        for (cnf, presented_as, shown, expected) in [
            (jkt, Dpop, false, &to_key),
            (jkt, Bearer, false, &mismatch),
            (&x5t, Bearer, true, &Ok(Bound::Settled)),
            (&x5t, Bearer, false, &mismatch),
            (&x5t, Dpop, true, &mismatch),
            (&both, Dpop, true, &to_key),
            (&both, Dpop, false, &mismatch),
            (&both, Bearer, true, &mismatch),
            (foreign, Bearer, true, &mismatch),
            (r#"{"kid":"k"}"#, Bearer, true, &mismatch),
            (r#"{"kid":"k"}"#, Dpop, true, &mismatch),
            ("{}", Bearer, true, &mismatch),
        ] {
            let certificate = shown.then(|| certificate.clone());
            let sender = Sender { presented_as, certificate, ..Sender::default() };
            let found = confirmation(cnf).unwrap().check(&sender);
            assert_eq!(&found, expected, "{cnf} {presented_as:?} {shown}");
        }
        let unbound =
            |presented_as| Confirmation::None.check(&Sender { presented_as, ..Sender::default() });
        assert_eq!(unbound(Bearer), Ok(Bound::Settled));
        assert_eq!(unbound(Dpop), mismatch);
    }

    #[test]
    fn a_malformed_cnf_is_not_an_absent_one() {
        for cnf in ["null", "\"k\"", "[]", "1", r#"{"jkt":1}"#, r#"{"x5t#S256":null}"#] {
            assert_eq!(confirmation(cnf), Err(ClaimError::invalid("cnf")), "{cnf}");
        }
    }
}
