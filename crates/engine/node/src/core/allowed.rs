//! Where clients' HTTP requests may lead: rules that follow from the servers known, and the
//! configured ones after them (F158–F168). The automatic ones cannot be configured away.

use std::sync::Arc;

use base::Now;
use config::Config;
use policy::allow_list::{AllowList, Origin, Rule};
use provisioning::axl::Duty;
use status::Kind;

use super::Core;
use crate::io::{Answer, AskId, Output};

/// Methods of what is only read.
const READ: &[&str] = &["GET", "HEAD"];

/// A scheme, port, path and methods that a kind of server has.
type Service = (
    &'static str,
    u16,
    &'static str,
    &'static [&'static str],
    &'static str,
);

impl Core {
    /// The configured rules are others: they count at once, and standing requests go on.
    pub(super) fn allow_list_changed(
        &mut self,
        now: Now,
        id: AskId,
        rules: Vec<config::AllowRule>,
    ) {
        let had = &self.settings.allow_list;
        let added = rules.iter().filter(|rule| !had.contains(rule)).count();
        let removed = had.iter().filter(|rule| !rules.contains(rule)).count();
        if added + removed > 0 {
            self.settings.allow_list = rules;
            self.publish_gate();
            let proof = [
                ("added", added.to_string()),
                ("removed", removed.to_string()),
            ];
            let out = &mut self.station.out;
            self.board
                .event(out, Kind::AllowListChanged, now, "", &proof);
        }
        let answer = Answer::AllowList(true);
        self.station.out.push_back(Output::Answer { id, answer });
    }

    pub(super) fn allow_list(&self) -> AllowList {
        let mut rules = Vec::new();
        for publisher in &self.publishers {
            let (port, verify) = (publisher.server.port, publisher.server.tls_verify);
            let of = publisher.server.address.clone();
            let (origin, services) = match publisher.duty {
                Duty::VoiceVideo => (Origin::UnifiedCm(of), unified_cm(port)),
                Duty::ImPresence => (Origin::ImPresence(of), im_presence(port)),
                Duty::Voicemail => (Origin::UnityConnection, voicemail(port)),
            };
            for host in publisher.hosts() {
                let added = services.iter();
                rules.extend(added.map(|s| automatic(&host, *s, verify, &origin)));
            }
        }
        rules.extend(self.settings.allow_list.iter().map(configured));
        AllowList::new(rules)
    }
}

fn unified_cm(port: u16) -> Vec<Service> {
    vec![
        // What changes a user's password does not pass.
        ("https", port, "/cucm-uds", READ, "directory and devices"),
        (
            "https",
            port,
            "/cucm-uds/private",
            &["POST"],
            "directory and devices",
        ),
        ("http", 6970, "/", READ, "configuration files"),
        ("https", 6972, "/", READ, "configuration files"),
    ]
}

fn im_presence(port: u16) -> Vec<Service> {
    let methods = &["GET", "HEAD", "POST"];
    vec![("https", port, "/EPASSoap", methods, "chat sign-in")]
}

fn voicemail(port: u16) -> Vec<Service> {
    let methods = &["GET", "HEAD", "POST", "PUT", "DELETE"];
    vec![("https", port, "/vmrest", methods, "voicemail")]
}

fn automatic(host: &str, service: Service, tls_verify: bool, origin: &Origin) -> Rule {
    let (scheme, port, path, methods, description) = service;
    Rule {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port,
        path: path.to_owned(),
        exact: false,
        methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        tls_verify,
        proxy_protocol: false,
        origin: origin.clone(),
        description: description.to_owned(),
    }
}

fn configured(rule: &config::AllowRule) -> Rule {
    Rule {
        scheme: rule.scheme.clone(),
        host: rule.host.clone(),
        port: rule.port,
        path: rule.path.clone(),
        exact: rule.exact,
        methods: rule.methods.clone(),
        tls_verify: true,
        proxy_protocol: rule.proxy_protocol,
        origin: Origin::Configured,
        description: rule.description.clone(),
    }
}

/// The list that a configuration alone gives, before anything is discovered; empty for an edge's.
pub fn configured_allow_list(now: Now, config: &Arc<Config>) -> AllowList {
    if matches!(config.role, config::Role::Edge(_)) {
        return AllowList::default();
    }
    Core::offline(now, config).allow_list()
}
