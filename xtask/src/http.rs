//! A plain HTTP client for the journey. It follows no redirect, and any status is a reply.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, Body, SendBody};

use crate::transcript;

/// A response with its whole body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    /// A header's value; empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A member of a JSON body, by its JSON Pointer; `null` if it is absent.
    pub(crate) fn member(&self, pointer: &str) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body.pointer(pointer).cloned().unwrap_or_default()
    }

    /// The code of a refusal; empty if there is none.
    pub(crate) fn code(&self) -> String {
        self.member("/code").as_str().unwrap_or_default().to_owned()
    }
}

/// Send a request, with a timeout of 20 s. Record its credentials, and its response from 400 on.
pub(crate) fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Reply> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(20)))
        .allow_non_standard_methods(true)
        .build()
        .into();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
        if ["authorization", "dpop"].contains(name) {
            transcript::confide(value);
        }
    }
    let response = if body.is_empty() {
        agent.run(request.body(SendBody::none())?)
    } else {
        agent.run(request.body(SendBody::from_owned_reader(std::io::Cursor::new(body.to_owned())))?)
    };
    let (parts, mut body) = response.with_context(|| format!("{method} {url}"))?.into_parts();
    let body = Body::read_to_string(&mut body)?;
    let reply = Reply { status: parts.status.as_u16(), headers: parts.headers, body };
    if reply.status >= 400 {
        transcript::hear(
            &format!("{method} {url}"),
            &format!("{:?} {}", reply.headers, reply.body),
        );
    }
    Ok(reply)
}

/// GET with a token.
pub(crate) fn get(url: &str, token: &str) -> anyhow::Result<Reply> {
    send("GET", url, &[("authorization", &format!("Bearer {token}"))], "")
}

/// POST a form.
pub(crate) fn post_form(url: &str, form: &[(&str, &str)]) -> anyhow::Result<Reply> {
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    send("POST", url, &headers, &body.join("&"))
}

/// Send bytes unchanged and read until the connection is closed.
pub(crate) fn raw(url: &str, request: &str) -> anyhow::Result<String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if !answer.starts_with("HTTP/1.1 2") {
        transcript::hear(url, &answer);
    }
    Ok(answer)
}
