//! Masks values in the origin's responses.

use std::sync::Arc;

use edgepass_mask::{Format, HashKey, Masker};
use edgepass_verify::refusal::Refusal;
use wasm_bindgen::prelude::*;

use crate::forward::PendingRequest;
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

    /// A promise of `response`, or of the refusal that its begin demands: of `refusal(isUnmaskable, request, route)`.
    fn chosen(
        masked: &JsValue,
        response: &web_sys::Response,
        refusal: &JsValue,
        request: &web_sys::Request,
        route: usize,
    ) -> JsValue;
}

type Refuse = dyn Fn(bool, web_sys::Request, usize) -> Result<web_sys::Response, JsValue>;

thread_local! {
    /// Refuses a request whose response cannot be masked, or does not come. All requests share this closure.
    static REFUSAL: Closure<Refuse> = Closure::new(|is_unmaskable: bool, request: web_sys::Request, route: usize| {
        let settings = Settings::held().ok_or("no settings for a forwarded request")?;
        let route = settings.policy.routes.get(route).ok_or("no route for a forwarded request")?;
        if !is_unmaskable {
            return crate::unavailable(&settings, &request, route);
        }
        let detail = "the response of the origin cannot be masked";
        let refusal = Refusal::plain(502, "masking_impossible", detail);
        crate::refuse_forwarded(&request, route, &refusal)
    });
}

/// Masks one body, piece by piece. JavaScript calls it. `None`: no body but an empty one can be masked.
#[wasm_bindgen]
pub struct BodyMasker {
    masker: Option<Masker>,
    taken: usize,
}

#[wasm_bindgen]
impl BodyMasker {
    /// Takes octets of the origin, and returns those of the client: not many more than the piece has.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<u8>, JsError> {
        let mut out = Vec::with_capacity(piece.len());
        let taken = self.masker()?.feed_some(piece, piece.len(), &mut out);
        self.taken = taken.map_err(|error| impossible(&error.to_string()))?;
        Ok(out)
    }

    /// How many octets of the last piece were taken. The others are to be fed again.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Ends the body, and returns the last octets.
    pub fn finish(&mut self) -> Result<Vec<u8>, JsError> {
        let mut out = Vec::new();
        self.masker()?.finish(&mut out).map_err(|error| impossible(&error.to_string()))?;
        Ok(out)
    }

    /// Gives the memory back. JavaScript frees the rest some time, if the module is still the same.
    pub fn clear(&mut self) {
        self.masker = None;
    }

    fn masker(&mut self) -> Result<&mut Masker, JsError> {
        let unfit = || impossible("it is a part, is encoded, or is no JSON in UTF-8");
        self.masker.as_mut().ok_or_else(unfit)
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

/// Header fields of a read that ask for a part of a response, or for none: the origin answers for what it
/// sends, not for what the client gets.
pub(crate) const CONDITIONS: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// A forwarded request, whose response is masked.
pub(crate) struct Request<'r> {
    pub(crate) settings: &'r Settings,
    pub(crate) request: &'r web_sys::Request,
    pub(crate) pending: &'r PendingRequest,
}

impl Request<'_> {
    /// Whether anything is masked.
    pub(crate) fn is_active(&self) -> bool {
        self.pending.masking.active != 0
    }

    /// Prepares to mask the body of the response. A body that is a part, is encoded, or is no JSON in UTF-8 is
    /// refused as soon as it has an octet.
    pub(crate) fn masked(&self, route: &Route, response: &web_sys::Response) -> Option<JsValue> {
        let Masking { active, issuer, agreement } = &self.pending.masking;
        let plan = Arc::clone(&route.masks.as_ref()?.plan);
        let field = |name: &str| response.headers().get(name).ok().flatten().unwrap_or_default();
        let is_whole = ![206, 226].contains(&response.status());
        let encoding = field("content-encoding");
        let is_plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
        let format = Format::of_media_type(&field("content-type")).filter(|_| is_whole && is_plain);
        let masker = format.map(|format| {
            let secret = self.settings.mask_key.as_ref();
            let key = secret.map(|secret| HashKey::new(secret.as_bytes(), issuer, agreement));
            Masker::new(plan, *active, format, key)
        });
        // Whoever waits for events wants to know that they will come.
        let at_once = format == Some(Format::Events);
        Some(masked_body(response, BodyMasker { masker, taken: 0 }, at_once))
    }

    /// A promise of the response, or of the refusal that its begin demands.
    pub(crate) fn chosen(&self, masked: &JsValue, response: &web_sys::Response) -> JsValue {
        let route = self.pending.route;
        REFUSAL.with(|refusal| chosen(masked, response, refusal.as_ref(), self.request, route))
    }
}
