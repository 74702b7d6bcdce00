//! Exit codes: 0 ok, 1 refused, 2 usage, 3 unavailable.

use std::io::Write;
use std::process::ExitCode;

use edgepass_issuer::storage::StoreError;

/// Outcome of a command that completed without an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Success; exit code 0.
    Ok,
    /// The verifier refused the token, or `doctor` found a failure; exit code 1.
    Refused,
    /// The verifier could not get a document that it needs, or a recorded change is not published;
    /// exit code 3.
    Unavailable,
}

/// Root cause of an error whose exit code is 1 or 3. An error with another root cause gives 3 if
/// storage failed, and else 2 (usage or configuration).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The command is refused, such as by the issuer's policy or for an unknown `jti`; exit code 1.
    Refused,
    /// A component that is needed is not available now; exit code 3.
    Unavailable,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unavailable => "not available now",
        })
    }
}

impl std::error::Error for Failure {}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::Refused => Self::from(1),
            Exit::Unavailable => Self::from(3),
        }
    }
}

/// Prints an error with its causes to stderr and returns its exit code: 1 or 3 if the root cause is
/// a [`Failure`], 3 if storage failed, else 2. With `json`, prints a JSON object.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let storage = error.chain().any(|cause| cause.is::<StoreError>());
    let failure = error.root_cause().downcast_ref::<Failure>();
    let failure = failure.copied().or_else(|| storage.then_some(Failure::Unavailable));
    let mut text = String::new();
    for cause in error.chain().filter(|cause| !cause.is::<Failure>()) {
        let cause = cause.to_string();
        // The text of some libraries' errors already contains the text of the source.
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    let code: u8 = match failure {
        Some(Failure::Refused) => 1,
        Some(Failure::Unavailable) => 3,
        None => 2,
    };
    let line = if json {
        serde_json::json!({ "error": text, "exit_code": code }).to_string()
    } else {
        format!("edgepass: {text}")
    };
    // If stderr is closed, there is nowhere left to report that.
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}
