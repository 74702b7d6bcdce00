//! The JWS Compact Serialization: splitting and decoding untrusted text.

use std::sync::Arc;

use crate::base64url;
use crate::claims::ClaimsSet;
use crate::header::{HeaderError, JoseHeader};
use crate::json::NotAnObject;

/// A JWS in compact serialization with well-formed parts. The signature is not verified.
///
/// Owns its text, so that a check can go on after the buffers of its request are freed. Cheap to
/// clone: clones share the memory.
#[derive(Clone)]
pub struct CompactJws(Arc<Parts>);

struct Parts {
    text: String,
    signing_input_length: usize,
    header: JoseHeader,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// The reason why a compact serialization is refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CompactError {
    /// The text is longer than `max_bytes`.
    #[error("the serialization is longer than allowed")]
    TooLong,
    /// The text is not three canonical base64url parts. A JWE, which has five, is refused as well.
    #[error("not three base64url parts")]
    NotThreeParts,
    /// The JOSE header is refused.
    #[error("the JOSE header is not usable")]
    Header(#[from] HeaderError),
}

impl CompactJws {
    /// Parses `text`, which may have at most `max_bytes` bytes.
    ///
    /// Source: [RFC 7515 §5.2](https://www.rfc-editor.org/rfc/rfc7515#section-5.2) steps 1 to 7.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::CompactJws;
    ///
    /// let jws = CompactJws::parse("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.AAAA", 8192)?;
    /// assert_eq!(jws.header().algorithm(), "EdDSA");
    /// assert_eq!(jws.claims()?.string("sub")?, Some("a"));
    /// assert_eq!(jws.signing_input(), b"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0");
    /// assert_eq!(jws.signature(), [0, 0, 0]); // Parsing does not verify it.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, CompactError> {
        if text.len() > max_bytes {
            return Err(CompactError::TooLong);
        }
        // Any further period ends up in the payload, where base64url decoding refuses it.
        let (header, rest) = text.split_once('.').ok_or(CompactError::NotThreeParts)?;
        let (payload, signature) = rest.rsplit_once('.').ok_or(CompactError::NotThreeParts)?;
        let decode = |part| base64url::decode(part).ok_or(CompactError::NotThreeParts);
        let length = header.len().saturating_add(1).saturating_add(payload.len());
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        Ok(Self(Arc::new(Parts {
            signing_input_length: length,
            header: JoseHeader::parse(&header)?,
            payload,
            signature,
            text: text.to_owned(),
        })))
    }

    /// The JOSE header. Does not verify the signature.
    pub fn header(&self) -> &JoseHeader {
        &self.0.header
    }

    /// Parses the payload as a JWT Claims Set. Does not verify the signature.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`] when [`ClaimsSet::parse`] refuses the payload.
    pub fn claims(&self) -> Result<ClaimsSet, NotAnObject> {
        ClaimsSet::parse(&self.0.payload)
    }

    /// Parses as [`CompactJws::claims`] does. Frees the payload unless a clone shares it; once it
    /// is freed, both functions return the error.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`] when [`ClaimsSet::parse`] refuses the payload.
    pub fn take_claims(&mut self) -> Result<ClaimsSet, NotAnObject> {
        match Arc::get_mut(&mut self.0) {
            Some(parts) => ClaimsSet::parse(&std::mem::take(&mut parts.payload)),
            None => self.claims(),
        }
    }

    /// The allocated memory, in bytes. Clones share it.
    pub fn bytes(&self) -> usize {
        let Parts { text, header, payload, signature, .. } = &*self.0;
        let parts = [text.capacity(), header.bytes(), payload.capacity(), signature.capacity()];
        parts.into_iter().fold(size_of::<Parts>(), usize::saturating_add)
    }

    /// The whole serialization, as it was parsed.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The bytes that the signature covers: the encoded header, a period, the encoded payload.
    pub fn signing_input(&self) -> &[u8] {
        self.0.text.as_bytes().get(..self.0.signing_input_length).unwrap_or_default()
    }

    /// The decoded signature, which may have any length.
    pub fn signature(&self) -> &[u8] {
        &self.0.signature
    }
}

/// Builds a compact serialization from an encoded header and a payload. `sign` gets the signing input
/// and returns the signature; its error is returned.
///
/// Source: [RFC 7515 §7.1](https://www.rfc-editor.org/rfc/rfc7515#section-7.1).
pub fn assemble<E>(
    header: &str,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let payload = base64url::encode(payload);
    let mut text = [header, ".", &payload].concat();
    let signature = sign(text.as_bytes())?;
    text.push('.');
    text.push_str(&base64url::encode(&signature));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CompactJws, CompactError> {
        CompactJws::parse(text, 1000)
    }

    #[test]
    fn splits_into_exactly_three_parts() {
        let header = base64url::encode(br#"{"alg":"EdDSA"}"#);
        let jws = parse(&format!("{header}.e30.AAAA")).unwrap();
        assert_eq!(jws.signing_input(), format!("{header}.e30").as_bytes());
        assert_eq!(jws.signature(), [0, 0, 0]);
        assert!(jws.claims().unwrap().members().is_empty());
        for text in [
            format!("{header}.e30"),
            format!("{header}.e30.AAAA."),
            format!("{header}.e30.AAAA.AAAA.AAAA"),
            format!("{header}.e30.AAAA="),
            format!("{header}.e30.AAAB "),
            ".".repeat(900),
        ] {
            assert_eq!(parse(&text).err(), Some(CompactError::NotThreeParts), "{text}");
        }
        assert_eq!(parse(&"a".repeat(1001)).err(), Some(CompactError::TooLong));
        let text = format!("{header}.e30.AAAA");
        assert!(CompactJws::parse(&text, text.len()).is_ok());
        assert!(CompactJws::parse(&text, text.len() - 1).is_err());
    }
}
