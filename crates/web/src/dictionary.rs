//! JavaScript objects, as option arguments of the host's functions.

use js_sys::{Object, Reflect};
use wasm_bindgen::prelude::*;

/// Creates an object with these members.
///
/// # Errors
///
/// The exception that JavaScript throws.
pub fn object(members: &[(&str, JsValue)]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in members {
        Reflect::set(&object, &(*name).into(), value)?;
    }
    Ok(object.into())
}
