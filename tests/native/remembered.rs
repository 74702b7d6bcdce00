//! A remembered token gets the verdict of a new one, whatever happened in between.

use std::cell::RefCell;
use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use edgepass_client::{Fetch, NativeHost};
use edgepass_jose::{Scope, base64url};
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_verify::documents::fetch::{Answer, Content, DocumentKind, Failure, FetchOrder};
use edgepass_verify::host::judge_and_refresh;
use edgepass_verify::verifier::{JwksUri, KeySource, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const JWKS: &str = "https://issuer.example/jwks.json";
const LIST: &str = "https://issuer.example/lists/1";
const START: u64 = 1_800_000_000;
const STEPS: u64 = 60_000;

/// Pseudo-random numbers (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len() as u64) as usize]
    }
}

struct Keys(Vec<Ed25519KeyPair>);

impl Keys {
    fn sign(&self, key: usize, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", base64url::encode(self.0[key].sign(input.as_bytes()).as_ref()))
    }

    /// Makes the JWK Set; `published` maps each `kid` to the position of its key.
    fn jwks(&self, published: &BTreeMap<String, usize>, iat: u64) -> String {
        let jwk = |(kid, at): (&String, &usize)| {
            let x = base64url::encode(self.0[*at].public_key().as_ref());
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid, "x": x})
        };
        json!({"keys": published.iter().map(jwk).collect::<Vec<_>>(), "iat": iat}).to_string()
    }
}

/// The current time, and what the sources answer.
struct World {
    now: u64,
    published: BTreeMap<String, usize>,
    jwks: String,
    list: StatusList,
    list_key: usize,
    reachable: bool,
    tokens: Vec<String>,
}

impl World {
    fn change(&mut self, noise: &mut Noise, keys: &Keys) {
        match noise.below(400) {
            0 => {
                // A key is withdrawn, comes back, or another key takes its `kid`.
                let own = noise.below(3) as usize;
                let kid = format!("k{own}");
                match noise.below(8) {
                    0 | 1 => drop(self.published.remove(&kid)),
                    2 => drop(self.published.insert(kid, 3)),
                    _ => drop(self.published.insert(kid, own)),
                }
                self.jwks = keys.jwks(&self.published, self.now / 1000);
            }
            1 => assert!(self.list.set(noise.below(64), noise.below(2) as u8)),
            2 => self.list_key = noise.below(3) as usize,
            3..6 => self.reachable = noise.below(5) > 0,
            6 => self.now += 1000 * noise.below(30),
            7 => self.now -= noise.below(2000),
            _ => self.now += noise.below(40),
        }
    }

    /// Issues a token. It replaces a random one, or is added while there are fewer than 40.
    fn issue(&mut self, noise: &mut Noise, keys: &Keys, number: u64) {
        let seconds = self.now / 1000;
        let key = noise.below(3) as usize;
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("k{key}")});
        let claims = json!({
            "iss": ISSUER, "sub": "s", "client_id": "c", "jti": number.to_string(),
            "aud": noise.pick(&["api", "api", "api", "other"]), "scope": "a b",
            "iat": seconds, "exp": seconds + 5 + noise.below(120),
            "status": {"status_list": {"idx": noise.below(66), "uri": LIST}},
        });
        let token = keys.sign(key, &header, &claims);
        match self.tokens.get_mut(noise.below(40) as usize) {
            Some(place) => *place = token,
            None => self.tokens.push(token),
        }
    }
}

struct Source<'w>(&'w RefCell<World>, &'w Keys);

