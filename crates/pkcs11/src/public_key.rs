//! Public halves, as tokens give them and as the issuer stores them.

use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use edgepass_issuer::signing_key::SigningAlgorithm;
use edgepass_issuer::vault::DeviceError;

use crate::failed;

/// Reads the public half of a key.
pub(crate) fn of(
    session: &Session,
    key: ObjectHandle,
    algorithm: SigningAlgorithm,
) -> Result<Vec<u8>, DeviceError> {
    let wanted = match algorithm {
        SigningAlgorithm::RS256 => AttributeType::Modulus,
        SigningAlgorithm::EdDSA | SigningAlgorithm::ES256 => AttributeType::EcPoint,
    };
    let found = session.get_attributes(key, &[wanted]).map_err(failed)?;
    let stored = match (algorithm, found.as_slice()) {
        (SigningAlgorithm::RS256, [Attribute::Modulus(modulus)]) => {
            Some(modulus.iter().copied().skip_while(|octet| *octet == 0).collect())
        }
        (SigningAlgorithm::ES256, [Attribute::EcPoint(point)]) => coordinates(point),
        (SigningAlgorithm::EdDSA, [Attribute::EcPoint(point)]) => encoded_point(point),
        _ => None,
    };
    stored.ok_or_else(|| DeviceError::Failed("its public key has another form".to_owned()))
}

/// The coordinates of a P-256 point: uncompressed (SEC 1 §2.3.3), in a DER octet string. Some tokens
/// leave the octet string out.
fn coordinates(point: &[u8]) -> Option<Vec<u8>> {
    let point = match point.len() {
        65 => Some(point),
        _ => point.strip_prefix(&[0x04, 65]),
    };
    point?.strip_prefix(&[0x04]).filter(|xy| xy.len() == 64).map(<[u8]>::to_vec)
}

/// The point of an Ed25519 key (RFC 8032 §5.1.5), in a DER octet string or, by PKCS #11 v3.1, alone.
fn encoded_point(point: &[u8]) -> Option<Vec<u8>> {
    let point = match point.len() {
        32 => Some(point),
        _ => point.strip_prefix(&[0x04, 32]),
    };
    point.filter(|point| point.len() == 32).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_with_and_without_the_octet_string() {
        let bare = [&[4][..], &[7; 64]].concat();
        let wrapped = [&[4, 65][..], &bare].concat();
        assert_eq!(coordinates(&bare), Some(vec![7; 64]));
        assert_eq!(coordinates(&wrapped), Some(vec![7; 64]));
        assert_eq!(coordinates(&wrapped[..66]), None);
        // The first coordinate of this one begins like an octet string.
        let misleading = [&[4, 65][..], &[7; 63]].concat();
        assert_eq!(coordinates(&misleading), Some(misleading[1..].to_vec()));
        // A compressed point.
        assert_eq!(coordinates(&[&[2][..], &[7; 32]].concat()), None);
        // The first octets of this one look like those of an octet string.
        let misleading = [&[4, 32][..], &[7; 30]].concat();
        assert_eq!(encoded_point(&misleading), Some(misleading.clone()));
        assert_eq!(encoded_point(&[&[4, 32][..], &[7; 32]].concat()), Some(vec![7; 32]));
        assert_eq!(encoded_point(&[7; 33]), None);
    }
}
