//! An issuer on another machine: `/admin/v1` over HTTP (`--server`).

use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use edgepass_verify::policy::is_issuer_url;
use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, StatusCode};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::{output, private};

/// Variable with the token; a file takes precedence.
const VARIABLE: &str = "EDGEPASS_TOKEN";
/// Size limit of a response, in bytes.
const MAX_RESPONSE: usize = 64 << 20;
/// Longest wait for a response: an act may change a million tokens.
const TIMEOUT: Duration = Duration::from_secs(130);

pub(crate) struct Remote {
    issuer: String,
    token: Zeroizing<String>,
    client: reqwest::Client,
}

impl Remote {
    /// Makes a client of the issuer. Sends nothing. The token is in `file`, or else in [`VARIABLE`].
    pub(crate) fn new(issuer: &str, file: Option<&Path>) -> anyhow::Result<Self> {
        let issuer = issuer.trim_end_matches('/');
        if !is_issuer_url(issuer) {
            bail!("--server must be the issuer's https URL (http only on loopback)");
        }
        let token = match file {
            Some(file) => {
                if file.to_string_lossy().matches('.').count() == 2 && !file.exists() {
                    // Probably the token itself. It is not repeated.
                    bail!("--server-token names a file that does not exist; put a token into {VARIABLE}");
                }
                if file != Path::new("-") {
                    private::refuse_if_others_may_read(file, "the token file")?;
                }
                output::read_token(file)?
            }
            None => std::env::var(VARIABLE).map_err(|_| {
                anyhow!("put a token of this issuer into {VARIABLE}, or name its file with --server-token")
            })?,
        };
        let client = reqwest::Client::builder()
            .user_agent(edgepass_client::USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        let token = Zeroizing::new(token.trim().to_owned());
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("the token for --server is malformed");
        }
        Ok(Self { issuer: issuer.to_owned(), token, client })
    }

    /// The issuer identifier.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Reads what is at a path below `/admin/v1/`.
    pub(crate) async fn get(&self, path: &str, query: &impl Serialize) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&self.url(path))?;
        let members = serde_json::to_value(query)?;
        for (name, value) in members.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(name, &text);
        }
        self.send(self.client.get(url)).await
    }

    /// As [`Remote::get`] and [`Remote::post`], for a document that is proven: nothing is taken out of its texts. What
    /// prints it does not print control characters.
    pub(crate) async fn document(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Value> {
        let request = match body {
            None => self.client.get(self.url(path)),
            Some(body) => {
                let request = self.client.post(self.url(path));
                request.header(CONTENT_TYPE, "application/json").body(serde_json::to_string(body)?)
            }
        };
        self.answer(request).await
    }

    /// Sends JSON to a path below `/admin/v1/`.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        let request = self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json");
        self.send(request.body(serde_json::to_string(body)?)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/admin/v1/{path}", self.issuer)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let mut value = self.answer(request).await?;
        disarm(&mut value);
        Ok(value)
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let request = request.bearer_auth(self.token.as_str());
        let unavailable = || anyhow::Error::new(Failure::Unavailable);
        let mut response = request.send().await.map_err(|error| {
            let reason = edgepass_server::error_chain(&error.without_url());
            unavailable().context(format!("{} cannot be reached: {reason}", self.issuer))
        })?;
        let status = response.status();
        let body = edgepass_client::bounded(&mut response, MAX_RESPONSE).await;
        let odd = |what: &str| unavailable().context(format!("{}: {what}", self.issuer));
        let body = match body {
            Ok(Some(body)) => body,
            Ok(None) => return Err(odd("the response is too large")),
            Err(_) => return Err(odd("the response was cut off")),
        };
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return value.ok_or_else(|| odd("the response is not that of an issuer"));
        }
        let text = value.as_ref().and_then(|value| value["error_description"].as_str());
        let text: String =
            text.unwrap_or("no reason").chars().filter(|c| !c.is_control()).collect();
        let text = format!("{}: {status}: {text}", self.issuer);
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => unavailable().context(text),
            _ if status.is_server_error() => unavailable().context(text),
            StatusCode::NOT_FOUND => {
                anyhow!("{} has no /admin/v1: is it the issuer identifier?", self.issuer)
            }
            _ => anyhow::Error::new(Failure::Refused).context(text),
        })
    }
}

/// The records of a page: positions and values.
pub(crate) fn records(page: &Value, member: &str) -> anyhow::Result<Vec<(u64, Value)>> {
    let records = page["records"].as_array();
    let one = |record: &Value| Some((record["seq"].as_u64()?, record[member].clone()));
    let read: Option<Vec<_>> = records.and_then(|records| records.iter().map(one).collect());
    read.ok_or_else(not_of_an_issuer)
}

/// The error for a response that lacks what it must have.
pub(crate) fn not_of_an_issuer() -> anyhow::Error {
    anyhow::Error::new(Failure::Unavailable).context("the response is not that of an issuer")
}

/// The member of several lines: a proof, which is parsed before it is printed.
const PROOF: &str = "proof";

/// Removes what would change the terminal: control characters in any text.
fn disarm(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|char| !char.is_control()),
        Value::Array(items) => items.iter_mut().for_each(disarm),
        Value::Object(members) => {
            let others = members.iter_mut().filter(|(name, _)| *name != PROOF);
            others.for_each(|(_, value)| disarm(value));
        }
        _ => {}
    }
}
