//! The arguments of a witness.

use std::path::PathBuf;
use std::time::Duration;

use edgepass_verify::policy::duration::DurationText;

/// What a witness watches, and with which files.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub struct Args {
    /// Where the log is published, as `edgepass audit key` prints it.
    pub url: String,
    /// The key of the log.
    #[arg(long, value_name = "KEY")]
    pub key: String,
    /// Name of the witness: a URL of yours without its scheme, such as witness.example/w1.
    #[arg(long)]
    pub name: String,
    /// File with the witness's private key. It is made if it does not exist.
    #[arg(long, value_name = "FILE")]
    pub signing_key: PathBuf,
    /// File for the newest cosigned checkpoint. It must outlive this machine's restarts.
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// Look again after this time, until interrupted, such as 1m. Without it: look once.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub every: Option<Duration>,
}

/// The end of the help.
pub const EXAMPLES: &str = "\
Needs no configuration: run it on a machine of whoever is to vouch for the log. The file of --state holds
the newest checkpoint, with the witness's cosignature (C2SP tlog-cosignature). A log that does not
continue it is not cosigned: exit code 1.

Examples:
  edgepass-witness https://auth.example/audit-log --key KEY --name witness.example/w1 \\
      --signing-key witness.key --state auth.example.checkpoint --every 1m
  edgepass audit verify --checkpoint auth.example.checkpoint --witness WITNESS_KEY

Exit codes: 0 ok, 1 refused, 2 wrong usage, 3 not available now.";

fn duration(text: &str) -> Result<Duration, String> {
    let read = DurationText::parse(text).ok().map(|DurationText(duration)| duration);
    let read = read.filter(|duration| *duration >= Duration::from_secs(1));
    read.ok_or_else(|| "write at least a second, such as 30s or 1m".to_owned())
}
