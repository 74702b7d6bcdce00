//! Telling the webhook and e-mail addresses of requests for access.

use std::time::Duration;

use edgepass_issuer::storage::{AccessStore, Channel, Notice, StoreError};
use edgepass_server::App;
use edgepass_store::AnyStore;
use serde_json::{Value, json};

use super::alerts::again;
use crate::mail::Mail;
use crate::webhook::{Webhook, message_id};
use crate::{host, output};

/// Pause between two looks for notices.
const PAUSE: Duration = Duration::from_secs(1);

/// Time until a notice is looked at again whose last attempt was interrupted.
const LAST: Duration = Duration::from_secs(3600);

/// Why a notice was not taken.
struct NotTaken {
    text: String,
    /// Whether another attempt would fail as well.
    is_final: bool,
}

/// Who is told.
pub(super) struct Channels {
    pub(super) webhook: Option<Webhook>,
    pub(super) mail: Option<Mail>,
}

/// Tells notices until the task is dropped. Run it once.
pub(super) async fn tell(app: &App<AnyStore>, channels: &Channels) {
    let each = |channel| async move {
        loop {
            if let Err(error) = tell_open(app, channels, channel).await {
                let error = edgepass_server::error_chain(&error);
                tracing::error!(error, "notices are not readable");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    // A channel that hangs does not hold up the other.
    tokio::join!(each(Channel::Webhook), each(Channel::Mail));
}

async fn tell_open(
    app: &App<AnyStore>,
    channels: &Channels,
    channel: Channel,
) -> Result<(), StoreError> {
    let store = app.issuer().store();
    for notice in store.open_notices(channel, host::now().0).await? {
        // Recorded first: what cannot be recorded would be sent again and again.
        let wait = again(notice.attempts);
        let give_up = host::now().plus(wait.unwrap_or(LAST));
        store.set_notice_told(notice.id, Some(give_up.0)).await?;
        let told = match channel {
            Channel::Webhook => webhook(channels.webhook.as_ref(), &notice).await,
            Channel::Mail => mail(channels.mail.as_ref(), &notice).await,
        };
        match told {
            Ok(()) => store.set_notice_told(notice.id, None).await?,
            Err(reason) => {
                let is_given_up = wait.is_none() || reason.is_final;
                let (id, reason) = (notice.id, reason.text);
                let channel = channel.name();
                tracing::warn!(id, channel, reason, is_given_up, "a notice was not taken");
                if is_given_up {
                    store.set_notice_told(id, None).await?;
                }
            }
        }
    }
    Ok(())
}

/// The name of a notice, the same at each attempt.
fn id(notice: &Notice) -> String {
    message_id(&format!("{} {} {}", notice.id, notice.at_ms, notice.document))
}

fn parsed(notice: &Notice) -> Value {
    serde_json::from_str(&notice.document).unwrap_or_default()
}

async fn webhook(webhook: Option<&Webhook>, notice: &Notice) -> Result<(), NotTaken> {
    let Some(webhook) = webhook else { return Ok(()) };
    let document = &parsed(notice);
    let body = json!({
        "type": document["type"],
        "timestamp": output::date_ms(notice.at_ms),
        "data": document["data"],
    });
    let id = format!("msg_{}", id(notice));
    let sent = webhook.send(&id, host::now(), &body.to_string()).await;
    sent.map_err(|text| NotTaken { text, is_final: false })
}

async fn mail(mail: Option<&Mail>, notice: &Notice) -> Result<(), NotTaken> {
    let Some(mail) = mail else { return Ok(()) };
    let document = &parsed(notice);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let data = &document["data"];
    let access = &data["access_request"];
    let is_broken = document["type"] == "access.broke_glass";
    let role = text(&access["role"]);
    let subject = match is_broken {
        true => format!("Access without approval: {role}"),
        false => format!("Access requested: {role}"),
    };
    let (name, what) = match is_broken {
        true => (
            "access review",
            "Nobody was asked. Look at what was done, then confirm that you have:",
        ),
        false => ("access approve", "Look at the request, then approve or deny it:"),
    };
    let duration = Duration::from_secs(access["seconds"].as_u64().unwrap_or_default());
    let time = access["start"].as_u64().map_or_else(|| "at once".to_owned(), output::date);
    let body = format!(
        "{what}\n\n  edgepass access show {id}\n  edgepass {name} {id}\n\n\
         Issuer:    {issuer}\nRole:      {role}\nScopes:    {scope}\nAudience:  {audience}\n\
         Asked by:  {by}\nFor:       {duration}, from {time}\nReason:    {reason}\nTicket:    {ticket}\n\
         Asked at:  {asked}\n",
        id = text(&access["id"]),
        issuer = text(&data["issuer"]),
        scope = text(&access["scope"]),
        audience = text(&access["audience"]),
        by = text(&access["asked_by"]),
        duration = edgepass_verify::policy::duration::DurationText(duration),
        reason = text(&access["reason"]),
        ticket = text(&access["ticket"]),
        asked = output::date_ms(access["asked_ms"].as_u64().unwrap_or_default()),
    );
    let sent = mail.send(&id(notice), &text(&document["to"]), &subject, &body).await;
    sent.map_err(|(text, is_final)| NotTaken { text, is_final })
}
