//! Vectors of RFC 9449 and RFC 8705.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_jose::{CompactJws, Jwk, base64url};
use edgepass_verify::host::HostCrypto;
use edgepass_verify::sender::CertificateThumbprint;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Report, array, check, text};

/// Judges the proofs of figures 2, 7 and 13: signature, thumbprint, and the hash of the token.
pub(crate) async fn dpop(file: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    for vector in array(file, "proofs") {
        let figure = &vector["fig"];
        let Ok(jws) = CompactJws::parse(text(vector, "proof"), 1 << 14) else {
            report.compare(format!("figure {figure}"), true, false, None);
            continue;
        };
        let key = jws.header().members().get("jwk").cloned().unwrap_or_default();
        let key = Jwk::from_value(&key, &[edgepass_jose::Algorithm::Es256]);
        let valid = match &key {
            Ok(key) => check(key, &jws, crypto).await,
            Err(_) => false,
        };
        report.compare(format!("figure {figure}: signature"), true, valid, None);
        let bound = key.is_ok_and(|key| key.thumbprint() == text(file, "jkt"));
        report.compare(format!("figure {figure}: jkt"), true, bound, None);
        if let Some(token) = vector["access_token"].as_str() {
            let hash = base64url::encode(&Sha256::digest(token.as_bytes()));
            let claims = jws.claims();
            let claimed = claims.as_ref().ok().and_then(|claims| claims.string("ath").ok()?);
            let equal = hash == text(vector, "ath") && claimed == Some(hash.as_str());
            report.compare(format!("figure {figure}: ath"), true, equal, None);
        }
    }
}

/// Judges the thumbprint of the certificate of RFC 8705 appendix A.
pub(crate) fn mtls(file: &Value, report: &mut Report) {
    let pem = text(file, "certificate_pem");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let thumbprint = STANDARD.decode(body).map(|der| CertificateThumbprint::of_der(&der));
    let equal = thumbprint.is_ok_and(|thumbprint| thumbprint.as_str() == text(file, "x5t#S256"));
    report.compare("certificate thumbprint".into(), true, equal, None);
}
