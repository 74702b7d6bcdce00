//! Times native verification with this library and others, in turns. Prints medians as JSON.
//!
//! Every verdict is checked. Tokens come from stdin: `{kind: {"jwk", "pem", "tokens": [..]}}`.
//! With `floor`, serves the floor of issuing. With `scale`, measures how lists and revocation grow. With
//! `growth`, measures what issuing costs with few and with many tokens. With `chart`, reads results from
//! stdin and prints an SVG.

#![allow(clippy::print_stdout, reason = "this is a program")]

mod batch;
mod chart;
mod editions;
mod floor;
mod growth;
mod scale;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read;
use std::time::Instant;

use anyhow::{Context, ensure};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use edgepass_jose::base64url;
use edgepass_verify::native::check_signature;
use edgepass_verify::verifier::{KeySource, Progress, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";

/// Verifies the token at a position. Returns whether it is accepted.
type Subject = Box<dyn FnMut(usize) -> bool>;

fn main() -> anyhow::Result<()> {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("scale") {
        println!("{}", json!({ "results": scale::measure(asked("--quick"))? }));
        return Ok(());
    }
    if asked("editions") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        println!("{}", json!({ "results": runtime.block_on(editions::measure())? }));
        return Ok(());
    }
    if asked("growth") {
        println!("{}", json!({ "results": growth::measure(asked("--quick"))? }));
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, arguments)) = arguments.split_first()
        && first == "floor"
    {
        return floor::serve(arguments);
    }
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    if asked("chart") {
        println!("{}", chart::of(&serde_json::from_str(&input)?)?);
        return Ok(());
    }
    let quick = asked("--quick");
    let input: BTreeMap<String, Value> = serde_json::from_str(&input)?;
    let mut results = compared(&input, quick)?;
    results.insert("batch".into(), batch::measure(&input["ES256"], quick)?);
    println!("{}", json!({ "results": results }));
    Ok(())
}

