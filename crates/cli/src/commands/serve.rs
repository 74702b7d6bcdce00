//! `edgepass serve`.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use edgepass_issuer::config::{TargetConfig, TlsConfig};
use edgepass_issuer::policy::review::review;
use edgepass_issuer::policy::version::PolicyUser;
use edgepass_issuer::publish::target::Target;
use edgepass_issuer::{Config, Issuer};
use edgepass_server::reload::Reload;
use edgepass_server::{App, Fetched, Host, Tls, error_chain, holds, router};
use edgepass_store::{AnyStore, Objects};
use reqwest::header::CACHE_CONTROL;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::alerts;
use super::database;
use super::leading::{self, Leading};
use super::notices::{self, Channels};
use super::published::{self, Server};
use super::source::{Source, Stamp};
use crate::exit::{Exit, Failure};
use crate::mail::Mail;
use crate::webhook::Webhook;
use crate::{host, private, vault};

/// Time limit for closing the database when `serve` stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for fetching back one document.
const FETCH_BACK_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Read the configuration again when its files change, as `edgepass policy apply` does. They are
    /// looked at once a second.
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(args: Args, source: Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_environment("serve")?;
    log(json)?;
    // Before the lock names this process to `edgepass policy apply`: a signal without a handler would
    // end it.
    let hangup = signal(SignalKind::hangup()).context("a signal handler cannot be installed")?;
    let stamp = source.stamp();
    let environments = source.all()?.environments;
    let server = Server::of(&environments);
    let mut served: Vec<Served> = Vec::new();
    for config in environments {
        served.push(Served::open(config, &source, &server).await?);
    }
    let Some(listen) = served.first().map(|served| served.listen) else {
        bail!("the configuration has no environment");
    };
    let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("another process listens on {listen}; stop it or change `listen`")
        }
        _ => anyhow!("cannot listen on {listen}: {error}"),
    })?;
    let tls = served.first().and_then(|served| served.tls.clone());
    let client = reqwest::Client::builder().user_agent(edgepass_client::USER_AGENT).build()?;
    let mut publishing = JoinSet::new();
    for Served { app, store, .. } in &served {
        let webhook = app.config().alerts.as_ref().map(Webhook::open).transpose()?;
        let mail = app.config().mail.as_ref().map(Mail::open).transpose()?;
        let channels = Channels { webhook, mail };
        publishing.spawn(publish(Arc::clone(app), Arc::clone(store), client.clone(), channels));
        tracing::info!(%listen, issuer = app.issuer().issuer(), "serving");
    }
    let apps: Vec<_> = served.iter().map(|served| Arc::clone(&served.app)).collect();
    let limits = host::make_room_for_connections();
    let stop = stop_signal()?;
    let stop = async {
        stop.await;
        tracing::info!("stopping");
    };
    tokio::select! {
        () = edgepass_server::serve(listener, limits, router(apps.clone()), holds(&apps), tls.clone(), stop) => {}
        () = watch_certificate(tls.as_deref()) => {}
        // Without publication `serve` would look healthy while its lists expire.
        ended = publishing.join_next() => match ended {
            Some(Ok(Err(error))) => return Err(error),
            _ => bail!("publishing stopped unexpectedly; see the log"),
        },
        error = reload_on_signal(hangup, args.watch.then_some(stamp), &source, &apps) => {
            return Err(error);
        }
    }
    publishing.shutdown().await;
    for Served { app, store, .. } in &served {
        leading::end(store).await;
        // The database is one whole file then. What is still running is given up.
        if tokio::time::timeout(CLOSE_TIMEOUT, app.issuer().store().close()).await.is_err() {
            tracing::warn!("the database is in use; its write-ahead log stays");
        }
    }
    Ok(Exit::Ok)
}

/// An environment that is served.
struct Served {
    app: Arc<App<AnyStore>>,
    listen: SocketAddr,
    tls: Option<Arc<Tls>>,
    store: Arc<AnyStore>,
    /// Held while the process runs.
    _lock: File,
}

