//! E-mail to those who decide about access (RFC 5321, RFC 5322).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use edgepass_issuer::config::{MailConfig, MailSecurity};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use zeroize::Zeroizing;

use crate::private;

/// Variable with the password; the file of the configuration is read without it.
const VARIABLE: &str = "EDGEPASS_MAIL_PASSWORD";
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Mail {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mail {
    /// Reads the password. Sends nothing.
    pub(crate) fn open(config: &MailConfig) -> anyhow::Result<Self> {
        let parameters = || TlsParameters::new(config.host.clone()).context("[mail]: TLS");
        let tls = match config.security {
            MailSecurity::Tls => Tls::Wrapper(parameters()?),
            MailSecurity::StartTls => Tls::Required(parameters()?),
            MailSecurity::Loopback => Tls::None,
        };
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
                .port(config.port)
                .tls(tls)
                .timeout(Some(TIMEOUT));
        if let Some(user) = &config.user {
            let password = match (std::env::var(VARIABLE), &config.password_file) {
                (Ok(text), _) => Zeroizing::new(text),
                (Err(_), Some(file)) => read(file)?,
                (Err(_), None) => {
                    bail!(
                        "[mail] has a user and no password: write password_file, or set {VARIABLE}"
                    )
                }
            };
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        let from = Mailbox::new(None, config.from.parse().context("[mail] from")?);
        Ok(Self { from, transport: transport.build() })
    }

    /// Sends a text to an address. An error says why it was not taken, and whether another attempt would fail as well.
    pub(crate) async fn send(
        &self,
        id: &str,
        to: &str,
        subject: &str,
        body: &str,
    ) -> Result<(), (String, bool)> {
        let address: Address = to.parse().map_err(|_| ("an address is none".to_owned(), true))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .message_id(Some(format!("<{id}@edgepass>")))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .map_err(|_| ("the message cannot be written".to_owned(), true))?;
        // The text of an error may hold what the server says of the address.
        let refused = |error: lettre::transport::smtp::Error| {
            let text = match error.status() {
                Some(code) => format!("the mail server answers {code}"),
                None if error.is_timeout() => "the mail server does not answer in time".to_owned(),
                None => "the mail server cannot be used".to_owned(),
            };
            (text, error.is_permanent())
        };
        self.transport.send(message).await.map(|_| ()).map_err(refused)
    }
}

fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    private::refuse_if_others_may_read(file, "the password of [mail]")?;
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("{} cannot be read: it holds the password of [mail]", file.display())
    })?;
    Ok(Zeroizing::new(text))
}
