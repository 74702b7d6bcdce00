//! Exit codes: 0 ok, 1 refused, 2 usage, 3 unavailable.

use std::io::Write;
use std::process::ExitCode;

use edgepass_issuer::storage::StoreError;

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Refused: by the policy, or the token by the verifier.
    Refused,
    /// Not now: something that is needed does not answer.
    Unavailable,
}

/// A failure that is not the caller's mistake, or not alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Refused by a rule.
    Refused,
    /// Something needed is not available now.
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

/// Print an error with its causes and give its exit code: 1 and 3 where a [`Failure`] is its root, 3
/// where storage failed, 2 otherwise. With `json` as an object.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let storage = error.chain().any(|cause| cause.is::<StoreError>());
    let failure = error.root_cause().downcast_ref::<Failure>();
    let failure = failure.copied().or_else(|| storage.then_some(Failure::Unavailable));
    let mut text = String::new();
    for cause in error.chain().filter(|cause| !cause.is::<Failure>()) {
        let cause = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    let code: u8 = match failure {
        Some(Failure::Refused) => 1,
        Some(Failure::Unavailable) => 3,
        None => 2,
    };
    let told = if json {
        serde_json::json!({ "error": text, "exit_code": code }).to_string()
    } else {
        format!("edgepass: {text}")
    };
    // Nothing is left to tell where even stderr is gone.
    let _ = writeln!(std::io::stderr(), "{told}");
    ExitCode::from(code)
}
