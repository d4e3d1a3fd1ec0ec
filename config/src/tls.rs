//! The certificate of a server, followed when its files are renewed. Reads two files; spawns one task.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use thiserror::Error;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A certificate and its key cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has no such PEM section.
    #[error("{} holds no usable PEM section", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or are of no supported kind.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 with the certificate (chain) and key of two PEM files, for HTTP/2 and HTTP/1.1.
///
/// A renewed certificate is taken up within half a minute; a broken one is logged and the last good one stays.
/// Needs a Tokio runtime.
///
/// # Errors
/// [`TlsError`] when the files cannot be read or do not fit.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let files = Files::read(certificate, key)?;
    let current = Arc::new(Current(RwLock::new(files.certified_key()?)));
    tokio::spawn(follow(Arc::downgrade(&current), files));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes up new contents of the files for as long as a server uses them.
async fn follow(current: Weak<Current>, mut files: Files) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(current) = current.upgrade() else {
            return;
        };
        let renewed = match Files::read(&files.certificate_path, &files.key_path) {
            Ok(now) if now == files => continue,
            Ok(now) => now.certified_key().map(|certified| (now, certified)),
            Err(error) => Err(error),
        };
        match renewed {
            Ok((now, certified)) => {
                files = now;
                *current.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
                tracing::info!(tls.certificate = %files.certificate_path.display(), "took up a renewed certificate");
            }
            Err(error) => {
                tracing::warn!(error.message = %error, "a renewed certificate cannot be used yet")
            }
        }
    }
}

/// What the two files held when they were read.
#[derive(PartialEq)]
struct Files {
    certificate_path: PathBuf,
    key_path: PathBuf,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(certificate_path: &Path, key_path: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            certificate: read(certificate_path)?,
            key: read(key_path)?,
            certificate_path: certificate_path.to_owned(),
            key_path: key_path.to_owned(),
        })
    }

    fn certified_key(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Pem {
                path: self.certificate_path.clone(),
                source,
            })?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsError::Pem {
            path: self.key_path.clone(),
            source,
        })?;
        Ok(Arc::new(CertifiedKey::from_der(
            chain,
            key,
            &ring::default_provider(),
        )?))
    }
}

/// The certificate that the next handshake gets.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(directory: &Path) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn takes_up_a_renewed_certificate_and_keeps_a_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (
            directory.path().join("tls.crt"),
            directory.path().join("tls.key"),
        );
        write_pair(directory.path());
        let files = Files::read(&certificate, &key).unwrap();
        let current = Arc::new(Current(RwLock::new(files.certified_key().unwrap())));
        let served = || current.0.read().unwrap().cert[0].to_vec();
        tokio::spawn(follow(Arc::downgrade(&current), files));

        let second = write_pair(directory.path());
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(served(), second);

        fs::write(&certificate, "no certificate").unwrap();
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert_eq!(served(), second);
    }

    #[tokio::test]
    async fn names_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("absent.pem");
        assert!(matches!(
            server_config(&missing, &missing),
            Err(TlsError::Read { .. })
        ));
    }
}
