//! What takes the place of a masked value.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::text;

/// What takes the place of a masked value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// Nothing: the member or element is gone.
    Remove,
    /// `null`.
    Null,
    /// `****` and the last four characters of a text or number, if it has at least eight; otherwise `****`.
    Last4,
    /// A keyed hash of a text or number: equal values give equal hashes under one key and agreement.
    Hash,
    /// The first character and the domain of an e-mail address; `***` for another text.
    Email,
}

/// The key of [`With::Hash`], for one agreement.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey")
    }
}

impl HashKey {
    /// The key for the agreement of an issuer: the same values have other hashes under another one.
    pub fn new(secret: &[u8], issuer: &str, agreement: &str) -> Self {
        // HMAC takes keys of any length.
        let mut hash = match Hmac::<Sha256>::new_from_slice(secret) {
            Ok(hash) => hash,
            Err(_) => Hmac::<Sha256>::new(&Default::default()),
        };
        // Each text has its length before it, so that no other two texts give the same octets.
        for text in [issuer, agreement] {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        Self(hash)
    }
}

/// Whether a text may be the domain of an e-mail address: nothing but a domain is shown.
fn is_domain(text: &str) -> bool {
    let is_sign = |sign: char| match sign.is_ascii() {
        true => sign.is_ascii_alphanumeric() || matches!(sign, '.' | '-'),
        false => sign.is_alphanumeric(),
    };
    !text.is_empty() && text.len() <= 253 && text.chars().all(is_sign)
}

/// Octets of a hash that are shown.
const HASH_BYTES: usize = 16;

impl With {
    /// Appends what takes the place of a value. `value` is what a text or number says.
    pub(crate) fn write(self, value: Option<&str>, key: Option<&HashKey>, out: &mut Vec<u8>) {
        let hash;
        let texts = match (self, value) {
            (Self::Remove, _) => return,
            (Self::Last4, Some(value)) => {
                // The fourth character from the end, if there are as many before it.
                let mut last = value.char_indices().rev();
                let from = last.nth(3).filter(|_| last.nth(3).is_some()).map(|(at, _)| at);
                ["****", from.and_then(|from| value.get(from..)).unwrap_or_default(), ""]
            }
            (Self::Email, Some(value)) => match value.split_once('@') {
                Some((name, domain)) if !name.is_empty() && is_domain(domain) => {
                    let first = name.chars().next().map_or(0, char::len_utf8);
                    [name.get(..first).unwrap_or_default(), "***@", domain]
                }
                _ => ["***", "", ""],
            },
            (Self::Hash, Some(value)) if let Some(key) = key => {
                let mut mac = key.0.clone();
                mac.update(value.as_bytes());
                let octets = mac.finalize().into_bytes();
                hash = URL_SAFE_NO_PAD.encode(octets.get(..HASH_BYTES).unwrap_or_default());
                [&*hash, "", ""]
            }
            // Without a key nothing can be joined anyway.
            (Self::Null | Self::Last4 | Self::Email | Self::Hash, _) => {
                return out.extend_from_slice(b"null");
            }
        };
        text::write(&texts, out);
    }
}
