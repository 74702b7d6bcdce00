//! Requests to read the configuration again, from `/admin/v1` to the host.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

/// Longest wait for the host.
const WAIT: Duration = Duration::from_secs(8);

/// A request to read the configuration again, for one issuer.
pub struct Reload {
    /// The actor that asks, as in the audit trail.
    pub actor: String,
    /// Takes the answer: whether the policy was replaced.
    pub reply: oneshot::Sender<Result<(), ()>>,
}

/// The requests of one issuer.
pub struct Reloads {
    sender: mpsc::Sender<Reload>,
    receiver: Mutex<mpsc::Receiver<Reload>>,
}

impl Default for Reloads {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Reloads {
    /// Asks the host, and waits for its answer. `None`: it gives none.
    pub(crate) async fn ask(&self, actor: String) -> Option<Result<(), ()>> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.sender.send(Reload { actor, reply }).await.ok()?;
            answer.await.ok()
        };
        timeout(WAIT, asked).await.ok()?
    }

    /// Waits for the next request.
    pub async fn next(&self) -> Option<Reload> {
        self.receiver.lock().await.recv().await
    }
}
