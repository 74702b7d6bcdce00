//! `edgepass serve`.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use edgepass_issuer::Config;
use edgepass_issuer::config::TargetConfig;
use edgepass_issuer::publish::target::Target;
use edgepass_server::{App, Host, router};
use edgepass_store::Objects;
use reqwest::header::CACHE_CONTROL;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::published;
use crate::exit::Exit;
use crate::{host, native, private};

/// For one document.
const FETCH_BACK_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(file: &Path, json: bool) -> anyhow::Result<Exit> {
    log(json)?;
    let config = super::load_config(file)?;
    let issuer = Arc::new(super::open_issuer(&config).await?);
    let _lock = lock(&config)?;
    let listen = config.listen;
    let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("another process listens on {listen}; stop it or change `listen`")
        }
        _ => anyhow!("{listen} cannot be listened on: {error}"),
    })?;

    let identifier = config.issuer.clone();
    // All at once: those that hang are waited for together.
    let private = Arc::new(private::private(&config, file));
    let open = |target: TargetConfig| {
        let private = Arc::clone(&private);
        tokio::task::spawn_blocking(move || Objects::open(&target, &private))
    };
    let opening: Vec<_> = config.targets.iter().cloned().map(open).collect();
    let mut targets: Vec<Box<dyn Target>> = Vec::new();
    for opened in opening {
        targets.push(Box::new(opened.await?.context("a [[target]] cannot be used")?));
    }
    let app = App::new(config, issuer, targets, Host { now: host::now, fill: host::fill });
    let publishing = Arc::clone(&app);
    let mut publication = tokio::spawn(async move { publishing.publication().run().await });
    let (watching, client) = (Arc::clone(&app), reqwest::Client::new());
    let watch = tokio::spawn(async move {
        watching.fetch_back(|uri| fetch_back(client.clone(), uri)).await;
    });
    tracing::info!(%listen, issuer = identifier, "serving");
    let limit = host::make_room_for_connections();
    let stop = stop_signal()?;
    let stop = async {
        stop.await;
        tracing::info!("stopping");
    };
    tokio::select! {
        () = edgepass_server::serve(listener, limit, router(app), stop) => {}
        // Serving lists that nobody renews would look healthy and be wrong.
        _ = &mut publication => bail!("publication ended; see the log"),
    }
    publication.abort();
    watch.abort();
    Ok(Exit::Ok)
}

/// What the public sees, past caches that heed it.
async fn fetch_back(client: reqwest::Client, uri: String) -> Option<Vec<u8>> {
    let request = client.get(uri).header(CACHE_CONTROL, "no-cache").timeout(FETCH_BACK_TIMEOUT);
    let mut answer = request.send().await.ok()?.error_for_status().ok()?;
    native::bounded(&mut answer, native::MAX_DOCUMENT).await.ok()?
}

/// One publisher per data directory; the lock also tells `revoke` that someone publishes.
fn lock(config: &Config) -> anyhow::Result<File> {
    let path = published::serve_lock(config);
    let shown = path.display();
    let file = private::file(&path).with_context(|| format!("{shown} cannot be written"))?;
    // A `revoke` that looks whether anyone serves holds the lock for a moment: look more than once.
    for _ in 0..10 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{shown} cannot be locked"));
            }
        }
    }
    bail!("another `edgepass serve` uses this data directory ({shown} is locked)")
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Logs go to stderr; `EDGEPASS_LOG` chooses what is logged, such as `debug`.
fn log(json: bool) -> anyhow::Result<()> {
    let filter = match std::env::var("EDGEPASS_LOG") {
        Ok(text) => {
            EnvFilter::try_new(text).context("EDGEPASS_LOG: write a level, such as debug")?
        }
        Err(_) => EnvFilter::new("info,sqlx=warn"),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}
