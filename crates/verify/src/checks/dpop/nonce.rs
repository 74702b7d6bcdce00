//! Nonces that a verifier issues for DPoP proofs without storing them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use edgepass_jose::{NumericDate, base64url};

use crate::time::UnixMillis;

/// The rule for the claim `nonce` of proofs.
pub enum NonceRule {
    /// No nonce is required. Only `iat` bounds a proof's age.
    NotRequired,
    /// The nonce must be recent and signed with one of these secrets.
    Signed(NonceSecrets),
    /// The nonce must equal this one. For batch lines, which name the nonce that was issued.
    Exactly(String),
}

/// The secrets that sign nonces, the same in all isolates. Nonces of both secrets are accepted, so
/// that a secret can be replaced without refusing a client.
pub struct NonceSecrets {
    /// The secret that signs.
    current: Box<Secret>,
    /// The secret that signed before, or will sign next.
    previous: Option<Box<Secret>>,
}

/// A keyed HMAC-SHA-256.
struct Secret(Hmac<Sha256>);

/// The error for a nonce secret of fewer than 32 bytes, which could be guessed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a nonce secret has at least {MIN_SECRET_BYTES} bytes, drawn at random")]
pub struct SecretTooShort;

/// The result of checking a nonce by a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NonceCheck {
    /// The rule requires no nonce.
    NotRequired,
    /// The rule requires a nonce, and the proof's is missing or not current.
    Required,
    /// The nonce is current, and stays so for at most this many seconds.
    Current { usable_for: u64 },
}

/// The length of a window, in seconds. A nonce is accepted in the window in which it was made and
/// in the next, so for 5 to 10 minutes; and in the one before, for clocks that lag.
const WINDOW_SECONDS: u64 = 300;
/// The minimum length of a secret, in bytes.
const MIN_SECRET_BYTES: usize = 32;
/// The length of the window's number in a nonce, in octets.
const NUMBER_BYTES: usize = 8;
/// The length of the authentication code in a nonce, in octets.
const TAG_BYTES: usize = 16;

impl NonceRule {
    pub(crate) fn check(&self, nonce: Option<&str>, origin: &str, now: UnixMillis) -> NonceCheck {
        // Three windows: the one before the nonce's own, its own, and the next.
        let current = NonceCheck::Current { usable_for: 3 * WINDOW_SECONDS };
        match (self, nonce) {
            (Self::NotRequired, _) => NonceCheck::NotRequired,
            (Self::Signed(secrets), Some(nonce)) if secrets.accept(nonce, origin, now) => current,
            // When this nonce ends is unknown.
            (Self::Exactly(expected), Some(nonce)) if nonce == expected => {
                NonceCheck::Current { usable_for: NumericDate::MAX.seconds() }
            }
            (Self::Signed(_) | Self::Exactly(_), _) => NonceCheck::Required,
        }
    }
}

impl NonceSecrets {
    /// Takes the secret that signs and, during a change of secrets, the previous or the next one.
    ///
    /// # Errors
    ///
    /// [`SecretTooShort`] for fewer than 32 bytes.
    pub fn new(current: Vec<u8>, previous: Option<Vec<u8>>) -> Result<Self, SecretTooShort> {
        Ok(Self {
            current: Box::new(Secret::new(current)?),
            previous: previous.map(Secret::new).transpose()?.map(Box::new),
        })
    }

    /// Returns the nonce for requests to `origin` at `now`: the number of the window, and an
    /// authentication code over that number and `origin`.
    ///
    /// Source: [RFC 9449 §8.1](https://www.rfc-editor.org/rfc/rfc9449#section-8.1): unpredictable,
    /// and made of NQCHAR.
    pub fn issue(&self, origin: &str, now: UnixMillis) -> String {
        let number = window(now).to_be_bytes();
        let tag = self.current.code(number, origin).finalize().into_bytes();
        let tag = tag.get(..TAG_BYTES).unwrap_or_default();
        base64url::encode(&[number.as_slice(), tag].concat())
    }

