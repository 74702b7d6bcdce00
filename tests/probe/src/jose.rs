//! Vectors of RFC 7515, RFC 7520, RFC 7638, RFC 7797 and RFC 8037.

use edgepass_jose::{Algorithm, Jwk, base64url};
use edgepass_verify::host::HostCrypto;
use serde_json::Value;

use crate::{Report, accepts, algorithm_of, array, public, text, unsupported};

pub(crate) async fn run(kind: &str, file: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    match kind {
        "rfc7515.json" => rfc7515(file, crypto, report).await,
        "rfc8037_ed25519.json" => {
            let key = public(&file["jwk"], "EdDSA");
            let valid = accepts(text(file, "compact"), &key, crypto).await;
            report.compare("RFC 8037 A.5".into(), true, valid, None);
        }
        "rfc7797_b64.json" => {
            for name in ["control_compact", "b64_false_detached"] {
                let label = name == "control_compact";
                let compact = text(file, name);
                let valid = accepts(compact, &file["jwk"], crypto).await;
                report.compare(name.into(), label, valid, unsupported(&algorithm_of(compact)));
            }
        }
        "jwk_thumbprints.json" => {
            for vector in array(file, "vectors") {
                thumbprint(vector, report);
            }
        }
        _ => {}
    }
}

async fn rfc7515(file: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    for vector in array(file, "vectors") {
        let compact = text(vector, "compact");
        let algorithm = algorithm_of(compact);
        let key = public(&vector["jwk"], &algorithm);
        let valid = accepts(compact, &key, crypto).await;
        let label = text(vector, "result") == "valid";
        report.compare(text(vector, "name").into(), label, valid, unsupported(&algorithm));
    }
}

/// Judges RFC 7520 §4, and examples of RFC 7797 and RFC 8037 in the same form. Compact
/// serializations are accepted unless detached; the same signatures in JSON serializations are
/// refused.
pub(crate) async fn cookbook(file: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    let title = text(file, "title");
    let named = text(&file["input"], "alg");
    let key = public(&file["input"]["key"], named);
    if let Some(compact) = file["output"]["compact"].as_str() {
        let detached = compact.contains("..");
        let valid = accepts(compact, &key, crypto).await;
        report.compare(format!("{title}: compact"), !detached, valid, unsupported(named));
    }
    for form in ["json", "json_flat"] {
        if !file["output"][form].is_null() {
            let serialization = file["output"][form].to_string();
            let valid = accepts(&serialization, &key, crypto).await;
            report.compare(format!("{title}: {form}"), false, valid, None);
        }
    }
}

fn thumbprint(vector: &Value, report: &mut Report) {
    let jwk = public(&vector["jwk"], "");
    let expected = text(vector, "thumbprint_sha256");
    let mut bare = jwk.clone();
    if let Some(members) = bare.as_object_mut() {
        members.remove("alg");
    }
    let found = Algorithm::ALL
        .iter()
        .find_map(|algorithm| Jwk::from_value(&bare, std::slice::from_ref(algorithm)).ok());
    let reason = (jwk["kty"] == "AKP").then_some("ML-DSA keys are left out of a set");
    let equal = found.is_some_and(|key| key.thumbprint() == expected);
    let well_formed = base64url::decode_array::<32>(expected).is_some();
    report.compare(format!("thumbprint {expected}"), well_formed, equal, reason);
}
