//! An issuer whose configured algorithm changes, on a real database.

#![allow(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::config::Config;
use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_issuer::issue::{Issuer, Recipient};
use edgepass_issuer::key_change::rotate;
use edgepass_issuer::policy::TokenRequest;
use edgepass_issuer::policy::version::PolicyUser;
use edgepass_issuer::seal::MasterKey;
use edgepass_issuer::signing_key::{KeyState, SealedKey, SigningAlgorithm};
use edgepass_issuer::storage::{KeyChange, KeyStore};
use edgepass_store::SqliteStore;
use edgepass_verify::UnixMillis;

const CONFIG: &str = r#"
issuer = "https://issuer.example"
listen = "127.0.0.1:8787"
data_dir = "data"

[[role]]
name = "reader"
audience = "https://api.example"
scopes = ["invoices:read"]
"#;

/// A different byte for each call.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.0 += 1;
        bytes.fill(self.0);
        Ok(())
    }
}

fn at(seconds: u64) -> UnixMillis {
    UnixMillis(seconds * 1000)
}

/// The header of a token issued now.
async fn header(issuer: &Issuer<SqliteStore>, entropy: &mut Counting, now: u64) -> String {
    let policy = issuer.policy();
    let role = policy.role("reader").unwrap();
    let grant = policy.grant(role, &TokenRequest::default(), at(now)).unwrap();
    let recipient = Recipient::new("c".into(), "c".into(), "test".into());
    let granted = issuer.grant(&policy, &grant, &recipient, entropy, at(now)).unwrap();
    let token = issuer.issue(granted, at(now)).await.unwrap().token;
    let header = token.split('.').next().unwrap();
    String::from_utf8(edgepass_jose::base64url::decode(header).unwrap()).unwrap()
}

#[tokio::test]
async fn another_algorithm_signs_after_two_rotations_and_old_keys_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgepass.db");
    let store = Arc::new(SqliteStore::open(&file, true, || at(1000)).await.unwrap());
    let entropy = &mut Counting(0);
    let master = || MasterKey::new([1; 32]);
    let mut key = |state| {
        SealedKey::generate(SigningAlgorithm::EdDSA, state, &master().into(), entropy, 1000)
            .unwrap()
    };
    let new = vec![key(KeyState::Signing), key(KeyState::Standby)];
    let change = KeyChange { seen: 0, now: 1000, states: Vec::new(), new };
    let act = Act::KeysCreated { key_ids: Vec::new() };
    let entry = AuditEntry { at_ms: 1, actor: "test".into(), policy: None, act };
    assert!(store.change_keys(&change, &entry).await.unwrap());

    let mut now = 1000;
    for (algorithm, during) in [("ES256", "EdDSA"), ("RS256", "ES256"), ("EdDSA", "RS256")] {
        let text = format!("{CONFIG}[keys]\nalgorithm = \"{algorithm}\"\n[tokens]\ntyp = \"JWT\"");
        let config = Config::parse(&text, Path::new("/")).unwrap();
        let user = PolicyUser { actor: "test".into(), at: at(now), serves: true };
        let issuer = Issuer::open(Arc::clone(&store), &config, master(), &user).await.unwrap();
        for expected in [during, algorithm] {
            let changed_at = store.keys().await.unwrap().changed_at;
            store.mark_keys_published(changed_at, now).await.unwrap();
            now += 31;
            rotate(&issuer, entropy, "test", at(now)).await.unwrap();
            let header = header(&issuer, entropy, now).await;
            assert!(header.starts_with(&format!("{{\"alg\":\"{expected}\"")), "{header}");
            assert!(header.ends_with("\"typ\":\"JWT\"}"), "{header}");
        }
    }
    let keys = store.keys().await.unwrap().keys;
    let count = |name: &str| keys.iter().filter(|key| key.algorithm.name() == name).count();
    assert_eq!((count("EdDSA"), count("ES256"), count("RS256")), (4, 2, 2));
}
