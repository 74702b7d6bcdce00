use edgepass_jose::{Algorithm, base64url};
use edgepass_status_list::StatusList;
use edgepass_status_list::list::Bits;
use serde_json::json;

use super::*;

fn list(number: Option<u64>, issued_at: u64) -> HeldList {
    let x = base64url::encode(&[9; 32]);
    let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x});
    HeldList {
        statuses: StatusList::decode(Bits::One, "eNrbuRgAAhcBXQ", 100).unwrap().into(),
        number,
        issued_at: NumericDate::from_seconds(issued_at),
        expiration: NumericDate::from_seconds(issued_at + 10),
        ttl: None,
        key: Jwk::from_value(&key, &[Algorithm::Ed25519]).unwrap(),
        url: String::new(),
    }
}

#[test]
fn number_decides_which_list_is_newer() {
    for (new, held, expected) in [
        (list(Some(2), 100), list(Some(1), 100), Ordering::Greater),
        (list(Some(1), 100), list(Some(1), 100), Ordering::Equal),
        (list(Some(1), 99), list(Some(1), 100), Ordering::Less),
        (list(Some(1), 101), list(Some(2), 100), Ordering::Less),
        (list(None, 101), list(Some(1), 100), Ordering::Less),
        (list(Some(1), 101), list(None, 100), Ordering::Greater),
        (list(None, 100), list(None, 100), Ordering::Equal),
        (list(None, 99), list(None, 100), Ordering::Less),
    ] {
        assert_eq!(new.order_of(&held), expected);
    }
}
