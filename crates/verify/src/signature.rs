//! Signature checks, in this crate or by the host's crypto.

use edgepass_crypto::ed25519;
use edgepass_crypto::prepared::PreparedKeys;
use edgepass_jose::{CompactJws, Jwk, PublicKey};

use crate::host_ed25519::HostEd25519;
use crate::time::UnixMillis;

/// The result of a signature check, or the request to the host.
pub enum Checked {
    /// This crate checked the signature; whether it is valid.
    Here(bool),
    /// The host's crypto must check the signature.
    ByHost(SignatureRequest),
}

/// A signature for the host's crypto to check.
#[derive(Clone)]
pub struct SignatureRequest {
    /// The key. It also determines the algorithm.
    pub key: Jwk,
    signed: SignedBytes,
}

/// Signed bytes with their signature, in the form of JWS: R‖S for ECDSA.
#[derive(Clone)]
pub enum SignedBytes {
    /// The signing input and the signature of a JWS.
    Jws(CompactJws),
    /// Any other signed bytes.
    Bytes {
        /// The signed bytes.
        input: Vec<u8>,
        /// The signature over `input`.
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
    /// Returns the signed bytes.
    pub fn signing_input(&self) -> &[u8] {
        self.signed.parts().0
    }

    /// Returns the signature over those bytes.
    pub fn signature(&self) -> &[u8] {
        self.signed.parts().1
    }

    pub(crate) fn new(key: Jwk, signed: SignedBytes) -> Self {
        Self { key, signed }
    }

    /// Checks the signature in this crate. `None`: it has only the host's crypto for such keys.
    pub fn check_here(&self) -> Option<bool> {
        match self.check() {
            Checked::Here(valid) => Some(valid),
            Checked::ByHost(_) => None,
        }
    }

    /// As the function [`check`], for this request.
    pub(crate) fn check(&self) -> Checked {
        check(&self.key, self.signed.clone())
    }
}

/// Checks a signature by the one algorithm that `key` is bound to: Ed25519 in this crate, ECDSA and
/// RSA by the host.
///
/// An ECDSA or RSA signature of the wrong length is refused here, because hosts differ about it.
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

/// The result of a signature check with tables, or the request to the host.
pub(crate) enum TableCheck {
    /// This crate checked the signature. After the response, the reference path is to check the
    /// `recheck`.
    Here { valid: bool, recheck: Option<SignatureRequest> },
    /// The host's crypto must check the signature. Its answer also goes to [`TableReport::record`].
    ByHost(SignatureRequest, TableReport),
}

/// Reports an answer of the reference path to the tables of `key`.
pub(crate) struct TableReport {
    prepared: PreparedKeys,
    key: Jwk,
    /// Whether the tables refused the signature that the reference path checks.
    refused: bool,
    now: UnixMillis,
}

impl TableReport {
    /// Records the answer of the reference path. A valid signature counts towards a table for the
    /// key. If the tables refused it, this is a fault, and they are no longer used.
    pub(crate) fn record(self, valid: bool) {
        match (valid, self.refused) {
            (true, true) => self.prepared.disagree(self.key.key()),
            (true, false) => drop(self.prepared.accepted(self.key.key(), self.now.0)),
            (false, _) => {}
        }
    }
}

/// As [`check`], but with the tables of the key, once it has some. The reference path checks a
/// signature that tables refused, at most once a second for each key. Without tables, a host whose
/// Ed25519 agrees with this crate's checks such signatures.
pub(crate) fn check_with_tables(
    jws: &CompactJws,
    key: &Jwk,
    prepared: &PreparedKeys,
    host: HostEd25519,
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
    let is_ed25519 = matches!(key.key(), PublicKey::Ed25519 { .. });
    let checked = match host {
        HostEd25519::Agrees if is_ed25519 && !refused => {
            if ed25519::is_strict(jws.signature()) {
                Checked::ByHost(SignatureRequest { key: key.clone(), signed: jws.into() })
            } else {
                Checked::Here(false)
            }
        }
        _ => check(key, jws),
    };
    match checked {
        Checked::Here(valid) => {
            report.record(valid);
            TableCheck::Here { valid, recheck: None }
        }
        Checked::ByHost(request) => TableCheck::ByHost(request, report),
    }
}
