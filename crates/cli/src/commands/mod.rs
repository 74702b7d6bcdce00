//! Command line of the program, and one module for each command.

mod access;
mod alerts;
mod audit;
mod backup;
mod batch;
mod breach;
mod client;
mod client_secret;
pub(crate) mod database;
mod doctor;
mod erase;
mod examples;
mod guard_policy;
mod init;
mod inspect;
mod issue;
mod keys;
mod leading;
mod leaks;
mod listing;
mod notices;
mod policy;
mod published;
mod records;
mod restore;
mod review;
mod rewrap;
mod serve;
mod source;
mod status;
mod status_act;
mod tokens;
mod usage;
mod verify;

use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use edgepass_issuer::policy::version::{LivePolicy, PolicyUser};
use edgepass_issuer::selection::StatusChange;
use edgepass_issuer::{Config, Issuer};
use edgepass_server::error_chain;
use edgepass_store::AnyStore;

use crate::exit::{Exit, Failure};
use crate::{host, output, vault};

/// Size limit of a response that `doctor` or `serve` fetches, in bytes. No document of an issuer is
/// that large.
const MAX_DOCUMENT: usize = 4 << 20;

/// Short-lived, narrowly scoped, signed tokens that can be revoked in seconds.
#[derive(Parser)]
#[command(name = "edgepass", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    source: source::Source,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  edgepass init my-issuer && cd my-issuer
  edgepass serve
  edgepass issue --role invoice-reader --scope invoices:read --ttl 5m
  edgepass issue --role invoice-reader | edgepass inspect -
  edgepass revoke --jti ID --reason \"laptop lost\"
  edgepass revoke --role invoice-clerk --issued-before now --reason leak --dry-run
  edgepass keys list
  edgepass doctor --url https://api.example/invoices
  edgepass tokens --client billing --live --limit 20
  edgepass usage --by scope --since 30days
  edgepass access request --role customer-reader --for 1h --reason \"incident 4711\"
  edgepass access list --pending
  edgepass alerts --since 1d
  edgepass review --for 30days
  edgepass audit --jti ID
  edgepass audit --since 1h --follow --json
  edgepass audit verify --checkpoint https://witness.example/invoices.checkpoint
  edgepass audit export --from 2026-11-01 --to 2026-12-01 --format csv > november.csv
  edgepass client add billing --role invoice-reader
  edgepass policy check --config policy/
  edgepass policy diff && edgepass policy apply
  edgepass tokens --server https://auth.example --server-token operator.jwt
  edgepass backup /backups/edgepass.db
  edgepass restore /backups/edgepass.db
  edgepass leaks scan . --git . --revoke
  edgepass leaks rule --format kingfisher > edgepass.yml
  edgepass verify < token.txt
  edgepass verify - --issuer URL --audience URL < token.txt
  edgepass verify --batch log.jsonl > verdicts.jsonl

Exit codes: 0 ok, 1 refused, 2 wrong usage or configuration, 3 not available now.
Tokens are read from a file or stdin, never from the command line.";

