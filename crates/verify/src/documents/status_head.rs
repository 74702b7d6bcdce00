//! The status head: a small token that names the current edition of every status list of an issuer,
//! and its JWK Set. The only reader of heads, for verifiers, issuers and tools.

use std::collections::HashMap;
use std::time::Duration;

use edgepass_jose::flat::ValueRef;
use edgepass_jose::{ClaimsSet, JwkSet, NumericDate, base64url};
use sha2::{Digest as _, Sha256};

use crate::documents::refused::Refused;
use crate::documents::signed::{ListRules, SignedDocument};
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::url;

/// The media subtype of status heads, in `typ` and in the Content-Type of responses.
pub const STATUS_HEAD_TYPE: &str = "statushead+jwt";

/// The claims of a status head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusHead {
    /// `sub`: the URI under which the head is published.
    pub subject: String,
    /// `iat`, with its fraction: everything that the head names was current at this time, by the
    /// clock of the issuer.
    pub issued_at: UnixMillis,
    /// `number`: changes when the head names something else.
    pub number: u64,
    /// `wait`: the longest time for which the source holds a request until there is another
    /// `number`. `None`: it holds none.
    pub wait: Option<Duration>,
    /// `jwk_set`: the digest of the body of the JWK Set.
    pub jwk_set: Option<Digest>,
    /// `lists`: the current editions, by URI relative to the directory of the head.
    lists: HashMap<String, NamedList>,
}

/// The edition of a list that a head names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NamedList {
    /// `number` of an edition with these statuses. Later ones that differ only in their dates are not
    /// named.
    pub number: u64,
    /// The digest of `lst`.
    pub digest: Digest,
}

/// The first 16 octets of the SHA-256 hash of a text. RFC 6920 §2 calls this `sha-256-128`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of a text.
    pub fn of(text: &[u8]) -> Self {
        let mut octets = [0; 16];
        octets.iter_mut().zip(Sha256::digest(text)).for_each(|(to, from)| *to = from);
        Self(octets)
    }

    /// A digest that was computed before.
    pub fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The digest in base64url.
    pub fn encoded(&self) -> String {
        base64url::encode(&self.0)
    }

    /// A URI with the digest as an additional parameter, which the source ignores: caches keep each
    /// edition apart.
    pub(super) fn in_query_of(&self, uri: &str) -> String {
        url::with_parameter(uri, "digest", self.encoded())
    }

    fn read(value: ValueRef<'_>) -> Option<Self> {
        base64url::decode_array(value.as_str()?).map(Self)
    }
}

impl StatusHead {
    /// Reads the head of `uri` and checks its signature, if need be with the host's crypto.
    ///
    /// # Errors
    ///
    /// As [`SignedDocument::parse`]. [`Refused::Signature`]; [`Refused::Subject`] if `sub` is not
    /// `uri`.
    pub fn read(
        bytes: &[u8],
        uri: &str,
        keys: &JwkSet,
        rules: &ListRules<'_>,
        host: impl FnOnce(&SignatureRequest) -> bool,
    ) -> Result<Self, Refused> {
        Self::from_claims(&SignedDocument::read(bytes, STATUS_HEAD_TYPE, keys, rules, host)?, uri)
    }

    /// Reads the claims of a head whose signature is valid.
    pub(super) fn from_claims(claims: &ClaimsSet, uri: &str) -> Result<Self, Refused> {
        let head = Self::parse(claims).ok_or(Refused::Malformed)?;
        if head.subject == uri { Ok(head) } else { Err(Refused::Subject) }
    }

