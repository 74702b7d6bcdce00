//! Masks values in the origin's responses.

use std::sync::Arc;

use edgepass_mask::{Format, HashKey, Masker};
use wasm_bindgen::prelude::*;

use crate::policy::Route;
use crate::settings::Settings;

#[wasm_bindgen(module = "/src/masking.js")]
extern "C" {
    /// Prepares to mask the body of a response: an object with `body`, which has only the method `pipeTo`, and
    /// `first`, a promise of what becomes of the response. With `at_once` it passes before the origin sends anything.
    #[wasm_bindgen(js_name = maskedBody)]
    pub(crate) fn masked_body(
        response: &web_sys::Response,
        masker: BodyMasker,
        at_once: bool,
    ) -> JsValue;

    /// The content of a response that is not watched.
    #[wasm_bindgen(catch)]
    pub(crate) fn streamed(masked: &JsValue) -> Result<JsValue, JsValue>;

    /// A promise of `response`, or of the refusal that its begin demands.
    pub(crate) fn chosen(
        masked: &JsValue,
        response: &web_sys::Response,
        unmaskable: &web_sys::Response,
        missing: &web_sys::Response,
    ) -> JsValue;
}

/// Masks one body, piece by piece. JavaScript calls it. `None`: no body but an empty one can be masked.
#[wasm_bindgen]
pub struct BodyMasker(Option<Masker>);

#[wasm_bindgen]
impl BodyMasker {
    /// Takes octets of the origin, and returns those of the client.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<u8>, JsError> {
        let mut out = Vec::with_capacity(piece.len());
        self.masker()?.feed(piece, &mut out).map_err(|error| impossible(&error.to_string()))?;
        Ok(out)
    }

    /// Ends the body, and returns the last octets.
    pub fn finish(&mut self) -> Result<Vec<u8>, JsError> {
        let mut out = Vec::new();
        self.masker()?.finish(&mut out).map_err(|error| impossible(&error.to_string()))?;
        Ok(out)
    }

    /// Gives the memory back. JavaScript frees the rest some time, if the module is still the same.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    fn masker(&mut self) -> Result<&mut Masker, JsError> {
        let unfit = || impossible("it is a part, is encoded, or is no JSON in UTF-8");
        self.0.as_mut().ok_or_else(unfit)
    }
}

/// Counts and logs a body that cannot be masked.
fn impossible(why: &str) -> JsError {
    if let Some(settings) = Settings::held() {
        settings.metrics.count("masking_impossible");
    }
    crate::log(&format!("a response of the origin cannot be masked: {why}"));
    JsError::new("the response of the origin cannot be masked")
}

/// The masks of a request's response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Masking {
    /// The rules of the route that hold, as bits. 0: none.
    pub(crate) active: u32,
    /// The issuer of the token.
    pub(crate) issuer: String,
    /// The agreement of the token, or an empty text.
    pub(crate) agreement: String,
}

impl Masking {
    /// The texts, in one: an issuer has no line break.
    pub(crate) fn texts(&self) -> String {
        match self.active {
            0 => String::new(),
            _ => [&*self.issuer, "\n", &*self.agreement].concat(),
        }
    }
}

/// Header fields of a response that are not true of a masked one.
pub(crate) const UNTRUE: [&str; 11] = [
    "accept-ranges",
    "content-digest",
    "content-length",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "repr-digest",
    "signature",
    "signature-input",
    "x-goog-hash",
];
/// Beginnings of the names of such header fields.
pub(crate) const UNTRUE_BEGINNINGS: [&str; 2] = ["x-amz-checksum-", "x-ms-content-crc"];
/// Header fields of a read that ask for a part of a response, or for none: the origin answers for what it
/// sends, not for what the client gets.
pub(crate) const CONDITIONS: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// Removes the header fields that are not true of a masked response.
pub(crate) fn remove_untrue(headers: &web_sys::Headers) -> Result<(), JsValue> {
    let names = headers.keys();
    let mut removed = Vec::new();
    while let Ok(next) = names.next()
        && !next.done()
    {
        let name = next.value().as_string().unwrap_or_default();
        let begins = UNTRUE_BEGINNINGS.iter().any(|begin| name.starts_with(begin));
        if begins || UNTRUE.contains(&&*name) {
            removed.push(name);
        }
    }
    removed.iter().try_for_each(|name| headers.delete(name))
}

/// The masked body of a response. It is an error if there is one that is a part, is encoded, or is no JSON in UTF-8.
pub(crate) fn masked(
    settings: &Settings,
    route: &Route,
    masking: &Masking,
    response: &web_sys::Response,
) -> Option<JsValue> {
    let plan = Arc::clone(&route.masks.as_ref()?.plan);
    let field = |name: &str| response.headers().get(name).ok().flatten().unwrap_or_default();
    let is_whole = ![206, 226].contains(&response.status());
    let encoding = field("content-encoding");
    let is_plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    let format = format_of(&field("content-type")).filter(|_| is_whole && is_plain);
    let masker = format.map(|format| {
        let secret = settings.mask_key.as_ref();
        let key = secret
            .map(|secret| HashKey::new(secret.as_bytes(), &masking.issuer, &masking.agreement));
        Masker::new(plan, masking.active, format, key)
    });
    // Whoever waits for events wants to know that they will come.
    let at_once = format == Some(Format::Events);
    Some(masked_body(response, BodyMasker(masker), at_once))
}

/// The form of a body with this media type. `None`: no JSON in UTF-8.
fn format_of(content_type: &str) -> Option<Format> {
    let mut parts = content_type.split(';');
    let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let charset = value.trim().trim_matches('"');
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset && !["utf-8", "utf8"].contains(&&*charset.to_ascii_lowercase()) {
            return None;
        }
    }
    match kind.as_str() {
        "application/json" | "text/json" => Some(Format::Json),
        // Of several documents, in spite of its name.
        "application/stream+json"
        | "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/json-lines" => Some(Format::Lines),
        "text/event-stream" => Some(Format::Events),
        kind if kind.ends_with("+json") => Some(Format::Json),
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
            ("application/stream+json", Some(Format::Lines)),
            ("application/json; charset=us-ascii", None),
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
