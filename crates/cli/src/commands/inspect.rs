//! `edgepass inspect`.

use std::path::PathBuf;

use edgepass_jose::CompactJws;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// File that contains the token, or - for stdin.
    #[arg(default_value = "-")]
    token_file: PathBuf,
}

pub(super) fn run(args: &Args, json: bool) -> anyhow::Result<Exit> {
    const MAX_TOKEN_BYTES: usize = 1 << 20;
    let token = output::read_token(&args.token_file)?;
    let refused = |text: String| anyhow::Error::new(Failure::Refused).context(text);
    let jws = CompactJws::parse(&token, MAX_TOKEN_BYTES)
        .map_err(|error| refused(format!("not a token: {error}")))?;
    let claims = jws.claims().map_err(|error| refused(format!("not a token: {error}")))?;
    let claims = claims.members();
    if json {
        output::json(&json!({
            "verified": false,
            "header": jws.header().members(),
            "claims": claims,
        }))?;
        return Ok(Exit::Ok);
    }
    output::line(
        "UNVERIFIED: the signature was not checked, so anyone may have made this token. Use `edgepass verify`.",
    )?;
    output::line("header")?;
    for (name, value) in &jws.header().members() {
        output::line(&format!("  {:<10} {}", name_shown(name), shown(value)))?;
    }
    output::line("claims")?;
    for (name, value) in &claims {
        let date = match (name.as_str(), value.as_u64()) {
            ("exp" | "nbf" | "iat", Some(at)) => format!("  ({})", relative(at)),
            _ => String::new(),
        };
        output::line(&format!("  {:<10} {}{date}", name_shown(name), shown(value)))?;
    }
    Ok(Exit::Ok)
}

/// Formats a value as JSON with all but printable ASCII as `\u{...}`, so that a token cannot move
/// the cursor, start a line or reverse the direction of the text.
fn shown(value: &Value) -> String {
    escaped(&value.to_string())
}

/// Formats a member's name. A name with quotes, or with anything but visible ASCII characters, is
/// shown as a quoted string, escaped as in [`shown`].
fn name_shown(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if plain { name.to_owned() } else { shown(&Value::from(name)) }
}

fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            ' '..='~' => shown.push(character),
            _ => shown.extend(character.escape_unicode()),
        }
    }
    shown
}

fn relative(at: u64) -> String {
    let now = host::now().numeric_date().seconds();
    let distance = edgepass_verify::policy::duration::DurationText(std::time::Duration::from_secs(
        at.abs_diff(now),
    ));
    let date = output::date(at);
    if at == now {
        return format!("{date}, now");
    }
    if at > now { format!("{date}, in {distance}") } else { format!("{date}, {distance} ago") }
}