/// Returns microseconds of one verification, by kind and subject, and checks every verdict.
fn compared(
    input: &BTreeMap<String, Value>,
    quick: bool,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let (rounds, each) = if quick { (7, 400) } else { (25, 2000) };
    let mut results = BTreeMap::new();
    for (kind, setup) in input {
        let tokens: Vec<String> = serde_json::from_value(setup["tokens"].clone())?;
        let mut subjects = subjects(kind, setup, &tokens)?;
        let mut seen: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
        // The first two rounds warm up.
        for round in 0..rounds + 2 {
            for ((name, subject), times) in subjects.iter_mut().zip(&mut seen) {
                let start = Instant::now();
                for at in 0..each {
                    ensure!(black_box(subject(at % tokens.len())), "{kind} {name}: wrong verdict");
                }
                if round >= 2 {
                    times.push(start.elapsed().as_secs_f64() * 1e6 / each as f64);
                }
            }
        }
        let names = subjects.iter().map(|(name, _)| (*name).to_owned());
        let medians = names.zip(seen.into_iter().map(median)).collect::<BTreeMap<_, _>>();
        results.insert(kind.clone(), json!(medians));
    }
    Ok(results)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn subjects(
    kind: &str,
    setup: &Value,
    tokens: &[String],
) -> anyhow::Result<Vec<(&'static str, Subject)>> {
    let mut subjects: Vec<(&'static str, Subject)> = vec![
        ("aws-lc-rs", aws_lc(kind, setup, tokens)?),
        ("edgepass", edgepass(setup, tokens, 0)?),
        ("edgepass repeat", edgepass(setup, &tokens[..1], 4 << 20)?),
        ("jsonwebtoken", jsonwebtoken(kind, setup, tokens)?),
    ];
    subjects.push(("jwt-simple", jwt_simple(kind, setup, tokens)?));
    Ok(subjects)
}

/// Verifies the signature alone.
fn aws_lc(kind: &str, setup: &Value, tokens: &[String]) -> anyhow::Result<Subject> {
    let part = |name: &str| base64url::decode(setup["jwk"][name].as_str().unwrap_or_default());
    let (x, y) = (part("x").unwrap_or_default(), part("y").unwrap_or_default());
    let (n, e) = (part("n").unwrap_or_default(), part("e").unwrap_or_default());
    let split = |token: &String| {
        let (input, signature) = token.rsplit_once('.')?;
        Some((input.as_bytes().to_vec(), base64url::decode(signature)?))
    };
    let parts: Vec<(Vec<u8>, Vec<u8>)> =
        tokens.iter().map(split).collect::<Option<_>>().context("tokens have three parts")?;
    Ok(match kind {
        "Ed25519" => {
            let key = UnparsedPublicKey::new(&ED25519, x);
            Box::new(move |at| key.verify(&parts[at].0, &parts[at].1).is_ok())
        }
        "ES256" => {
            let point = [&[4][..], &x, &y].concat();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
            Box::new(move |at| key.verify(&parts[at].0, &parts[at].1).is_ok())
        }
        _ => {
            let key = RsaPublicKeyComponents { n, e };
            let rsa = &RSA_PKCS1_2048_8192_SHA256;
            Box::new(move |at| key.verify(rsa, &parts[at].0, &parts[at].1).is_ok())
        }
    })
}

fn edgepass(setup: &Value, tokens: &[String], verified_bytes: usize) -> anyhow::Result<Subject> {
    let config = json!({"issuer": ISSUER, "audience": AUDIENCE, "status": {"mode": "ignore"}});
    let policy: Policy = serde_json::from_value::<PolicyConfig>(config)?.try_into()?;
    let keys = json!({"keys": [setup["jwk"]]}).to_string();
    let keys = KeySource::given(keys.as_bytes(), &policy)?;
    let mut verifier = Verifier::new(policy, keys)?.with_verified_bytes(verified_bytes);
    let now = UnixMillis(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as u64,
    );
    let tokens = tokens.to_vec();
    let requirements = std::sync::Arc::new(Requirements::default());
    Ok(Box::new(move |at| {
        let text = &tokens[at % tokens.len()];
        let mut check =
            verifier.begin(text, Sender::default(), std::sync::Arc::clone(&requirements));
        loop {
            match verifier.advance(&mut check, now) {
                Progress::Decided(verdict) => {
                    while verifier.has_work(now) {
                        verifier.work(now);
                    }
                    return verdict.accepted();
                }
                Progress::CheckSignature(request) => {
                    check.signature_checked(check_signature(&request));
                }
                Progress::Fetch(_) | Progress::CheckReplay(_) | Progress::Wait(_) => return false,
            }
        }
    }))
}

fn jsonwebtoken(kind: &str, setup: &Value, tokens: &[String]) -> anyhow::Result<Subject> {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(setup["jwk"].clone())?;
    let key = DecodingKey::from_jwk(&jwk)?;
    let algorithm = match kind {
        "Ed25519" => Algorithm::EdDSA,
        "ES256" => Algorithm::ES256,
        _ => Algorithm::RS256,
    };
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_nbf = true;
    let tokens = tokens.to_vec();
    Ok(Box::new(move |at| decode::<Value>(&tokens[at], &key, &validation).is_ok()))
}

fn jwt_simple(kind: &str, setup: &Value, tokens: &[String]) -> anyhow::Result<Subject> {
    use std::collections::HashSet;

    use jwt_simple::prelude::*;
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([ISSUER.to_owned()])),
        allowed_audiences: Some(HashSet::from([AUDIENCE.to_owned()])),
        ..VerificationOptions::default()
    };
    let tokens = tokens.to_vec();
    let pem = setup["pem"].as_str().unwrap_or_default();
    Ok(match kind {
        "Ed25519" => {
            let key = Ed25519PublicKey::from_pem(pem)?;
            Box::new(move |at| {
                key.verify_token::<Value>(&tokens[at], Some(options.clone())).is_ok()
            })
        }
        "ES256" => {
            let key = ES256PublicKey::from_pem(pem)?;
            Box::new(move |at| {
                key.verify_token::<Value>(&tokens[at], Some(options.clone())).is_ok()
            })
        }
        _ => {
            let key = RS256PublicKey::from_pem(pem)?;
            Box::new(move |at| {
                key.verify_token::<Value>(&tokens[at], Some(options.clone())).is_ok()
            })
        }
    })
}