impl Fetch for Source<'_> {
    async fn fetch(&self, order: &FetchOrder) -> Answer {
        let world = self.0.borrow();
        let seconds = world.now / 1000;
        let body = |text: String| Content::Body {
            bytes: text.into_bytes(),
            media_type: Some(order.document.accept().to_owned()),
            etag: None,
        };
        let content = match order.document {
            DocumentKind::JwkSet if world.reachable => body(world.jwks.clone()),
            DocumentKind::StatusList if world.reachable => {
                let kid = format!("k{}", world.list_key);
                let header = json!({"alg": "EdDSA", "typ": "statuslist+jwt", "kid": kid});
                let claims = json!({
                    "sub": LIST, "iat": seconds, "exp": seconds + 600, "ttl": 5,
                    "status_list": {"bits": 1, "lst": encode(&world.list)},
                });
                body(self.1.sign(world.list_key, &header, &claims))
            }
            _ => Content::Failed(Failure::Unknown),
        };
        Answer { content, ..Answer::failed(UnixMillis(world.now)) }
    }
}

fn verifier(verified_bytes: usize) -> Verifier {
    let config = json!({"issuer": ISSUER, "audience": "api", "leeway": "2s"});
    let config: PolicyConfig = serde_json::from_value(config).unwrap();
    let keys = KeySource::Url(JwksUri::parse(JWKS).unwrap());
    Verifier::new(Policy::try_from(config).unwrap(), keys)
        .unwrap()
        .with_verified_bytes(verified_bytes)
}

#[tokio::test]
async fn no_sequence_of_events_tells_a_remembered_token_from_a_new_one() {
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let keys = Keys((1..=4).map(pair).collect());
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    // 150,000 bytes are enough for most tokens but not for all; with 0 none is remembered.
    let verifiers = [verifier(150_000), verifier(0)].map(RefCell::new);
    let published: BTreeMap<String, usize> = (0..3).map(|at| (format!("k{at}"), at)).collect();
    let world = RefCell::new(World {
        now: START * 1000,
        jwks: keys.jwks(&published, START),
        published,
        list: StatusList::all_valid(Bits::One, 64),
        list_key: 0,
        reachable: true,
        tokens: Vec::new(),
    });
    let mut tally: BTreeMap<&str, u64> = BTreeMap::new();
    for step in 0..STEPS {
        world.borrow_mut().change(&mut noise, &keys);
        if step < 40 || noise.below(50) == 0 {
            world.borrow_mut().issue(&mut noise, &keys, step);
        }
        let token = {
            let tokens = &world.borrow().tokens;
            tokens[noise.below(tokens.len() as u64) as usize].clone()
        };
        let requirements = Requirements {
            all_of: Scope::parse(noise.pick(&["a", "a b", "a", "c"])).unwrap(),
            audience: (noise.below(5) == 0).then(|| vec!["other".to_owned()]),
            issuers: (noise.below(20) == 0).then(|| vec!["https://nobody.example".to_owned()]),
            ..Requirements::default()
        };
        let mut said = Vec::new();
        for verifier in &verifiers {
            let check =
                verifier.borrow_mut().begin(&token, Sender::default(), requirements.clone());
            let now = || UnixMillis(world.borrow().now);
            let host = NativeHost::new(Source(&world, &keys), now);
            let verdict = judge_and_refresh(verifier, check, &host).await;
            *tally.entry(verdict.error().map_or("accepted", |error| error.code())).or_default() +=
                1;
            said.push(format!("{verdict:?}"));
        }
        assert_eq!(said[0], said[1], "step {step}");
    }
    let [remembers, forgets] = verifiers.map(|verifier| verifier.borrow().counters().remembered);
    println!("{STEPS} steps, {remembers} remembered: {tally:?}");
    assert_eq!(forgets, 0);
    assert!(remembers > STEPS / 6, "{remembers}");
    for code in [
        "accepted",
        "token_expired",
        "token_revoked",
        "key_not_found",
        "signature_invalid",
        "scope_insufficient",
        "audience_mismatch",
        "issuer_mismatch",
        "keys_unavailable",
        "status_unavailable",
    ] {
        assert!(tally.get(code).is_some_and(|count| *count > 20), "{code}: {tally:?}");
    }
}
