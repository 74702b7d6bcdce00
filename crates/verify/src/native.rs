//! ECDSA and RSA by aws-lc-rs, which the verifier leaves to its host. For native hosts.

use crate::host::HostCrypto;
use crate::signature::SignatureRequest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use edgepass_crypto::sec1;
use edgepass_jose::{Algorithm, PublicKey};

/// ECDSA and RSA by aws-lc-rs.
pub struct NativeCrypto;

impl HostCrypto for NativeCrypto {
    async fn check(&self, request: &SignatureRequest) -> bool {
        check_signature(request)
    }
}

/// Checks an ECDSA or RSA signature. Returns `false` for other keys, such as Ed25519 keys.
pub fn check_signature(request: &SignatureRequest) -> bool {
    let (input, signature) = (request.signing_input(), request.signature());
    match request.key.key() {
        PublicKey::P256 { x, y } => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1(x, y))
            .verify(input, signature)
            .is_ok(),
        PublicKey::P384 { x, y } => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, sec1(x, y))
            .verify(input, signature)
            .is_ok(),
        PublicKey::Rsa { n, e } => rsa(request.key.algorithm()).is_some_and(|parameters| {
            RsaPublicKeyComponents { n, e }.verify(parameters, input, signature).is_ok()
        }),
        _ => false,
    }
}

/// Padding and hash of an RSA algorithm. For PSS the salt is as long as the hash (RFC 7518 §3.5).
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}
