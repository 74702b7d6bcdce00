//! The floor of issuing: an HTTP server that signs tokens and records each durably, and does nothing
//! else. It knows no client, policy, audit trail or status.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use edgepass_jose::base64url;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

/// Rows in one commit, at most.
const MOST: usize = 256;

struct Row {
    jwt_id: String,
    expiration: i64,
    recorded: oneshot::Sender<()>,
}

struct Floor {
    pair: Ed25519KeyPair,
    head: String,
    issuer: String,
    audience: String,
    rows: Sender<Row>,
}

/// Serves at a port, until the process ends. The database is in the current folder.
pub(crate) fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [port, _client, _secret, audience] = arguments else {
        anyhow::bail!("floor PORT CLIENT SECRET AUDIENCE");
    };
    let pair = Ed25519KeyPair::generate()?;
    let kid = base64url::encode(pair.public_key().as_ref());
    let head = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"at+jwt"}}"#);
    let (rows, received) = channel();
    let connection = Connection::open("floor.db")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection
        .execute_batch("CREATE TABLE tokens (jwt_id TEXT PRIMARY KEY, expiration INTEGER)")?;
    std::thread::spawn(move || record(&connection, &received));
    let floor = Arc::new(Floor {
        pair,
        head: base64url::encode(head.as_bytes()),
        issuer: format!("http://127.0.0.1:{port}"),
        audience: audience.clone(),
        rows,
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().context("PORT")?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let routes = Router::new().route("/token", post(token)).with_state(floor);
        Ok(axum::serve(listener, routes).await?)
    })
}

async fn token(State(floor): State<Arc<Floor>>) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("randomness");
    let (jwt_id, expiration) = (base64url::encode(&random), now.cast_signed() + 600);
    let claims = format!(
        r#"{{"iss":"{}","sub":"example-service","aud":"{}","client_id":"example-service","iat":{now},"exp":{expiration},"jti":"{jwt_id}","scope":"invoices:read"}}"#,
        floor.issuer, floor.audience,
    );
    let (recorded, is_recorded) = oneshot::channel();
    floor.rows.send(Row { jwt_id, expiration, recorded }).expect("the thread lives");
    let input = format!("{}.{}", floor.head, base64url::encode(claims.as_bytes()));
    let signature = base64url::encode(floor.pair.sign(input.as_bytes()).as_ref());
    is_recorded.await.expect("recorded");
    let body = format!(
        r#"{{"access_token":"{input}.{signature}","token_type":"Bearer","expires_in":600,"scope":"invoices:read"}}"#
    );
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Records rows: those that arrive while a commit is under way share the next one.
fn record(connection: &Connection, received: &Receiver<Row>) {
    const INSERT: &str = "INSERT INTO tokens (jwt_id, expiration) VALUES (?1, ?2)";
    while let Ok(first) = received.recv() {
        let rows: Vec<Row> = std::iter::once(first).chain(received.try_iter().take(MOST)).collect();
        let all = || -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let mut insert = connection.prepare_cached(INSERT)?;
            for row in &rows {
                insert.execute(params![row.jwt_id, row.expiration])?;
            }
            connection.execute_batch("COMMIT")
        };
        all().expect("recorded");
        for row in rows {
            // The client may have gone.
            let _ = row.recorded.send(());
        }
    }
}
