//! Masks values in the origin's responses.

use std::sync::Arc;

use edgepass_mask::{Format, HashKey, MaskError, Masker};
use wasm_bindgen::prelude::*;

use crate::policy::Route;
use crate::settings::Settings;

#[wasm_bindgen(module = "/src/masking.js")]
extern "C" {
    /// Prepares to mask the body of a response: an object with `body`, which has only the method `pipeTo`, and
    /// `first`, a promise of whether the begin of the body can be masked.
    #[wasm_bindgen(js_name = maskedBody)]
    pub(crate) fn masked_body(response: &web_sys::Response, masker: BodyMasker) -> JsValue;

    /// The content of a response that is not watched.
    pub(crate) fn streamed(masked: &JsValue) -> JsValue;

    /// A promise of `response` if the begin of the body can be masked, else of `refusal`.
    pub(crate) fn chosen(
        masked: &JsValue,
        response: &web_sys::Response,
        refusal: &web_sys::Response,
    ) -> JsValue;
}

/// Masks one body, piece by piece. JavaScript calls it and frees it.
#[wasm_bindgen]
pub struct BodyMasker(Masker);

#[wasm_bindgen]
impl BodyMasker {
    /// Takes octets of the origin, and returns those of the client.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<u8>, JsError> {
        let mut out = Vec::with_capacity(piece.len());
        self.0.feed(piece, &mut out).map_err(impossible)?;
        Ok(out)
    }

    /// Ends the body, and returns the last octets.
    pub fn finish(&mut self) -> Result<Vec<u8>, JsError> {
        let mut out = Vec::new();
        self.0.finish(&mut out).map_err(impossible)?;
        Ok(out)
    }
}

/// Counts and logs a body that cannot be masked.
fn impossible(error: MaskError) -> JsError {
    if let Some(settings) = Settings::held() {
        settings.metrics.count("masking_impossible");
    }
    crate::log(&format!("a response of the origin cannot be masked: {error}"));
    error.into()
}

/// The masks of a request's response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Masking {
    /// The rules of the route that hold, as bits. 0: none.
    pub(crate) active: u32,
    /// The agreement of the token, or an empty text.
    pub(crate) agreement: String,
}

/// Header fields of a response that are not true of a masked one.
pub(crate) const UNTRUE: [&str; 8] = [
    "accept-ranges",
    "content-digest",
    "content-length",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "repr-digest",
];
/// Header fields of a request that ask for a part of a response, or for none: the origin answers for what it
/// sends, not for what the client gets.
pub(crate) const CONDITIONS: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// A masker for a response. `None`: it cannot be masked, since it is a part, is encoded, or is no JSON in UTF-8.
pub(crate) fn masker(
    settings: &Settings,
    route: &Route,
    masking: &Masking,
    response: &web_sys::Response,
) -> Option<BodyMasker> {
    let plan = Arc::clone(&route.masks.as_ref()?.plan);
    let field = |name: &str| response.headers().get(name).ok().flatten().unwrap_or_default();
    let is_whole = ![206, 226].contains(&response.status());
    let encoding = field("content-encoding");
    let is_plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    let format = format_of(&field("content-type")).filter(|_| is_whole && is_plain)?;
    let secret = settings.mask_key.as_ref();
    let key = secret.map(|secret| HashKey::new(secret.as_bytes(), &masking.agreement));
    Some(BodyMasker(Masker::new(plan, masking.active, format, key)))
}

/// The form of a body with this media type. `None`: no JSON in UTF-8.
fn format_of(content_type: &str) -> Option<Format> {
    let mut parts = content_type.split(';');
    let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let charset = value.trim().trim_matches('"');
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset && !["utf-8", "utf8", "us-ascii"].contains(&&*charset.to_ascii_lowercase()) {
            return None;
        }
    }
    match kind.as_str() {
        "application/json" | "text/json" => Some(Format::Json),
        kind if kind.ends_with("+json") => Some(Format::Json),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/json-lines" => Some(Format::Lines),
        "text/event-stream" => Some(Format::Events),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_masked() {
        for (content_type, expected) in [
            ("application/json", Some(Format::Json)),
            ("Application/JSON ; charset=UTF-8", Some(Format::Json)),
            ("application/problem+json; charset=\"utf-8\"", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Lines)),
            ("text/event-stream;charset=utf-8", Some(Format::Events)),
            ("application/json; charset=utf-16", None),
            ("application/json; charset=latin1", None),
            ("text/html", None),
            ("text/plain", None),
            ("application/jsonp", None),
            ("json", None),
            ("", None),
        ] {
            assert_eq!(format_of(content_type), expected, "{content_type}");
        }
    }
}
