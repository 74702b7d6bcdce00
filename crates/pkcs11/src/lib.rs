//! Signing keys in a PKCS #11 token, such as that of a hardware security module.
//!
//! A private half is made in the token and never leaves it: it is sensitive and not extractable. Keys
//! are found again by their `CKA_ID`, which is random and stored as a PKCS #11 URI (RFC 7512).

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod access;
mod public_key;
mod signer;
mod uri;

use std::path::Path;
use std::sync::Arc;

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use edgepass_issuer::signing_key::SigningAlgorithm;
use edgepass_issuer::vault::{DeviceError, KeyDevice, Signer};

use crate::access::Access;
use crate::signer::TokenSigner;

/// The object identifier of P-256, in DER (RFC 5480 §2.1.1.1).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The object identifier of Ed25519, in DER (RFC 8410 §3).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The name of its curve, which some tokens want instead (PKCS #11 v3.0, section "EC keys").
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";
/// Bits of an RSA modulus.
const RSA_BITS: u64 = 2048;
/// Bytes of a `CKA_ID`.
const ID_LENGTH: u32 = 16;
/// The label of the objects, for those who look at the token with its own tools.
const OBJECT_LABEL: &[u8] = b"edgepass";

/// A token of a PKCS #11 device, in which the keys of issuers are.
pub struct Token(Arc<Access>);

impl Token {
    /// Loads the library `module` of the device and logs in to the token of this label, with the PIN
    /// of its user.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Failed`].
    pub fn open(module: &Path, label: &str, pin: &str) -> Result<Self, DeviceError> {
        let access = Access::new(module, label, pin)?;
        access.run(|_| access.session(false).map(drop))?;
        Ok(Self(Arc::new(access)))
    }
}

impl KeyDevice for Token {
    fn generate(
        &self,
        algorithm: SigningAlgorithm,
    ) -> Result<(String, Box<dyn Signer>), DeviceError> {
        self.run(|_| {
            let session = self.0.session(true)?;
            let id = session.generate_random_vec(ID_LENGTH).map_err(failed)?;
            generate(&session, algorithm, &id)?;
            let signer = self.signer(&session, algorithm, id.clone());
            if signer.is_err() {
                // Its URI would be lost.
                destroy(&session, &id)?;
            }
            Ok((uri::of(&id), signer?))
        })
    }

    fn open(&self, algorithm: SigningAlgorithm, uri: &str) -> Result<Box<dyn Signer>, DeviceError> {
        let id = uri::id(uri).ok_or(DeviceError::NoKey)?;
        self.run(|_| self.signer(&self.0.session(false)?, algorithm, id.clone()))
    }

    fn destroy(&self, uri: &str) -> Result<(), DeviceError> {
        let id = uri::id(uri).ok_or(DeviceError::NoKey)?;
        self.run(|_| destroy(&self.0.session(true)?, &id))
    }
}

impl Token {
    fn run<T>(&self, work: impl Fn(u64) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        blocking(|| self.0.run(work))
    }

    fn signer(
        &self,
        session: &Session,
        algorithm: SigningAlgorithm,
        id: Vec<u8>,
    ) -> Result<Box<dyn Signer>, DeviceError> {
        Ok(Box::new(TokenSigner::new(Arc::clone(&self.0), algorithm, id, session)?))
    }
}

/// Makes a key pair with this `CKA_ID`.
fn generate(session: &Session, algorithm: SigningAlgorithm, id: &[u8]) -> Result<(), DeviceError> {
    let own = |more: &[Attribute]| -> Vec<Attribute> {
        let of_all = [
            Attribute::Token(true),
            Attribute::Id(id.to_vec()),
            Attribute::Label(OBJECT_LABEL.to_vec()),
        ];
        of_all.iter().chain(more).cloned().collect()
    };
    let private = own(&[
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    let make = |mechanism: &Mechanism<'_>, more: &[Attribute]| {
        let public = own(&[&[Attribute::Verify(true)], more].concat());
        session.generate_key_pair(mechanism, &public, &private).map(drop)
    };
    let curve = |curve: &[u8]| Attribute::EcParams(curve.to_vec());
    let made = match algorithm {
        SigningAlgorithm::ES256 => make(&Mechanism::EccKeyPairGen, &[curve(P256)]),
        SigningAlgorithm::EdDSA => make(&Mechanism::EccEdwardsKeyPairGen, &[curve(ED25519)])
            .or_else(|_| make(&Mechanism::EccEdwardsKeyPairGen, &[curve(EDWARDS25519)])),
        SigningAlgorithm::RS256 => make(
            &Mechanism::RsaPkcsKeyPairGen,
            &[
                Attribute::ModulusBits(Ulong::from(RSA_BITS)),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ],
        ),
    };
    made.map_err(failed)
}

/// Destroys both halves with this `CKA_ID`.
fn destroy(session: &Session, id: &[u8]) -> Result<(), DeviceError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        for object in objects(session, class, id)? {
            session.destroy_object(object).map_err(failed)?;
        }
    }
    Ok(())
}

/// The objects of a class with this `CKA_ID`.
fn objects(
    session: &Session,
    class: ObjectClass,
    id: &[u8],
) -> Result<Vec<ObjectHandle>, DeviceError> {
    let template = [Attribute::Class(class), Attribute::Id(id.to_vec()), Attribute::Token(true)];
    session.find_objects(&template).map_err(failed)
}

/// The only object of a class with this `CKA_ID`.
pub(crate) fn object(
    session: &Session,
    class: ObjectClass,
    id: &[u8],
) -> Result<ObjectHandle, DeviceError> {
    match objects(session, class, id)?.as_slice() {
        [one] => Ok(*one),
        _ => Err(DeviceError::NoKey),
    }
}

/// The function and its return value, by the names of PKCS #11 without their prefixes.
pub(crate) fn failed(error: Error) -> DeviceError {
    match error {
        Error::Pkcs11(value, function) => {
            let text = format!("C_{function:?} returns {value:?}");
            if is_away(value) { DeviceError::Away(text) } else { DeviceError::Failed(text) }
        }
        Error::LibraryLoading(_) => DeviceError::Failed("its module cannot be loaded".to_owned()),
        error => DeviceError::Failed(error.to_string()),
    }
}

/// Whether a return value says that the device, its token or a session is gone, or nothing at all.
fn is_away(value: RvError) -> bool {
    matches!(
        value,
        RvError::CryptokiNotInitialized
            | RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::DeviceRemoved
            | RvError::FunctionFailed
            | RvError::GeneralError
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::SlotIdInvalid
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::UserNotLoggedIn
    )
}

/// Runs what waits for the device. Meanwhile other threads do the work of this one, where the runtime
/// has more than one.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};

    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
