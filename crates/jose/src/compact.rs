//! The JWS Compact Serialization, split and decoded without trusting a byte of it.

use std::sync::Arc;

use crate::base64url;
use crate::claims::ClaimsSet;
use crate::header::{HeaderError, JoseHeader};
use crate::json::{JsonObject, NotAnObject};

/// A JWS in compact serialization whose parts are well formed. Nothing about it is verified.
///
/// It owns its text, so that it can outlive the request's buffers while a host fetches. Cheap to clone.
#[derive(Clone)]
pub struct CompactJws(Arc<Parts>);

struct Parts {
    text: String,
    signing_input_length: usize,
    header: JoseHeader,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a text is not a compact JWS that this crate reads.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CompactError {
    /// Longer than the caller allows.
    #[error("the serialization is longer than allowed")]
    TooLong,
    /// Not three canonical base64url parts; five parts are a JWE and refused as well.
    #[error("not three base64url parts")]
    NotThreeParts,
    /// The JOSE header cannot be used.
    #[error("the JOSE header is not usable")]
    Header(#[from] HeaderError),
}

impl CompactJws {
    /// Parse `text`, at most `max_bytes` long.
    ///
    /// Source: [RFC 7515 §5.2](https://www.rfc-editor.org/rfc/rfc7515#section-5.2) steps 1 to 7.
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, CompactError> {
        if text.len() > max_bytes {
            return Err(CompactError::TooLong);
        }
        // A period inside the payload is no base64url: it need not be looked for.
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

    /// The JOSE header. Not verified.
    pub fn header(&self) -> &JoseHeader {
        &self.0.header
    }

    /// The payload as a JWT Claims Set. Not verified.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`].
    pub fn claims(&self) -> Result<ClaimsSet, NotAnObject> {
        ClaimsSet::parse(&self.0.payload)
    }

    /// As [`CompactJws::claims`], for whoever needs the payload no more.
    ///
    /// # Errors
    ///
    /// [`NotAnObject`].
    pub fn take_claims(&mut self) -> Result<ClaimsSet, NotAnObject> {
        match Arc::get_mut(&mut self.0) {
            Some(parts) => ClaimsSet::parse(&std::mem::take(&mut parts.payload)),
            None => self.claims(),
        }
    }

    /// What it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let Parts { text, header, payload, signature, .. } = &*self.0;
        let parts = [text.capacity(), header.bytes(), payload.capacity(), signature.capacity()];
        parts.into_iter().fold(size_of::<Parts>(), usize::saturating_add)
    }

    /// The whole serialization.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What the signature covers: the encoded header, a period, the encoded payload.
    pub fn signing_input(&self) -> &[u8] {
        self.0.text.as_bytes().get(..self.0.signing_input_length).unwrap_or_default()
    }

    /// The decoded signature.
    pub fn signature(&self) -> &[u8] {
        &self.0.signature
    }
}

/// Put a compact serialization together from a header, a payload and what signs them.
///
/// Source: [RFC 7515 §7.1](https://www.rfc-editor.org/rfc/rfc7515#section-7.1).
pub fn assemble<E>(
    header: &JsonObject,
    payload: &JsonObject,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let encode = |object: &JsonObject| {
        base64url::encode(serde_json::Value::Object(object.clone()).to_string().as_bytes())
    };
    let mut text = format!("{}.{}", encode(header), encode(payload));
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