    fn accept(&self, nonce: &str, origin: &str, now: UnixMillis) -> bool {
        let decoded = base64url::decode_array::<{ NUMBER_BYTES + TAG_BYTES }>(nonce);
        let Some((number, tag)) = decoded.as_ref().and_then(|all| all.split_first_chunk()) else {
            return false;
        };
        // The next window is accepted as well: another isolate's clock may be a little ahead.
        let (window, now) = (u64::from_be_bytes(*number), window(now));
        let timely = now.saturating_sub(1) <= window && window <= now.saturating_add(1);
        let secrets = [Some(&self.current), self.previous.as_ref()];
        timely
            && secrets
                .into_iter()
                .flatten()
                .any(|secret| secret.code(*number, origin).verify_truncated_left(tag).is_ok())
    }
}

impl Secret {
    fn new(bytes: Vec<u8>) -> Result<Self, SecretTooShort> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(SecretTooShort);
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| SecretTooShort)
    }

    fn code(&self, number: [u8; NUMBER_BYTES], origin: &str) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        code.update(b"edgepass dpop nonce\0");
        code.update(&number);
        code.update(origin.as_bytes());
        code
    }
}

/// The number of the window that contains `now`.
fn window(now: UnixMillis) -> u64 {
    now.numeric_date().seconds() / WINDOW_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(current: u8, previous: Option<u8>) -> NonceSecrets {
        NonceSecrets::new(vec![current; 32], previous.map(|byte| vec![byte; 32])).unwrap()
    }

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const ORIGIN: &str = "https://api.example";

    fn later(seconds: u64) -> UnixMillis {
        NOW.plus(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn a_nonce_is_good_for_its_window_and_the_next() {
        let secrets = secrets(1, None);
        let nonce = secrets.issue(ORIGIN, NOW); // 1_800_000_000 begins a window
        assert!(nonce.bytes().all(|byte| byte.is_ascii_graphic()), "{nonce}");
        for (seconds, accepted) in [(0, true), (299, true), (599, true), (600, false)] {
            assert_eq!(secrets.accept(&nonce, ORIGIN, later(seconds)), accepted, "{seconds}");
        }
        let early = UnixMillis(NOW.0 - 1);
        assert!(secrets.accept(&nonce, ORIGIN, early), "a clock that lags");
        assert!(!secrets.accept(&nonce, ORIGIN, UnixMillis(NOW.0 - 300_001)));
        assert_ne!(nonce, secrets.issue(ORIGIN, later(300)));
    }

    #[test]
    fn a_rule_asks_accepts_or_does_not_care() {
        let nonce = secrets(1, None).issue(ORIGIN, NOW);
        let signed = NonceRule::Signed(secrets(1, None));
        let current = NonceCheck::Current { usable_for: 900 };
        let exactly = NonceRule::Exactly("n".into());
        for (rule, nonce, expected) in [
            (&NonceRule::NotRequired, Some("x"), NonceCheck::NotRequired),
            (&signed, Some(nonce.as_str()), current),
            (&signed, Some("x"), NonceCheck::Required),
            (&signed, None, NonceCheck::Required),
            (&exactly, Some("n"), NonceCheck::Current { usable_for: NumericDate::MAX.seconds() }),
            (&exactly, Some("x"), NonceCheck::Required),
            (&exactly, None, NonceCheck::Required),
        ] {
            assert_eq!(rule.check(nonce, ORIGIN, NOW), expected, "{nonce:?}");
        }
    }

    #[test]
    fn another_origin_secret_or_spelling_is_refused() {
        let nonce = secrets(1, None).issue(ORIGIN, NOW);
        assert!(!secrets(1, None).accept(&nonce, "https://other.example", NOW));
        assert!(!secrets(2, None).accept(&nonce, ORIGIN, NOW));
        assert!(secrets(2, Some(1)).accept(&nonce, ORIGIN, NOW));
        for (position, _) in nonce.char_indices() {
            let mut changed = nonce.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(!secrets(1, None).accept(&changed, ORIGIN, NOW), "{position}");
        }
        for wrong in ["", "AAAA", &nonce[1..], &format!("{nonce}A"), &format!("{nonce}=")] {
            assert!(!secrets(1, None).accept(wrong, ORIGIN, NOW), "{wrong}");
        }
        assert_eq!(NonceSecrets::new(vec![0; 31], None).err(), Some(SecretTooShort));
    }
}
