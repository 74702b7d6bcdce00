//! Signing with one key of a token.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use edgepass_issuer::signing_key::{SigningAlgorithm, SigningFailed};
use edgepass_issuer::vault::{DeviceError, Signer};
use sha2::{Digest, Sha256};

use crate::access::Access;
use crate::{blocking, failed, object, public_key};

/// Most sessions of a key. A session signs one thing at a time.
const SESSIONS: usize = 8;

/// A key of a token.
pub(crate) struct TokenSigner {
    access: Arc<Access>,
    algorithm: SigningAlgorithm,
    id: Vec<u8>,
    public_key: Vec<u8>,
    /// Opened when first needed, and again after an error.
    sessions: [Mutex<Option<Opened>>; SESSIONS],
    next: AtomicUsize,
}

/// A session, and the key as it is called there.
struct Opened {
    session: Session,
    key: ObjectHandle,
    /// The number of the library's initialization, after whose end the session is over.
    number: u64,
}

impl TokenSigner {
    /// Finds the key pair with this `CKA_ID`.
    pub(crate) fn new(
        access: Arc<Access>,
        algorithm: SigningAlgorithm,
        id: Vec<u8>,
        session: &Session,
    ) -> Result<Self, DeviceError> {
        object(session, ObjectClass::PRIVATE_KEY, &id)?;
        let public_half = object(session, ObjectClass::PUBLIC_KEY, &id)?;
        let public_key = public_key::of(session, public_half, algorithm)?;
        Ok(Self {
            access,
            algorithm,
            id,
            public_key,
            sessions: [const { Mutex::new(None) }; SESSIONS],
            next: AtomicUsize::new(0),
        })
    }

    fn open(&self, number: u64) -> Result<Opened, DeviceError> {
        let session = self.access.lasting_session()?;
        match object(&session, ObjectClass::PRIVATE_KEY, &self.id) {
            Ok(key) => Ok(Opened { session, key, number }),
            Err(error) => {
                close(session);
                Err(error)
            }
        }
    }

    /// Signs in the next session. If that fails the session may be over, as after a restart of the
    /// device, and a new one gets one attempt.
    fn try_sign(&self, input: &[u8], number: u64) -> Result<Vec<u8>, DeviceError> {
        let turn = self.next.fetch_add(1, Relaxed).checked_rem(SESSIONS).unwrap_or_default();
        let slot = self.sessions.get(turn).ok_or(DeviceError::NoKey)?;
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = slot.take_if(|opened| opened.number == number) {
            if let Ok(signature) = self.sign_in(&opened, input) {
                *slot = Some(opened);
                return Ok(signature);
            }
            close(opened.session);
        }
        let opened = self.open(number)?;
        let signed = self.sign_in(&opened, input);
        match signed {
            Ok(_) => *slot = Some(opened),
            Err(_) => close(opened.session),
        }
        signed
    }

    fn sign_in(&self, opened: &Opened, input: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let sign = |mechanism: &Mechanism<'_>, input: &[u8]| {
            opened.session.sign(mechanism, opened.key, input).map_err(failed)
        };
        match self.algorithm {
            SigningAlgorithm::ES256 => sign(&Mechanism::Ecdsa, &Sha256::digest(input)),
            SigningAlgorithm::EdDSA => {
                let pure = EddsaParams::new(EddsaSignatureScheme::Pure);
                sign(&Mechanism::Eddsa(pure), input)
            }
            SigningAlgorithm::RS256 => sign(&Mechanism::Sha256RsaPkcs, input),
        }
    }
}

impl Signer for TokenSigner {
    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        blocking(|| self.access.run(|number| self.try_sign(input, number))).map_err(|error| {
            tracing::error!(%error, "not signed");
            SigningFailed
        })
    }
}

impl Drop for TokenSigner {
    fn drop(&mut self) {
        for slot in &mut self.sessions {
            if let Some(opened) = slot.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
                self.access.if_still(opened.number, || close(opened.session));
            }
        }
    }
}

/// Closes a session. One that the device has forgotten cannot be closed, and need not.
fn close(session: Session) {
    let _ = session.close();
}
