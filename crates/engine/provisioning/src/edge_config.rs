//! The answer to `get_edge_config` (`protocol.md` §2.2).
//!
//! Where there is no Unified CM, there are neither its user data service nor its files: then
//! `userUdsServer` and the service `tftpServer` are left out, since a client that finds one without
//! an address gives up with a fault of ours, and one that finds none looks no further.

use std::fmt::Write as _;

/// A server of a service: priority, weight, port, target (RFC 2782).
pub type Server = (u16, u16, u16, String);

/// Everything the answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Services the client asked for, with what inside DNS says: priority, weight, port, target.
    pub services: Vec<(String, Option<Vec<Server>>)>,
    /// Servers of configuration files.
    pub tftp: Vec<String>,
    /// Host and port of each edge's SIP service.
    pub sip: Vec<(String, u16)>,
    /// The route a client puts on its requests.
    pub route: Option<String>,
    /// Host and port of each edge's XMPP service.
    pub xmpp: Vec<(String, u16)>,
    /// Host and port of each edge's HTTPS service.
    pub https: Vec<(String, u16)>,
    /// The user's home cluster: nodes of the user data service.
    pub uds: Vec<(String, u16)>,
}

impl EdgeConfig {
    /// The document.
    pub fn to_xml(&self) -> String {
        let mut x = String::from("<?xml version='1.0' encoding='UTF-8'?>\n");
        x.push_str("<getEdgeConfigResponse version=\"1.0\">\n <serviceConfig>\n");
        for (name, records) in &self.services {
            let name = escape(name);
            match records {
                None => {
                    line(
                        &mut x,
                        &format!(
                            "  <service><name>{name}</name><error>NameError</error></service>"
                        ),
                    );
                }
                Some(records) => {
                    line(&mut x, &format!("  <service><name>{name}</name>"));
                    for (priority, weight, port, target) in records {
                        line(
                            &mut x,
                            &format!(
                                "    <server><priority>{priority}</priority>\
                                 <weight>{weight}</weight><port>{port}</port>\
                                 <address>{}</address></server>",
                                escape(target)
                            ),
                        );
                    }
                    line(&mut x, "  </service>");
                }
            }
        }
        let tftp: String = self
            .tftp
            .iter()
            .map(|t| format!("<address>{}</address>", escape(t)))
            .collect();
        if !tftp.is_empty() {
            let service = format!("  <service><name>tftpServer</name>{tftp}</service>");
            line(&mut x, &service);
        }
        x.push_str(" </serviceConfig>\n <edgeConfig>\n");
        servers(&mut x, "sipEdgeServer", &self.sip);
        if let Some(route) = &self.route {
            let route = escape(route);
            line(
                &mut x,
                &format!("  <sipRequest><route>{route}</route></sipRequest>"),
            );
        }
        servers(&mut x, "xmppEdgeServer", &self.xmpp);
        servers(&mut x, "httpEdgeServer", &self.https);
        line(&mut x, "  <turnEdgeServer/>");
        if !self.uds.is_empty() {
            servers(&mut x, "userUdsServer", &self.uds);
        }
        x.push_str(" </edgeConfig>\n</getEdgeConfigResponse>\n");
        x
    }
}

fn line(x: &mut String, text: &str) {
    x.push_str(text);
    x.push('\n');
}

fn servers(x: &mut String, name: &str, list: &[(String, u16)]) {
    let mut inner = String::new();
    for (host, port) in list {
        // Writing into a String cannot fail.
        let _ = write!(
            inner,
            "<server><address>{}</address><tlsPort>{port}</tlsPort></server>",
            escape(host)
        );
    }
    if inner.is_empty() {
        line(x, &format!("  <{name}/>"));
    } else {
        line(x, &format!("  <{name}>{inner}</{name}>"));
    }
}

/// The services a request asks for: `service_name=…` of its query, at most eight.
pub fn services_asked(query: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("service_name="))
        .filter(|name| {
            name.starts_with('_')
                && name.len() <= 63
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        })
        .take(8)
        .map(str::to_owned)
        .collect()
}

/// Text for an XML document.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_clients_look_for() {
        let edge = |port| vec![("edge1.example.com".to_owned(), port)];
        let document = EdgeConfig {
            services: vec![
                ("_cuplogin".into(), None),
                (
                    "_cisco-uds".into(),
                    Some(vec![(1, 1, 8443, "cucm1.example.com".into())]),
                ),
            ],
            tftp: vec!["cucm1.example.com".into(), "cucm2.example.com".into()],
            sip: edge(5061),
            route: Some("<sip:10.0.0.20:5061;transport=tls;zone-id=3;directed;lr>".into()),
            xmpp: edge(5222),
            https: edge(8443),
            uds: vec![("cucm1.example.com".into(), 8443)],
        }
        .to_xml();
        let parsed = roxmltree::Document::parse(&document).unwrap();
        let text = |path: &[&str]| {
            let mut node = parsed.root_element();
            for name in path {
                node = node.children().find(|n| n.has_tag_name(*name)).unwrap();
            }
            node.text().unwrap().to_owned()
        };
        assert_eq!(
            text(&["edgeConfig", "sipEdgeServer", "server", "tlsPort"]),
            "5061"
        );
        assert!(text(&["edgeConfig", "sipRequest", "route"]).starts_with("<sip:10.0.0.20"));
        assert_eq!(
            text(&["edgeConfig", "userUdsServer", "server", "address"]),
            "cucm1.example.com"
        );
        assert!(document.contains("<name>_cuplogin</name><error>NameError</error>"));
        assert!(document.contains("<address>cucm2.example.com</address>"));
    }

    #[test]
    fn records_of_inside_dns_are_told_as_they_stand() {
        let record = |target: &str| Some(vec![(10, 10, 8443, target.to_owned())]);
        let document = EdgeConfig {
            services: vec![
                ("_cisco-uds".into(), record("cucmserver.example.com")),
                ("_cuplogin".into(), record("cupserver.example.com")),
            ],
            ..EdgeConfig::default()
        }
        .to_xml();
        for (name, target) in [("_cisco-uds", "cucmserver"), ("_cuplogin", "cupserver")] {
            let at = document.find(&format!("<name>{name}</name>")).unwrap();
            let server = format!(
                "<server><priority>10</priority><weight>10</weight><port>8443</port>\
                 <address>{target}.example.com</address></server>"
            );
            assert!(document[at..].contains(&server), "{document}");
        }
    }

    #[test]
    fn what_there_is_none_of_inside_is_left_out_and_not_empty() {
        let document = EdgeConfig {
            https: vec![("edge1.example.com".into(), 8443)],
            ..EdgeConfig::default()
        }
        .to_xml();
        assert!(roxmltree::Document::parse(&document).is_ok());
        assert!(!document.contains("userUdsServer") && !document.contains("tftpServer"));
        assert!(document.contains("<httpEdgeServer><server>"));
        assert!(document.contains("<turnEdgeServer/>"));
    }

    #[test]
    fn only_service_names_are_asked_of_dns() {
        assert_eq!(
            services_asked("service_name=_cisco-uds&x=1&service_name=_cuplogin"),
            ["_cisco-uds", "_cuplogin"]
        );
        assert!(services_asked("service_name=evil.test&service_name=_a/b").is_empty());
        assert_eq!(services_asked(&"service_name=_a&".repeat(100)).len(), 8);
    }
}
