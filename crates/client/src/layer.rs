//! A layer of tower that lets a request pass only with an accepted token.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use edgepass_jose::{ClaimsSet, Scope};
use edgepass_verify::checks::RequirementsError;
use edgepass_verify::refusal::Refusal;
use edgepass_verify::sender::{CertificateThumbprint, Endpoint, Network};
use edgepass_verify::{Request, Requirements, Verdict};
use http::{HeaderMap, HeaderValue, Response, StatusCode, request};
use tower_layer::Layer;
use tower_service::Service;

use crate::client::Client;

/// The layer. Make it with [`Client::require`] or [`Client::require_scopes`].
///
/// A refused request gets the challenge of RFC 6750 and a body of RFC 9457; the inner service does
/// not see it. With an accepted one the inner service finds a [`Token`] in the request's extensions.
///
/// Where the token is not in `Authorization`, a shared cache may store a response: send
/// `Cache-Control: private` with every one that is for one client (RFC 9111 §3.5).
///
/// For a token that is bound to a certificate, your TLS acceptor puts a [`CertificateThumbprint`]
/// into the request's extensions.
#[derive(Clone)]
pub struct RequireToken {
    client: Client,
    requirements: Arc<Requirements>,
}

/// An accepted token.
#[derive(Clone)]
pub struct Token(Arc<(ClaimsSet, Scope)>);

impl Token {
    /// The claims.
    pub fn claims(&self) -> &ClaimsSet {
        &self.0.0
    }

    /// The claim `name` if it is a string.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims().string(name).ok().flatten()
    }

    /// The scope that the token grants, from the claim that the policy names.
    pub fn granted(&self) -> &Scope {
        &self.0.1
    }
}

impl Client {
    /// Returns a layer for services whose callers must meet these requirements.
    ///
    /// # Errors
    ///
    /// [`RequirementsError::NotGrantable`]: no token can.
    pub fn require(&self, requirements: Requirements) -> Result<RequireToken, RequirementsError> {
        self.check_requirements(&requirements)?;
        Ok(RequireToken { client: self.clone(), requirements: Arc::new(requirements) })
    }

    /// Returns a layer for services whose callers must have all these scopes.
    ///
    /// # Errors
    ///
    /// [`RequirementsError`]: an item is no scope token, or there is none.
    pub fn require_scopes<const N: usize>(
        &self,
        scopes: [&str; N],
    ) -> Result<RequireToken, RequirementsError> {
        self.require(Requirements::all_of(scopes)?)
    }

    /// Judges the token of an HTTP request, by its head.
    pub async fn verify_parts(
        &self,
        parts: &request::Parts,
        requirements: impl Into<Arc<Requirements>>,
    ) -> Verdict {
        self.verify_request(request_of(parts, self.external_url()), requirements).await
    }
}

/// What the verifier reads of a request.
fn request_of(parts: &request::Parts, external_url: Option<&str>) -> Request {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let field = |name: &str| joined(&parts.headers, name);
    let names = parts.headers.keys().map(|name| name.as_str());
    Request {
        authorization: field("authorization"),
        dpop: field("dpop"),
        query: parts.uri.query().map(str::to_owned),
        method: parts.method.as_str().to_owned(),
        fields: names.filter_map(|name| Some((name.to_owned(), field(name)?))).collect(),
        endpoint: external_url.map(|origin| Endpoint {
            method: parts.method.as_str().to_owned(),
            url: format!("{origin}{path}"),
        }),
        certificate: parts.extensions.get::<CertificateThumbprint>().cloned(),
        network: parts.extensions.get::<Network>().copied().unwrap_or_default(),
    }
}

/// The value of a field, several fields joined (RFC 9110 §5.3, RFC 6265 §5.4). Octets that are no
/// text stay visible as such, so that no field is overlooked.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!values.is_empty()).then(|| values.join(if name == "cookie" { "; " } else { ", " }))
}

/// The response that refuses a request.
fn refused<Body: From<String>>(verdict: &Verdict) -> Option<Response<Body>> {
    let refusal = Refusal::of(verdict.error()?, &verdict.challenge);
    let fields = refusal.headers();
    let mut response = Response::new(Body::from(refusal.body));
    *response.status_mut() =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNAUTHORIZED);
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Some(response)
}

impl<S> Layer<S> for RequireToken {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, rule: self.clone() }
    }
}

/// A service behind [`RequireToken`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    rule: RequireToken,
}

impl<S, In, Out> Service<http::Request<In>> for Guarded<S>
where
    S: Service<http::Request<In>, Response = Response<Out>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    In: Send + 'static,
    Out: From<String> + Send + 'static,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<In>) -> Self::Future {
        // The service that is ready is this one, not its clone.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let RequireToken { client, requirements } = self.rule.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let verdict = client.verify_parts(&parts, requirements).await;
            if let Some(response) = refused(&verdict) {
                return Ok(response);
            }
            if let Ok(claims) = verdict.outcome {
                parts.extensions.insert(Token(Arc::new((claims, verdict.granted))));
            }
            inner.call(http::Request::from_parts(parts, body)).await
        })
    }
}
