//! Input and output of commands: text for people, JSON for programs.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat};
use serde_json::Value;

/// Prints a line to stdout. A pipe that its reader closed (`| head`) is not an error.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    line_if_read(text).map(|_| ())
}

/// Prints a line to stdout. `false`: nobody reads it, since the pipe's reader has closed it.
pub(crate) fn line_if_read(text: &str) -> anyhow::Result<bool> {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("stdout cannot be written"),
    }
}

/// Tells a person something beside the output. If stderr is closed, nobody listens.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints one JSON value on a line.
pub(crate) fn json(value: &Value) -> anyhow::Result<()> {
    line(&value.to_string())
}

/// Prints JSON values, one on each line. `false`: nobody reads them any more.
pub(crate) fn json_lines(values: &[Value]) -> anyhow::Result<bool> {
    for value in values {
        if !line_if_read(&value.to_string())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses a token among the arguments, also as the value of an option. A later error could repeat
/// the argument.
///
/// # Errors
///
/// The error says how to pass a token instead, and does not repeat it.
pub fn refuse_token_arguments(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    for argument in arguments.skip(1) {
        let text = argument.to_string_lossy();
        let value = match text.split_once('=') {
            Some((option, value)) if option.starts_with('-') => value,
            _ => &text,
        };
        if looks_like_a_token(value) {
            bail!(
                "a token on the command line is visible in shell histories and process lists; pass it on stdin instead: edgepass ... - < token.txt"
            );
        }
    }
    Ok(())
}

/// Reads a token from a file, or from stdin for `-`, and trims white space. Refuses an empty input.
pub(crate) fn read_token(source: &Path) -> anyhow::Result<String> {
    let text = read_text(source)?;
    let token = text.trim();
    if token.is_empty() {
        let shown =
            if source == Path::new("-") { "stdin".into() } else { source.display().to_string() };
        bail!("{shown} holds no token");
    }
    Ok(token.to_owned())
}

/// Reads a whole text from a file, or from stdin for `-`. More than 8 MiB is an error.
pub(crate) fn read_text(source: &Path) -> anyhow::Result<String> {
    const MAX_MIB: u64 = 8;
    let shown = source.display();
    let from: Box<dyn Read> = if source == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = std::fs::File::open(source);
        Box::new(
            file.with_context(|| format!("{shown} cannot be read; write \"-\" to read stdin"))?,
        )
    };
    let mut text = String::new();
    let most = MAX_MIB << 20;
    let read = from.take(most + 1).read_to_string(&mut text);
    if read.with_context(|| format!("{shown} cannot be read as UTF-8 text"))? as u64 > most {
        bail!("{shown} is more than {MAX_MIB} MiB; split it");
    }
    Ok(text)
}

/// Awaits `work` and reports on stderr every two seconds that it is still running.
pub(crate) async fn waiting_for<T>(what: &str, work: impl Future<Output = T>) -> T {
    const EVERY: Duration = Duration::from_secs(2);
    let mut work = std::pin::pin!(work);
    let mut waited = Duration::ZERO;
    loop {
        match tokio::time::timeout(EVERY, &mut work).await {
            Ok(done) => return done,
            Err(_) => waited = waited.saturating_add(EVERY),
        }
        // Progress is not essential: ignore a closed stderr.
        let _ = writeln!(io::stderr(), "{what}: {} s so far ...", waited.as_secs());
    }
}

/// Formats seconds since the epoch as a date in UTC, such as `2026-11-21T10:00:00Z`. A time beyond
/// the calendar stays a number.
pub(crate) fn date(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .map_or_else(|| seconds.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A time in milliseconds since the epoch, as [`date`] but with milliseconds.
pub(crate) fn date_ms(millis: u64) -> String {
    i64::try_from(millis)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .map_or_else(|| millis.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Whether the text has the form of a signed token: JSON that begins with `{`, in base64url, and
/// two dots. No host name and few file names are that long.
fn looks_like_a_token(text: &str) -> bool {
    let text = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    text.len() >= 60
        && (text.starts_with("ey") || text.starts_with("ew"))
        && text.matches('.').count() >= 2
        && text.bytes().all(plain)
}

/// A line of comma-separated values (RFC 4180). A value that a spreadsheet would calculate begins with an
/// apostrophe.
pub(crate) fn csv_line(values: impl IntoIterator<Item = String>) -> anyhow::Result<String> {
    let harmless = |value: String| match value.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{value}"),
        false => value,
    };
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(values.into_iter().map(harmless))?;
    let line = csv.into_inner().context("the values cannot be written")?;
    Ok(String::from_utf8(line)?.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_calculates_nothing() {
        let values = std::iter::repeat_n("=1+1".to_owned(), 3);
        assert_eq!(csv_line(values).unwrap(), "'=1+1,'=1+1,'=1+1");
    }
}
