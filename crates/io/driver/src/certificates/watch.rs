//! Watches the files of certificates, and the day they end.
//!
//! A changed file is taken once it has been the same for two looks: certificate and key are
//! written one after the other, and half of a pair is no news. What is not taken is told once,
//! until the files change again.

use std::time::Duration;

use node::io::{CertificateNews, Input, Report};
use status::Kind;
use tokio::sync::watch;

use super::ends::{Mortal, Told, Whose};
use super::{Certificates, NotTaken, Reloaded, stamp};
use crate::signal::{Clock, Handle};

/// Between looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Between looks at the dates.
const DATES_EVERY: Duration = Duration::from_secs(3600);

/// Watches until the node stops.
pub(crate) async fn watch(
    certificates: Certificates,
    handle: Handle,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let mut before = stamp(certificates.config());
    let mut told = Told::open(&certificates.config().data);
    let mut dates = tokio::time::interval(DATES_EVERY);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    dates.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let files_due = tokio::select! {
            _ = dates.tick() => false,
            _ = looks.tick() => true,
            // A sender that is gone means that the program stops.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let gone = if files_due {
            let now = stamp(certificates.config());
            let settled = now == before && now != certificates.last_look();
            before = now;
            if !settled {
                continue;
            }
            take(&certificates, &handle, "the files have changed")
                .await
                .1
        } else {
            tell_ends(&certificates, &handle, &mut told, clock).await
        };
        if gone {
            return;
        }
    }
}

impl Certificates {
    /// Takes the files as they are now, as [`Certificates::reload`] does, and tells the node.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn take(&self, handle: &Handle, why: &str) -> Result<Reloaded, NotTaken> {
        take(self, handle, why).await.0
    }
}

/// Reloads and tells; and whether the node is gone.
async fn take(
    certificates: &Certificates,
    handle: &Handle,
    why: &str,
) -> (Result<Reloaded, NotTaken>, bool) {
    let this = certificates.clone();
    // Files are read and keys checked: nothing for a thread that serves others.
    let done = tokio::task::spawn_blocking(move || this.reload()).await;
    let Ok(done) = done else {
        // It panicked, and the old certificate stands; the panic itself was logged.
        let fault = std::io::Error::other("reading the files failed");
        return (Err(NotTaken::Net(net::Error::Io(fault))), false);
    };
    let news = match &done {
        Ok(reloaded) => {
            let certificate = reloaded.certificate.as_ref();
            let shown = certificate.map_or_else(String::new, |c| c.shown());
            let ends = certificate.map_or_else(String::new, |c| c.not_after.to_string());
            let mark = certificate.map_or_else(String::new, |c| c.fingerprint.clone());
            let what = match reloaded.changed {
                true => "a new certificate is in use",
                false => "certificate as before, trust as it is now",
            };
            CertificateNews {
                kind: Kind::CertificateTaken,
                cause: format!("{why}: {what}"),
                proof: vec![
                    ("names", shown),
                    ("until", ends),
                    ("sha256", mark),
                    ("trusted", reloaded.trusted.to_string()),
                ],
                names: certificate.map(|c| c.dns_names.clone()),
            }
        }
        Err(fault) => CertificateNews {
            kind: Kind::CertificateNotTaken,
            cause: format!("{why}, and cannot be used: what was there stays"),
            proof: vec![("seen", fault.to_string())],
            names: None,
        },
    };
    let gone = handle
        .input(Input::Report(Report::Certificate(news)))
        .await
        .is_err();
    (done, gone)
}

/// Tells of what ends soon; and whether the node is gone.
async fn tell_ends(
    certificates: &Certificates,
    handle: &Handle,
    told: &mut Told,
    clock: Clock,
) -> bool {
    let all = mortals(certificates);
    let (due, kept) = told.due(&all, clock.now().unix);
    if let Err(e) = kept {
        tracing::debug!(error = %e, "told alarms are not kept: they come again after a restart");
    }
    for alarm in due {
        let (kind, when) = match alarm.days {
            0 => (Kind::CertificateEnded, "has run out".to_owned()),
            1 => (Kind::CertificateEnds, "runs out within a day".to_owned()),
            days => (
                Kind::CertificateEnds,
                format!("runs out within {days} days"),
            ),
        };
        let news = CertificateNews {
            kind,
            cause: format!("{} {when}", alarm.of.whose.title()),
            proof: vec![
                ("names", alarm.of.names),
                ("until", alarm.of.not_after.to_string()),
                ("sha256", alarm.of.fingerprint),
            ],
            names: None,
        };
        let report = Input::Report(Report::Certificate(news));
        if handle.input(report).await.is_err() {
            return true;
        }
    }
    false
}

/// Every certificate that matters: our chain, those that are trusted, those that peers showed.
pub(super) fn mortals(certificates: &Certificates) -> Vec<Mortal> {
    let now = certificates.now();
    let read = |whose, ders: &[rustls::pki_types::CertificateDer<'static>]| {
        let read = ders.iter();
        let read = read.filter_map(|der| certificates::Certificate::from_der(der).ok());
        let one = move |c: certificates::Certificate| Mortal {
            whose,
            names: c.names(),
            not_after: c.not_after,
            fingerprint: c.fingerprint,
        };
        read.map(one).collect::<Vec<_>>()
    };
    let mut all = read(Whose::Own, now.identity.chain());
    all.extend(read(Whose::Trusted, now.trust.certificates()));
    all.extend(certificates.seen().peers().into_iter().map(|peer| Mortal {
        whose: Whose::Peer,
        names: format!("{} ({})", peer.wanted, peer.certificate.shown()),
        not_after: peer.certificate.not_after,
        fingerprint: peer.certificate.fingerprint,
    }));
    let mut known = std::collections::BTreeSet::new();
    all.retain(|one| known.insert(one.fingerprint.clone()));
    all
}
