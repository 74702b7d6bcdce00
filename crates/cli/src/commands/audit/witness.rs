//! `edgepass audit witness`: vouches for the log of an issuer, from a machine that is not the issuer's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use edgepass_jose::base64url;
use edgepass_log::proof::{check_consistency, consistency_tiles, prove_consistency};
use edgepass_log::{Checkpoint, Cosigner, Note, VerifierKey};
use edgepass_verify::policy::duration::DurationText;
use serde_json::json;
use zeroize::Zeroizing;

use super::{damaged, entries, fetch};
use crate::commands::source::Source;
use crate::exit::{Exit, Failure};
use crate::{host, output, private};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the log is published, as `edgepass audit key` prints it.
    url: String,
    /// The key of the log.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Name of the witness: a URL of yours without its scheme, such as witness.example/w1.
    #[arg(long)]
    name: String,
    /// File with the witness's private key. It is made if it does not exist.
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,
    /// File for the newest cosigned checkpoint. It must outlive this machine's restarts.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Look again after this time, until interrupted, such as 1m. Without it: look once.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = DurationText::parse(text).ok().map(|DurationText(duration)| duration);
    let read = read.filter(|duration| *duration >= Duration::from_secs(1));
    read.ok_or_else(|| "write at least a second, such as 30s or 1m".to_owned())
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_server()?;
    let key: VerifierKey = args.key.parse().map_err(|error| anyhow!("--key: {error}"))?;
    let cosigner = open_key(&args)?;
    loop {
        let seen = look(&args, &key, &cosigner).await;
        let Some(every) = args.every else {
            tell(&seen?, &cosigner, json)?;
            return Ok(Exit::Ok);
        };
        match seen {
            Ok(seen) => tell(&seen, &cosigner, json)?,
            // What is away comes back; a log that lies does not become honest.
            Err(error)
                if error.root_cause().downcast_ref::<Failure>() == Some(&Failure::Unavailable) =>
            {
                output::remark(&format!("edgepass: {error:#}"));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(every).await;
    }
}

/// What one look found.
struct Seen {
    size: u64,
    before: u64,
}

/// Fetches the newest checkpoint, checks that it continues the one in the state file, cosigns it and
/// keeps it.
async fn look(args: &Args, key: &VerifierKey, cosigner: &Cosigner) -> anyhow::Result<Seen> {
    let url = args.url.trim_end_matches('/');
    let text = fetch::text(&format!("{url}/checkpoint")).await?;
    let refused = |what: &str| damaged(format!("{what}; nothing was cosigned"));
    let mut note = Note::parse(text.as_bytes()).map_err(|error| refused(&error.to_string()))?;
    let new = Checkpoint::of_note(&note, key, key.name());
    let new = new.map_err(|error| refused(&error.to_string()))?.tree();
    let old = kept(&args.state, key)?.map(|kept| kept.tree());
    let before = old.map_or(0, |old| old.size);
    if let Some(old) = old.filter(|old| old.size > 0) {
        // A cache may still have the checkpoint before.
        if new.size < old.size {
            return Err(refused(&format!(
                "the log has {}, fewer than the {before} before",
                entries(new.size)
            )));
        }
        let tiles =
            consistency_tiles(old.size, new.size).map_err(|_| refused("the log is too large"))?;
        let tiles = fetch::tiles(url, &tiles).await?;
        let proof = prove_consistency(old.size, new, &tiles);
        let proof = proof.map_err(|error| refused(&error.to_string()))?;
        check_consistency(&proof, old, new).map_err(|_| {
            refused("the log does not continue the checkpoint that was cosigned before")
        })?;
    }
    let seconds = host::now().numeric_date().seconds();
    let cosignature =
        cosigner.cosign(&note, seconds).map_err(|error| refused(&error.to_string()))?;
    note.add(cosignature).map_err(|error| refused(&error.to_string()))?;
    keep(&args.state, &note.to_string())?;
    Ok(Seen { size: new.size, before })
}

fn tell(seen: &Seen, cosigner: &Cosigner, json: bool) -> anyhow::Result<()> {
    if json {
        let key = cosigner.verifier_key().to_string();
        return output::json(&json!({ "size": seen.size, "before": seen.before, "key": key }));
    }
    output::line(&format!("cosigned {}, {} before", entries(seen.size), seen.before))
}

/// The checkpoint in the state file. `None`: there is no such file.
fn kept(state: &Path, key: &VerifierKey) -> anyhow::Result<Option<Checkpoint>> {
    if !state.exists() {
        return Ok(None);
    }
    let text = output::read_text(state)?;
    let kept = Checkpoint::open(text.as_bytes(), key, key.name());
    kept.map(Some).map_err(|error| {
        anyhow!("{}: {error}; it is not a checkpoint of this log", state.display())
    })
}

/// Replaces the state file as a whole.
fn keep(state: &Path, note: &str) -> anyhow::Result<()> {
    let mut name = state.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, state)
    };
    write().with_context(|| format!("{} cannot be written", state.display()))
}

/// Reads the witness's private key, or makes one and prints the public half.
fn open_key(args: &Args) -> anyhow::Result<Cosigner> {
    let shown = args.signing_key.display();
    let seed = if args.signing_key.exists() {
        private::refuse_if_others_may_read(&args.signing_key, "the witness's key")?;
        let text = Zeroizing::new(output::read_text(&args.signing_key)?);
        let seed = base64url::decode_array(text.trim()).map(Zeroizing::new);
        seed.with_context(|| format!("{shown} holds no key that this command made"))?
    } else {
        let mut seed = Zeroizing::new([0; 32]);
        host::fill(seed.as_mut_slice())?;
        let text = Zeroizing::new(base64url::encode(seed.as_slice()));
        let write = || {
            let mut file = private::new_file(&args.signing_key)?;
            writeln!(file, "{}", *text)?;
            file.sync_all()
        };
        write().with_context(|| format!("{shown} cannot be created"))?;
        seed
    };
    let cosigner = Cosigner::from_seed(&args.name, &seed);
    let Ok(cosigner) = cosigner else {
        bail!(
            "--name {:?}: write a URL without its scheme, with no space and no plus sign",
            args.name
        );
    };
    output::remark(&format!("key of the witness: {}", cosigner.verifier_key()));
    Ok(cosigner)
}
