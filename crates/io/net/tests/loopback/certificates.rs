//! A small authority of our own.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

pub struct Issued {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// With these names in subjectAltName and this common name.
    pub fn issue(&self, sans: &[&str], common_name: &str) -> Issued {
        self.issue_with(sans, common_name, |_| {})
    }

    pub fn issue_with(
        &self,
        sans: &[&str],
        common_name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let sans: Vec<String> = sans.iter().map(|s| (*s).to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn identity(&self, name: &str) -> net::tls::Identity {
        self.issue(&[name], name).identity()
    }

    pub fn trust(&self) -> net::tls::Trust {
        net::tls::Trust::from_text(self.pem.as_bytes()).unwrap()
    }
}

impl Issued {
    pub fn identity(&self) -> net::tls::Identity {
        net::tls::Identity::from_texts(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }
}
