//! Places of the private halves of signing keys: sealed in the database, or in a device that signs
//! with them, such as a hardware security module.

use std::sync::Arc;

use crate::seal::MasterKey;
use crate::signing_key::{SigningAlgorithm, SigningFailed};

/// The start of a PKCS #11 URI (RFC 7512 §2.3). The sealed form of a private half begins with a
/// random nonce.
const URI_START: &[u8] = b"pkcs11:";

/// A private half that this program does not hold.
pub trait Signer: Send + Sync {
    /// The public half, in the form of [`SealedKey::public_key`](crate::signing_key::SealedKey).
    fn public_key(&self) -> &[u8];

    /// Signs `input`. Returns the signature in the form that a JWS has (RFC 7518 §3.3 and §3.4, RFC
    /// 8037 §3.1). May block while the device works.
    ///
    /// # Errors
    ///
    /// [`SigningFailed`]. The implementation logs the cause.
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningFailed>;
}

/// A device that makes private halves and never gives them away. Its functions may block.
pub trait KeyDevice: Send + Sync {
    /// Makes a key pair that stays in the device. Returns its PKCS #11 URI (RFC 7512), by which
    /// [`KeyDevice::open`] finds it again.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    fn generate(
        &self,
        algorithm: SigningAlgorithm,
    ) -> Result<(String, Box<dyn Signer>), DeviceError>;

    /// Finds a key pair.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    fn open(&self, algorithm: SigningAlgorithm, uri: &str) -> Result<Box<dyn Signer>, DeviceError>;

    /// Destroys a key pair. One that is not there any more is no error.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    fn destroy(&self, uri: &str) -> Result<(), DeviceError>;
}

/// The reason why a device did not do what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// A stored key is in a device, and the configuration names none.
    #[error(
        "the signing key is in a PKCS #11 token; name it in the configuration, under [keys.pkcs11]"
    )]
    NotConfigured,
    /// The device does not hold the key.
    #[error("the PKCS #11 token does not hold the signing key")]
    NoKey,
    /// The device has refused the PIN. It was not tried again, since devices lock a token after a few
    /// refusals.
    #[error(
        "the PKCS #11 token refuses the PIN; correct it, and log in once with the device's own tools \
         if the token says that it is nearly locked"
    )]
    PinRefused,
    /// The device is away, or does not answer as it should. Holds what it said.
    #[error("the PKCS #11 token is away: {0}")]
    Away(String),
    /// The device cannot do what was asked. Holds what it said.
    #[error("the PKCS #11 token failed: {0}")]
    Failed(String),
}

/// The master key and the device that open the private halves of an issuer's keys.
pub struct Vault {
    pub(crate) master: MasterKey,
    pub(crate) device: Option<Arc<dyn KeyDevice>>,
}

impl Vault {
    /// Creates a vault. New keys are made in `device`, if there is one. Keys that the master key has
    /// sealed are opened in either case, so that an issuer can change to a device by a rotation.
    pub fn new(master: MasterKey, device: Option<Arc<dyn KeyDevice>>) -> Self {
        Self { master, device }
    }

    pub(crate) fn device(&self) -> Result<&dyn KeyDevice, DeviceError> {
        self.device.as_deref().ok_or(DeviceError::NotConfigured)
    }
}

impl From<MasterKey> for Vault {
    fn from(master: MasterKey) -> Self {
        Self::new(master, None)
    }
}

/// The PKCS #11 URI, if that is what is stored in place of a sealed private half.
pub(crate) fn device_uri(stored: &[u8]) -> Option<&str> {
    stored.starts_with(URI_START).then(|| str::from_utf8(stored).ok()).flatten()
}