impl Served {
    /// Opens the issuer and the targets of an environment, and locks its data directory.
    async fn open(config: Config, source: &Source, server: &Server) -> anyhow::Result<Self> {
        let vault = vault::load(&config)?;
        let store = Arc::new(database::open(&config).await?);
        let lock = lock(&config, &server.text())?;
        let issuer =
            Arc::new(Issuer::open(Arc::clone(&store), &config, vault, &policy_user()).await?);
        super::audit::compare(issuer.store(), &config).await?;
        // Opened in parallel, so that several targets that hang delay the start no more than one
        // does.
        let private = Arc::new(private::private(&config, source.config()));
        let open = |target: TargetConfig| {
            let private = Arc::clone(&private);
            tokio::task::spawn_blocking(move || Objects::open(&target, &private))
        };
        let opening: Vec<_> = config.targets.iter().cloned().map(open).collect();
        let mut targets: Vec<Box<dyn Target>> = Vec::new();
        if let AnyStore::Postgres(database) = &*store {
            targets.push(Box::new(database.shared_documents()));
        }
        for opened in opening {
            targets.push(Box::new(opened.await?.context("a [[target]] cannot be used")?));
        }
        for remark in review(&config, host::now()) {
            if remark.concern.refuses() {
                tracing::warn!(role = remark.name, "{}", remark.concern);
            }
        }
        let listen = config.listen;
        let tls = match &config.tls {
            TlsConfig::Plain => None,
            TlsConfig::Certificate { certificate, key } => {
                private::refuse_if_others_may_read(key, "the private key of [tls]")?;
                let is_private =
                    |key: &Path| private::refuse_if_others_may_read(key, "the key").is_ok();
                Some(Arc::new(Tls::open(certificate, key, is_private).context("[tls]")?))
            }
        };
        let app = App::new(config, issuer, targets, Host { now: host::now, fill: host::fill })
            .context("a [[federation]] cannot be used")?;
        Ok(Self { app, listen, tls, store, _lock: lock })
    }
}

/// Looks for damage of the database once, and logs it.
async fn report_damage(store: &AnyStore) {
    match store.damage().await {
        Ok(damage) => {
            for found in damage {
                tracing::error!(found, "the database is damaged; restore a backup");
            }
        }
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "the database cannot be read as a whole");
        }
    }
}

/// Publishes from a database. While another process does, serves what that one publishes. Ends with an error
/// when the lease is lost.
async fn publish(
    app: Arc<App<AnyStore>>,
    store: Arc<AnyStore>,
    client: reqwest::Client,
    channels: Channels,
) -> anyhow::Result<()> {
    let leading = match Leading::take(&store).await? {
        Some(leading) => leading,
        None => follow(&app, &store).await?,
    };
    let publication = app.publication();
    publication.lead(leading.valid());
    tracing::info!(issuer = app.issuer().issuer(), "publishing");
    let publish = async {
        let watch = app.fetch_back(|uri| fetch_back(client.clone(), uri));
        let damage = report_damage(&store);
        // Boxed: together their states are too large for the stack of a thread.
        let tell = Box::pin(alerts::tell(&app, channels.webhook.as_ref()));
        let tell_access = Box::pin(notices::tell(&app, &channels));
        let end_access = Box::pin(app.end_access());
        let others = allow_others(&app, &store);
        tokio::join!(
            publication.run(),
            watch,
            app.forget_tokens(),
            app.log_audit(),
            app.act_on_misuse(),
            app.end_agreements(),
            end_access,
            tell,
            tell_access,
            damage,
            others
        );
    };
    tokio::select! {
        () = publish => Ok(()),
        () = leading.lost() => Err(anyhow::Error::new(Failure::Unavailable).context(
            "the lease was lost: the database did not answer in time, or another `edgepass serve` has taken over",
        )),
    }
}

/// Lets the processes that follow serve what this one publishes, as long as publication is not stopped.
async fn allow_others(app: &App<AnyStore>, store: &AnyStore) {
    let AnyStore::Postgres(database) = store else { return };
    app.publication().started().await;
    let mut told = None;
    loop {
        let are_served = !app.publication().is_stopped();
        if told != Some(are_served) {
            match database.set_served(are_served).await {
                Ok(()) => told = Some(are_served),
                Err(error) => {
                    tracing::warn!(error = %error_chain(&error), "other processes were not told");
                }
            }
        }
        tokio::time::sleep(ALLOW_AGAIN).await;
    }
}

/// Time between two looks whether publication is stopped.
const ALLOW_AGAIN: Duration = Duration::from_millis(250);

/// Serves what another process publishes, until this one has the lease.
async fn follow(app: &App<AnyStore>, store: &Arc<AnyStore>) -> anyhow::Result<Leading> {
    tracing::info!(
        issuer = app.issuer().issuer(),
        "another process publishes; serving what it does"
    );
    let written = async |serial| match &**store {
        AnyStore::Postgres(database) => {
            database.documents(serial).await.map(|written| (written.serial, written.documents))
        }
        AnyStore::Sqlite(_) => Ok((serial, Vec::new())),
    };
    tokio::select! {
        () = app.publication().follow(written) => bail!("following stopped unexpectedly"),
        leading = Leading::wait(store) => leading,
    }
}

