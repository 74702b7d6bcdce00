//! Used DPoP proofs, remembered for all isolates by a Durable Object for each client key.

use std::pin::Pin;

use edgepass_verify::UnixMillis;
use edgepass_verify::dpop::replay::{ProofUse, Replay};
use edgepass_web::ReplayStore;
use worker::durable::ScheduledTime;
use worker::{
    Date, DurableObject, Env, ObjectNamespace, Request, Response, Result, SqlStorage, State,
    durable_object, js_sys,
};

/// The Durable Objects, as the verifier asks them.
pub(crate) struct SharedReplay(pub(crate) ObjectNamespace);

impl ReplayStore for SharedReplay {
    fn first_use(
        &self,
        used: ProofUse,
        _now: UnixMillis,
    ) -> Pin<Box<dyn Future<Output = Replay> + '_>> {
        Box::pin(async move { self.ask(&used).await.unwrap_or(Replay::Unavailable) })
    }
}

impl SharedReplay {
    async fn ask(&self, used: &ProofUse) -> Result<Replay> {
        let id: String = used.id.iter().map(|octet| format!("{octet:02x}")).collect();
        let stub = self.0.get_by_name(&used.key_thumbprint)?;
        let url = format!("https://used-proofs/{id}/{}", used.until.0);
        Ok(match stub.fetch_with_str(&url).await?.status_code() {
            FIRST => Replay::First,
            SEEN => Replay::Seen,
            _ => Replay::Unavailable,
        })
    }
}

const FIRST: u16 = 204;
const SEEN: u16 = 409;

/// The proofs that one client key has made, until they are too old to be accepted.
#[durable_object]
pub struct UsedProofs {
    state: State,
}

impl DurableObject for UsedProofs {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let path = request.path();
        let mut parts = path.split('/').skip(1);
        let id = parts.next().filter(|id| id.len() == 64);
        let until = parts.next().and_then(|until| until.parse::<i64>().ok());
        let (Some(id), Some(until)) = (id, until) else { return Response::error("", 400) };
        let storage = self.state.storage();
        let sql = self.table()?;
        // One statement: two requests at once cannot both be the first.
        let insert =
            "INSERT INTO used (id, until) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id";
        let inserted = sql.exec(insert, vec![id.into(), (until as f64).into()])?;
        match inserted.raw().next() {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(Response::empty()?.with_status(SEEN)),
        }
        if storage.get_alarm().await?.is_none() {
            storage.set_alarm(at(until)).await?;
        }
        Ok(Response::empty()?.with_status(FIRST))
    }

    /// Forget what is too old; with nothing left, the object costs nothing.
    async fn alarm(&self) -> Result<Response> {
        let storage = self.state.storage();
        let sql = self.table()?;
        let now = Date::now().as_millis() as f64;
        sql.exec("DELETE FROM used WHERE until <= ?", vec![now.into()])?;
        let left = sql.exec("SELECT 1 FROM used LIMIT 1", None)?;
        if left.raw().next().is_none() {
            storage.delete_all().await?;
        } else {
            storage.set_alarm(at((now as i64).saturating_add(SWEEP_MILLIS))).await?;
        }
        Response::empty()
    }
}

impl UsedProofs {
    fn table(&self) -> Result<SqlStorage> {
        let sql = self.state.storage().sql();
        sql.exec(
            "CREATE TABLE IF NOT EXISTS used (id TEXT PRIMARY KEY, until REAL NOT NULL)",
            None,
        )?;
        sql.exec("CREATE INDEX IF NOT EXISTS used_until ON used (until)", None)?;
        Ok(sql)
    }
}

/// While a key is in use, what is too old goes this often.
const SWEEP_MILLIS: i64 = 60_000;

fn at(millis: i64) -> ScheduledTime {
    ScheduledTime::new(js_sys::Date::new(&(millis as f64).into()))
}