    fn parse(claims: &ClaimsSet) -> Option<Self> {
        let mut lists = HashMap::new();
        for (name, named) in claims.get("lists")?.members()? {
            let mut items = named.as_array()?;
            let number = items.next()?.as_u64()?;
            lists.insert(
                name.to_owned(),
                NamedList { number, digest: Digest::read(items.next()?)? },
            );
        }
        let jwk_set = claims.get("jwk_set").map(|digest| Digest::read(digest).ok_or(()));
        let wait = claims.get("wait").map(|wait| wait.as_u64().ok_or(()));
        Some(Self {
            subject: claims.required_string("sub").ok()?.to_owned(),
            issued_at: millis(claims.get("iat")?)?,
            number: claims.get("number")?.as_u64()?,
            wait: wait.transpose().ok()?.filter(|wait| *wait > 0).map(Duration::from_secs),
            jwk_set: jwk_set.transpose().ok()?,
            lists,
        })
    }

    /// The edition of the list at `uri` that the head names.
    pub fn list(&self, uri: &str) -> Option<NamedList> {
        let name = uri.strip_prefix(directory(&self.subject))?;
        self.lists.get(name).copied()
    }

    /// The number of lists that the head names.
    pub fn list_count(&self) -> usize {
        self.lists.len()
    }
}

/// A URI up to its last slash.
pub fn directory(uri: &str) -> &str {
    uri.rsplit_once('/').and_then(|(start, _)| uri.get(..=start.len())).unwrap_or_default()
}

/// Reads a NumericDate with its fraction.
fn millis(value: ValueRef<'_>) -> Option<UnixMillis> {
    let seconds = value.as_number()?.as_f64()?;
    let is_date = seconds >= 0.0 && seconds <= NumericDate::MAX.seconds() as f64;
    // `as` is exact: the number is whole and far below 2^53.
    is_date.then(|| UnixMillis((seconds * 1000.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(payload: &Value) -> Result<StatusHead, Refused> {
        let claims = ClaimsSet::parse(payload.to_string().as_bytes()).unwrap();
        StatusHead::from_claims(&claims, "https://a.example/b/status-head")
    }

    fn payload() -> Value {
        let digest = Digest::of(b"x").encoded();
        json!({
            "sub": "https://a.example/b/status-head", "iat": 1_800_000_000.123, "number": 7, "wait": 25,
            "jwk_set": digest, "lists": {"status-lists/1": [3, digest]},
        })
    }

    #[test]
    fn a_head_names_editions_by_their_uris() {
        let head = read(&payload()).unwrap();
        assert_eq!(head.issued_at, UnixMillis(1_800_000_000_123));
        assert_eq!((head.number, head.wait), (7, Some(Duration::from_secs(25))));
        let named = head.list("https://a.example/b/status-lists/1").unwrap();
        assert_eq!((named.number, named.digest), (3, Digest::of(b"x")));
        assert_ne!(named.digest, Digest::of(b"y"));
        for other in
            ["https://a.example/b/status-lists/2", "https://b.example/b/status-lists/1", ""]
        {
            assert_eq!(head.list(other), None, "{other}");
        }
    }

    #[test]
    fn every_claim_is_checked_for_form() {
        for (pointer, value) in [
            ("/iat", json!("1")),
            ("/iat", json!(-1)),
            ("/iat", json!(1e300)),
            ("/number", json!(1.5)),
            ("/wait", json!("25")),
            ("/jwk_set", json!("AAAA")),
            ("/jwk_set", json!(null)),
            ("/lists", json!([])),
            ("/lists/status-lists~11", json!([3])),
            ("/lists/status-lists~11", json!({"number": 3})),
            ("/lists/status-lists~11/0", json!("3")),
            ("/lists/status-lists~11/1", json!("")),
        ] {
            let mut changed = payload();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(read(&changed), Err(Refused::Malformed), "{pointer} {value}");
        }
        for required in ["sub", "iat", "number", "lists"] {
            let mut changed = payload();
            changed.as_object_mut().unwrap().remove(required);
            assert_eq!(read(&changed), Err(Refused::Malformed), "{required}");
        }
        let mut moved = payload();
        moved["sub"] = json!("https://a.example/status-head");
        assert_eq!(read(&moved), Err(Refused::Subject));
    }
}