/// Renews the certificate. Never ends.
async fn watch_certificate(tls: Option<&Tls>) {
    match tls {
        Some(tls) => tls.watch().await,
        None => std::future::pending().await,
    }
}

/// The user of policies that `serve` is.
fn policy_user() -> PolicyUser {
    PolicyUser { actor: "serve".to_owned(), at: host::now(), serves: true }
}

/// How often `serve --watch` looks at the files, and how long it waits after a failure: the cause may be
/// none of the files, so it tries again.
const WATCH: Duration = Duration::from_secs(1);
const WATCH_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Reads the configuration again at each SIGHUP, and with a stamp when the files differ from it.
/// Never ends, except by the returned error.
async fn reload_on_signal(
    mut hangup: Signal,
    mut stamp: Option<Stamp>,
    source: &Source,
    apps: &[Arc<App<AnyStore>>],
) -> anyhow::Error {
    let mut pause = WATCH;
    loop {
        let mut asked_for = None;
        tokio::select! {
            signal = hangup.recv() => if signal.is_none() { break },
            () = changed(source, stamp.as_ref(), pause) => {}
            asked = asked(apps) => asked_for = Some(asked),
        }
        // Before the files are read: a change meanwhile makes the stamps differ again.
        let before = source.stamp();
        let (apps, actor) = match &asked_for {
            None => (apps, "serve"),
            Some((app, request)) => (std::slice::from_ref(*app), request.actor.as_str()),
        };
        let reloaded = reload(source, apps, asked_for.is_none(), actor).await;
        match &reloaded {
            Ok(()) => {
                tracing::info!(actor, "policy read again");
                // Not after the reload of one environment: the others have yet to see the files.
                if asked_for.is_none() {
                    stamp = stamp.map(|_| before);
                }
                pause = WATCH;
            }
            Err(error) => {
                tracing::error!("not every policy was replaced: {error:#}");
                pause = WATCH_AFTER_FAILURE;
            }
        }
        if let Some((_, request)) = asked_for {
            // The operator may have gone.
            let _ = request.reply.send(reloaded.map_err(|_| ()));
        }
    }
    anyhow!("signals no longer arrive")
}

/// Waits until an operator asks an issuer to read its policy again.
async fn asked(apps: &[Arc<App<AnyStore>>]) -> (&Arc<App<AnyStore>>, Reload) {
    let requests =
        apps.iter().map(|app| Box::pin(async move { (app, app.reloads().next().await) }));
    match futures_util::future::select_all(requests).await {
        ((app, Some(request)), ..) => (app, request),
        ((_, None), ..) => std::future::pending().await,
    }
}

/// Waits until the files differ from a stamp and have not changed for a second: an editor may write
/// them in several steps. Never ends without a stamp.
async fn changed(source: &Source, stamp: Option<&Stamp>, pause: Duration) {
    let Some(stamp) = stamp else { return std::future::pending().await };
    tokio::time::sleep(pause).await;
    let mut before = source.stamp();
    loop {
        tokio::time::sleep(WATCH).await;
        let found = source.stamp();
        if found == before && found != *stamp {
            return;
        }
        before = found;
    }
}

/// Uses the policies of the configuration as it is now, in these issuers; `are_all` says whether no other
/// is served. Changes nothing if it has mistakes, or has other environments than those that are served.
async fn reload(
    source: &Source,
    apps: &[Arc<App<AnyStore>>],
    are_all: bool,
    actor: &str,
) -> anyhow::Result<()> {
    // Elsewhere: a file system that hangs, or a large policy, must not hold up connections.
    let files = source.clone();
    let read = tokio::task::spawn_blocking(move || files.all());
    let read = tokio::time::timeout(READ_TIMEOUT, read).await;
    let environments = read.context("the configuration cannot be read in time")???.environments;
    let of = |app: &App<AnyStore>| {
        environments.iter().find(|config| config.environment == app.config().environment)
    };
    let has_others = are_all && environments.len() != apps.len();
    if has_others || apps.iter().any(|app| of(app).is_none()) {
        bail!("the configuration has other environments; restart `edgepass serve`");
    }
    // All or none, as far as the policies themselves can fail.
    for app in apps {
        if let Some(config) = of(app) {
            app.check_policy(&config.policy)?;
        }
    }
    for app in apps {
        let Some(config) = of(app) else { continue };
        for setting in app.config().changed_settings(config) {
            tracing::warn!(setting, "changed; `edgepass serve` takes it when it starts again");
        }
        let user = PolicyUser { actor: actor.to_owned(), ..policy_user() };
        app.use_policy(Arc::clone(&config.policy), &user).await?;
    }
    Ok(())
}

