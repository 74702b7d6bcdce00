//! `edgepass inspect`.

use std::path::PathBuf;

use edgepass_jose::{ClaimsSet, CompactJws};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::{host, output};

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A file that holds the token, or - for stdin.
    #[arg(default_value = "-")]
    token_file: PathBuf,
}

pub(super) fn run(args: &Args, json: bool) -> anyhow::Result<Exit> {
    const MAX_TOKEN_BYTES: usize = 1 << 20;
    let token = output::read_token(&args.token_file)?;
    let refused = |text: String| anyhow::Error::new(Failure::Refused).context(text);
    let jws = CompactJws::parse(&token, MAX_TOKEN_BYTES)
        .map_err(|error| refused(format!("not a token: {error}")))?;
    let payload = jws.payload_object().map_err(|error| refused(format!("not a token: {error}")))?;
    let claims = ClaimsSet::new(payload);
    if json {
        output::json(&json!({
            "verified": false,
            "header": jws.header().members(),
            "claims": claims.members(),
        }))?;
        return Ok(Exit::Ok);
    }
    output::line("UNVERIFIED: anyone can write what follows; only `edgepass verify` can tell.")?;
    output::line("header")?;
    for (name, value) in jws.header().members() {
        output::line(&format!("  {name:<10} {}", shown(value)))?;
    }
    output::line("claims")?;
    for (name, value) in claims.members() {
        let date = match (name.as_str(), value.as_u64()) {
            ("exp" | "nbf" | "iat", Some(at)) => format!("  ({})", relative(at)),
            _ => String::new(),
        };
        output::line(&format!("  {name:<10} {}{date}", shown(value)))?;
    }
    Ok(Exit::Ok)
}

/// A value as JSON: quotes and escapes keep control characters from reaching the terminal.
fn shown(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        if character.is_control() || ('\u{200b}'..='\u{202e}').contains(&character) {
            text.extend(character.escape_unicode());
        } else {
            text.push(character);
        }
    }
    text
}

fn relative(at: u64) -> String {
    let now = host::now().numeric_date().seconds();
    let distance =
        edgepass_verify::duration::DurationText(std::time::Duration::from_secs(at.abs_diff(now)));
    let date = output::date(at);
    if at == now {
        return format!("{date}, now");
    }
    if at > now { format!("{date}, in {distance}") } else { format!("{date}, {distance} ago") }
}
