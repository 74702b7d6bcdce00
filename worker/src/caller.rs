//! Who calls: what the request and the platform say, for the verifier.

use edgepass_verify::Request;
use edgepass_verify::sender::{CertificateThumbprint, Target};
use worker::js_sys::Reflect;
use worker::{Result, web_sys};

use crate::target;

/// The request as the verifier reads it. `external_url` stands for its scheme and authority: what a
/// `Host` header says decides nothing.
pub(crate) fn of(
    request: &web_sys::Request,
    target: &target::Target<'_>,
    external_url: Option<&str>,
) -> Result<Request> {
    let headers = request.headers();
    Ok(Request {
        authorization: headers.get("authorization")?,
        dpop: headers.get("dpop")?,
        query: target.query.strip_prefix('?').map(str::to_owned),
        target: external_url.map(|external| Target {
            method: request.method(),
            url: format!("{external}{}{}", target.path, target.query),
        }),
        certificate: certificate(request),
    })
}

/// The client certificate of the TLS handshake, as Cloudflare reports it in `request.cf`, which no
/// client can write. Headers that name a certificate are never read.
fn certificate(request: &web_sys::Request) -> Option<CertificateThumbprint> {
    let member = |object: &wasm_bindgen::JsValue, name: &str| {
        Reflect::get(object, &name.into())
            .ok()
            .filter(|value| value.is_object() || value.is_string())
    };
    let tls = member(&member(request, "cf")?, "tlsClientAuth")?;
    if member(&tls, "certPresented")?.as_string()? != "1" {
        return None;
    }
    CertificateThumbprint::from_hex(&member(&tls, "certFingerprintSHA256")?.as_string()?)
}
