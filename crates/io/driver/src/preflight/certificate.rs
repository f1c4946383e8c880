//! The certificate, key and authorities of a configuration: every fault by its name, as the
//! inspector of certificates finds it.

use std::path::Path;

use base::UnixTime;
use certificates::trusted::Store;
use certificates::{Certificate, Flaw, Grade, Question, leg, names};
use config::{ClientCertificates, Config, Role, Severity};
use net::tls::{Identity, Trust};

use super::Look;

impl Look<'_> {
    pub(super) fn certificate(&mut self, config: &Config, now: UnixTime) {
        let of = &config.certificate;
        let trusted = self.trusted(config);
        let chain = self.read(("certificate", 0, "chain"), &of.chain);
        let key = chain
            .as_ref()
            .and_then(|_| self.read(("certificate", 0, "key"), &of.key));
        if let (Some(chain), Some(key)) = (chain, key) {
            let (legs, needs) = (leg::of(config), names::needed(config, &Default::default()));
            let report = certificates::inspect(&Question {
                chain: &chain,
                key: Some(&key),
                trusted: &trusted,
                legs: &legs,
                needs: &needs.names,
                now,
            });
            for finding in &report.findings {
                self.found(finding);
            }
            let well = report.worst() < Some(Grade::Error);
            // What the inspector lets pass and TLS does not would keep the node from starting.
            if well && let Err(e) = Identity::load(&of.chain, &of.key) {
                self.broken(("certificate", 0, "chain"), &e);
            }
        }
        self.exposed(("certificate", 0, "key"), &of.key);
        let Role::Edge(edge) = &config.role else {
            return;
        };
        if let ClientCertificates::Request(path) | ClientCertificates::Require(path) =
            &edge.sip_client_certificates
            && let Err(e) = Trust::load(path)
        {
            self.broken(("service.sip", 0, "client_authorities"), &e);
        }
        if let Some(trusted) = edge.business.as_ref().and_then(|b| b.trusted.as_ref())
            && let Err(e) = Trust::load(trusted)
        {
            self.broken(("business", 0, "trusted"), &e);
        }
    }

    fn found(&mut self, finding: &certificates::Finding) {
        let severity = match finding.grade {
            Grade::Note => return,
            Grade::Warning => Severity::Warning,
            Grade::Error => Severity::Error,
        };
        let key = match finding.flaw {
            Flaw::NoKey
            | Flaw::KeyEncrypted
            | Flaw::KeyUnreadable
            | Flaw::SeveralKeys
            | Flaw::KeyMismatch => "key",
            _ => "chain",
        };
        let mut cause = finding.cause.clone();
        if !finding.proof.is_empty() {
            cause = format!("{cause} ({})", finding.proof);
        }
        self.say(
            severity,
            ("certificate", 0, key),
            cause,
            finding.fix.clone(),
        );
    }

    /// The authorities of the file and of the data folder.
    fn trusted(&mut self, config: &Config) -> Vec<Certificate> {
        let file = &config.certificate.trusted;
        let mut all = Vec::new();
        match Trust::load(file) {
            Err(e) => self.broken(("certificate", 0, "trusted"), &e),
            Ok(trust) => {
                let ders = trust.certificates().iter();
                all.extend(ders.filter_map(|der| Certificate::from_der(der).ok()));
            }
        }
        match Store::of(&config.data).list() {
            Ok(more) => all.extend(more),
            Err(e) => {
                let fix = "mend or remove the file, then add the certificate again";
                self.say(Severity::Error, ("", 0, "data"), e.to_string(), fix);
            }
        }
        all
    }

    fn read(&mut self, at: (&str, usize, &str), path: &Path) -> Option<Vec<u8>> {
        match certificates::read::file(path) {
            Ok(bytes) => Some(bytes),
            Err(e) => {
                let fix = "check the path and that the user running causeway may read it";
                self.say(Severity::Error, at, format!("{}: {e}", path.display()), fix);
                None
            }
        }
    }
}
