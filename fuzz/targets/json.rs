//! Any bytes as a JSON object. `serde_json` must read an accepted object the same way.
#![no_main]

use edgepass_jose::json::parse_object;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = parse_object(bytes) else { return };
    let ordinary: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(Value::Object(object.clone()), ordinary);
    let written = ordinary.to_string();
    // Writing a long fraction may lose its last bit, so such objects are not read again.
    if !ordinary.as_object().unwrap().values().any(holds_fraction) {
        assert_eq!(parse_object(written.as_bytes()), Ok(object), "{written}");
    }
});

fn holds_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(holds_fraction),
        Value::Object(members) => members.values().any(holds_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
