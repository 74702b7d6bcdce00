//! TLS of `serve`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::serving::Serving;
use crate::{Issuer, assert_refused, told};

/// Writes a new certificate for `localhost` into the issuer's folder. Returns it.
fn write_certificate(issuer: &Issuer) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(issuer.path("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::set_permissions(issuer.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(issuer.path("certificate.pem"), cert.pem()).unwrap();
    cert.pem()
}

/// Whether `serve` answers a client that trusts this certificate alone.
fn answers(serving: &Serving, certificate: &str) -> bool {
    let (_, port) = serving.url.rsplit_once(':').unwrap();
    let url = format!("https://localhost:{port}/healthz");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
        client.get(url).send().await.is_ok_and(|response| response.status().is_success())
    })
}

#[test]
fn serve_speaks_tls_and_takes_a_renewed_certificate() {
    let serving = Serving::start_prepared(
        |text| {
            text.replace(
                "[tokens]",
                "[tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n\n[tokens]",
            )
        },
        |issuer| drop(write_certificate(issuer)),
    );
    let first = fs::read_to_string(serving.issuer.path("certificate.pem")).unwrap();
    serving.wait_for("serve answers over TLS", || answers(&serving, &first));
    assert!(serving.get("healthz").is_err(), "plain HTTP is not answered");
    // A half-written certificate changes nothing; the whole one is taken.
    fs::write(serving.issuer.path("certificate.pem"), "-----BEGIN").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(answers(&serving, &first));
    let second = write_certificate(&serving.issuer);
    // Nor does a key that others can read, as at the start.
    let mode = |mode| {
        let key = serving.issuer.path("key.pem");
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(!answers(&serving, &second));
    mode(0o600);
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(answers(&serving, &second));
    assert!(!answers(&serving, &first));
}

#[test]
fn nothing_is_served_in_plain_on_a_public_address_unless_a_proxy_terminates_tls() {
    let issuer = Issuer::new();
    let file = issuer.path("edgepass.toml");
    let text = fs::read_to_string(&file).unwrap();
    let public = text.replace("listen = \"127.0.0.1:", "listen = \"0.0.0.0:");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = issuer.run(&["policy", "check"]);
        (output.status.code(), told(&output))
    };
    let (code, says) = check(&public);
    assert_eq!(code, Some(1));
    assert!(says.contains("not a loopback address"), "{says}");
    assert_refused(&issuer.run(&["serve"]), 2, "not a loopback address");
    assert_eq!(check(&public.replace("[tokens]", "[tls]\nby_proxy = true\n[tokens]")).0, Some(0));
    let half = public.replace("[tokens]", "[tls]\ncertificate = \"a\"\n[tokens]");
    assert!(check(&half).1.contains("[tls] write certificate and key"));

    let with = text.replace(
        "[tokens]",
        "[tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n[tokens]",
    );
    fs::write(&file, with).unwrap();
    assert_refused(&issuer.run(&["serve"]), 2, "key.pem cannot be read");
    write_certificate(&issuer);
    fs::set_permissions(issuer.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused(&issuer.run(&["serve"]), 2, "chmod 600");
    fs::set_permissions(issuer.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(issuer.path("certificate.pem"), "no certificate").unwrap();
    assert_refused(&issuer.run(&["serve"]), 2, "certificate.pem holds no certificate");
}

#[test]
fn an_issuer_for_a_public_address_is_made_for_a_proxy() {
    let issuer = Issuer { folder: tempfile::tempdir().unwrap() };
    let arguments = ["init", ".", "--listen", "0.0.0.0:8787", "--issuer", "https://issuer.example"];
    let output = issuer.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(issuer.run(&["policy", "check"]).status.code(), Some(0));
}
