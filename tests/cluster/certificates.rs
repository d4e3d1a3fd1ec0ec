//! A certificate authority and what it signs. Pure: PEM texts in memory, nothing is written here.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate and its private key, both as PEM.
pub struct CertifiedKey {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub private_key: String,
}

/// A key pair that signs tokens rather than certificates, both halves as PEM.
pub struct SigningKey {
    /// The half that verifies.
    pub public_key: String,
    /// The half that signs (PKCS #8).
    pub private_key: String,
}

/// A certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = params(common_name, None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().context("generating the key of a certificate authority")?;
        let certificate = params
            .self_signed(&key)
            .context("signing the certificate of a certificate authority")?;
        Ok(Self {
            certificate: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's own certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for a server that is reached by any of `names` (host names or IP addresses).
    pub fn server(&self, common_name: &str, names: &[String]) -> Result<CertifiedKey> {
        self.sign(
            params(common_name, None, names)?,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A certificate by which a client says who it is: a user name and, for Kubernetes, the user's group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<CertifiedKey> {
        self.sign(
            params(user, group, &[])?,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    fn sign(
        &self,
        params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<CertifiedKey> {
        let mut params = with_usage(params, usage);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("generating a private key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("signing a certificate")?;
        Ok(CertifiedKey {
            certificate: certificate.pem(),
            private_key: key.serialize_pem(),
        })
    }
}

/// A server's certificate that vouches for itself: whoever is to trust it has to know it.
pub fn self_signed_server(common_name: &str, names: &[String]) -> Result<CertifiedKey> {
    self_signed(
        params(common_name, None, names)?,
        ExtendedKeyUsagePurpose::ServerAuth,
    )
}

/// A client's certificate that vouches for itself.
pub fn self_signed_client(common_name: &str) -> Result<CertifiedKey> {
    self_signed(
        params(common_name, None, &[])?,
        ExtendedKeyUsagePurpose::ClientAuth,
    )
}

fn self_signed(params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<CertifiedKey> {
    let key = KeyPair::generate().context("generating a private key")?;
    let certificate = with_usage(params, usage)
        .self_signed(&key)
        .context("signing a certificate with its own key")?;
    Ok(CertifiedKey {
        certificate: certificate.pem(),
        private_key: key.serialize_pem(),
    })
}

fn with_usage(mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

/// A new pair for signing service-account tokens.
pub fn signing_key() -> Result<SigningKey> {
    let key = KeyPair::generate().context("generating the service-account key")?;
    Ok(SigningKey {
        public_key: key.public_key_pem(),
        private_key: key.serialize_pem(),
    })
}

fn params(
    common_name: &str,
    organization: Option<&str>,
    names: &[String],
) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)
        .with_context(|| format!("names of the certificate {common_name:?}"))?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    };

    use super::*;

    #[test]
    fn a_server_certificate_is_valid_for_its_names_only() {
        let authority = Authority::new("test").unwrap();
        let server = authority
            .server("server", &["127.3.2.1".to_owned(), "localhost".to_owned()])
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let certificate = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
        let accepts = |name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            verifier
                .verify_server_cert(&certificate, &[], &name, &[], UnixTime::now())
                .is_ok()
        };
        assert!(accepts("127.3.2.1") && accepts("localhost"));
        assert!(!accepts("127.3.2.2") && !accepts("example.org"));
    }
}
