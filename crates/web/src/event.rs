//! Tells a function of the program why a document was refused.

use edgepass_verify::documents::fetch::{Failure, FetchOrder};
use edgepass_verify::documents::refused::{Cause, Refused};
use js_sys::Function;
use wasm_bindgen::JsValue;

use crate::dictionary::object;

/// The HTTP status for which an answer was refused.
pub fn status(refused: Refused) -> Option<u16> {
    match refused {
        Refused::Failed(Failure::Status(status)) => Some(status),
        _ => None,
    }
}

/// Calls the function with `DocumentEvent` of options.ts. What it throws is its own affair.
pub(crate) fn tell(on_event: &Function, order: &FetchOrder, refused: Refused, error: JsValue) {
    let Cause { document, refused } = Cause { document: order.document, refused };
    let event = object(&[
        ("type", "refused".into()),
        ("document", document.name().into()),
        ("url", order.url.as_str().into()),
        ("reason", refused.name().into()),
        ("status", status(refused).map_or(JsValue::UNDEFINED, Into::into)),
        ("error", error),
    ]);
    let _ = event.and_then(|event| on_event.call1(&JsValue::UNDEFINED, &event));
}
