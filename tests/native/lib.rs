//! Replays vectors on the native host.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use edgepass_client::{Fetch, NativeHost};
use edgepass_verify::checks::RequirementsConfig;
use edgepass_verify::documents::fetch::{Answer, Content, Failure, FetchOrder};
use edgepass_verify::host::judge_and_refresh;
use edgepass_verify::verifier::{JwksUri, KeySource, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Request, Requirements, Sender, UnixMillis};
use serde::Deserialize;
use serde_json::Value;

/// The content of `verify.json`.
#[derive(Deserialize)]
pub struct VectorFile {
    defaults: Defaults,
    /// Vectors in their order: those of one session depend on earlier ones.
    pub vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Defaults {
    jwks: Value,
    responses: BTreeMap<String, Response>,
}

/// The input of one verdict, and the expected outcome.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Unique name in the form `family/name`.
    pub id: String,
    #[serde(default)]
    session: Option<String>,
    token: Option<String>,
    #[serde(default, deserialize_with = "present")]
    authorization: Option<Option<String>>,
    policy: PolicyConfig,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    #[serde(default)]
    discover: bool,
    #[serde(default)]
    #[serde(rename = "demand")]
    requirements: RequirementsConfig,
    now: u64,
    responses: Option<BTreeMap<String, Response>>,
    /// The expected outcome.
    pub expect: Outcome,
}

#[derive(Clone, Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

/// The outcome of a vector. `fetched` is not compared if the expected outcome does not have it.
#[derive(Debug, Deserialize, PartialEq)]
pub struct Outcome {
    accepted: bool,
    code: Option<String>,
    stale: bool,
    fetched: Option<Vec<String>>,
}

/// Replays vectors. Vectors of one session share a verifier.
#[derive(Default)]
pub struct Replay {
    sessions: HashMap<String, RefCell<Verifier>>,
}

impl Replay {
    /// Judges one vector with its policy, keys, time and responses.
    ///
    /// # Panics
    ///
    /// If the vector is malformed: a wrong policy, wrong keys, or no token.
    #[expect(clippy::panic, reason = "a broken vector file is a broken test")]
    pub async fn judge(&mut self, vector: &Vector, file: &VectorFile) -> Outcome {
        let policy: Policy = match vector.policy.clone().try_into() {
            Ok(policy) => policy,
            Err(error) => panic!("{}: {error}", vector.id),
        };
        let requirements = match Requirements::try_from(vector.requirements.clone()) {
            Ok(requirements) => requirements,
            Err(error) => panic!("{}: {error}", vector.id),
        };
        let keys = keys(vector, file, &policy);
        let alone = match Verifier::new(policy, keys) {
            Ok(verifier) => RefCell::new(verifier),
            Err(error) => panic!("{}: {error}", vector.id),
        };
        let verifier = match &vector.session {
            None => &alone,
            Some(name) => &*self.sessions.entry(name.clone()).or_insert(alone),
        };
        let check = match (&vector.authorization, &vector.token) {
            (Some(header), _) => {
                let request = Request { authorization: header.clone(), ..Request::default() };
                verifier.borrow_mut().begin_request(request, requirements)
            }
            (None, Some(token)) => {
                verifier.borrow_mut().begin(token, Sender::default(), requirements)
            }
            (None, None) => panic!("{}: neither token nor authorization", vector.id),
        };
        let now = UnixMillis::from_seconds(vector.now);
        let responses = vector.responses.as_ref().unwrap_or(&file.defaults.responses);
        let origin = Origin { responses, now, fetched: RefCell::default() };
        let host = NativeHost::new(origin, || now);
        let verdict = judge_and_refresh(verifier, check, &host).await;
        Outcome {
            accepted: verdict.accepted(),
            code: verdict.error().map(|error| error.code().to_owned()),
            stale: verdict.stale,
            fetched: vector.expect.fetched.as_ref().map(|_| host.fetch.fetched.into_inner()),
        }
    }
}

#[expect(clippy::panic, reason = "a broken vector file is a broken test")]
fn keys(vector: &Vector, file: &VectorFile, policy: &Policy) -> KeySource {
    match (&vector.jwks_uri, vector.discover) {
        (Some(url), _) => match JwksUri::parse(url) {
            Ok(url) => KeySource::Url(url),
            Err(error) => panic!("{}: {error}", vector.id),
        },
        (None, true) => KeySource::Discover,
        (None, false) => {
            let text = vector.jwks.as_ref().unwrap_or(&file.defaults.jwks).to_string();
            match KeySource::given(text.as_bytes(), policy) {
                Ok(source) => source,
                Err(error) => panic!("{}: {error}", vector.id),
            }
        }
    }
}

/// A source with the vector's responses. A URL without a response is unreachable.
struct Origin<'v> {
    responses: &'v BTreeMap<String, Response>,
    now: UnixMillis,
    fetched: RefCell<Vec<String>>,
}

impl Fetch for Origin<'_> {
    async fn fetch(&self, order: &FetchOrder) -> Answer {
        self.fetched.borrow_mut().push(order.url.clone());
        let content = match self.responses.get(&order.url) {
            Some(Response { status: 304, .. }) => Content::NotModified,
            Some(Response { status: 200, headers, body }) if body.len() <= order.max_bytes => {
                let header = |name: &str| headers.get(name).cloned();
                Content::Body {
                    bytes: body.clone().into_bytes(),
                    media_type: header("content-type"),
                    etag: header("etag"),
                }
            }
            _ => Content::Failed(Failure::Unknown),
        };
        Answer { content, ..Answer::failed(self.now) }
    }
}

/// Distinguishes `null`, which becomes `Some(None)`, from an absent member.
fn present<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(input).map(Some)
}
