//! Third-party vectors on the native host.

use edgepass_probe::{FILES, run};
use edgepass_verify::native::NativeCrypto;

#[tokio::test]
async fn vectors_of_others_are_judged_as_labelled_or_differ_for_a_reason() {
    let mut wrong = Vec::new();
    let mut total = 0;
    for name in FILES {
        let path = format!("{}/third-party/{name}", env!("CARGO_MANIFEST_DIR"));
        let report = run(name, &std::fs::read_to_string(path).unwrap(), &NativeCrypto).await;
        println!("native: {name}: {} judged, {:?}", report.judged, report.deviations);
        total += report.judged;
        wrong.extend(report.wrong.iter().map(|wrong| format!("{name}: {wrong}")));
    }
    println!("native: {total} vectors of others");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