#[derive(Subcommand)]
enum Command {
    /// Create an issuer: configuration, master key, database, a signing key and a standby key.
    #[command(after_help = examples::INIT)]
    Init(init::Args),
    /// Serve tokens, keys and status lists over HTTP.
    #[command(after_help = examples::SERVE)]
    Serve(serve::Args),
    /// Issue a token under a role.
    #[command(after_help = examples::ISSUE)]
    Issue(issue::Args),
    /// Revoke tokens. Waits up to 5 s until the new status lists are published.
    #[command(after_help = examples::SELECTING)]
    Revoke(status_act::Args),
    /// Suspend tokens. Verifiers refuse them until they are resumed.
    #[command(after_help = examples::SELECTING)]
    Suspend(status_act::Args),
    /// Resume suspended tokens.
    #[command(after_help = examples::SELECTING)]
    Resume(status_act::Args),
    /// Make tokens of other issuers revocable.
    Status {
        #[command(subcommand)]
        act: status::Act,
    },
    /// List or rotate the issuer's keys, withdraw a compromised key, or change the master key.
    Keys {
        #[command(subcommand)]
        act: keys::Act,
    },
    /// Ask for access to a role that needs approval, and decide about requests.
    Access {
        #[command(subcommand)]
        act: access::Act,
    },
    /// List the issued tokens.
    #[command(after_help = examples::TOKENS)]
    Tokens(tokens::Args),
    /// Print how tokens are used, as guards report it.
    #[command(after_help = usage::EXAMPLES)]
    Usage(usage::Args),
    /// Find what the policy allows and nobody used, with the change that takes it away.
    #[command(after_help = review::EXAMPLES)]
    Review(review::Args),
    /// List what rules about misuse have found, and what followed.
    #[command(after_help = alerts::EXAMPLES)]
    Alerts(alerts::Args),
    /// Resume the token that a finding suspended.
    #[command(after_help = examples::UNDO)]
    Undo(alerts::UndoArgs),
    /// Remove who a person is from the audit trail, records, use and requests. The log still verifies.
    #[command(after_help = examples::ERASE)]
    Erase(erase::Args),
    /// Report what was leaked or misused: what it reached, when it ended, with proofs (Art. 33 and 34 GDPR).
    Breach {
        #[command(subcommand)]
        act: breach::Act,
    },
    /// Print what the law wants to be written down: the record of processing activities.
    Records {
        #[command(subcommand)]
        act: records::Act,
    },
    /// Print the audit trail, check it against its log, or prove what is in it.
    #[command(after_help = examples::AUDIT)]
    Audit(audit::Args),
    /// Decode a token without verifying it.
    #[command(after_help = examples::INSPECT)]
    Inspect(inspect::Args),
    /// Verify a token, or a file of requests (--batch), with the guard's verifier.
    #[command(after_help = examples::VERIFY)]
    Verify(verify::Args),
    /// Check the configuration, keys, targets and served documents. With --url, time a revocation.
    #[command(after_help = examples::DOCTOR)]
    Doctor(doctor::Args),
    /// Write a checked copy of the database to a new file. `edgepass serve` may run.
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Args),
    /// Put a backup in the place of the database, with all that the targets show since.
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Args),
    /// Find leaked tokens and secrets, and revoke them; or print a rule for scanners.
    Leaks {
        #[command(subcommand)]
        act: leaks::Act,
    },
    /// Check the policy, compare it with the running one, or let a running `serve` take it.
    Policy {
        #[command(subcommand)]
        act: policy::Act,
    },
    /// List the clients of the configuration, or add one.
    Client {
        #[command(subcommand)]
        act: client::Act,
    },
    /// Generate a client secret and its hash for the configuration.
    #[command(after_help = examples::CLIENT_SECRET)]
    ClientSecret,
    /// Print a completion script for a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Shell to write the script for.
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The error of the command. [`crate::exit::report`] prints it and gives its exit code.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let Self { source, json, command } = self;
        match command {
            Command::Init(args) => init::run(args, &source, json).await,
            Command::Serve(args) => serve::run(args, source, json).await,
            Command::Issue(args) => issue::run(args, &source, json).await,
            Command::Revoke(args) => {
                status_act::run(StatusChange::Revoke, args, &source, json).await
            }
            Command::Suspend(args) => {
                status_act::run(StatusChange::Suspend, args, &source, json).await
            }
            Command::Resume(args) => {
                status_act::run(StatusChange::Resume, args, &source, json).await
            }
            Command::Status { act } => status::run(act, &source, json).await,
            Command::Keys { act } => keys::run(act, &source, json).await,
            Command::Access { act } => access::run(act, &source, json).await,
            Command::Tokens(args) => tokens::run(args, &source, json).await,
            Command::Usage(args) => usage::run(args, &source, json).await,
            Command::Review(args) => review::run(args, &source, json).await,
            Command::Alerts(args) => alerts::run(args, &source, json).await,
            Command::Undo(args) => alerts::undo(args, &source, json).await,
            Command::Erase(args) => erase::run(args, &source, json).await,
            Command::Breach { act } => breach::run(act, &source, json).await,
            Command::Records { act } => records::run(act, &source, json).await,
            Command::Audit(args) => audit::run(args, &source, json).await,
            Command::Inspect(args) => inspect::run(&args, json),
            Command::Verify(args) => verify::run(args, &source, json).await,
            Command::Doctor(args) => doctor::run(args, &source, json).await,
            Command::Backup(args) => backup::run(&args, &source, json).await,
            Command::Restore(args) => restore::run(&args, &source, json).await,
            Command::Leaks { act } => leaks::run(act, &source, json).await,
            Command::Policy { act } => policy::run(act, &source, json).await,
            Command::Client { act } => client::run(act, &source, json).await,
            Command::ClientSecret => client_secret::run(json),
            Command::Completions { shell } => {
                // Written to memory first: the generator panics where a write fails.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "edgepass", &mut script);
                output::line(String::from_utf8_lossy(&script).trim_end())?;
                Ok(Exit::Ok)
            }
        }
    }
}

/// Opens the database of an issuer that `init` made.
async fn open_store(config: &Config) -> anyhow::Result<AnyStore> {
    database::open(config).await
}

/// An error of something that is not available now.
fn unavailable(error: impl std::error::Error) -> anyhow::Error {
    anyhow::Error::new(Failure::Unavailable).context(error_chain(&error))
}

/// Opens the issuer for `user`: its master key, its database, and the signing key.
async fn open_issuer(config: &Config, user: &PolicyUser) -> anyhow::Result<Issuer<AnyStore>> {
    let vault = vault::load(config)?;
    let store = Arc::new(database::open(config).await?);
    Ok(Issuer::open(store, config, vault, user).await?)
}

/// Records the version of the policy that a command uses.
async fn record_policy(config: &Config, store: &AnyStore) -> anyhow::Result<LivePolicy> {
    Ok(LivePolicy::record(Arc::clone(&config.policy), store, &policy_user()).await?)
}

/// This command as a user of the policy.
fn policy_user() -> PolicyUser {
    PolicyUser { actor: actor(), at: host::now(), serves: false }
}

/// Actor for the audit trail: `cli:` and the user name from `USER` or `LOGNAME`, else `unknown`.
/// The name is not authenticated.
fn actor() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    format!("cli:{}", user.as_deref().unwrap_or("unknown"))
}
