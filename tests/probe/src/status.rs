//! Vectors of the Token Status List draft, and invalid lists.

use edgepass_jose::{ClaimsSet, CompactJws};
use edgepass_status_list::list::Bits;
use edgepass_status_list::{StatusList, StatusListClaims, StatusType};
use edgepass_verify::host::HostCrypto;
use serde_json::{Value, json};

use crate::{Report, accepts, array, public, text};

/// The policy's default, 1 MiB.
const MAX_LIST_BYTES: usize = 1 << 20;

pub(crate) async fn run(kind: &str, file: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    match kind {
        "status_list_encoding.json" => {
            for vector in array(file, "vectors") {
                report.compare(text(vector, "name").into(), true, decodes(vector), None);
            }
        }
        "negative_status_lists.json" => {
            for row in array(file, "rows") {
                negative(row, report);
            }
        }
        "status_list_token_examples.json" => {
            let token = text(file, "status_list_token_jwt");
            let valid = accepts(token, &public(&file["key"], "ES256"), crypto).await;
            report.compare("signature".into(), true, valid, None);
            let claims = CompactJws::parse(token, 1 << 14).ok().and_then(|jws| jws.claims().ok());
            let equal = claims.is_some_and(|claims| {
                read(&claims.members().into()).is_some_and(|list| {
                    list.subject == text(&file["claims"], "sub")
                        && list.ttl == file["claims"]["ttl"].as_u64()
                        && list.list.status(0) == Some(StatusType::Invalid)
                })
            });
            report.compare("claims".into(), true, equal, None);
        }
        _ => {}
    }
}

/// Whether a list decodes to every status that the vector names, and to VALID everywhere else.
fn decodes(vector: &Value) -> bool {
    let bits = vector["bits"].as_u64().and_then(Bits::from_number);
    let Some(list) =
        bits.and_then(|bits| StatusList::decode(bits, text(vector, "lst"), MAX_LIST_BYTES).ok())
    else {
        return false;
    };
    let size = vector["size"].as_u64().unwrap_or_default();
    let mut expected: Vec<u8> = vec![0; usize::try_from(size).unwrap_or_default()];
    for pair in array(vector, "statuses") {
        let index = pair[0].as_u64().and_then(|index| usize::try_from(index).ok());
        let value = pair[1].as_u64().and_then(|value| u8::try_from(value).ok());
        match (index.and_then(|index| expected.get_mut(index)), value) {
            (Some(slot), Some(value)) => *slot = value,
            _ => return false,
        }
    }
    list.entries() == size
        && (0..size).zip(expected).all(|(index, value)| list.status(index) == Some(value.into()))
}

fn negative(row: &Value, report: &mut Report) {
    let (name, expect) = (text(row, "name"), text(row, "expect"));
    let payload =
        json!({"sub": "https://issuer.example/1", "iat": 1, "status_list": row["status_list"]});
    let found = read(&payload).is_some();
    let reason = expect.starts_with("policy").then_some("left to the verifier's policy: refused");
    report.compare(name.into(), !expect.starts_with("reject"), found, reason);
}

fn read(payload: &Value) -> Option<StatusListClaims> {
    let claims = ClaimsSet::parse(payload.to_string().as_bytes()).ok()?;
    StatusListClaims::from_claims(&claims, MAX_LIST_BYTES).ok()
}