/// Longest wait for the files of the configuration.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches a document from its public URI. `no-cache` makes caches that obey it revalidate. `None`:
/// no response with a body of at most 4 MiB and without an error status within 3 s.
async fn fetch_back(client: reqwest::Client, uri: String) -> Option<Fetched> {
    let request = client.get(uri).header(CACHE_CONTROL, "no-cache").timeout(FETCH_BACK_TIMEOUT);
    let mut answer = request.send().await.ok()?.error_for_status().ok()?;
    let date = edgepass_client::date(&answer);
    let body = edgepass_client::bounded(&mut answer, super::MAX_DOCUMENT).await.ok()??;
    Some(Fetched { body, date })
}

/// Locks the data directory, so that only one `serve` publishes from it. The lock shows other
/// commands that `serve` runs, and the file names its process. A command that keeps `serve` from running
/// writes no `text`.
pub(super) fn lock(config: &Config, text: &str) -> anyhow::Result<File> {
    let path = published::serve_lock(config);
    let shown = path.display();
    let file = private::file(&path).with_context(|| format!("{shown} cannot be written"))?;
    // A command that checks whether `serve` runs holds the lock briefly: try ten times.
    for _ in 0..10 {
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)
                    .and_then(|()| (&file).write_all(text.as_bytes()))
                    .with_context(|| format!("{shown} cannot be written"))?;
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{shown} cannot be locked"));
            }
        }
    }
    bail!("another `edgepass serve` uses this data directory ({shown} is locked)")
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate =
        signal(SignalKind::terminate()).context("a signal handler cannot be installed")?;
    let mut interrupt =
        signal(SignalKind::interrupt()).context("a signal handler cannot be installed")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Reads the value of `EDGEPASS_LOG`. A misspelled level is an error: `Targets` alone would take it
/// as the name of a target and turn off every other log line.
fn log_levels(levels: &str) -> Option<Targets> {
    let levels: Vec<&str> =
        levels.split(',').map(str::trim).filter(|level| !level.is_empty()).collect();
    if levels.is_empty() {
        return "info,sqlx=warn".parse().ok();
    }
    let is_level = |level: &str| {
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(level))
    };
    let is_right = |directive: &&str| match directive.split_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    };
    if !levels.iter().all(is_right) {
        return None;
    }
    levels.join(",").parse().ok()
}

/// Starts logging to stderr. `EDGEPASS_LOG` sets the levels, such as `debug` or
/// `warn,edgepass_server=debug`; default, also for an empty value, `info,sqlx=warn`.
fn log(json: bool) -> anyhow::Result<()> {
    let levels = match std::env::var("EDGEPASS_LOG") {
        Ok(levels) => log_levels(&levels),
        Err(std::env::VarError::NotPresent) => log_levels(""),
        Err(std::env::VarError::NotUnicode(_)) => None,
    };
    let levels = levels.context(
        "EDGEPASS_LOG is not a valid log filter; write a level (off, error, warn, info, debug or trace), or target=level, separated by commas",
    )?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(levels);
    if json {
        registry.with(lines.json()).init();
    } else {
        let ansi = std::io::stderr().is_terminal();
        registry.with(lines.with_target(false).with_ansi(ansi)).init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::log_levels;

    #[test]
    fn a_misspelled_log_level_is_no_filter() {
        let default = Some("info,sqlx=warn".parse().unwrap());
        for (levels, expected) in [
            ("", default.clone()),
            (" , ", default),
            ("debug", Some("debug".parse().unwrap())),
            ("WARN, edgepass_server=debug", Some("warn,edgepass_server=debug".parse().unwrap())),
        ] {
            assert_eq!(log_levels(levels), expected, "{levels}");
        }
        for wrong in ["inof", "6", "info;debug", "edgepass_server", "=info", "a=b", "info,a=b=info"]
        {
            assert_eq!(log_levels(wrong), None, "{wrong}");
        }
    }
}
