//! Options as JavaScript's interfaces take them.

use js_sys::{Object, Reflect};
use wasm_bindgen::prelude::*;

/// An object with these members.
///
/// # Errors
///
/// What JavaScript throws.
pub fn object(members: &[(&str, JsValue)]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in members {
        Reflect::set(&object, &(*name).into(), value)?;
    }
    Ok(object.into())
}
