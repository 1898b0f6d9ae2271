//! Authorities and certificates, made for one test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority that signs whatever it is asked to.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate chain and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Certified {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// How long a certificate holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Dates {
    Good,
    Expired,
}

fn params(name: &str, hosts: &[&str], dates: Dates) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if dates == Dates::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = params(name, &[], Dates::Good);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these hosts, names or addresses.
    pub(crate) fn certify(&self, name: &str, hosts: &[&str], dates: Dates) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, hosts, dates).signed_by(&key, &self.issuer).unwrap();
        Certified { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// An authority's certificate that a server shows as its own, as `openssl req -x509` makes it.
pub(crate) fn self_signed(hosts: &[&str], dates: Dates) -> Certified {
    let mut params = params("self-signed", hosts, dates);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Certified { chain: certificate.pem(), key: key.serialize_pem() }
}

/// Writes a file, all at once, as careful programs do.
pub(crate) fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let (path, fresh) = (dir.join(name), dir.join(format!("{name}.new")));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    path
}
