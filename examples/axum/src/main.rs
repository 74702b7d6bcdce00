//! An API with axum. It serves invoices to clients whose token has the scope `invoices:read`.
//!
//! `ISSUER=https://issuer.example AUDIENCE=https://api.example PORT=8080 cargo run`

use std::env::var;

use axum::{Json, Router, routing::get};
use edgepass_client::{Client, Token};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::of_issuer(&var("ISSUER")?, &var("AUDIENCE")?)?;
    let guard = client.require_scopes(["invoices:read"])?;
    let app: Router = Router::new().route("/invoices", get(invoices)).route_layer(guard);
    let address = format!("127.0.0.1:{}", var("PORT").unwrap_or("8080".into()));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn invoices(token: Token) -> Json<Value> {
    Json(json!({ "client": token.claim("client_id"), "invoices": [{ "id": 1 }] }))
}
