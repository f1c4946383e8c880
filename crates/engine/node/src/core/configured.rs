//! Settings that change while the core runs (F097, F098).
//!
//! In: a configuration of which everything that a running core cannot take up is as it was at the
//! start. Out: zones, rules, verdicts and offers as if the core had been started with it. No call
//! and no registration ends by it: zones that are gone stay for whom they have
//! ([`Core::leave_zones`]), and a domain that is gone is refused from its users' next request on.

use std::sync::Arc;

use base::Now;
use call::limits::Limits;
use config::{CallControl, Config, Role};
use provisioning::axl::Duty;

use super::discovery::{Publisher, RETRY, Service};
use super::settings::Server;
use super::{Asked, Core};

impl Core {
    /// Takes up a changed configuration.
    pub(super) fn configured(&mut self, now: Now, config: &Arc<Config>) {
        if !matches!(config.role, Role::Core(_)) {
            return;
        }
        let before = self.settings.call_control.clone();
        let offered = self.settings.domains.clone();
        self.settings.take_up(config);
        self.take_up_limits();
        self.senders.trust(self.settings.sip_from.clone());
        self.take_up_registrars(now, &before);
        self.take_up_publishers(now);
        if self.settings.domains != offered {
            (0..self.links.len()).for_each(|index| self.tell_domains_to(index));
        }
        self.arrange(now);
        self.discovery_timeout(now);
        self.services_timeout(now);
    }

    fn take_up_limits(&mut self) {
        let settings = &self.settings;
        self.overload.configure(&settings.overload);
        self.credentials.set_refresh(settings.refresh);
        self.b2bua
            .set_session_interval(settings.limits.session_interval);
        self.ledger.set_limits(Limits {
            licences: settings.limits.licences,
            calls_max: settings.limits.concurrent_max,
        });
    }

    /// Registrars that stay what they were keep what DNS said of them. Questions under way are of
    /// places in the old list, and are asked anew.
    fn take_up_registrars(&mut self, now: Now, before: &[CallControl]) {
        if self.settings.call_control == before {
            return;
        }
        self.asked
            .retain(|_, asked| !matches!(asked, Asked::Service(_)));
        let old = std::mem::take(&mut self.services);
        let mut known: Vec<(&CallControl, Option<Service>)> =
            before.iter().zip(old.into_iter().map(Some)).collect();
        for registrar in &self.settings.call_control {
            let mut there = known.iter_mut();
            let same = there.find(|(before, service)| *before == registrar && service.is_some());
            let service = same.and_then(|(_, service)| service.take());
            let mut service = service.unwrap_or_else(|| Service::new(now, registrar));
            service.ask_again(now, registrar);
            self.services.push(service);
        }
    }

    /// Publishers that stay keep what they told; one whose account is another is asked at once.
    fn take_up_publishers(&mut self, now: Now) {
        let settings = &self.settings;
        let of = |list: &[Server], duty: Duty| -> Vec<(Server, Duty)> {
            list.iter().map(|server| (server.clone(), duty)).collect()
        };
        let mut wanted = of(&settings.unified_cm, Duty::VoiceVideo);
        wanted.extend(of(&settings.im_presence, Duty::ImPresence));
        wanted.extend(of(&settings.unity_connection, Duty::Voicemail));
        let is =
            |p: &Publisher, (server, duty): &(Server, Duty)| p.server == *server && p.duty == *duty;
        let stay = self.publishers.len() == wanted.len()
            && self.publishers.iter().zip(&wanted).all(|(p, w)| is(p, w));
        if stay {
            return;
        }
        self.asked
            .retain(|_, asked| !matches!(asked, Asked::Server(..)));
        let mut old: Vec<Publisher> = std::mem::take(&mut self.publishers);
        for (server, duty) in wanted {
            let same = |p: &Publisher| {
                p.duty == duty && p.server.address.eq_ignore_ascii_case(&server.address)
            };
            let Some(at) = old.iter().position(same) else {
                self.publishers.push(Publisher::new(now, server, duty));
                continue;
            };
            let mut publisher = old.swap_remove(at);
            let changed = publisher.server != server;
            // A reading under way was of another place in the list.
            if publisher.reading.take().is_some() || changed {
                publisher.due = Some(now.instant);
            }
            if changed {
                (publisher.whole_due, publisher.wait) = (now.instant, RETRY);
                (publisher.fault, publisher.server) = (None, server);
            }
            self.publishers.push(publisher);
        }
        self.refreshes_end(now);
    }
}
