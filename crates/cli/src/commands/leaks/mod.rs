//! `edgepass leaks`.

mod found;
mod git;
mod scan;
mod sources;

use clap::ValueEnum;

use super::source::Source;
use crate::commands::examples;
use crate::exit::Exit;
use crate::output;

#[derive(clap::Subcommand)]
pub(super) enum Act {
    /// Find this issuer's tokens and client secrets in files, git history, logs, archives and reports.
    #[command(after_help = scan::EXAMPLES)]
    Scan(scan::Args),
    /// Print a scanner's rule that finds this issuer's tokens and client secrets. Tokens are found if
    /// their key was made by a version that starts each `kid` with `edgepass-`.
    #[command(after_help = examples::LEAKS_RULE)]
    Rule {
        /// The scanner. The rule of kingfisher also validates what it finds, and revokes it.
        #[arg(long, value_enum)]
        format: Format,
    },
}

/// A scanner of secrets.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// Kingfisher, by MongoDB.
    Kingfisher,
    /// gitleaks; GitLab's secret detection reads such rules, too.
    Gitleaks,
    /// TruffleHog.
    Trufflehog,
}

pub(super) async fn run(act: Act, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let format = match act {
        Act::Scan(args) => return scan::run(args, source, json).await,
        Act::Rule { format } => format,
    };
    let issuer = source.load()?.issuer;
    let template = match format {
        Format::Kingfisher => KINGFISHER,
        Format::Gitleaks => GITLEAKS,
        Format::Trufflehog => TRUFFLEHOG,
    };
    let rule = template
        .replace("{keyword}", KEYWORD)
        .replace("{token}", TOKEN)
        .replace("{secret}", SECRET)
        .replace("{issuer}", &issuer);
    output::line(rule.trim_end())?;
    Ok(Exit::Ok)
}

/// `"kid":"edgepass` in base64url, at the place where it stands in the header of every token: after
/// `{"alg":"EdDSA",` or another algorithm of as many letters.
const KEYWORD: &str = "ImtpZCI6ImVkZ2VwYXNz";
const TOKEN: &str = "eyJ[A-Za-z0-9]{17}ImtpZCI6ImVkZ2VwYXNz[A-Za-z0-9_-]{16,}\\.eyJ[A-Za-z0-9_-]{16,}\\.[A-Za-z0-9_-]{86,}";
const SECRET: &str = "edgepass_cs_[A-Za-z0-9_-]{43}[A-Za-z0-9]{6}";

const KINGFISHER: &str = r#"rules:
  - name: Edgepass access token
    id: edgepass.token.1
    pattern: |
      (?x)
      (
        {token}
      )
    min_entropy: 3.5
    confidence: high
    validation:
      type: JWT
    revocation:
      type: Http
      content:
        request:
          method: POST
          url: {issuer}/leaks/revoke
          headers:
            Content-Type: application/json
          body: |
            {"token": "{{ TOKEN }}"}
          response_matcher:
            - report_response: true
            - type: StatusMatch
              status: [202]
  - name: Edgepass client secret
    id: edgepass.secret.1
    pattern: |
      (?x)
      (
        {secret}
      )
    min_entropy: 3.5
    confidence: high
"#;

const GITLEAKS: &str = r#"[[rules]]
id = "edgepass_token"
description = "Edgepass access token of {issuer}"
regex = '''{token}'''
keywords = ["{keyword}"]

[[rules]]
id = "edgepass_client_secret"
description = "Edgepass client secret of {issuer}"
regex = '''{secret}'''
keywords = ["edgepass_cs_"]
"#;

const TRUFFLEHOG: &str = r#"detectors:
  - name: EdgepassToken
    keywords:
      - {keyword}
    regex:
      token: '({token})'
  - name: EdgepassClientSecret
    keywords:
      - edgepass_cs_
    regex:
      secret: '({secret})'
"#;
