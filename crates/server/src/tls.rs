//! TLS of the issuer's own endpoint.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// A certificate with its key, as last read from its files.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// Whether only its owner can read a file.
    is_private: fn(&Path) -> bool,
    current: RwLock<Read>,
}

struct Read {
    acceptor: TlsAcceptor,
    /// The content of both files.
    files: Files,
}

/// The content of the certificate's file and of the key's.
#[derive(Eq, PartialEq)]
struct Files(Vec<u8>, Zeroizing<Vec<u8>>);

/// The reason why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0} cannot be read")]
    File(PathBuf, #[source] io::Error),
    /// Others can read the private key.
    #[error("other users can read the private key {0}")]
    Readable(PathBuf),
    /// A file has no certificate or no private key in PEM.
    #[error("{0} holds no certificate or private key in PEM")]
    Pem(PathBuf),
    /// The key does not belong to the certificate, or TLS does not support one of the two.
    #[error("the certificate and the key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);

impl Tls {
    /// Reads a certificate chain and its private key, both in PEM. The key is refused unless it `is_private`.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn open(
        certificate: &Path,
        key: &Path,
        is_private: fn(&Path) -> bool,
    ) -> Result<Self, TlsError> {
        let files = Files::read(certificate, key, is_private)?;
        let acceptor = files.acceptor(certificate, key)?;
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, is_private, current: RwLock::new(Read { acceptor, files }) })
    }

    /// Reads the files again when they have changed. The old certificate stays in use if the new one
    /// cannot be used. Never ends.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.renew() {
                Ok(true) => tracing::info!("certificate renewed"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %crate::error_chain(&error), "certificate not renewed");
                }
            }
        }
    }

    /// `false`: the files are as before.
    fn renew(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.certificate, &self.key, self.is_private)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(false);
        }
        let acceptor = files.acceptor(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Read { acceptor, files };
        Ok(true)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }
}

impl Files {
    fn read(
        certificate: &Path,
        key: &Path,
        is_private: fn(&Path) -> bool,
    ) -> Result<Self, TlsError> {
        if !is_private(key) {
            return Err(TlsError::Readable(key.to_owned()));
        }
        let read =
            |path: &Path| fs::read(path).map_err(|error| TlsError::File(path.to_owned(), error));
        Ok(Self(read(certificate)?, Zeroizing::new(read(key)?)))
    }

    fn acceptor(&self, certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
        let Self(chain, private) = self;
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| TlsError::Pem(certificate.to_owned()))?;
        let private =
            PrivateKeyDer::from_pem_slice(private).map_err(|_| TlsError::Pem(key.to_owned()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
