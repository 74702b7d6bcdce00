//! Checking a JWS signature: here, or by the host's crypto.

use edgepass_crypto::ed25519;
use edgepass_crypto::prepared::PreparedKeys;
use edgepass_jose::{CompactJws, Jwk, PublicKey};

use crate::time::UnixMillis;

/// Where a signature is checked.
pub enum Checked {
    /// It was, here in Rust.
    Here(bool),
    /// The host's crypto does this algorithm.
    ByHost(SignatureRequest),
}

/// What the host's crypto is to check.
#[derive(Clone)]
pub struct SignatureRequest {
    /// The key, and through it the algorithm.
    pub key: Jwk,
    signed: SignedBytes,
}

/// SignedBytes bytes with their signature, as JWS carries it: R‖S for ECDSA.
#[derive(Clone)]
pub enum SignedBytes {
    /// Those of a JWS.
    Jws(CompactJws),
    /// Any.
    Bytes {
        /// What was signed.
        input: Vec<u8>,
        /// The signature.
        signature: Vec<u8>,
    },
}

impl SignedBytes {
    fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Jws(jws) => (jws.signing_input(), jws.signature()),
            Self::Bytes { input, signature } => (input, signature),
        }
    }
}

impl From<&CompactJws> for SignedBytes {
    fn from(jws: &CompactJws) -> Self {
        Self::Jws(jws.clone())
    }
}

impl SignatureRequest {
    /// The signed bytes.
    pub fn signing_input(&self) -> &[u8] {
        self.signed.parts().0
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        self.signed.parts().1
    }

    /// Check it here, if Rust does the algorithm.
    pub(crate) fn check(&self) -> Checked {
        check(&self.key, self.signed.clone())
    }
}

/// Check a signature by the one algorithm that `key` is bound to.
///
/// A signature of the wrong length is refused here, since hosts differ on it.
///
/// Source: [RFC 7518 §3.3 to §3.5](https://www.rfc-editor.org/rfc/rfc7518#section-3.3), RFC 8037
/// §3.1.
pub fn check(key: &Jwk, signed: impl Into<SignedBytes>) -> Checked {
    let signed = signed.into();
    let (input, signature) = signed.parts();
    let length = match key.key() {
        PublicKey::Ed25519 { x } => {
            return Checked::Here(ed25519::verify(x, input, signature));
        }
        PublicKey::P256 { .. } => 64,
        PublicKey::P384 { .. } => 96,
        PublicKey::Rsa { n, .. } => n.len(),
        _ => return Checked::Here(false),
    };
    if signature.len() != length {
        return Checked::Here(false);
    }
    Checked::ByHost(SignatureRequest { key: key.clone(), signed })
}

/// Where the signature of a key that checks many is checked.
pub(crate) enum TableCheck {
    /// It was, here in Rust. With `recheck`, the reference path shall see it, too, when there is time.
    Here { valid: bool, recheck: Option<SignatureRequest> },
    /// The host's crypto does it; its answer is for the report, too.
    ByHost(SignatureRequest, TableReport),
}

/// What a host's answer says about a key and its tables.
pub(crate) struct TableReport {
    prepared: PreparedKeys,
    key: Jwk,
    /// Whether tables refused what the host is asked about.
    refused: bool,
    now: UnixMillis,
}

impl TableReport {
    /// The host's answer. Where it differs from what tables said, they are not used any more.
    pub(crate) fn record(self, valid: bool) {
        match (valid, self.refused) {
            (true, true) => self.prepared.disagree(self.key.key()),
            (true, false) => drop(self.prepared.accepted(self.key.key(), self.now.0)),
            (false, _) => {}
        }
    }
}

/// As [`check`], with tables once the key has earned them.
pub(crate) fn check_with_tables(
    jws: &CompactJws,
    key: &Jwk,
    prepared: &PreparedKeys,
    now: UnixMillis,
) -> TableCheck {
    let mut refused = false;
    if let Some(tables) = prepared.tables(key.key()) {
        if tables.verify(jws.signing_input(), jws.signature()) {
            let recheck = prepared
                .accepted(key.key(), now.0)
                .then(|| SignatureRequest { key: key.clone(), signed: jws.into() });
            return TableCheck::Here { valid: true, recheck };
        }
        if !prepared.confirms_refusal(key.key(), now.0) {
            return TableCheck::Here { valid: false, recheck: None };
        }
        refused = true;
    }
    let report = TableReport { prepared: prepared.clone(), key: key.clone(), refused, now };
    match check(key, jws) {
        Checked::Here(valid) => {
            report.record(valid);
            TableCheck::Here { valid, recheck: None }
        }
        Checked::ByHost(request) => TableCheck::ByHost(request, report),
    }
}
