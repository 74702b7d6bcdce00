//! A fault in the tables of keys is detected and changes no verdict.
//!
//! Needs the feature `planted-fault`, which makes constants wrong that only tables use.

use std::cell::Cell;

use edgepass_crypto::prepared::{EARNED_AFTER, PreparedKeys};
use edgepass_verify::batch::{Batch, Outcome};
use edgepass_verify::host::HostCrypto;
use edgepass_verify::native::check_signature;
use edgepass_verify::signature::SignatureRequest;
use serde_json::Value;

const LINES: &str = include_str!("../vectors/batch.jsonl");

/// The host's crypto, with the number of its calls.
struct Counted(Cell<u64>);

impl HostCrypto for Counted {
    async fn check(&self, request: &SignatureRequest) -> bool {
        self.0.set(self.0.get() + 1);
        check_signature(request)
    }
}

#[tokio::test]
async fn the_reference_path_overrules_faulty_tables_for_good() {
    for id in ["algorithm/EdDSA", "algorithm/ES256"] {
        let named = |line: &&str| serde_json::from_str::<Value>(line).unwrap()["id"] == id;
        let line = LINES.lines().find(named).unwrap();
        let keys = PreparedKeys::default();
        let mut batch = Batch::with_prepared(keys.clone());
        let crypto = Counted(Cell::new(0));
        for _ in 0..EARNED_AFTER {
            assert_eq!(batch.judge(line, &crypto).await.verdict, Outcome::Accepted);
        }
        assert!(keys.bytes() > 0, "{id}: tables are there");
        assert_eq!(keys.faults(), 0);
        for _ in 0..10 {
            assert_eq!(batch.judge(line, &crypto).await.verdict, Outcome::Accepted);
        }
        assert_eq!(keys.faults(), 1, "{id}: noticed once, and not used again");
        if id == "algorithm/ES256" {
            assert_eq!(crypto.0.get(), EARNED_AFTER + 10, "all by the host's crypto");
        }
    }
}
